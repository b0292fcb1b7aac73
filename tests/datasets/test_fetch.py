"""Downloads, from a server in a thread of this process."""

import hashlib
import inspect
import io
import json
import re
import socket
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from skclip.datasets import (
    _fetch,
    clear_data_home,
    fetch_diginetica_sample,
    fetch_lastfm_1k,
    fetch_recbole_sessions,
    fetch_rsc15_100k,
    fetch_yoochoose,
    get_data_home,
)

CLICKS = b"SessionId\tItemId\tTime\n" + b"".join(
    b"%d\t%d\t%d\n" % (i // 3, i % 7, i) for i in range(3000)
)
FILE = "yoochoose-clicks-100k_test.txt"


class Server:
    """Files by path, and how to serve them; what was asked is noted."""

    def __init__(self):
        self.files, self.etags, self.requests = {}, {}, []
        self.ranges = True
        self.cut_after = []  # bytes after which an answer breaks off
        self.codes = []  # answers before the first proper one
        self.heads = {}  # headers instead of the proper ones
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(
            target=self._http.serve_forever, args=(0.02,), daemon=True
        ).start()

    def answer(self, request):
        self.requests.append((request.path, dict(request.headers)))
        if self.codes:
            code = self.codes.pop(0)
            request.send_response(code)
            if code == 302:
                request.send_header("Location", "ftp://127.0.0.1/x")
            request.end_headers()
            return
        if request.path not in self.files:
            request.send_error(404)
            return
        body, etag = self.files[request.path], self.etags.get(request.path, '"1"')
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range") in (None, etag)
        if asked and self.ranges and same:
            start = int(asked[1])
            if start >= len(body):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(body)}")
                request.end_headers()
                return
            request.send_response(206)
            headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        else:
            request.send_response(200)
            headers = {}
        headers |= {"Content-Length": str(len(body) - start), "ETag": etag}
        for name, value in (headers | self.heads).items():
            if value is not None:
                request.send_header(name, value)
        request.end_headers()
        rest = body[start:]
        if self.cut_after:
            rest = rest[: self.cut_after.pop(0)]
        request.wfile.write(rest)

    def close(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server():
    server = Server()
    server.files[f"/{FILE}"] = CLICKS
    yield server
    server.close()


@pytest.fixture
def fetch(server, tmp_path):
    """`fetch_rsc15_100k` of the server's file."""
    return partial(
        fetch_rsc15_100k,
        "test",
        data_home=tmp_path,
        url=f"{server.url}/{FILE}",
        delay=0.0,
        timeout=5.0,
    )


@pytest.fixture
def target(tmp_path):
    return tmp_path / "rsc15_100k" / FILE


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


# -- one file --------------------------------------------------------------------------


def test_the_second_call_asks_nobody(server, fetch, target):
    X = fetch()
    assert X.n_events == 3000
    assert X[0].tolist() == [0, 1, 2]
    assert target.read_bytes() == CLICKS
    assert fetch().to_lists() == X.to_lists()
    assert len(server.requests) == 1
    record = json.loads(target.with_name(f"{FILE}.skclip.json").read_text())
    assert record["sha256"] == sha256(CLICKS)
    assert record["size"] == len(CLICKS)
    left = {file.name for file in target.parent.iterdir()}
    assert left == {FILE, f"{FILE}.skclip.json", ".lock"}


def test_a_cut_download_goes_on_within_the_call(server, fetch, target):
    server.cut_after = [10_000, 5000]
    assert fetch().n_events == 3000
    assert ranges(server) == [None, "bytes=10000-", "bytes=15000-"]
    assert server.requests[1][1]["If-Range"] == '"1"'
    assert target.read_bytes() == CLICKS


def test_a_cut_download_goes_on_in_the_next_call(server, fetch, target):
    server.cut_after = [10_000]
    message = f"failed 1 times.*10,000 of {len(CLICKS):,} bytes.*What came is kept"
    with pytest.raises(OSError, match=message):
        fetch(n_retries=0)
    assert not target.exists()
    assert fetch(n_retries=0).n_events == 3000
    assert ranges(server) == [None, "bytes=10000-"]


def test_a_server_without_ranges_starts_anew(server, fetch, target):
    server.cut_after, server.ranges = [10_000], False
    assert fetch().n_events == 3000
    assert ranges(server) == [None, "bytes=10000-"]
    assert target.read_bytes() == CLICKS


def test_a_file_that_changed_meanwhile_starts_anew(server, fetch, target):
    server.cut_after = [10_000]
    with pytest.raises(OSError, match="10,000 of"):
        fetch(n_retries=0)
    changed = CLICKS.replace(b"\t6\t", b"\t9\t")
    server.files[f"/{FILE}"], server.etags[f"/{FILE}"] = changed, '"2"'
    fetch(n_retries=0)
    assert target.read_bytes() == changed


def test_a_changed_file_is_seen_although_the_server_ignores_if_range(
    server, fetch, target
):
    server.cut_after = [10_000]
    with pytest.raises(OSError, match="10,000 of"):
        fetch(n_retries=0)
    changed = CLICKS.replace(b"\t6\t", b"\t9\t")
    server.files[f"/{FILE}"] = changed
    server.heads = {"ETag": '"2"'}  # in the answer only
    fetch(n_retries=1)
    assert target.read_bytes() == changed
    assert ranges(server)[-2:] == ["bytes=10000-", None]


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_version_nothing_is_spliced(server, fetch, target, etag):
    server.heads, server.cut_after = {"ETag": etag}, [10_000]
    fetch()
    assert ranges(server) == [None, None]
    assert target.read_bytes() == CLICKS


def test_a_time_of_change_is_a_version_too(server, fetch):
    date = "Sat, 01 Jan 2022 00:00:00 GMT"
    server.heads = {"ETag": None, "Last-Modified": date}
    server.etags[f"/{FILE}"] = date  # what If-Range is compared with
    server.cut_after = [10_000]
    fetch()
    assert ranges(server) == [None, "bytes=10000-"]


def test_a_range_that_was_not_asked_for_is_not_spliced(server, fetch, target):
    server.cut_after = [10_000]
    with pytest.raises(OSError, match="10,000 of"):
        fetch(n_retries=0)
    n = len(CLICKS)
    server.heads = {"Content-Range": f"bytes 11000-{n - 1}/{n}"}
    fetch(n_retries=1)
    assert ranges(server) == [None, "bytes=10000-", None]
    assert target.read_bytes() == CLICKS


def test_a_part_that_is_whole_already(server, fetch, target):
    server.cut_after = [len(CLICKS)]
    server.heads = {"Content-Length": str(len(CLICKS) + 1)}
    with pytest.raises(OSError, match="What came is kept"):
        fetch(n_retries=0)
    server.heads = {}
    assert fetch(n_retries=0).n_events == 3000
    assert ranges(server) == [None, f"bytes={len(CLICKS)}-"]


def test_a_part_that_is_too_long_is_dropped(server, fetch, target):
    server.cut_after = [20_000]
    with pytest.raises(OSError, match="20,000 of"):
        fetch(n_retries=0)
    server.files[f"/{FILE}"] = CLICKS[:12_000].rpartition(b"\n")[0]
    fetch(n_retries=1)
    assert target.read_bytes() == server.files[f"/{FILE}"]


def test_a_wrong_checksum_leaves_nothing(server, fetch, target):
    with pytest.raises(OSError, match=f"SHA-256 {sha256(CLICKS)}, expected {'0' * 64}"):
        fetch(sha256="0" * 64)
    assert [file.name for file in target.parent.iterdir()] == [".lock"]
    assert fetch(sha256=sha256(CLICKS).upper()).n_events == 3000
    with pytest.raises(OSError, match="is not from a file with sha256='000"):
        fetch(sha256="0" * 64)
    with pytest.raises(ValueError, match="sha256='abc' must be 64"):
        fetch(sha256="abc")


def test_a_file_that_changed_since_is_refused(fetch, target):
    fetch()
    target.write_bytes(CLICKS + b"1\t1\t1\n")
    with pytest.raises(OSError, match="has changed since it was fetched"):
        fetch()
    target.write_bytes(CLICKS[:-2] + b"8\n")  # of the same size
    with pytest.raises(OSError, match="has changed since it was fetched"):
        fetch()
    target.with_name(f"{FILE}.skclip.json").unlink()  # as the message says
    assert fetch().times.max() == 2998


def test_not_found_is_not_tried_again(server, fetch):
    with pytest.raises(OSError, match=r"answered 404.*Without a network.*read_session"):
        fetch(url=f"{server.url}/other/{FILE}")
    assert len(server.requests) == 1


def test_a_web_page_is_not_kept(server, fetch, target):
    server.heads = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(OSError, match="the server sent a web page"):
        fetch()
    assert not target.exists()
    server.heads = {}
    assert fetch().n_events == 3000


def test_a_mirror_may_have_another_name(server, fetch, target):
    server.files["/get?id=1"] = CLICKS
    assert fetch(url=f"{server.url}/get?id=1").n_events == 3000
    assert target.read_bytes() == CLICKS


def test_busy_servers_are_tried_again(server, fetch, monkeypatch):
    waits = []
    monkeypatch.setattr(_fetch.time, "sleep", waits.append)
    server.codes = [503, 429]
    assert fetch(delay=0.5).n_events == 3000
    assert waits == [0.5, 1.0]


def test_a_negative_number_of_retries(fetch):
    with pytest.raises(ValueError, match="n_retries=-1"):
        fetch(n_retries=-1)


def test_busy_for_too_long(server, fetch):
    server.codes = [503] * 3
    with pytest.raises(OSError, match="failed 3 times, at last with: .* answered 503"):
        fetch(n_retries=2)


def test_offline_says_what_to_do(tmp_path, target):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/{FILE}"
    with pytest.raises(OSError, match="refused") as caught:
        fetch_rsc15_100k(
            "test", data_home=tmp_path, url=closed, n_retries=1, delay=0, timeout=1
        )
    for part in (closed, str(target), "skclip.datasets.read_session_rec"):
        assert part in str(caught.value)
    target.write_bytes(CLICKS)  # by hand
    X = fetch_rsc15_100k("test", data_home=tmp_path, url=closed, n_retries=0)
    assert X.n_events == 3000


def test_download_may_be_forbidden(server, fetch, target):
    with pytest.raises(OSError, match="download_if_missing is False") as caught:
        fetch(download_if_missing=False)
    assert str(target) in str(caught.value)
    assert not server.requests
    fetch()
    assert fetch(download_if_missing=False).n_events == 3000


def test_progress_is_shown_on_demand(fetch, capsys):
    fetch(verbose=True)
    assert FILE in capsys.readouterr().err
    clear = fetch()
    assert clear.n_events == 3000
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/a.txt", "is http, which anyone"),
        ("file:///etc/passwd", "is no https address"),
        ("a.txt", "is no https address"),
    ],
)
def test_only_https(fetch, url, message):
    with pytest.raises(ValueError, match=message):
        fetch(url=url)


def test_no_redirect_away_from_https(server, fetch):
    server.codes = [302]
    with pytest.raises(OSError, match="redirected to ftp://.*no https"):
        fetch()


def test_two_callers_share_one_download(server, fetch, target):
    with ThreadPoolExecutor(2) as pool:  # the lock is between open files, so this is
        calls = [pool.submit(fetch) for _ in range(2)]  # as good as two processes
        assert [call.result().n_events for call in calls] == [3000, 3000]
    assert len(server.requests) == 1
    assert target.read_bytes() == CLICKS


def test_the_lock_is_held_by_one(tmp_path):
    path, order = tmp_path / ".lock", []

    def second():
        with _fetch._lock(path):
            order.append("second")

    with _fetch._lock(path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# -- archives --------------------------------------------------------------------------

PLAYS = "".join(
    f"user_1\t2009-04-{day:02d}T0{hour}:00:00Z\tid\tArtist {hour % 2}\t\tsong\n"
    for day in range(1, 8)
    for hour in range(4)
).encode()
TSV = "userid-timestamp-artid-artname-traid-traname.tsv"


def tar_gz(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def lastfm(server, tmp_path, monkeypatch):
    source = replace(_fetch._SOURCES["lastfm_1k"], md5=hashlib.md5(PLAYS).hexdigest())
    monkeypatch.setitem(_fetch._SOURCES, "lastfm_1k", source)
    return partial(
        fetch_lastfm_1k,
        data_home=tmp_path,
        url=f"{server.url}/lastfm-dataset-1K.tar.gz",
        delay=0,
        n_retries=0,
    )


def test_the_wanted_file_of_a_tar(server, lastfm, tmp_path):
    files = [("lastfm/README.txt", b"read me"), (f"lastfm/{TSV}", PLAYS)]
    archive = server.files["/lastfm-dataset-1K.tar.gz"] = tar_gz(files)
    X = lastfm()
    assert X.to_lists() == [["Artist 0", "Artist 1"] * 2] * 7
    left = {file.name for file in (tmp_path / "lastfm_1k").iterdir()}
    assert left == {TSV, f"{TSV}.skclip.json", ".lock"}
    assert lastfm(max_length=3, sha256=sha256(archive))[0].tolist() == [
        "Artist 0",
        "Artist 1",
        "Artist 0",
    ]
    assert len(server.requests) == 1


def test_a_path_in_an_archive_does_not_lead_out(server, lastfm, tmp_path):
    files = [(TSV, None), (f"../../{TSV}", PLAYS)]  # a link, and a way up
    server.files["/lastfm-dataset-1K.tar.gz"] = tar_gz(files)
    assert lastfm().n_events == 28
    assert [path for path in tmp_path.rglob(TSV)] == [tmp_path / "lastfm_1k" / TSV]
    assert not (tmp_path / "lastfm_1k" / TSV).is_symlink()
    assert not (tmp_path.parent / TSV).exists()


def test_a_file_that_is_not_the_published_one(server, lastfm, tmp_path):
    files = [(TSV, PLAYS + PLAYS)]
    server.files["/lastfm-dataset-1K.tar.gz"] = tar_gz(files)
    with pytest.raises(OSError, match="is not the file that its publisher describes"):
        lastfm()
    assert [f.name for f in (tmp_path / "lastfm_1k").iterdir()] == [".lock"]


def test_archives_without_the_file_or_damaged(server, lastfm, tmp_path):
    server.files["/lastfm-dataset-1K.tar.gz"] = tar_gz([("other.txt", b"")])
    with pytest.raises(OSError, match="has no file 'userid-"):
        lastfm()
    archive = tmp_path / "lastfm_1k" / "lastfm-dataset-1K.tar.gz"
    noise = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(4000))
    whole = tar_gz([("noise", noise), (TSV, PLAYS)])
    clear_data_home(tmp_path)
    archive.parent.mkdir(parents=True)
    archive.write_bytes(whole[: len(whole) // 2])  # by hand
    with pytest.raises(OSError, match=r"1K.tar.gz is damaged"):
        lastfm()
    assert not (archive.parent / TSV).exists()


def test_the_parts_of_a_zip_come_from_one_download(server, tmp_path):
    header = "session_id:token\titem_id_list:token_seq\titem_id:token\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/tmall.train.inter", header + "1\t10 20\t30\n1\t10\t20\n")
        file.writestr("a/tmall.test.inter", header + "2\t30\t10\n")
    server.files["/tmall_session.zip"] = buffer.getvalue()
    options = {"data_home": tmp_path, "url": f"{server.url}/tmall_session.zip"}
    X, y = fetch_recbole_sessions("tmall", **options)
    assert X.to_lists() == [[10, 20], [10]]
    assert y.tolist() == [30, 20]
    X, y = fetch_recbole_sessions("tmall", "test", **options)
    assert (X.to_lists(), y.tolist()) == ([[30]], [10])
    assert len(server.requests) == 1
    with pytest.raises(ValueError, match="name='tmal' must be one of"):
        fetch_recbole_sessions("tmal")
    with pytest.raises(ValueError, match="subset='valid' must be one of"):
        fetch_recbole_sessions("tmall", "valid")


CLICKS_RAW = b"1,2014-04-07T10:51:09.277Z,5,0\n1,2014-04-07T10:51:08.277Z,6,0\n"


def test_the_wanted_file_of_a_7z(server, tmp_path):
    py7zr = pytest.importorskip("py7zr", reason="the extra [datasets] is not here")
    path = tmp_path / "made.7z"
    with py7zr.SevenZipFile(path, "w") as file:
        file.writestr(b"no", "yoochoose-buys.dat")
        file.writestr(CLICKS_RAW, "yoochoose-clicks.dat")
    server.files["/yoochoose-data.7z"] = path.read_bytes()
    options = {"data_home": tmp_path, "url": f"{server.url}/yoochoose-data.7z"}
    assert fetch_yoochoose(**options).to_lists() == [[6, 5]]
    clear_data_home(tmp_path)
    server.files["/yoochoose-data.7z"] = path.read_bytes()[:40]
    with pytest.raises(OSError, match="yoochoose-data.7z is damaged"):
        fetch_yoochoose(**options)


def test_a_missing_unpacker_is_missed_before_the_download(
    server, tmp_path, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "py7zr", None)
    server.files["/yoochoose-data.7z"] = b"7z"
    options = {"data_home": tmp_path, "url": f"{server.url}/yoochoose-data.7z"}
    with pytest.raises(ImportError, match=r"pip install skclip\[datasets\]"):
        fetch_yoochoose(**options)
    assert not server.requests
    (tmp_path / "yoochoose" / "yoochoose-clicks.dat").write_bytes(CLICKS_RAW)
    assert fetch_yoochoose(**options).to_lists() == [[6, 5]]


def test_diginetica_sample(server, tmp_path):
    text = "session_id;user_id;item_id;timeframe;eventdate\n1;NA;5;9;2016-05-09\n"
    server.files["/sample_train-item-views.csv"] = text.encode()
    url = f"{server.url}/sample_train-item-views.csv"
    assert fetch_diginetica_sample(data_home=tmp_path, url=url).to_lists() == [[5]]


# -- the data home ---------------------------------------------------------------------


def test_data_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SKCLIP_DATA_HOME", str(tmp_path / "from_env"))
    assert get_data_home() == str(tmp_path / "from_env")
    assert (tmp_path / "from_env").is_dir()
    assert get_data_home(tmp_path / "given") == str(tmp_path / "given")
    monkeypatch.delenv("SKCLIP_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert get_data_home() == str(tmp_path / "skclip_data")


def test_clearing_spares_what_is_not_ours(fetch, tmp_path):
    fetch()
    (tmp_path / "thesis.txt").write_text("mine")
    clear_data_home(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "thesis.txt").unlink()
    clear_data_home(tmp_path)
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    "function",
    [
        fetch_diginetica_sample,
        fetch_lastfm_1k,
        fetch_recbole_sessions,
        fetch_rsc15_100k,
        fetch_yoochoose,
    ],
)
def test_every_parameter_is_described(function):
    assert "%(" not in function.__doc__
    for name in inspect.signature(function).parameters:
        assert re.search(rf"^    \**{name}( :|$)", function.__doc__, re.MULTILINE), name


def test_every_address_is_https():
    for source in _fetch._SOURCES.values():
        _fetch._check_url(source.url, None)
        assert source.url.startswith("https://")
        assert hasattr(__import__("skclip").datasets, source.reader)
