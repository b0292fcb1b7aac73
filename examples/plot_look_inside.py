"""
Why does it recommend that?
===========================

**Question.** A model is fitted. Does its lead hold at every cut-off, do rare items lean
on their prompts, and why did this visitor get this list?

**Answer.** Three displays of :mod:`skclip.inspection`, each one line: ranks over k, the
shares of item and prompt by frequency, and a session with what each click has done.
"""

# %%
# A model and a baseline
# -----------------------
# All displays work on fitted estimators, also inside a Pipeline or a search.

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
# A table has one cut-off, and it may be the one that suits a model. Curves that cross
# say so.

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
# Here they do: the network puts the target first more often, the neighbors have it
# among the first five more often.
#
# Do rare items lean on their cluster?
# ------------------------------------
# The gate lets a part of the item's own vector through and a part of its cluster's
# prompt. The line is the median of the items of a bin, the band the middle half.

gates = GateDisplay.from_estimator(clip)
plt.show()
print("median share of the prompt, by bin:", gates.bin_quartiles_[1].round(3))

# %%
# Here they do not: after so few epochs item and prompt have about equal parts, whatever
# the frequency.
#
# Why this list?
# --------------
# A session that passed through two clusters. Each click is left out in turn; what falls
# then was held up by it.

cluster = dict(zip(clip.item_ids_, clip.membership_, strict=True))
visited = [len({cluster.get(item, -1) for item in items}) for items in test.to_lists()]
session = test[(np.array(visited) == 2) & (test.lengths == 6)][:1]
print(session.to_lists()[0])
SessionExplanationDisplay.from_estimator(clip, session, k=5, exclude_seen=True)
plt.show()

# %%
# The last click holds up the whole list; the clicks in the other cluster speak against
# it, and without them these items would score higher.
#
# The same numbers as a frame, for as many sessions as you like: for each
# recommendation the click that held it up most.

frame = explain(clip, session, k=5, exclude_seen=True)
most = frame.loc[frame.groupby("rank")["drop"].idxmax()]
columns = ["rank", "item", "item_cluster", "click", "click_cluster", "drop"]
print(most[columns].round(2).to_string(index=False))
