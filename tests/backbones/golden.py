"""Read golden fixtures and map their names to the parameters of our networks."""

import json

import numpy as np
import torch
from conftest import GOLDEN

from skclip._batches import Batches
from skclip._encoding import Instances
from skclip._model import SessionModel
from skclip.backbones import NARM, GRU4Rec

FLOAT32, FLOAT64 = 5e-6, 1e-9  # stated tolerances, absolute


def _gru(prefix, layers, bias=False):
    parts = ("w_ih", "w_hh", "b_ih", "b_hh") if bias else ("w_ih", "w_hh")
    long = {
        "w_ih": "weight_ih",
        "w_hh": "weight_hh",
        "b_ih": "bias_ih",
        "b_hh": "bias_hh",
    }
    return {
        f"network.gru.{long[part]}_l{k}": f"{prefix}.{part}"
        + (f"_l{k}" if layers else "")
        for k in range(layers or 1)
        for part in parts
    }


_DENSE = {"network.dense.weight": "dense.weight", "network.dense.bias": "dense.bias"}
_NARM = _gru("gru", 1) | {
    "network.A1.weight": "att.a1",
    "network.A2.weight": "att.a2",
    "network.v.weight": "att.v",
    "network.B.weight": "out.b",
}

# (fixture file, variant) -> spec object, our parameter -> fixture parameter
CASES = {
    ("gru4rec", "untied"): (
        GRU4Rec(hidden_dim=5, n_layers=2),
        _gru("gru", 2) | _DENSE,
    ),
    ("gru4rec", "tied"): (
        GRU4Rec(tied=True),
        _gru("tied", 0, bias=True) | {"network.bias": "tied.item_bias"},
    ),
    ("narm", "plain"): (NARM(hidden_dim=5), _NARM),
    ("narm", "softmax"): (NARM(hidden_dim=5, attention="softmax"), _NARM),
}


def load(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden_model(fixture, variant, dtype, *, clusters=None, extra=None, **options):
    """A `SessionModel` with the parameters of a fixture, in evaluation mode."""
    spec, names = CASES[fixture, variant]
    params = load(fixture)["params"]
    item_table = np.array(params["item_emb"])[1:]
    defaults = {
        "normalization": "unit",
        "gate": "elementwise",
        "candidates": "raw",
        "similarity": None,
        "temperature": 1.0,
    }
    model = SessionModel(
        spec,
        clusters,
        n_items=len(item_table),
        embedding_dim=item_table.shape[1],
        **(defaults | options),
    ).to(dtype)
    values = {"item_table": item_table} | {
        ours: params[theirs] for ours, theirs in names.items()
    }
    if "network.bias" in values:
        values["network.bias"] = values["network.bias"][1:]
    load_parameters(model, values | (extra or {}))
    return model.eval()


def load_parameters(model, values):
    """Copy every parameter; a missing or left-over name is an error."""
    parameters = dict(model.named_parameters())
    assert set(values) == set(parameters), set(values) ^ set(parameters)
    with torch.no_grad():
        for name, value in values.items():
            value = torch.as_tensor(value, dtype=parameters[name].dtype)
            parameters[name].copy_(value.reshape(parameters[name].shape))


def instances_of(sessions, every_prefix=False):
    """Whole sessions, or every prefix of each, as instances without targets."""
    codes = np.concatenate([np.asarray(s, dtype=np.int32) for s in sessions])
    begins = np.cumsum([0] + [len(s) for s in sessions])[:-1]
    views = [
        (begin, begin + end)
        for begin, session in zip(begins, sessions, strict=True)
        for end in (range(1, len(session) + 1) if every_prefix else [len(session)])
    ]
    starts, stops = np.array(views).T
    return Instances(codes, starts, stops, np.zeros(len(starts), dtype=np.int32))


def session_vectors(model, sessions, *, shared=None, every_prefix=False, padding=0):
    """Vectors of the sessions encoded as one batch, in their order."""
    instances = instances_of(sessions, every_prefix)
    shared = model.network.shares_prefixes if shared is None else shared
    batches = Batches(instances, torch.device("cpu"), shared)
    rows = np.arange(len(batches.first))
    batch = batches.batch(rows)
    if padding:
        from dataclasses import replace

        codes = torch.nn.functional.pad(batch.codes, (0, padding))
        batch = replace(batch, codes=codes)
    return model.queries(batch)
