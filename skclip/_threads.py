"""Share work between threads, and choose the number of threads.

torch's own threads wait for each other after every operation and keep their cores busy
meanwhile. If one of them loses its core to another program, all of them wait. So inside
`Workers` torch runs on one thread. Large products are cut into tasks, and each thread
takes the next task when it is free. A thread on a busy core takes fewer tasks. Tasks
are cut by size and put together in order, so the number of threads changes no bit of
the result. Only network steps over very many events use torch's own threads, because
each of their operations takes long enough (`torch_threads`).
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

_LARGE = 2**25  # multiplications from which a second thread pays off
_LONG = 2**18  # size of a network's input from which its operations take long
_ENOUGH_SECONDS = 5.0  # of work, before judging whether threads wait for cores
_SOON = 1.0  # seconds within which an announced number of threads is set
_of_thread = threading.local()


class Workers:
    """Threads that share tasks inside a ``with`` block, where torch runs on one thread.

    `n_threads` is the largest number of them, never more than the cores that this
    process may use. None takes torch's number, and one in a worker of joblib. A block
    inside another block of the same thread reuses the outer one.
    """

    def __init__(self, n_threads=None):
        self._n_threads, self._pool = n_threads, None
        self._seconds = self._ran = self._shared = 0.0
        self.has_told = False  # has warned that the threads wait for cores

    def __enter__(self):
        around = open_workers()
        if around is not None:
            return around
        self._of_torch = _Keeper.number_of_torch()
        _use_one_thread(self._of_torch)
        # As in the other threads, which may write to tensors that this thread makes.
        gradients, self._mode = torch.is_grad_enabled(), torch.inference_mode(False)
        self._mode.__enter__()
        torch.set_grad_enabled(gradients)  # the inference mode has switched it
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
        """The largest number of threads of this block."""
        n_threads = self._n_threads
        if n_threads is None:
            in_worker = (get_active_backend()[0].nesting_level or 0) > 0
            n_threads = 1 if in_worker else self._of_torch
        return max(1, min(n_threads, cpu_count()))

    def map(self, function, tasks, size=_LARGE):
        """Return the results of ``function(task)`` in order, without gradients.

        `size` is the approximate number of multiplications of all tasks. If it is
        small, or with one thread, the caller does all tasks.
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
            # A task that has not begun by now had no core. It is not waited for.
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
        """Measure how long threads have work in the block, and how long they run."""
        begun, ran, shared = time.perf_counter(), time.process_time(), self._shared
        yield
        self._seconds += time.perf_counter() - begun + self._shared - shared
        self._ran += time.process_time() - ran

    def share_of_cores(self):
        """Share of the time with work in which the threads ran; None at first.

        The caller always has work. The other threads have work while tasks are shared.
        """
        if self._seconds < _ENOUGH_SECONDS:
            return None
        return self._ran / self._seconds


def open_workers():
    """The `Workers` block that encloses the calling thread, or None."""
    return getattr(_of_thread, "workers", None)


@contextmanager
def torch_threads(n_numbers):
    """Give torch the threads of the open block if `n_numbers`, its input, is large."""
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
    """Call `Workers.map` of the enclosing block, if there is one."""
    workers = open_workers()
    if workers is not None:
        return workers.map(function, tasks, size)
    with Workers(1) as workers:
        return workers.map(function, tasks, size)


def _work_alone():
    """Start a thread of a pool, whose calls all run on one thread."""
    _use_one_thread(torch.get_num_threads())
    _of_thread.workers = Workers(1)


# -- torch's number of threads ---------------------------------------------------------


def _use_one_thread(of_others):
    """Let torch run on one thread in the calling thread, and on more in others.

    torch applies a new number also to threads that start later. So another thread sets
    the former number again at once.
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
    """A thread that sets torch's number of threads to the numbers in its queue."""

    _lock, _numbers = threading.Lock(), None
    announced = {}  # token -> time at which a number was announced that is not set yet
    n_announced, last = 0, 1

    @classmethod
    def announce(cls, token, number):
        cls.announced[token] = time.monotonic()
        cls.n_announced, cls.last = cls.n_announced + 1, number

    @classmethod
    def number_of_torch(cls):
        """torch's number in this thread.

        A thread that starts between the two steps of `_use_one_thread` would take the 1
        for torch's own number and finally give it to all other threads. Old tokens
        belong to threads that were interrupted between these steps.
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
    """Forget the threads of the parent, which do not exist in a forked child."""
    global _of_thread
    _of_thread = threading.local()
    _Keeper._lock, _Keeper._numbers = threading.Lock(), None
    _Keeper.announced = {}
