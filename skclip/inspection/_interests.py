"""Vectors, weights and attention of PoMRec's interests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from skclip._data import query_data, warn_unknown
from skclip._inside import fitted_of, recommender_inside, unwrap
from skclip._model import read_states
from skclip._typing import Estimator, FloatArray, SessionsLike
from skclip.backbones import PoMRec


def interest_vectors(recommender: Estimator, X: SessionsLike) -> FloatArray:
    """Return the interests of sessions.

    Parameters
    ----------
    recommender : fitted CLIPSessionRecommender, Pipeline or search
        Fitted recommender with ``backbone="pomrec"``, or a pipeline or search that ends
        in one.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,).

    Returns
    -------
    vectors : ndarray of shape (n_sessions, n_interests, embedding_dim), float32
        Vectors of the interests before they are weighted. NaN for a session without a
        known item.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.inspection import interest_vectors
    >>> X = [["a", "b", "c"], ["b", "c"], ["d", "e"]] * 8
    >>> rec = CLIPSessionRecommender("pomrec", embedding_dim=8, max_epochs=1).fit(X)
    >>> interest_vectors(rec, [["a", "b"]]).shape
    (1, 3, 8)
    """
    fitted, X = _fitted(recommender, X)
    (vectors,) = fitted.read(X, lambda batch: (_interests(fitted, batch).vectors,))
    return vectors


def interest_weights(recommender: Estimator, X: SessionsLike) -> FloatArray:
    """Return the weights of the interests.

    Parameters
    ----------
    recommender, X : object
        Parameters of `interest_vectors`.

    Returns
    -------
    weights : ndarray of shape (n_sessions, n_interests), float32
        Weights of each session, which sum to 1. NaN for a session without a known
        item.

    Raises
    ------
    ValueError
        The backbone has ``aggregation="max"`` and therefore no weights.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.inspection import interest_weights
    >>> X = [["a", "b", "c"], ["b", "c"], ["d", "e"]] * 8
    >>> rec = CLIPSessionRecommender("pomrec", embedding_dim=8, max_epochs=1).fit(X)
    >>> interest_weights(rec, [["a", "b"]]).sum().round(4).item()
    1.0
    """
    fitted, X = _fitted(recommender, X)
    if fitted.model.network.aggregation == "max":
        raise ValueError(
            "PoMRec(aggregation='max') has no weights, because it scores each item by "
            "the nearest interest. Fit with aggregation='weighted'."
        )
    (weights,) = fitted.read(X, lambda batch: (_interests(fitted, batch).weights,))
    return weights


@torch.no_grad()
def interest_assignments(
    recommender: Estimator, X: SessionsLike
) -> tuple[list[FloatArray], FloatArray]:
    """Return the attention of each interest to each event.

    Parameters
    ----------
    recommender, X : object
        Parameters of `interest_vectors`.

    Returns
    -------
    assignments : list of ndarray of shape (n_read, n_interests), float32
        Attention of each interest to the events of each session. The model reads the
        latest `max_session_length` events. It reads items that were not seen in `fit`
        only with ``unseen_items="vote"``. Several interests may attend to the same
        event.
    prompt_share : ndarray of shape (n_sessions, n_interests), float32
        Attention to the extractor's prompt tokens. Together with a column of the
        assignments it sums to 1. NaN for a session without a known item.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.inspection import interest_assignments
    >>> X = [["a", "b", "c"], ["b", "c"], ["d", "e"]] * 8
    >>> rec = CLIPSessionRecommender("pomrec", embedding_dim=8, max_epochs=1).fit(X)
    >>> assignments, share = interest_assignments(rec, [["a", "b"]])
    >>> (assignments[0].sum(axis=0) + share[0]).round(4).tolist()
    [1.0, 1.0, 1.0]
    """
    fitted, X = _fitted(recommender, X)

    def rows(batch):
        found = _interests(fitted, batch)
        return found.prompt_share, found.assignments

    queries = query_data(X, fitted.index)
    read = "The model reads only the prompts of their clusters."
    ignored = "They are ignored."
    warn_unknown(queries, fitted.index, read if fitted.votes else ignored)
    instances = fitted.observed(queries)
    lengths = instances.stops - instances.starts
    n_interests = fitted.model.network.n_interests
    share = np.full((len(queries), n_interests), np.nan, dtype=np.float32)
    result = [np.zeros((0, n_interests), dtype=np.float32) for _ in lengths]
    where = np.flatnonzero(lengths > 0)
    for at, state in read_states(fitted.model, instances.take(where), rows):
        share[where[at]] = state[0].float().cpu().numpy()
        for row, i in zip(state[1].float().cpu().numpy(), where[at], strict=True):
            result[i] = row[: lengths[i]].copy()
    return result, share


def interest_report(recommender: Estimator, X: SessionsLike) -> dict[str, Any]:
    """Return statistics that show whether the interests are used.

    Parameters
    ----------
    recommender, X : object
        Parameters of `interest_vectors`.

    Returns
    -------
    report : dict
        Means over the sessions with a known item. The prompts of the aggregator are
        not included.

        - ``mean_weights``: list of n_interests floats, or None with
          ``aggregation="max"``. An interest below 0.02 is not used.
        - ``interest_cosine``: mean cosine of pairs of interests, or None with one
          interest. Above 0.95 the interests are nearly the same.
        - ``dominance``: length of the weighted dispersion, divided by the sum of its
          length and the length of the center. Above 0.9 the centers hardly matter.
        - ``prompt_share``: attention of the extractor to its prompt tokens. Above 0.8
          the events hardly matter.
        - ``prompt_norm_ratio``: length of the extractor's prompt tokens, divided by the
          length of the events with their positions. None without prompt tokens.

    Raises
    ------
    ValueError
        No session has a known item.

    Examples
    --------
    >>> from skclip import CLIPSessionRecommender
    >>> from skclip.inspection import interest_report
    >>> X = [["a", "b", "c"], ["b", "c"], ["d", "e"]] * 8
    >>> rec = CLIPSessionRecommender("pomrec", embedding_dim=8, max_epochs=1).fit(X)
    >>> len(interest_report(rec, X)["mean_weights"])
    3
    """
    fitted, X = _fitted(recommender, X)
    network = fitted.model.network
    parts = fitted.read(X, lambda batch: _signs(fitted.model, batch))
    if np.isnan(parts[0]).all():
        raise ValueError(
            f"None of the {len(parts[0])} sessions has an item that was seen in fit. "
            "Pass sessions with known items."
        )
    dominance, share, weights, alike, lengths = (
        np.nanmean(part, axis=0) if not np.isnan(part).all() else None for part in parts
    )
    prompts, ratio = network.extractor_prompts, None
    if prompts is not None and len(prompts):
        ratio = float(prompts.detach().norm(dim=1).mean() / lengths)
    return {
        "mean_weights": None if weights is None else weights.tolist(),
        "interest_cosine": float(alike) if network.n_interests > 1 else None,
        "dominance": float(dominance),
        "prompt_share": float(share),
        "prompt_norm_ratio": ratio,
    }


def _signs(model, batch):
    """Values (n_queries, ...) whose means are reported."""
    network = model.network
    x, batch = model.inputs(batch)
    found = network.interests(x, batch)
    spread = found.dispersions.norm(dim=2)
    dominance = spread / (spread + found.centers.norm(dim=2)).clamp_min(1e-12)
    lengths = network.tokens(x, batch).norm(dim=2) * batch.mask
    unit = F.normalize(found.vectors, dim=2)
    n = network.n_interests
    alike = (unit.sum(dim=1).square().sum(dim=1) - n) / max(1, n * (n - 1))
    weights = found.weights
    if weights is None:
        weights = torch.full_like(spread, torch.nan)
    of_events = lengths.sum(dim=1) / batch.mask.sum(dim=1)
    parts = (dominance.mean(dim=1), found.prompt_share.mean(dim=1), weights)
    return *parts, alike, of_events


def _fitted(recommender, X):
    """The fitted model with PoMRec, and X in the form that it reads."""
    recommender_inside(recommender)  # an error where nothing is fitted
    recommender, X = unwrap(recommender, X)
    fitted = fitted_of(recommender)
    if fitted is None or not isinstance(fitted.config["spec"], PoMRec):
        raise TypeError(
            f"{recommender!r:.60} has no interests. Fit a CLIPSessionRecommender with "
            "backbone='pomrec'."
        )
    return fitted, X


def _interests(fitted, batch):
    return fitted.model.network.interests(*fitted.model.inputs(batch))
