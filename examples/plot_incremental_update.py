"""
Must I refit every day?
=======================

**Question.** New sessions and new items arrive each day. Is ``partial_fit`` enough, or
must the model be fitted again on everything?

**Answer.** An update costs a fraction of a refit and takes new items in; a model that
is never updated falls behind as soon as the shop changes. How close an update comes to
a refit depends on the data: measure it as below.
"""

# %%
# A shop that changes
# -------------------
# A third of the items appear after 60 % of the time. The first half is history, then
# the log comes in four parts; each model predicts a part before it may learn from it.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from skclip import CLIPSessionRecommender, PopularityRecommender, Sessions
from skclip.datasets import make_sessions

X, _ = make_sessions(1200, 160, late_share=0.33, late_from=0.6, random_state=0)
half = len(X) // 2
history = X[:half]
parts = [X[rows] for rows in np.array_split(np.arange(half, 2 * half), 4)]

model = CLIPSessionRecommender(
    "gru4rec",
    embedding_dim=32,
    batch_size=256,
    max_epochs=5,
    random_state=0,
)
stale = clone(model).fit(history)
updated = clone(model).fit(history)
refitted = stale
popular = PopularityRecommender().fit(history)

# %%
# Predict, then learn
# -------------------

scores = {name: [] for name in ["refit", "partial_fit", "stale", "popularity"]}
seconds = {"refit": [], "partial_fit": []}
known = history
for part in parts:
    for name, fitted in zip(scores, [refitted, updated, stale, popular], strict=True):
        scores[name].append(fitted.score(part))
    known = Sessions.concat([known, part])
    begun = time.perf_counter()
    updated.partial_fit(part)
    seconds["partial_fit"].append(time.perf_counter() - begun)
    begun = time.perf_counter()
    refitted = clone(model).fit(known)
    popular = PopularityRecommender().fit(known)
    seconds["refit"].append(time.perf_counter() - begun)

print(f"{'':<12}" + "".join(f"{f'part {i}':>8}" for i in range(1, 5)) + f"{'s':>8}")
for name, values in scores.items():
    cost = f"{np.mean(seconds[name]):>8.2f}" if name in seconds else ""
    print(f"{name:<12}" + "".join(f"{value:>8.3f}" for value in values) + cost)
print(f"{len(stale.item_ids_)} items then, {len(updated.item_ids_)} now;", end=" ")
print(f"last drift of the clusters: {updated.clusterer_.cluster_drift_:.2f}")

# %%
# Part by part
# ------------

looks = {
    "refit": ("0.1", "-", "o"),
    "partial_fit": ("tab:red", "--", "s"),
    "stale": ("0.5", "-.", "^"),
    "popularity": ("0.65", ":", "v"),
}
fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for name, values in scores.items():
    color, line, marker = looks[name]
    label = name
    if name in seconds:
        label = f"{name}, {np.mean(seconds[name]):.1f} s a part"
    ax.plot(
        range(1, 5), values, color=color, linestyle=line, marker=marker, label=label
    )
ax.set(xlabel="part of the log", ylabel="MRR@20 before it was learned", ylim=(0, None))
ax.set_xticks(range(1, 5))
fig.legend(frameon=False, loc="outside lower center", ncols=4)
ax.grid(axis="y", color="0.9")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The same on eight days of real clicks is on the page "From a click log to a top 10 in
# production". Refit when ``cluster_drift_`` has grown, or once a week.
