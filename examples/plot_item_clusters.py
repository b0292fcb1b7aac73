"""
Which items belong together?
============================

**Question.** A click log shows which items follow each other. Does it contain groups of
items, and are they the true ones?

**Answer.** Yes. :class:`~skclip.SessionClusterer` links items that follow each other
and partitions the graph with the Leiden algorithm. The true communities of this
simulated shop are known. The clusterer finds them without knowing their number.
"""

# %%
# Simulate a shop with known communities
# --------------------------------------
# Each session mostly stays inside one of ten communities of items. Two clicks in a
# hundred go to another community.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import adjusted_rand_score

from skclip import SessionClusterer
from skclip.datasets import make_sessions
from skclip.inspection import ClusterMapDisplay

X, truth = make_sessions(3000, 200, n_communities=10, random_state=0)
print(X)

# %%
# Find the clusters and compare them with the truth
# -------------------------------------------------
# The clusterer reads only the clicks. Match the items by id, because an item without
# clicks is not in the catalog.

clusterer = SessionClusterer(random_state=0).fit(X)
planted = dict(zip(truth.item_ids.tolist(), truth.communities.tolist(), strict=True))
planted = np.array([planted[item] for item in clusterer.item_ids_.tolist()])
agreement = adjusted_rand_score(planted, clusterer.membership_)
print(f"{clusterer.n_clusters_} clusters, modularity {clusterer.modularity_:.2f}")
print(f"Adjusted Rand index with the true communities: {agreement:.2f} (1 = equal)")

# %%
# Show the items with most transitions of three clusters:

strength = np.asarray(clusterer.graph_.sum(axis=1)).ravel()
for cluster in range(3):
    items = np.flatnonzero(clusterer.membership_ == cluster)
    top = items[np.argsort(-strength[items])][:4]
    print(cluster, clusterer.item_ids_[top].tolist())

# %%
# Draw the graph in the order of the clusters
# -------------------------------------------
# A dark dot marks two items that often follow each other. On the left the items have a
# random order. On the right they are sorted by cluster. Most transitions then lie in
# blocks on the diagonal.

rng = np.random.default_rng(0)
orders = {
    "items in a random order": rng.permutation(len(strength)),
    "items sorted by cluster": np.lexsort((-strength, clusterer.membership_)),
}
weights = np.log1p(clusterer.graph_.toarray())
fig, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for ax, (title, order) in zip(axes, orders.items(), strict=True):
    image = ax.imshow(
        weights[np.ix_(order, order)], cmap="Greys", interpolation="nearest"
    )
    ax.set(title=title, xlabel="item (row number)", ylabel="item (row number)")
borders = np.cumsum(clusterer.cluster_sizes_)[:-1] - 0.5
for border in borders:
    axes[1].axhline(border, color="tab:red", linewidth=0.7)
    axes[1].axvline(border, color="tab:red", linewidth=0.7)
fig.colorbar(image, ax=axes, label="log(1 + number of transitions)", shrink=0.8)
plt.show()

# %%
# The dots outside the blocks are the clicks that go to another community.
#
# Draw a map of the clusters
# --------------------------
# With thousands of items the matrix is too large to read. The map draws a circle for
# each cluster, and a line between clusters whose items follow each other. It describes
# a cluster by the categories of its items. Here we name the categories ourselves. In
# your data, pass the column of categories, or the titles as ``item_names``.

# sphinx_gallery_thumbnail_number = 2
shelves = (
    "Tea", "Coffee", "Baking", "Spices", "Snacks", "Dairy", "Bread", "Fruit", "Fish",
    "Pasta",
)  # fmt: skip
categories = {
    item: shelves[community]
    for item, community in zip(truth.item_ids, truth.communities, strict=True)
}
ClusterMapDisplay.from_estimator(clusterer, item_categories=categories)
plt.show()

# %%
# A higher `resolution` gives more and smaller clusters. Use a grid search to find out
# whether that improves the ranking (:ref:`sphx_glr_gallery_plot_grid_search.py`).
