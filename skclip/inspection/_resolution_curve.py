"""ResolutionCurveDisplay: clusters, modularity and score over the resolution."""

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils import check_random_state

from skclip._inside import clusterer_inside, estimators_inside
from skclip.inspection._figure import light_grid, make_panels, style_of, whole_numbers
from skclip.metrics import SessionScorer

_RESOLUTIONS = (0.25, 0.5, 1.0, 2.0, 4.0)


class ResolutionCurveDisplay:
    """Number of clusters, modularity and score over the resolution.

    Modularity says how well a partition fits the item graph, not how much its prompts
    help; the score does. Look at both before choosing a resolution, and at the spread
    over seeds before believing in a difference.

    Parameters
    ----------
    resolutions : ndarray of shape (n_resolutions,)
        Ascending.
    n_clusters, modularity : ndarray of shape (n_resolutions, n_repeats)
        Of the clusterers that were fitted; `modularity` is None where the clusterer
        has none. It is Newman's, at resolution 1 whatever the resolution.
    scores : ndarray of shape (n_resolutions, n_repeats) or None
        Score on `eval_set`.
    score_name : str
        What it is.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The Axes that was given, or the upper panel.
    axes_ : list of matplotlib Axes
        The panels: clusters, modularity and, where known, score.
    figure_ : matplotlib Figure

    See Also
    --------
    sklearn.model_selection.GridSearchCV : Chooses one, and over several folds.

    Notes
    -----
    Costs n_resolutions x n_repeats fits of the estimator.

    Examples
    --------
    >>> from skclip import SessionClusterer
    >>> from skclip.datasets import make_sessions
    >>> from skclip.inspection import ResolutionCurveDisplay
    >>> X, _ = make_sessions(n_sessions=300, n_items=60, random_state=0)
    >>> clusterer = SessionClusterer(random_state=0)
    >>> display = ResolutionCurveDisplay.from_estimator(
    ...     clusterer, X, resolutions=[0.5, 1, 4]
    ... )
    >>> fitted = SessionClusterer(4, random_state=0).fit(X)
    >>> bool(display.n_clusters[2, 0] == fitted.n_clusters_)
    True
    """

    def __init__(
        self, *, resolutions, n_clusters, modularity, scores=None, score_name="score"
    ):
        self.resolutions = resolutions
        self.n_clusters = n_clusters
        self.modularity = modularity
        self.scores = scores
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        resolutions=_RESOLUTIONS,
        eval_set=None,
        scoring=None,
        n_repeats=1,
        random_state=None,
        param_name=None,
        n_jobs=None,
        ax=None,
    ):
        """Fit a clone of the estimator at each resolution and plot what comes out.

        Parameters
        ----------
        estimator : SessionClusterer, recommender or Pipeline
            A clusterer gives clusters and modularity, the others a score as well.
        X : Sessions or list of lists
            Training sessions, shape (n_sessions,).
        y : array-like of shape (n_sessions,), default=None
            Next item of each row, as in `fit`.
        resolutions : array-like of float
            Each above 0; by default 0.25, 0.5, 1, 2 and 4.
        eval_set : tuple (X, y), default=None
            Sessions that were not trained on, to score on; y may be None. None gives no
            score.
        scoring : str, callable or None, default=None
            ``"mrr@20"`` and its like, ``callable(estimator, X, y)``, or None for the
            estimator's own ``score``.
        n_repeats : int, default=1
            Fits per resolution. With more than one, each has other seeds in every
            `random_state` inside the estimator, the same ones for all resolutions.
        random_state : int, RandomState instance or None, default=None
            Draws these seeds. Not used for one repeat, which keeps the estimator's.
        param_name : str, default=None
            The parameter to set, ``"resolution"`` or ``"step__resolution"``. None finds
            it.
        n_jobs : int, default=None
            Processes to fit in, see joblib.
        ax : matplotlib Axes, sequence of Axes or None, default=None
            See `plot`.

        Returns
        -------
        display : ResolutionCurveDisplay
            With the numbers, drawn.

        Raises
        ------
        ValueError
            There is no resolution in the estimator, or more than one; or `resolutions`
            is empty or not above 0.
        TypeError
            `eval_set` is no tuple, or there is nothing to score by.
        """
        values = np.asarray(resolutions, dtype=float)
        several = values.ndim > 1
        values = np.unique(values)
        if several or len(values) == 0 or not (values > 0).all():
            raise ValueError(
                f"resolutions={resolutions!r:.60}. Expected numbers above 0."
            )
        if n_repeats < 1:
            raise ValueError(f"n_repeats={n_repeats!r}. Expected at least 1.")
        if eval_set is not None and not (
            isinstance(eval_set, tuple) and len(eval_set) == 2
        ):
            raise TypeError(
                f"eval_set is a {type(eval_set).__name__}. Expected a tuple (X, y); y "
                "may be None."
            )
        if eval_set is not None and scoring is None and not hasattr(estimator, "score"):
            raise TypeError(
                f"{type(estimator).__name__} has no score, so eval_set is of no use. "
                "Leave it out, pass scoring=, or pass a recommender."
            )
        name = _resolution_of(estimator) if param_name is None else param_name
        seeds = [None]
        if n_repeats > 1:
            random_state = check_random_state(random_state)
            seeds = random_state.randint(2**31 - 1, size=n_repeats).tolist()
        score = SessionScorer(scoring) if isinstance(scoring, str) else scoring
        found = Parallel(n_jobs=n_jobs)(
            delayed(_fit_one)(estimator, X, y, {name: value}, seed, eval_set, score)
            for value in values.tolist()
            for seed in seeds
        )
        shape = len(values), len(seeds)
        n_clusters, modularity, scores, score_names = zip(*found, strict=True)
        return cls(
            resolutions=values,
            n_clusters=np.reshape(n_clusters, shape),
            modularity=None if None in modularity else np.reshape(modularity, shape),
            scores=None if None in scores else np.reshape(scores, shape),
            score_name=scoring if isinstance(scoring, str) else score_names[0],
        ).plot(ax)

    def plot(self, ax=None):
        """Draw a panel each for clusters, modularity and score.

        Parameters
        ----------
        ax : matplotlib Axes, sequence of Axes or None, default=None
            Where to draw: one Axes is divided into the panels, several take one each.
            None makes a figure.

        Returns
        -------
        display : ResolutionCurveDisplay
            Lines are means over the repeats, bands reach from the least to the most.
        """
        curves = {
            "clusters": self.n_clusters,
            "modularity": self.modularity,
            self.score_name: self.scores,
        }
        curves = {label: v for label, v in curves.items() if v is not None}
        n = len(curves)
        self.ax_, self.axes_ = make_panels(
            ax, [1] * n, type(self).__name__, figsize=(6.4, 0.8 + 1.8 * n)
        )
        self.figure_ = self.ax_.figure
        x = self.resolutions
        for i, (panel, (label, values)) in enumerate(
            zip(self.axes_, curves.items(), strict=True)
        ):
            style = style_of(i)
            panel.plot(x, values.mean(axis=1), **style)
            if values.shape[1] > 1:
                panel.fill_between(
                    x,
                    values.min(axis=1),
                    values.max(axis=1),
                    color=style["color"],
                    alpha=0.25,
                    linewidth=0,
                )
            panel.set_ylabel(label)
            light_grid(panel)
        whole_numbers(self.axes_[0].yaxis)
        last = self.axes_[-1]
        if len(x) > 1 and x[-1] >= 4 * x[0]:
            last.set_xscale("log")
        last.set_xticks(x, [f"{value:g}" for value in x])
        last.minorticks_off()
        last.set_xlabel("resolution")
        return self


def _resolution_of(estimator):
    """Name of the parameter that is the resolution of the clusterer inside."""
    params = estimator.get_params(deep=True)
    names = [name for name in params if name.split("__")[-1] == "resolution"]
    if not names:  # a recommender whose clusterer is still the default
        names = [
            f"{name}__resolution"
            for name, value in params.items()
            if name.split("__")[-1] == "clusterer" and value is None
        ]
    if len(names) != 1:
        raise ValueError(
            f"{type(estimator).__name__} has {len(names)} parameters that may be the "
            f"resolution: {names}. Pass param_name=, such as 'clusterer__resolution'."
        )
    return names[0]


def _fit_one(estimator, X, y, params, seed, eval_set, score):
    """Clusters, modularity and score (or None) of one fit, and the score's name."""
    estimator = clone(estimator).set_params(**params)
    if seed is not None:
        names = [
            name
            for name in estimator.get_params(deep=True)
            if name.split("__")[-1] == "random_state"
        ]
        seeds = check_random_state(seed).randint(2**31 - 1, size=len(names))
        estimator.set_params(**dict(zip(sorted(names), seeds.tolist(), strict=True)))
    estimator.fit(X, y)
    clusterer = clusterer_inside(estimator)
    if clusterer is None:
        raise ValueError(
            f"{type(estimator).__name__} has no fitted clusterer, so the "
            "resolution has no effect. Pass a SessionClusterer, or a recommender "
            "with prompt='cluster'."
        )
    value, name = None, "score"
    if eval_set is not None:
        for inner in estimators_inside(estimator):
            found = getattr(inner, "_scoring", None)
            name = found if isinstance(found, str) else name
        name = name if score is None else "score"
        value = score(estimator, *eval_set) if score else estimator.score(*eval_set)
    return clusterer.n_clusters_, getattr(clusterer, "modularity_", None), value, name
