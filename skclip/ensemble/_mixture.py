"""Probabilities from scores, and the most likely mixture of several members."""

import numpy as np
import torch

from skclip._data import ItemIndex, query_data
from skclip._inside import unwrap

TEMPERATURES = 2.0 ** np.arange(-6, 2.5, 0.5)  # 1/64 to 4
_MOST_TARGETS = 10_000
_FLOOR = 1e-9  # added to the probability of each target, so that its log is finite
_SMALLEST_WEIGHT = 1e-4
_N_STEPS = 200
_TOLERANCE = 1e-6  # of weights, and of the mean log likelihood


def check_probabilities(named_members):
    """Raise an error for members whose scores are neither logits nor weights."""
    for name, member in named_members:
        recommender, _ = unwrap(member, None)
        if getattr(recommender, "_scores_are", None) is None:
            raise TypeError(
                f"The member {name!r} is a {type(recommender).__name__}, whose scores "
                "cannot be turned into probabilities. Use method='rrf', which only "
                "needs ranks. If the member is a reranker, wrap it around the blend: "
                "LLMReranker(VotingRecommender(...))."
            )


# -- probabilities ---------------------------------------------------------------------


def probability_chunks(recommender, sessions, temperature):
    """Yield (positions, probabilities of all items) for chunks of sessions.

    Rows sum to 1, except rows whose weights are all 0, which stay 0.
    """
    queries = recommender._queries(sessions)
    for at, levels, fixed, shares in _chunks(recommender, queries):
        if recommender._scores_are == "logits":
            _tempered(levels, temperature, out=levels)
        elif temperature != 1:
            _tempered(levels.log_(), temperature, out=levels)
        levels.div_(levels.sum(dim=1, keepdim=True))
        levels[fixed] = shares
        yield at, levels.cpu()


def target_probabilities(recommender, sessions, targets):
    """Probability of each target at each temperature, 0 outside the catalog.

    Returns an array (n_temperatures, n_targets) for `TEMPERATURES`.
    """
    queries = recommender._queries(sessions)
    codes = recommender._index.codes_of(targets)
    known = np.flatnonzero(codes)
    table = np.zeros((len(TEMPERATURES), len(targets)))
    queries = queries.take(known)
    for at, levels, fixed, shares in _chunks(recommender, queries):
        if recommender._scores_are == "weights":
            levels.log_()
        column = torch.from_numpy(codes[known[at]] - 1).long().to(levels.device)
        tempered = torch.empty_like(levels)
        for row, temperature in zip(table, TEMPERATURES.tolist(), strict=True):
            _tempered(levels, temperature, out=tempered)
            own = tempered.gather(1, column[:, None])[:, 0] / tempered.sum(dim=1)
            own[fixed] = shares[column[fixed]]
            row[known[at]] = own.cpu().numpy()
    return table


def _tempered(logits, temperature, out):
    """exp(logits / temperature) of logits up to 0.

    A power of the probabilities would round equal values differently. Powers below
    e ** -80 would be subnormal numbers, which are many times slower.
    """
    return torch.div(logits, temperature, out=out).clamp_(min=-80).exp_()


def _chunks(recommender, queries):
    """Yield positions, scores, a mask of rows with fixed probabilities, and these.

    The largest score of a row becomes 0 for logits and 1 for weights. A recommender
    with logits ranks sessions without a known item by popularity. Items of these
    sessions get their share of the clicks as probability. If the weights of a row are
    all 0, so are its probabilities.
    """
    logits = recommender._scores_are == "logits"
    by_popularity = recommender._by_popularity(queries)
    for at, scores in recommender._masked_chunks(queries):
        largest = scores.amax(dim=1, keepdim=True)
        counts = scores.new_tensor(recommender.item_counts_)
        if logits:
            fixed = torch.from_numpy(by_popularity[at]).to(scores.device)
            yield at, scores.sub_(largest), fixed, counts / counts.sum()
        else:
            fixed = largest[:, 0] <= 0
            yield at, scores.div_(largest), fixed, 0 * counts


# -- learning --------------------------------------------------------------------------


def prefixes_with_targets(sessions, y=None):
    """Prefixes of sessions with their next items, at most 10,000, evenly spread.

    With `y`, each session is one prefix.
    """
    if len(sessions) == 0:
        return sessions, sessions.vocabulary[:0]
    item_ids = sessions.vocabulary
    queries = query_data(sessions, ItemIndex(item_ids), every_prefix=y is None)
    targets = item_ids[queries.targets - 1] if y is None else y
    n = len(queries)
    rows = np.arange(n)
    if n > _MOST_TARGETS:
        rows = np.linspace(0, n - 1, _MOST_TARGETS).astype(np.int64)
    return queries.take(rows).as_sessions(item_ids), targets[rows]


def learn_mixture(tables):
    r"""Find the weights and temperatures that maximize the likelihood of the targets.

    `tables` holds the probability of each target by each member at each temperature,
    (n_members, n_temperatures, n_targets). The maximum is that of the mean of
    :math:`\log(\sum_m w_m p_{m,T_m} + 10^{-9})`. One temperature after the other is
    changed, each time with the best weights, until no change helps. A member's
    temperature is never fitted by its own likelihood. That would be dominated by
    targets that this member does not expect, although another member does.
    """
    n_members = len(tables)
    members = np.arange(n_members)
    chosen = np.full(n_members, np.flatnonzero(TEMPERATURES == 1)[0])
    weights, best = mixture_weights(tables[members, chosen])
    before = -np.inf
    while best > before + _TOLERANCE:
        before = best
        for member in members:
            for temperature in range(len(TEMPERATURES)):
                trial = np.where(members == member, temperature, chosen)
                found, value = mixture_weights(tables[members, trial])
                if value > best:
                    chosen, weights, best = trial, found, value
    used = weights >= _SMALLEST_WEIGHT  # others only cost time
    weights = np.where(used, weights, 0) / weights[used].sum()
    return weights, np.where(used, TEMPERATURES[chosen], 1.0)


def mixture_weights(probabilities):
    """Find the most likely weights by EM, and the mean log likelihood.

    `probabilities` (n_members, n_targets) are those of the targets. The likelihood is
    concave in the weights.
    """
    weights = np.full(len(probabilities), 1 / len(probabilities))
    for _ in range(_N_STEPS):
        shares = (probabilities / (weights @ probabilities + _FLOOR)).mean(axis=1)
        new = weights * shares
        if new.sum() == 0:
            break
        new /= new.sum()
        moved, weights = abs(new - weights).max(), new
        if moved < _TOLERANCE:
            break
    return weights, np.log(weights @ probabilities + _FLOOR).mean()
