"""Two processes fit together: what is equal, and what may go wrong."""

import os
import re
from importlib.util import find_spec

import group
import numpy as np
import pytest
import torch
from filelock import FileLock
from group import N_PROCESSES, model, outcomes, read_outcomes, sessions, told

from skclip._training import resolve_device
from skclip.backbones import BACKBONES
from skclip.losses import SampledSoftmax

HAS_CALLBACKS = find_spec("sklearn.callback") is not None
LOSSES = ("sampled_softmax", "gbce", "bpr", "bpr-max", "bpr-softmax")
EQUAL = [f"fit:gru4rec:{loss}" for loss in LOSSES]
EQUAL += ["further:cross_entropy", "further:sampled_softmax"]
EQUAL += ["weighted", "repeats", "one_row", "callable_scoring"]
OTHER = ("dropout:sampled_softmax", "own_samples", "no_seed")
WRONG = {
    "other_data": "ValueError: Process 1 .* differ in what they fit: .*sessions",
    "other_parameters": "differ in what they fit: parameter learning_rate",
    "other_version": "Process 1 .* differ in what they run: skclip",
    "one_fails": "Process 1 of the group failed: ValueError: All 2 sessions",
    "clustering_fails": "Process 0 of the group failed: ValueError: no clusters today",
    "other_call": "Process 1 .* differ in what they run: fit or partial_fit",
    "clusterer_stays": "Process 0 of the group failed: .*Local",
    "no_memory": "Process 1 of the group failed: MemoryError: no memory today",
    "lessr": "LESSRNetwork normalizes by the statistics of a whole batch",
    "not_finite": "ValueError: The loss became",
}
OWN = {  # where it is the error itself
    "one_fails": (1, "^ValueError: All 2 sessions"),
    "clustering_fails": (0, "^ValueError: no clusters today"),
    "no_memory": (1, "^MemoryError: no memory today"),
    "clusterer_stays": (0, "^(AttributeError|PicklingError): .*Local"),
}
CALLBACKS_FAIL = ("callback_fails:begin", "callback_fails:end")
SHARED = sorted(set(BACKBONES) - {"lessr"})


def check(of_one, of_all, tolerance=1e-4):
    """Processes have the same bits; losses are those of one process, scores too."""
    first, *others = of_all
    assert all(other == first for other in others)
    np.testing.assert_allclose(
        first["losses"], of_one["losses"], rtol=0, atol=tolerance
    )
    assert first["scores"] == of_one["scores"]
    assert first["best"] == of_one["best"]


@pytest.fixture(scope="session")
def answers(tmp_path_factory):
    """What both processes answer to all cases, by case: a list in order of rank.

    Processes start slowly, so that one pair of them answers for the whole run, also
    where several workers of pytest-xdist share the tests out.
    """
    cases = [*(f"fit:{name}:cross_entropy" for name in SHARED), *EQUAL, *OTHER, *WRONG]
    cases += ["max_time", "callback", "interrupt", "search", "verbose", "checkpoint"]
    cases += [*CALLBACKS_FAIL, "own_checkpoint:0", "own_checkpoint:1"]
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers
    folder = folder / "group"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            outcomes(cases, folder)
    found = read_outcomes(folder)
    return {case: [of_rank[case] for of_rank in found] for case in cases}


@pytest.mark.parametrize("backbone", SHARED)
def test_every_backbone_is_fitted_as_by_one_process(backbone, answers):
    alone = model(backbone, loss="cross_entropy").fit(sessions())
    check(told(alone), answers[f"fit:{backbone}:cross_entropy"])


@pytest.mark.parametrize("case", EQUAL)
def test_every_loss_is_that_of_one_process(case, answers, tmp_path):
    name, *options = case.split(":")
    check(getattr(group, name)(0, tmp_path, *options), answers[case])


def test_what_is_drawn_for_rows_differs_between_processes(answers):
    """Then it is another draw than in one process; all have the same model still."""
    for case in OTHER:
        first, second = answers[case]
        assert first == second
        assert np.isfinite(first["losses"]).all()
    alone = model(loss=SampledSoftmax(16, shared=False)).fit(sessions())
    losses = np.array(told(alone)["losses"])
    assert 0 < np.abs(losses - answers["own_samples"][0]["losses"]).max() < 0.2


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_reaches_all(case, answers):
    for rank, message in enumerate(answers[case]):
        at, own = OWN.get(case, (None, ""))
        assert re.search(own if rank == at else WRONG[case], message), message


def test_the_clock_of_the_first_process_ends_all(answers):
    first, second = answers["max_time"]
    assert first == second
    assert 0 < len(first["losses"]) < 100_000


def test_a_callback_of_one_process_stops_all(answers):
    first, second = answers["callback"]
    assert first == second
    assert len(first["losses"]) == (1 if HAS_CALLBACKS else 20)


@pytest.mark.skipif(not HAS_CALLBACKS, reason="needs scikit-learn 1.9 for callbacks")
@pytest.mark.parametrize("case", CALLBACKS_FAIL)
def test_a_callback_of_one_process_that_fails_reaches_all(case, answers):
    error = f"RuntimeError: no {case.partition(':')[2]} today"
    others = f"RuntimeError: Process 1 of the group failed: {error}"
    assert answers[case] == [others, error]


def test_ctrl_c_in_one_process_stops_all(answers):
    first, second = answers["interrupt"]
    assert first == second
    assert first["warned"]
    assert 0 < len(first["losses"]) < 100_000


@pytest.mark.parametrize("rank", range(N_PROCESSES))
def test_a_search_in_a_group_is_alone(rank, answers):
    alone = group.search(rank, None)
    assert answers["search"][rank] == alone


def test_the_first_process_shows_progress(answers):
    assert answers["verbose"] == [True, False]


def test_the_first_process_writes_checkpoints_for_all(answers):
    found = answers["checkpoint"]
    assert [of_rank["written"] for of_rank in found] == [[1, 2], []]
    assert "OSError: the disk is gone" in found[0]["error"]
    assert "Process 0 of the group failed: OSError" in found[1]["error"]
    for of_rank in found:
        assert of_rank["resumed"] == of_rank["whole"] == found[0]["whole"]
        assert not of_rank["left"]


def test_the_first_process_says_whether_there_is_a_checkpoint(answers):
    for owner in (0, 1):
        first, second = answers[f"own_checkpoint:{owner}"]
        written = first.pop("written"), second.pop("written")
        assert written == ((2, 0) if owner == 0 else (0, 0))
        assert first == second


def test_the_gpu_of_a_process_is_that_of_its_local_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert resolve_device("auto") == torch.device("cuda")  # there is no group
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert resolve_device("auto") == torch.device("cuda:3")
    assert resolve_device("cuda") == torch.device("cuda:3")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "4")  # a launcher that shows each its own GPU
    assert resolve_device("auto") == torch.device("cuda")
