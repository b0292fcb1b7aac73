"""
Which model, and what does it cost?
===================================

**Question.** Networks, nearest neighbors, a linear model: which is worth its time, and
does the order hold from one period to the next?

**Answer.** Fit each on the past and rank the period that follows, twice. A model is
better where the interval of its *difference* to the baseline leaves zero out, in both
periods; what its fit costs stands beside it.
"""

# %%
# Baselines first
# ----------------
# A network that does not beat neighbors and a linear model is not worth its
# electricity. Put further ones into the dictionary; all share ``fit``, ``score`` and
# ``predict_topk``.

import matplotlib.pyplot as plt

from skclip import SLIST, CLIPSessionRecommender, PopularityRecommender, SessionKNN
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit, evaluate

X, _ = make_sessions(900, 160, random_state=0)
models = {
    "V-SKNN": SessionKNN(n_neighbors=100),
    "VSTAN": SessionKNN("vstan", n_neighbors=100),
    "SLIST": SLIST(),
    "the default": CLIPSessionRecommender(random_state=0),
    "with SR-GNN": CLIPSessionRecommender("srgnn", random_state=0),
    "popularity": PopularityRecommender(),
}

# %%
# The past, and what comes next
# -----------------------------
# Two periods of equal size; each is ranked by what was learned from everything before
# it. :func:`~skclip.model_selection.evaluate` gives all models the same targets and
# draws whole sessions for the intervals; the first model is the one that the others
# are compared with.

splits = TemporalSplit(2, test_size=0.2, straddling="drop").split(X)
periods = [
    evaluate(
        models, X[past], X[future], metrics=["mrr@20"], n_boot=1000, random_state=0
    )
    for past, future in splits
]
for i, frame in enumerate(periods, 1):
    print(f"period {i}, {frame['n_queries'][0]} targets")
    columns = ["estimator", "value", "difference", "difference_lower"]
    columns += ["difference_upper", "fit_seconds"]
    print(frame[columns].round(3).to_string(index=False))

# %%
# Differences and their price
# ---------------------------

fig, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
names = list(models)[::-1]
for frame, color, marker, up in zip(
    periods, ["0.6", "0.1"], ["o", "D"], [0.12, -0.12], strict=True
):
    at = [row + up for row in range(len(names))]
    rows = frame.set_index("estimator").loc[names]
    mean = rows["difference"].fillna(0)
    below = (mean - rows["difference_lower"]).fillna(0)
    above = (rows["difference_upper"] - mean).fillna(0)
    look = {"color": color, "marker": marker, "linestyle": "none", "capsize": 3}
    label = f"period {len(axes[0].containers) + 1}"
    axes[0].errorbar(mean, at, xerr=[below, above], label=label, **look)
    bars = axes[1].barh(at, rows["fit_seconds"], 0.22, color=color, edgecolor="k")
    axes[1].bar_label(bars, fmt="%.2f s", padding=4, fontsize=8)
axes[0].axvline(0, color="k", linewidth=0.8)
axes[0].set_yticks(range(len(names)), names)
axes[0].set(xlabel="MRR@20 less that of V-SKNN, 95 % intervals")
axes[0].legend(loc="best", frameon=False)
axes[1].set(xlabel="seconds a fit")
axes[1].margins(x=0.2)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Here both networks are ahead of the neighbors and of the linear model, and the linear
# model is ahead of the neighbors at next to no cost: these simulated clicks follow
# habits of the last item. Simulated sessions are not your clicks. Before you choose,
# give each model its own search
# (:ref:`sphx_glr_gallery_plot_grid_search.py`). Results on real clicks are on the pages
# "Does the neural model earn its keep?" and "Which backbone when".
