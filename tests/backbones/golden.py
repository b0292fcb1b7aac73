"""Read golden fixtures and map their names to the parameters of our networks."""

import json
from dataclasses import replace

import numpy as np
import torch
from common import GOLDEN

from skclip._data import Instances
from skclip._model import Batches, SessionModel
from skclip.backbones import (
    CORE,
    GCEGNN,
    GCSAN,
    LESSR,
    NARM,
    SRGNN,
    STAMP,
    TAGNN,
    GRU4Rec,
)

# Of a SessionModel whose scores are the backbone's own.
OPTIONS = {
    "normalization": "unit",
    "gate": "elementwise",
    "candidates": "raw",
    "similarity": None,
    "temperature": 1.0,
}
FLOAT32, FLOAT64 = 5e-6, 1e-9  # stated tolerances, absolute


def _gru(prefix, layers, bias=False):
    names = {}
    for k in range(layers or 1):
        behind = f"_l{k}" if layers else ""
        for kind in ("weight", "bias") if bias else ("weight",):
            for part in ("ih", "hh"):
                theirs = f"{prefix}.{kind[0]}_{part}{behind}"
                names[f"network.gru.{kind}_{part}_l{k}"] = theirs
    return names


_DENSE = {"network.dense.weight": "dense.weight", "network.dense.bias": "dense.bias"}
_NARM = _gru("gru", 1) | {
    "network.A1.weight": "att.a1",
    "network.A2.weight": "att.a2",
    "network.v.weight": "att.v",
    "network.B.weight": "out.b",
}


def _linear(ours, theirs, bias=True):
    names = {f"network.{ours}.weight": f"{theirs}.weight"}
    return names | ({f"network.{ours}.bias": f"{theirs}.bias"} if bias else {})


def _gated(post_bias):
    names = _linear("gnn.edge_in", "gnn.edge_in")
    names |= _linear("gnn.edge_out", "gnn.edge_out")
    for part in ("ih", "hh"):
        names[f"network.gnn.w_{part}.weight"] = f"gnn.w_{part}"
        names[f"network.gnn.w_{part}.bias"] = f"gnn.b_{part}"
    if post_bias:
        names |= {f"network.gnn.post_{d}": f"gnn.post_{d}" for d in ("in", "out")}
    return names


def _transformer(n_layers):
    names = {}
    for k in range(n_layers):
        for part in ("q", "k", "v", "o", "ff1", "ff2", "ln1", "ln2"):
            ours, theirs = f"layers.{k}.{part}", f"layer{k}.{part}"
            names |= _linear(ours, theirs, bias=part != "k")  # it cancels
    return names


def _lessr(n_layers):
    names = _batch_norm("bn_nodes", "readout.bn") | _batch_norm("bn", "bn")
    names |= {"network.U.weight": "readout.fc_u", "network.w.weight": "readout.fc_e"}
    names |= _linear("V", "readout.fc_v") | {"network.O.weight": "readout.fc_out"}
    names |= {"network.prelu.weight": "readout.prelu", "network.F.weight": "fc_sr"}
    for k in range(n_layers):
        ours, theirs = f"network.layers.{k}", f"layer{k}"
        names |= _batch_norm(f"layers.{k}.bn", f"{theirs}.bn")
        names[f"{ours}.prelu.weight"] = f"{theirs}.prelu"
        if k % 2:
            names |= _linear(f"layers.{k}.W_q", f"{theirs}.fc_q")
            for letter, part in (("W_k", "fc_k"), ("W_v", "fc_v"), ("w", "fc_e")):
                names[f"{ours}.{letter}.weight"] = f"{theirs}.{part}"
        else:
            gru = _gru(f"{theirs}.gru", 0, bias=True)
            for name, value in gru.items():
                names[name.replace("network", ours).removesuffix("_l0")] = value
            for part in ("self", "neigh"):
                names[f"{ours}.F_{part}.weight"] = f"{theirs}.fc_{part}"
    return names


def _batch_norm(ours, theirs):
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"network.{ours}.{part}": f"{theirs}.{part}" for part in parts}


_SOFT = (
    _linear("attention.W1", "att.last")
    | _linear("attention.W2", "att.item")
    | {"network.attention.v.weight": "att.v"}
    | _linear("attention.W3", "out")
)
_STAMP = {
    "network.W1.weight": "att.w1",
    "network.W1.bias": "att.b_a",
    "network.W2.weight": "att.w2",
    "network.W3.weight": "att.w3",
    "network.w0.weight": "att.w0",
    **_linear("Wa", "mlp_a"),
    **_linear("Wb", "mlp_b"),
}


def _gcegnn(n_hops):
    names = {"network.a": "local.a", "network.positions": "pos_emb"}
    names |= {"network.P.weight": "pos.w1.T", "network.w_p.weight": "pos.w2.T"}
    names |= _linear("G1", "glu1") | _linear("G2", "glu2", bias=False)
    for k in range(n_hops):
        for ours, theirs in (("W1", "w1"), ("w2", "w2"), ("W3", "w3")):
            names[f"network.{ours}.{k}.weight"] = f"glob{k}.{theirs}.T"
    return names


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
    ("stamp", "plus_mean"): (STAMP(), _STAMP),
    ("stamp", "paper"): (STAMP(add_mean=False), _STAMP),
    ("core_ave", "ave"): (CORE(encoder="average"), {}),
    ("core_trm", "trm"): (
        CORE(inner_dim=8),
        {"network.positions": "pos_emb", "network.w_f.weight": "fn.weight"}
        | _linear("ln_in", "ln_in")
        | _transformer(2),
    ),
    ("srgnn", "post_bias"): (SRGNN(step=2), _gated(True) | _SOFT),
    ("srgnn", "no_post_bias"): (SRGNN(step=2), _gated(True) | _SOFT),
    ("tagnn", "masked"): (
        TAGNN(),
        _gated(True) | _SOFT | _linear("target", "target", bias=False),
    ),
    ("gcsan", "causal_multihead"): (
        GCSAN(n_layers=2, n_heads=2, inner_dim=8),
        _gated(False) | _transformer(2),
    ),
    ("gcegnn", "masked_hop1"): (GCEGNN(n_neighbors=4), _gcegnn(1)),
    ("gcegnn", "masked_hop2"): (GCEGNN(n_neighbors=4, n_hops=2), _gcegnn(2)),
    ("lessr", "official"): (LESSR(), _lessr(4)),
}

# Variants that imitate how padding leaks in other programs.
SKIPPED = {
    ("tagnn", "padded_to_7"),
    ("gcegnn", "unmasked_hop1"),
    ("gcegnn", "unmasked_hop2"),
    ("lessr", "no_self_loops_pad_node"),
}


def load(name):
    return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


def golden_model(fixture, variant, dtype, *, clusters=None, extra=None, **options):
    """A `SessionModel` with the parameters of a fixture, in evaluation mode."""
    spec, names = CASES[fixture, variant]
    params = load(fixture)["params"]
    item_table = np.array(params["item_emb"])[1:]
    model = SessionModel(
        spec,
        clusters,
        n_items=len(item_table),
        embedding_dim=item_table.shape[1],
        max_length=9,
        **(OPTIONS | options),
    ).to(dtype)
    values = {"item_table": item_table} | {
        ours: np.array(params[theirs.removesuffix(".T")]).T
        if theirs.endswith(".T")
        else params[theirs]
        for ours, theirs in names.items()
    }
    if "network.bias" in values:
        values["network.bias"] = values["network.bias"][1:]
    if variant == "no_post_bias":
        values |= {f"network.gnn.post_{d}": np.zeros(5) for d in ("in", "out")}
    load_parameters(model, values | (extra or {}))
    if fixture == "gcegnn":
        table = load(fixture)["global_table"]
        model.network.neighbors.copy_(torch.tensor(table["neighbors"]))
        model.network.weights.copy_(torch.tensor(table["weights"]))
    model.constrain_()
    return model.eval()


def load_parameters(model, values):
    """Copy every parameter and statistic; a missing or left-over name is an error."""
    parameters = dict(model.named_parameters())
    parameters |= {k: v for k, v in model.named_buffers() if ".running_" in k}
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


def session_vectors(model, sessions, **options):
    """Vectors of the sessions encoded as one batch, in their order."""
    state = states(model, sessions, **options)
    return state[0] if isinstance(state, tuple) else state


def scores(model, sessions, **options):
    """Scores of the sessions encoded as one batch, in their order."""
    return model.scores(states(model, sessions, **options), model.keys())


def states(model, sessions, *, shared=None, every_prefix=False, padding=0):
    instances = instances_of(sessions, every_prefix)
    shared = model.shares_prefixes if shared is None else shared
    batches = Batches(instances, model.item_table.device, shared)
    rows = np.arange(len(batches.first))
    batch = batches.batch(rows)
    if padding:
        codes = torch.nn.functional.pad(batch.codes, (0, padding))
        batch = replace(batch, codes=codes)
    return model.states(batch)
