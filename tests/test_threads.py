"""Fits, loads and draws in one process do not influence each other or the caller."""

import ast
import copy
import functools
import os
import pickle
import random
import sys
import threading
import time
import warnings
from pathlib import Path

import igraph
import joblib
import numpy as np
import pytest
import torch
from common import small
from sklearn.base import clone
from sklearn.model_selection import cross_validate

import skclip
from skclip import SessionClusterer, _threads
from skclip._threads import Workers
from skclip.backbones import BACKBONES, CORE, GCSAN, Backbone, BackboneSpec
from skclip.datasets import make_sessions
from skclip.losses import SampledSoftmax
from skclip.model_selection import TemporalSplit

X, _ = make_sessions(n_sessions=120, n_items=20, random_state=0)
MORE, _ = make_sessions(n_sessions=60, n_items=26, random_state=1)
ASKED = X[:12]


class Drawing(Backbone):
    """A user's network: draws weights in several ways, and drops out by torch's own."""

    def __init__(self, dim):
        super().__init__()
        like = torch.zeros(dim)
        drawn = [torch.randn(dim), torch.randn_like(like), torch.normal(like, 1.0)]
        drawn += [torch.rand_like(like), torch.bernoulli(like + 0.5)]
        drawn += [torch.empty(dim).log_normal_(), torch.empty(dim).geometric_(0.5)]
        self.weight = torch.nn.Parameter(torch.stack(drawn).sum(dim=0))
        self.linear = torch.nn.Linear(dim, dim)
        self.dropout = torch.nn.Dropout(0.4)

    def encode(self, x, batch):
        return self.linear(self.dropout(batch.last(x) * self.weight))


class OwnSpec(BackboneSpec):
    def build(self, embedding_dim, n_items, max_length):
        return Drawing(embedding_dim)


MODELS = {
    "gru4rec": small(max_epochs=1, embedding_dim=8),
    "narm with user and session prompts": small(
        "narm", max_epochs=1, embedding_dim=8, prompt=("cluster", "session")
    ),
    "sampled": small(max_epochs=1, embedding_dim=8, loss=SampledSoftmax(5)),
    "attention": small(CORE(attention_dropout=0.5), max_epochs=1, embedding_dim=8),
    "graph and attention": small(GCSAN(dropout=0.4), max_epochs=1, embedding_dim=8),
    "own": small(OwnSpec(), max_epochs=1, embedding_dim=8),
}


@functools.cache
def alone(name):
    """Scores of the model when nothing else runs."""
    return clone(MODELS[name]).fit(X).decision_function(ASKED)


class Beside:
    """Threads that call functions again and again while the block runs."""

    def __init__(self, *functions):
        self.over, self.errors = threading.Event(), []
        self.threads = [
            threading.Thread(target=self.loop, args=(f,)) for f in functions
        ]

    def loop(self, function):
        while not self.over.is_set():
            try:
                function()
            except Exception as error:
                self.errors.append(error)
                return

    def __enter__(self):
        for thread in self.threads:
            thread.start()

    def __exit__(self, *error):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors


def in_threads(*functions):
    """What the functions return when they run at the same time."""
    barrier, results = threading.Barrier(len(functions)), [None] * len(functions)

    def run(i, function):
        barrier.wait()
        results[i] = function()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def scores(model):
    return model.fit(X).decision_function(ASKED)


def rounds(names, n, path):
    fitted = small(max_epochs=1, embedding_dim=8, random_state=7).fit(X)
    skclip.save(fitted, path)
    pickled = pickle.dumps(fitted)
    loading = (
        lambda: skclip.load(path),
        lambda: pickle.loads(pickled),
        lambda: copy.deepcopy(fitted),
    )
    expected = [alone(name) for name in names]
    with Beside(lambda: [load() for load in loading], lambda: torch.rand(3)):
        for _ in range(n):
            models = [clone(MODELS[name]) for name in names]
            found = in_threads(*(functools.partial(scores, m) for m in models))
            for one, right in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, right)


def test_two_fits_in_threads_are_those_alone_while_models_load_and_others_draw(
    tmp_path,
):
    rounds(["gru4rec", "gru4rec"], 3, tmp_path / "model")
    rounds(["attention", "sampled"], 2, tmp_path / "model")
    rounds(
        ["graph and attention", "narm with user and session prompts"],
        2,
        tmp_path / "model",
    )


@pytest.mark.slow
def test_twenty_rounds_of_fits_in_threads(tmp_path):
    rounds(["gru4rec", "gru4rec"], 20, tmp_path / "model")
    rounds(["attention", "sampled", "gru4rec"], 20, tmp_path / "model")


def test_own_networks_that_draw_by_torch_wait_for_each_other():
    models = [clone(MODELS["own"]) for _ in range(3)]
    for found in in_threads(*(functools.partial(scores, m) for m in models)):
        np.testing.assert_array_equal(found, alone("own"))


def test_updates_in_threads_are_those_alone():
    fitted = clone(MODELS["gru4rec"]).fit(X)

    def updated():
        return copy.deepcopy(fitted).partial_fit(MORE).decision_function(ASKED)

    expected = updated()
    with Beside(lambda: torch.rand(3)):
        for found in in_threads(updated, updated):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_search_in_threads_or_processes_has_the_scores_of_a_sequential_one(backend):
    def search():
        model = small(max_epochs=1, embedding_dim=8)
        found = cross_validate(model, X, cv=TemporalSplit(3), error_score="raise")
        return found["test_score"]

    expected = search()
    with joblib.parallel_config(backend, n_jobs=2):
        np.testing.assert_array_equal(search(), expected)


# -- what belongs to the caller --------------------------------------------------------


def global_state():
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    mask = os.umask(0o022)
    os.umask(mask)
    return (
        torch.get_rng_state().tolist(),
        python,
        [part.tolist() if hasattr(part, "tolist") else part for part in numpy],
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        mask,
        warnings.filters[:],
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_an_update_a_load_and_a_copy_leave_the_caller_alone(name, tmp_path):
    before = global_state()
    model = clone(MODELS[name]).fit(X)
    assert global_state() == before
    model.partial_fit(MORE)
    assert global_state() == before
    joblib.dump(model, tmp_path / "model.joblib")
    joblib.load(tmp_path / "model.joblib")
    copy.deepcopy(model)
    if name != "own":
        skclip.save(model, tmp_path / "model")
        skclip.load(tmp_path / "model")
    assert global_state() == before
    model.predict_topk(ASKED)
    assert global_state() == before


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_the_seed_alone_decides_whatever_was_drawn_before(backbone):
    model = small(backbone, max_epochs=1, embedding_dim=8)
    torch.manual_seed(1)
    first = scores(clone(model))
    torch.manual_seed(2)
    torch.rand(5)
    np.testing.assert_array_equal(scores(model), first)


def test_a_loaded_network_is_the_saved_one_whatever_it_draws_when_built(tmp_path):
    torch.manual_seed(3)
    model = clone(MODELS["own"]).fit(X)
    joblib.dump(model, tmp_path / "own.joblib")
    torch.manual_seed(4)
    loaded = joblib.load(tmp_path / "own.joblib")
    np.testing.assert_array_equal(
        loaded.decision_function(ASKED), model.decision_function(ASKED)
    )


class Counting(random.Random):
    """A generator of the user's for igraph, which counts what is drawn."""

    n_drawn = 0

    def random(self):
        self.n_drawn += 1
        return super().random()

    def getrandbits(self, k):
        self.n_drawn += 1
        return super().getrandbits(k)


@pytest.mark.parametrize("engine", ["leidenalg", "igraph"])
def test_clustering_neither_takes_nor_moves_the_generator_of_igraph(engine):
    mine = Counting(0)
    igraph.set_random_number_generator(mine)
    try:
        first = SessionClusterer(engine=engine, random_state=0).fit(X)
        assert mine.n_drawn == 0
        igraph.Graph.Erdos_Renyi(n=9, p=0.5)
        assert mine.n_drawn > 0  # still the user's
    finally:
        igraph.set_random_number_generator(random)
    clusterers = [SessionClusterer(engine=engine, random_state=0) for _ in range(2)]
    for found in in_threads(*(functools.partial(c.fit, X) for c in clusterers)):
        np.testing.assert_array_equal(found.membership_, first.membership_)


def test_another_fits_number_of_threads_does_not_stay():
    before = torch.get_num_threads()
    models = [clone(MODELS["gru4rec"]).set_params(n_threads=n) for n in (1, 2, 1)]
    in_threads(*(functools.partial(m.fit, X) for m in models))
    assert torch.get_num_threads() == before
    (seen,) = in_threads(torch.get_num_threads)  # a thread that begins later
    assert seen == before


def test_threads_that_begin_side_by_side_leave_the_number_of_torch():
    """One may begin while another has just set the number to 1 for itself."""

    def block():
        with Workers():
            torch.zeros(10).sum()

    before, interval = torch.get_num_threads(), sys.getswitchinterval()
    torch.set_num_threads(2)
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(200):
            in_threads(block, block, block)
            time.sleep(0.0005)  # another thread puts the number back
            assert in_threads(torch.get_num_threads) == [2]
    finally:
        sys.setswitchinterval(interval)
        torch.set_num_threads(before)


def test_a_thread_that_begins_meanwhile_has_the_number_of_torch(monkeypatch):
    """torch hands the last number on; a block does not let its own one through."""
    monkeypatch.setattr(_threads, "cpu_count", lambda: 8)
    before = torch.get_num_threads()

    def number():
        with Workers() as workers:
            return workers.n_threads, torch.get_num_threads()

    torch.set_num_threads(3)
    try:
        with Workers():
            for _ in range(1000):  # another thread puts the number back
                if in_threads(torch.get_num_threads) == [3]:
                    break
                time.sleep(0.005)
            assert in_threads(torch.get_num_threads) == [3]
            assert in_threads(number) == [(3, 1)]
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        assert in_threads(torch.get_num_threads) == [3]
    finally:
        torch.set_num_threads(before)


def test_a_file_that_another_thread_writes_keeps_its_mode(tmp_path):
    model = clone(MODELS["gru4rec"]).fit(X)
    old, modes = os.umask(0o027), set()

    def write():
        path = tmp_path / "other"
        path.unlink(missing_ok=True)
        path.touch()
        modes.add(path.stat().st_mode & 0o777)

    try:
        with Beside(write):
            for i in range(30):
                skclip.save(model, tmp_path / f"model{i}")
        assert (tmp_path / "model0").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)
    assert modes == {0o640}


def test_no_code_of_the_library_changes_what_all_threads_share():
    """Python's warning filters above all: two threads may leave each other's behind."""
    root, found = Path(skclip.__file__).parent, set()
    shared = {"catch_warnings", "simplefilter", "filterwarnings", "umask", "chdir"}
    shared |= {
        "manual_seed",
        "set_num_threads",
        "set_default_dtype",
        "setswitchinterval",
    }
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = getattr(node, "attr", getattr(node, "id", None))
            if isinstance(node, (ast.Attribute, ast.Name)) and name in shared:
                found.add((path.relative_to(root).as_posix(), name))
    assert found == {
        ("_fork.py", "set_num_threads"),  # in a forked child
        ("_training/_devices.py", "manual_seed"),  # own networks, under a lock
        ("_threads.py", "set_num_threads"),  # put back
        ("export.py", "catch_warnings"),  # under a lock; torch's exporter changes more
        ("export.py", "filterwarnings"),
    }
