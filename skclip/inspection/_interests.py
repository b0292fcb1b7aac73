"""What PoMRec's interests are, how they are weighted, and what they read."""

import numpy as np
import torch
from torch.nn import functional as F

from skclip._data import query_data, warn_unknown
from skclip._inside import fitted_of, recommender_inside, unwrap
from skclip._model import read_states
from skclip.backbones import PoMRec


def interest_vectors(recommender, X):
    """Return the interests of sessions.

    Parameters
    ----------
    recommender : fitted CLIPSessionRecommender, Pipeline or search
        With ``backbone="pomrec"``.
    X : Sessions or list of lists
        Observed sessions, shape (n_sessions,).

    Returns
    -------
    vectors : ndarray of shape (n_sessions, n_interests, embedding_dim), float32
        Before they are weighted; NaN for sessions of which nothing could be read.

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


def interest_weights(recommender, X):
    """Return the weights of the interests.

    Parameters
    ----------
    recommender, X : object
        As in `interest_vectors`.

    Returns
    -------
    weights : ndarray of shape (n_sessions, n_interests), float32
        Each row sums to 1, or is NaN where nothing could be read.

    Raises
    ------
    ValueError
        With ``aggregation="max"`` no interest is weighed against another.

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
            "PoMRec(aggregation='max') has no weights: each item is scored by the "
            "interest nearest to it. Fit with aggregation='weighted'."
        )
    (weights,) = fitted.read(X, lambda batch: (_interests(fitted, batch).weights,))
    return weights


@torch.no_grad()
def interest_assignments(recommender, X):
    """Return which events make which interest.

    Parameters
    ----------
    recommender, X : object
        As in `interest_vectors`.

    Returns
    -------
    assignments : list of ndarray of shape (n_read, n_interests), float32
        For each session the attention that each interest pays to the events that
        were read: the latest `max_session_length` ones, unseen items only with
        ``unseen_items="vote"``. An event may feed several interests.
    prompt_share : ndarray of shape (n_sessions, n_interests), float32
        Attention paid to the extractor's prompt tokens; with a column of the
        assignments it sums to 1. NaN where nothing could be read.

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
    warn_unknown(queries, fitted.index, "What is not known of them is left out.")
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


def interest_report(recommender, X):
    """Return signs of interests that do their work.

    Parameters
    ----------
    recommender, X : object
        As in `interest_vectors`.

    Returns
    -------
    report : dict
        Means over the sessions of which something could be read. ``mean_weights``,
        list of n_interests floats: an interest below 0.02 is idle (None with
        ``aggregation="max"``). ``interest_cosine``: between pairs of interests;
        above 0.95 they are alike (None with one interest). ``dominance``:
        length of the weighted dispersion over the sum of its and the center's;
        above 0.9 the centers are drowned. ``prompt_share``: the extractor's
        attention on its prompt tokens; above 0.8 the events are.
        ``prompt_norm_ratio``: length of the extractor's prompt tokens over that of
        the events, positions included; None without them. Neither looks at the
        aggregator's prompts.

    Raises
    ------
    ValueError
        Nothing could be read of any session.

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
            f"Nothing could be read of the {len(parts[0])} sessions: they hold no item "
            "that was seen in fit. Pass sessions with known items."
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
    """Numbers (n_queries, ...) whose means are reported."""
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
    """What was fitted with PoMRec, and X as it reads it."""
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
