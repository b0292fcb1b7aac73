"""
When is an approximate index worth it?
======================================

**Question.** An index of nearest neighbors finds items without scoring all of them. How
many does it miss, how much faster is it, and what does it leave out?

**Answer.** It finds nearly all items of the exact lists, and the gain grows with the
catalog. For a few thousand items exact ranking is fast enough. An index has no filters
and no learned bias for items of the session. Fetch more items than you show, add the
bias, and then filter.
"""

# %%
# Compute vectors of sessions and items
# -------------------------------------
# The index finds the items nearest to a session or to another item. The products of
# ``session_vectors`` and ``item_vectors_`` are the scores of a session. With
# ``similarity="cosine"``, the default, item vectors have length 1. Their products are
# cosines, and one index by inner product serves both purposes. Otherwise build a second
# index for similar items. Leave out the last column if the backbone has a bias for each
# item, and divide each vector by its length.

import time

import faiss
import matplotlib.pyplot as plt
import numpy as np

from skclip import CLIPSessionRecommender
from skclip.datasets import make_sessions

K = 20
X, _ = make_sessions(5000, 4000, n_communities=40, p_return=0.2, random_state=0)
past, future = X[:4000], X[4000:]
model = CLIPSessionRecommender(max_epochs=3, repeats=True, n_threads=1, random_state=0)
model.fit(past)

item_ids, item_vectors = model.item_ids_, model.item_vectors_
session_vectors = model.session_vectors(future)
# A session without a known item has no vector. Show popular items there.
known = ~np.isnan(session_vectors).any(axis=1)
future, session_vectors = future[known], session_vectors[known]
norms = np.linalg.norm(item_vectors, axis=1)
print(f"{len(item_ids):,} items, lengths {norms.min():.3f} to {norms.max():.3f}")

# %%
# Build the index
# ---------------
# The package faiss offers exact and approximate search with the same call. This index
# divides the items into 64 clusters of its own. A query compares only the items of the
# ``nprobe`` nearest clusters.

faiss.omp_set_num_threads(1)
dim = item_vectors.shape[1]
exact = faiss.IndexFlatIP(dim)
index = faiss.index_factory(dim, "IVF64,Flat", faiss.METRIC_INNER_PRODUCT)
index.train(item_vectors)
for each in (exact, index):
    each.add(item_vectors)


def seconds(function, *arguments):
    """The shortest of five times."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - begun)
    return min(times)


def recall(found, wanted):
    """Share of the items of the exact lists that were found."""
    rows = zip(found, wanted, strict=True)
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in rows])


# %%
# Measure recall and speed
# ------------------------
# Each item is nearest to itself, so search for one more item. The exact lists and their
# time come from ``similar_items``.

_, best = exact.search(session_vectors, K)
some = np.arange(0, len(item_ids), 3)
similar = model.similar_items(item_ids[some], K)
exact_seconds = seconds(model.similar_items, item_ids[some], K)
rows = []
print("\nnprobe   recall@20, sessions   recall@20, similar items   speed, exact = 1")
for index.nprobe in (1, 2, 4, 8, 16, 32, 64):
    _, found = index.search(session_vectors, K)
    _, found_similar = index.search(item_vectors[some], K + 1)
    speed = exact_seconds / seconds(index.search, item_vectors[some], K + 1)
    shares = recall(found, best), recall(item_ids[found_similar], similar)
    rows.append((*shares, speed))
    print(f"{index.nprobe:>6}{shares[0]:>22.3f}{shares[1]:>27.3f}{speed:>19.1f}")

# %%
# Sessions gain less, because the network must read them first. An index does not make
# that step faster.

reading = seconds(model.session_vectors, future) / seconds(
    model.predict_topk, future, K
)
print(f"\nshare of predict_topk that the network takes: {reading:.0%}")

# %%
# Add the bias and the filters
# ----------------------------
# The model adds a learned bias to the items of the session (``repeat_bias_``). A shop
# also leaves out items that are sold out, here every eighth item. An index does
# neither. Fetch more candidates than you show and add the items of the session. Then
# add their bias and filter.

place_of = {item: place for place, item in enumerate(item_ids.tolist())}
sold_out = item_ids[::8]
bias = model.repeat_bias_


def rank(session, vector, candidates, k):
    """Ids of the best `k` candidates and items of the session."""
    clicks = [place_of[item] for item in session if item in place_of]
    clicks = clicks[-model.max_session_length :]
    at = np.union1d(candidates[candidates >= 0], clicks)  # -1: the index found fewer
    scores = item_vectors[at] @ vector
    for place in set(clicks):
        recency, count = clicks[::-1].index(place), clicks.count(place)
        scores[at == place] += bias[min(recency, 11), min(count, 4) - 1]
    order = at[np.argsort(-scores, kind="stable")]
    return item_ids[order[order % 8 > 0]][:k]


index.nprobe = 8
sessions = future.to_lists()
wanted = model.predict_topk(future, K, deny=sold_out)
print("\ncandidates   share of the lists of predict_topk(deny=...)")
for n in (K, K + 5, 2 * K, 4 * K):
    _, candidates = index.search(session_vectors, n)
    parts = zip(sessions, session_vectors, candidates, strict=True)
    print(f"{n:>10}{recall([rank(*part, K) for part in parts], wanted):>12.3f}")

# %%
# If ``allow`` has few items, few candidates remain. Use ``predict_topk`` instead.
#
# Plot recall against speed
# -------------------------

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
of_sessions, of_items, speeds = np.transpose(rows)
ax.plot(speeds, of_sessions, color="0.3", marker="o", label="sessions")
ax.plot(speeds, of_items, "s--", color="tab:red", label="similar items")
for nprobe, share, speed in zip((1, 2, 4, 8), of_sessions, speeds, strict=False):
    offset = {"xytext": (-6, -10), "textcoords": "offset points", "ha": "right"}
    ax.annotate(f"nprobe {nprobe}", (speed, share), color="0.3", fontsize=8, **offset)
ax.axvline(1, color="0.6", linestyle=":")
ax.set(
    xscale="log",
    xlabel="speed (1 = exact similar items)",
    ylabel="recall@20 (share of the exact list)",
)
ax.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
ax.minorticks_off()
ax.set_title(f"Approximate search in {len(item_ids):,} items")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="lower left")
plt.show()

# %%
# ``predict_topk`` and ``similar_items`` are exact and apply filters and bias. You need
# not build an index after each fit. Prefer them while a query takes a few milliseconds.
# That holds for tens of thousands of items. :doc:`/guide/scaling` compares both on
# larger catalogs.
