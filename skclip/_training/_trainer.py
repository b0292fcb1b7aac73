"""Train a model: epochs, early stopping, history. Knows no backbone by name."""

import time

import numpy as np
import torch
from tqdm.auto import tqdm

from skclip._sklearn import inside_search, warn_user


def train(
    model,
    batches,
    loss,
    *,
    batch_size,
    learning_rate,
    optimizer,
    weight_decay,
    lr_schedule,
    max_epochs,
    n_iter_no_change,
    max_time,
    validate,
    rng,
    verbose,
    checkpoint=None,
    callbacks=None,
):
    """Fit the parameters of `model` by Adam or AdamW.

    Parameters
    ----------
    model : SessionModel
        Changed in place; ends in evaluation mode with the best weights.
    batches : Batches
        Training instances.
    loss : callable
        ``loss(queries, targets, keys, scale=, bias=)`` -> scalar tensor.
    validate : callable or None
        ``validate()`` -> score of the model as it stands, higher is better.
    n_iter_no_change : int or None
        Stop after so many epochs without a better score; None never stops early
        and keeps the last weights.
    rng : numpy Generator
        Order of the mini-batches.
    checkpoint : Checkpoint, default=None
        Where to leave the state after each epoch, and to take it up.
    callbacks : object, default=None
        ``begin()`` is called before each epoch, ``end()`` after it; what is true
        stops the training.

    Returns
    -------
    history : list of dict
        Per epoch: ``epoch``, ``train_loss``, ``seconds`` and, where validated,
        ``validation_score``.
    score : float or None
        Validation score of the weights that are kept.
    """
    schedule, interrupted = _SCHEDULES[lr_schedule], False
    stepper = _Stepper(model, loss, optimizer, weight_decay)
    early_stopping = validate is not None and n_iter_no_change is not None
    best = _Best(model)
    history = []
    if checkpoint is not None:
        history = checkpoint.resume(model, best, stepper.optimizers, rng)
    score = history[-1].get("validation_score") if history else None
    started = time.perf_counter()
    deadline = np.inf if max_time is None else started + max_time
    with tqdm(
        total=max_epochs,
        initial=len(history),
        unit="epoch",
        disable=not verbose,
        desc="fit",
    ) as progress:
        try:
            for epoch in range(len(history) + 1, max_epochs + 1):
                if early_stopping and epoch - 1 - best.epoch >= n_iter_no_change:
                    break
                if callbacks is not None:
                    callbacks.begin()
                begun = time.perf_counter()
                plan = batches.epoch(batch_size, rng)
                total, seen = 0.0, 0
                model.train()
                for step, rows in enumerate(plan, 1):
                    batch = batches.batch(rows)
                    done = epoch - 1 + (step - 1) / len(plan)
                    rate = learning_rate * schedule(done, max_epochs)
                    value = stepper.step(batch, rate)
                    if not np.isfinite(value):
                        raise ValueError(
                            f"The loss became {value} in epoch {epoch}, batch {step} "
                            f"of {len(plan)}. The likely cause is learning_rate="
                            f"{learning_rate:g}; pass a smaller one."
                        )
                    total += value * len(batch.targets)
                    seen += len(batch.targets)
                    if step % 20 == 0:
                        progress.set_postfix(
                            batch=f"{step}/{len(plan)}", loss=f"{total / seen:.3f}"
                        )
                    if time.perf_counter() >= deadline:
                        break
                row = {"epoch": epoch, "train_loss": total / seen}
                model.eval()
                if validate is not None:
                    row["validation_score"] = validate()
                    best.offer(row["validation_score"], epoch)
                row["seconds"] = time.perf_counter() - begun
                score = row.get("validation_score")
                history.append(row)
                progress.update()
                progress.set_postfix(_summary(row), refresh=True)
                stop = callbacks is not None and callbacks.end()
                if stop or time.perf_counter() >= deadline:
                    break
                if checkpoint is not None:
                    checkpoint.save(model, best, stepper.optimizers, rng, history)
        except KeyboardInterrupt:
            if not history or inside_search():
                raise
            interrupted = True
            score = None  # of weights that stand in the middle of an epoch
            kept = "the best weights so far" if early_stopping else "its weights"
            warn_user(
                f"Training was interrupted in epoch {len(history) + 1}. The model "
                f"keeps {kept}."
            )
    if early_stopping:
        best.restore()
    cut = interrupted or (time.perf_counter() >= deadline and len(history) < max_epochs)
    if checkpoint is not None and not cut:
        checkpoint.finish()
    model.eval()
    return history, best.score if early_stopping else score


_SCHEDULES = {  # share of the learning rate after so many epochs of so many
    "constant": lambda done, max_epochs: 1.0,
    "cosine": lambda done, max_epochs: 0.5 * (1 + np.cos(np.pi * done / max_epochs)),
    "step": lambda done, max_epochs: 0.1 ** (int(done) // 3),
}


class _Stepper:
    """Take steps; a sparsely used item table is updated where touched, by Adam."""

    def __init__(self, model, loss, optimizer, weight_decay):
        self.model, self.loss = model, loss
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
            self.optimizers.append(torch.optim.SparseAdam(groups[0]["params"]))

    def step(self, batch, rate):
        """Return the loss of a batch; step if it is finite."""
        model = self.model
        model.zero_grad(set_to_none=True)
        loss = self.loss(
            model.states(batch),
            batch.targets - 1,
            model.keys,
            scale=model.scale,
            bias=model.bias,
            scorer=None if model.network.dot_product else model,
        )
        value = float(loss.detach())
        if np.isfinite(value):
            loss.backward()
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            model.constrain_()
        return value


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
