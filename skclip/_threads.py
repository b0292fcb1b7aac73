"""Work that threads share, and how many threads there are.

torch's own threads wait for each other after every operation, and burn their cores
meanwhile: where one of them loses its core to another program, all of them wait.
So inside `Workers` torch runs on one thread. Large products are cut into tasks, and
each thread takes the next one when it is free: where a core is busy, its thread takes
fewer. Tasks are cut by size and put together in order, so that the number of threads
changes the time and no bit of the result.
"""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from joblib import cpu_count
from joblib.parallel import get_active_backend

from skclip._fork import after_fork

_LARGE = 2**25  # multiplications that are worth a second thread


class Workers:
    """Threads that share tasks inside a ``with`` block.

    `n_threads` is the largest number of them, never more than the cores that this
    process may use; None takes torch's number, and one in a worker of joblib. A block
    within another of the same thread shares the threads of that one.

    A number that torch is given holds for threads that begin later, too. So what it was
    is read while no block is open anywhere, and put back by each.
    """

    _lock, _n_open, _outside = threading.Lock(), 0, None
    _of_thread = threading.local()

    def __init__(self, n_threads=None):
        self._asked, self._n_threads, self._pool = n_threads, None, None
        self._begun = self._used = None
        self._shared = 0.0
        self.has_told = False  # that the threads wait for cores

    def __enter__(self):
        self._around = open_workers()
        if self._around is not None:
            return self._around
        with Workers._lock:
            if Workers._n_open == 0:
                Workers._outside = torch.get_num_threads()
            Workers._n_open += 1
        torch.set_num_threads(1)
        Workers._of_thread.current = self
        self._begun, self._used = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error):
        if self._around is not None:
            return
        Workers._of_thread.current = None
        if self._pool is not None:
            self._pool.shutdown()
        with Workers._lock:
            Workers._n_open -= 1
            torch.set_num_threads(Workers._outside)

    @property
    def n_threads(self):
        """The largest number of threads that work here."""
        if self._n_threads is None:
            n_cores, asked = cpu_count(), self._asked
            if asked is None:
                in_worker = (get_active_backend()[0].nesting_level or 0) > 0
                asked = 1 if in_worker else Workers._outside
            self._n_threads = max(1, min(asked, n_cores))
        return self._n_threads

    def map(self, function, tasks, size=_LARGE):
        """Results of ``function(task)`` for each task, in order; without gradients.

        `size` is about how many multiplications all tasks take. Where they are few, or
        with one thread, the caller does them all.
        """
        results, numbers, failed = [None] * len(tasks), itertools.count(), []

        def work():
            try:
                with torch.no_grad():
                    while not failed and (i := next(numbers)) < len(tasks):
                        results[i] = function(tasks[i])
            except BaseException:
                failed.append(True)
                raise

        n = min(self.n_threads, len(tasks)) if size >= _LARGE else 1
        if n < 2:
            work()
            return results
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_threads - 1, "skclip", _work_alone)
        begun = time.perf_counter()
        helpers = [self._pool.submit(work) for _ in range(n - 1)]
        try:
            work()
        finally:
            # One that has not begun by now, as there was no core, is not waited for.
            running = [helper for helper in helpers if not helper.cancel()]
            errors = [helper.exception() for helper in running]
            self._shared += (n - 1) * (time.perf_counter() - begun)
        for error in errors:
            if error is not None:
                raise error
        return results

    def share_of_cores(self):
        """How much of the time in which threads had work they ran; None at first.

        The caller always has work, the other threads have while tasks are shared.
        """
        seconds = time.perf_counter() - self._begun
        if seconds < _ENOUGH_SECONDS:
            return None
        return (time.process_time() - self._used) / (seconds + self._shared)


_ENOUGH_SECONDS = 5.0  # to judge by


def open_workers():
    """The `Workers` whose block the calling thread is in, or None."""
    return getattr(Workers._of_thread, "current", None)


def map_shared(function, tasks, size):
    """`Workers.map` of the block that the calling thread is in, if it is in one."""
    workers = open_workers()
    if workers is not None:
        return workers.map(function, tasks, size)
    with Workers(1) as workers:
        return workers.map(function, tasks, size)


def _work_alone():
    """Begin a thread of a pool, which runs all that it calls on one thread."""
    torch.set_num_threads(1)
    alone = Workers._of_thread.current = Workers(1)
    alone._n_threads = 1


@after_fork
def _begin_anew():
    """Threads of the parent do not live on in a child, whatever they held."""
    Workers._lock, Workers._n_open = threading.Lock(), 0
    Workers._of_thread = threading.local()
