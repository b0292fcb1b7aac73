"""Training and validation parts of the data sets; no test part is read here.

Every script may use this module. Test parts are read by `benchmarks.report._test_parts`
alone, and only scripts in `benchmarks/report/` may import that.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from skclip import Sessions

RSC15_PARTS = ("train_tr", "train_valid")


def data_home():
    """Folder of the data sets."""
    home = os.environ.get("SKCLIP_DATA")
    if not home:
        sys.exit("Set SKCLIP_DATA to the folder that holds the data sets.")
    return Path(home)


def rsc15(*parts):
    """YooChoose clicks of eight days; parts "train_tr" and "train_valid"."""
    if not set(parts) <= set(RSC15_PARTS):
        raise ValueError(f"Parts {parts}: only {RSC15_PARTS} can be read here.")
    events = pd.read_parquet(data_home() / "rsc15_100k" / "events.parquet")
    return rsc15_sessions(events[events.part.isin(parts)])


def rsc15_sessions(events):
    """Clicks of YooChoose as sessions."""
    return Sessions.from_events(
        events, session="session_id", item="item_id", time="timestamp"
    )


def training_rows(data):
    """All training sessions of a split as lists, in order of time.

    "diginetica" and "tmall": the published split; "lastfm": the first nine tenths.
    """
    if data == "lastfm":
        file = data_home() / "lastfm_tail" / "sessions.parquet"
        rows = pd.read_parquet(file).session.tolist()
        return rows[: int(0.9 * len(rows))]
    return pd.read_parquet(data_home() / data / "train.parquet").session.tolist()


def split_rows(rows, share=0.95):
    """The first of some sessions to train on, the latest to validate."""
    cut = int(share * len(rows))
    return Sessions.from_lists(rows[:cut]), Sessions.from_lists(rows[cut:])


def train_and_valid(data):
    """Training sessions and validation sessions, both in order of time.

    rsc15: train_tr and train_valid; diginetica and tmall: the last twentieth of the
    training sessions validates; lastfm: the tenth before the last.
    """
    if data == "rsc15":
        return rsc15("train_tr"), rsc15("train_valid")
    rows = training_rows(data)
    if data == "lastfm":
        cut = round(8 / 9 * len(rows))
        return Sessions.from_lists(rows[:cut]), Sessions.from_lists(rows[cut:])
    return split_rows(rows)


LOGS = (
    "rsc15",
    "rsc15_16",
    "diginetica",
    "tmall",
    "retailrocket",
    "lastfm",
    "wikispeedia",
    "ml_100k",
)


def log_train_and_valid(log):
    """Training and validation sessions of one of `LOGS`, in order of time.

    rsc15_16: every 16th training session of rsc15. retailrocket: days 1 to 5, and 6.
    wikispeedia, ml_100k: the first 70 %, and the next 10 %. The rest are those of
    `train_and_valid`.
    """
    if log == "rsc15_16":
        train, valid = train_and_valid("rsc15")
        return train[::16], valid
    if log == "retailrocket":
        return retailrocket_train_and_valid()
    if log in ("wikispeedia", "ml_100k"):
        X = _in_time(log)
        return X[: int(0.7 * len(X))], X[int(0.7 * len(X)) : int(0.8 * len(X))]
    return train_and_valid(log)


def retailrocket_train_and_valid(**columns):
    """Days 1 to 5 and day 6, with further columns of `Sessions.from_events`."""
    X = _retailrocket(**columns)
    days = days_of(X)
    return X[days <= 5], X[days == 6]


def first_days():
    """Sessions of days 1 to 6 of retailrocket, one after the other."""
    X = _retailrocket()
    days = days_of(X)
    return [X[days == day] for day in range(1, 7)]


# What begins with an underscore reads test parts as well: only for this module and
# `benchmarks.report._test_parts`.


def _retailrocket(**columns):
    """Visits of eight days that have two events or more, with times."""
    file = data_home() / "retailrocket_last8days" / "events.parquet"
    X = Sessions.from_events(
        pd.read_parquet(file),
        session="session_id",
        item="item_id",
        time="timestamp",
        **columns,
    )
    return X[X.lengths > 1]


def days_of(X):
    """Days of the sessions' ends, counted from the first event: 1, 2, ..., 8."""
    days = 1 + (X.end_times - X.times.min()) // 86400
    return np.minimum(days, 8)  # the last 22 minutes belong to day 8


def _in_time(log):
    """Sessions of two events or more, in order of their ends."""
    folder = {"wikispeedia": "wikispeedia_unfinished"}.get(log, log)
    events = pd.read_parquet(data_home() / folder / "events.parquet")
    session = "session_8h" if log == "ml_100k" else "session_id"
    X = Sessions.from_events(events, session=session, item="item_id", time="timestamp")
    X = X[X.lengths > 1]
    return X[np.argsort(X.end_times, kind="stable")]


def prefix_sessions(X):
    """Session of each target of `rank_targets`, which ranks every prefix."""
    return np.repeat(np.arange(len(X)), np.maximum(X.lengths - 1, 0))


def clicks_of(X):
    """Item -> its number of events in some sessions."""
    counts = np.bincount(X.codes, minlength=len(X.vocabulary))
    return dict(zip(X.vocabulary.tolist(), counts.tolist(), strict=True))


def first_and_next(data):
    """The first 80 % of the sessions of an event log, and the next 10 %."""
    events = pd.read_parquet(data_home() / data / "events.parquet")
    session = "session_8h" if data == "ml_100k" else "session_id"
    X = Sessions.from_events(events, session=session, item="item_id", time="timestamp")
    X = X[np.argsort(X.end_times, kind="stable")]
    return X[: int(0.8 * len(X))], X[int(0.8 * len(X)) : int(0.9 * len(X))]


def beauty_rows(every):
    """Items of every n-th user of amazon_beauty, in order; the last one tests."""
    events = pd.read_parquet(data_home() / "amazon_beauty" / "events.parquet")
    events = events[events.session_id % every == 0]
    return [group.tolist() for _, group in events.groupby("session_id").item_id]


def beauty_train_and_valid(every):
    """Training sessions, and (X, y) of validation: the last item but one."""
    rows = beauty_rows(every)
    train = Sessions.from_lists([row[:-2] for row in rows])
    return train, (train, np.array([row[-2] for row in rows]))


def beauty_items():
    """Ids and titles of all items of amazon_beauty."""
    return pd.read_parquet(data_home() / "amazon_beauty" / "items.parquet")


def ml_100k_items():
    """Ids, titles, years and genres of all films of ml_100k."""
    return pd.read_parquet(data_home() / "ml_100k" / "items.parquet")
