"""
Which model, and what does it cost?
===================================

**Question.** Many backbones, and simple baselines: which is worth its time, and does
the order hold from one week to the next?

**Answer.** Fit each on the past and score the period that follows, several times. A
model that leads in one period only leads by chance; the time of its fit stands beside
its score.
"""

# %%
# Baselines first
# ---------------
# A network that does not beat these is not worth its electricity. Put further ones into
# the first dictionary; all share ``fit``, ``score`` and ``predict_topk``.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from skclip import CLIPSessionRecommender, PopularityRecommender
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit

X, _ = make_sessions(1000, 120, random_state=0)
baselines = {"popularity": PopularityRecommender()}
networks = {
    name: CLIPSessionRecommender(
        name,
        embedding_dim=32,
        batch_size=256,
        max_epochs=6,
        early_stopping=False,
        n_threads=1,
        random_state=0,
    )
    for name in ["gru4rec", "narm", "stamp", "srgnn"]
}

# %%
# The past, and what comes next
# -----------------------------
# Two periods of equal size; each is predicted from everything before it.

rows = {}
for name, model in (baselines | networks).items():
    scores, seconds = [], []
    for past, future in TemporalSplit(2, test_size=0.2).split(X):
        begun = time.perf_counter()
        fitted = clone(model).fit(X[past])
        seconds.append(time.perf_counter() - begun)
        scores.append(fitted.score(X[future]))
    rows[name] = scores, float(np.mean(seconds))

print(f"{'model':<12}{'period 1':>10}{'period 2':>10}{'seconds a fit':>15}")
for name, (scores, seconds) in rows.items():
    print(f"{name:<12}{scores[0]:>10.3f}{scores[1]:>10.3f}{seconds:>15.2f}")

# %%
# Score and cost
# --------------

fig, axes = plt.subplots(
    1, 2, figsize=(10, 0.5 * len(rows) + 1.6), sharey=True, layout="constrained"
)
names = sorted(rows, key=lambda name: np.mean(rows[name][0]))
for row, name in enumerate(names):
    scores, seconds = rows[name]
    axes[0].plot(scores, [row, row], color="0.7", zorder=1)
    axes[0].scatter(scores[0], row, marker="o", color="0.65", edgecolor="k", zorder=2)
    axes[0].scatter(scores[1], row, marker="D", color="0.1", edgecolor="k", zorder=2)
    bar = axes[1].barh(row, seconds, color="0.55", height=0.55)
    axes[1].bar_label(bar, fmt="%.2f s", padding=4, fontsize=9)
axes[0].scatter([], [], marker="o", color="0.65", edgecolor="k", label="period 1")
axes[0].scatter([], [], marker="D", color="0.1", edgecolor="k", label="period 2")
axes[0].legend(loc="lower right", frameon=False)
axes[0].set_yticks(range(len(names)), names)
axes[0].set(xlabel="MRR@20", xlim=(0, None))
axes[1].set(xlabel="seconds a fit, one thread")
axes[1].margins(x=0.2)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# All networks ran at one learning rate and few epochs here; before you choose among
# them give each its own search (:ref:`sphx_glr_gallery_plot_grid_search.py`). Results
# on real clicks are on the page "Which backbone when".
