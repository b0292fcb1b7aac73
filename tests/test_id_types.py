"""Raw ids of every type meet those of fit at every entrance: an answer or a message."""

import array
import copy
import functools
import uuid
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator

import skclip
from skclip import (
    MarkovRecommender,
    PopularityRecommender,
    SessionClusterer,
    SessionKNN,
    Sessions,
    VotingRecommender,
)
from skclip.controls import RandomClusters
from skclip.exceptions import IdTypeWarning
from skclip.features import ClusterFeatures, ItemFeatures
from skclip.metrics import (
    catalog_coverage,
    cluster_diversity,
    gini_index,
    novelty,
    popularity_groups,
    popularity_lift,
)
from skclip.model_selection import evaluate, leakage_check

KINDS = {
    "int": int,
    "whole float": float,
    "text": str,
    "zero-padded text": "{:05}".format,
    "bytes": lambda n: str(n).encode(),
    "NumPy integer": np.int64,
    "NumPy text": lambda n: np.str_(n),
    "Decimal": Decimal,
    "UUID": lambda n: uuid.UUID(int=n),
    "tuple": lambda n: ("shop", n),
}
EQUAL = {"int", "whole float", "NumPy integer", "Decimal"}, {"text", "NumPy text"}
UNLIKE = {"UUID", "tuple"}  # which look like no id of another kind

WALKS = [[1 + (s + i) % 12 for i in range(2 + s % 4)] for s in range(24)]
ASKED, NEXT = [[1, 2], [5], [11, 12]], [3, 6, 1]
LISTS = [[1, 2, 3], [2, 3, 4], [5, 6, 7]]
ALL = range(1, 13)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def ids(kind, numbers):
    return [KINDS[kind](n) for n in numbers]


def rows(kind, walks=WALKS):
    return [ids(kind, walk) for walk in walks]


def id_array(kind):
    array = np.empty(len(ALL), dtype=object)
    array[:] = ids(kind, ALL)
    return array


def clip(**params):
    return skclip.CLIPSessionRecommender(
        "gru4rec", embedding_dim=4, max_epochs=1, random_state=0, n_threads=1,
        device="cpu", repeats=False, **params,
    )  # fmt: skip


class OwnClusterer(BaseEstimator):
    """A user's clusterer, whose table of items has ids of a kind of its own."""

    def __init__(self, kind):
        self.kind = kind

    def fit(self, X, y=None):
        self.item_ids_, self.membership_ = id_array(self.kind), np.arange(12) // 4
        return self


@functools.cache
def fitted(name, kind):
    if name in ("users", "ids"):
        owners = {name: ids(kind, range(1, len(WALKS) + 1))}
        X = Sessions.from_lists(rows("text"), **owners)
        return clip(prompt={"users": "user", "ids": "session"}[name]).fit(X)
    estimator = {
        "clip": clip(),
        "popularity": PopularityRecommender(),
        "markov": MarkovRecommender(),
        "knn": SessionKNN(),
        "votes": VotingRecommender([("m", MarkovRecommender()), ("k", SessionKNN())]),
        "clusterer": SessionClusterer(random_state=0),
        "features": ClusterFeatures(SessionClusterer(random_state=0)),
    }[name]
    return estimator.fit(rows(kind))


def fresh(name, kind):
    """A copy that has not told anything yet."""
    return copy.deepcopy(fitted(name, kind))


def owned(name, kind, walks=ASKED):
    return Sessions.from_lists(
        rows("text", walks), **{name: ids(kind, range(1, len(walks) + 1))}
    )


def values_of(model, X_train, X_test, metric="mrr", **params):
    """What `evaluate` says; of a model that is fitted as it is."""
    metrics = [f"{metric}@5"]
    fit, models = not hasattr(model, "item_ids_"), {"model": model}
    frame = evaluate(
        models, X_train, X_test, metrics=metrics, fit=fit, n_boot=0, **params
    )
    return frame["value"].tolist()


def leaks(X_train, X_test, check="unseen_items", **params):
    found = leakage_check(X_train, X_test, on_leak="ignore", **params)[check]
    return found.count, found.message


def carried(fit, asked):
    with warnings.catch_warnings():  # transform has warned; so does another test
        warnings.simplefilter("ignore")
        return fresh("clusterer", asked).transform(rows(fit))


# What is asked, of what was fitted on ids of kind `f`, with ids of kind `g`. Equal ids
# must give the same as f and f.
ENTRANCES = {
    "allow": lambda f, g: fresh("popularity", f).predict_topk(
        rows(f, ASKED), k=5, allow=ids(g, [3, 4, 5, 6])
    ),
    "allow, a list for each": lambda f, g: fresh("popularity", f).predict_topk(
        rows(f, ASKED), k=5, allow=rows(g, LISTS)
    ),
    "deny": lambda f, g: fresh("popularity", f).predict_topk(
        rows(f, ASKED), k=5, deny=ids(g, [3, 4, 5, 6])
    ),
    "deny, a list for each": lambda f, g: fresh("popularity", f).predict_topk(
        rows(f, ASKED), k=5, deny=[ids(g, [3, 4]), [], ids(g, [1])]
    ),
    "users": lambda f, g: fresh("users", f).predict_topk(owned("users", g), k=5),
    "session ids": lambda f, g: fresh("ids", f).predict_topk(owned("ids", g), k=5),
    "users of partial_fit": lambda f, g: len(
        fresh("users", f).partial_fit(owned("users", g, WALKS)).user_ids_
    ),
    "X of partial_fit": lambda f, g: len(
        fresh("clip", f).partial_fit(rows(g)).item_ids_
    ),
    "y of partial_fit": lambda f, g: len(
        fresh("clip", f).partial_fit(rows(f, ASKED), ids(g, NEXT)).item_ids_
    ),
    "X of the clusterer's partial_fit": lambda f, g: len(
        fresh("clusterer", f).partial_fit(rows(g)).item_ids_
    ),
    "X of eval_set": lambda f, g: clip()
    .fit(rows(f), eval_set=(rows(g), None))
    .best_validation_score_,
    "y of eval_set": lambda f, g: clip()
    .fit(rows(f), eval_set=(rows(f, ASKED), ids(g, NEXT)))
    .best_validation_score_,
    "users of eval_set": lambda f, g: clip(prompt="user")
    .fit(owned("users", f, WALKS), eval_set=(owned("users", g, WALKS), None))
    .best_validation_score_,
    "y of fit": lambda f, g: len(
        PopularityRecommender().fit(rows(f), ids(g, ALL) * 2).item_ids_
    ),
    "X of the recommender's fit, y of another": lambda f, g: len(
        clip().fit(rows(f), ids(g, ALL) * 2).item_ids_
    ),
    "X_test": lambda f, g: values_of(MarkovRecommender(), rows(f), rows(g)),
    "y_test": lambda f, g: values_of(
        MarkovRecommender(), rows(f), rows(f, ASKED), y_test=ids(g, NEXT)
    ),
    "y_train": lambda f, g: values_of(
        MarkovRecommender(), rows(f, ASKED), rows(f), "coverage", y_train=ids(g, NEXT)
    ),
    "X_train that counts targets": lambda f, g: values_of(
        fresh("markov", f), rows(g), rows(f), by="target_popularity"
    ),
    "X_train that counts lists": lambda f, g: values_of(
        fresh("markov", f), rows(g), rows(f), "novelty"
    ),
    "clusterer of evaluate": lambda f, g: values_of(
        fresh("markov", f), rows(f), rows(f), "cluster_diversity",
        clusterer=fresh("clusterer", g),
    ),
    "leakage: X_test": lambda f, g: leaks(rows(f), rows(g)),
    "leakage: y_test": lambda f, g: leaks(
        rows(f), rows(f, ASKED), y_train=ids(f, ALL) * 2, y_test=ids(g, NEXT)
    ),
    "leakage: y_train": lambda f, g: leaks(
        rows(f), rows(f, ASKED), y_train=ids(g, ALL) * 2, y_test=ids(f, NEXT)
    ),
    "leakage: users": lambda f, g: leaks(
        owned("users", f), owned("users", g), "users"
    ),
    "leakage: session ids": lambda f, g: leaks(
        owned("ids", f), owned("ids", g), "session_ids"
    ),
    "leakage: estimator": lambda f, g: leaks(
        rows(f, ASKED), rows(f), "catalog", estimator=fitted("popularity", g)
    ),
    "items of coverage": lambda f, g: catalog_coverage(rows(g, LISTS), ids(f, ALL)),
    "items of gini": lambda f, g: gini_index(rows(g, LISTS), ids(f, ALL)),
    "items of novelty": lambda f, g: novelty(rows(g, LISTS), rows(f)),
    "items of lift": lambda f, g: popularity_lift(
        rows(g, LISTS), rows(f, ASKED), rows(f)
    ),
    "X of lift": lambda f, g: popularity_lift(rows(f, LISTS), rows(g, ASKED), rows(f)),
    "items of diversity": lambda f, g: cluster_diversity(
        rows(g, LISTS), ids(f, ALL), np.arange(12) // 2
    ),
    "targets of popularity_groups": lambda f, g: popularity_groups(
        ids(g, NEXT), rows(f)
    )[0],
    "ClusterFeatures": lambda f, g: fresh("features", f).transform(rows(g, ASKED)),
    "clusterer.transform": lambda f, g: (
        fresh("clusterer", f).transform(rows(g, ASKED)).clusters
    ),
    "clusterer.predict": lambda f, g: fresh("clusterer", f).predict(rows(g, ASKED)),
    "a user's own clusterer": lambda f, g: (
        clip(clusterer=OwnClusterer(g)).fit(rows(f)).membership_
    ),
    "a user's own clusterer for features": lambda f, g: (
        ClusterFeatures(OwnClusterer(g)).fit(rows(f)).transform(rows(f, ASKED))
    ),
    "a user's own clusterer, shuffled": lambda f, g: (
        RandomClusters(OwnClusterer(g), random_state=0).fit(rows(f)).membership_
    ),
    "item_features": lambda f, g: len(
        clip(item_features=ItemFeatures(ids(g, ALL), np.eye(12)))
        .fit(rows(f))
        .item_ids_
    ),
    "ItemFeatures.covering": lambda f, g: len(
        ItemFeatures(ids(f, ALL), np.eye(12)).covering(ids(g, ALL))
    ),
    "members that are fitted": lambda f, g: (
        VotingRecommender(
            [("a", fitted("popularity", f)), ("b", fitted("markov", g))], prefit=True
        )
        .fit(rows(f))
        .predict_topk(rows(f, ASKED), k=5)
    ),
    "X of session_vectors": lambda f, g: fresh("clip", f).session_vectors(
        rows(g, ASKED)
    ),
}  # fmt: skip
for name in ("clip", "popularity", "markov", "knn", "votes"):
    ENTRANCES |= {
        f"{name}: X of predict_topk": lambda f, g, name=name: fresh(
            name, f
        ).predict_topk(rows(g, ASKED), k=5),
        f"{name}: X of score": lambda f, g, name=name: fresh(name, f).score(rows(g)),
        f"{name}: y of score": lambda f, g, name=name: fresh(name, f).score(
            rows(f, ASKED), ids(g, NEXT)
        ),
        f"{name}: y of rank_targets": lambda f, g, name=name: fresh(
            name, f
        ).rank_targets(rows(f, ASKED), ids(g, NEXT)),
    }


def told(function, *args):
    """Result, messages about ids, and whether one of these is an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, errors = function(*args), []
        except (ValueError, TypeError) as error:
            result, errors = None, [str(error)]
    messages = [
        str(w.message)
        for w in caught
        # A catalog of Decimals or UUIDs is told of another matter, tested below.
        if issubclass(w.category, IdTypeWarning) and "cannot write" not in str(w)
    ]
    return result, errors + messages


def is_example(kind, message):
    plain = {"NumPy integer": "int", "NumPy text": "text"}.get(kind, kind)
    return any(repr(n) in message for n in ids(plain, range(25)))


def meet(known, asked):
    """Whether equal numbers are equal ids."""
    return known == asked or any({known, asked} <= kinds for kinds in EQUAL)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_ids_of_each_kind_are_answered_or_told_at_each_entrance(entrance):
    call, wrong = ENTRANCES[entrance], []
    for known in KINDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right = call(known, known)
        for asked in KINDS:
            result, messages = told(call, known, asked)
            if meet(known, asked):
                if messages or repr(result) != repr(right):
                    wrong.append((known, asked, messages, result))
            elif not (
                len(messages) == 1
                and is_example(known, messages[0])
                and is_example(asked, messages[0])
                and messages[0].count(". ") >= 1  # what is wrong, and the remedy
            ):
                wrong.append((known, asked, messages, result))
    assert not wrong


def test_fill_values_that_look_like_an_item_are_refused():
    def filled(known, value):
        model = PopularityRecommender().fit(rows(known))
        return model.predict_topk(
            rows(known, ASKED), k=3, allow=ids(known, [7]), fill_value=value
        )

    for known in KINDS:
        for asked in KINDS:
            result, messages = told(filled, known, KINDS[asked](2))
            if meet(known, asked):
                assert messages[0].endswith("Pass a fill_value that is not an item id.")
            elif {known, asked} & UNLIKE:
                assert messages == []
                assert [row[1:] == [KINDS[asked](2)] * 2 for row in result.tolist()]
            else:
                (message,) = messages
                assert is_example(known, message), (known, asked, message)
                assert is_example(asked, message), (known, asked, message)


def test_a_log_that_mixes_kinds_is_told_where_ids_look_alike():
    for known in KINDS:
        for asked in KINDS:
            result, messages = told(
                lambda X: len(PopularityRecommender().fit(X).item_ids_),
                rows(known) + rows(asked),
            )
            if meet(known, asked):
                assert (result, messages) == (12, [])
            elif {known, asked} & UNLIKE:
                assert (result, messages) == (24, [])
            else:
                (message,) = messages
                assert "mixes ids" in message
                assert is_example(known, message), (known, asked, message)
                assert is_example(asked, message), (known, asked, message)


def test_sessions_whose_clusters_are_of_other_ids_are_refused():
    for known in KINDS:
        for asked in KINDS:
            result, messages = told(
                lambda f, g: clip().fit(carried(f, g)).membership_, known, asked
            )
            if meet(known, asked):
                assert messages == []
                assert (result >= 0).all()
            else:
                (message,) = messages
                assert "no item has one" in message


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ("0006290", 6290),
        ("0006290", "6290"),
        ("6290", "0006290"),
        (6290, "0006290"),
        ("6290", "6290.0"),
        ("6290.0", "6290"),
        (6290, " 6290 "),
        ("sku-1", "sku-1 "),
        ("sku-1", b"sku-1"),
        (b"sku-1", "sku-1"),
        (2**70, str(2**70)),
        (str(2**70), 2**70),
        (("shop", 1), ("shop", "1")),
        (("shop", "1"), ("shop", 1)),
        (("shop", b"1"), ("shop", 1)),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (str(uuid.UUID(int=10**30)), str(uuid.UUID(int=10**30)).upper()),
        (uuid.UUID(int=7).hex, uuid.UUID(int=7)),
    ],
    ids=repr,
)
def test_one_id_written_in_two_ways_is_recognized(known, asked):
    other = {int: 99, uuid.UUID: uuid.UUID(int=99)}.get(type(known))
    if other is None:  # of the same kind, and as long where zeros lead
        other = "0009999" if known[:1] == "0" else known[:1] * 3
    model = PopularityRecommender().fit([[known, other], [other, known]])
    with pytest.warns(IdTypeWarning, match="looks like") as caught:
        model.predict_topk([[known]], k=2, deny=[asked])
    assert len(caught) == 1
    assert repr(known) in str(caught[0].message)
    assert repr(asked) in str(caught[0].message)


@pytest.mark.parametrize(
    ("known", "asked"),
    [
        ([7, 12], [13, 100]),
        (["7", "12", "007"], ["13", "0007", "012"]),  # zeros belong to the ids
        (["07", "12"], ["13", "99"]),
        (["a", "b"], ["c", "1", ""]),
        ([("a", 1)], [("b", 1), ("a", 2)]),
        ([1.5, 2.0], [3.0, 2.5]),
        ([uuid.UUID(int=1)], [uuid.UUID(int=2)]),
        ([b"x", b"07", b"7"], [b"y", b"007"]),
    ],
    ids=repr,
)
def test_ids_that_are_only_new_are_no_matter(known, asked):
    model = PopularityRecommender().fit([known, known])
    _, messages = told(lambda: model.predict_topk([asked], k=1, deny=asked))
    assert messages == []
    _, messages = told(lambda: model.rank_targets([known[:1]] * len(asked), asked))
    assert messages == []


def test_one_stray_id_among_many_is_found():
    names = [f"sku-{i}" for i in range(3000)]
    model = PopularityRecommender().fit([names[:50], ["17", "x"]])
    with pytest.warns(IdTypeWarning, match=r"The id 17 \(numbers\) looks like '17'"):
        model.predict_topk([["x"]], k=1, deny=[*names, 17])
    _, messages = told(
        lambda: PopularityRecommender().fit([names, names[:2] + ["17", 17]])
    )
    assert "The id 17 (numbers) looks like '17' (text)" in messages[0]


def test_a_days_file_with_another_dtype_does_not_poison_the_catalog():
    model = clip().fit(rows("int"))
    popular = PopularityRecommender().fit(rows("int"))
    for day in ("text", "zero-padded text", "bytes"):
        for fitted in (model, popular):
            with pytest.raises(ValueError, match="X has ids of another type.* looks l"):
                fitted.partial_fit(rows(day))
    assert model.item_ids_.tolist() == list(ALL)
    assert len(model.partial_fit(rows("int", [[1, 13], [13, 2]])).item_ids_) == 13


READ_AS_TEXT = r"Read the ids as text, .*dtype=str\), and "


@pytest.mark.parametrize(
    "asked", [["00317956"], ["317956", "00317956"], ["00000274"], [b"00000274"]]
)
def test_zeros_that_numbers_have_lost_are_not_dropped_from_text_too(asked):
    model = PopularityRecommender().fit([[274, 3], [3, 274]])
    for name, call in (
        ("X", lambda: model.predict_topk([asked], k=1)),
        ("deny", lambda: model.predict_topk([[3]], k=1, deny=asked)),
        ("allow", lambda: model.predict_topk([[3]], k=1, allow=asked)),
    ):
        with pytest.warns(IdTypeWarning, match=READ_AS_TEXT + "fit again") as caught:
            call()
        (message,) = [str(w.message) for w in caught if w.category is IdTypeWarning]
        assert message.startswith(name)
        assert repr(asked[-1]) in message
        assert "int(...)" not in message
    with pytest.warns(IdTypeWarning, match=r"Convert them with int\(\.\.\.\)"):
        PopularityRecommender().fit([[274, 3]]).predict_topk([["274", "0"]], k=1)


def test_item_features_that_have_lost_zeros_are_to_be_built_again():
    features = ItemFeatures([168, 12], np.ones((2, 2)))
    model = clip(item_features=features)
    with pytest.raises(ValueError, match=READ_AS_TEXT + "build the features again"):
        model.fit([["00000168", "00000012"]] * 3)


def test_lost_zeros_in_a_part_of_the_log_are_told():
    with pytest.warns(IdTypeWarning, match="'00001' .* looks like '1'"):
        PopularityRecommender().fit(rows("zero-padded text") + rows("text"))
    _, messages = told(
        lambda: PopularityRecommender().fit([["07", "7", "012", "12", "013", "0144"]])
    )
    assert messages == []  # not most of them


# -- the values in any array -----------------------------------------------------------


def flat(values):
    """The same ids in all that X takes."""
    kind = pl.Categorical if isinstance(values[0], str) else pl.UInt8
    encoded = pa.array(values).dictionary_encode()
    arrays = {
        "list": values,
        "tuple": tuple(values),
        "keys": dict.fromkeys(values).keys(),
        "ndarray": np.array(values),
        "objects": np.array(values, dtype=object),
        "masked array without masks": np.ma.array(values),
        "pandas Series": pd.Series(values),
        "pandas Index": pd.Index(values),
        "pandas category": pd.Series(values, dtype="category"),
        "pandas array": pd.array(values),
        "pandas frame": pd.DataFrame({"id": values}),
        "polars Series": pl.Series(values),
        "polars category": pl.Series(values).cast(kind),
        "polars frame": pl.DataFrame({"id": values}),
        "pyarrow Array": pa.array(values),
        "pyarrow ChunkedArray": pa.chunked_array([values[:1], values[1:]]),
        "pyarrow dictionary": encoded,
        "pyarrow chunks of a dictionary": pa.chunked_array([encoded]),
        "pyarrow Table": pa.table({"id": values}),
        "pyarrow RecordBatch": pa.record_batch({"id": values}),
        "pyarrow scalars": list(pa.array(values)),
    }
    if isinstance(values[0], int):
        arrays["array"] = array.array("q", values)
        arrays["floats"] = np.array(values, dtype=float)
    return arrays


def missing(values):
    """The same with a missing value behind."""
    more = [*values, None]
    nullable = "string" if isinstance(values[0], str) else "Int64"
    return {
        "None": more,
        "NaN": [*values, np.nan],
        "pandas Series": pd.Series(more),
        "pandas nullable": pd.Series(more, dtype=nullable),
        "polars Series": pl.Series(more),
        "pyarrow Array": pa.array(more),
    }


def nested(first, second):
    """A list of two ids and one of one, for two sessions."""
    both = [first + second, second]
    objects = np.empty(2, dtype=object)
    objects[:] = [np.array(row) for row in both]
    square = [first + second, second + first]
    return {
        "lists": both,
        "tuples": tuple(map(tuple, both)),
        "arrays": [np.array(row) for row in both],
        "object array": objects,
        "Series in a list": [pd.Series(both[0]), pl.Series(both[1])],
        "pyarrow in a list": [pa.array(both[0]), pa.chunked_array([both[1]])],
        "pandas Series": pd.Series(both),
        "polars Series": pl.Series(both),
        "pyarrow list array": pa.array(both),
        "pyarrow chunks of lists": pa.chunked_array([both[:1], both[1:]]),
        "pyarrow list scalars": list(pa.array(both)),
        "masked array": np.ma.array(square, mask=[[0, 0], [0, 1]]),
        "masked rows": list(np.ma.array(square, mask=[[0, 0], [0, 1]])),
        "Sessions": Sessions.from_lists(both),
    }  # fmt: skip


VALUES = {"text": ["a", "c"], "numbers": [1, 3]}
MODELS = {
    "text": PopularityRecommender().fit([["a", "b"], ["b", "c"], ["a", "c", "d"]]),
    "numbers": PopularityRecommender().fit([[1, 2], [2, 3], [1, 3, 4]]),
}


@pytest.mark.parametrize("kind", VALUES)
def test_filters_and_targets_take_what_sessions_take(kind):
    model, values = MODELS[kind], VALUES[kind]
    X = [[value] for value in values]
    denied = model.predict_topk(X, k=2, deny=values)
    allowed = model.predict_topk(X, k=2, allow=values)
    ranks = model.rank_targets(X, values)
    assert not set(denied.ravel()) & set(values)
    assert set(allowed.ravel()) == set(values)
    for name, given in [*flat(values).items(), ("set", set(values))]:
        result, messages = told(
            lambda given=given: model.predict_topk(X, k=2, deny=given)
        )
        assert messages == [], name
        np.testing.assert_array_equal(result, denied, name)
        np.testing.assert_array_equal(model.predict_topk(X, k=2, allow=given), allowed)
        if name == "set":
            continue
        np.testing.assert_array_equal(model.rank_targets(X, given), ranks, name)
        users = Sessions.from_lists(X, users=given).users
        assert users.tolist() == values, name
    for given in missing(values).values():
        for option in ("deny", "allow"):
            with pytest.raises(ValueError, match=rf"^{option}\[2\] is .*, not an id"):
                model.predict_topk(X, k=2, **{option: given})
        with pytest.raises(ValueError, match="y\\[2\\] is|y has masked"):
            model.rank_targets([*X, values], given)
        users = Sessions.from_lists([*X, values], users=given).users
        assert users.tolist() == [*values, None]


@pytest.mark.parametrize("kind", VALUES)
def test_lists_for_each_session_come_in_what_sessions_come_in(kind):
    model, (first, second) = MODELS[kind], VALUES[kind]
    X = [[first], [second]]
    expected = model.predict_topk(X, k=4, deny=[[first, second], [second]])
    asked = model.decision_function([[first, second], [second]])
    for name, given in nested([first], [second]).items():
        result = model.predict_topk(X, k=4, deny=given)
        np.testing.assert_array_equal(result, expected, name)
        np.testing.assert_array_equal(model.decision_function(given), asked, name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", r"deny is a str: 'a'\. .* Wrap a single one: \['a'\]"),
        (3, "deny is an int: 3"),
        (np.array("a"), "deny is a str: 'a'"),
        ({"a": 1}, r"deny is a dict: .* list\(deny\) for its keys"),
        (pd.DataFrame({"id": ["a"], "n": [1]}), r"a data frame .* \['id', 'n'\]"),
        (np.ma.array(["a", "b"], mask=[0, 1]), r"masked cells\. Drop them"),
        (["a", ["b"]], r"deny\[0\] is a str: 'a', but other"),
        ([["a"], None], r"deny\[1\] is a NoneType"),
        ([["a"]], r"deny has 1 lists, expected one for each of 2.* is \['a'\]"),
        ([[["a"]], ["b"]], r"deny\[0\] holds a list: \['a'\]\. Expected hashable"),
        ([{"a": 1}, {"b": 1}], r"deny\[0\] is a dict"),
    ],
    ids=lambda value: str(value)[:20].replace("\n", " "),
)  # fmt: skip
def test_filters_that_are_not_understood_are_refused(given, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MODELS["text"].predict_topk([["a"], ["b"]], k=1, deny=given)


def test_targets_and_users_without_an_order_or_a_hash_are_refused():
    model, X = MODELS["text"], [["a"], ["b"]]
    for given in ({"a", "b"}, {"a": 1, "b": 2}, [["a"], ["b"]]):
        with pytest.raises(TypeError, match="y is .* one target item id per session"):
            model.rank_targets(X, given)
        with pytest.raises(TypeError, match="users (is a|holds a) (set|dict|list)"):
            Sessions.from_lists(X, users=given)


def test_a_tuple_is_an_id_or_a_row_by_what_was_fitted():
    pairs = PopularityRecommender().fit([[("a", 1), ("b", 2)], [("b", 2), ("c", 3)]])
    top = pairs.predict_topk([[("a", 1)]], k=3, allow=[("b", 2)], fill_value=("-", 0))
    assert top.tolist() == [[("b", 2), ("-", 0), ("-", 0)]]
    mixed = PopularityRecommender().fit([["a", 1, "b"], ["b", 1]])
    for rows_ in ((("b",), ("b", 1)), [["b"], ["b", 1]]):
        top = mixed.predict_topk([["a"], ["a"]], k=3, deny=rows_, fill_value="-")
        assert top.tolist() == [[1, "a", "-"], ["a", "-", "-"]]
    with pytest.raises(ValueError, match=r"deny has 3 lists.* element is \('a', 1\)"):
        MODELS["text"].predict_topk([["a"]], deny=[("a", 1), ("b", 2), ("c", 3)])


def test_a_fill_value_is_one_value_of_its_own_type():
    text, numbers = MODELS["text"], MODELS["numbers"]
    top = text.predict_topk([["a"]], k=3, allow=["b"], fill_value=np.nan)
    assert pd.isna(top[0, 1:]).all()
    assert top[0, 0] == "b"
    assert numbers.predict_topk([[1]], k=2, allow=[2]).tolist() == [[2, -1]]
    top = numbers.predict_topk([[1]], k=2, allow=[2], fill_value="none")
    assert top.tolist() == [[2, "none"]]
    top = numbers.predict_topk([[1]], k=2, allow=[2], fill_value=0)
    assert top.dtype == numbers.item_ids_.dtype
    with pytest.raises(TypeError, match="fill_value holds a list"):
        numbers.predict_topk([[1]], k=2, allow=[2], fill_value=[0])
    with pytest.raises(ValueError, match=r"could be taken for an item.*'3' .* 3 \(num"):
        numbers.predict_topk([[1]], k=2, allow=[2], fill_value="3")


# -- ids that cannot be saved ----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ["items", "users"])
def test_fit_tells_what_save_will_refuse(kind, role, tmp_path):
    X = rows(kind) if role == "items" else owned("users", kind, WALKS)
    model = PopularityRecommender() if role == "items" else clip(prompt="user")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    told = [str(w.message) for w in caught if "cannot write" in str(w.message)]
    if kind in ("Decimal", "UUID"):
        assert len(told) == 1
        assert is_example(kind, told[0])
        with pytest.raises(TypeError, match="cannot store"):
            skclip.save(model, tmp_path / "model")
    else:
        assert told == []
        skclip.save(model, tmp_path / "model")


def test_what_a_tuple_holds_counts_too():
    with pytest.warns(IdTypeWarning, match=r"\('a', Decimal\('1'\)\) .* cannot write"):
        clip().fit([[("a", Decimal(1)), ("b", 2)], [("b", 2), ("c", 1)]] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PopularityRecommender().fit([[("a", 1, b"x", "t", True), "b", 2.5]] * 2)
