"""Train a model: epochs, early stopping, history, for any backbone."""

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm.auto import tqdm

from skclip._base import shows_bars
from skclip._sklearn import inside_search
from skclip._threads import Workers, open_workers, torch_threads
from skclip._training._parallel import Alone
from skclip._warnings import warn_user
from skclip.exceptions import TrainingWarning

_ENOUGH_OF_CORES = 0.6  # share of the time with work in which the threads should run


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    `n_iter_no_change` is the patience in epochs. None never stops early and keeps the
    last weights. `max_time` is in seconds. If the model is not `kept`, an interrupt is
    raised.
    """

    batch_size: int
    max_epochs: int
    learning_rate: float
    optimizer: str
    weight_decay: float
    lr_schedule: str
    n_iter_no_change: int = None
    max_time: float = None
    verbose: bool = False
    kept: bool = True

    def of_a_trial(self):
        """The same for a model that is not kept, in half of the time."""
        seconds = 0.5 * (self.max_time or 0.0)
        return replace(self.later(seconds), kept=False)

    def later(self, seconds):
        """The same after some seconds of `max_time` have passed."""
        if self.max_time is None:
            return self
        return replace(self, max_time=max(0.0, self.max_time - seconds))


def train(
    model,
    batches,
    loss,
    plan,
    *,
    rngs,
    validate=None,
    checkpoint=None,
    callbacks=None,
    group=None,
):
    """Fit the parameters of a `SessionModel` with Adam or AdamW, in place.

    The model ends in evaluation mode, with the best weights if it stops early.
    ``validate()`` scores the present model, higher is better. The loss is called like
    `FullSoftmax`. `rngs` are the generators of the order of batches (NumPy's), of
    samples and of dropout (torch's). `checkpoint` saves them and the state after each
    epoch, and restores both. ``callbacks.begin()`` is called before each epoch and
    ``end(history, score)`` after it; a true result stops the training. The processes of
    a `group` train together: each has all `batches`, and takes its rows of them.

    Returns the history and the score of the kept weights. The history has a dict per
    epoch with ``epoch``, ``train_loss``, ``seconds`` and, if validated,
    ``validation_score``.
    """
    group = group or Alone()
    run = _Run(model, batches, loss, plan, rngs[0], validate, group)
    if checkpoint is not None:
        run.history = checkpoint.resume(model, run.best, run.optimizers, rngs)
    interrupted = False
    with run.progress(), run.noted_interrupts():
        try:
            while not run.is_over():
                with group.fail_together():
                    if callbacks is not None:
                        callbacks.begin()
                run.epoch()
                run.tell_if_waiting()
                with group.fail_together():
                    ends = callbacks is not None
                    stop = ends and callbacks.end(run.history, run.score)
                if run.is_stopped(stop):
                    break
                if checkpoint is not None:
                    best, optimizers = run.best, run.optimizers
                    checkpoint.save(model, best, optimizers, rngs, run.history)
        except KeyboardInterrupt:
            if not run.history or not plan.kept or inside_search():
                raise
            interrupted = True
            run.warn_interrupted()
    run.keep_best()
    unfinished = run.is_late and len(run.history) < plan.max_epochs
    if checkpoint is not None and not interrupted and not unfinished:
        checkpoint.finish()
    model.eval()
    return run.history, None if interrupted and not run.early_stopping else run.score


class _Run:
    """A training run: the weights, the best ones so far, and the clock.

    `is_late` is True if `max_time` had passed at the last check of the clock of the
    first process.
    """

    def __init__(self, model, batches, loss, plan, rng, validate, group):
        self.model, self.batches, self.plan = model, batches, plan
        self.rng, self.validate, self.group = rng, validate, group
        self.stepper = _Stepper(model, loss, plan.optimizer, plan.weight_decay, group)
        self.is_late = False
        self.early_stopping = validate is not None and plan.n_iter_no_change is not None
        self.best, self.history = _Best(model), []
        self.deadline = np.inf
        if plan.max_time is not None:
            self.deadline = time.perf_counter() + plan.max_time

    @property
    def optimizers(self):
        return self.stepper.optimizers

    @property
    def score(self):
        """Validation score of the kept weights, at the end of an epoch."""
        if self.early_stopping:
            return self.best.score
        return self.history[-1].get("validation_score") if self.history else None

    def progress(self):
        self.bar = tqdm(
            total=self.plan.max_epochs,
            initial=len(self.history),
            unit="epoch",
            disable=not self.shows or not shows_bars(),
            desc="fit",
        )
        return self.bar

    @property
    def shows(self):
        return self.plan.verbose and self.group.rank == 0

    @contextmanager
    def noted_interrupts(self):
        with self.group.interrupts() as self._interrupted:
            yield

    def _reasons_to_stop(self):
        """Whether this process was interrupted, and whether its time is over."""
        late = self.group.rank == 0 and time.perf_counter() >= self.deadline
        return float(self._interrupted()), float(late)

    def _stop_if(self, interrupted, late):
        self.is_late = late > 0
        if interrupted:
            raise KeyboardInterrupt

    def is_stopped(self, stop):
        """Whether `stop`, from a callback of any process, or the clock ends the run.

        Raises KeyboardInterrupt if any process was interrupted.
        """
        stop, *reasons = self.group.add_up([bool(stop), *self._reasons_to_stop()])
        self._stop_if(*reasons)
        return stop or self.is_late

    def is_over(self):
        done = len(self.history)
        stale = done - self.best.epoch
        return done >= self.plan.max_epochs or (
            self.early_stopping and stale >= self.plan.n_iter_no_change
        )

    def epoch(self):
        """Train an epoch, validate, and append both results to the history."""
        begun, epoch = time.perf_counter(), len(self.history) + 1
        with (open_workers() or Workers(1)).watched():
            row = {"epoch": epoch, "train_loss": self._steps(epoch)}
        self.model.eval()
        if self.validate is not None:
            row["validation_score"] = self.validate()
            if self.early_stopping:
                self.best.offer(row["validation_score"], epoch)
        row["seconds"] = time.perf_counter() - begun
        self.history.append(row)
        self.bar.update()
        self.bar.set_postfix(_summary(row), refresh=True)
        if self.shows and not shows_bars():
            print(self._line(row), flush=True)

    def _line(self, row):
        """Describe an epoch in one line, for a log."""
        left = (self.plan.max_epochs - row["epoch"]) * row["seconds"]
        left = min(left, max(0.0, self.deadline - time.perf_counter()))
        parts = [f"epoch {row['epoch']}/{self.plan.max_epochs}"]
        parts += [f"{name} {value}" for name, value in _summary(row).items()]
        return ", ".join([*parts, f"{row['seconds']:.1f} s", f"{left:.0f} s left"])

    def _steps(self, epoch):
        """Mean loss of an epoch, weighted by the weights of the targets."""
        plan = self.plan
        schedule = SCHEDULES[plan.lr_schedule]
        order = self.batches.epoch(plan.batch_size, self.rng)
        total, seen = 0.0, 0
        self.model.train()
        for step, rows in enumerate(order, 1):
            done = epoch - 1 + (step - 1) / len(order)
            rate = plan.learning_rate * schedule(done, plan.max_epochs)
            n, mine, share = self._share(rows)
            value, *reasons = self.stepper.step(
                self.batches.batch(mine), rate, share, self._reasons_to_stop()
            )
            if not np.isfinite(value):
                raise ValueError(
                    f"The loss became {value} in epoch {epoch}, batch {step} of "
                    f"{len(order)}. {_likely_cause(plan, self.model)}"
                )
            total += value * n
            seen += n
            if step % 20 == 0:
                shown = {"batch": f"{step}/{len(order)}", "loss": f"{total / seen:.3f}"}
                self.bar.set_postfix(shown)
            self._stop_if(*reasons)
            if self.is_late:
                break
        return total / seen

    def _share(self, rows):
        """The weight of a batch, the rows of this process, and their share of it."""
        n, (mine, counts) = self.batches.weight_of(rows), self.group.share(rows)
        if self.group.size == 1:
            return n, mine, 1.0
        return n, mine, self.batches.weight_of(mine) / n if counts else 0.0

    def tell_if_waiting(self):
        """Warn once if other programs use the cores, with advice."""
        workers = open_workers()
        if workers is None or workers.has_told or not self.model.item_table.is_cpu:
            return
        if self.group.size > 1:  # processes also wait for each other
            return
        share = workers.share_of_cores()
        if share is None or share >= _ENOUGH_OF_CORES:
            return
        workers.has_told, n = True, workers.n_threads
        who = "its thread" if n == 1 else f"its up to {n} threads"
        less = "" if n == 1 else ", or pass n_threads=1"
        warn_user(
            f"Training waits for CPU cores: {who} had work, but ran for only "
            f"{share:.0%} of the time. Other programs, or a limit of the container, "
            f"take the rest. Run fewer programs at the same time{less}.",
            TrainingWarning,
        )

    def warn_interrupted(self):
        kept = "the weights of the best epoch" if self.early_stopping else "its weights"
        warn_user(
            f"Training was interrupted in epoch {len(self.history) + 1}. The model "
            f"keeps {kept}.",
            TrainingWarning,
        )

    def keep_best(self):
        if self.early_stopping:
            self.best.restore()


SCHEDULES = {  # factor of the learning rate after `epoch` of `max_epochs` epochs
    "constant": lambda done, max_epochs: 1.0,
    "cosine": lambda done, max_epochs: 0.5 * (1 + np.cos(np.pi * done / max_epochs)),
    "step": lambda done, max_epochs: 0.1 ** (int(done) // 3),
}


class _Stepper:
    """Take training steps; a sparse item table is updated only in touched rows."""

    def __init__(self, model, loss, optimizer, weight_decay, group):
        self.model, self.loss, self.group = model, loss, group
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        fused = model.item_table.device.type in ("cpu", "cuda")
        groups = model.param_groups()
        self.optimizers = [
            kinds[optimizer](
                groups[1:] if model.sparse else groups,
                weight_decay=weight_decay,
                fused=fused,
            )
        ]
        if model.sparse:
            self.optimizers.append(_RowAdam(groups[0]["params"]))

    def step(self, batch, rate, share, numbers):
        """Return the loss of a batch and the sums of numbers; step if it is finite.

        `share` is the share of this process's rows in a batch of a group. If a process
        of the group fails, for instance for lack of memory, all of them fail.
        """
        self.model.zero_grad(set_to_none=True)
        value, failed = np.nan, None
        try:
            value = self._gradients(batch, share)
        except Exception as error:
            if self.group.size == 1:
                raise
            failed = error
        numbers = [value, failed is not None, *numbers]
        value, any_failed, *numbers = self.group.add_up_step(numbers, self.model)
        if any_failed:
            with self.group.fail_together():
                if failed is not None:
                    raise failed
        if np.isfinite(value):
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            self.model.constrain_()
        return value, *numbers

    def _gradients(self, batch, share):
        """Compute the share of the loss of a batch, and its gradients."""
        model = self.model
        read = batch.codes.numel() * model.item_table.shape[1]
        with torch_threads(read):
            states = model.states(batch)
        loss = self.loss(
            states,
            batch.targets - 1,
            model.keys,
            scale=model.scale,
            bias=model.bias,
            scorer=None if model.network.dot_product else model,
            weights=batch.weights,
        )
        if share != 1.0:
            loss = loss * share
        value = float(loss.detach())
        if np.isfinite(value) or self.group.size > 1:
            with torch_threads(read):
                loss.backward()
        return value


class _RowAdam(torch.optim.SparseAdam):
    """Adam on the rows of a table that a sparse gradient touches.

    The formula is that of `torch.optim.SparseAdam`, which uses sparse tensors as large
    as the table. Here the touched rows are taken out and put back, which takes a third
    of the time.
    """

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._step(table, table.grad.coalesce(), group)

    def _step(self, table, grad, group):
        state, (first, second) = self.state[table], group["betas"]
        if not state:
            zeros = torch.zeros_like(table)
            state |= {"step": 0, "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
        state["step"] += 1
        rows, values = grad.indices()[0], grad.values()
        mean = state["exp_avg"].index_select(0, rows).lerp_(values, 1 - first)
        square = state["exp_avg_sq"].index_select(0, rows).mul_(second)
        square.addcmul_(values, values, value=1 - second)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        size = group["lr"] * (1 - second ** state["step"]) ** 0.5
        size /= 1 - first ** state["step"]
        change = mean.div_(square.sqrt_().add_(group["eps"]))
        table.index_add_(0, rows, change, alpha=-size)


def _likely_cause(plan, model):
    """Advice for a loss that is not finite: name unusual settings."""
    temperature = 1 / model.scale if model.cosine else 1.0
    settings = (
        ("temperature", temperature, temperature < 0.01, "0.01 or more"),
        ("weight_decay", plan.weight_decay, plan.weight_decay > 0.1, "0.1 or less"),
        ("learning_rate", plan.learning_rate, plan.learning_rate > 0.1, "0.1 or less"),
    )
    unusual = [
        f"{name}={value:g}, which is usually {usual}"
        for name, value, is_unusual, usual in settings
        if is_unusual
    ]
    if unusual:
        return f"The likely cause is {'; and '.join(unusual)}."
    return (
        f"Try a learning_rate below {plan.learning_rate:g}, and check item_features "
        "for very large values."
    )


def _summary(row):
    shown = {"loss": f"{row['train_loss']:.3f}"}
    if "validation_score" in row:
        shown["validation"] = f"{row['validation_score']:.4f}"
    return shown


class _Best:
    """The best score so far and the weights that reached it."""

    def __init__(self, model):
        self.model, self.score, self.epoch, self.state = model, None, 0, None

    def offer(self, score, epoch):
        if self.score is None or score > self.score:
            self.score, self.epoch = score, epoch
            self.state = {k: v.clone() for k, v in self.model.state_dict().items()}

    def restore(self):
        if self.state is not None:
            self.model.load_state_dict(self.state)
