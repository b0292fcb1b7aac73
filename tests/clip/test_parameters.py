"""Parameters: parts by name or as objects, nested keys, presets, "auto"."""

import inspect
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skclip
from skclip import CLIPSessionRecommender, Fusion, Prompt, SessionClusterer
from skclip._clip._settings import _DEFAULTS, PRESETS, settings_of
from skclip._data import ItemFeatures
from skclip.backbones import BACKBONES, CORE, NARM, GRU4Rec
from skclip.losses import BPR, GBCE, CrossEntropy, SampledSoftmax

FEATURES = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [1.0, 1.0]}


# -- parts -----------------------------------------------------------------------------


def test_at_most_34_parameters():
    assert len(CLIPSessionRecommender().get_params(deep=False)) <= 34


@pytest.mark.parametrize(
    ("given", "nested", "expected"),
    [
        ({}, {"prompt__gate": "add"}, Prompt(gate="add")),
        ({"prompt": ("cluster", "user")}, {"prompt__unknown_user": "mean"},
         Prompt(("cluster", "user"), unknown_user="mean")),
        ({"prompt": Prompt("user")}, {"prompt__kinds": "cluster"}, Prompt()),
        ({}, {"loss__n_negatives": 9}, SampledSoftmax(9)),
        ({"loss": "bpr"}, {"loss__sampling": "popularity", "loss__shared": False},
         BPR(sampling="popularity", shared=False)),
        ({"loss": GBCE(5)}, {"loss__n_negatives": 6}, GBCE(6)),
        ({"item_features": FEATURES}, {"item_features__kind": "add"},
         Fusion(FEATURES, kind="add")),
        ({"item_features": Fusion(FEATURES)}, {"item_features__cold_item_weight": 1.0},
         Fusion(FEATURES, cold_item_weight=1.0)),
        ({}, {"clusterer__resolution": 2.0}, SessionClusterer(2.0)),
        ({"backbone": "narm"}, {"backbone__hidden_dim": 7}, NARM(hidden_dim=7)),
        # If a part is set along with a nested key, the part is set first.
        ({"backbone": "narm"}, {"backbone__hidden_dim": 7, "backbone": "gru4rec"},
         GRU4Rec(hidden_dim=7)),
        ({}, {"loss__n_negatives": 9, "loss": "bpr"}, BPR(9)),
        ({"prompt": None}, {"prompt__gate": "add", "prompt": "user"},
         Prompt("user", gate="add")),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_nested_keys_make_a_name_its_object(given, nested, expected):
    model = CLIPSessionRecommender(**given).set_params(**nested)
    (part,) = {key.partition("__")[0] for key in nested}
    found = getattr(model, part)
    assert type(found) is type(expected)
    assert found.get_params() == expected.get_params()
    values = {k: v for k, v in nested.items() if "__" in k}
    assert values.items() <= model.get_params().items()
    assert getattr(clone(model), part).get_params() == expected.get_params()


def test_all_that_can_be_searched_is_listed():
    params = CLIPSessionRecommender(item_features=FEATURES).get_params()
    for name in ("backbone", "clusterer", "prompt", "item_features", "loss"):
        keys = [key for key in params if key.startswith(f"{name}__")]
        assert len(keys) > 1
        for key in keys:
            one = CLIPSessionRecommender(item_features=FEATURES)
            assert one.set_params(**{key: params[key]}).get_params()[key] is params[key]
    assert params["prompt__gate"] == params["loss__shared"] == "auto"
    assert params["item_features__kind"] == "gate"
    without = CLIPSessionRecommender(prompt=None).get_params()
    assert not any(key.startswith(("prompt__", "item_features__")) for key in without)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prompt__gates": 1}, "'prompt__gates' for CLIP.* Did you mean 'prompt__gate"),
        ({"gate": "add"}, "'gate' for CLIPSessionRecommender. Did you mean 'prompt__g"),
        ({"n_negative": 5}, "'n_negative' .* Did you mean 'loss__n_negatives'"),
        ({"backbone__hiden_dim": 3}, "Did you mean 'backbone__hidden_dim'"),
        ({"learning_rat": 1}, "Did you mean 'learning_rate'"),
        ({"backbone__xyz": 3}, r"'backbone__xyz' .*get_params\(\) lists all of them"),
        ({"prompt": None, "prompt__gate": "add"}, "prompt=None has no parameters"),
        ({"item_features__kind": "add"}, "item_features=None has no parameters"),
        ({"backbone": "nram", "backbone__x": 1}, "backbone='nram' has no parameters"),
        ({"max_time__x": 1}, "max_time=None has no parameters"),
    ],
    ids=str,
)
def test_wrong_keys_suggest_the_right_one(params, message):
    with pytest.raises(ValueError, match=message):
        CLIPSessionRecommender().set_params(**params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prompt": "item"}, "'prompt' parameter"),
        ({"prompt": ("cluster", "shop")}, "has the unknown kind 'shop'. Pass one of"),
        ({"prompt": ("user", "user")}, "has a kind twice"),
        ({"prompt": "user"}, "needs sessions with users.*user= to Sessions.from_event"),
        ({"prompt__gate": "sum"}, "'gate' parameter of Prompt"),
        ({"prompt__session": "mean"}, "'session' parameter of Prompt"),
        ({"prompt__unknown_user": "first"}, "'unknown_user' parameter of Prompt"),
        ({"item_features": FEATURES, "item_features__kind": "gat"},
         "'kind' parameter of Fusion must be .* 'gat'"),
        ({"item_features": Fusion(FEATURES, cold_item_weight=2)},
         "'cold_item_weight' parameter of Fusion"),
        ({"prompt": Prompt}, "'prompt' parameter of CLIPSessionRecommender"),
        ({"backbone": NARM}, "'backbone' parameter of CLIPSessionRecommender"),
        ({"loss": "hinge"}, "'loss' parameter of CLIPSessionRecommender"),
        ({"loss": BPR}, "'loss' parameter of CLIPSessionRecommender"),
        ({"loss__n_negatives": 0}, "'n_negatives' parameter of SampledSoftmax"),
        ({"loss": BPR(sampling="all")}, "'sampling' parameter of BPR"),
        ({"precision": "float16"}, "'precision' parameter"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_values_say_what_to_do(params, message):
    model = small(**params)
    with pytest.raises(ValueError, match=message):
        model.fit([["a", "b", "c"]] * 4)
    assert model.get_params().keys() >= params.keys()  # it can be shown all the same


def test_names_and_objects_are_the_same(train, test):
    named = small(loss="sampled_softmax", prompt="cluster", clusterer=None).fit(train)
    objects = small(
        loss=SampledSoftmax(), prompt=Prompt(), clusterer=SessionClusterer(),
        backbone=GRU4Rec(),
    ).fit(train)  # fmt: skip
    same(named, objects, test)
    same(small().fit(train), small(loss=CrossEntropy()).fit(train), test)
    assert named.loss == "sampled_softmax"  # fit changes no parameter
    assert objects.loss.n_negatives is None
    assert objects.clusterer.random_state is None


def test_features_of_any_form_are_the_same():
    rows = [["a", "b", "c"], ["c", "b"], ["b", "a"]] * 9
    matrix = np.array(list(FEATURES.values()))
    forms = [FEATURES, pd.DataFrame(matrix, list(FEATURES)),
             ItemFeatures(list(FEATURES), matrix)]  # fmt: skip
    forms += [Fusion(form) for form in forms]
    models = [small(item_features=form).fit(rows) for form in forms]
    for model in models[1:]:
        same(models[0], model, rows[:3])
    with pytest.raises(TypeError, match=r"ndarray of shape \(3, 2\)\. Expected"):
        small(item_features=matrix).fit(rows)


def test_a_search_over_nested_keys(train):
    grid = {"prompt__gate": ["add", "scalar"], "loss__n_negatives": [5, 9]}
    search = GridSearchCV(small(max_epochs=1), grid, cv=2, error_score="raise")
    search.fit(train[:150])
    best = search.best_estimator_
    assert {"gate": best.prompt.gate, "n_negatives": best.loss.n_negatives} == {
        key.partition("__")[2]: value for key, value in search.best_params_.items()
    }
    assert search.best_params_.items() <= best.resolved_params_.items()
    assert len(set(search.cv_results_["mean_test_score"])) > 1


@pytest.mark.parametrize(
    "params",
    [
        {"prompt": Prompt(("cluster", "session"), gate="add", session="pooled")},
        {"loss": GBCE(9, sampling="popularity", shared=False)},
        {"item_features": Fusion({f"item-{i:03}": [i, 1.0] for i in range(80)})},
        {"loss": "bpr", "prompt__candidates": "prompted", "loss__n_negatives": 7},
    ],
    ids=lambda params: next(iter(params)),
)
def test_files_and_pickles_hold_the_parts(params, train, test, tmp_path):
    model = small(**params).fit(train[:150])
    skclip.save(model, tmp_path / "model")
    for again in (pickle.loads(pickle.dumps(model)), skclip.load(tmp_path / "model")):
        same(model, again, test)
        assert repr(again) == repr(model)
        same(model, clone(again).fit(train[:150]), test)


# -- effects ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unchanged(train):
    return small().fit(train[:150])


@pytest.mark.parametrize(
    "change",
    [
        {"prompt__normalization": "none"},
        {"prompt__gate": "scalar"},
        {"prompt__gate": "add"},
        {"prompt__candidates": "raw"},
        {"similarity": None},
        {"similarity": "dot"},
        {"temperature": 0.5},
        {"embedding_dim": 8},
        {"learning_rate": 0.02},
        {"lr_schedule": "constant"},
        {"weight_decay": 0.1},
        {"batch_size": 64},
        {"max_session_length": 2},
        {"loss": BPR(20)},
        {"backbone": "narm"},
        {"backbone__dropout": 0.9},
        {"backbone__tied": True},
        {"clusterer__resolution": 5.0},
        {"early_stopping": True, "validation_fraction": 0.5},
    ],
    ids=str,
)
def test_every_parameter_has_an_effect(unchanged, train, test, change):
    scores = small(**change).fit(train[:150]).decision_function(test)
    assert (scores != unchanged.decision_function(test)).any()


def test_precision_has_an_effect(train, test):
    models = [small(precision=name).fit(train[:150]) for name in ("float32", "bf16")]
    scores, others = (model.decision_function(test) for model in models)
    assert (scores != others).any()


@pytest.mark.parametrize(
    "change",
    [{"loss__sampling": "popularity"}, {"loss__shared": False}, {"loss": "bpr"}],
    ids=str,
)
def test_every_parameter_of_a_loss_has_an_effect(change, train, test):
    model = small(max_epochs=1, loss__n_negatives=20)
    one = clone(model).fit(train).decision_function(test)
    other = model.set_params(**change).fit(train).decision_function(test)
    assert (one != other).any()


# -- presets and "auto" ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_instances", "batch_size", "max_epochs"),
    [(1, 1, 100), (50, 50, 100), (640, 64, 40), (3_300, 64, 10), (12_800, 128, 10),
     (56_000, 512, 10), (500_000, 512, 8), (10**6, 512, 4), (10**8, 512, 3)],
)  # fmt: skip
def test_automatic_sizes(fitted, n_instances, batch_size, max_epochs):
    model = CLIPSessionRecommender(device="cpu")
    found = settings_of(model).with_sizes(model, n_instances, 300).values
    assert (found["batch_size"], found["max_epochs"]) == (batch_size, max_epochs)
    assert found["loss__n_negatives"] == 300
    assert fitted.resolved_params_["max_epochs"] == 2  # what was given wins
    assert fitted.resolved_params_["loss"] == "cross_entropy"


@pytest.mark.parametrize(
    ("parameters", "n_items", "loss", "temperature"),
    [
        ({}, 10_000, "cross_entropy", 0.1),  # 10 epochs of 100,000 prefixes: 10**10
        ({}, 10_001, "sampled_softmax", 0.07),
        ({"max_epochs": 1000}, 10_000, "cross_entropy", 0.1),  # candidates of a search
        ({"preset": "paper"}, 10_001, "cross_entropy", 0.1),
        ({"backbone": "core"}, 10_001, "sampled_softmax", 0.07),
        ({"backbone": CORE(temperature=0.2)}, 10_000, "cross_entropy", 0.2),
        (
            {"backbone": CORE(temperature=0.2), "temperature": 0.1},
            10,
            "cross_entropy",
            0.1,
        ),
        ({"loss": "cross_entropy"}, 10_001, "cross_entropy", 0.1),
        ({"loss": "bpr"}, 100, "bpr", 0.07),
        ({"temperature": 0.3}, 10_001, "sampled_softmax", 0.3),
    ],
)
def test_automatic_loss_and_temperature(parameters, n_items, loss, temperature):
    model = CLIPSessionRecommender(device="cpu", **parameters)
    found = settings_of(model).with_sizes(model, 100_000, n_items).values
    assert (found["loss"], found["temperature"]) == (loss, temperature)


def test_a_small_catalog_has_the_full_softmax():
    model = CLIPSessionRecommender(device="cpu")
    for n_items, loss in ((8_192, "cross_entropy"), (8_193, "sampled_softmax")):
        found = settings_of(model).with_sizes(model, 10**8, n_items).values
        assert found["loss"] == loss


def test_partial_fit_keeps_the_loss(train, monkeypatch):
    monkeypatch.setattr("skclip._training._losses._SMALL_CATALOG", 0)
    monkeypatch.setattr("skclip._training._losses._MOST_SCORES_ON_CPU", 10**5)
    model = small().fit(train)
    assert model.resolved_params_["loss"] == "sampled_softmax"
    model.partial_fit(train[:9])  # so few that they would have the full one
    assert model.resolved_params_["loss"] == "sampled_softmax"
    assert model.resolved_params_["temperature"] == 0.07


@pytest.mark.parametrize(
    ("parameters", "rate"),
    [({}, 0.005), ({"similarity": None}, 0.01), ({"similarity": "dot"}, 0.01),
     ({"preset": "paper"}, 0.01), ({"similarity": None, "backbone": "core"}, 0.005)],
)  # fmt: skip
def test_automatic_learning_rate(parameters, rate):
    model = CLIPSessionRecommender(**parameters)
    assert settings_of(model).values["learning_rate"] == rate


def test_presets_set_documented_parameters(train):
    paper = CLIPSessionRecommender("gru4rec", preset="paper", max_epochs=1)
    expected = {
        "scoring": "mrr@5", "n_iter_no_change": 10, "prompt__candidates": "raw",
        "similarity": None, "batch_size": 256, "early_stopping": True,
        "unseen_items": "vote",
        "max_epochs": 1,  # explicit values win
    }  # fmt: skip
    assert expected.items() <= paper.fit(train).resolved_params_.items()


def test_the_default_says_what_it_chose(train):
    default = small(scoring="recall@5").fit(train)
    resolved = default.resolved_params_
    expected = {"similarity": "cosine", "prompt__candidates": "prompted",
                "early_stopping": False, "unseen_items": "drop",
                "scoring": "recall@5"}  # fmt: skip
    assert expected.items() <= resolved.items()
    explicit = ("prompt__gate", "prompt__normalization", "prompt__candidates",
                "similarity", "temperature", "learning_rate", "scoring",
                "early_stopping", "lr_schedule")  # fmt: skip
    again = small(**{key: resolved[key] for key in explicit}).fit(train)
    same(again, default, train[:9])


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("strong", "preset='strong' was removed.* Leave preset at None"),
        ("papr", "preset='papr' is unknown. Pass None.*or 'paper'"),
        (3, "preset=3 is unknown. Pass None.*or 'paper'"),
        (["paper"], "unknown. Pass None"),
    ],
)
def test_presets_that_do_not_exist(preset, message):
    with pytest.raises(ValueError, match=message):
        small(preset=preset).fit([["a", "b"]] * 3)


@pytest.mark.parametrize(
    ("parameters", "stops"),
    [
        ({}, False),
        ({"n_iter_no_change": 5}, True),
        ({"n_iter_no_change": 5, "early_stopping": False}, False),
        ({"early_stopping": True}, True),
        ({"preset": "paper"}, True),
        ({"preset": "paper", "early_stopping": False}, False),
        ({"backbone": NARM.published()}, True),
    ],
)
def test_automatic_early_stopping(parameters, stops):
    values = settings_of(CLIPSessionRecommender(**parameters)).values
    assert values["early_stopping"] is stops


def test_every_preset_key_is_a_parameter():
    parameters = CLIPSessionRecommender().get_params()
    own = [spec.default_training for spec in BACKBONES.values()]
    for preset in (*PRESETS.values(), _DEFAULTS, *own):
        for key in preset:
            assert parameters[key] == "auto"


@pytest.mark.parametrize(
    ("parameters", "rate"),
    [
        ({"backbone": CORE(training={"learning_rate": 0.2})}, 0.2),
        ({"backbone": CORE(training={"learning_rate": 0.2}), "preset": "paper"}, 0.2),
        ({"backbone": "core", "learning_rate": 0.3}, 0.3),
        ({"backbone": "core", "preset": "paper"}, 0.01),
        ({"backbone": "core"}, CORE.default_training["learning_rate"]),
    ],
)
def test_what_wins(parameters, rate):
    """The parameter, the backbone's `training`, the preset, its `default_training`."""
    model = CLIPSessionRecommender(**parameters)
    assert settings_of(model).values["learning_rate"] == rate


def test_the_groups_of_the_docstring_hold_each_parameter_once_in_order():
    text = CLIPSessionRecommender.__doc__.split("The parameters come in groups:")[1]
    groups = text.split("A parameter at")[0]
    named = re.findall(r"`(\w+)`", groups)
    signature = inspect.signature(CLIPSessionRecommender)
    assert named == list(signature.parameters)
    assert named == list(CLIPSessionRecommender._parameter_constraints)
    assert sorted(named) == sorted(CLIPSessionRecommender().get_params(deep=False))
    described = re.findall(r"^ *(\w+) : ", CLIPSessionRecommender.__doc__, re.M)
    assert described[: len(named)] == named
    words = ["Model", "Prompt", "Features", "Loss", "Training", "Run"]
    assert re.findall(r"- \*\*(\w+)\*\*:", groups) == words
