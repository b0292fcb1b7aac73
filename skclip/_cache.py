"""A cache of slow results in an SQLite file, as plain bytes and never as pickles."""

import hashlib
import os
import sqlite3
import threading
from pathlib import Path


class FileCache:
    """A cache of bytes by key, in an SQLite file that only its owner may read.

    Several threads and processes may use the same file.

    Raises
    ------
    ValueError
        If the file exists and is not such a cache.
    """

    def __init__(self, path):
        path = Path(path)
        # The file is readable by its owner only from the start. SQLite gives its
        # companion files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, timeout=10, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB)"
            )
            self._db.commit()
            os.chmod(path, 0o600)
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{str(path)!r} is not a cache of skclip: {error}. Pass the path of a "
                "new file, or of a cache that skclip has made."
            ) from None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def get(self, key):
        """Return the bytes of a key, or None."""
        with self._lock:
            row = self._db.execute(
                "SELECT value FROM entries WHERE key = ?", (_hash(key),)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, values):
        """Store bytes by key, all of them or none."""
        rows = [(_hash(key), value) for key, value in values.items()]
        with self._lock, self._db:
            self._db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?)", rows)

    def close(self):
        with self._lock:
            self._db.close()


def _hash(key):
    return hashlib.sha256(key.encode()).hexdigest()
