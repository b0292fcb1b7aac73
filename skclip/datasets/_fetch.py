"""Files of publishers, downloaded once into scikit-learn's data home."""

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from sklearn.datasets import fetch_file, get_data_home

from skclip.datasets._text_table import import_polars


@dataclass(frozen=True)
class PublicFile:
    """A file at an address that its publisher names.

    `checksum` is that of the wanted file, such as ``"md5:..."``. `reader` reads it.
    `member` is its name in a tar archive; None where the address is that of the file.
    """

    url: str
    checksum: str
    reader: str
    member: str = None

    @property
    def name(self):
        return self.member or PurePosixPath(self.url).name


def fetch(file, data_home, download_if_missing, n_retries, delay):
    """Path of a file, which is downloaded first if need be."""
    if n_retries < 0:
        raise ValueError(f"n_retries={n_retries!r} must not be negative.")
    import_polars()  # miss it before the download, not after it
    folder = Path(get_data_home(data_home), "skclip")
    path = folder / file.name
    if path.exists():
        if fault := _wrong_checksum(path, file):
            raise OSError(
                f"{path} is not the published file: {fault}. Delete it to fetch it "
                f"again, or read it with skclip.datasets.{file.reader}."
            )
        return path
    unpacked = f", take {file.member} out of it" if file.member else ""
    by_hand = (
        f"Without a network, get {file.url} elsewhere{unpacked}, put it at {path} and "
        "call this again, or read it where it is with "
        f"skclip.datasets.{file.reader}."
    )
    if not download_if_missing:
        raise OSError(
            f"{path} is not there, and download_if_missing is False. {by_hand}"
        )
    folder.mkdir(exist_ok=True)
    # A folder of its own: others may fetch the same file at the same time.
    with TemporaryDirectory(dir=folder) as part:
        try:
            found = fetch_file(file.url, part, n_retries=n_retries, delay=delay)
        except OSError as error:
            raise OSError(f"Fetching {file.url} failed: {error}. {by_hand}") from error
        if file.member is not None:
            found = _unpacked(found, file)
        if fault := _wrong_checksum(found, file):
            raise OSError(
                f"What {file.url} gave is not the published file: {fault}. {by_hand}"
            )
        os.replace(found, path)
    return path


def _wrong_checksum(path, file):
    """What is wrong with the checksum of a file; None if it is right."""
    algorithm, expected = file.checksum.split(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() == expected:
        return None
    return f"its {algorithm.upper()} is {digest.hexdigest()}, expected {expected}"


def _unpacked(archive, file):
    """Take one file out of an archive; its path in there does not say where it goes."""
    target = archive.with_name("unpacked")
    try:
        with tarfile.open(archive) as tar:
            for info in tar:
                if info.isreg() and PurePosixPath(info.name).name == file.member:
                    with tar.extractfile(info) as source, open(target, "wb") as copy:
                        shutil.copyfileobj(source, copy, 1 << 20)
                    return target
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise OSError(f"The archive from {file.url} is damaged: {error}.") from error
    raise OSError(f"The archive from {file.url} has no file {file.member!r}.")
