"""Ranking metrics with one target per row, and scorers for scikit-learn."""

import re

import numpy as np

__all__ = [
    "SessionScorer",
    "mrr_at_k",
    "ndcg_at_k",
    "recall_at_k",
    "target_ranks",
]


def target_ranks(scores, targets, *, ties="pessimistic"):
    r"""Return the rank of each row's target among all columns, 1 = best.

    .. math:: \mathrm{rank} = 1 + \#\{j: s_j > s_t\} + \mathrm{ties}

    Parameters
    ----------
    scores : array-like of shape (n, n_items)
        Finite scores, higher is better.
    targets : array-like of shape (n,)
        Column of each row's target.
    ties : {"pessimistic", "average", "optimistic"}, default="pessimistic"
        Items that score the same as the target count all, half or not at all. The
        default lets a model that gives every item the same score rank last.

    Returns
    -------
    ranks : ndarray of shape (n,), float64
        1 = best; halves occur with ``ties="average"``.

    Raises
    ------
    ValueError
        A score is not finite, or `ties` is unknown.

    Examples
    --------
    >>> from skclip.metrics import target_ranks
    >>> target_ranks([[.3, .9, .1, .9, .5]], [1]).tolist()
    [2.0]
    >>> target_ranks([[.3, .9, .1, .9, .5]], [1], ties="optimistic").tolist()
    [1.0]
    """
    shares = {"pessimistic": 1.0, "average": 0.5, "optimistic": 0.0}
    if ties not in shares:
        raise ValueError(f"ties must be one of {sorted(shares)}, got {ties!r}.")
    scores, targets = np.asarray(scores), np.asarray(targets)
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise ValueError(f"Row {row} of scores is not finite; ranks are undefined.")
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    better = (scores > own).sum(axis=1)
    equal = (scores == own).sum(axis=1) - 1
    return 1.0 + better + shares[ties] * equal


def recall_at_k(ranks, k):
    r"""Share of targets in the top k (also hit rate, or P@k of the SR-GNN family).

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k]

    Parameters
    ----------
    ranks : array-like of shape (n,)
        Rank of each target, 1 = best; ``inf`` = not in the catalogue, a miss.
    k : int
        Cut-off, at least 1.

    Returns
    -------
    recall : float
        In [0, 1].

    Examples
    --------
    >>> from skclip.metrics import recall_at_k
    >>> recall_at_k([1, 2, 5, float("inf")], k=2)
    0.5
    """
    return float((_ranks(ranks, k) <= k).mean())


def mrr_at_k(ranks, k):
    r"""Mean reciprocal rank, 0 for targets outside the top k.

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k] / \mathrm{rank}_i

    Parameters
    ----------
    ranks : array-like of shape (n,)
        Rank of each target, 1 = best; ``inf`` = not in the catalogue, a miss.
    k : int
        Cut-off, at least 1.

    Returns
    -------
    mrr : float
        In [0, 1].

    Examples
    --------
    >>> from skclip.metrics import mrr_at_k
    >>> mrr_at_k([1, 2, 5, float("inf")], k=2)
    0.375
    """
    ranks = _ranks(ranks, k)
    return float(np.where(ranks <= k, 1.0 / ranks, 0.0).mean())


def ndcg_at_k(ranks, k):
    r"""Normalised discounted cumulative gain with one relevant item per row.

    .. math:: \frac{1}{n} \sum_i [\mathrm{rank}_i \le k] / \log_2(1 + \mathrm{rank}_i)

    Parameters
    ----------
    ranks : array-like of shape (n,)
        Rank of each target, 1 = best; ``inf`` = not in the catalogue, a miss.
    k : int
        Cut-off, at least 1.

    Returns
    -------
    ndcg : float
        In [0, 1].

    Examples
    --------
    >>> from skclip.metrics import ndcg_at_k
    >>> ndcg_at_k([1, 3, 5, float("inf")], k=3)
    0.375
    """
    ranks = _ranks(ranks, k)
    return float(np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0).mean())


def _ranks(ranks, k):
    ranks = np.asarray(ranks, dtype=np.float64)
    if ranks.ndim != 1 or len(ranks) == 0 or not (ranks >= 1).all():
        raise ValueError(
            f"ranks must be a non-empty 1-D array of numbers >= 1, got {ranks!r:.80}."
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k!r}.")
    return ranks


METRICS = {"recall": recall_at_k, "mrr": mrr_at_k, "ndcg": ndcg_at_k}


def parse_metric(name):
    """Turn ``"mrr@20"`` into a function of ranks and its cut-off."""
    match = re.fullmatch(r"([a-z]+)@([1-9]\d*)", str(name))
    if not match or match[1] not in METRICS:
        expected = ", ".join(f"'{metric}@k'" for metric in METRICS)
        raise ValueError(
            f"Unknown metric {name!r}. Expected {expected} with a whole number k, "
            "for instance 'mrr@20'."
        )
    return METRICS[match[1]], int(match[2])


class SessionScorer:
    """Score a fitted recommender by ranking metrics, as scikit-learn's scorers do.

    Pass it as ``scoring=`` to ``cross_validate``, ``GridSearchCV`` and others, on a
    recommender or a Pipeline that ends in one. All metrics share one forward pass.

    Parameters
    ----------
    *names : str
        ``"recall@k"``, ``"mrr@k"`` or ``"ndcg@k"`` with a number for k. One name
        gives a float, several a dictionary.

    Examples
    --------
    >>> from skclip import PopularityRecommender
    >>> from skclip.metrics import SessionScorer
    >>> X = [["a", "b"], ["a", "b"], ["a", "c"]]
    >>> popular = PopularityRecommender().fit(X)
    >>> SessionScorer("recall@1", "recall@2")(popular, [["c", "a"], ["a", "b"]])
    {'recall@1': 0.5, 'recall@2': 1.0}
    """

    def __init__(self, *names):
        if not names:
            raise ValueError("SessionScorer needs at least one metric, like 'mrr@20'.")
        for name in names:
            parse_metric(name)
        self.names = names

    def __call__(self, estimator, X, y=None):
        """Score a fitted estimator.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            What holds a recommender as its last step or best estimator.
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row; None scores every prefix of every session.

        Returns
        -------
        values : float or dict
            The metric, or a dictionary where there are several.
        """
        estimator, X = unwrap(estimator, X)
        ranks = estimator.rank_targets(X, y)
        values = {}
        for name in self.names:
            metric, k = parse_metric(name)
            values[name] = metric(ranks, k)
        return values if len(self.names) > 1 else values[self.names[0]]

    def __repr__(self):
        return f"SessionScorer({', '.join(map(repr, self.names))})"


def unwrap(estimator, X):
    """Reach the recommender inside fitted searches and pipelines.

    Returns
    -------
    estimator : object with ``predict_topk``
    X : object
        `X` after the pipeline's earlier steps.
    """
    while not hasattr(estimator, "predict_topk"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            if len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif hasattr(estimator, "estimator"):
            estimator = estimator.estimator
        else:
            raise TypeError(
                f"{type(estimator).__name__} holds no recommender with predict_topk. "
                "Pass a fitted CLIPSessionRecommender, a Pipeline that ends in one, "
                "or a fitted search over one."
            )
    return estimator, X


def predict_topk(estimator, X, k=None, **options):
    """Rank the catalogue with a recommender inside a Pipeline or a search.

    scikit-learn's Pipeline and GridSearchCV do not forward ``predict_topk``.

    Parameters
    ----------
    estimator : fitted recommender, Pipeline or search
        What holds a recommender as its last step or best estimator.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,); earlier steps transform them.
    k : int, default=None
        Number of items per session; None is the smaller of 20 and the size of the
        catalogue.
    **options : dict
        Passed on, see ``CLIPSessionRecommender.predict_topk``.

    Returns
    -------
    items : ndarray of shape (n_sessions, k)
        Raw item ids, best first.

    Raises
    ------
    TypeError
        There is no recommender inside `estimator`.

    Examples
    --------
    >>> import skclip
    >>> from sklearn.pipeline import make_pipeline
    >>> shop = make_pipeline(
    ...     skclip.SessionClusterer(random_state=0), skclip.PopularityRecommender()
    ... )
    >>> shop = shop.fit([["a", "b"], ["b", "c"], ["b"]])
    >>> skclip.predict_topk(shop, [["c"]], k=2).tolist()
    [['b', 'a']]
    """
    estimator, X = unwrap(estimator, X)
    return estimator.predict_topk(X, k, **options)
