"""Two processes that fit together: what a test asks of them, and what they answer.

A test starts ``python group.py CASES FOLDER RANK`` for each process. Each runs the
named cases, one after the other in one group, and writes what they return, as JSON.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

N_PROCESSES = 2
_LIMIT = 600  # seconds, on a busy machine


def outcomes(cases, folder):
    """Let both processes run cases and write what they return."""
    command = [sys.executable, __file__, ",".join(cases), str(folder)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
    }
    running = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE)
        for rank in range(N_PROCESSES)
    ]
    try:
        for process in running:
            _, errors = process.communicate(timeout=_LIMIT)
            assert process.returncode == 0, errors.decode()[-3000:]
    finally:
        for process in running:
            process.kill()


def read_outcomes(folder):
    """What each process returned for each case, a list of dicts in order of rank."""
    return [
        json.loads((folder / f"{rank}.json").read_text("utf-8"))
        for rank in range(N_PROCESSES)
    ]


def sessions(seed=0, n=160):
    """What all processes learn."""
    from skclip.datasets import make_sessions

    return make_sessions(n_sessions=n, n_items=60, random_state=seed)[0]


def model(backbone="gru4rec", **params):
    """A recommender without dropout that trains in a moment."""
    from common import small

    found = small(backbone, batch_size=32, early_stopping=True, scoring="mrr@10")
    found.set_params(backbone=_without_dropout(backbone))
    return found.set_params(**params)


def _without_dropout(backbone):
    from skclip.backbones import backbone_spec

    spec = backbone_spec(backbone)
    names = [name for name in spec.get_params() if "dropout" in name]
    return spec.set_params(**dict.fromkeys(names, 0.0))


def told(fitted):
    """What a fit came to, for JSON: weights as a digest."""
    digest = hashlib.sha256()
    for values in fitted._fitted.model.state_dict().values():
        digest.update(values.detach().numpy().tobytes())
    return {
        "weights": digest.hexdigest(),
        "losses": [row["train_loss"] for row in fitted.history_],
        "scores": [row.get("validation_score") for row in fitted.history_],
        "best": fitted.best_validation_score_,
    }


def _message(function):
    """The error that a function raises."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


# -- cases: each is called with the rank and a folder that all processes see -----------


def fit(rank, folder, *options):
    """A fit with the given backbone and loss."""
    backbone, loss = options
    return told(model(backbone, loss=loss).fit(sessions()))


def further(rank, folder, loss):
    fitted = model(loss=loss).fit(sessions())
    return told(fitted.partial_fit(sessions(seed=1, n=60)))


def no_seed(rank, folder):
    return told(model(random_state=None).fit(sessions()))


def dropout(rank, folder, loss):
    fitted = model(loss=loss).set_params(backbone__dropout=0.3)
    return told(fitted.fit(sessions()))


def own_samples(rank, folder):
    from skclip.losses import SampledSoftmax

    return told(model(loss=SampledSoftmax(16, shared=False)).fit(sessions()))


def weighted(rank, folder):
    weights = np.random.default_rng(0).uniform(0.1, 3, len(sessions()))
    return told(model().fit(sessions(), sample_weight=weights))


def repeats(rank, folder):
    drawn = np.random.default_rng(0).integers(30, size=(200, 3)).tolist()
    X = [[a, b, a, b, c] for a, b, c in drawn]
    fitted = model(repeats=True).fit(X)
    return told(fitted) | {"bias": fitted.repeat_bias_.tolist()}


def one_row(rank, folder):
    """Batches with fewer rows than there are processes."""
    return told(model(batch_size=1, max_epochs=1).fit(sessions(n=12)))


def callable_scoring(rank, folder):
    def scoring(estimator, X, y):
        return float(len(X) + estimator.rank_targets(X, y).mean())

    return told(model(scoring=scoring).fit(sessions()))


def other_data(rank, folder):
    return _message(lambda: model().fit(sessions(seed=rank)))


def other_parameters(rank, folder):
    return _message(lambda: model(learning_rate=0.01 * (1 + rank)).fit(sessions()))


def other_version(rank, folder):
    from skclip._clip import _fitting

    before = _fitting.VERSION
    _fitting.VERSION = f"{before}.{rank}"
    try:
        return _message(lambda: model().fit(sessions()))
    finally:
        _fitting.VERSION = before


def other_call(rank, folder):
    """One process goes on with a model, the other one has none yet."""
    fitted = model().fit(sessions())
    if rank == 1:
        fitted = model()
    return _message(lambda: fitted.partial_fit(sessions(seed=1, n=60)))


def one_fails(rank, folder):
    """One process has data that no fit takes."""
    X = sessions() if rank == 0 else [["a"], ["b"]]
    return _message(lambda: model().fit(X))


def clustering_fails(rank, folder):
    class Broken:
        def fit(self, X, y=None):
            raise ValueError("no clusters today")

        def get_params(self, deep=False):
            return {}

    return _message(lambda: model(clusterer=Broken()).fit(sessions()))


def clusterer_stays(rank, folder):
    """A clusterer that cannot be sent to the other process."""
    from skclip import SessionClusterer

    class Local(SessionClusterer):
        pass

    return _message(lambda: model(clusterer=Local()).fit(sessions()))


def lessr(rank, folder):
    return _message(lambda: model("lessr").fit(sessions()))


def no_memory(rank, folder):
    """The second step of one process fails."""
    from skclip._model import SessionModel

    states, calls = SessionModel.states, []

    def failing(self, batch):
        calls.append(batch)
        if rank == 1 and len(calls) == 2:
            raise MemoryError("no memory today")
        return states(self, batch)

    SessionModel.states = failing
    try:
        return _message(lambda: model().fit(sessions()))
    finally:
        SessionModel.states = states


def not_finite(rank, folder):
    return _message(
        lambda: model(learning_rate=1e30, similarity="dot", prompt=None).fit(sessions())
    )


def max_time(rank, folder):
    """The clock of the first process decides, also where others have no limit."""
    limit = 0.3 if rank == 0 else None
    fitted = model(max_epochs=100_000, early_stopping=False, max_time=limit)
    return told(fitted.fit(sessions()))


def callback(rank, folder):
    """A callback of the second process stops all."""

    class Stop:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch"

    fitted = model(max_epochs=20, early_stopping=False)
    if rank == 1 and hasattr(fitted, "set_callbacks"):
        fitted.set_callbacks(Stop())
    return told(fitted.fit(sessions()))


def callback_fails(rank, folder, when):
    """A callback of the second process fails before or after its first epoch."""

    class Failing:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            self.fail(context, "begin")

        def on_fit_task_end(self, estimator, context):
            self.fail(context, "end")

        def fail(self, context, now):
            if context.task_name == "epoch" and now == when:
                raise RuntimeError(f"no {when} today")

    fitted = model()
    if rank == 1 and hasattr(fitted, "set_callbacks"):
        fitted.set_callbacks(Failing())
    return _message(lambda: fitted.fit(sessions()))


def interrupt(rank, folder):
    """Ctrl-C reaches one process in the middle of its third epoch."""
    import threading

    def press():
        while not (folder / "begun").exists():
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    def scoring(estimator, X, y):  # by the first process, after each epoch
        (folder / "begun").touch()
        return 0.0

    fitted = model(max_epochs=100_000, n_iter_no_change=100_000, scoring=scoring)
    if rank == 1:
        threading.Thread(target=press).start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted.fit(sessions())
    found = told(fitted)
    return found | {"warned": any("interrupted" in str(w.message) for w in caught)}


def search(rank, folder):
    """Each process searches a range of its own, with data of its own."""
    from sklearn.model_selection import GridSearchCV

    grid = {"learning_rate": [0.003 * (1 + rank), 0.02]}
    X = sessions()[: 120 + 30 * rank]
    found = GridSearchCV(model(), grid, cv=2).fit(X)
    return {
        "scores": found.cv_results_["mean_test_score"].tolist(),
        "best": told(found.best_estimator_),
    }


def checkpoint(rank, folder):
    """A run that is cut off goes on where it was, and one process writes the file."""
    path = folder / "run.ckpt"

    def made(**params):
        found = model(max_epochs=4, early_stopping=False, **params)
        return found.set_params(backbone__dropout=0.25)

    whole = told(made().fit(sessions()))
    from skclip._training import Checkpoint

    save, written = Checkpoint._write, []

    def write(self, model, best, optimizers, order, history, arrays):
        save(self, model, best, optimizers, order, history, arrays)
        written.append(len(history))
        if len(history) == 2:
            raise OSError("the disk is gone")

    Checkpoint._write = write
    error = _message(lambda: made(checkpoint=path).fit(sessions()))
    Checkpoint._write = save
    resumed = told(made(checkpoint=path).fit(sessions()))
    return {
        "whole": whole,
        "resumed": resumed,
        "error": error,
        "written": written,
        "left": path.exists(),
    }


def own_checkpoint(rank, folder, owner):
    """Only one process is given a path, and a seed without which there is no file."""
    given = {"checkpoint": folder / "run.ckpt"} if rank == int(owner) else {}
    seed = {"random_state": 0 if rank == 0 else None}
    from skclip._training import Checkpoint

    write, written = Checkpoint._write, []
    Checkpoint._write = lambda *args: written.append(True) or write(*args)
    try:
        fitted = told(model(**given, **seed).fit(sessions()))
    finally:
        Checkpoint._write = write
    return fitted | {"written": len(written)}


def verbose(rank, folder):
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        # Without early stopping there are two fits, each with a line of its own.
        model(verbose=True, repeats=True, early_stopping=False).fit(sessions())
    return len(out.getvalue()) > 0


def main(cases, folder, rank):
    from torch import distributed

    from skclip._training import _parallel

    _parallel._SMALL = 500  # numbers: item tables have more, and travel by themselves
    folder, rank = Path(folder), int(rank)
    warnings.simplefilter("ignore")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=N_PROCESSES,
    )
    found = {}
    for case in cases.split(","):
        name, *options = case.split(":")
        place = folder / case.replace(":", "-")
        place.mkdir(exist_ok=True)
        found[case] = globals()[name](rank, place, *options)
        distributed.barrier()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
