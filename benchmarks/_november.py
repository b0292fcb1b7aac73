"""Settings of November 2026, for scripts whose results were made with them.

The defaults of skclip 0.1.0.dev1 (commit c24a32e) and its ``preset="strong"`` are gone.
The functions here write them out, so that those scripts still make the same models.
What a script sets itself wins; "auto" counts as not set.
"""

import numpy as np

DEFAULTS = {
    "prompt__gate": "elementwise",
    "prompt__normalization": "unit",
    "prompt__candidates": "raw",
    "similarity": None,
    "temperature": 0.07,
    "scoring": "mrr@20",
    "embedding_dim": 64,
    "loss": "cross_entropy",  # no log of these scripts was too large for it
    "optimizer": "adam",
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "lr_schedule": "cosine",
    "early_stopping": True,
    "n_iter_no_change": 3,
    "unseen_items": "vote",
    "repeats": False,
}
STRONG = {"prompt__candidates": "prompted", "similarity": "cosine", "temperature": 0.1}
STRONG_EPOCHS = {"narm": 12, "core": 20}  # six otherwise
OWN_RATES = {"core": 0.0025}  # by default and in the strong preset


def old_defaults(backbone, X=None, /, **settings):
    """The defaults of that time for a backbone, with some settings.

    `X` are the sessions that are trained on, None any of 51,200 prefixes or more.
    """
    settings = _given(settings)
    values = DEFAULTS | old_sizes(X)
    late = getattr(settings.get("item_features"), "kind", None) == "late"
    if late or settings.get("similarity") == "cosine":
        values["learning_rate"] = 0.005
    if backbone in OWN_RATES:
        values["learning_rate"] = OWN_RATES[backbone]
    values |= settings
    if values.get("prompt", "cluster") is None:
        values = {k: v for k, v in values.items() if not k.startswith("prompt__")}
    return values


def old_strong(backbone, X=None, /, **settings):
    """The former strong preset for a backbone, with some settings; `X` as above."""
    preset = STRONG | {"max_epochs": STRONG_EPOCHS.get(backbone, 6)}
    return old_defaults(backbone, X, **preset | _given(settings))


def old_sizes(X=None):
    """`batch_size` and `max_epochs` of that time for sessions to train on."""
    n = 51_200 if X is None else max(1, np.maximum(X.lengths - 1, 0).sum())
    batch_size = min(512, max(64, 2 ** int(np.log2(max(1, n / 100)))))
    steps = -(-int(n) // batch_size)
    max_epochs = min(100, max(10, -(-1000 // steps)))
    return {"batch_size": batch_size, "max_epochs": max_epochs}


def without_latest(X):
    """The sessions that train where the latest tenth of all is held out."""
    X = X[X.lengths > 1]
    order = np.argsort(X.end_times, kind="stable")
    return X[np.sort(order[: -max(1, round(0.1 * len(X)))])]


def spelled_out(settings):
    """Parameters of a recommender in a row, in the words of today."""
    is_strong = settings.get("preset") == "strong"
    given = _given(settings) | {"preset": None}
    make = old_strong if is_strong else old_defaults
    return settings | make(settings["backbone"], **given)


def _given(settings):
    return {
        name: value
        for name, value in settings.items()
        if not (isinstance(value, str) and value == "auto")
    }
