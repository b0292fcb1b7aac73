"""Fit one model with several processes.

If the caller has opened a group of `torch.distributed`, each of its processes calls
`fit` with the same data and parameters. All draw the same batches, and each takes its
share of the rows of a batch. Losses and gradients are summed over the processes. So all
of them take the same step and end with the same model. Only plain collectives are used:
all_reduce for dense gradients, all_gather of rows for sparse ones.

`Alone` has the same methods for the usual fit in one process.
"""

import pickle
import signal
import threading
from contextlib import contextmanager, nullcontext

import joblib
import torch
from joblib.parallel import get_active_backend
from torch import distributed
from torch.nn.modules.batchnorm import _BatchNorm

from skclip._sklearn import on_behalf_of_search

_SMALL = 2**16  # size of gradients that share one message with others


def processes():
    """Return the `Group` that fits together, or `Alone`.

    Fits of a search and parallel fits of joblib are alone, even inside a group.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return Alone()
    in_worker = (get_active_backend()[0].nesting_level or 0) > 0
    if distributed.get_world_size() == 1 or in_worker or on_behalf_of_search():
        return Alone()
    return Group()


class Alone:
    """A single process, which has all rows and waits for no other."""

    rank, size = 0, 1

    def fail_together(self):
        """Wait for all processes at the end of the block; errors reach all of them."""
        return nullcontext()

    def call_on_first(self, function):
        """Call a function in the first process only; return its result in all."""
        return function()

    def check_same(self, what, facts):
        """Raise an error if ``facts()``, a dict, differs between processes."""

    def check_model(self, model):
        """Refuse networks whose result for a row depends on the whole batch."""

    def broadcast_weights(self, model):
        """Give all processes the weights of the first one."""

    def share(self, rows):
        """The rows of a batch that this process computes, and whether they count."""
        return rows, True

    def slice_of(self, n):
        """The slice of n ordered rows that this process computes."""
        return slice(None)

    def gather(self, value):
        """The values of all processes, in order."""
        return [value]

    def add_up(self, numbers):
        """Sums of numbers over the processes."""
        return numbers

    def add_up_step(self, numbers, model):
        """Sums of numbers; the gradients of a `SessionModel` are summed in place."""
        return numbers

    @contextmanager
    def interrupts(self):
        """Yield a function that returns whether Ctrl-C was pressed in the block."""
        yield lambda: False


class Group(Alone):
    """The processes of the default group of `torch.distributed`."""

    def __init__(self):
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    @contextmanager
    def fail_together(self):
        failed = None
        try:
            yield
        except BaseException as error:
            failed = error
        errors = self.gather(None if failed is None else _name_of(failed))
        if failed is not None:
            raise failed
        self._raise_first(errors)

    def call_on_first(self, function):
        found = [None, None]
        own = failed = None
        if self.rank == 0:
            try:
                own = function()
                found[0] = pickle.dumps(own)  # values that cannot be sent fail here
            except BaseException as error:
                failed, found[1] = error, _name_of(error)
        distributed.broadcast_object_list(found, src=0)
        if failed is not None:
            raise failed
        self._raise_first([found[1]])
        return own if self.rank == 0 else pickle.loads(found[0])

    def check_same(self, what, facts):
        mine = {name: joblib.hash(value) for name, value in facts().items()}
        first, *others = self.gather(mine)
        for rank, other in enumerate(others, 1):
            names = sorted(first | other)
            differ = [name for name in names if first.get(name) != other.get(name)]
            if differ:
                raise ValueError(
                    f"Process {rank} of the group and process 0 differ in {what}: "
                    f"{', '.join(differ)}. Call fit in each process with the same "
                    "data, parameters and versions. It shares out the batches itself. "
                    "Earlier steps need a random_state."
                )

    def check_model(self, model):
        if any(isinstance(part, _BatchNorm) for part in model.network.modules()):
            raise ValueError(
                f"{type(model.network).__name__} normalizes by the statistics of a "
                f"whole batch, but each of the {self.size} processes has only a part "
                "of it. Fit in one process, or choose another backbone."
            )

    def broadcast_weights(self, model):
        for values in model.state_dict().values():
            distributed.broadcast(values, src=0)

    def share(self, rows):
        """Take every `size`-th row: batches are ordered by length, so shares are equal.

        A process that would have no row takes the first one, which then does not count.
        """
        mine = rows[self.rank :: self.size]
        return (mine, True) if len(mine) else (rows[:1], False)

    def slice_of(self, n):
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def gather(self, value):
        of_all = [None] * self.size
        distributed.all_gather_object(of_all, value)
        return of_all

    def add_up(self, numbers):
        return [sum(column) for column in zip(*self.gather(numbers), strict=True)]

    def add_up_step(self, numbers, model):
        """One message for the numbers and all small gradients, one for each large one.

        A process without a gradient counts as 0. If no process has one, it stays None,
        so that optimizers skip the parameter.
        """
        parameters = [p for p in model.parameters() if p.requires_grad]
        table = model.item_table if model.sparse else None
        is_small = [p.numel() <= _SMALL and p is not table for p in parameters]
        numbers, has_gradient = self._add_up_small(numbers, parameters, is_small)
        for p, small, has in zip(parameters, is_small, has_gradient, strict=True):
            if p is table and has:
                p.grad = self._sum_of_rows(p)
            elif has and not small:
                p.grad = _gradient(p).contiguous()
                distributed.all_reduce(p.grad)
        return numbers

    def _add_up_small(self, numbers, parameters, is_small):
        """Sums of numbers, and whether any process has a gradient of each parameter."""
        head = [*numbers, *(p.grad is not None for p in parameters)]
        small = [p for p, yes in zip(parameters, is_small, strict=True) if yes]
        parts = [torch.tensor(head, dtype=torch.float32, device=parameters[0].device)]
        parts += [_gradient(p).reshape(-1) for p in small]
        message = torch.cat(parts)
        distributed.all_reduce(message)
        head, *sums = message.split([len(part) for part in parts])
        head = head.tolist()
        has_gradient = [count > 0 for count in head[len(numbers) :]]
        of_small = (x for x, yes in zip(has_gradient, is_small, strict=True) if yes)
        for p, total, has in zip(small, sums, of_small, strict=True):
            p.grad = total.view_as(p) if has else None
        return head[: len(numbers)], has_gradient

    def _sum_of_rows(self, table):
        """The sum of sparse gradients, whose rows are gathered from all processes."""
        rows = torch.zeros(0, dtype=torch.int64, device=table.device)
        values = table.new_zeros(0, table.shape[1])
        if table.grad is not None:
            grad = table.grad.coalesce()
            rows, values = grad.indices()[0], grad.values()
        length = torch.tensor([len(rows)], device=table.device)
        lengths = [torch.zeros_like(length) for _ in range(self.size)]
        distributed.all_gather(lengths, length)
        lengths = torch.cat(lengths).tolist()
        rows, values = (self._runs(part, lengths) for part in (rows, values))
        return torch.sparse_coo_tensor(rows[None], values, table.shape).coalesce()

    def _runs(self, part, lengths):
        """Parts of all processes, of different lengths, joined in order."""
        padded = part.new_zeros(max(lengths), *part.shape[1:])
        padded[: len(part)] = part
        of_all = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(of_all, padded)
        return torch.cat([x[:n] for x, n in zip(of_all, lengths, strict=True)])

    @contextmanager
    def interrupts(self):
        """Record the first Ctrl-C, so that all stop at the same step; the next raises.

        A process that stopped in the middle of a step would leave the others waiting.
        """
        noted = threading.Event()
        before = signal.getsignal(signal.SIGINT)
        of_main = threading.current_thread() is threading.main_thread()
        if not of_main or not callable(before):
            yield noted.is_set
            return

        def note(number, frame):
            noted.set()
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield noted.is_set
        finally:
            signal.signal(signal.SIGINT, before)

    @staticmethod
    def _raise_first(errors):
        for rank, error in enumerate(errors):
            if error is not None:
                raise RuntimeError(f"Process {rank} of the group failed: {error}")


def _name_of(error):
    return f"{type(error).__name__}: {error}"


def _gradient(parameter):
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
