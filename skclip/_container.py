"""One file of plain data: a JSON document and named arrays, with a checksum."""

import hashlib
import json
import os
import secrets
import struct
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

_FORMAT = 1


_HEAD = struct.Struct("<8sIQQ32s")  # magic, format, sizes of both parts, SHA-256


def write_container(path, magic, document, arrays):
    """Write a file, or replace it in one step. A crash leaves the old file whole.

    Parameters
    ----------
    path : path-like
    magic : bytes of length 8
        Mark of the kind of file.
    document : JSON-serialisable object
    arrays : dict of str to ndarray
        Arrays of native numeric types.
    """
    text = json.dumps(document).encode("ascii")
    arrays = {name: _plain(array) for name, array in arrays.items()}
    tensors = safetensors.numpy.save(arrays)
    digest = hashlib.sha256(text + tensors).digest()
    head = _HEAD.pack(magic, _FORMAT, len(text), len(tensors), digest)
    replace_file(path, (head, text, tensors))


def replace_file(path, parts):
    """Write a file from parts of bytes, or replace it in one step."""
    given, path = Path(path), Path(os.path.realpath(path))  # a link stays a link
    if given.exists() and not given.is_file():
        raise ValueError(
            f"{given} is not a regular file, and saving would replace it. Pass "
            "another path."
        )
    name = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # The mode is that of any new file, since the system applies the umask.
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_container(path, magic, what):
    """Read what `write_container` wrote.

    Parameters
    ----------
    path : path-like
    magic : bytes of length 8
    what : str
        Description of the expected file, for messages.

    Returns
    -------
    document : object
    arrays : dict of str to ndarray

    Raises
    ------
    ValueError
        If the file is of another kind or format, truncated or changed.
    """
    data = Path(path).read_bytes()
    if len(data) < _HEAD.size or not data.startswith(magic):
        raise ValueError(f"{path} is not a {what}.")
    _, number, n_text, n_tensors, digest = _HEAD.unpack_from(data)
    if number != _FORMAT:
        raise ValueError(
            f"{path} has format {number}, but this version of skclip reads format "
            f"{_FORMAT}. Open it with the version that wrote it, or a newer one."
        )
    body = memoryview(data)[_HEAD.size :]
    if len(body) != n_text + n_tensors:
        raise ValueError(
            f"{path} has {len(body)} bytes after its head, but {n_text + n_tensors} "
            "were expected: it is truncated or something was appended. Copy it again."
        )
    if hashlib.sha256(body).digest() != digest:
        raise ValueError(
            f"{path} does not match its checksum: it was changed or damaged. Copy it "
            "again."
        )
    try:
        document = json.loads(bytes(body[:n_text]))
        return document, safetensors.numpy.load(bytes(body[n_text:]))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a {what}: {error}") from error


def _plain(array):
    array = np.ascontiguousarray(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
