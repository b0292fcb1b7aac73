"""Each example of the gallery runs as a script, in a process of its own."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
FAST = {"plot_item_clusters"}  # the others run with -m slow
SEEDED = ("make_sessions", "make_titled_sessions", "SKCLIP_DATA")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem in FAST else pytest.mark.slow)
        for path in EXAMPLES
    ],
    ids=lambda path: path.stem,
)
def test_example_runs(path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", path.name],
        cwd=path.parent,
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_a_question_with_an_answer(path):
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    title, line = docstring.splitlines()[:2]
    assert set(line) == {"="}
    assert len(line) == len(title)
    for part in ("**Question.**", "**Answer.**"):
        assert part in docstring
    assert "\n# %%\n" in text
    assert any(word in text for word in SEEDED)
    scored = ".score(" in text or "SessionScorer" in text or "evaluate(" in text
    assert "PopularityRecommender" in text or not scored
    assert "plt.show()" in text or "print(" in text


def test_there_are_examples():
    assert len(EXAMPLES) >= 8
    assert {path.stem for path in EXAMPLES} >= FAST
