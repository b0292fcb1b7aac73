"""Settings that `choose/defaults.py` tries, by name.

What a setting leaves out has the defaults of skclip 0.1.0.dev1 (commit c24a32e), with
``unseen_items="vote"``: the rows were made with them.
"""

_SMALL = {
    "similarity": "cosine",
    "prompt__candidates": "prompted",
    "temperature": 0.1,
    "learning_rate": 0.005,
    "early_stopping": False,
    "max_epochs": 10,
}
_SAMPLED = _SMALL | {
    "loss": "sampled_softmax",
    "loss__n_negatives": 2048,
    "temperature": 0.07,
    "learning_rate": 0.01,
}
_DROP = {"unseen_items": "drop"}
_THREE = _DROP | {"resolution": (1, 16, 256)}
_CORE = {"backbone": "core", "learning_rate": 0.005}
# For all logs but diginetica, tmall and lastfm: the full softmax.
SMALL_TRIALS = {
    "base": _SMALL,
    "the defaults before": {"backbone": "narm"},
    "the defaults before, gru4rec": {},
    "rate 0.01": _SMALL | {"learning_rate": 0.01},
    "temperature 0.07": _SMALL | {"temperature": 0.07},
    "temperature 0.14": _SMALL | {"temperature": 0.14},
    "20 epochs": _SMALL | {"max_epochs": 20},
    "three resolutions": _SMALL | {"resolution": (1, 16, 256)},
    "drop": _SMALL | _DROP,
    "drop, core": _SMALL | _DROP | _CORE,
    "drop, batch 128": _SMALL | _DROP | {"batch_size": 128},
    "drop, no prompt": {k: v for k, v in _SMALL.items() if "__" not in k}
    | _DROP
    | {"prompt": None},
    "drop, three": _SMALL | _THREE,
    "drop, three, 3 epochs": _SMALL | _THREE | {"max_epochs": 3},
    "drop, three, 5 epochs": _SMALL | _THREE | {"max_epochs": 5},
    "drop, three, early stopping": _SMALL
    | _THREE
    | {"early_stopping": True, "max_epochs": 20},
    "drop, three, dropout 0.5": _SMALL | _THREE | {"backbone__dropout": 0.5},
    "drop, three, tied": _SMALL | _THREE | {"backbone__tied": True},
    **{
        f"drop, three, {name}": _SMALL | _THREE | {"backbone": name}
        for name in ("narm", "stamp", "core", "srgnn", "gcsan")
    },
    "drop, three, core, 20 epochs": _SMALL | _THREE | _CORE | {"max_epochs": 20},
    "drop, three, core, 20 epochs, temperature 0.07": _SMALL
    | _THREE
    | _CORE
    | {"max_epochs": 20, "temperature": 0.07},
    "drop, three, core, 20 epochs, dropout 0.2": _SMALL
    | _THREE
    | _CORE
    | {
        "max_epochs": 20,
        "backbone__hidden_dropout": 0.2,
        "backbone__attention_dropout": 0.2,
    },
}
# For these three: 2,048 sampled negatives.
LARGE_TRIALS = {
    "sampled": _SAMPLED,
    "sampled, rate 0.005": _SAMPLED | {"learning_rate": 0.005},
    "sampled, temperature 0.1": _SAMPLED | {"temperature": 0.1},
    "sampled, three resolutions": _SAMPLED | {"resolution": (1, 16, 256)},
    "sampled, core": _SAMPLED | _CORE,
    "sampled, core, three": _SAMPLED | _CORE | {"resolution": (1, 16, 256)},
    "sampled, gcsan": _SMALL | _SAMPLED | _THREE
    | {"backbone": "gcsan", "learning_rate": 0.005, "temperature": 0.1},
    "sampled, 4 epochs": _SAMPLED | _THREE
    | {"backbone": "gru4rec", "learning_rate": 0.005, "temperature": 0.1,
       "max_epochs": 4},
    "sampled, 5 epochs": _SAMPLED | _THREE | {"max_epochs": 5},
    "sampled, 5 epochs, rate 0.005": _SAMPLED | _THREE
    | {"max_epochs": 5, "learning_rate": 0.005},
}  # fmt: skip
TRIALS = SMALL_TRIALS | LARGE_TRIALS
