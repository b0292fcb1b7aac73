"""User and session prompts in the recommender."""

import pickle

import numpy as np
import pytest
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skclip import SessionClusterer, Sessions
from skclip.backbones import BACKBONES
from skclip.model_selection import within_session_split

KINDS = [
    "cluster",
    "user",
    "session",
    ("cluster", "user"),
    ("cluster", "session"),
    ("user", "session"),
    ("cluster", "user", "session"),
]


@pytest.fixture(scope="module")
def taste():
    """Users with a taste: after "start" each always clicks an item of their own."""
    rng = np.random.default_rng(0)
    users = rng.integers(8, size=400)
    rows = [["start", f"own-{u}", f"then-{u}"] for u in users]
    return Sessions.from_lists(rows, users=[f"user-{u}" for u in users])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_users_are_known_again(backbone, taste):
    model = small(backbone, prompt="user", max_epochs=12, learning_rate=0.05)
    model.set_params(batch_size=64).fit(taste[:200])
    asked = Sessions.from_lists([["start"]] * 8, users=[f"user-{u}" for u in range(8)])
    found = model.predict(asked)
    assert (found == [f"own-{u}" for u in range(8)]).mean() >= 0.75
    nobody = model.predict_topk([["start"]] * 2, k=3)
    stranger = Sessions.from_lists([["start"]] * 2, users=["new", "newer"])
    np.testing.assert_array_equal(model.predict_topk(stranger, k=3), nobody)


@pytest.mark.parametrize(
    ("prompt", "session"),
    [(prompt, "table") for prompt in KINDS]
    + [(prompt, "pooled") for prompt in KINDS if "session" in prompt],
    ids=str,
)
def test_every_combination_fits_ranks_and_is_saved(prompt, session, taste):
    model = small(prompt=prompt, prompt__session=session, max_epochs=3)
    model.fit(taste[:300])
    test = taste[300:]
    scores = model.decision_function(test)
    alone = np.concatenate([model.decision_function(test[[i]]) for i in range(9)])
    np.testing.assert_allclose(scores[:9], alone, atol=1e-5)
    same(pickle.loads(pickle.dumps(model)), model, test)
    assert model._fitted.model.prompt.pooled == (session == "pooled")
    assert (model.membership_ is None) == ("cluster" not in prompt)
    assert (model.user_ids_ is None) == ("user" not in prompt)
    pipe = make_pipeline(SessionClusterer(random_state=0), clone(model))
    found = pipe.fit(taste[:300])[-1].user_ids_
    assert (found is None) == ("user" not in prompt)
    assert len(cross_val_score(model, taste[:60], cv=2, error_score="raise")) == 2
    if session == "pooled":  # each prefix is read on its own
        X, y = test.to_prefixes()
        np.testing.assert_array_equal(
            model.rank_targets(test), model.rank_targets(X, y)
        )


def test_strangers_may_have_the_mean_of_all_prompts(taste):
    zero, mean = (
        small(prompt="user", prompt__unknown_user=unknown).fit(taste)
        for unknown in ("zero", "mean")
    )
    same(zero, mean, taste[:9])
    one, other = (model.decision_function([["start"]]) for model in (zero, mean))
    assert (one != other).any()


def test_session_table_speaks_where_a_session_comes_again():
    """Each session repeats an item of its own: only its id tells which."""
    rng = np.random.default_rng(0)
    rows = [["go"] + [f"item-{i % 12}", "go"] * 5 for i in rng.permutation(60)]
    train, _, (X_test, y_test) = within_session_split(rows, validation_size=0.0)
    assert set(y_test) == {"go"}
    assert len(X_test) == len(rows)
    model = small(
        prompt="session", max_epochs=30, early_stopping=False, batch_size="auto"
    ).fit(train)
    asked = Sessions.from_lists([["go"]] * len(train), ids=train.ids)
    own = [row[1] for row in train.to_lists()]
    known = model.rank_targets(asked, own)
    unknown = model.rank_targets([["go"]] * len(train), own)
    assert (1 / known).mean() > 2 * (1 / unknown).mean()


def test_validation_users_have_no_prompt_unless_trained_on(taste):
    assert set(small(prompt="user").fit(taste).user_ids_) <= set(taste.users)
    X = Sessions.from_lists([["a", "b"]] * 9 + [["b", "a"]], users=[1] * 9 + [2])
    model = small(prompt="user").fit(X[:9], eval_set=(X[9:], None))
    assert model.user_ids_.tolist() == [1]
