"""Small files in each published format."""

import gc
import gzip
import inspect
import json
import pickle
import re
import sys
import textwrap
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skclip import Sessions
from skclip.datasets import (
    read_diginetica,
    read_lastfm_1k,
    read_recbole,
    read_recbole_prefixes,
    read_reddit,
    read_retailrocket,
    read_session_rec,
    read_srgnn,
    read_srgnn_sessions,
    read_xing,
    read_yoochoose,
)
from skclip.datasets._text_table import Field, TextTable


@pytest.fixture
def write(tmp_path):
    def write(text, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def same(X, Y):
    assert X.to_lists() == Y.to_lists()
    assert X.vocabulary.dtype.kind == Y.vocabulary.dtype.kind
    for name in ("times", "ids", "users"):
        a, b = getattr(X, name), getattr(Y, name)
        assert (a is None) == (b is None), name
        assert a is None or a.tolist() == b.tolist(), name


SESSION_REC = "SessionId\tItemId\tTime\n2\t11\t30.5\n1\t12\t20\n2\t10\t10\n1\t12\t20\n"
AS_READ = Sessions(
    [2, 2, 0, 1], [0, 2, 4], [10, 11, 12], times=[20, 20, 10, 30.5], ids=[1, 2]
)


# -- session-rec, and what all tables have in common -----------------------------------


@pytest.mark.parametrize(
    "change",
    [
        bytes,
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.rstrip(b"\n"),
        lambda text: text + b"\n\n",
        lambda text: text.replace(b"30.5\n", b"30.5\n\n"),
        gzip.compress,
        lambda text: gzip.compress(b"\xef\xbb\xbf" + text),
        lambda text: re.sub(rb"(.*)\t(.*)\t(.*)", rb"x\t\3\t\2\t\1", text),
    ],
    ids=[
        "as_is",
        "bom",
        "crlf",
        "no_end",
        "end",
        "blank",
        "gzip",
        "gzip_bom",
        "other_order",
    ],
)
def test_the_same_table_in_other_clothes(write, change):
    same(read_session_rec(write(change(SESSION_REC.encode()))), AS_READ)


def test_session_rec_with_users(write):
    text = "UserId\tSessionId\tItemId\tTime\nann\t1\tb\t1\nbob\t2\ta\t0\nann\t1\ta\t2\n"
    X = read_session_rec(write(text))
    owners = {"ids": [2, 1], "users": ["bob", "ann"]}
    same(
        X,
        Sessions([0, 1, 0], [0, 1, 3], ["a", "b"], times=[0, 1, 2], **owners),
    )
    with pytest.raises(ValueError, match="file.txt: Session 1 has events of more than"):
        read_session_rec(write(text.replace("ann\t1\ta", "bob\t1\ta")))


def test_ids_are_numbers_only_where_nothing_is_lost(write):
    text = "SessionId\tItemId\tTime\n1\t007\t1\n1\t7\t2\n"
    assert read_session_rec(write(text)).to_lists() == [["007", "7"]]
    text = f"SessionId\tItemId\tTime\n1\t{TOO_LONG}\t1\n1\tNA\t2\n"
    assert read_session_rec(write(text)).to_lists() == [[TOO_LONG, "NA"]]
    assert read_session_rec(write(text)).ids.tolist() == [1]


TOO_LONG = "12345678901234567890123"
HEADER = "SessionId\tItemId\tTime\n1\t2\t3\n"


def test_a_damaged_gzip_file(write):
    lines = "".join(f"{i}\t{i * i % 977}\t{i * 7919 % 10007}\n" for i in range(20_000))
    whole = gzip.compress((HEADER + lines).encode())
    assert read_session_rec(write(whole)).n_events == 20_001
    for broken in (whole[:20_000], whole[:-8] + bytes(8), whole[:50]):
        with pytest.raises(ValueError, match=r"file.txt is damaged: .* Download it"):
            read_session_rec(write(broken))


def test_missing_files_and_libraries(tmp_path, write, monkeypatch):
    with pytest.raises(FileNotFoundError):
        read_session_rec(tmp_path / "none.txt")
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[datasets\]'"):
        read_session_rec(write(SESSION_REC))


def test_names_with_wildcards(write):
    write(SESSION_REC, "file1.txt")
    path = write("SessionId\tItemId\tTime\n5\t6\t7\n", "file[1].txt")
    assert read_session_rec(path).to_lists() == [[6]]


def test_free_text_at_the_end_may_hold_the_separator(write):
    fields = [Field("a", ("a",), "id"), Field("b", ("b",), "number")]
    options = {"sep": ",", "names": ["a", "b", "title"], "free_end": True}
    frame = TextTable(write("1,2,x\n3,4,x,y,,z\n5,6\n7,8,\n"), fields, **options).read()
    assert frame["a"].to_list() == [1, 3, 5, 7]
    assert frame["b"].to_list() == [2, 4, 6, 8]
    with pytest.raises(ValueError, match="line 2, column 'b': 'y' is not a number"):
        TextTable(write("1,2,x\n3,y,,z\n"), fields, **options).read()


# -- YooChoose -------------------------------------------------------------------------

CLICKS = (
    "2,2014-04-07T13:57:20.000Z,214662742,0\n"
    "1,2014-04-07T10:54:09.868Z,214536500,S\n"
    "1,2014-04-07T10:51:09.277Z,214536502,0\n"
)


@pytest.mark.parametrize("header", ["", "session_id,timestamp,item_id,category\n"])
@pytest.mark.parametrize(
    "pack", [str.encode, lambda text: gzip.compress(text.encode())]
)
def test_yoochoose(write, header, pack):
    X = read_yoochoose(write(pack(header + CLICKS)))
    when = datetime(2014, 4, 7, 10, 51, 9, 277_000, tzinfo=timezone.utc)
    items = [214536500, 214536502, 214662742]
    times = [when.timestamp(), 1396868049.868, 1396879040]
    same(X, Sessions([1, 0, 2], [0, 2, 3], items, times=times, ids=[1, 2]))
    with_bom = read_yoochoose(write(b"\xef\xbb\xbf" + CLICKS.encode()))
    assert with_bom.ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    "times",
    [
        ["2014-04-07T10:51:09.277Z", "2016-02-29T23:59:59.001Z"],
        ["2014-04-07T10:51:09Z", "1969-12-31T23:59:59Z"],
        ["2014-04-07 10:51:09", "2016-02-29 00:00:00"],
        ["2014-04-07T10:51:09.123456Z", "2014-04-07T10:51:09.2Z"],  # mixed forms
        ["2014-04-07T10:51:09+02:00", "2014-04-07T10:51:09Z"],
    ],
)
def test_times_in_any_form(write, times):
    lines = "".join(f"{i},{text},5,0\n" for i, text in enumerate(times))
    X = read_yoochoose(write(lines))
    found = dict(zip(X.ids.tolist(), X.times.tolist(), strict=True))
    for i, text in enumerate(times):
        text = re.sub(r"\.(\d+)", lambda m: f".{m[1]:0<6}", text)
        expected = datetime.fromisoformat(text.replace("Z", "+00:00"))
        expected = expected.replace(tzinfo=expected.tzinfo or timezone.utc)
        assert found[i] == expected.timestamp()


# -- Diginetica ------------------------------------------------------------------------

VIEWS = (
    "sessionId;userId;itemId;timeframe;eventdate\n"
    "1;NA;81766;526309;2016-05-09\n"
    "1;NA;31331;1031018;2016-05-09\n"
    "1;NA;32118;243569;2016-05-09\n"
    "4;2;24764;8863;2016-04-09\n"
    "4;NA;24765;1000;2016-04-10\n"
)


def test_diginetica(write):
    X = read_diginetica(write(VIEWS))
    day = datetime(2016, 4, 9, tzinfo=timezone.utc).timestamp()
    month = datetime(2016, 5, 9, tzinfo=timezone.utc).timestamp()
    assert X.to_lists() == [[24765, 24764], [32118, 81766, 31331]]
    assert X.ids.tolist() == [4, 1]
    assert X.users is None
    np.testing.assert_allclose(
        X.times,
        [day + 1, day + 8.863, month + 243.569, month + 526.309, month + 1031.018],
    )
    same(read_diginetica(write(VIEWS.replace("sessionId", "session_id"))), X)
    same(read_diginetica(write(gzip.compress(VIEWS.encode()))), X)


def test_diginetica_with_users(write):
    X = read_diginetica(write(VIEWS), known_users=True)
    assert X.to_lists() == [[24765, 24764]]
    assert X.users.tolist() == [2]
    two = VIEWS.replace("1;NA;31331", "1;7;31331").replace("1;NA;32118", "1;8;32118")
    assert read_diginetica(write(two), known_users=True).ids.tolist() == [4]
    with pytest.raises(ValueError, match="no session whose events name exactly one"):
        read_diginetica(write(VIEWS.replace("4;2;", "4;NA;")), known_users=True)
    without = re.sub(r"(?m)^(.*?);.*?;", r"\1;", VIEWS)
    assert len(read_diginetica(write(without))) == 2
    with pytest.raises(ValueError, match="no column 'userId'"):
        read_diginetica(write(without), known_users=True)


# -- RetailRocket ----------------------------------------------------------------------

EVENTS = (
    "timestamp,visitorid,event,itemid,transactionid\n"
    "1433223800000,7,view,30,\n"
    "1433221332117,7,view,10,\n"
    "1433221400000,7,addtocart,10,\n"
    "1433221500000,7,transaction,10,4000\n"
    "1433222000000,7,view,20,\n"
    "1433221332118,8,view,10,\n"
)


def test_retailrocket(write):
    X = read_retailrocket(write(EVENTS))  # 668 s, then exactly 1,800 s
    assert X.to_lists() == [[10], [10, 20, 30]]
    assert X.users.tolist() == [8, 7]
    assert X.times.tolist()[1] == 1433221332.117
    X = read_retailrocket(write(gzip.compress(EVENTS.encode())), gap=1799)
    assert X.to_lists() == [[10], [10, 20], [30]]
    assert X.ids.tolist() == [2, 0, 1]
    X = read_retailrocket(write(EVENTS), events=None)
    assert X.to_lists() == [[10], [10, 10, 10, 20, 30]]
    X = read_retailrocket(write(EVENTS), events="transaction")
    assert X.to_lists() == [[10]]


def test_wrong_retailrocket(write):
    with pytest.raises(ValueError, match=r"no event of type 'veiw'.*'addtocart'"):
        read_retailrocket(write(EVENTS), events=("view", "veiw"))
    with pytest.raises(ValueError, match=r"no event of type None"):
        read_retailrocket(write(EVENTS), events=())
    with pytest.raises(ValueError, match=r"gap=-1"):
        read_retailrocket(write(EVENTS), gap=-1)


# -- RecBole ---------------------------------------------------------------------------

INTER = (
    "session_id:token\titem_id:token\ttimestamp:float\tuser_id:token\n"
    "s1\t12\t20\tu2\n"
    "s2\t11\t15.5\tu1\n"
    "s1\t11\t10.0\tu2\n"
)


LISTS = "item_id_list:token_seq\ttimestamp_list:float_seq\n10 9\t1 2.5\n100\t7\n"


def test_recbole(write):
    X = read_recbole(write(INTER, "a.inter"))
    owners = {"ids": ["s2", "s1"], "users": ["u1", "u2"]}
    same(X, Sessions([0, 0, 1], [0, 1, 3], [11, 12], times=[15.5, 10, 20], **owners))
    same(read_recbole(write(gzip.compress(INTER.encode()))), X)
    untimed = "session_id:token\titem_id:token\nb\tx\na\ty\nb\ty\n"
    X = read_recbole(write(untimed))
    assert X.to_lists() == [["x", "y"], ["y"]]
    assert X.times is None
    assert X.ids.tolist() == ["b", "a"]


def test_recbole_of_users(write):
    text = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t5\t3\t9\n"
    with pytest.raises(ValueError, match="no column 'session_id'.*session='user_id'"):
        read_recbole(write(text))
    X = read_recbole(write(text), session="user_id")
    assert (X.to_lists(), X.ids.tolist(), X.users.tolist()) == ([[5]], [1], [1])


def test_recbole_lists(write):
    X = read_recbole(write(LISTS))
    assert X.to_lists() == [[10, 9], [100]]
    assert X.vocabulary.tolist() == [9, 10, 100]
    assert X.times.tolist() == [1, 2.5, 7]
    assert X.ids is None


def test_recbole_prefixes(write):
    text = (
        "user_id:token\titem_id:token\ttimestamp:float\titem_id_list:token_seq\t"
        "timestamp_list:float_seq\n1\t10\t2\t9\t1\n1\t8\t3\t9 10\t1 2\n"
    )
    X, y = read_recbole_prefixes(write(text))
    assert (X.to_lists(), y.tolist()) == ([[9], [9, 10]], [10, 8])
    assert X.users.tolist() == [1, 1]
    assert X.times.tolist() == [1, 1, 2]
    assert X.ids is None
    with pytest.raises(ValueError, match="Use read_recbole_prefixes"):
        read_recbole(write(text))
    words = "session_id:token\titem_id_list:token_seq\titem_id:token\n1\ta 07\tb\n"
    X, y = read_recbole_prefixes(write(words))
    assert (X.to_lists(), y.tolist(), X.ids.tolist()) == ([["a", "07"]], ["b"], [1])


# -- SR-GNN and GCE-GNN ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "([[1, 2], [1], [30]], [3, 2, 1])",
        "[[[1,2],[1],[30]],[3,2,1]]\n",
        "([[1, 2],\r\n [1], [30]], [3, 2, 1])\r\n",
    ],
)
@pytest.mark.parametrize(
    "pack", [str.encode, lambda text: gzip.compress(text.encode())]
)
def test_srgnn(write, text, pack):
    X, y = read_srgnn(write(pack(text)))
    assert X.to_lists() == [[1, 2], [1], [30]]
    assert y.tolist() == [3, 2, 1]
    assert X.ids is X.times is X.users is None


def test_srgnn_of_text_ids(write):
    X, y = read_srgnn(write('([["a (1)", "b"]], ["c\\")"])'))
    assert (X.to_lists(), y.tolist()) == ([["a (1)", "b"]], ['c")'])


def test_srgnn_sessions(write):
    X = read_srgnn_sessions(write("[[1, 2, 3], [4, 5]]"))
    assert X.to_lists() == [[1, 2, 3], [4, 5]]
    with pytest.raises(ValueError, match="Use read_srgnn, which returns"):
        read_srgnn_sessions(write("([[1, 2], [1]], [3, 2])"))


class Trap:
    sprung = []

    def __reduce__(self):
        return (Trap.sprung.append, (1,))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", [([[1], [2]], [3, 4]), [[1, 2]], [Trap()]])
def test_pickles_are_not_loaded(write, protocol, content):
    path = write(pickle.dumps(content, protocol))
    for read in (read_srgnn, read_srgnn_sessions):
        with pytest.raises(ValueError, match="is a pickle. Loading one can run code"):
            read(path)
    assert not Trap.sprung


def test_what_the_docstring_says_of_pickles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(read_srgnn).split("::\n\n")[1].split("\nParameters")[0]
    code = textwrap.dedent(text)
    pairs = ([[1, 2], [1]], [3, 2])
    (tmp_path / "train.txt").write_bytes(pickle.dumps(pairs))
    exec(code, {})
    X, y = read_srgnn(tmp_path / "train.json")
    assert (X.to_lists(), y.tolist()) == pairs
    (tmp_path / "train.txt").write_bytes(pickle.dumps([np.float64(1)]))
    with pytest.raises(pickle.UnpicklingError, match="is not a list or number"):
        exec(code, {})


# -- the sets of the CLIP-SBR experiments ----------------------------------------------


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
    with pytest.raises(ValueError, match="at least 6 sessions with at least 3 events"):
        read_xing(path, min_user_sessions=6)


def test_reddit(tmp_path):
    path = tmp_path / "reddit_data.csv"
    lines = ["username,subreddit,utc\n"]
    for visit in range(5):
        for i, name in enumerate(["python", "python", "rust", "python"]):
            lines.append(f"kar0,{name},{visit * 100_000 + 3600 * i}.0\n")
    path.write_text("".join(lines))
    with pytest.raises(ValueError, match="No user has at least 5 sessions"):
        read_reddit(path, gap=3599)
    X = read_reddit(path)  # an idle hour is not yet more than an hour
    assert X.to_lists() == [["python", "rust", "python"]] * 5
    assert X.users.tolist() == ["kar0"] * 5


# -- files that are wrong --------------------------------------------------------------

XING = "user_id\titem_id\tinteraction_type\tcreated_at\n"
WRONG = {  # reader -> texts, and what is said of them
    read_session_rec: [
        ("", r"file.txt is empty"),
        ("SessionId\tItemId\tTime\n", r"file.txt holds no events"),
        ("SessionId\tItemId\tTime\n\n", r"file.txt holds no events"),
        (
            "SessionId\tItemId\tTime\n1\t2\n",
            r"line 2, column 'Time': the line has only 2",
        ),
        ("SessionId\tItemId\n1\t2\n", r"line 1: no column 'Time'.*Found \['SessionId'"),
        ("SessionId,ItemId,Time\n1,2,3\n", r"separated by '\\t'. Found \['SessionId,"),
        ("SessionId\tTime\tTime\n", r"line 1: column 'Time' appears twice"),
        (HEADER + "1\t2\tabc\n", r"line 3, column 'Time': 'abc' is not a number"),
        (HEADER + "1\t2\tnan\n", r"line 3, column 'Time': 'nan' is not a number"),
        (HEADER + "1\t2\tinf\n", r"line 3, column 'Time': 'inf' is not a number"),
        (HEADER + "1\t2\t1_0\n", r"line 3, column 'Time': '1_0' is not a number"),
        (
            HEADER + "1\t2\t\n",
            r"line 3, column 'Time': the value is missing. Expected a number",
        ),
        (
            HEADER + "1\t\t5\n",
            r"line 3, column 'ItemId': the value is missing. Expected an id",
        ),
        (HEADER + "\n1\t\t5\n", r"line 4, column 'ItemId'"),
        (HEADER + "1\t2\n", r"line 3, column 'Time': the line has only 2 fields"),
        (HEADER + "1\t2\t3\t4\n", r"line 3: expected 3 fields.*found 4"),
        (HEADER + "1\t2\t3\t4\t5\n", r"line 3: expected 3 fields.*found 5"),
        (HEADER.encode() + b"1\t\xe9\t5\n", r"line 3: not UTF-8 text"),
        (HEADER.encode("utf-16"), r"is a text in UTF-16"),
        (b"PK\x03\x04zip", r"is a zip archive"),
        ("<!DOCTYPE html><p>Log in", r"is a web page"),
        (pickle.dumps([1]), r"is a pickle. Expected a text file"),
    ],
    read_yoochoose: [
        (CLICKS.replace(",", ";"), r"line 1: expected 4 fields separated by ','"),
        (CLICKS + "1,2014-04-07,5,0\n", r"line 4, column 'timestamp': '2014-04-07' is"),
        (CLICKS + "1,2014-13-07T10:51:09.277Z,5,0\n", r"line 4, column 'timestamp'"),
        (CLICKS + "1,2014-02-29T10:51:09.277Z,5,0\n", r"line 4, column 'timestamp'"),
        (CLICKS + "1,2014-04-07T24:51:09.277Z,5,0\n", r"line 4, column 'timestamp'"),
        (CLICKS + "1,1396868049,5,0\n", r"'1396868049' is not a time such as"),
        (
            CLICKS + "1,2014-04-07T10:51:09.277Z\n",
            r"column 'item_id': the line has only 2",
        ),
    ],
    read_diginetica: [
        (VIEWS.replace(";243569;", ";abc;"), "line 4, column 'timeframe': 'abc' is no"),
        (VIEWS.replace("04-09", "04-31"), "line 5, column 'eventdate': '2016-04-31' i"),
        (VIEWS.replace("2016-04-09", "09.04.2016"), "line 5, .*a date such as"),
        (VIEWS.replace(";", ","), "line 1: no column 'sessionId'.*separated by ';'"),
    ],
    read_retailrocket: [
        (
            EVENTS.replace("1433221332118", "2015-06-02"),
            "line 7, column 'timestamp': '2",
        ),
    ],
    read_recbole: [
        ("a:token\tb:float\n1\t2\n", r"no column 'session_id'.*Found \['a', 'b'"),
        ("session_id:token\tx:token\n1\t2\n", r"no column 'item_id'.*Found \['session"),
        ("user_id:token\titem_id:token\n1\t2\n", r"Found \['item_id', 'user_id'\]"),
        (INTER.replace("u1", ""), "line 3, column 'user_id': the value is missing"),
        (INTER.replace("10.0", "ten"), "line 4, column 'timestamp': 'ten' is not"),
        (
            LISTS.replace("\t7", "\t7 8"),
            "line 3.*'timestamp_list': 2 times for 1 items",
        ),
        (LISTS.replace("100\t7", "\n100\t7 8"), "line 4.*'timestamp_list': 2 times f"),
        (LISTS.replace("\t7", "\tx"), "line 3, column 'timestamp_list': 'x' is no"),
        (LISTS.replace("1 2.5", "3 1"), "line 2, column 'timestamp_list': 1 follows 3"),
    ],
    read_recbole_prefixes: [(INTER, "no column 'item_id_list'")],
    read_srgnn: [
        ("", "is empty"),
        (" \n", "is empty"),
        ("[[1, 2]\n [3]]", "line 2, column 2: Expecting ',' delimiter. Expected lists"),
        ("([['a']], ['b'])", "line 1, column 4.*double quotes"),
        ('{"a": 1}', "holds a dict"),
        ("[[1], [2], [3]]", "list of 3 parts.*read_srgnn_sessions"),
        ("([[1], [2]], [3])", "2 prefixes and 1 labels"),
        ("([[1], 2], [3, 4])", "prefix 2: 2 is not a list"),
        ("([[1], [2, null]], [3, 4])", "prefix 2, id 2: None is not an id"),
        ("([[1], [2]], [3, 4.5])", "label 2: 4.5 is not an id"),
        ("([[1], [NaN]], [3, 4])", "prefix 2, id 1: nan is not an id"),
        ("([], [])", "holds no prefix"),
        ("[" * 100_000, "too many nested brackets|Expecting value"),
    ],
    read_xing: [
        ("user;item;time\n1;2;3\n", "line 1: no column 'user_id'.*Found"),
        (XING + "1\t2\t1\tx\n", "line 2, column 'created_at': 'x' is not a number"),
    ],
    read_lastfm_1k: [
        ("a\tb\tc\td\te\tf\n", "line 1, column 'time': 'b' is not a time"),
        ("a\t2009-13-08T01:00:00Z\t\tCan\t\t\n", "line 1, column 'time': '2009-13-08T"),
        ("user_1\t2009-04-08T01:00:00Z\tmbid\n", "line 1: expected 6 fields"),
    ],
}


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [(read, *case) for read, cases in WRONG.items() for case in cases],
)
def test_wrong_files(write, read, text, message):
    with pytest.raises(ValueError, match=message):
        read(write(text))


# -- what is written is read -----------------------------------------------------------

IDS = st.integers(-(10**17), 10**17)
EVENT = st.tuples(st.integers(0, 5), IDS, st.integers(-(10**13), 10**13))
ROUND = settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def as_sessions(events, scale=1000):
    import pandas as pd

    frame = pd.DataFrame(events, columns=["session", "item", "time"])
    frame["time"] /= scale
    return Sessions.from_events(frame, session="session", item="item", time="time")


@ROUND
@given(events=st.lists(EVENT, min_size=1, max_size=30))
def test_round_trip_of_numbers(write, events):
    X = as_sessions(events)
    lines = [f"{s}\t{i}\t{t / 1000!r}" for s, i, t in events]
    text = "\n".join(["SessionId\tItemId\tTime", *lines])
    same(read_session_rec(write(text)), X)
    head = "session_id:token\titem_id:token\ttimestamp:float"
    same(read_recbole(write("\n".join([head, *lines]))), X)
    start = np.datetime64("1970-01-01T00:00:00.000")
    lines = [f"{s},{start + np.timedelta64(t, 'ms')}Z,{i},0" for s, i, t in events]
    same(read_yoochoose(write("\n".join(lines))), X)


WORD = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")),
    min_size=1,
    max_size=5,
).filter(lambda word: not re.fullmatch(r"-?\d+", word) and "\ufeff" not in word)


@ROUND
@given(rows=st.lists(st.lists(WORD, min_size=1, max_size=4), min_size=1, max_size=10))
def test_round_trip_of_words(write, rows):
    lines = [
        f"{i}\t{item}\t{t}" for i, row in enumerate(rows) for t, item in enumerate(row)
    ]
    X = read_session_rec(write("\n".join(["SessionId\tItemId\tTime", *lines])))
    assert dict(zip(X.ids.tolist(), X.to_lists(), strict=True)) == dict(enumerate(rows))
    lines = [f"{' '.join(row)}\t{row[0]}" for row in rows]
    head = "item_id_list:token_seq\titem_id:token"
    X, y = read_recbole_prefixes(write("\n".join([head, *lines])))
    assert X.to_lists() == rows
    assert y.tolist() == [row[0] for row in rows]
    X, y = read_srgnn(write(json.dumps([rows, [row[0] for row in rows]])))
    assert X.to_lists() == rows


def test_a_field_that_is_not_wanted_may_be_anything(write):
    fields = [Field("a", ("a",), "id"), Field("b", ("b",), "number", optional=True)]
    frame = TextTable(write('a,x,b\n1,"q,2\n2,,3\n3,x,4\n'), fields, sep=",").read()
    assert frame["b"].to_list() == [2, 3, 4]


@pytest.mark.filterwarnings("error")
def test_no_file_is_left_open(write):
    read_session_rec(write(SESSION_REC))
    gc.collect()  # pytest raises what a finalizer warns of
