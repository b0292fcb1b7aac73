"""
Does a blend beat its members?
==============================

**Question.** A neural network and a nearest neighbor model rank the same sessions. Is a
weighted mean of both better than either one, and how do you choose the weights?

**Answer.** ``VotingRecommender(method="blend", weights="auto")`` learns the weights on
the latest training sessions. If each member finds items that the other one misses, the
blend beats both.
"""

# %%
# Members
# -------
# The blend fits each member twice. The first fit leaves out the latest tenth of the
# sessions. The blend learns the weights and temperatures on that tenth. The second fit
# uses all sessions.

import matplotlib.pyplot as plt
import numpy as np

from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionKNN,
    VotingRecommender,
)
from skclip.datasets import make_sessions
from skclip.metrics import mrr_at_k, recall_at_k

X, _ = make_sessions(1500, 300, p_return=0.3, p_habit=0.3, random_state=0)
past, future = X[:900], X[900:]
members = [
    ("network", CLIPSessionRecommender(random_state=0)),
    ("neighbors", SessionKNN("vstan", n_neighbors=100)),
]
blend = VotingRecommender(members, method="blend", weights="auto").fit(past)
for name, weight, temperature in zip(
    blend.named_estimators_, blend.weights_, blend.temperatures_, strict=True
):
    print(f"{name:<10} weight {weight:.2f}, temperature {temperature:.2f}")

# %%
# Try all weights
# ---------------
# With ``prefit=True`` the members are not fitted again, so a blend with fixed weights
# takes almost no time.

fitted = list(blend.named_estimators_.items())
shares = np.linspace(0, 1, 11)
curve = []
for share in shares:
    mixed = VotingRecommender(
        fitted, method="blend", weights=[1 - share, share], prefit=True
    )
    mixed.fit(past).temperatures_ = blend.temperatures_
    ranks = mixed.rank_targets(future)
    curve.append((recall_at_k(ranks, 20), mrr_at_k(ranks, 20)))

ranks = {name: member.rank_targets(future) for name, member in fitted}
ranks["blend"] = blend.rank_targets(future)
ranks["popularity"] = PopularityRecommender().fit(past).rank_targets(future)
print(f"\n{'':<12}{'Recall@20':>10}{'MRR@20':>8}")
for name, found in ranks.items():
    print(f"{name:<12}{recall_at_k(found, 20):>10.3f}{mrr_at_k(found, 20):>8.3f}")

# %%
# Compare the learned weight with the others
# ------------------------------------------

fig, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, metric, values, label in zip(
    axes, [recall_at_k, mrr_at_k], np.transpose(curve), ["Recall@20", "MRR@20"],
    strict=True,
):  # fmt: skip
    ax.plot(shares, values, color="0.3", marker="o", label="blend with this weight")
    at = blend.weights_[1], metric(ranks["blend"], 20)
    ax.plot(
        *at, "D", color="tab:red", markersize=9, label="blend with the learned weight"
    )
    popular = metric(ranks["popularity"], 20)
    ax.text(
        0.03, 0.03, f"popularity: {popular:.3f}", transform=ax.transAxes, color="0.4"
    )
    ax.set(xlabel="weight of the neighbors (0 = network alone)", title=label)
    ax.margins(y=0.15)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("score on later sessions")
handles, labels = axes[0].get_legend_handles_labels()
fig.legend(handles, labels, frameon=False, loc="outside lower center", ncols=2)
plt.show()

# %%
# The left end of each curve is the network alone, the right end the neighbors alone.
# These simulated visitors often return to an item. A blend does not always win. With
# ``p_habit=0.6`` the next click depends more on the last item, and the neighbors rank
# worse. The same blend then finds more items but has a lower MRR than the network.
# Compare a blend with its members on your own later sessions. See :doc:`/guide/blend`.
