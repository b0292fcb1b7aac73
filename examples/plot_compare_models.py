"""
Which model is best, and how long does it train?
================================================

**Question.** You can choose between networks, nearest neighbors and a linear model.
Which one ranks best, and does the order stay the same in the next period?

**Answer.** Fit each model on the past, rank the clicks of the next period, and repeat
this once. A model is better than the baseline if the interval of the *difference*
excludes zero in both periods. The figure shows the training time next to it.
"""

# %%
# Choose models and baselines
# ---------------------------
# Use a network only if it beats nearest neighbors and a linear model. To compare other
# models, add them to the dictionary.

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
# Split by time and evaluate
# --------------------------
# The split makes two test periods of equal size. For each period the models train on
# all earlier sessions. :func:`~skclip.model_selection.evaluate` gives all models the
# same targets. It compares each model with the first one and computes intervals by
# resampling whole sessions.

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
# Differences and training times
# ------------------------------

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
    axes[1].bar_label(bars, fmt="{:.2g} s", padding=4, fontsize=8)
axes[0].axvline(0, color="k", linewidth=0.8)
axes[0].set_yticks(range(len(names)), names)
axes[0].set(xlabel="difference in MRR@20 from V-SKNN (95% interval)")
axes[0].legend(loc="best", frameon=False)
axes[1].set(xlabel="training time (seconds)")
axes[1].margins(x=0.2)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Here both networks beat the neighbors and the linear model. The linear model beats the
# neighbors and trains in a fraction of a second. The reason is the simulation, in which
# the next click depends mostly on the last item. Your clicks will differ. Before you
# choose, tune each model (:ref:`sphx_glr_gallery_plot_grid_search.py`). For results on
# real clicks see :doc:`/results`, and for advice :doc:`/guide/which_model`.
