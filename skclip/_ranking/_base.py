"""What all recommenders share: scores to lists, ranks and metrics."""

from numbers import Integral

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
from skclip.metrics import parse_metric

_ROWS = 64  # of scores that a thread selects from at a time
_SELECTION = 64  # multiplications that take as long as to look at a score


class RankingMixin(CatalogMixin):
    """Ranking methods shared by all recommenders.

    A subclass has ``item_ids_`` and ``_index`` (an `ItemIndex`) after `fit`, a
    ``scoring`` parameter, and defines ``_score_chunks(queries)``,
    a generator of ``(positions, scores)``: which of the prefixes, and their scores as
    a tensor of shape (len(positions), n_items). The caller may overwrite it, and must
    not keep it: the next chunk may stand in the same memory.
    """

    similar_items = NoSimilarItems()  # `SimilarItemsMixin` comes before this class
    # What a blend makes probabilities of: "logits", by their softmax; "weights", none
    # negative, by their sum; None, nothing: the scores say an order and no more.
    _scores_are = None

    def _by_popularity(self, queries):
        """Mask of the prefixes that are ranked by popularity: without a known item."""
        known = queries.codes <= len(self.item_ids_)
        n_known = np.concatenate([[0], np.cumsum(known)])
        starts = queries.offsets[:-1][queries.rows]
        return n_known[starts + queries.ends] == n_known[starts]

    def predict_topk(
        self,
        X,
        k=None,
        *,
        return_scores=False,
        exclude_seen=False,
        allow=None,
        deny=None,
        fill_value=None,
        boost=None,
        boost_seen=None,
        max_per_group=None,
        groups=None,
    ):
        """Rank the catalog for the next item of each session.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,). Unknown items and empty sessions
            are fine; what knows nothing about a session ranks by popularity.
        k : int, default=None
            Number of items per session; None is the smaller of 20 and the size of
            the catalog.
        return_scores : bool, default=False
            Also return the scores.
        exclude_seen : bool, default=False
            Leave out the items of the session itself.
        allow, deny : array-like of ids, or list of n_sessions lists, default=None
            Rank only, or rank not, these items; one list for all sessions or one
            for each. Ids that are not in the catalog are ignored. Where ids are
            tuples, a tuple is an id.
        fill_value : object, default=None
            What stands behind the last item where filters or the catalog leave fewer
            than `k`.
            None is ``-1`` for numbers (NaN for floats), ``""`` for text, and None
            for other ids.
        boost : mapping, or list of n_sessions mappings, default=None
            Factors above 0 by item id; 2 doubles an item's probability (its weight, for
            baselines), 0.5 halves it. The list is that of all boosted scores.
        boost_seen : float, default=None
            Factor for the items of the session itself, as reminders.
        max_per_group : int, default=None
            Most items of a group in a list. The list takes items from the whole
            ranking, best first, and passes over those whose group is full.
        groups : "cluster" or mapping, default=None
            Whose groups `max_per_group` means: the clusters of the model (of several
            levels the first), or a label for each item id, such as its brand: a dict,
            or a pandas Series. Items without a label are in no group.

        Returns
        -------
        items : ndarray of shape (n_sessions, k)
            Raw item ids, best first; equal scores in the order of the catalog.
        scores : ndarray of shape (n_sessions, k), float32
            Only if `return_scores`; ``-inf`` where `items` is filled.

        Raises
        ------
        ValueError
            `k` is less than 1, `fill_value` is an id, or a factor is not above 0.
            There is a boost, and the scores of the recommender say an order alone, as
            those of rerankers do. There are no clusters for `groups`.
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
        """Positions in the catalog of what `predict_topk` lists, and scores.

        There are at most as many as items; those of score -inf stand for none.
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
            raise TypeError(f"k must be a whole number or None, got {k!r}.")
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

    def predict(self, X):
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

    def decision_function(self, X):
        """Return the scores of all items. For small inputs: the result is dense.

        Parameters
        ----------
        X : Sessions or list of lists
            Observed sessions, shape (n_sessions,).

        Returns
        -------
        scores : ndarray of shape (n_sessions, n_items), float32
            Columns in the order of ``item_ids_``; higher is better. Comparable
            within a row only.
        """
        self._check_fitted()
        queries = self._queries(X)
        result = np.empty((len(queries), len(self.item_ids_)), dtype=np.float32)

        def keep(*chunk):
            for at, scores in rows_apart(*chunk):
                result[at] = scores.cpu().numpy()

        self._each_chunk(queries, keep)
        return result

    def rank_targets(self, X, y=None, *, targets="next", event=None):
        """Return the rank of each target in the full catalog.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row. None takes every prefix of every session, each
            scored from what it has observed alone, in order. With
            ``targets="remaining"``: Sessions, or a list of lists or sets, of one or
            more items for each row.
        targets : {"next", "remaining"}, default="next"
            Whether a prefix has one target, the next item, or several, the distinct
            items that its session goes on with.
        event : object or list, default=None
            Type of the targets, such as "purchase", or several types; other clicks are
            read, but not ranked. `X` has types then, and `y` is None. With
            ``targets="remaining"`` prefixes without a target are left out.

        Returns
        -------
        ranks : ndarray of shape (n_sessions,) or (n_prefixes,), float64
            1 = best; equal scores count against the target; ``inf`` for a target
            that is not in the catalog. With ``targets="remaining"`` of shape
            (n_targets,): row after row, its items in order of their first click.
            Targets of one row that score the same have ranks of their own, behind
            all other items with that score.
        offsets : ndarray of shape (n_rows + 1,)
            Only with ``targets="remaining"``. Row ``i`` has the ranks
            ``offsets[i]:offsets[i + 1]``. The metrics of `skclip.metrics` take them.

        Raises
        ------
        ValueError
            ``y`` is None and no session has two items, a row of `y` has no item, no
            target is of the type `event`, or `targets` is unknown.
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
                f"event={event!r}: no session has such an event behind another one, so "
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
        """Number of items that score at least as much as some items of queries do.

        `of_query`, ascending, says whose items the codes are.
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

    def score(self, X, y=None, *, event=None):
        """Return the ``scoring`` metric over every prefix, or over given targets.

        Parameters
        ----------
        X : Sessions or list of lists
            Sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row; None scores every prefix of every session.
        event : object or list, default=None
            Type of the targets to score, such as "purchase", or several types; see
            `rank_targets`. ``Pipeline.score`` and searches do not hand it on: pass
            ``SessionScorer(..., event=)`` as their `scoring`, or call it.

        Returns
        -------
        score : float
            Over the full catalog; a target outside it is a miss, ties count
            against the target.
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
        "They are ignored; sessions without a known item get the most popular items."
    )

    def _queries(self, X, y=None, **options):
        """Sessions in codes of the catalog; tells of what is not in it."""
        queries = query_data(X, self._index, y, **options)
        warn_unknown(queries, self._index, self._what_happens)
        return queries

    def _each_chunk(self, queries, use, mask=None, preselect=False):
        """Call ``use(positions, scores, rows)`` for chunks, some at the same time.

        `rows` says which row of the scores each position has, as equal prefixes share
        one; None where each has its own. ``mask(scores, positions)`` comes before.
        With `preselect` the scores may be `Preselected`.
        """
        with Workers(self._most_threads()) as workers:
            for at, scores in self._masked_chunks(queries, mask):
                parts = np.array_split(np.arange(len(at)), -(-len(at) // _ROWS))

                def part(rows, at=at, scores=scores):
                    use(at[rows], scores[rows[0] : rows[-1] + 1], None)

                workers.map(part, parts, size=_SELECTION * scores.numel())

    def _most_threads(self):
        """`n_threads` of what ranks here: the smallest that is given, or None."""
        given = [getattr(part, "n_threads", None) for part in estimators_inside(self)]
        return min((n for n in given if n is not None), default=None)

    def _masked_chunks(self, queries, mask=None):
        """Chunks of scores after ``mask(scores, positions)`` has set some to -inf.

        One that ranks by the lists of another recommender overrides this.
        """
        for at, scores in self._score_chunks(queries):
            if mask is not None:
                mask(scores, at)
            yield at, scores

    @property
    def _scoring(self):
        return self.scoring


def rows_apart(at, scores, rows):
    """Yield positions and scores in which each position has a row of its own."""
    if rows is None:
        yield at, scores
        return
    for start in range(0, len(at), len(scores)):
        part = slice(start, start + len(scores))
        yield at[part], scores[torch.from_numpy(rows[part]).to(scores.device)]
