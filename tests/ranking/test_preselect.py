"""bfloat16 preselects, float32 decides: lists and ranks are those of float32."""

import functools
import warnings

import numpy as np
import pytest
import torch
from common import small
from hypothesis import given, settings
from hypothesis import strategies as st

from skclip import Fusion, Sessions, _threads
from skclip._model import RepeatBias
from skclip._ranking import Preselected, Preselector, _preselect, topk_codes
from skclip._training import _devices
from skclip.backbones import PoMRec
from skclip.features import ItemFeatures

NONE = np.empty(0, np.int64)


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(_preselect, "_TILE", 300)
    monkeypatch.setattr(_preselect, "_SHARE", 4)
    monkeypatch.setattr(_preselect, "_DENSE", 2)


def drawn(seed, n_items=1000, n=40, with_bias=False):
    """Whole numbers that bfloat16 rounds and float32 does not, nor their products.

    Many items are equal, or differ by little; a query is zero. In some cases the large
    parts of a score cancel each other, in some all scores are negative.
    """
    rng = np.random.default_rng(seed)
    most = int(rng.choice([3, 40, 900]))
    keys = rng.integers(-most, most + 1, (n_items, 8))
    some = rng.integers(0, n_items, n_items // 3)
    keys[some] = keys[rng.integers(0, n_items, len(some))]
    keys[some[::2], 0] += rng.integers(-1, 2, len(some[::2]))
    queries = rng.integers(-most, most + 1, (n, 8))
    if rng.random() < 0.5:
        keys[:, 4:] = rng.integers(-9, 10, (n_items, 4)) - keys[:, :4]
        queries[:, 4:] = queries[:, :4]
    queries[0] = 0
    queries[1] = queries[2]
    if rng.random() < 0.5:
        queries[n // 2 :] = keys[rng.integers(0, n_items, n - n // 2)]
    least = int(rng.choice([-1, -9])) * most * most
    bias = rng.integers(least, least // 2 + 1, n_items) if with_bias else None
    pairs = np.unique(rng.integers(0, n * n_items, 4 * n))
    bonus = rng.integers(-3 * most, 3 * most + 1, len(pairs)).astype(np.float32)
    bonus[rng.random(len(pairs)) < 0.3] = -np.inf
    keys, queries = (torch.from_numpy(part).float() for part in (keys, queries))
    bias = None if bias is None else torch.from_numpy(bias).float()
    scores = queries @ keys.T + (0 if bias is None else bias)
    special = np.divmod(pairs, n_items)
    scores[special] += torch.from_numpy(bonus)
    chosen = Preselected(Preselector(keys, bias), queries, special, bonus)
    return chosen, scores, rng


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 40))
def test_lists_are_those_of_all_scores_with_their_ties(seed, with_bias, k):
    chosen, scores, _ = drawn(seed, with_bias=with_bias)
    columns, values = chosen.topk(k)
    order = np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(columns, order)
    np.testing.assert_array_equal(values, np.take_along_axis(scores.numpy(), order, 1))


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_ranks_are_those_of_all_scores_with_their_ties(seed, with_bias, shared):
    chosen, scores, rng = drawn(seed, with_bias=with_bias)
    rows = np.sort(rng.integers(0, 40, 700)) if shared else np.arange(40)
    best = scores.argsort(dim=1, descending=True).numpy()
    targets = best[rows, rng.choice([0, 1, 5, 30, 500], len(rows))]
    of_rows = scores.numpy()[rows]
    kept = np.isfinite(of_rows[np.arange(len(rows)), targets])
    found = chosen.ranks(targets, rows if shared else None)
    own = of_rows[np.arange(len(rows)), targets][:, None]
    np.testing.assert_array_equal(found[kept], (of_rows >= own).sum(axis=1)[kept])


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([8, 64, 200]), st.booleans())
def test_rounded_scores_are_as_near_as_the_bound_says(seed, dim, with_bias):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(1000, dim, generator=generator)
    keys *= torch.rand(1000, 1, generator=generator) * 3
    queries = 10 * torch.randn(40, dim, generator=generator)
    bias = 5 * torch.randn(1000, generator=generator) if with_bias else None
    exact = queries.double() @ keys.double().T + (bias.double() if with_bias else 0)
    preselector = Preselector(keys, bias)
    rough, error = preselector.rounded(queries)
    assert (error < 0.02 * queries.norm(dim=1) * keys.norm(dim=1).max() + 1e-3).all()
    low = _preselect._bits_of((exact - error[:, None]).float())
    high = _preselect._bits_of((exact + error[:, None]).float())
    for begin, bits in preselector.tiles(rough, (NONE, NONE)):
        n = min(len(bits), 1000 - begin)
        bits = _preselect._in_order(bits[:n].T)
        assert (low[:, begin : begin + n] <= bits).all()
        assert (bits <= high[:, begin : begin + n]).all()


@pytest.mark.parametrize("scale", [1e-30, 1, 1e25])
def test_scores_of_any_size(scale):
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(1000, 16, generator=generator)
    queries = scale * torch.randn(40, 16, generator=generator)
    chosen = Preselected(Preselector(keys), queries, (NONE, NONE), np.float32(NONE))
    columns, values = topk_codes(queries @ keys.T, 10)
    found, found_values = chosen.topk(10)
    np.testing.assert_array_equal(found, columns)
    np.testing.assert_allclose(found_values, values, rtol=1e-4)
    targets = columns[:, 4].copy()
    assert (chosen.ranks(targets) == 5).all()


def test_scores_that_overflow_are_refused():
    keys, queries = torch.full((1000, 4), 1e20), torch.full((40, 4), 1e20)
    chosen = Preselected(Preselector(keys), queries, (NONE, NONE), np.float32(NONE))
    with pytest.raises(ValueError, match="not finite"):
        chosen.topk(3)
    with pytest.raises(ValueError, match="not finite"):
        chosen.ranks(np.arange(40))


N_ITEMS = 400
MODELS = {
    "cosine": {},
    "dot": {"similarity": None},
    "late features": {"item_features": "late"},
    "users": {"prompt": ("cluster", "user")},
    "votes": {"unseen_items": "vote"},
}


@functools.cache
def fitted(name, backbone="gru4rec"):
    rng = np.random.default_rng(0)
    rows = [rng.permutation(N_ITEMS)[: rng.integers(2, 7)] for _ in range(300)]
    X = Sessions.from_lists([*rows, range(N_ITEMS)], users=np.arange(301) % 7)
    params = dict(MODELS[name])
    if "item_features" in params:
        vectors = rng.normal(size=(N_ITEMS, 5)).astype(np.float32)
        features = ItemFeatures(list(range(N_ITEMS)), vectors)
        params["item_features"] = Fusion(features, kind="late")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return small(backbone, max_epochs=1, max_session_length=7, **params).fit(X)


@pytest.fixture
def fast(monkeypatch):
    """Blocks that were preselected, on a CPU where that is worth it."""
    used = []
    monkeypatch.setattr(_devices, "_gain_of_bf16", lambda: 3.0)
    monkeypatch.setattr(_preselect, "_FEWEST_QUERIES", 20)
    monkeypatch.setattr(_preselect, "_FEWEST_ITEMS", N_ITEMS)
    init = Preselected.__init__

    def spy(self, *args):
        used.append(self)
        init(self, *args)

    monkeypatch.setattr(Preselected, "__init__", spy)
    return used


def asked(n=150):
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, 60, rng.integers(1, 12)).tolist() for _ in range(n)]
    rows += [[], [10**6], [1, 10**6, 2], list(range(N_ITEMS))] + [[3]] * 5
    return Sessions.from_lists(rows, users=np.arange(len(rows)) % 9)


def answers(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            model.predict_topk(X, k=1, return_scores=True),
            model.predict_topk(X, k=20, return_scores=True),
            model.predict_topk(X, k=20, return_scores=True, exclude_seen=True),
            model.predict_topk(X, k=300, return_scores=True),
            model.rank_targets(X),
        )


def assert_near(found, expected):
    """Scores may differ in their last bits, and what is as good in its place."""
    for (items, scores), (right, right_scores) in zip(
        found[:-1], expected[:-1], strict=True
    ):
        np.testing.assert_allclose(scores, right_scores, rtol=2e-5, atol=2e-5)
        assert np.mean(items == right) > 0.99
    assert np.mean(found[-1] == expected[-1]) > 0.99


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_answers_as_without(name, repeats, fast, monkeypatch):
    model = fitted(name)
    if repeats:
        recency = np.linspace(0.5, -0.4, 12, dtype=np.float32)
        bias = RepeatBias(recency, np.linspace(0, 0.3, 4, dtype=np.float32))
        fit = model._fitted
        monkeypatch.setitem(model.__dict__, "_fitted", fit.with_repeats(bias))
    X = asked()
    found = answers(model, X)
    assert fast
    n_used = len(fast)
    monkeypatch.setattr(_devices, "_gain_of_bf16", lambda: 1.0)
    assert_near(found, answers(model, X))
    assert len(fast) == n_used


@pytest.mark.parametrize("name", ["cosine", "dot"])
def test_ranks_of_several_targets_are_those_without(name, fast, monkeypatch):
    X = asked()[:120]
    found, offsets = fitted(name).rank_targets(X, targets="remaining")
    assert fast
    monkeypatch.setattr(_devices, "_gain_of_bf16", lambda: 1.0)
    expected, same = fitted(name).rank_targets(X, targets="remaining")
    np.testing.assert_array_equal(offsets, same)
    assert len(found) > 1.5 * (len(offsets) - 1)  # several of most
    assert np.mean(found == expected) > 0.99


def test_threads_change_nothing(fast, monkeypatch):
    model, X = fitted("cosine"), asked(400)
    found = answers(model, X)
    monkeypatch.setattr(_threads, "cpu_count", lambda: 3)
    monkeypatch.setattr(_threads, "_LARGE", 0)
    monkeypatch.setitem(model.__dict__, "n_threads", 3)
    for one, three in zip(found, answers(model, X), strict=True):
        for a, b in zip(np.atleast_1d(one), np.atleast_1d(three), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_cannot_be_preselected_is_not(fast):
    model, X = fitted("cosine"), asked()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.predict_topk(X, k=5, deny=[3, 4])
        model.predict_topk(X, k=5, allow=list(range(50)), exclude_seen=True)
        model.decision_function(X)
        model.predict_topk(X[:8], k=5)
        fitted("cosine", PoMRec(aggregation="max")).predict_topk(X, k=5)
        fitted("cosine", "tagnn").rank_targets(X)
    assert not fast


def test_small_catalogs_are_not_preselected(fast, monkeypatch):
    monkeypatch.setattr(_preselect, "_FEWEST_ITEMS", N_ITEMS + 1)
    answers(fitted("cosine"), asked())
    assert not fast
