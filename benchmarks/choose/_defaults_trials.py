"""Settings that `choose/defaults.py` tries, by name."""

_COSINE = {
    "similarity": "cosine",
    "prompt__candidates": "prompted",
    "temperature": 0.1,
    "learning_rate": 0.005,
    "early_stopping": False,
    "max_epochs": 10,
}
_SAMPLED = _COSINE | {
    "loss": "sampled_softmax",
    "loss__n_negatives": 2048,
    "temperature": 0.07,
    "learning_rate": 0.01,
}
_STEPS = _COSINE  # the base of the trials that follow


def _with(**changes):
    return _STEPS | changes


def _sampled(**changes):
    return _SAMPLED | changes


LARGE_TRIALS = {
    "sampled": _sampled(),
    "sampled, rate 0.005": _sampled(learning_rate=0.005),
    "sampled, temperature 0.1": _sampled(temperature=0.1),
    "sampled, 5 epochs": _sampled(max_epochs=5),
    "8192 sampled, 5 epochs": _sampled(loss__n_negatives=8192, max_epochs=5),
    "sampled by popularity": _sampled(loss__sampling="popularity"),
    "sampled, temperature 0.05": _sampled(temperature=0.05),
    "sampled, batch 256": _sampled(batch_size=256),
    "sampled, narm": _sampled(backbone="narm"),
    "sampled, no prompt": {
        k: v for k, v in _sampled(prompt=None).items() if k != "prompt__candidates"
    },
    "sampled, drop": _sampled(unseen_items="drop"),
    "sampled, width 128": _sampled(embedding_dim=128),
    "sampled, 20 epochs": _sampled(max_epochs=20),
    "sampled, core, three, 0.005": _sampled(
        backbone="core", learning_rate=0.005, resolution=(1, 16, 256)
    ),
    "sampled, core, three, drop, 0.1": _sampled(
        backbone="core", learning_rate=0.005, resolution=(1, 16, 256), temperature=0.1,
        unseen_items="drop",
    ),
    "sampled, core": _sampled(backbone="core", learning_rate=0.0025),
    "sampled, core, rate 0.005": _sampled(backbone="core", learning_rate=0.005),
    "sampled, srgnn": _sampled(backbone="srgnn"),
    "sampled, dropout 0.5": _sampled(backbone__dropout=0.5),
    "sampled, gcsan": _sampled(backbone="gcsan"),
    "sampled, three resolutions": _sampled(resolution=(1, 16, 256)),
}
_CORE = _with(
    unseen_items="drop", resolution=(1, 16, 256), backbone="core", learning_rate=0.005
)
CORE_TRIALS = {
    "core, 20 epochs": _CORE | {"max_epochs": 20},
    "core, 20 epochs, 0.07": _CORE | {"max_epochs": 20, "temperature": 0.07},
    "core, 20 epochs, rate 0.01": _CORE | {"max_epochs": 20, "learning_rate": 0.01},
    "core, 20 epochs, rate 0.0025": _CORE | {"max_epochs": 20, "learning_rate": 0.0025},
    "core, 20 epochs, average": _CORE
    | {"max_epochs": 20, "backbone__encoder": "average"},
    "core, 20 epochs, width 128": _CORE | {"max_epochs": 20, "embedding_dim": 128},
    "core, 20 epochs, hidden 0.2": _CORE
    | {
        "max_epochs": 20,
        "backbone__hidden_dropout": 0.2,
        "backbone__attention_dropout": 0.2,
    },
    "core, 20 epochs, batch 128": _CORE | {"max_epochs": 20, "batch_size": 128},
    "core, 40 epochs": _CORE | {"max_epochs": 40},
}
_THREE = {"unseen_items": "drop", "resolution": (1, 16, 256)}
for _name in ("gru4rec", "gcsan", "srgnn", "narm", "lessr", "gcegnn", "stamp"):
    LARGE_TRIALS[f"sampled, three, {_name}"] = _sampled(
        backbone=_name, learning_rate=0.005, temperature=0.1, **_THREE
    )
for _name in ("gru4rec", "core", "gcsan"):
    LARGE_TRIALS[f"4 epochs, three, {_name}"] = _sampled(
        backbone=_name, learning_rate=0.005, temperature=0.1, max_epochs=4, **_THREE
    )
for _name, _more in {
    "tied": {"backbone__tied": True},
    "tied, dropout 0.5": {"backbone__tied": True, "backbone__dropout": 0.5},
    "width 128": {"embedding_dim": 128},
    "0.07, 0.01, 20 epochs": {
        "temperature": 0.07, "learning_rate": 0.01, "max_epochs": 20
    },
}.items():
    LARGE_TRIALS[f"sampled, three, {_name}"] = (
        _sampled(learning_rate=0.005, temperature=0.1, **_THREE) | _more
    )
for _t in (0.05, 0.07):
    for _rate in (0.005, 0.01):
        for _levels in ({}, _THREE):
            _name = f"5 epochs, {_t}, {_rate}, {'three' if _levels else 'one'}"
            LARGE_TRIALS[_name] = _sampled(
                learning_rate=_rate, temperature=_t, max_epochs=5,
                **({"unseen_items": "drop"} | _levels)
            )
FINAL_TRIALS = {
    "early": _with(**_THREE) | {"early_stopping": True, "max_epochs": 20},
    "three, batch 128": _with(batch_size=128, **_THREE),
    "three, 5 epochs": _with(max_epochs=5, **_THREE),
    "three, 3 epochs": _with(max_epochs=3, **_THREE),
    "three, 20 epochs": _with(max_epochs=20, **_THREE),
    "three, no prompt": {"prompt": None, "unseen_items": "drop"}
    | {k: v for k, v in _COSINE.items() if "__" not in k},
}
TRIALS = LARGE_TRIALS | FINAL_TRIALS | CORE_TRIALS | {
    "base": _STEPS,
    "today": {"backbone": "narm"},
    "today gru4rec": {},
    "dot": _with(similarity="dot", learning_rate=0.01),
    "temperature 0.07": _with(temperature=0.07),
    "temperature 0.14": _with(temperature=0.14),
    "rate 0.0025": _with(learning_rate=0.0025),
    "rate 0.01": _with(learning_rate=0.01),
    "5 epochs": _with(max_epochs=5),
    "20 epochs": _with(max_epochs=20),
    "batch 128": _with(batch_size=128),
    "batch 64, 5 epochs": _with(batch_size=64, max_epochs=5),
    "narm": _with(backbone="narm"),
    "stamp": _with(backbone="stamp"),
    "core": _with(backbone="core", learning_rate=0.0025),
    "srgnn": _with(backbone="srgnn"),
    "gcsan": _with(backbone="gcsan"),
    "gcegnn": _with(backbone="gcegnn"),
    "lessr": _with(backbone="lessr"),
    "no prompt": {k: v for k, v in _with(prompt=None).items() if "__" not in k},
    "dropout 0.5": _with(backbone__dropout=0.5),
    "dropout 0.1": _with(backbone__dropout=0.1),
    "width 128": _with(embedding_dim=128),
    "drop": _with(unseen_items="drop"),
    "drop, three resolutions": _with(unseen_items="drop", resolution=(1, 16, 256)),
    "drop, three, dropout 0.5": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone__dropout=0.5
    ),
    "drop, three, srgnn": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone="srgnn"
    ),
    "drop, three, core": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone="core",
        learning_rate=0.005,
    ),
    "drop, core": _with(
        unseen_items="drop", backbone="core", learning_rate=0.005
    ),
    "drop, core, 0.0025": _with(
        unseen_items="drop", backbone="core", learning_rate=0.0025
    ),
    "drop, core, 0.07": _with(
        unseen_items="drop", backbone="core", learning_rate=0.005, temperature=0.07
    ),
    "drop, core, 20 epochs": _with(
        unseen_items="drop", backbone="core", learning_rate=0.005, max_epochs=20
    ),
    "drop, core, no prompt": {
        k: v for k, v in _with(unseen_items="drop", backbone="core",
                               learning_rate=0.005, prompt=None).items()
        if k != "prompt__candidates"
    },
    "drop, core, width 128": _with(
        unseen_items="drop", backbone="core", learning_rate=0.005, embedding_dim=128
    ),
    "drop, three, gcsan": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone="gcsan"
    ),
    "drop, three, narm": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone="narm"
    ),
    "drop, three, stamp": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone="stamp"
    ),
    "drop, three, gcegnn": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone="gcegnn"
    ),
    "drop, three, 5 epochs": _with(
        unseen_items="drop", resolution=(1, 16, 256), max_epochs=5
    ),
    "drop, three, tied": _with(
        unseen_items="drop", resolution=(1, 16, 256), backbone__tied=True
    ),
    "drop, three, width 128": _with(
        unseen_items="drop", resolution=(1, 16, 256), embedding_dim=128
    ),
    "three resolutions": _with(resolution=(1, 16, 256)),
}
