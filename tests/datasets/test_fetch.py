"""Downloads, from a server in a thread of this process."""

import hashlib
import io
import sys
import tarfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from skclip import datasets
from skclip.datasets import _lastfm, _session_rec, fetch_lastfm_1k, fetch_rsc15_100k

CLICKS = b"SessionId\tItemId\tTime\n1\t5\t10\n1\t6\t20\n"
FILE = "yoochoose-clicks-100k_test.txt"
PLAYS = "".join(
    f"user_1\t2009-04-{day:02d}T0{hour}:00:00Z\tid\tArtist {hour % 2}\t\tsong\n"
    for day in range(1, 8)
    for hour in range(4)
).encode()
TSV = "userid-timestamp-artid-artname-traid-traname.tsv"


class Server:
    """Files by path; what was asked is noted."""

    def __init__(self):
        self.files, self.requests, self.busy = {}, [], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(self.path)
                body = outer.files.get(self.path)
                if body is None or outer.busy > 0:
                    outer.busy -= 1
                    self.send_error(404 if body is None else 503)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(
            target=self._http.serve_forever, args=(0.02,), daemon=True
        ).start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch):
    """Serves the test part of rsc15, and a small Last.fm."""
    server = Server()
    server.files = {f"/{FILE}": CLICKS, "/lastfm.tar.gz": tar_gz([(TSV, PLAYS)])}
    clicks = replace(
        _session_rec.RSC15_100K["test"],
        url=f"{server.url}/{FILE}",
        checksum=f"sha256:{hashlib.sha256(CLICKS).hexdigest()}",
    )
    plays = replace(
        _lastfm.LASTFM_1K,
        url=f"{server.url}/lastfm.tar.gz",
        checksum=f"md5:{hashlib.md5(PLAYS).hexdigest()}",
    )
    monkeypatch.setitem(_session_rec.RSC15_100K, "test", clicks)
    monkeypatch.setattr(_lastfm, "LASTFM_1K", plays)
    yield server
    server.close()


@pytest.fixture
def home(tmp_path):
    return {"data_home": tmp_path, "delay": 0, "n_retries": 0}


def tar_gz(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content or b""))
    return buffer.getvalue()


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_the_second_call_asks_nobody(server, home, tmp_path):
    X = fetch_rsc15_100k("test", **home)
    assert X.to_lists() == [[5, 6]]
    assert fetch_rsc15_100k("test", **home).to_lists() == X.to_lists()
    assert fetch_rsc15_100k("test", download_if_missing=False, **home).n_events == 2
    assert server.requests == [f"/{FILE}"]
    assert names_in(tmp_path) == [f"skclip/{FILE}"]


def test_two_callers_do_not_disturb_each_other(server, home, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(fetch_lastfm_1k, **home) for _ in range(2)]
        assert [call.result().n_events for call in calls] == [28, 28]
    assert names_in(tmp_path) == [f"skclip/{TSV}"]


def test_busy_servers_are_tried_again(server, home):
    server.busy = 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert fetch_rsc15_100k("test", **home | {"n_retries": 2}).n_events == 2
    assert len(server.requests) == 3


def test_what_is_not_there_says_what_to_do(server, home, tmp_path):
    path = tmp_path / "skclip" / FILE
    what = f"download {server.url}/{FILE}, save it as {path} and call"
    with pytest.raises(OSError, match=what):
        fetch_rsc15_100k("test", **home, download_if_missing=False)
    assert not server.requests
    body = server.files.pop(f"/{FILE}")
    with pytest.raises(OSError, match=what) as caught:
        fetch_rsc15_100k("test", **home)
    assert "failed: HTTP Error 404" in str(caught.value)
    assert "with skclip.datasets.read_session_rec" in str(caught.value)
    server.close()
    with pytest.raises(OSError, match="refused"):
        fetch_rsc15_100k("test", **home)
    path.write_bytes(body)  # by hand
    assert fetch_rsc15_100k("test", **home).n_events == 2


def test_another_file_is_refused(server, home, tmp_path):
    path = tmp_path / "skclip" / FILE
    server.files[f"/{FILE}"] = CLICKS + b"2\t5\t30\n"
    with pytest.raises(
        OSError, match=r"download of http.* is not the published .*its SHA256 is"
    ):
        fetch_rsc15_100k("test", **home)
    assert names_in(tmp_path) == []
    path.write_bytes(CLICKS[:-1])
    with pytest.raises(OSError, match=f"{FILE} is not the published.*Delete it"):
        fetch_rsc15_100k("test", **home)
    server.files["/lastfm.tar.gz"] = tar_gz([(TSV, PLAYS + PLAYS)])
    with pytest.raises(OSError, match="its MD5 is .* extract userid-.* from it"):
        fetch_lastfm_1k(**home)


def test_the_wanted_file_of_an_archive(server, home, tmp_path):
    """A link and a way up have its name as well, and nothing else is unpacked."""
    files = [("lastfm/README.txt", b"read me"), (TSV, None), (f"../../{TSV}", PLAYS)]
    server.files["/lastfm.tar.gz"] = tar_gz(files)
    X = fetch_lastfm_1k(max_length=3, **home)
    assert X.to_lists() == [["Artist 0", "Artist 1", "Artist 0"]] * 7
    assert names_in(tmp_path) == [f"skclip/{TSV}"]
    assert not (tmp_path / "skclip" / TSV).is_symlink()
    assert not (tmp_path.parent / TSV).exists()


def test_archives_without_the_file_or_damaged(server, home, tmp_path):
    server.files["/lastfm.tar.gz"] = tar_gz([("other.txt", b"")])
    with pytest.raises(OSError, match="has no file 'userid-"):
        fetch_lastfm_1k(**home)
    noise = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(4000))
    whole = tar_gz([("noise", noise), (TSV, PLAYS)])
    for damaged in (whole[: len(whole) // 2], b"<html>Log in</html>"):
        server.files["/lastfm.tar.gz"] = damaged
        with pytest.raises(OSError, match=r"lastfm.tar.gz is damaged"):
            fetch_lastfm_1k(**home)
    assert names_in(tmp_path) == []


def test_wrong_arguments(home):
    with pytest.raises(ValueError, match=r"subset='valid' must be one of \['train_fu"):
        fetch_rsc15_100k("valid")
    with pytest.raises(ValueError, match="n_retries=-1 is negative"):
        fetch_rsc15_100k(**home | {"n_retries": -1})


def test_polars_is_missed_before_the_download(server, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r"pip install 'skclip\[datasets\]'"):
        fetch_rsc15_100k("test", **home)
    assert not server.requests


def test_addresses_are_https_and_have_checksums():
    for file in (_lastfm.LASTFM_1K, *_session_rec.RSC15_100K.values()):
        assert file.url.startswith("https://")
        algorithm, checksum = file.checksum.split(":")
        assert len(checksum) == 2 * hashlib.new(algorithm).digest_size
        assert hasattr(datasets, file.reader)
