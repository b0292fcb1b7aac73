"""
Which resolution, and which learning rate?
==========================================

**Question.** The clusterer and the network have parameters that belong together. How
are they searched in one go, and without looking into the future?

**Answer.** Put both into a ``Pipeline``, hand it to scikit-learn's ``GridSearchCV``,
and cut in time with :class:`~skclip.model_selection.TemporalSplit`.
"""

# %%
# Hold the future out
# -------------------
# The latest fifth of the sessions is the test part. It is looked at once, at the end.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skclip
from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionClusterer,
    SessionKNN,
)
from skclip.datasets import make_sessions
from skclip.metrics import SessionScorer
from skclip.model_selection import TemporalSplit, temporal_split

X, _ = make_sessions(800, 120, random_state=0)
train, _, test = temporal_split(X, test_size=0.2, validation_size=0)

# %%
# The search
# ----------
# Each fit clusters its own training part, so that no validation click enters the graph.
# ``TemporalSplit(1, test_size=0.2)`` makes one validation part, the latest fifth of
# the rest; more parts are safer and cost as many fits more.

pipeline = make_pipeline(
    SessionClusterer(random_state=0),
    CLIPSessionRecommender(
        "gru4rec",
        embedding_dim=32,
        batch_size=256,
        max_epochs=6,
        random_state=0,
    ),
)
grid = {
    "sessionclusterer__resolution": [1.0, 10.0, 50.0],
    "clipsessionrecommender__learning_rate": [0.001, 0.01, 0.03],
}
search = GridSearchCV(
    pipeline,
    grid,
    cv=TemporalSplit(1, test_size=0.2),
    scoring=SessionScorer("mrr@20"),
).fit(train)
print(search.best_params_)

# %%
# The winner was fitted again on all training sessions. It ranks through the pipeline:

print(skclip.predict_topk(search, test[:2], k=3))
score = SessionScorer("mrr@20")
popular = PopularityRecommender().fit(train)
print(f"MRR@20 of the future: {score(search, test):.3f}", end=", ")
neighbors = SessionKNN("vstan").fit(train)
print(f"by popularity {score(popular, test):.3f}", end=", ")
print(f"by neighbors {score(neighbors, test):.3f}")

# %%
# What the search saw
# -------------------

names = list(grid)
table = search.cv_results_["mean_test_score"].reshape(
    [len(grid[name]) for name in sorted(names)]
)  # scikit-learn goes through the names in alphabetical order
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
image = ax.imshow(table.T, cmap="cividis", aspect="auto")
middle = (table.min() + table.max()) / 2
for (column, row), value in np.ndenumerate(table):
    ink = "white" if value < middle else "black"
    ax.text(column, row, f"{value:.3f}", ha="center", va="center", color=ink)
ax.set_xticks(range(3), grid["clipsessionrecommender__learning_rate"])
ax.set_yticks(range(3), grid["sessionclusterer__resolution"])
ax.set(xlabel="learning rate", ylabel="resolution")
fig.colorbar(image, label="MRR@20, validation part")
plt.show()

# %%
# Look at the spread of the columns against that of the rows: the learning rate decides
# more than the resolution, so with few fits to spend, spend them there.
# ``CLIPSessionRecommender`` alone can be searched as well, over
# ``clusterer__resolution`` and ``backbone__hidden_dim``.
