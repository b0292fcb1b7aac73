"""
Update the model or fit it again?
=================================

**Question.** New sessions and new items arrive each day. Is ``partial_fit`` enough, or
must you fit the model again on all sessions?

**Answer.** An update takes a fraction of the time of a new fit and adds the new items.
A model that is never updated gets worse as soon as the shop changes. How close an
update comes to a new fit depends on the data, so measure it as shown here.
"""

# %%
# Simulate a shop that changes
# ----------------------------
# A third of the items appear after 60% of the time. The first half of the log is
# history. The rest arrives in four parts. Each model predicts a part before it learns
# from it.

import time

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionKNN,
    Sessions,
)
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
neighbors = SessionKNN("vstan").fit(history)
popular = PopularityRecommender().fit(history)

# %%
# Predict each part, then learn from it
# -------------------------------------
# The baselines are fitted again after each part.

scores = {
    name: []
    for name in ["fit again", "partial_fit", "never updated", "neighbors", "popularity"]
}
seconds = {"fit again": [], "partial_fit": []}
known = history
for part in parts:
    models = [refitted, updated, stale, neighbors, popular]
    for name, fitted in zip(scores, models, strict=True):
        scores[name].append(fitted.score(part))
    known = Sessions.concat([known, part])
    begun = time.perf_counter()
    updated.partial_fit(part)
    seconds["partial_fit"].append(time.perf_counter() - begun)
    begun = time.perf_counter()
    refitted = clone(model).fit(known)
    seconds["fit again"].append(time.perf_counter() - begun)
    neighbors = SessionKNN("vstan").fit(known)
    popular = PopularityRecommender().fit(known)

header = "".join(f"{f'part {i}':>8}" for i in range(1, 5))
print(f"{'MRR@20':<14}{header}{'seconds':>9}")
for name, values in scores.items():
    cost = f"{np.mean(seconds[name]):>9.2f}" if name in seconds else ""
    print(f"{name:<14}" + "".join(f"{value:>8.3f}" for value in values) + cost)
print(f"{len(stale.item_ids_)} items at first, {len(updated.item_ids_)} in the end")
print(f"cluster_drift_ of the last update: {updated.clusterer_.cluster_drift_:.2f}")

# %%
# Plot the score of each part
# ---------------------------

looks = {
    "fit again": ("0.1", "-", "o"),
    "partial_fit": ("tab:red", "--", "s"),
    "never updated": ("0.5", "-.", "^"),
    "neighbors": ("0.3", (0, (1, 3)), "D"),
    "popularity": ("0.65", ":", "v"),
}
fig, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for name, values in scores.items():
    color, line, marker = looks[name]
    label = name
    if name in seconds:
        label = f"{name} ({np.mean(seconds[name]):.1f} s per part)"
    ax.plot(
        range(1, 5), values, color=color, linestyle=line, marker=marker, label=label
    )
ax.set(
    xlabel="part of the log", ylabel="MRR@20 before learning the part", ylim=(0, None)
)
ax.set_xticks(range(1, 5))
fig.legend(frameon=False, loc="outside lower center", ncols=3)
ax.grid(axis="y", color="0.9")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Fit again when ``cluster_drift_`` has grown, or once a week. For updates in production
# see :doc:`/guide/deploy`.
