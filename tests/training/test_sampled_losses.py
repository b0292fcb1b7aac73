import math

import numpy as np
import pytest
import torch
from test_losses import case, gradients, plain, relative

from skclip import CLIPSessionRecommender
from skclip._training import SAMPLED_LOSSES, SampledLoss, check_sample_fits
from skclip.backbones import BACKBONES


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def naive_sampled(kind, positive, negatives, log_expected, m, n_items, v=None):
    """One row, from the formulas; lists without the hits; `v` weighs negatives."""
    v = [1.0] * len(negatives) if v is None else v
    if kind == "sampled_softmax":
        rest = sum(
            math.exp(s - q) for s, q in zip(negatives, log_expected, strict=True)
        )
        return -positive + math.log(math.exp(positive) + rest)
    if kind == "bpr":
        terms = [
            -w * math.log(sigmoid(positive - s))
            for w, s in zip(v, negatives, strict=True)
        ]
        return sum(terms) / max(1, len(terms))
    if kind in ("bpr-max", "bpr-softmax"):
        weights = [w * math.exp(s) for w, s in zip(v, negatives, strict=True)]
        weights = [w / sum(weights) for w in weights]
        pairs = list(zip(weights, negatives, strict=True))
        better = sum(w * sigmoid(positive - s) for w, s in pairs)
        penalty = sum(w * s * s for w, s in pairs) if kind == "bpr-max" else 0.0
        return -math.log(better) + penalty
    r = m / (n_items - 1)
    beta = r * (0.75 * (1 - 1 / r) + 1 / r)
    rest = sum(w * math.log(1 - sigmoid(s)) for w, s in zip(v, negatives, strict=True))
    return -(beta * math.log(sigmoid(positive)) + rest) / (m + 1)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("kind", SAMPLED_LOSSES)
def test_sampled_losses_equal_naive_loops(kind, with_bias):
    queries, table, targets, bias = case(6, 12, 4, 0.5, with_bias)
    weights = torch.arange(1.0, 13.0)
    m, asked = 8, []

    def keys(items):
        asked.append(items)
        return table[items]

    torch.manual_seed(0)
    loss = SampledLoss(kind, m, weights)
    value = loss(queries, targets, keys, scale=0.7, bias=bias)
    sample = asked[0][len(targets) :].tolist()
    assert asked[0][: len(targets)].equal(targets)
    assert any(t in sample for t in targets.tolist())  # hits are covered
    scores = 0.7 * queries @ table.T + (0 if bias is None else bias)
    expected = []
    for row, target in zip(scores.tolist(), targets.tolist(), strict=True):
        kept = [j for j in sample if j != target]
        log_expected = [math.log(m * float(weights[j] / weights.sum())) for j in kept]
        negatives = [row[j] for j in kept]
        expected.append(
            naive_sampled(kind, row[target], negatives, log_expected, m, 12)
        )
    assert float(value) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


WEIGHED = sorted(set(SAMPLED_LOSSES) - {"sampled_softmax"})


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", WEIGHED)
def test_weights_of_negatives_equal_naive_loops(kind, shared):
    queries, table, targets, _ = case(6, 12, 4, 0.5, False)
    m, asked = 8, []
    v = torch.where(torch.arange(12) < 6, 0.1, 1.0)

    def keys(items):
        asked.append(items)
        return table[items]

    torch.manual_seed(0)
    loss = SampledLoss(kind, m, torch.ones(12), shared=shared, item_weights=v)
    value = loss(queries, targets, keys)
    samples = asked[0][len(targets) :]
    samples = samples.expand(6, m) if shared else samples.view(6, m)
    expected = []
    for row, sample, target in zip(
        (queries @ table.T).tolist(), samples.tolist(), targets.tolist(), strict=True
    ):
        kept = [j for j in sample if j != target]
        weights = [float(v[j]) for j in kept]
        negatives = [row[j] for j in kept]
        expected.append(
            naive_sampled(kind, row[target], negatives, None, m, 12, weights)
        )
    assert float(value) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


@pytest.mark.parametrize("kind", WEIGHED)
def test_a_negative_of_weight_w_is_pushed_down_w_times_as_hard(kind):
    """Of scores that are all equal; never up."""
    v = torch.tensor([1.0, 1.0, 0.1])  # the target, and two negatives
    loss = SampledLoss(kind, 2, torch.ones(3), item_weights=v)
    negative = torch.zeros(1, 2, requires_grad=True)
    sample, hit = torch.tensor([1, 2]), torch.zeros(1, 2, dtype=torch.bool)
    loss._of(torch.zeros(1), negative, sample, hit).backward()
    plain_one, weighed = negative.grad[0].tolist()
    assert plain_one > 0
    assert weighed == pytest.approx(0.1 * plain_one, rel=1e-5)


@pytest.mark.parametrize("kind", WEIGHED)
def test_weights_of_one_are_the_plain_loss(kind):
    queries, table, targets, _ = case(20, 30, 5, 1.0, False)
    values = []
    for v in (None, torch.ones(30)):
        torch.manual_seed(0)
        loss = SampledLoss(kind, 10, torch.ones(30), item_weights=v)
        values.append(loss(queries, targets, lambda items: table[items]))
    assert values[0].equal(values[1])


@pytest.mark.parametrize("popularity", [False, True])
def test_sampled_softmax_estimates_the_full_one(popularity):
    queries, table, targets, _ = case(50, 300, 8, 0.3, False)
    weights = torch.arange(1.0, 301.0) if popularity else torch.ones(300)
    torch.manual_seed(0)
    loss = SampledLoss("sampled_softmax", 20_000, weights)
    value = float(loss(queries, targets, lambda items: table[items]))
    full = float(plain(queries, table, targets, 1.0, None))
    assert value == pytest.approx(full, rel=0.01)


@pytest.mark.parametrize("loss", SAMPLED_LOSSES)
@pytest.mark.parametrize("candidates", ["raw", "prompted"])
def test_sampled_losses_train(loss, candidates, shop_split):
    train, test = shop_split
    model = CLIPSessionRecommender(
        "gru4rec",
        loss=loss,
        n_negatives=40,
        candidates=candidates,
        embedding_dim=16,
        learning_rate=0.03 if loss == "gbce" else 0.01,  # it learns slowly
        max_epochs=40,
        n_iter_no_change=40,
        batch_size=128,
        random_state=0,
        n_threads=1,
    ).fit(train)
    assert model.score(test) > 0.25  # popularity has 0.14
    again = CLIPSessionRecommender(**model.get_params()).fit(train)
    assert (again.decision_function(test) == model.decision_function(test)).all()


@pytest.mark.parametrize("loss", SAMPLED_LOSSES)
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_takes_every_loss(backbone, loss, shop_split):
    train, test = shop_split
    model = CLIPSessionRecommender(
        backbone,
        loss=loss,
        n_negatives=20,
        embedding_dim=8,
        max_epochs=1,
        random_state=0,
        n_threads=1,
    ).fit(train[:100])
    assert np.isfinite(model.decision_function(test[:5])).all()
    assert np.isfinite(model.history_[0]["train_loss"])


@pytest.mark.parametrize("kind", SAMPLED_LOSSES)
def test_scorers_that_are_no_product_give_the_same_loss(kind, monkeypatch):
    """A scorer that happens to be a product, in blocks, against the product."""
    queries, table, targets, _ = case(40, 30, 5, 1.0, False)

    class Scorer:
        score_chunk = staticmethod(lambda state, keys: 0.7 * state @ keys.T)
        chunk_width = staticmethod(lambda state: 4)

    losses = {
        "product": lambda q, k, b: loss(q, targets, lambda i: k[i], scale=0.7),
        "scorer": lambda q, k, b: loss(q, targets, lambda i: k[i], scorer=Scorer()),
    }
    found = []
    for function in losses.values():
        torch.manual_seed(0)
        loss = SampledLoss(kind, 25, torch.arange(1.0, 31.0))
        found.append(gradients(function, queries, table, None))
    for one, other in zip(*found, strict=True):
        assert relative(one, other) < 1e-5


def test_untouched_items_keep_their_vectors():
    rows = [["a", "b"]] * 30 + [["c"]]
    options = {
        "loss": "sampled_softmax",
        "n_negatives": 1,
        "negative_sampling": "popularity",
    }
    one, three = (
        CLIPSessionRecommender(
            "gru4rec",
            **options,
            max_epochs=epochs,
            learning_rate=0.1,
            early_stopping=False,
            random_state=1,
            batch_size=64,
        ).fit(rows)
        for epochs in (1, 3)
    )
    changed = (one._model.item_table != three._model.item_table).any(dim=1).tolist()
    assert changed[0] or changed[1]
    assert not changed[2]


@pytest.mark.parametrize("with_bias", [False, True])
def test_gradients_of_sampled_softmax_equal_autograd(with_bias):
    """Scores far apart, hits, a sample with repetitions; two steps, one workspace."""
    queries, table, targets, bias = case(40, 30, 5, 4.0, with_bias)
    m, weights = 25, torch.arange(1.0, 31.0)
    loss = SampledLoss("sampled_softmax", m, weights)

    def ours(q, k, b):
        torch.manual_seed(3)
        return loss(q, targets, lambda items: k[items], scale=0.7, bias=b)

    def expected(q, k, b):
        torch.manual_seed(3)
        seen = []
        loss(q, targets, lambda items: seen.append(items) or k[items])
        sample = seen[0][len(targets) :]
        scores = 0.7 * q @ k.T + (0 if b is None else b)
        negative = scores[:, sample] - (m * weights / weights.sum())[sample].log()
        negative = negative.masked_fill(sample == targets[:, None], -torch.inf)
        positive = scores.gather(1, targets[:, None])
        both = torch.cat([positive, negative], dim=1)
        return (both.logsumexp(dim=1) - positive[:, 0]).mean()

    first = gradients(ours, 0.1 * queries, table, bias)
    kept = [x.clone() for x in first]
    found = gradients(ours, queries, table, bias)
    for one, other in zip(
        found, gradients(expected, queries, table, bias), strict=True
    ):
        assert relative(one, other) < 1e-5
    for one, other in zip(first, kept, strict=True):
        assert torch.equal(one, other)


def test_bad_sample_sizes():
    with pytest.raises(ValueError, match="n_negatives=9 exceeds the catalogue of 3"):
        CLIPSessionRecommender(loss="bpr", n_negatives=9).fit([["a", "b", "c"]] * 4)
    with pytest.raises(ValueError, match=r"takes 3.7 GiB a step.*n_negatives <= 536"):
        check_sample_fits("sampled_softmax", 1_000_000, 1000)
    with pytest.raises(ValueError, match=r"takes 33.5 GiB a step.*n_negatives <= 59"):
        check_sample_fits("bpr-max", 1_000_000, 1000)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("kind", SAMPLED_LOSSES)
def test_samples_of_ones_own_equal_naive_loops(kind, with_bias):
    queries, table, targets, bias = case(6, 12, 4, 0.5, with_bias)
    weights, m, asked = torch.arange(1.0, 13.0), 5, []

    def keys(items):
        asked.append(items)
        return table[items]

    class Scorer:
        score_chunk = staticmethod(lambda state, keys: 0.7 * state @ keys.T)

    loss = SampledLoss(kind, m, weights, shared=False)
    torch.manual_seed(0)
    value = loss(queries, targets, keys, scale=0.7, bias=bias)
    torch.manual_seed(0)
    by_scorer = loss(queries, targets, keys, bias=bias, scorer=Scorer())
    samples = asked[0][len(targets) :].view(6, m).tolist()
    assert len({tuple(sample) for sample in samples}) == 6  # each has its own
    pairs = zip(samples, targets.tolist(), strict=True)
    assert any(t in sample for sample, t in pairs)  # hits are covered
    scores = 0.7 * queries @ table.T + (0 if bias is None else bias)
    expected = []
    for row, target, sample in zip(
        scores.tolist(), targets.tolist(), samples, strict=True
    ):
        kept = [j for j in sample if j != target]
        log_expected = [math.log(m * float(weights[j] / weights.sum())) for j in kept]
        negatives = [row[j] for j in kept]
        arguments = (kind, row[target], negatives, log_expected, m, 12)
        expected.append(naive_sampled(*arguments))
    assert float(value) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(by_scorer) == pytest.approx(float(value), rel=1e-5)


def test_samples_of_ones_own_are_bounded_too():
    with pytest.raises(ValueError, match=r"takes 3\.9 GiB a step"):
        check_sample_fits("bpr", 4096, 1900, vectors_of=64)
