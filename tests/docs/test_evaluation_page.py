"""The code of docs/evaluation.md runs, and what it says of it is true."""

import re
from pathlib import Path

import pytest

import skclip

ROOT = Path(skclip.__file__).parents[1]
PAGE = (ROOT / "docs" / "evaluation.md").read_text()


@pytest.fixture(scope="module")
def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_runs(blocks, capsys):
    assert len(blocks) == 8
    names, frames, printed = {}, [], []
    for block in blocks:
        exec(compile(block, "docs/evaluation.md", "exec"), names)
        frames.append(names["frame"])
        printed.append(capsys.readouterr().out)
    assert printed[0].startswith("LeakageReport: no leak found")
    first = frames[0].set_index(["estimator", "metric"])
    assert len(first) == 8
    assert first.difference_lower["CLIP-GRU4Rec", "mrr@20"] > 0
    assert printed[1].count("sessions train") == 3
    assert printed[3].splitlines() == [
        "pessimistic 0.0",
        "average 0.0",
        "optimistic 1.0",
    ]
    assert frames[4].estimator.unique().tolist() == ["popularity", "searched"]
    assert "LEAK  counts" in printed[5]
    assert frames[6].group.tolist() == ["0", "1-5", "6-20", ">20"]
    assert frames[6].value[0] == 0  # out of reach
    assert len(frames[7]) == 3


def test_links_exist():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", PAGE)
    assert len(targets) >= 2
    for target in targets:
        assert (ROOT / "docs" / target).exists(), target


def test_its_names_are_public():
    import skclip.metrics
    import skclip.model_selection

    names = set(re.findall(r"from skclip\.model_selection import (.+)", PAGE))
    for name in {part.strip() for line in names for part in line.split(",")}:
        assert name in skclip.model_selection.__all__
