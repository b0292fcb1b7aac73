"""skclip: scikit-learn-style estimators for session-based recommendation.

From the items of an anonymous session, rank the whole catalog for the next item::

    events -> Sessions -> item graph -> Leiden clusters -> prompts -+
                 |                                                  |
                 +-- prefixes -> batches -> item vectors + prompts -+-> backbone
                                                                          |
                          metrics <- ranking of the whole catalog <- scores
"""

import importlib
from typing import TYPE_CHECKING, Any

from skclip._base import VERSION as __version__  # noqa: F401

if TYPE_CHECKING:
    from skclip._clip import CLIPSessionRecommender
    from skclip._clusters import SessionClusterer
    from skclip._data import Sessions
    from skclip._inside import partial_fit, predict_topk
    from skclip._model import Fusion, Prompt
    from skclip.baselines import (
        SLIST,
        AssociationRules,
        MarkovRecommender,
        PopularityRecommender,
        SequentialRules,
        SessionKNN,
    )
    from skclip.ensemble import VotingRecommender
    from skclip.export import export_onnx
    from skclip.llm import LLMReranker
    from skclip.persistence import load, save
    from skclip.rerank import CandidateRanker, MMRReranker

__all__ = [
    "SLIST",
    "AssociationRules",
    "CLIPSessionRecommender",
    "CandidateRanker",
    "Fusion",
    "LLMReranker",
    "MMRReranker",
    "MarkovRecommender",
    "PopularityRecommender",
    "Prompt",
    "SequentialRules",
    "SessionClusterer",
    "SessionKNN",
    "Sessions",
    "VotingRecommender",
    "export_onnx",
    "load",
    "partial_fit",
    "predict_topk",
    "save",
]

# Names are imported on first use, so that a baseline does not load the networks.
_HOMES = {
    "CLIPSessionRecommender": "_clip",
    "CandidateRanker": "rerank",
    "Fusion": "_model",
    "LLMReranker": "llm",
    "MMRReranker": "rerank",
    "Prompt": "_model",
    "SessionClusterer": "_clusters",
    "Sessions": "_data",
    "VotingRecommender": "ensemble",
    "export_onnx": "export",
    "load": "persistence",
    "partial_fit": "_inside",
    "predict_topk": "_inside",
    "save": "persistence",
}
_SUBPACKAGES = (
    "backbones",
    "baselines",
    "controls",
    "datasets",
    "ensemble",
    "exceptions",
    "export",
    "features",
    "inspection",
    "llm",
    "losses",
    "metrics",
    "model_selection",
    "persistence",
    "preprocessing",
    "rerank",
    "scoring",
    "serve",
    "text",
)


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"skclip.{name}")
    if name in __all__:
        home = importlib.import_module(f"skclip.{_HOMES.get(name, 'baselines')}")
        globals()[name] = getattr(home, name)
        return globals()[name]
    raise AttributeError(f"module 'skclip' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBPACKAGES, "__version__"])
