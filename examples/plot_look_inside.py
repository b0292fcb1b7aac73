"""
Why does the model recommend this item?
=======================================

**Question.** Does the lead of a fitted model hold at every cut-off? Do rare items rely
on their prompts? Why did this visitor get this list?

**Answer.** Three displays of :mod:`skclip.inspection` answer these questions in one
line each. They draw the scores over k, the shares of item and prompt, and the effect of
each click of a session.
"""

# %%
# Fit a model
# -----------
# The displays take fitted estimators, also in a Pipeline or a search.

import matplotlib.pyplot as plt
import numpy as np

from skclip import CLIPSessionRecommender, PopularityRecommender, SessionKNN
from skclip.datasets import make_sessions
from skclip.inspection import (
    GateDisplay,
    RankCurveDisplay,
    SessionExplanationDisplay,
    explain,
)
from skclip.model_selection import temporal_split

X, _ = make_sessions(1000, 300, n_communities=8, p_stray=0.1, random_state=0)
train, _, test = temporal_split(X, test_size=0.2, validation_size=0)
clip = CLIPSessionRecommender(
    "gru4rec",
    embedding_dim=32,
    batch_size=256,
    max_epochs=6,
    random_state=0,
).fit(train)

# %%
# Does the lead depend on k?
# --------------------------
# A table of scores has one cut-off, which may favor one model. If curves cross, the
# order of the models depends on k.

others = {
    "V-SKNN": SessionKNN(n_neighbors=100).fit(train),
    "popularity": PopularityRecommender().fit(train),
}
curves = RankCurveDisplay.from_estimators({"CLIP-GRU4Rec": clip} | others, test)
plt.show()
for name, values in curves.recall.items():
    print(
        f"{name:<14} Recall@1 {values[0]:.3f}  @5 {values[4]:.3f}  @20 {values[19]:.3f}"
    )

# %%
# Here the curves cross. The network ranks the target first more often. The neighbors
# have it among the first five more often.
#
# Do rare items rely on their cluster?
# ------------------------------------
# The model reads the sum of an item's own vector and its cluster's prompt. The display
# shows the share of the prompt, by the number of clicks of the item.

gates = GateDisplay.from_estimator(clip)
plt.show()
print("median share of the prompt in each bin:", gates.bin_quartiles_[1].round(3))

# %%
# Here they do not. After few epochs item and prompt have about equal shares, whatever
# the number of clicks.
#
# Why did this visitor get this list?
# -----------------------------------
# Take a session with clicks in two clusters. The display leaves out each click in turn.
# If the score of a recommendation drops, the click had raised it.

# sphinx_gallery_thumbnail_number = 3
cluster = dict(zip(clip.item_ids_, clip.membership_, strict=True))
visited = [len({cluster.get(item, -1) for item in items}) for items in test.to_lists()]
session = test[(np.array(visited) == 2) & (test.lengths == 6)][:1]
print(session.to_lists()[0])
SessionExplanationDisplay.from_estimator(clip, session, k=5)
plt.show()

# %%
# The last click raises most of the list. Clicks in the other cluster lower the scores
# of these items.
#
# ``explain`` returns a data frame for one session or many. It has one row per
# recommended item and names the clicked item that raised it most.

frame = explain(clip, session, k=5)
columns = ["rank", "item", "item_cluster", "click", "click_cluster", "drop"]
print(frame[columns].round(2).to_string(index=False))
