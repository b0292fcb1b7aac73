"""Download files of publishers once, into scikit-learn's data home."""

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
    """File at an address that its publisher names.

    `checksum` belongs to the wanted file, such as ``"md5:..."``. `reader` is the name
    of the function that reads it. `member` is the name of the file in a tar archive.
    None means that `url` is the address of the file itself.
    """

    url: str
    checksum: str
    reader: str
    member: str = None

    @property
    def name(self):
        return self.member or PurePosixPath(self.url).name


def fetch(file, data_home, download_if_missing, n_retries, delay):
    """Return the path of a file, and download it first if it is missing."""
    if n_retries < 0:
        raise ValueError(f"n_retries={n_retries!r} is negative. Pass 0 or more.")
    import_polars()  # fail before the download, not after it
    folder = Path(get_data_home(data_home), "skclip")
    path = folder / file.name
    if path.exists():
        if fault := _wrong_checksum(path, file):
            raise OSError(
                f"{path} is not the published file: {fault}. Delete it to fetch it "
                f"again, or read it with skclip.datasets.{file.reader}."
            )
        return path
    unpacked = f", extract {file.member} from it" if file.member else ""
    by_hand = (
        f"To get the file by hand, download {file.url}{unpacked}, save it as {path} "
        "and call this function again. Or read a copy with "
        f"skclip.datasets.{file.reader}."
    )
    if not download_if_missing:
        raise OSError(
            f"{path} does not exist, and download_if_missing is False. {by_hand}"
        )
    folder.mkdir(exist_ok=True)
    # In a separate folder, because other processes may fetch the same file now.
    with TemporaryDirectory(dir=folder) as part:
        try:
            found = fetch_file(file.url, part, n_retries=n_retries, delay=delay)
        except OSError as error:
            raise OSError(f"Fetching {file.url} failed: {error}. {by_hand}") from error
        if file.member is not None:
            found = _unpacked(found, file)
        if fault := _wrong_checksum(found, file):
            raise OSError(
                f"The download of {file.url} is not the published file: {fault}. "
                f"{by_hand}"
            )
        os.replace(found, path)
    return path


def _wrong_checksum(path, file):
    """Describe a wrong checksum of a file, or return None."""
    algorithm, expected = file.checksum.split(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as content:
        while chunk := content.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest() == expected:
        return None
    return f"its {algorithm.upper()} is {digest.hexdigest()}, expected {expected}"


def _unpacked(archive, file):
    """Extract one file of an archive. Its path in the archive is ignored."""
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
