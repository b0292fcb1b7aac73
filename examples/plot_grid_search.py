"""
Tune hyperparameters with a grid search
=======================================

**Question.** The clusterer and the network both have hyperparameters. How do you tune
them together without using clicks from the future?

**Answer.** Put both into a ``Pipeline``, pass it to scikit-learn's ``GridSearchCV``,
and split by time with :class:`~skclip.model_selection.TemporalSplit`.
"""

# %%
# Hold out the latest sessions
# ----------------------------
# The latest fifth of the sessions is the test part. Use it only once, at the end.

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
# Run the search
# --------------
# Each fit clusters only its own training part. No validation click enters the graph.
# ``TemporalSplit(1, test_size=0.2)`` makes one validation part, the latest fifth of the
# training sessions. More parts make the choice more reliable but need more fits.

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
# The search fits the best pipeline again on all training sessions. Use it to recommend,
# and compare it with the baselines on the test part.

print(skclip.predict_topk(search, test[:2], k=3))
score = SessionScorer("mrr@20")
popular = PopularityRecommender().fit(train)
print(f"MRR@20 on the test part: {score(search, test):.3f}", end=", ")
neighbors = SessionKNN("vstan").fit(train)
print(f"popularity {score(popular, test):.3f}", end=", ")
print(f"nearest neighbors {score(neighbors, test):.3f}")

# %%
# Plot the scores of the grid
# ---------------------------

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
ax.set(xlabel="learning rate", ylabel="resolution of the clusters")
fig.colorbar(image, label="MRR@20 on the validation part")
plt.show()

# %%
# The scores differ more between columns than between rows. The learning rate matters
# more than the resolution here, so tune it first if you can afford only a few fits. You
# can also search ``CLIPSessionRecommender`` without a pipeline. Its parameters are then
# called ``clusterer__resolution`` and ``backbone__hidden_dim``. See :doc:`/guide/tune`.
