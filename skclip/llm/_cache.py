"""Answers that were read, kept in memory or in an SQLite file. JSON, never pickle."""

import hashlib
import json
import os
import sqlite3
import threading
from collections import OrderedDict
from pathlib import Path

_MEMORY_SIZE = 10_000


def cache_key(**what):
    """Hash of the canonical JSON of everything that an answer depends on."""
    text = json.dumps(what, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class MemoryCache:
    """The 10,000 answers used last."""

    def __init__(self, owner=None):
        self.owner = owner  # the client that gave the answers
        self._values, self._lock = OrderedDict(), threading.Lock()

    def get(self, key):
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return json.loads(self._values[key])

    def put(self, key, value):
        with self._lock:
            self._values[key] = json.dumps(value)
            self._values.move_to_end(key)
            while len(self._values) > _MEMORY_SIZE:
                self._values.popitem(last=False)

    def close(self):
        """Nothing: it outlives a ranking."""


class Memory:
    """Where answers are kept in this process: those of one client at a time."""

    def __init__(self):
        self._lock, self._cache = threading.Lock(), MemoryCache()

    def of(self, client):
        """Answers of a client; those of another are given up."""
        with self._lock:
            if self._cache.owner is not client:
                self._cache = MemoryCache(client)
            return self._cache


class FileCache:
    """An SQLite file that its owner alone may read, for several processes.

    Raises
    ------
    ValueError
        There is a file of this name that is no such cache.
    """

    def __init__(self, path):
        self.path = Path(path)
        # Readable by the owner alone from its first moment; SQLite gives its
        # companion files the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(self.path, timeout=10, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT)"
            )
            self._db.commit()
            os.chmod(self.path, 0o600)
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"cache={str(path)!r} is no cache of answers: {error}. Pass the path "
                "of a new file, or of one that LLMReranker has made."
            ) from None

    def get(self, key):
        with self._lock:
            row = self._db.execute(
                "SELECT value FROM answers WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        try:
            return json.loads(row[0])
        except (TypeError, ValueError):  # damaged: ask again
            return None

    def put(self, key, value):
        with self._lock, self._db:
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(value))
            )

    def close(self):
        with self._lock:
            self._db.close()
