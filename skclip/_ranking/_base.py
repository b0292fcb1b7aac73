"""The methods that all recommenders share: from scores to lists, ranks and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
import torch

from skclip._data import (
    CatalogMixin,
    NoTargets,
    check_no_targets,
    check_protocol,
    events_of_type,
    flat_positions,
    has_target,
    query_data,
    target_sets,
    warn_unknown,
)
from skclip._inside import estimators_inside
from skclip._ranking._filters import Filters, Mask, check_fill_value, with_fill
from skclip._ranking._preselect import Preselected
from skclip._ranking._rules import Boosts, as_caps, check_boosts
from skclip._ranking._similar import NoSimilarItems
from skclip._ranking._topk import ranks_in_sets, target_rank, topk_codes
from skclip._threads import Workers
from skclip._typing import (
    FloatArray,
    Ids,
    IntArray,
    ItemIds,
    Lists,
    Self,
    SessionsLike,
    TopK,
    TopKOptions,
    Unpack,
)
from skclip.metrics import parse_metric

_ROWS = 64  # rows of scores that a thread selects from at a time
_SELECTION = 64  # multiplications that take as long as reading a score


class RankingMixin(CatalogMixin):
    """Ranking methods shared by all recommenders.

    After `fit` a subclass has ``item_ids_`` and ``_index``, an `ItemIndex`. It has a
    ``scoring`` parameter, and defines ``_score_chunks(queries)``. This generator yields
    ``positions``, the numbers of some queries, and their ``scores``, a tensor of shape
    (len(positions), n_items). The caller may overwrite the scores, but must not keep
    them: the next chunk may use the same memory.
    """

    set_fit_request: Callable[..., Self]
    set_score_request: Callable[..., Self]
    similar_items: Any = NoSimilarItems()  # `SimilarItemsMixin` comes before this class
    # How a blend turns scores into probabilities. "logits": by their softmax.
    # "weights", which are not negative: by their sum. None: not at all, as the scores
    # only define an order.
    _scores_are = None

    def _by_popularity(self, queries):
        """Mask of the prefixes without a known item, which are ranked by popularity."""
        known = queries.codes <= len(self.item_ids_)
        n_known = np.concatenate([[0], np.cumsum(known)])
        starts = queries.offsets[:-1][queries.rows]
        return n_known[starts + queries.ends] == n_known[starts]

    @overload
    def predict_topk(
        self,
        X: SessionsLike,
        k: int | None = None,
        *,
        return_scores: Literal[False] = False,
        **options: Unpack[TopKOptions],
    ) -> ItemIds: ...
    @overload
    def predict_topk(
        self,
        X: SessionsLike,
        k: int | None = None,
        *,
        return_scores: Literal[True],
        **options: Unpack[TopKOptions],
    ) -> TopK: ...
    def predict_topk(
        self,
        X: SessionsLike,
        k: int | None = None,
        *,
        return_scores: bool = False,
        exclude_seen: bool = False,
        allow: Ids | Lists | None = None,
        deny: Ids | Lists | None = None,
        fill_value: object = None,
        boost: Mapping[Any, float] | Sequence[Mapping[Any, float]] | None = None,
        boost_seen: float | None = None,
        max_per_group: int | None = None,
        groups: str | Mapping[Any, Any] | None = None,
    ) -> ItemIds | TopK:
        """Rank the catalog for the next item of each session.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,). Unknown items and empty sessions are
            allowed. Sessions without a known item get the most popular items.
        k : int, default=None
            Number of items per session, 1 or more. None means 20, or the size of a
            smaller catalog.
        return_scores : bool, default=False
            Whether to return the scores too.
        exclude_seen : bool, default=False
            Whether to leave out the items of the session itself.
        allow, deny : array-like of ids, or list of n_sessions lists, default=None
            Items to rank exclusively (`allow`), or not at all (`deny`). Pass one list
            for all sessions, or one for each. Ids outside the catalog are ignored. A
            warning appears if `allow` has no id of the catalog. If ids are tuples, each
            tuple is an id.
        fill_value : object, default=None
            Value of the places that remain if filters or the catalog leave fewer than
            `k` items. None means ``-1`` for numbers, NaN for floats, ``""`` for text,
            and None for other ids.
        boost : mapping, or list of n_sessions mappings, default=None
            Factors above 0 by item id. A factor of 2 doubles the probability of an
            item, or its weight in baselines. The list is ordered by the boosted scores.
        boost_seen : float, default=None
            Factor for the items of the session itself, such as for reminders.
        max_per_group : int, default=None
            Largest number of items of a group in a list. Items are taken from the whole
            ranking, best first, and items of a full group are skipped.
        groups : "cluster" or mapping, default=None
            Groups for `max_per_group`. "cluster" means the clusters of the model, of
            the first resolution if there are several. Or pass a label for each item id,
            such as its brand, as a dict or a pandas Series. Items without a label are
            in no group.

        Returns
        -------
        items : ndarray of shape (n_sessions, k)
            Raw item ids, best first. Equal scores keep the order of the catalog.
        scores : ndarray of shape (n_sessions, k), float32
            Scores of the items, ``-inf`` where `items` is filled. Only returned with
            `return_scores`.

        Raises
        ------
        ValueError
            If `k` is less than 1, `fill_value` is an id, a filter has a missing value,
            a factor is not above 0, or there are no clusters for `groups`. Also if
            there is a boost, but the scores of the recommender only define an order, as
            those of rerankers do.
        """
        self._check_fitted()
        k = self._checked_k(k)
        self._check_fill_value(fill_value)
        columns, values = self._ranked(
            X, k, exclude_seen, allow, deny, boost, boost_seen, max_per_group, groups
        )
        return self._with_ids(columns, values, k, fill_value, return_scores)

    def _ranked(
        self,
        X,
        k,
        exclude_seen=False,
        allow=None,
        deny=None,
        boost=None,
        boost_seen=None,
        max_per_group=None,
        groups=None,
    ):
        """Positions in the catalog of the items that `predict_topk` lists, and scores.

        There are at most as many as items. Those of score -inf stand for no item.
        """
        queries = self._queries(X)
        filters = Filters(self._index, len(queries), allow, deny)
        boosts = None
        if boost is not None or boost_seen is not None:
            check_boosts(self, boost_seen, exclude_seen)
            boosts = Boosts(self, queries, boost, boost_seen)
        caps = as_caps(self, max_per_group, groups)
        mask = Mask(queries, exclude_seen, filters, boosts)
        return self._topk(queries, min(k, len(self.item_ids_)), mask, caps)

    def _checked_k(self, k):
        n_items = len(self.item_ids_)
        if k is None:
            return min(20, n_items)
        if not isinstance(k, Integral) or isinstance(k, bool):
            raise TypeError(f"k must be a whole number or None, but is {k!r}.")
        if k < 1:
            raise ValueError(
                f"k={k} is less than 1. Pass k >= 1, or None for the default."
            )
        return int(k)

    def _check_fill_value(self, fill_value):
        if fill_value is not None:
            check_fill_value(fill_value, self._index)

    def _with_ids(self, columns, values, k, fill_value, return_scores):
        """Lists of `k` raw ids, filled where values are -inf, and maybe the values."""
        missing = k - columns.shape[1]
        if missing:  # places without an item
            columns = np.pad(columns, ((0, 0), (0, missing)))
            values = np.pad(values, ((0, 0), (0, missing)), constant_values=-np.inf)
        items = self.item_ids_[columns]
        if not np.isfinite(values).all():
            items = with_fill(items, np.isneginf(values), fill_value, self._index)
        return (items, values) if return_scores else items

    def _topk(self, queries, k, mask, caps):
        columns = np.empty((len(queries), k), dtype=np.int64)
        values = np.empty((len(queries), k), dtype=np.float32)

        def select(at, scores, rows):
            if isinstance(scores, Preselected):
                best, reached = scores.topk(k)
            elif caps is not None:
                best, reached = caps.topk(scores, k)
            else:
                best, reached = topk_codes(scores, k)
            columns[at] = best if rows is None else best[rows]
            values[at] = reached if rows is None else reached[rows]

        preselect = caps is None
        self._each_chunk(queries, select, mask if mask else None, preselect=preselect)
        return columns, values

    def predict(self, X: SessionsLike) -> ItemIds:
        """Return the best next item of each session.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        items : ndarray of shape (n_sessions,)
            Raw item ids.
        """
        return self.predict_topk(X, k=1)[:, 0]

    def decision_function(self, X: SessionsLike) -> FloatArray:
        """Return the scores of all items as a dense array, for small inputs.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        scores : ndarray of shape (n_sessions, n_items), float32
            Scores with columns in the order of ``item_ids_``. Higher is better. Compare
            scores only within a row.
        """
        self._check_fitted()
        queries = self._queries(X)
        result = np.empty((len(queries), len(self.item_ids_)), dtype=np.float32)

        def keep(*chunk):
            for at, scores in rows_apart(*chunk):
                result[at] = scores.cpu().numpy()

        self._each_chunk(queries, keep)
        return result

    @overload
    def rank_targets(
        self,
        X: SessionsLike,
        y: Ids | None = None,
        *,
        targets: Literal["next"] = "next",
        event: object = None,
    ) -> FloatArray: ...
    @overload
    def rank_targets(
        self,
        X: SessionsLike,
        y: SessionsLike | None = None,
        *,
        targets: Literal["remaining"],
        event: object = None,
    ) -> tuple[FloatArray, IntArray]: ...
    def rank_targets(
        self,
        X: SessionsLike,
        y: Ids | SessionsLike | None = None,
        *,
        targets: Literal["next", "remaining"] = "next",
        event: object = None,
    ) -> FloatArray | tuple[FloatArray, IntArray]:
        """Return the rank of each target in the full catalog.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None ranks the next item of every prefix of every
            session, in order, from the items before it. With ``targets="remaining"``
            pass one or more items for each row: Sessions, or a list of lists or sets.
        targets : {"next", "remaining"}, default="next"
            Whether a prefix has one target, the next item, or several, the distinct
            later items of its session.
        event : object or list, default=None
            Type of the targets, such as "purchase", or several types. Clicks of other
            types are read, but do not count as targets. `X` needs types, and `y` must
            be None. With ``targets="remaining"`` prefixes without a target are left
            out.

        Returns
        -------
        ranks : ndarray of shape (n_sessions,) or (n_prefixes,), float64
            Ranks from 1 = best. Equal scores count against the target. Targets outside
            the catalog get ``inf``. With ``targets="remaining"`` the shape is
            (n_targets,), row after row, and targets of a row are in order of their
            first click. Targets of a row with equal scores get distinct ranks, after
            all other items with that score.
        offsets : ndarray of shape (n_rows + 1,)
            Limits of the rows, only returned with ``targets="remaining"``. Row ``i``
            has the ranks ``offsets[i]:offsets[i + 1]``. Pass them to the metrics of
            `skclip.metrics`.

        Raises
        ------
        ValueError
            If ``y`` is None and no session has two items, a row of `y` has no item, no
            target has the type `event`, or `targets` is unknown.
        """
        self._check_fitted()
        check_protocol(targets)
        check_no_targets(event, y)
        next_only = targets == "next"
        queries = self._queries(X, y if next_only else None, every_prefix=y is None)
        of_type = events_of_type(queries, event)
        if of_type is not None:
            asked = has_target(queries, of_type, targets)
            queries = queries.take(np.flatnonzero(asked))
        if next_only:
            codes, of_query = queries.targets, np.arange(len(queries))
        else:
            codes, offsets = target_sets(queries, self._index, y, of_type)
            of_query = np.repeat(np.arange(len(queries)), np.diff(offsets))
        if len(queries) == 0 and event is not None:
            raise NoTargets(
                f"event={event!r}: no session has such an event after another one, so "
                "there is no target to rank."
            )
        if len(queries) == 0:
            raise ValueError(
                f"All {len(queries.offsets) - 1} sessions have fewer than 2 items, so "
                "there is no next item to rank. Pass sessions of 2 items or more, or y."
            )
        ranks, known = np.full(len(codes), np.inf), np.flatnonzero(codes > 0)
        reached = self._n_reaching(queries, codes[known], of_query[known])
        if next_only:
            ranks[known] = reached
            return ranks
        ranks[known] = ranks_in_sets(reached, of_query[known], len(self.item_ids_))
        return ranks, offsets

    def _n_reaching(self, queries, codes, of_query):
        """Number of items that score at least as much as each of some items.

        `of_query`, ascending, is the number of the query of each code.
        """
        n_reaching = np.empty(len(codes), dtype=np.int64)
        asked, counts = np.unique(of_query, return_counts=True)
        starts = np.cumsum(counts) - counts

        def rank(at, scores, rows):
            places, cuts = flat_positions(starts[at], counts[at])
            if len(places) > len(at):  # several items share a row of scores
                which = np.repeat(np.arange(len(at)), np.diff(cuts))
                rows = which if rows is None else rows[which]
            columns = codes[places].astype(np.int64) - 1
            if isinstance(scores, Preselected):
                n_reaching[places] = scores.ranks(columns, rows)
                return
            columns = torch.from_numpy(columns).to(scores.device)
            n_reaching[places] = target_rank(scores, columns, rows).cpu().numpy()

        self._each_chunk(queries.take(asked), rank, preselect=True)
        return n_reaching

    def score(
        self, X: SessionsLike, y: Ids | None = None, *, event: object = None
    ) -> float:
        """Return the ``scoring`` metric over every prefix, or over given targets.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None scores every prefix of every session.
        event : object or list, default=None
            Type of the targets to score, such as "purchase", or several types, see
            `rank_targets`. ``Pipeline.score`` and searches do not pass it on. Use
            ``SessionScorer(..., event=)`` as their `scoring`, or call it.

        Returns
        -------
        score : float
            Metric over the full catalog. Targets outside the catalog count as missed,
            and ties count against the target.
        """
        self._check_fitted()
        scoring = self._scoring
        if not callable(scoring):
            metric, k = parse_metric(scoring)
            options = {} if event is None else {"event": event}
            return metric(self.rank_targets(X, y, **options), k)
        if event is not None:
            raise ValueError(
                f"event={event!r}, but the parameter scoring is a function, which "
                "chooses its targets itself. Pass scoring=SessionScorer(..., event=)."
            )
        return scoring(self, X, y)

    _what_happens = (
        "They are ignored. Sessions without a known item get the most popular items."
    )

    def _queries(self, X, y=None, **options):
        """Return sessions in codes of the catalog; warn about ids outside it."""
        queries = query_data(X, self._index, y, **options)
        warn_unknown(queries, self._index, self._what_happens)
        return queries

    def _each_chunk(self, queries, use, mask=None, preselect=False):
        """Call ``use(positions, scores, rows)`` for chunks, possibly in parallel.

        Equal prefixes share a row: `rows` holds the row of scores for each position.
        None means that each position has its own. ``mask(scores, positions)`` is
        called before. With `preselect` the scores may be `Preselected`.
        """
        with Workers(self._most_threads()) as workers:
            for at, scores in self._masked_chunks(queries, mask):
                parts = np.array_split(np.arange(len(at)), -(-len(at) // _ROWS))

                def part(rows, at=at, scores=scores):
                    use(at[rows], scores[rows[0] : rows[-1] + 1], None)

                workers.map(part, parts, size=_SELECTION * scores.numel())

    def _most_threads(self):
        """The smallest `n_threads` of the recommenders that rank here, or None."""
        given = [getattr(part, "n_threads", None) for part in estimators_inside(self)]
        return min((n for n in given if n is not None), default=None)

    def _masked_chunks(self, queries, mask=None):
        """Chunks of scores after ``mask(scores, positions)`` has set some to -inf.

        Recommenders that rank the lists of another one override this.
        """
        for at, scores in self._score_chunks(queries):
            if mask is not None:
                mask(scores, at)
            yield at, scores

    @property
    def _scoring(self):
        return self.scoring


def rows_apart(at, scores, rows):
    """Yield positions and scores; each position has a row of its own."""
    if rows is None:
        yield at, scores
        return
    for start in range(0, len(at), len(scores)):
        part = slice(start, start + len(scores))
        yield at[part], scores[torch.from_numpy(rows[part]).to(scores.device)]
