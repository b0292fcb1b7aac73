"""
Which items belong together?
============================

**Question.** A click log says which items follow each other. Do groups of items show in
it, and are they the true ones?

**Answer.** Yes: :class:`~skclip.SessionClusterer` links items that follow each other
and cuts the graph with the Leiden algorithm. In this simulated shop, whose true
communities are known, it finds them without being told how many there are.
"""

# %%
# A shop with a known truth
# -------------------------
# Sessions mostly stay inside one of ten communities of items; two clicks in a hundred
# stray into another one.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import adjusted_rand_score

from skclip import SessionClusterer
from skclip.datasets import make_sessions
from skclip.inspection import ClusterMapDisplay

X, truth = make_sessions(3000, 200, n_communities=10, random_state=0)
print(X)

# %%
# Fit, and compare with the truth
# -------------------------------
# The clusterer sees clicks only. Items are matched by id, as an item that was never
# clicked is in no catalog.

clusterer = SessionClusterer(random_state=0).fit(X)
planted = dict(zip(truth.item_ids.tolist(), truth.communities.tolist(), strict=True))
planted = np.array([planted[item] for item in clusterer.item_ids_.tolist()])
agreement = adjusted_rand_score(planted, clusterer.membership_)
print(f"{clusterer.n_clusters_} clusters, modularity {clusterer.modularity_:.2f}")
print(f"Adjusted Rand index with the planted communities: {agreement:.2f} (1 = equal)")

# %%
# What is in a cluster? The items with most links, for instance:

strength = np.asarray(clusterer.graph_.sum(axis=1)).ravel()
for cluster in range(3):
    items = np.flatnonzero(clusterer.membership_ == cluster)
    top = items[np.argsort(-strength[items])][:4]
    print(cluster, clusterer.item_ids_[top].tolist())

# %%
# The graph, in order of the clusters
# -----------------------------------
# If clusters are real, transitions stay in blocks on the diagonal. On the left items
# stand in a random order, on the right in order of the clusters.

rng = np.random.default_rng(0)
orders = {
    "items in a random order": rng.permutation(len(strength)),
    "items in order of their cluster": np.lexsort((-strength, clusterer.membership_)),
}
weights = np.log1p(clusterer.graph_.toarray())
fig, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for ax, (title, order) in zip(axes, orders.items(), strict=True):
    image = ax.imshow(
        weights[np.ix_(order, order)], cmap="Greys", interpolation="nearest"
    )
    ax.set(title=title, xlabel="item", ylabel="item")
borders = np.cumsum(clusterer.cluster_sizes_)[:-1] - 0.5
for border in borders:
    axes[1].axhline(border, color="tab:red", linewidth=0.7)
    axes[1].axvline(border, color="tab:red", linewidth=0.7)
fig.colorbar(image, ax=axes, label="log(1 + transitions)", shrink=0.8)
plt.show()

# %%
# The few dots off the blocks are the strays.
#
# A map of the shop
# -----------------
# Where there are thousands of items a matrix is too large to read. The map has a circle
# for each cluster, its area the number of items; clusters that exchange visitors are
# joined by lines.

ClusterMapDisplay.from_estimator(clusterer)
plt.show()

# %%
# With `resolution` above 1 clusters become smaller and more; whether that helps the
# ranking is a question for a grid search
# (:ref:`sphx_glr_gallery_plot_grid_search.py`).
