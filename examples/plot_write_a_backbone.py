"""
Use your own network
====================

**Question.** None of the backbones fits your idea. How much code do you have to
write?

**Answer.** Two classes: a network with the equations, and a spec with the parameters.
The recommender adds prompts, losses, early stopping, ranking, hyperparameter searches
and saving.
"""

# %%
# Write the network and its spec
# ------------------------------
# The session vector is a weighted mean of the item vectors. An event that is :math:`a`
# clicks old has the weight :math:`e^{-a / h}`, normalized over the session:
#
# .. math:: s = W \sum_t \frac{e^{-a_t / h}}{\sum_u e^{-a_u / h}} x_t
#
# With a large :math:`h` all clicks count equally. With a small :math:`h` only the last
# click counts.

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

from skclip import CLIPSessionRecommender, PopularityRecommender, SessionKNN
from skclip.backbones import Backbone, BackboneSpec
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit, temporal_split


class FadingMeanNetwork(Backbone):
    def __init__(self, embedding_dim, half_life):
        super().__init__()
        self.half_life = half_life
        self.W = nn.Linear(embedding_dim, embedding_dim)

    def encode(self, x, batch):  # x: (n_sessions, length, d)
        place = torch.arange(x.shape[1], device=x.device)
        age = batch.ends[:, None] - 1 - place  # (n_queries, length)
        weights = (-age / self.half_life).masked_fill(~batch.mask, -torch.inf)
        mean = torch.bmm(weights.softmax(dim=1)[:, None], batch.of_rows(x)).squeeze(1)
        return self.W(mean)  # (n_queries, d)


class FadingMean(BackboneSpec):
    def __init__(self, *, half_life=2.0):
        self.half_life = half_life

    def build(self, embedding_dim, n_items, max_length):
        return FadingMeanNetwork(embedding_dim, self.half_life)


# %%
# Use it like any other backbone
# ------------------------------
# Tune its parameter as ``backbone__half_life``.

X, _ = make_sessions(800, 120, p_return=0.2, random_state=0)
train, _, test = temporal_split(X, test_size=0.2, validation_size=0)
model = CLIPSessionRecommender(
    FadingMean(),
    embedding_dim=32,
    batch_size=256,
    max_epochs=8,
    random_state=0,
)
half_lives = [0.3, 0.6, 1.2, 2.4, 4.8, 9.6]
search = GridSearchCV(
    model, {"backbone__half_life": half_lives}, cv=TemporalSplit(1, test_size=0.2)
).fit(train)
print(search.best_params_)

# %%
# Compare it with GRU4Rec and with two baselines:

scores = {
    "popularity": PopularityRecommender().fit(train).score(test),
    "nearest neighbors": SessionKNN("vstan").fit(train).score(test),
    "GRU4Rec": model.set_params(backbone="gru4rec").fit(train).score(test),
    "fading mean, best half-life": search.score(test),
}
for name, score in scores.items():
    print(f"{name:<28} MRR@20 {score:.3f}")

# %%
# Plot the result of the search
# -----------------------------

curve = search.cv_results_["mean_test_score"]
fig, ax = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
ax.plot(half_lives, curve, "o-", color="0.1")
best = int(np.argmax(curve))
ax.plot(half_lives[best], curve[best], "o", color="tab:red", markersize=11, mfc="none")
ax.annotate(
    f"best: {half_lives[best]}",
    (half_lives[best], curve[best]),
    xytext=(10, 9),
    textcoords="offset points",
)
ax.margins(y=0.15)
ax.set_xscale("log", base=2)
ax.set_xticks(half_lives, half_lives)
ax.set(xlabel="half_life (clicks)", ylabel="MRR@20 on the validation part")
ax.grid(axis="y", color="0.9")
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# In this shop the next click depends on the current item, so old clicks are mostly
# noise. The curve comes from one seed and its scale is short. Neighboring values do not
# really differ. See :doc:`/guide/write_a_backbone` for everything else that a backbone
# can define.
