import numpy as np
import pytest

from skclip.datasets import make_sessions, make_titled_sessions


def test_titles_are_made_of_the_words_of_the_community():
    X, truth = make_titled_sessions(300, 90, n_communities=6, random_state=0)
    assert len(truth.titles) == len(set(truth.titles)) == 90
    vocabularies = [set(words) for words in truth.vocabularies]
    assert sum(map(len, vocabularies)) == len(set.union(*vocabularies)) == 6 * 12
    own = []
    for title, community in zip(truth.titles, truth.communities, strict=True):
        words = title.split()
        shared = [word for word in words if word in vocabularies[community]]
        assert len(shared) == len(set(shared)) == 2
        own += [word for word in words if word not in shared]
    assert len(own) == len(set(own)) == 90
    assert not set(own) & set.union(*vocabularies)
    assert set(X.vocabulary[X.codes]) <= set(truth.item_ids)


def test_frequent_words_come_first():
    _, truth = make_titled_sessions(50, 400, n_communities=2, random_state=0)
    text = " ".join(truth.titles[truth.communities == 0]).split()
    counts = [text.count(word) for word in truth.vocabularies[0]]
    assert counts[0] > 2 * counts[-1]


def test_sessions_are_those_of_make_sessions():
    X, truth = make_titled_sessions(80, 40, mean_length=4, random_state=3)
    same, plain = make_sessions(
        80, 40, mean_length=4, late_share=0.1, random_state=np.random.RandomState(3)
    )
    assert X.to_lists() == same.to_lists()
    assert truth.communities.tolist() == plain.communities.tolist()


def test_cold_items_are_held_out_of_what_ends_before():
    X, truth = make_titled_sessions(
        2000, 100, cold_share=0.3, cold_from=0.5, random_state=0
    )
    assert truth.cold.sum() == 30
    cold = set(truth.item_ids[truth.cold])
    early = X[X.end_times < 0.5 * 30 * 86400]
    assert len(early) > 500
    assert not cold & set(early.vocabulary[early.codes])
    assert len(cold & set(X.vocabulary[X.codes])) > 20


def test_seed_decides():
    titles = [make_titled_sessions(9, 20, random_state=s)[1].titles for s in (0, 0, 1)]
    assert titles[0].tolist() == titles[1].tolist() != titles[2].tolist()


def test_titles_may_repeat():
    _, truth = make_titled_sessions(9, 200, n_own_words=0, random_state=0)
    assert len(set(truth.titles)) < 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_shared_words": 13}, "n_shared_words=13 exceeds n_community_words=12"),
        ({"n_own_words": -1}, "n_own_words must be at least 0, got -1"),
        ({"n_shared_words": 0, "n_own_words": 0}, "both 0"),
        ({"cold_share": 2}, r"late_share must be in \[0, 1\], got 2"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make_titled_sessions(9, 20, **options)
