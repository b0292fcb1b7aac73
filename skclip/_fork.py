"""Forked child processes, which have neither torch's threads nor usable locks."""

import os
import sys

_lost_threads = False


def after_fork(function):
    """Call a function in each child that is forked from now on (a decorator)."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


def has_lost_threads():
    """Whether this process was forked from one that had loaded torch.

    With more than one thread, torch would wait forever for the threads of the parent.
    """
    return _lost_threads


@after_fork
def _use_one_thread():
    global _lost_threads
    torch = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
        _lost_threads = True
