"""Test parts of the data sets, and the log of every look at one.

Only scripts in `benchmarks/report/` may import this module; `tests/test_benchmarks.py`
checks that. Call `log_test_evaluation` after each evaluation on a test part.
"""

import time

import numpy as np
import pandas as pd

from benchmarks._data import (
    _in_time,
    _retailrocket,
    beauty_rows,
    data_home,
    days_of,
    rsc15,
    rsc15_sessions,
    split_rows,
    training_rows,
)
from benchmarks._results import add_row, environment
from skclip import Sessions
from skclip.model_selection import within_session_split


def log_test_evaluation(script, data, model, values):
    """Append a line for a look at a test part, so that looks can be counted."""
    line = {
        "date": time.strftime("%Y-%m-%dT%H:%M"),
        "commit": environment()["commit"],
        "script": script,
        "data": data,
        "model": model,
        **values,
    }
    add_row("report/test_evaluations.jsonl", line)


def rsc15_test():
    events = pd.read_parquet(data_home() / "rsc15_100k" / "events.parquet")
    return rsc15_sessions(events[events.part == "test"])


def test_pairs(data):
    """Prefixes and targets of the published split of diginetica or tmall."""
    pairs = pd.read_parquet(data_home() / data / "test.parquet")
    X = Sessions.from_lists(pairs.session.tolist(), ids=pairs.session_id.to_numpy())
    return X, pairs.target.to_numpy()


def beauty_test(every):
    """(X, y) of amazon_beauty: the last item of every n-th user."""
    rows = beauty_rows(every)
    X = Sessions.from_lists([row[:-1] for row in rows])
    return X, np.array([row[-1] for row in rows])


def retailrocket(**columns):
    """Visits of eight days that have two events or more, with times."""
    return _retailrocket(**columns)


def log_train_and_test(log):
    """All training sessions of one of `LOGS`, and (X, y) of its test part.

    With ``y=None`` every prefix of the test sessions is meant. Training sessions are
    those of `log_train_and_valid` and the validation part.
    """
    if log == "rsc15_16":
        return rsc15("train_tr", "train_valid")[::16], rsc15_test(), None
    if log == "retailrocket":
        X = retailrocket()
        days = days_of(X)
        return X[days <= 6], X[days > 6], None
    if log in ("wikispeedia", "ml_100k"):
        X = _in_time(log)
        cut = int(0.8 * len(X))
        return X[:cut], X[cut:], None
    train, valid, (X, y) = load_parts(log)
    if valid is not None:
        train = Sessions.concat([train, valid[0]])
    return train, X, y


def load_parts(data, every=1):
    """Training sessions, eval_set or None, and (X, y) of the test part.

    Every n-th training session is taken before the validation part is cut off. With
    ``y=None`` every prefix of the test sessions is meant. "rsc15-validation" has the
    validation part in place of the test part.
    """
    if data == "rsc15":
        train = rsc15("train_tr", "train_valid")
        return train[::every], None, (rsc15_test(), None)
    if data == "rsc15-validation":
        return rsc15("train_tr")[::every], None, (rsc15("train_valid"), None)
    if data.startswith("lastfm10"):
        return lastfm_of_ten_users(within=data == "lastfm10-within")
    train, valid = split_rows(training_rows(data)[::every])
    return train, (valid, None), lastfm_test() if data == "lastfm" else test_pairs(data)


def lastfm_test():
    file = data_home() / "lastfm_tail" / "sessions.parquet"
    rows = pd.read_parquet(file).session.tolist()
    return Sessions.from_lists(rows[int(0.9 * len(rows)) :]), None


def lastfm_of_ten_users(*, within):
    """Split by session, or within each session of the two parts together."""
    folder = data_home() / "lastfm_hggnn_10users"
    parts = [pd.read_parquet(folder / f"{p}.parquet") for p in ("train", "test")]
    if within:
        parts[1]["session_id"] += 10**5
        return within_session_split(_whole_sessions(pd.concat(parts)))
    train, test = map(_whole_sessions, parts)
    cut = int(0.9 * len(train))
    return train[:cut], (train[cut:], None), (test, None)


def _whole_sessions(frame):
    """Sessions of prefix rows, with users: the longest prefix and its target."""
    frame = frame.assign(n=frame.session.str.len())
    last = frame.sort_values("n").groupby(["user_id", "session_id"]).tail(1)
    last = last.sort_values(["session_id"])
    rows = [[*s, t] for s, t in zip(last.session, last.target, strict=True)]
    return Sessions.from_lists(
        rows,
        users=last.user_id.to_numpy(),
        ids=last.session_id.to_numpy() + 10**6 * last.user_id.to_numpy(),
    )
