"""Forked children: torch's threads and locks of other threads do not live on there."""

import os
import sys


def after_fork(function):
    """Call a function in each child that is forked from now on; a decorator."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function


@after_fork
def _use_one_thread():
    """Those of the parent do not live on; to wait for them would be for ever."""
    torch = sys.modules.get("torch")
    if hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
