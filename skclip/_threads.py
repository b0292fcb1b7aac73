"""Work that threads share, and how many threads there are.

torch's own threads wait for each other after every operation, and burn their cores
meanwhile: where one of them loses its core to another program, all of them wait.
So inside `Workers` torch runs on one thread. Large products are cut into tasks, and
each thread takes the next one when it is free: where a core is busy, its thread takes
fewer. Tasks are cut by size and put together in order, so that the number of threads
changes no bit of the result. Only steps of networks over very many events have torch's
own threads, as each of their operations takes long enough (`torch_threads`).
"""

import itertools
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from joblib import cpu_count
from joblib.parallel import get_active_backend

from skclip._fork import after_fork, has_lost_threads

_LARGE = 2**25  # multiplications that are worth a second thread
_LONG = 2**18  # numbers in what a network reads that make its operations long
_ENOUGH_SECONDS = 5.0  # to judge by whether threads wait for cores
_SOON = 1.0  # seconds within which a number that was announced is given
_of_thread = threading.local()


class Workers:
    """Threads that share tasks inside a ``with`` block, where torch runs on one thread.

    `n_threads` is the largest number of them, never more than the cores that this
    process may use; None takes torch's number, and one in a worker of joblib. A block
    within another of the same thread is that one.
    """

    def __init__(self, n_threads=None):
        self._n_threads, self._pool = n_threads, None
        self._seconds = self._ran = self._shared = 0.0
        self.has_told = False  # that the threads wait for cores

    def __enter__(self):
        around = open_workers()
        if around is not None:
            return around
        self._of_torch = _Keeper.number_of_torch()
        _use_one_thread(self._of_torch)
        # As for the other threads: they may write to what this one makes.
        gradients, self._mode = torch.is_grad_enabled(), torch.inference_mode(False)
        self._mode.__enter__()
        torch.set_grad_enabled(gradients)  # which the mode has switched on
        _of_thread.workers = self
        return self

    def __exit__(self, *error):
        if open_workers() is not self:
            return
        _of_thread.workers = None
        self._mode.__exit__(*error)
        torch.set_num_threads(self._of_torch)
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def n_threads(self):
        """The largest number of threads that work here."""
        n_threads = self._n_threads
        if n_threads is None:
            in_worker = (get_active_backend()[0].nesting_level or 0) > 0
            n_threads = 1 if in_worker else self._of_torch
        return max(1, min(n_threads, cpu_count()))

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

        n = 1
        if size >= _LARGE and len(tasks) > 1:
            n = min(self._pool_size(), len(tasks))
        if n < 2:
            work()
            return results
        begun, of_torch = time.perf_counter(), torch.get_num_threads()
        if of_torch > 1:  # in a step of a network
            _use_one_thread(self._of_torch)
        helpers = [self._pool.submit(work) for _ in range(n - 1)]
        try:
            work()
        finally:
            if of_torch > 1:
                torch.set_num_threads(of_torch)
            # One that has not begun by now, as there was no core, is not waited for.
            running = [helper for helper in helpers if not helper.cancel()]
            errors = [helper.exception() for helper in running]
            self._shared += (n - 1) * (time.perf_counter() - begun)
        for error in errors:
            if error is not None:
                raise error
        return results

    def _pool_size(self):
        if self._pool is None:
            n_threads = self.n_threads
            if n_threads < 2:
                self._n_threads = 1
                return 1
            self._pool = ThreadPoolExecutor(n_threads - 1, "skclip", _work_alone)
            self._n_threads = n_threads
        return self._n_threads

    @contextmanager
    def watched(self):
        """Note how much of the time the threads have work in the block, and run."""
        begun, ran, shared = time.perf_counter(), time.process_time(), self._shared
        yield
        self._seconds += time.perf_counter() - begun + self._shared - shared
        self._ran += time.process_time() - ran

    def share_of_cores(self):
        """Share of the time with work in which the threads ran; None at first.

        The caller always has work, the other threads have while tasks are shared.
        """
        if self._seconds < _ENOUGH_SECONDS:
            return None
        return self._ran / self._seconds


def open_workers():
    """The `Workers` whose block the calling thread is in, or None."""
    return getattr(_of_thread, "workers", None)


@contextmanager
def torch_threads(n_numbers):
    """Give torch the threads of the open block, if a network reads so many numbers."""
    workers = open_workers()
    n_threads = 1
    if workers is not None and n_numbers >= _LONG and not has_lost_threads():
        n_threads = workers.n_threads
    if n_threads == 1:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        _use_one_thread(workers._of_torch)


def map_shared(function, tasks, size):
    """`Workers.map` of the block that the calling thread is in, if it is in one."""
    workers = open_workers()
    if workers is not None:
        return workers.map(function, tasks, size)
    with Workers(1) as workers:
        return workers.map(function, tasks, size)


def _work_alone():
    """Begin a thread of a pool, which runs all that it calls on one thread."""
    _use_one_thread(torch.get_num_threads())
    _of_thread.workers = Workers(1)


# -- torch's number of threads ---------------------------------------------------------


def _use_one_thread(of_others):
    """Let torch run on one thread in the calling thread, and on more in others.

    A number that torch is given also holds for threads that begin later. So another
    thread gives it the former one at once.
    """
    token = object()
    try:
        if of_others != 1:
            _Keeper.announce(token, of_others)
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)
    finally:
        if of_others != 1:
            _Keeper.get().put((token, of_others))


class _Keeper:
    """A thread that gives torch the numbers that are put into its queue."""

    _lock, _numbers = threading.Lock(), None
    announced = {}  # by token: when a number was announced that is not given yet
    n_announced, last = 0, 1

    @classmethod
    def announce(cls, token, number):
        cls.announced[token] = time.monotonic()
        cls.n_announced, cls.last = cls.n_announced + 1, number

    @classmethod
    def number_of_torch(cls):
        """torch's number in this thread.

        A thread that begins between the two steps of `_use_one_thread` would take the 1
        for its own, and give it to all others in the end. Old tokens are of threads
        that were interrupted between these steps.
        """
        n_announced, now = cls.n_announced, time.monotonic()
        waiting = any(now - then < _SOON for then in list(cls.announced.values()))
        number = torch.get_num_threads()
        if number == 1 and (waiting or n_announced != cls.n_announced):
            return cls.last
        return number

    @classmethod
    def get(cls):
        with cls._lock:
            if cls._numbers is None:
                cls._numbers = queue.SimpleQueue()
                keeper = threading.Thread(
                    target=cls._keep, args=(cls._numbers,), name="skclip", daemon=True
                )
                keeper.start()
            return cls._numbers

    @staticmethod
    def _keep(numbers):
        while True:
            token, number = numbers.get()
            torch.set_num_threads(number)
            _Keeper.announced.pop(token, None)


@after_fork
def _begin_anew():
    """Threads of the parent do not live on in a child, whatever they held."""
    global _of_thread
    _of_thread = threading.local()
    _Keeper._lock, _Keeper._numbers = threading.Lock(), None
    _Keeper.announced = {}
