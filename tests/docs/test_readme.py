"""What the README shows runs, and what it points to is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the last one saves a model
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["rec"].predict_topk([["a", "b"]], k=3).shape == (1, 3)
    assert (tmp_path / "model.skclip").exists()


def test_links_and_files_exist():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    targets += re.findall(r"`((?:examples|benchmarks|docs)/[^`*]*)`", README)
    assert len(targets) > 5
    for target in targets:
        assert (ROOT / target).exists(), target


def test_tables_are_those_of_the_results():
    """The README's numbers come from committed results, by script."""
    import json

    rows = json.loads(
        (ROOT / "benchmarks/report/results/first_table.json").read_text()
    )["rows"]
    table = README.split("<!-- table: first_table -->")[1].split("<!-- end")[0]
    for name in {row["model"] for row in rows}:
        values = [row["mrr@20"] for row in rows if row["model"] == name]
        (line,) = [x for x in table.splitlines() if x.startswith(f"| {name} |")]
        assert f"{sum(values) / len(values):.3f}" in line
