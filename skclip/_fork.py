"""Forked children: torch's threads and locks of other threads do not live on there."""

import os
import sys

_lost_threads = False


def after_fork(function):
    """Call a function in each child that is forked from now on; a decorator."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


def has_lost_threads():
    """Whether this process was forked from one that had loaded torch.

    More than one thread of torch would wait for those of the parent, for ever.
    """
    return _lost_threads


@after_fork
def _use_one_thread():
    global _lost_threads
    torch = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
        _lost_threads = True
