"""
Which cluster resolution ranks best?
====================================

**Question.** A higher resolution gives more and smaller clusters. Which resolution
ranks best, and is the difference larger than the spread between parts of the log?

**Answer.** scikit-learn's ``ValidationCurveDisplay`` plots the score against any
parameter of the recommender, such as ``clusterer__resolution``. In this simulated shop
with ten communities, a single cluster for all items is clearly worse. From ten clusters
on the curve is nearly flat. Scores differ more between parts of the log than between
resolutions.
"""

# %%
# Count the clusters
# ------------------
# The number of clusters and the modularity depend only on the item graph. Modularity
# measures how well the clusters fit that graph, not how much their prompts help.

import matplotlib.pyplot as plt
from sklearn.model_selection import ValidationCurveDisplay, cross_val_score

from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionClusterer,
    SessionKNN,
)
from skclip.datasets import make_sessions
from skclip.metrics import SessionScorer
from skclip.model_selection import TemporalSplit

X, _ = make_sessions(1000, 150, n_communities=10, p_stray=0.1, random_state=0)
resolutions = [0.1, 1.0, 10.0]
for resolution in resolutions:
    clusterer = SessionClusterer(resolution, random_state=0).fit(X)
    print(
        f"resolution {resolution:<4g} {clusterer.n_clusters_:>3} clusters, "
        f"modularity {clusterer.modularity_:.2f}"
    )

# %%
# Plot the scores against the resolution
# --------------------------------------
# Each point is the mean over three later parts of the log. The band is one standard
# deviation. Each fit clusters only its own training part.

recommender = CLIPSessionRecommender(
    "gru4rec",
    embedding_dim=32,
    batch_size=128,
    learning_rate=0.005,
    max_epochs=3,
    random_state=0,
)
cv = TemporalSplit(3, test_size=0.1, straddling="keep")
baselines = {
    "V-SKNN": (SessionKNN(n_neighbors=100), "--"),
    "popularity": (PopularityRecommender(), ":"),
}
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, metric in zip(axes, ["recall@20", "mrr@20"], strict=True):
    scorer = SessionScorer(metric)
    ValidationCurveDisplay.from_estimator(
        recommender,
        X,
        None,
        param_name="clusterer__resolution",
        param_range=resolutions,
        cv=cv,
        scoring=scorer,
        score_type="test",
        score_name=metric,
        line_kw={"marker": "o"},
        ax=ax,
    )
    ax.lines[0].set_label("CLIP-GRU4Rec")
    for name, (baseline, style) in baselines.items():
        score = cross_val_score(baseline, X, cv=cv, scoring=scorer).mean()
        ax.axhline(score, color="0.3", linestyle=style, label=name)
        print(f"{metric:<10} {name:<11} {score:.3f}")
    title = {"recall@20": "Recall@20", "mrr@20": "MRR@20"}[metric]
    ax.set(xlabel="resolution of the clusters", ylim=(0, None), title=title)
    ax.set_ylabel(f"{title} on later sessions")
    ax.legend(loc="lower right")
plt.show()

# %%
# Keep the default if the curve stays inside the band. Change the resolution only if a
# difference is larger than the band. To tune several parameters at once, see
# :ref:`sphx_glr_gallery_plot_grid_search.py`.
