from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from skclip import CLIPSessionRecommender, PopularityRecommender, Sessions
from skclip.datasets import make_sessions, read_lastfm_1k, read_reddit, read_xing


def test_truth_fits_the_sessions(shop):
    X, truth = shop
    assert len(X) == 600
    assert set(X.vocabulary[X.codes]) <= set(truth.item_ids)
    assert (np.diff(X.end_times) >= 0).all()
    assert X.lengths.min() >= 2
    of_event = truth.communities[np.searchsorted(truth.item_ids, X.vocabulary[X.codes])]
    same = np.diff(of_event) == 0
    inside = np.ones(len(same), bool)
    inside[X.offsets[1:-1] - 1] = False
    assert same[inside].mean() > 0.9
    counts = np.bincount(X.codes, minlength=80)
    assert np.corrcoef(np.argsort(np.argsort(-truth.popularity)), counts)[0, 1] < -0.4


def test_habits_and_returns():
    X, truth = make_sessions(5000, 60, p_return=0.3, p_habit=0.5, random_state=0)
    position = {item: i for i, item in enumerate(truth.item_ids)}
    habitual = returns = steps = 0
    for row in X:
        codes = [position[item] for item in row]
        for t in range(1, len(codes)):
            steps += 1
            habitual += codes[t] in truth.habits[codes[t - 1]]
            returns += codes[t] in codes[:t]
    assert habitual / steps > 0.4
    assert returns / steps > 0.3


def test_late_items_appear_late_only():
    X, truth = make_sessions(3000, 100, late_share=0.2, late_from=0.7, random_state=0)
    late = set(truth.item_ids[truth.late])
    assert len(late) == 20
    begins = X.times[X.offsets[:-1]]
    early = begins < 0.7 * 30 * 86400
    assert not late & set(np.concatenate(X.to_lists()[: early.sum() // 2]))
    seen_early = {
        item for row, is_early in zip(X, early, strict=True) if is_early for item in row
    }
    assert not late & seen_early
    seen = {item for row in X for item in row}
    assert len(late & seen) >= 15


def test_seed_decides():
    a, b, c = (make_sessions(50, 30, random_state=seed)[0] for seed in (0, 0, 1))
    assert a.to_lists() == b.to_lists() != c.to_lists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_items": 5}, "n_items=5 is too few"),
        ({"n_sessions": 0}, "n_sessions must be at least 1"),
        ({"mean_length": 1}, "mean_length must be >= 2"),
        ({"p_habit": 1.5}, "p_habit must be in"),
        ({"p_habit": 0.9, "p_return": 0.2}, "must not exceed 1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make_sessions(**options)


def shuffled(X, seed):
    """The same lengths and item counts, no order left in them."""
    codes = np.random.default_rng(seed).permutation(X.codes)
    return Sessions(codes, X.offsets, X.vocabulary, times=X.times)


@pytest.mark.parametrize("backbone", ["gru4rec", "narm"])
def test_models_learn_what_is_there_and_nothing_else(backbone):
    X, _ = make_sessions(random_state=0)
    model = CLIPSessionRecommender(backbone, random_state=0, max_epochs=12, n_threads=1)
    train, test = X[:1600], X[1600:]
    popular = PopularityRecommender().fit(train).score(test)
    assert model.fit(train).score(test) >= 2 * popular

    noise = shuffled(X, 0)
    train, test = noise[:1600], noise[1600:]
    popular = reciprocal_ranks(PopularityRecommender().fit(train), test)
    gain = reciprocal_ranks(model.fit(train), test) - popular
    assert gain.mean() <= 2 * gain.std() / len(gain) ** 0.5  # within two errors of none


def reciprocal_ranks(model, X):
    ranks = model.rank_targets(X)
    return np.where(ranks <= 20, 1 / ranks, 0)


# -- files as they were published ------------------------------------------------------


def lastfm_line(user, minutes, artist, track="song"):
    when = datetime(2009, 4, 8, tzinfo=timezone.utc) + timedelta(minutes=minutes)
    return f"{user}\t{when:%Y-%m-%dT%H:%M:%SZ}\tid-{artist}\t{artist}\t\t{track}\n"


def test_lastfm_1k(tmp_path):
    path = tmp_path / "plays.tsv"
    lines = []
    for user in ("user_000001", "user_000002"):
        for visit in range(6):
            start = visit * 24 * 60
            for i, artist in enumerate(["Can", "Can", "Air", 'The "B"', "Air"]):
                lines.append(lastfm_line(user, start + 10 * i, artist))
    lines.append(lastfm_line("user_000002", 20 * 24 * 60, "Rare"))  # too short
    for visit in range(4):  # a user with too few sessions
        for i, artist in enumerate(["Can", "Air", "Can"]):
            lines.append(lastfm_line("user_000003", visit * 24 * 60 + i, artist))
    lines.append("user_000001\t2009-04-08T01:00:00Z\t\t\t\tsong\n")  # no artist
    lines[3] = lines[3].replace("song", "so\tn\tg")  # as nine lines of the real file
    path.write_text("".join(lines[::-1]), encoding="utf-8")  # newest first, as there
    X = read_lastfm_1k(path)
    assert X.to_lists() == [["Can", "Air", 'The "B"', "Air"]] * 12
    assert set(X.users.tolist()) == {"user_000001", "user_000002"}
    assert X.times is not None
    shorter = read_lastfm_1k(path, max_length=3, n_items=2, min_session_length=2)
    assert shorter.to_lists()[0] == ["Can", "Air"]


def test_xing(tmp_path):
    path = tmp_path / "interactions.csv"
    lines = ["user_id\titem_id\tinteraction_type\tcreated_at\n"]
    for visit in range(5):
        for i, (item, kind) in enumerate([(5, 1), (5, 3), (7, 1), (9, 4), (8, 2)]):
            lines.append(f"11\t{item}\t{kind}\t{visit * 10_000 + 300 * i}\n")
    path.write_text("".join(lines))
    X = read_xing(path)
    assert X.to_lists() == [[5, 7, 8]] * 5
    assert X.users.tolist() == [11] * 5
    with pytest.raises(ValueError, match="No user has 6 sessions of 3 events"):
        read_xing(path, min_user_sessions=6)


def test_reddit(tmp_path):
    path = tmp_path / "reddit_data.csv"
    lines = ["username,subreddit,utc\n"]
    for visit in range(5):
        for i, name in enumerate(["python", "python", "rust", "python"]):
            lines.append(f"kar0,{name},{visit * 100_000 + 3600 * i}.0\n")
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match="No user has 5 sessions"):
        read_reddit(path, gap=3599)
    X = read_reddit(path)  # an idle hour is not yet more than an hour
    assert X.to_lists() == [["python", "rust", "python"]] * 5
    assert X.users.tolist() == ["kar0"] * 5


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "wrong.csv"
    path.write_text("user;item;time\n1;2;3\n")
    with pytest.raises(ValueError, match="line 1: no column 'user_id'.*found"):
        read_xing(path)
    path.write_text("a\tb\tc\td\te\tf\n")
    with pytest.raises(ValueError, match="line 1, column 'time': 'b' is not a time"):
        read_lastfm_1k(path)
    path.write_text(lastfm_line("a", 0, "Can") + "a\t2009-13-08T01:00:00Z\t\tCan\t\t\n")
    with pytest.raises(ValueError, match="line 2, column 'time': '2009-13-08T01"):
        read_lastfm_1k(path)
    path.write_text("user_id\titem_id\tinteraction_type\tcreated_at\n1\t2\t1\tx\n")
    with pytest.raises(ValueError, match="line 2, column 'created_at': 'x' is not a n"):
        read_xing(path)
    path.write_text("user_1\t2009-04-08T01:00:00Z\tmbid\n")
    with pytest.raises(ValueError, match="line 1: expected 6 fields"):
        read_lastfm_1k(path)
