"""Answer sessions over HTTP with a model that skclip.save wrote.

    pip install -e ".[serve]"
    SKCLIP_MODEL=model.skclip uvicorn serve:app --app-dir examples

POST /recommend {"session": ["a", "b"], "k": 10} -> {"items": [...], "scores": [...]}
"""

import os
import warnings
from typing import Annotated

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field

import skclip

warnings.filterwarnings("ignore", message=".* not seen in fit")
if "SKCLIP_MODEL" not in os.environ:
    raise SystemExit("Set SKCLIP_MODEL to a file that skclip.save wrote.")
model = skclip.load(os.environ["SKCLIP_MODEL"])
app = FastAPI(title="skclip")


class Query(BaseModel):
    session: list[str | int]
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    exclude_seen: bool = True
    deny: list[str | int] = []


@app.get("/health")
def health():
    return {"items": len(model.item_ids_), "skclip": skclip.__version__}


@app.post("/recommend")
def recommend(query: Query):
    """The best next items; fewer than k where filters leave fewer."""
    k = min(query.k, len(model.item_ids_))
    items, scores = model.predict_topk(
        [query.session],
        k,
        return_scores=True,
        exclude_seen=query.exclude_seen,
        deny=query.deny,
    )
    found = np.isfinite(scores[0])
    return {"items": items[0][found].tolist(), "scores": scores[0][found].tolist()}
