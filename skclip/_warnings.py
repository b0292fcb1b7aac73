"""Warnings that point to the line of the user, and appear once for each model."""

import logging
import sys
import threading
import warnings
import weakref

from skclip._fork import after_fork

_PASSED_OVER = ("skclip.", "sklearn.", "torch.", "joblib.", "contextlib")
_LOGGER = logging.getLogger("skclip")
_told, _told_lock = {}, threading.Lock()
_quiet = threading.local()


@after_fork
def _new_locks():
    """A thread of the parent may have held the lock when the child was forked."""
    global _told_lock
    _told_lock = threading.Lock()


def warn_user(message, category=UserWarning):
    """Warn at the line that called skclip, so that each caller gets its own warning."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(_PASSED_OVER):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def warn_once(owner, key, message, category):
    """Warn once for an object and a key. Later messages go to the logger "skclip".

    A table in this module records the warnings, since prediction changes no object.
    Without an owner each call warns.
    """
    if len(_open_blocks()):
        return
    if owner is not None and was_told(owner, key, note=True):
        _LOGGER.debug(message)
    else:
        warn_user(message, category)


def was_told(owner, key, note=False):
    """Whether `warn_once` has warned. With `note`, record it as warned."""
    with _told_lock:
        if id(owner) not in _told:
            gone = weakref.finalize(owner, _told.pop, id(owner), None)
            gone.atexit = False
            _told[id(owner)] = set()
        told = key in _told[id(owner)]
        if note:
            _told[id(owner)].add(key)
    return told


class told_already:
    """Silence `warn_once` inside the block, because the caller has warned already.

    Blocks are held weakly, so that a block whose end was interrupted does not stay
    open.
    """

    def __enter__(self):
        _open_blocks().add(self)

    def __exit__(self, *error):
        _open_blocks().discard(self)


def _open_blocks():
    """The blocks of this thread in which warnings are not repeated."""
    if not hasattr(_quiet, "blocks"):
        _quiet.blocks = weakref.WeakSet()
    return _quiet.blocks
