"""
How well are new items ranked?
==============================

**Question.** Items that went on sale yesterday have few clicks. How well does a model
rank such cold items, and do cluster prompts help?

**Answer.** Every model ranks rare items much worse than frequent ones. Cluster prompts
help the network, because a rare item shares the prompt of the items around it. Nearest
neighbors find the most rare items here. Without any click in training, an item is
not in the catalog, and a model that reads only item ids cannot rank it.
"""

# %%
# Simulate a shop with new items
# ------------------------------
# A quarter of the items appear only in the last third of the month. The latest 15% of
# the sessions are the test part.

import matplotlib.pyplot as plt
import numpy as np

from skclip import CLIPSessionRecommender, PopularityRecommender, SessionKNN
from skclip.datasets import make_sessions
from skclip.metrics import recall_at_k
from skclip.model_selection import temporal_split

X, truth = make_sessions(
    1200, 400, n_communities=10, late_share=0.25, late_from=0.67, random_state=2
)
train, _, test = temporal_split(X, test_size=0.15, validation_size=0)

# %%
# How often was each target clicked in training?

names, counts = np.unique(train.vocabulary[train.codes], return_counts=True)
clicks = dict(zip(names.tolist(), counts.tolist(), strict=True))
_, targets = test.to_prefixes()
seen = np.array([clicks.get(item, 0) for item in targets.tolist()])
bins = {
    "never": seen == 0,
    "1 to 5": (seen >= 1) & (seen <= 5),
    "6 to 20": (seen >= 6) & (seen <= 20),
    "more": seen > 20,
}
print({name: int(inside.sum()) for name, inside in bins.items()})

# %%
# Fit four models
# ---------------
# ``rank_targets`` returns the rank of each target among all items. Metrics for any
# group of targets follow from these ranks.


def network(**options):
    return CLIPSessionRecommender(
        "gru4rec",
        embedding_dim=32,
        batch_size=256,
        max_epochs=7,
        random_state=0,
        **options,
    )


models = {
    "popularity": PopularityRecommender(),
    "neighbors": SessionKNN("vstan"),
    "no prompt": network(prompt=None),
    "cluster prompts": network(),
}
recall = {}
for name, model in models.items():
    ranks = model.fit(train).rank_targets(test)
    recall[name] = [recall_at_k(ranks[inside], 20) for inside in bins.values()]
    print(f"{name:<16}", "  ".join(f"{value:.3f}" for value in recall[name]))

# %%
# Recall by number of training clicks
# -----------------------------------

fig, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
looks = [("0.95", ""), ("0.8", "//"), ("0.5", ""), ("0.15", "")]
for i, ((name, values), (color, hatch)) in enumerate(
    zip(recall.items(), looks, strict=True)
):
    at = np.arange(len(bins)) + (i - 1.5) * 0.21
    bars = ax.bar(at, values, 0.21, color=color, hatch=hatch, edgecolor="k", label=name)
    ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
ax.set_xticks(
    range(len(bins)),
    [f"{name}\n(n = {int(inside.sum())})" for name, inside in bins.items()],
)
ax.set(
    xlabel="clicks of the target item in training (n = number of targets)",
    ylabel="Recall@20 (share of targets found)",
    ylim=(0, 1.12),
)
ax.legend(loc="upper left", frameon=False)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Report such a table together with the mean. Most clicks are on frequent items, so the
# mean over all targets hides the results for new ones. To rank items without any click,
# see :ref:`sphx_glr_gallery_plot_item_titles.py`.
