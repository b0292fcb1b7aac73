"""Texts or bytes by key, in an SQLite database: in a file, or in memory."""

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import weakref

_MEMORY_SIZE = 10_000  # values that are kept without a file


def cache_key(*what):
    """Hash of everything that a value depends on, as JSON."""
    return hashlib.sha256(json.dumps(what).encode("ascii")).hexdigest()


class Cache:
    """What was costly to get: in a file that its owner alone may read, or in memory.

    Several threads and, with a file, several processes may use it at a time. A database
    that fails keeps nothing and finds nothing. Memory keeps the last 10,000 values.
    """

    def __init__(self, path=None):
        self._in_memory, self._lock = path is None, threading.Lock()
        if path is not None:
            # Readable by the owner alone from its first moment; SQLite gives its
            # companion files the same mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path or ":memory:", 10, check_same_thread=False)
        self.close = weakref.finalize(self, self._db.close)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("CREATE TABLE IF NOT EXISTS kept (key PRIMARY KEY, value)")
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(
                f"cache={str(path)!r} is no cache of skclip: {error}. Pass the path of "
                "a new file, or of one that skclip has made."
            ) from None

    def get(self, key):
        """The value, or None."""
        query = "SELECT value FROM kept WHERE key = ?"
        with self._lock, contextlib.suppress(sqlite3.Error):
            row = self._db.execute(query, (key,)).fetchone()
            return None if row is None else row[0]

    def put(self, key, value):
        insert = "INSERT OR REPLACE INTO kept VALUES (?, ?)"
        with self._lock, contextlib.suppress(sqlite3.Error), self._db:
            row = self._db.execute(insert, (key, value)).lastrowid
            if self._in_memory:  # rows are numbered in the order they came
                delete = "DELETE FROM kept WHERE rowid <= ?"
                self._db.execute(delete, (row - _MEMORY_SIZE,))
