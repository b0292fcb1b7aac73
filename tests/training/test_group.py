"""Two processes fit together: what is equal, and what may go wrong."""

import re

import group
import numpy as np
import sklearn
import torch
from group import model, outcomes, sessions, told
from sklearn.model_selection import GridSearchCV

from skclip._training import resolve_device
from skclip.backbones import BACKBONES
from skclip.losses import SampledSoftmax

LOSSES = ("sampled_softmax", "gbce", "bpr", "bpr-max", "bpr-softmax")
HAS_CALLBACKS = sklearn.__version__ >= "1.9"
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


def run(folder, *cases):
    """For each case what the processes answer, in order of rank."""
    found = outcomes(cases, folder)
    return [[of_rank[case] for of_rank in found] for case in cases]


def test_every_backbone_is_fitted_as_by_one_process(tmp_path):
    found = run(tmp_path, *(f"fit:{name}:cross_entropy" for name in SHARED))
    for name, of_all in zip(SHARED, found, strict=True):
        check(told(model(name, loss="cross_entropy").fit(sessions())), of_all)


def test_every_loss_is_that_of_one_process(tmp_path):
    cases = [f"fit:gru4rec:{loss}" for loss in LOSSES]
    cases += ["further:cross_entropy", "further:sampled_softmax"]
    cases += ["weighted", "repeats", "one_row", "callable_scoring"]
    for case, of_all in zip(cases, run(tmp_path, *cases), strict=True):
        name, *options = case.split(":")
        check(getattr(group, name)(0, tmp_path, *options), of_all)


def test_what_is_drawn_for_rows_differs_between_processes(tmp_path):
    """Then it is another draw than in one process; all have the same model still."""
    dropout, sampled, no_seed = run(
        tmp_path, "dropout:sampled_softmax", "own_samples", "no_seed"
    )
    for first, second in (dropout, sampled, no_seed):
        assert first == second
        assert np.isfinite(first["losses"]).all()
    alone = model(loss=SampledSoftmax(16, shared=False)).fit(sessions())
    losses = np.array(told(alone)["losses"])
    assert 0 < np.abs(losses - sampled[0]["losses"]).max() < 0.2


WRONG = {
    "other_data": "ValueError: Process 1 .* differ in what they fit: .*sessions",
    "other_parameters": "differ in what they fit: parameter learning_rate",
    "other_version": "Process 1 .* differ in versions: skclip",
    "one_fails": "Process 1 of the group failed: ValueError: All 2 sessions",
    "clustering_fails": "Process 0 of the group failed: ValueError: no clusters today",
    "lessr": "LESSRNetwork normalizes by the statistics of a whole batch",
    "not_finite": "ValueError: The loss became",
}
OWN = {  # where it is the error itself
    "one_fails": (1, "^ValueError: All 2 sessions"),
    "clustering_fails": (0, "^ValueError: no clusters today"),
}


def test_what_goes_wrong_reaches_all_and_what_ends_a_run_ends_all(tmp_path):
    endings = ("max_time", "callback", "interrupt", "search", "verbose")
    found = run(tmp_path, *WRONG, *endings)
    for case, of_all in zip(WRONG, found, strict=False):
        for rank, message in enumerate(of_all):
            at, own = OWN.get(case, (None, ""))
            assert re.search(own if rank == at else WRONG[case], message), message
    late, stopped, interrupted, searched, shown = found[len(WRONG) :]
    assert late[0] == late[1]
    assert 0 < len(late[0]["losses"]) < 100_000
    assert stopped[0] == stopped[1]
    assert len(stopped[0]["losses"]) == (1 if HAS_CALLBACKS else 50)
    assert interrupted[0] == interrupted[1]
    assert interrupted[0]["warned"]
    assert 0 < len(interrupted[0]["losses"]) < 100_000
    for rank, scores in enumerate(searched):
        grid = {"learning_rate": [0.003 * (1 + rank), 0.02]}
        X = sessions()[: 120 + 30 * rank]
        alone = GridSearchCV(model(), grid, cv=2, refit=False).fit(X)
        assert scores == alone.cv_results_["mean_test_score"].tolist()
    assert shown == [True, False]


def test_the_first_process_writes_checkpoints_for_all(tmp_path):
    (found,) = run(tmp_path, "checkpoint")
    assert [of_rank["written"] for of_rank in found] == [[1, 2], []]
    assert "OSError: the disk is gone" in found[0]["error"]
    assert "Process 0 of the group failed: OSError" in found[1]["error"]
    for of_rank in found:
        assert of_rank["resumed"] == of_rank["whole"] == found[0]["whole"]
        assert not of_rank["left"]


def test_the_gpu_of_a_process_is_that_of_its_local_rank(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert resolve_device("auto") == torch.device("cuda")  # there is no group
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert resolve_device("auto") == torch.device("cuda:3")
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "4")  # a launcher that shows each its own GPU
    assert resolve_device("auto") == torch.device("cuda")
