"""Downloads of public data sets, kept under a data home.

`_SOURCES` is the only table of addresses. None of them could be reached while it was
written: they are those that the publishers, or programs that use the data, name.
"""

import contextlib
import gzip
import hashlib
import http.client
import ipaddress
import json
import lzma
import os
import re
import shutil
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from tqdm import tqdm

from skclip.datasets._formats import (
    read_diginetica,
    read_recbole_prefixes,
    read_session_rec,
    read_yoochoose,
)
from skclip.datasets._papers import read_lastfm_1k

_CHUNK = 1 << 18
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}  # what may pass by itself


@dataclass(frozen=True)
class Source:
    """A public file: where it is, where it goes, and what is known of it.

    `member` ends the name of the wanted file in an archive; None where the file is no
    archive. `md5` is that of the wanted file as its publisher states it. `reader` is
    what to call by hand.
    """

    url: str
    folder: str
    reader: str
    member: str = None
    md5: str = None

    @property
    def filename(self):
        return PurePosixPath(urllib.parse.urlsplit(self.url).path).name

    @property
    def wanted(self):
        return self.member or self.filename


_RECBOLE = "https://recbole.s3-accelerate.amazonaws.com/ProcessedDatasets"
_SESSION_REC = (  # a commit: what stands there cannot change
    "https://raw.githubusercontent.com/rn5l/session-rec/"
    "02cf50705942f13a7f7ad77b0816403fb88df0f5/data/rsc15/prepared"
)
_SRGNN = (
    "https://raw.githubusercontent.com/CRIPAC-DIG/SR-GNN/"
    "cf724b1a748e5a238dd008aaac8b68e3039fd581/datasets"
)
_SOURCES = {
    "lastfm_1k": Source(
        "https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz",
        "lastfm_1k",
        "read_lastfm_1k",
        member="userid-timestamp-artid-artname-traid-traname.tsv",
        md5="64747b21563e3d2aa95751e0ddc46b68",  # on the author's page
    ),
    "yoochoose": Source(
        "https://s3-eu-west-1.amazonaws.com/yc-rdata/yoochoose-data.7z",
        "yoochoose",
        "read_yoochoose",
        member="yoochoose-clicks.dat",
    ),
    "diginetica_sample": Source(
        f"{_SRGNN}/sample_train-item-views.csv", "diginetica_sample", "read_diginetica"
    ),
}
for _part in ("train_full", "train_tr", "train_valid", "test"):
    _SOURCES[f"rsc15_100k/{_part}"] = Source(
        f"{_SESSION_REC}/yoochoose-clicks-100k_{_part}.txt",
        "rsc15_100k",
        "read_session_rec",
    )
for _name, _where in (
    ("diginetica", "DIGINETICA/session/diginetica_session.zip"),
    ("nowplaying", "Nowplaying/session/nowplaying_session.zip"),
    ("tmall", "Tmall/session/tmall_session.zip"),
):
    for _part in ("train", "test"):
        _SOURCES[f"recbole_sessions/{_name}/{_part}"] = Source(
            f"{_RECBOLE}/{_where}",
            f"recbole_{_name}",
            "read_recbole_prefixes",
            member=f".{_part}.inter",
        )


# -- the data home ---------------------------------------------------------------------


def get_data_home(data_home=None):
    """Return the folder of downloaded data sets, and make it if need be.

    Parameters
    ----------
    data_home : path-like, default=None
        None is the environment variable ``SKCLIP_DATA_HOME``, or else
        ``~/skclip_data``; ``~`` is the home of the user.

    Returns
    -------
    data_home : str
        The folder, which exists.

    Examples
    --------
    >>> import os, tempfile
    >>> from skclip.datasets import get_data_home
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     os.path.basename(get_data_home(os.path.join(folder, "data")))
    'data'
    """
    if data_home is None:
        data_home = os.environ.get("SKCLIP_DATA_HOME") or "~/skclip_data"
    data_home = os.path.expanduser(os.fspath(data_home))
    os.makedirs(data_home, exist_ok=True)
    return data_home


def clear_data_home(data_home=None):
    """Delete the downloaded data sets.

    Only the folders that `fetch_*` make are deleted, with all that is in them, and the
    data home if nothing else is there.

    Parameters
    ----------
    data_home : path-like, default=None
        As in `get_data_home`.

    Examples
    --------
    >>> import os, tempfile
    >>> from skclip.datasets import clear_data_home
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     home = os.path.join(folder, "data")
    ...     os.makedirs(os.path.join(home, "yoochoose"))
    ...     clear_data_home(home)
    ...     os.path.exists(home)
    False
    """
    home = Path(get_data_home(data_home))
    for folder in {source.folder for source in _SOURCES.values()}:
        shutil.rmtree(home / folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # something else is there
        home.rmdir()


# -- data sets -------------------------------------------------------------------------

_PARAMETERS = """\
data_home : path-like, default=None
        Where downloads are kept, see `get_data_home`.
    download_if_missing : bool, default=True
        False raises an OSError instead of a download.
    n_retries : int, default=3
        Times to try again after a failed attempt; each goes on where the last one
        ended if the server lets it.
    delay : float, default=1.0
        Seconds before the first try again, doubled before each further one.
    timeout : float, default=30.0
        Seconds that the server may be silent.
    sha256 : str, default=None
        What the downloaded file must have. None: the first download is believed, and
        what it had is recorded and verified whenever the data are opened again.
    url : str, default=None
        Another address of the same file, such as a mirror.
    verbose : bool, default=False
        Show progress."""
_RAISES = """\
OSError
        The download failed, is not allowed, or is not the file that was expected; the
        message names the address and where to put a file that was got by hand.
    ValueError
        `url` is not https. The file has another format."""


def _documented(function):
    if function.__doc__:  # python -OO has none
        text = function.__doc__.replace("%(parameters)s", _PARAMETERS)
        function.__doc__ = text.replace("%(raises)s", _RAISES)
    return function


@_documented
def fetch_yoochoose(
    *,
    data_home=None,
    download_if_missing=True,
    n_retries=3,
    delay=1.0,
    timeout=30.0,
    sha256=None,
    url=None,
    verbose=False,
):
    """Fetch the clicks of YooChoose (RecSys Challenge 2015): 33 million events.

    The publisher's archive is a 7z file on Amazon S3 (the address could not be reached
    while this was written), which the package py7zr unpacks. No checksum of it is
    published: see `sha256`. The archive is deleted once the clicks are unpacked.

    Parameters
    ----------
    %(parameters)s

    Returns
    -------
    X : Sessions
        As from `read_yoochoose`.

    Raises
    ------
    %(raises)s
    ImportError
        py7zr is not installed.

    Examples
    --------
    Without a download, what is not there yet is an error that says where it belongs:

    >>> import os, tempfile
    >>> from skclip.datasets import fetch_yoochoose
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         fetch_yoochoose(data_home=folder, download_if_missing=False)
    ...     except OSError as error:
    ...         print(os.path.basename(str(error).split(" is not there")[0]))
    yoochoose-clicks.dat
    """
    path = _fetch(
        "yoochoose",
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
        timeout=timeout,
        sha256=sha256,
        url=url,
        verbose=verbose,
    )
    return read_yoochoose(path)


@_documented
def fetch_lastfm_1k(
    *,
    data_home=None,
    download_if_missing=True,
    n_retries=3,
    delay=1.0,
    timeout=30.0,
    sha256=None,
    url=None,
    verbose=False,
    **options,
):
    """Fetch Last.fm-1K and read it as in the CLIP-SBR experiments.

    From Zenodo, record 6090214, about 670 MB (the address could not be reached while
    this was written); the listening events in it are checked against the MD5 sum on
    their author's page. The archive is deleted once they are unpacked, to 2.4 GB. For
    non-commercial use, as that page says.

    Parameters
    ----------
    %(parameters)s
    **options
        Passed to `read_lastfm_1k`.

    Returns
    -------
    X : Sessions
        As from `read_lastfm_1k`.

    Raises
    ------
    %(raises)s

    Examples
    --------
    Without a download, what is not there yet is an error that says where it belongs:

    >>> import os, tempfile
    >>> from skclip.datasets import fetch_lastfm_1k
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         fetch_lastfm_1k(data_home=folder, download_if_missing=False)
    ...     except OSError as error:
    ...         print(os.path.basename(str(error).split(" is not there")[0]))
    userid-timestamp-artid-artname-traid-traname.tsv
    """
    path = _fetch(
        "lastfm_1k",
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
        timeout=timeout,
        sha256=sha256,
        url=url,
        verbose=verbose,
    )
    return read_lastfm_1k(path, **options)


@_documented
def fetch_rsc15_100k(
    subset="train_full",
    *,
    data_home=None,
    download_if_missing=True,
    n_retries=3,
    delay=1.0,
    timeout=30.0,
    sha256=None,
    url=None,
    verbose=False,
):
    """Fetch session-rec's sample of YooChoose: 100,000 clicks, split in time.

    From a commit of the repository rn5l/session-rec on GitHub (the address could not be
    reached while this was written). No checksum is published: see `sha256`.

    Parameters
    ----------
    subset : {"train_full", "train_tr", "train_valid", "test"}, default="train_full"
        ``train_full`` is ``train_tr`` and ``train_valid`` together.
    %(parameters)s

    Returns
    -------
    X : Sessions
        As from `read_session_rec`.

    Raises
    ------
    %(raises)s

    Examples
    --------
    Without a download, what is not there yet is an error that says where it belongs:

    >>> import os, tempfile
    >>> from skclip.datasets import fetch_rsc15_100k
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         fetch_rsc15_100k(
    ...             "test", data_home=folder, download_if_missing=False
    ...         )
    ...     except OSError as error:
    ...         print(os.path.basename(str(error).split(" is not there")[0]))
    yoochoose-clicks-100k_test.txt
    """
    path = _fetch(
        _chosen("rsc15_100k", subset=subset),
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
        timeout=timeout,
        sha256=sha256,
        url=url,
        verbose=verbose,
    )
    return read_session_rec(path)


@_documented
def fetch_diginetica_sample(
    *,
    data_home=None,
    download_if_missing=True,
    n_retries=3,
    delay=1.0,
    timeout=30.0,
    sha256=None,
    url=None,
    verbose=False,
    known_users=False,
):
    """Fetch the first sessions of Diginetica, which SR-GNN has as a sample.

    From a commit of the repository CRIPAC-DIG/SR-GNN on GitHub, 0.4 MB (the address
    could not be reached while this was written). No checksum is published: see
    `sha256`. Diginetica in full has no address without a form: `read_diginetica`.

    Parameters
    ----------
    %(parameters)s
    known_users : bool, default=False
        As in `read_diginetica`.

    Returns
    -------
    X : Sessions
        As from `read_diginetica`.

    Raises
    ------
    %(raises)s

    Examples
    --------
    Without a download, what is not there yet is an error that says where it belongs:

    >>> import os, tempfile
    >>> from skclip.datasets import fetch_diginetica_sample
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         fetch_diginetica_sample(
    ...             data_home=folder, download_if_missing=False
    ...         )
    ...     except OSError as error:
    ...         print(os.path.basename(str(error).split(" is not there")[0]))
    sample_train-item-views.csv
    """
    path = _fetch(
        "diginetica_sample",
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
        timeout=timeout,
        sha256=sha256,
        url=url,
        verbose=verbose,
    )
    return read_diginetica(path, known_users=known_users)


@_documented
def fetch_recbole_sessions(
    name,
    subset="train",
    *,
    data_home=None,
    download_if_missing=True,
    n_retries=3,
    delay=1.0,
    timeout=30.0,
    sha256=None,
    url=None,
    verbose=False,
):
    """Fetch a benchmark of RecBole for sessions: prefixes and their targets.

    From RecBole's archives on Amazon S3 (the addresses could not be reached while this
    was written). No checksum is published: see `sha256`. The archive is kept, since it
    holds both parts.

    Parameters
    ----------
    name : {"diginetica", "nowplaying", "tmall"}
        Which benchmark.
    subset : {"train", "test"}, default="train"
    %(parameters)s

    Returns
    -------
    X : Sessions
        The prefixes.
    y : ndarray of shape (n_prefixes,)
        Their targets, both as from `read_recbole_prefixes`.

    Raises
    ------
    %(raises)s

    Examples
    --------
    Without a download, what is not there yet is an error that says where it belongs:

    >>> import os, tempfile
    >>> from skclip.datasets import fetch_recbole_sessions
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         fetch_recbole_sessions(
    ...             "tmall", "test", data_home=folder, download_if_missing=False
    ...         )
    ...     except OSError as error:
    ...         print(os.path.basename(str(error).split(" is not there")[0]))
    recbole_tmall.test.inter
    """
    path = _fetch(
        _chosen("recbole_sessions", name=name, subset=subset),
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
        timeout=timeout,
        sha256=sha256,
        url=url,
        verbose=verbose,
    )
    return read_recbole_prefixes(path)


def _chosen(first, **choices):
    """Key of the table of addresses, or an error that lists the choices."""
    known = [key.split("/")[1:] for key in _SOURCES if key.startswith(f"{first}/")]
    for place, (parameter, value) in enumerate(choices.items()):
        values = list(dict.fromkeys(key[place] for key in known))
        if value not in values:
            raise ValueError(f"{parameter}={value!r} must be one of {values}.")
    return "/".join([first, *choices.values()])


# -- from the address to the wanted file -----------------------------------------------


def _fetch(
    key,
    *,
    data_home,
    download_if_missing,
    n_retries,
    delay,
    timeout,
    sha256,
    url,
    verbose,
):
    """Path of the wanted file of a source, which is fetched first if need be."""
    source = _SOURCES[key]
    sha256 = None if sha256 is None else _checked_sha256(sha256)
    url = source.url if url is None else url
    _check_url(url, sha256)
    folder = Path(get_data_home(data_home), source.folder)
    folder.mkdir(exist_ok=True)
    name = source.wanted.lstrip(".") if source.member else source.filename
    if source.member and source.member.startswith("."):  # ".train.inter"
        name = f"{source.folder}{source.member}"
    wanted = folder / name
    with _lock(folder / ".lock"):
        if wanted.exists():
            _verify(wanted, source, sha256)
            return wanted
        archive = folder / source.filename if source.member else None
        if archive is not None:
            _import_unpacker(archive, wanted)
        target = archive or wanted
        by_hand = target.exists()
        if by_hand:  # or left by an earlier call
            _verify(target, None, sha256)
        elif not download_if_missing:
            raise OSError(
                f"{wanted} is not there, and download_if_missing is False. "
                f"{_by_hand(source, url, wanted)}"
            )
        else:
            _download(
                url,
                target,
                _by_hand(source, url, wanted),
                sha256=sha256,
                n_retries=n_retries,
                delay=delay,
                timeout=timeout,
                verbose=verbose,
            )
        if archive is not None:
            _unpack(archive, source.member, wanted)
            record = _recorded(archive)
            _record(wanted, url, of_archive=record["sha256"])
        try:
            _verify_md5(wanted, source)
        except OSError:
            _remove(wanted)
            if archive is not None and not by_hand:
                _remove(archive)
            raise
        others = [s for s in _SOURCES.values() if s.folder == source.folder]
        if archive is not None and not by_hand and len(others) == 1:
            _remove(archive)
    return wanted


def _by_hand(source, url, path):
    unpacked = f", take the file *{source.member} out of it" if source.member else ""
    return (
        f"Without a network, get {url} elsewhere{unpacked}, put it at {path} "
        "and call this again, or read it where it is with "
        f"skclip.datasets.{source.reader}."
    )


def _check_url(url, sha256):
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname:
        if sha256 is not None or _is_loopback(parts.hostname):
            return
        raise ValueError(
            f"url={url!r} is http, which anyone on the way can change. Pass an https "
            "address, or sha256= of the file."
        )
    raise ValueError(f"url={url!r} is no https address.")


def _is_loopback(host):
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- checksums -------------------------------------------------------------------------


def _checked_sha256(text):
    if not isinstance(text, str) or not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError(f"sha256={text!r} must be 64 hexadecimal digits.")
    return text.lower()


def _digest(path, name="sha256"):
    digest = hashlib.new(name, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _sidecar(path):
    return path.with_name(f"{path.name}.skclip.json")


def _recorded(path):
    """What was recorded of a file, or None."""
    try:
        record = json.loads(_sidecar(path).read_text(encoding="utf-8"))
        return record if isinstance(record.get("sha256"), str) else None
    except (OSError, ValueError, AttributeError):
        return None


def _record(path, url, of_archive=None):
    """Write down the checksum of a file; `of_archive` is that of where it came from."""
    record = {
        "url": url,
        "sha256": _digest(path),
        "size": path.stat().st_size,
        "sha256_of_download": of_archive,
    }
    _write_json(_sidecar(path), record)


def _write_json(path, record):
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(part, path)


def _verify(path, source, sha256):
    """Check a file that is there against what was recorded, stated or asked for."""
    record = _recorded(path)
    if record is None:  # put there by hand
        if source is not None:
            _verify_md5(path, source)
        record = {"sha256": _digest(path)}
        with contextlib.suppress(OSError):  # a shared folder that is not ours
            _record(path, None)
    elif record.get("size") != path.stat().st_size or (
        record["sha256"] != _digest(path)
    ):
        raise OSError(
            f"{path} has changed since it was fetched: its SHA-256 was "
            f"{record['sha256']}. Delete it to fetch it again, or delete "
            f"{_sidecar(path)} if you changed it yourself."
        )
    known = {record["sha256"], record.get("sha256_of_download")}
    if sha256 is not None and sha256 not in known:
        raise OSError(
            f"{path} is not from a file with sha256={sha256!r}; it is "
            f"{record.get('sha256_of_download') or record['sha256']}. Delete it to "
            "fetch it again."
        )


def _verify_md5(path, source):
    if source.md5 is not None and _digest(path, "md5") != source.md5:
        raise OSError(
            f"{path} is not the file that its publisher describes: its MD5 sum is "
            f"{_digest(path, 'md5')}, expected {source.md5}."
        )


def _remove(path):
    for file in (path, _sidecar(path)):
        file.unlink(missing_ok=True)


# -- one process at a time -------------------------------------------------------------


@contextlib.contextmanager
def _lock(path):
    """Hold a lock that the system releases when the process ends, whatever happens."""
    if not os.access(path.parent, os.W_OK):  # a shared folder, which we only read
        yield
        return
    with open(path, "a+b") as file:
        while not _try_lock(file):
            time.sleep(0.1)  # another process fetches into the same folder
        yield


def _try_lock(file):
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system without locks: parts and renames must do
        return True
    return True


# -- download --------------------------------------------------------------------------


class _NoHttpRedirect(urllib.request.HTTPRedirectHandler):
    """Follow a redirect to https, or within the machine, only."""

    def redirect_request(self, request, file, code, message, headers, new):
        old = urllib.parse.urlsplit(request.full_url)
        parts = urllib.parse.urlsplit(new)
        if parts.scheme != "https" and not (
            old.scheme == "http" == parts.scheme and parts.hostname == old.hostname
        ):
            raise urllib.error.HTTPError(
                request.full_url, code, f"redirected to {new}, no https", headers, file
            )
        return super().redirect_request(request, file, code, message, headers, new)


class _NotDone(Exception):
    """An attempt failed that may be tried again."""


def _download(url, path, by_hand, *, sha256, n_retries, delay, timeout, verbose):
    """Fetch an address to a part file, which is renamed once it is whole and right."""
    if n_retries < 0:
        raise ValueError(f"n_retries={n_retries!r} must not be negative.")
    part = path.with_name(f"{path.name}.part")
    for attempt in range(n_retries + 1):
        try:
            _fetch_part(url, part, timeout, verbose)
            break
        except _NotDone as error:
            if attempt == n_retries:
                raise OSError(
                    f"Fetching {url} failed {attempt + 1} times, at last with: "
                    f"{error}. What came is kept, and the next call goes on. {by_hand}"
                ) from error
            time.sleep(delay * 2**attempt)
        except OSError as error:
            raise OSError(f"Fetching {url} failed: {error}. {by_hand}") from error
    found = _digest(part)
    if sha256 is not None and found != sha256:
        _forget(part)
        raise OSError(
            f"What {url} gave has the SHA-256 {found}, expected {sha256}. It is "
            "deleted: the file has changed there, or was damaged on the way."
        )
    os.replace(part, path)
    _forget(part)
    _record(path, url)


def _forget(part):
    part.unlink(missing_ok=True)
    _state_of(part).unlink(missing_ok=True)


def _state_of(part):
    return part.with_name(f"{part.name}.json")


def _resume_point(url, part):
    """Bytes of a part that may be gone on with, and what its server called its version.

    Without a version, what is there may be the beginning of another file.
    """
    try:
        state = json.loads(_state_of(part).read_text(encoding="utf-8"))
        if state["url"] == url and state["version"]:
            return part.stat().st_size, state["version"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, None


def _version(headers):
    """What names one state of a file: a strong ETag, or the time of its last change."""
    etag = headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified")


def _fetch_part(url, part, timeout, verbose):
    """One attempt: the whole file, or what is missing of it."""
    start, version = _resume_point(url, part)
    headers = {"User-Agent": "skclip", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_NoHttpRedirect)
    try:
        with opener.open(request, timeout=timeout) as response:
            if response.headers.get_content_type() == "text/html":
                raise OSError("the server sent a web page (a login, perhaps)")
            if response.status == 206:
                total = _range_total(response, start)
                if total is None or _version(response.headers) not in (None, version):
                    _forget(part)  # not the rest of what is here
                    raise _NotDone("the server sent another part of the file")
            elif response.status == 200:
                start, total = 0, response.headers.get("Content-Length")
                total = int(total) if (total or "").isdigit() else None
                state = {"url": url, "version": _version(response.headers)}
                part.unlink(missing_ok=True)
                _write_json(_state_of(part), state)
            else:
                raise OSError(f"the server answered {response.status}")
            _copy(response, part, start, total, verbose)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start:
                if error.headers.get("Content-Range", "") == f"bytes */{start}":
                    return  # it had all come already
                _forget(part)
                raise _NotDone("the file has become shorter") from error
            if error.code in _TRY_AGAIN:
                raise _NotDone(f"the server answered {error.code}") from error
            raise OSError(
                f"the server answered {error.code} ({error.reason})"
            ) from error
    except urllib.error.URLError as error:  # offline, among other things
        raise _NotDone(f"{error.reason}") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _NotDone(f"{error or type(error).__name__}") from error


def _range_total(response, start):
    """Size of the whole file, if the response is what follows the first bytes."""
    found = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "")
    )
    if found is None or int(found[1]) != start or int(found[2]) + 1 != int(found[3]):
        return None
    return int(found[3])


def _copy(response, part, start, total, verbose):
    """Append what comes; less than was announced is no whole file."""
    with (
        open(part, "ab") as file,
        tqdm(
            total=total,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=part.name.removesuffix(".part"),
            disable=not verbose,
        ) as bar,
    ):
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    size = part.stat().st_size
    if total is not None and size > total:
        _forget(part)
        raise _NotDone(f"{size:,} bytes came instead of {total:,}")
    if total is not None and size < total:
        raise _NotDone(f"the connection ended after {size:,} of {total:,} bytes")


# -- archives --------------------------------------------------------------------------


_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
)


def _import_unpacker(archive, wanted):
    """Miss a package before the download, not after it."""
    if archive.suffix != ".7z":
        return
    try:
        import py7zr  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"Unpacking {archive.name} needs py7zr: pip install skclip[datasets]. Or "
            f"unpack it by hand, and put {wanted.name} at {wanted}."
        ) from error


def _unpack(archive, member, wanted):
    """Take one file out of an archive; its path in there does not say where it goes."""
    part = wanted.with_name(f"{wanted.name}.part")
    try:
        if archive.suffix == ".7z":
            _unpack_7z(archive, member, part)
        else:
            opened = _zip_member if archive.suffix == ".zip" else _tar_member
            with opened(archive, member) as source, open(part, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    except _DAMAGED as error:
        part.unlink(missing_ok=True)
        raise OSError(
            f"{archive} is damaged ({error}). Delete it and call this again."
        ) from error
    os.replace(part, wanted)


def _is_member(name, member):
    return name == member or name.endswith(
        member if member.startswith(".") else f"/{member}"
    )


@contextlib.contextmanager
def _tar_member(archive, member):
    with tarfile.open(archive, "r:*") as tar:
        for info in tar:
            if info.isreg() and _is_member(info.name, member):
                yield tar.extractfile(info)
                return
    raise _no_member(archive, member)


@contextlib.contextmanager
def _zip_member(archive, member):
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if not info.is_dir() and _is_member(info.filename, member):
                with file.open(info) as source:
                    yield source
                return
    raise _no_member(archive, member)


def _unpack_7z(archive, member, part):
    import py7zr

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(dir=part.parent))
        try:
            file = stack.enter_context(py7zr.SevenZipFile(archive))
        except py7zr.exceptions.ArchiveError as error:
            raise lzma.LZMAError(str(error)) from error
        names = [name for name in file.getnames() if _is_member(name, member)]
        if not names:
            raise _no_member(archive, member)
        file.extract(path=folder, targets=names[:1])
        found = Path(folder, names[0])
        if found.is_symlink() or not found.resolve().is_relative_to(
            Path(folder).resolve()
        ):
            raise OSError(f"{archive}: {names[0]!r} is no plain file.")
        os.replace(found, part)


def _no_member(archive, member):
    return OSError(
        f"{archive} has no file {member!r}. It is not the archive that was expected; "
        "delete it and call this again, or pass url=."
    )
