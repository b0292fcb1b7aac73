"""Backbones: networks that turn the vectors of a prefix into a session vector."""

import difflib

from skclip.backbones._base import Backbone, BackboneSpec, Batch, Dropout  # noqa: F401
from skclip.backbones._core import CORE
from skclip.backbones._exporting import ExportedGRU, is_exporting  # noqa: F401
from skclip.backbones._gcegnn import GCEGNN
from skclip.backbones._gcsan import GCSAN
from skclip.backbones._gru4rec import GRU4Rec
from skclip.backbones._lessr import LESSR
from skclip.backbones._narm import NARM
from skclip.backbones._niser import NISER
from skclip.backbones._pomrec import PoMRec
from skclip.backbones._sasrec import SASRec
from skclip.backbones._srgnn import SRGNN
from skclip.backbones._stamp import STAMP
from skclip.backbones._tagnn import TAGNN

BACKBONES: dict[str, type[BackboneSpec]] = {
    "gru4rec": GRU4Rec,
    "narm": NARM,
    "stamp": STAMP,
    "core": CORE,
    "srgnn": SRGNN,
    "tagnn": TAGNN,
    "gcsan": GCSAN,
    "gcegnn": GCEGNN,
    "lessr": LESSR,
    "niser": NISER,
    "pomrec": PoMRec,
    "sasrec": SASRec,
}

__all__ = [
    "BACKBONES",
    "CORE",
    "GCEGNN",
    "GCSAN",
    "LESSR",
    "NARM",
    "NISER",
    "SRGNN",
    "STAMP",
    "TAGNN",
    "Backbone",
    "BackboneSpec",
    "Batch",
    "GRU4Rec",
    "PoMRec",
    "SASRec",
]


def backbone_spec(backbone: str | BackboneSpec) -> BackboneSpec:
    """Return the spec object for a name or a spec object."""
    if isinstance(backbone, str):
        if backbone not in BACKBONES:
            near = difflib.get_close_matches(backbone.lower(), BACKBONES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"Unknown backbone {backbone!r}.{hint} Pass one of {sorted(BACKBONES)} "
                "or a spec object such as NARM(hidden_dim=64)."
            )
        return BACKBONES[backbone]()
    if not isinstance(backbone, BackboneSpec):
        raise TypeError(
            f"backbone is a {type(backbone).__name__}: {backbone!r:.60}. Pass one of "
            f"{sorted(BACKBONES)} or a spec object such as NARM(hidden_dim=64). Its "
            "class must derive from skclip.backbones.BackboneSpec."
        )
    return backbone
