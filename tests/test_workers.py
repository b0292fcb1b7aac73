"""Threads share large work; their number is bounded and changes no bit."""

import io
import os
import threading
import time
import warnings

import joblib
import numpy as np
import pytest
import torch
from common import small
from joblib.externals.loky.backend import context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skclip import CLIPSessionRecommender, _threads
from skclip._model import SessionModel, _reading
from skclip._threads import Workers
from skclip._training import _devices, _losses, _sampled_losses, resolve_precision
from skclip.backbones import BACKBONES, Backbone, BackboneSpec
from skclip.backbones._gru4rec import GRU4RecNetwork
from skclip.baselines import SessionKNN
from skclip.datasets import make_sessions
from skclip.ensemble import VotingRecommender
from skclip.exceptions import TrainingWarning
from skclip.losses import SampledSoftmax

X, _ = make_sessions(n_sessions=150, n_items=40, random_state=0)
MORE, _ = make_sessions(n_sessions=60, n_items=50, random_state=1)


@pytest.fixture
def many_cores(monkeypatch):
    """As on a machine with eight cores, where all work is worth sharing."""
    monkeypatch.setattr(_threads, "cpu_count", lambda: 8)
    monkeypatch.setattr(_threads, "_LARGE", 0)
    monkeypatch.setattr(_reading, "_SHARED", 0)
    monkeypatch.setattr(_losses, "_SMALLEST_CHUNK", 3)
    monkeypatch.setattr(_sampled_losses, "_ROWS", 7)


def number(n_threads=None):
    with Workers(n_threads) as workers:
        return workers.n_threads


# -- how many --------------------------------------------------------------------------


def test_never_more_threads_than_cores(monkeypatch):
    for n_cores in (1, 2, 8):
        monkeypatch.setattr(_threads, "cpu_count", lambda n=n_cores: n)
        assert number(3) == min(3, n_cores)
        assert number() <= n_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_the_cores_are_those_of_affinity():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert number(8) == number() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "300000 100000"}, 3),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_the_cores_are_those_of_a_container(files, expected, monkeypatch):
    """Files of both versions of control groups, on a machine of eight cores."""
    root, before = "/sys/fs/cgroup/", torch.get_num_threads()
    exists = os.path.exists

    def known(path):
        if str(path).startswith(root):
            return path.removeprefix(root) in files
        return exists(path)

    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setattr(os.path, "exists", known)
    monkeypatch.setattr(
        context,
        "open",
        lambda path: io.StringIO(files[path.removeprefix(root)]),
        raising=False,
    )
    torch.set_num_threads(8)
    try:
        assert number() == number(8) == expected
        assert number(1) == 1
    finally:
        torch.set_num_threads(before)


def test_without_a_number_it_is_that_of_torch(many_cores):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(5)
        assert number() == 5
        assert number(3) == 3
    finally:
        torch.set_num_threads(before)


def with_three_of_torch(n_threads=None):
    """As on eight cores, also in another process."""
    before, cores = torch.get_num_threads(), _threads.cpu_count
    torch.set_num_threads(3)
    _threads.cpu_count = lambda: 8
    try:
        return number(n_threads)
    finally:
        torch.set_num_threads(before)
        _threads.cpu_count = cores


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_one_thread_in_a_worker_unless_more_are_asked_for(backend):
    assert with_three_of_torch() == 3
    with joblib.parallel_config(backend, n_jobs=2):
        for n_threads, expected in ((None, [1, 1]), (2, [2, 2])):
            calls = [joblib.delayed(with_three_of_torch)(n_threads) for _ in range(2)]
            assert joblib.Parallel()(calls) == expected


def test_a_search_tells_of_one_thread_in_its_workers(many_cores):
    seen = []

    def scoring(estimator, X, y=None):
        seen.append(estimator.resolved_params_["n_threads"])
        return 0.0

    search = GridSearchCV(
        small(n_threads=None, max_epochs=1),
        {"learning_rate": [0.01]},
        cv=2,
        n_jobs=2,
        scoring=scoring,
    )
    with joblib.parallel_config("threading"):
        search.fit(X)
    assert seen == [1, 1]


# -- where -----------------------------------------------------------------------------


METHODS = {
    "fit": lambda model: clone(model).fit(X),
    "partial_fit": lambda model: model.partial_fit(MORE),
    "score": lambda model: model.score(X),
    "predict": lambda model: model.predict(X),
    "predict_topk": lambda model: model.predict_topk(X, k=3, exclude_seen=True),
    "rank_targets": lambda model: model.rank_targets(X),
    "decision_function": lambda model: model.decision_function(X),
    "session_vectors": lambda model: model.session_vectors(X),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_number_of_threads_holds_in_every_method(name, many_cores, monkeypatch):
    """One is the caller alone; of several each runs torch on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for n_threads in (1, 3):
            model = small(n_threads=n_threads, max_epochs=2).fit(X)
            threads, of_torch = set(), set()
            mm = torch.mm

            def spied(*args, seen=(threads, of_torch), mm=mm, n=n_threads, **options):
                seen[0].add(threading.get_ident())
                seen[1].add(torch.get_num_threads())
                deadline = time.monotonic() + (10 if n > 1 else 0)
                while len(seen[0]) < 2 and time.monotonic() < deadline:
                    time.sleep(0.001)  # until another thread has come to its turn
                return mm(*args, **options)

            with monkeypatch.context() as patch:
                patch.setattr(torch, "mm", spied)
                METHODS[name](model)
            assert of_torch <= {1}
            if name != "session_vectors":  # it has no large product
                assert (len(threads) > 1) == (n_threads > 1)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_the_number_of_threads_changes_no_bit(backbone, many_cores):
    one, three = (small(backbone, n_threads=n, max_epochs=1).fit(X) for n in (1, 3))
    for name, value in one._fitted.model.state_dict().items():
        assert torch.equal(value, three._fitted.model.state_dict()[name]), name
    for method in ("decision_function", "rank_targets", "predict_topk"):
        np.testing.assert_array_equal(
            getattr(one, method)(X), getattr(three, method)(X)
        )
    assert one.resolved_params_["n_threads"] == 1
    assert three.resolved_params_["n_threads"] == 3


@pytest.mark.parametrize("loss", ["cross_entropy", SampledSoftmax(9)])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_nor_in_other_losses_and_precisions(loss, precision, many_cores):
    one, three = (
        small(n_threads=n, max_epochs=2, loss=loss, precision=precision).fit(X)
        for n in (1, 3)
    )
    np.testing.assert_array_equal(one.decision_function(X), three.decision_function(X))


def test_a_baseline_ranks_alike_with_all_threads(many_cores, monkeypatch):
    model = SessionKNN().fit(X)
    shared = model.rank_targets(X), model.predict_topk(X, k=4)
    monkeypatch.setattr(_threads, "cpu_count", lambda: 1)
    np.testing.assert_array_equal(model.rank_targets(X), shared[0])
    np.testing.assert_array_equal(model.predict_topk(X, k=4), shared[1])


def test_steps_over_many_events_have_the_threads_of_torch(many_cores, monkeypatch):
    before, encode, found = torch.get_num_threads(), GRU4RecNetwork.encode, set()
    torch.set_num_threads(2)

    def spied(self, x, batch):
        found.add((self.training, torch.get_num_threads()))
        return encode(self, x, batch)

    monkeypatch.setattr(GRU4RecNetwork, "encode", spied)
    try:
        for long, n_threads, expected in ((0, 3, 3), (0, 1, 1), (10**9, 3, 1)):
            monkeypatch.setattr(_threads, "_LONG", long)
            found.clear()
            small(n_threads=n_threads, max_epochs=1).fit(X).rank_targets(X)
            assert found == {(True, expected), (False, 1)}
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_small_work_is_not_shared(monkeypatch):
    monkeypatch.setattr(_threads, "cpu_count", lambda: 8)
    with Workers(4) as workers:
        found = workers.map(lambda _: threading.get_ident(), range(50), size=10)
        assert set(found) == {threading.get_ident()}


def test_equal_prefixes_share_their_product(monkeypatch):
    model, rows = small(max_epochs=1).fit(X), []
    scores = SessionModel.scores

    def counted(self, state, keys, out=None):
        rows.append(len(state))
        return scores(self, state, keys, out)

    monkeypatch.setattr(SessionModel, "scores", counted)
    first, second = X.to_lists()[:2]
    asked = [first, second] * 40
    alone = model.predict_topk([first, second], k=5)
    rows.clear()
    np.testing.assert_array_equal(
        model.predict_topk(asked, k=5), np.tile(alone, (40, 1))
    )
    targets = [first[0], second[0]] * 20 + [second[0], first[0]] * 20
    ranks = model.rank_targets(asked, targets)
    assert sum(rows) == 4
    expected = [
        model.rank_targets([row], [target])[0]
        for row, target in zip(asked, targets, strict=True)
    ]
    np.testing.assert_array_equal(ranks, expected)


def test_filters_of_equal_prefixes_are_their_own():
    model = small(max_epochs=1).fit(X)
    row, ids = X.to_lists()[0], model.item_ids_.tolist()
    allowed = [ids[i : i + 3] for i in range(30)]
    found = model.predict_topk([row] * 30, k=3, allow=allowed)
    for items, some in zip(found, allowed, strict=True):
        assert set(items) == set(some)


# -- sharing ---------------------------------------------------------------------------


def test_results_are_in_order_and_without_gradients(many_cores):
    weight = torch.ones(3, requires_grad=True)
    with Workers(4) as workers:
        found = workers.map(lambda i: weight * i, range(100))
    assert [int(one[0]) for one in found] == list(range(100))
    assert not any(one.requires_grad for one in found)


def test_an_error_in_any_thread_is_raised_and_ends_the_work(many_cores):
    done = []

    def fails(i):
        time.sleep(0.002)
        done.append(i)
        if i == 5:
            raise ValueError("of task 5")

    with Workers(3) as workers:
        with pytest.raises(ValueError, match="of task 5"):
            workers.map(fails, range(200))
        finished = len(done)
        time.sleep(0.02)
        assert len(done) == finished < 50  # no thread works on
        assert workers.map(lambda i: i, range(9)) == list(range(9))


def test_a_thread_that_got_no_core_is_not_waited_for(many_cores):
    """The other threads take its tasks, however long it stays away."""
    with Workers(2) as workers:
        workers.map(lambda i: i, range(4))
        busy = threading.Event()
        blocked = workers._pool.submit(busy.wait, 30)
        begun = time.perf_counter()
        assert workers.map(lambda i: i, range(6)) == list(range(6))
        assert time.perf_counter() - begun < 10
        busy.set()
        blocked.result()


def test_a_block_within_another_shares_its_threads(many_cores):
    with Workers(3) as outer:
        with Workers(1) as inner:
            assert inner is outer
        assert torch.get_num_threads() == 1


# -- waiting for cores -----------------------------------------------------------------


def test_ranking_in_inference_mode(many_cores):
    """Which is of the calling thread alone, so that others could not write."""
    model = small(n_threads=3, max_epochs=1).fit(X)
    expected = model.rank_targets(X), model.predict_topk(X, k=3, exclude_seen=True)
    with torch.inference_mode():
        np.testing.assert_array_equal(model.rank_targets(X), expected[0])
        found = model.predict_topk(X, k=3, exclude_seen=True)
        np.testing.assert_array_equal(found, expected[1])
        few = model.predict_topk(X.to_lists()[:2], k=3, exclude_seen=True)
        np.testing.assert_array_equal(few, expected[1][:2])
        assert torch.is_inference_mode_enabled()


def test_a_blend_follows_the_smallest_number_of_its_members(many_cores):
    members = [(str(n), small(n_threads=n, max_epochs=1)) for n in (3, 2, None)]
    assert VotingRecommender(members)._most_threads() is None
    assert VotingRecommender(members).fit(X)._most_threads() == 2


def test_networks_of_others_are_read_by_one_thread(many_cores, monkeypatch):
    class Own(Backbone):
        threads = set()

        def encode(self, x, batch):
            if not self.training:
                self.threads.add(threading.get_ident())
            return batch.last(x)

    class OwnSpec(BackboneSpec):
        def build(self, embedding_dim, n_items, max_length):
            return Own()

    model = small(OwnSpec(), n_threads=3, max_epochs=1).fit(X)
    model.rank_targets(X)
    assert Own.threads == {threading.get_ident()}


def fit_with(monkeypatch, ran, n_threads):
    """Messages of a fit whose process ran for a share of the time."""
    clock = time.perf_counter
    monkeypatch.setattr(_threads, "_ENOUGH_SECONDS", 0.0)
    monkeypatch.setattr(_threads.time, "process_time", lambda: ran * clock())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small(n_threads=n_threads, max_epochs=3).fit(X)
    return [w.message for w in caught if "waits for CPU cores" in str(w.message)]


def test_a_fit_that_waits_for_cores_says_so_once(many_cores, monkeypatch):
    (message,) = fit_with(monkeypatch, 0.3, 2)
    assert isinstance(message, TrainingWarning)
    assert "up to 2 threads had work" in str(message)
    assert "pass n_threads=1" in str(message)
    (message,) = fit_with(monkeypatch, 0.3, 1)
    assert "30%" in str(message)
    assert "n_threads=1" not in str(message)


def test_a_fit_with_its_cores_says_nothing(monkeypatch):
    assert fit_with(monkeypatch, 0.95, 1) == []


# -- precision -------------------------------------------------------------------------


def test_auto_is_what_is_clearly_faster(monkeypatch):
    cpu = torch.device("cpu")
    for gain, expected in ((0.4, "float32"), (1.2, "float32"), (1.4, "bf16")):
        monkeypatch.setattr(_devices, "_gain_of_bf16", lambda gain=gain: gain)
        assert resolve_precision("auto", cpu) == expected
        assert resolve_precision("bf16", cpu) == "bf16"
        assert resolve_precision("float32", cpu) == "float32"
        model = CLIPSessionRecommender(max_epochs=1, repeats=False).fit(X)
        assert model.resolved_params_["precision"] == expected


def test_both_precisions_are_timed_once_in_a_process():
    _devices._timed_gain.cache_clear()
    begun = time.process_time()
    gains = [_devices._gain_of_bf16() for _ in range(3)]
    assert gains[0] > 0
    assert gains == gains[:1] * 3
    assert _devices._timed_gain.cache_info().misses == 1
    assert time.process_time() - begun < 2.0  # on a slow and busy CPU


def test_first_calls_do_not_count_and_slow_precisions_are_soon_known(monkeypatch):
    def gain(of_single, of_low):
        """The gain if calls take so many seconds, and the number of calls."""
        seconds, calls = {torch.float32: of_single, torch.bfloat16: of_low}, []
        monkeypatch.setattr(_devices, "_products", lambda dtype: dtype)

        def seconds_of(dtype):
            calls.append(dtype)
            rest = calls.count(dtype) - 1
            return seconds[dtype][min(rest, len(seconds[dtype]) - 1)]

        monkeypatch.setattr(_devices, "_seconds_of", seconds_of)
        _devices._timed_gain.cache_clear()
        return _devices._timed_gain(), len(calls)

    try:
        assert gain([9.0, 4.0, 3.0], [90.0, 2.0, 1.0]) == (3.0, 14)
        assert gain([1.0], [5.0]) == (0.2, 4)
    finally:
        _devices._timed_gain.cache_clear()


def test_a_gpu_without_bfloat16_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    cuda = torch.device("cuda")
    assert resolve_precision("auto", cuda) == "float32"
    with pytest.raises(ValueError, match=r"Some GPU has no bfloat16.*'float32'"):
        resolve_precision("bf16", cuda)


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_a_number_of_threads_is_one_or_more(value):
    with pytest.raises(ValueError, match=rf"'n_threads' parameter.*Got {value}"):
        CLIPSessionRecommender(n_threads=value).fit(X)
