"""Checkpoints of the candidates of a search, and what may stand at the path."""

import json
import os
import socket
import stat
import sys

import joblib
import numpy as np
import pytest
from common import same, small
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate

import skclip
from skclip import VotingRecommender
from skclip._training import _trainer
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit

X, _ = make_sessions(n_sessions=90, n_items=20, random_state=0)
GRID = {"learning_rate": [0.003, 0.01, 0.03]}
EPOCHS = 3


def searched(path=None, n_jobs=None):
    model = small(embedding_dim=8, max_epochs=EPOCHS, checkpoint=path)
    return GridSearchCV(
        model, GRID, cv=TemporalSplit(2), n_jobs=n_jobs, error_score="raise"
    )


@pytest.fixture(scope="module")
def expected():
    search = searched().fit(X)
    return search.cv_results_["mean_test_score"], search.best_estimator_


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run[1].skclip"  # brackets mean something in a glob


@pytest.fixture
def epochs(monkeypatch):
    """Count epochs, and stop at one of them by an error or by the keyboard."""

    class Epochs:
        n, stop, error = 0, None, None

    train = _trainer._Run.epoch

    def epoch(run):
        if Epochs.n == Epochs.stop:
            raise Epochs.error
        Epochs.n += 1
        train(run)

    monkeypatch.setattr(_trainer._Run, "epoch", epoch)
    return Epochs


def check(search, expected, path):
    scores, best = expected
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], scores)
    same(search.best_estimator_, best, X[:9])
    assert list(path.parent.iterdir()) == []  # the refit has removed all files


@pytest.mark.parametrize("n_jobs", [None, 2], ids=["one job", "two jobs"])
def test_each_candidate_of_a_search_has_a_file_of_its_own(n_jobs, path, expected):
    check(searched(path, n_jobs).fit(X), expected, path)


def test_candidates_in_threads_do_not_meet(path, expected):
    with joblib.parallel_config("threading", n_jobs=3):
        check(searched(path).fit(X), expected, path)


@pytest.mark.parametrize(
    ("stop", "error"),
    [
        (1, RuntimeError("power cut")),
        (7, KeyboardInterrupt()),
        (16, KeyboardInterrupt()),
        (20, RuntimeError("power cut")),
    ],
    ids=["first candidate", "third fit", "sixth fit", "refit"],
)
def test_an_interrupted_search_goes_on_when_it_is_run_again(
    stop, error, path, epochs, expected
):
    epochs.stop, epochs.error = stop, error
    with pytest.raises(type(error)):
        searched(path).fit(X)
    assert path.exists() == (stop > 6 * EPOCHS + 1)
    epochs.n, epochs.stop = 0, None
    check(searched(path).fit(X), expected, path)
    assert epochs.n == 7 * EPOCHS - stop  # nothing is trained twice


def test_a_search_of_two_jobs_goes_on_where_one_job_was(path, epochs, expected):
    epochs.stop, epochs.error = 8, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        searched(path).fit(X)
    files = len(list(path.parent.iterdir()))
    assert files == 3  # two fits are done, the third has begun
    epochs.stop = None
    check(searched(path, n_jobs=2).fit(X), expected, path)


def test_folds_without_a_refit_leave_their_files_to_the_next_fit(path):
    model = small(embedding_dim=8, max_epochs=2, checkpoint=path)
    found = cross_validate(model, X, cv=TemporalSplit(2), error_score="raise")
    plain = clone(model).set_params(checkpoint=None)
    expected = cross_validate(plain, X, cv=TemporalSplit(2))
    np.testing.assert_array_equal(found["test_score"], expected["test_score"])
    assert len(list(path.parent.iterdir())) == 2
    other = path.with_name("run.skclip.notes")  # not ours
    other.write_text("")
    model.fit(X)
    assert list(path.parent.iterdir()) == [other]


def test_members_of_a_vote_follow_each_other_at_one_path(path):
    members = [(f"m{i}", small(embedding_dim=8, random_state=i)) for i in range(2)]
    expected = VotingRecommender(members).fit(X)
    for _, member in members:
        member.set_params(checkpoint=path)
    same(VotingRecommender(members).fit(X), expected, X[:9])
    assert not path.exists()


# -- what may stand there --------------------------------------------------------------


@pytest.fixture
def fifo(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs a POSIX system")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_save_and_checkpoint_leave_named_pipes_alone(fifo, fitted):
    link = fifo.with_name("link")
    link.symlink_to(fifo)
    for path in (fifo, link):
        with pytest.raises(ValueError, match="not a regular file.* Pass another path"):
            skclip.save(fitted, path)
        model = small(checkpoint=path)
        with pytest.raises(ValueError, match="not a regular file. Pass another path"):
            model.fit(X)
        with pytest.raises(ValueError, match="not a regular file. Pass another path"):
            GridSearchCV(model, GRID, cv=2, error_score="raise").fit(X)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert sorted(fifo.parent.iterdir()) == [link, fifo]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
def test_sockets_and_folders_are_left_alone_too(tmp_path, fitted, monkeypatch):
    monkeypatch.chdir(tmp_path)  # paths of sockets must be short
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name in ("socket", "folder"):
            with pytest.raises((ValueError, OSError)):
                skclip.save(fitted, name)
            with pytest.raises(ValueError, match="not a regular file|is a folder"):
                small(checkpoint=name).fit(X)
        assert stat.S_ISSOCK(os.stat("socket").st_mode)
    assert sorted(os.listdir()) == ["folder", "socket"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
def test_regular_files_and_links_to_them_are_replaced(tmp_path, fitted):
    path, link = tmp_path / "model", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o600)
    link.symlink_to(path)
    skclip.save(fitted, link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    same(skclip.load(path), fitted, X[:9])


def test_files_do_not_carry_what_was_told(tmp_path, fitted):
    """Warnings are remembered outside: predicting does not change the file."""
    skclip.save(fitted, tmp_path / "before")
    fitted.predict_topk([["never seen"], [1], []])
    skclip.save(fitted, tmp_path / "after")
    before, after = ((tmp_path / n).read_bytes() for n in ("before", "after"))
    assert before == after
    assert json.dumps("never seen").encode() not in after
