"""RankCurveDisplay: Recall@k and MRR@k over k."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skclip._inside import recommender_inside, unwrap
from skclip._typing import ArrayLike, Estimator, Ids, Self, SessionsLike
from skclip.inspection._figure import (
    AxesLike,
    Display,
    light_grid,
    style_of,
    whole_numbers,
)
from skclip.metrics import mrr_at_k, recall_at_k


@dataclass(kw_only=True, eq=False, repr=False)
class RankCurveDisplay(Display):
    """Recall@k and MRR@k over the cut-off k, for one model or several.

    A single cut-off may favor one model by chance. If curves cross, the order of the
    models depends on the cut-off. Each model ranks the targets once for all cut-offs.
    Ties count against the target, and a target outside the catalog is a miss.

    Parameters
    ----------
    ks : ndarray of shape (n_ks,)
        Cut-offs, ascending.
    recall, mrr : dict
        Values by name of the model, each an ndarray of shape (n_ks,).

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Panels: Recall@k and MRR@k.

    See Also
    --------
    skclip.metrics.recall_at_k : Recall at one cut-off.
    skclip.metrics.mrr_at_k : Mean reciprocal rank at one cut-off.

    Examples
    --------
    >>> from skclip import PopularityRecommender, SessionKNN
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import RankCurveDisplay
    >>> X, _ = make_sessions(n_sessions=400, n_items=60, random_state=0)
    >>> models = {"neighbors": SessionKNN(), "popularity": PopularityRecommender()}
    >>> models = {name: model.fit(X[:300]) for name, model in models.items()}
    >>> display = RankCurveDisplay.from_estimators(models, X[300:])
    >>> bool((display.recall["neighbors"] > display.recall["popularity"]).all())
    True
    """

    _HEIGHTS, _FIGSIZE = (1, 1), (6.4, 6.0)
    ks: np.ndarray
    recall: dict[str, np.ndarray]
    mrr: dict[str, np.ndarray]

    @classmethod
    def from_estimators(
        cls,
        estimators: Mapping[str, Estimator],
        X: SessionsLike,
        y: Ids | None = None,
        *,
        ks: ArrayLike | None = None,
        ax: AxesLike | None = None,
    ) -> Self:
        """Rank the same targets with several recommenders and plot the curves.

        Parameters
        ----------
        estimators : dict
            Fitted recommenders, Pipelines or searches by name.
        X : Sessions or list of lists
            Test sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each session. None predicts every click from the clicks before
            it in the session.
        ks : array-like of int, default=None
            Cut-offs. None means 1 to 20, or up to the size of the smallest catalog.
        ax : object
            Parameter of `plot`.

        Returns
        -------
        display : RankCurveDisplay
            Display with the numbers, already drawn.
        """
        if not hasattr(estimators, "items") or not estimators:
            raise TypeError(
                f"estimators is {estimators!r:.60}. Expected a dictionary of fitted "
                "recommenders by name, such as {'narm': rec}; for one recommender use "
                "from_estimator."
            )
        if ks is None:
            found = (recommender_inside(model) for model in estimators.values())
            ks = np.arange(1, 1 + min(20, *(len(r.item_ids_) for r in found)))
        ranks = {}
        for name, model in estimators.items():
            recommender, read = unwrap(model, X)
            ranks[name] = recommender.rank_targets(read, y)
        return cls.from_ranks(ranks, ks=ks, ax=ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Estimator,
        X: SessionsLike,
        y: Ids | None = None,
        *,
        ks: ArrayLike | None = None,
        name: str | None = None,
        ax: AxesLike | None = None,
    ) -> Self:
        """Rank targets with one recommender and plot the curves.

        Parameters
        ----------
        estimator : fitted recommender, Pipeline or search
            Fitted recommender, or a pipeline or search that ends in one.
        X, y, ks : object
            Parameters of `from_estimators`.
        name : str, default=None
            Name in the legend. None means the class of the recommender.
        ax : object
            Parameter of `plot`.

        Returns
        -------
        display : RankCurveDisplay
            Display with the numbers, already drawn.
        """
        if name is None:
            name = type(recommender_inside(estimator)).__name__
        return cls.from_estimators({name: estimator}, X, y, ks=ks, ax=ax)

    @classmethod
    def from_ranks(
        cls,
        ranks: Mapping[str, ArrayLike],
        *,
        ks: ArrayLike | None = None,
        ax: AxesLike | None = None,
    ) -> Self:
        """Plot the curves of given ranks.

        Parameters
        ----------
        ranks : dict
            Ranks of the targets by name of the model, as ``rank_targets`` returns them:
            array-like of shape (n,), where 1 is best and ``inf`` is outside the
            catalog.
        ks : array-like of int, default=None
            Cut-offs. None means 1 to 20.
        ax : object
            Parameter of `plot`.

        Returns
        -------
        display : RankCurveDisplay
            Display with the numbers, already drawn.
        """
        ks = np.arange(1, 21) if ks is None else np.unique(ks)
        if len(ks) == 0 or ks.dtype.kind not in "iu" or ks[0] < 1:
            raise ValueError(f"ks={ks!r:.60}. Expected whole numbers of at least 1.")
        recall, mrr = (
            {name: np.array([at(r, k) for k in ks]) for name, r in ranks.items()}
            for at in (recall_at_k, mrr_at_k)
        )
        return cls(ks=ks, recall=recall, mrr=mrr).plot(ax)

    def _draw(self, upper, lower):
        on_log = self.ks[-1] > 50
        every = max(1, len(self.ks) // 10)
        curves_of = (
            (upper, self.recall, "Recall@k\nshare of targets in the top k"),
            (lower, self.mrr, "MRR@k\nmean of 1 / rank in the top k"),
        )
        upper.set_title("Quality of the ranking by length of the list")
        for panel, curves, label in curves_of:
            for i, (name, values) in enumerate(curves.items()):
                panel.plot(self.ks, values, label=name, markevery=every, **style_of(i))
            panel.set_ylabel(label)
            panel.set_ylim(bottom=0)
            if on_log:
                panel.set_xscale("log")
            light_grid(panel)
        whole_numbers(lower.xaxis, on_log=on_log)
        lower.set_xlabel("cut-off k (number of recommended items)")
        upper.legend(loc="best")
