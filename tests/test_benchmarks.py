"""Benchmark scripts: who may read test parts, public names only, a command each."""

import ast
import importlib
import json
import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pandas")
ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
FILES = sorted(BENCHMARKS.rglob("*.py"))
SCRIPTS = [p for p in FILES if p.parent != BENCHMARKS and not p.name.startswith("_")]
TEST_PARTS = "benchmarks.report._test_parts"
READS_DATA = {BENCHMARKS / "_data.py", BENCHMARKS / "report" / "_test_parts.py"}
SIMULATES_FILES = {BENCHMARKS / "speed" / "pairs.py"}  # it reads what it has written


def name(path):
    return path.relative_to(BENCHMARKS).as_posix()


@cache
def tree(path):
    return ast.parse(path.read_text("utf-8"))


def nodes(path, kind):
    return [node for node in ast.walk(tree(path)) if isinstance(node, kind)]


def imported(path):
    """Pairs of a module and a name in it, or None for the module itself."""
    pairs = []
    for node in nodes(path, (ast.Import, ast.ImportFrom)):
        if isinstance(node, ast.Import):
            pairs += [(alias.name, None) for alias in node.names]
        else:
            assert node.level == 0, f"{name(path)}: relative import"
            pairs += [(node.module, alias.name) for alias in node.names]
    return pairs


def texts(path):
    """All texts of a file but its docstrings."""
    of_docstrings = {
        id(node.body[0].value)
        for node in nodes(path, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if ast.get_docstring(node)
    }
    return [
        node.value
        for node in nodes(path, ast.Constant)
        if isinstance(node.value, str) and id(node) not in of_docstrings
    ]


def test_there_are_scripts_in_three_folders():
    assert {p.parent.name for p in SCRIPTS} == {"speed", "choose", "report"}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_parts_for_testing_are_imported_in_report_alone(path):
    if path.parent.name != "report":
        for module, what in imported(path):
            assert not f"{module}.{what}".startswith("benchmarks.report")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_data_are_read_in_two_modules(path):
    """No script opens a file of data; what it may have, its loader hands out."""
    if path in READS_DATA | SIMULATES_FILES:
        return
    called = {node.attr for node in nodes(path, ast.Attribute)}
    called |= {node.id for node in nodes(path, ast.Name)}
    readers = {"read_parquet", "read_csv", "read_table", "scan_parquet", "data_home"}
    assert not readers & (called | {what for _, what in imported(path)})
    assert not any("SKCLIP_DATA" in t or ".parquet" in t for t in texts(path))


def test_the_common_loader_knows_no_test_part():
    path = BENCHMARKS / "_data.py"
    assert not any("test" in text for text in texts(path))
    assert TEST_PARTS not in {module for module, _ in imported(path)}


def test_the_common_loader_refuses_a_test_part(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks import _data

    with pytest.raises(ValueError, match="test"):
        _data.rsc15("train_tr", "test")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_only_public_names_of_skclip(path):
    for module, what in imported(path):
        if module.split(".")[0] != "skclip":
            continue
        assert not any(part.startswith("_") for part in module.split("."))
        home = importlib.import_module(module)
        if what is not None:
            assert what in home.__all__, f"{module} has no public {what}"
    for node in nodes(path, ast.Attribute):
        ours = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        private = node.attr.startswith("_") and not node.attr.startswith("__")
        assert ours or not private, f"line {node.lineno}: {node.attr}"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_script_has_a_command(path, monkeypatch, capsys):
    """It can be imported without running, and --help says what it does."""
    guard = tree(path).body[-1]
    assert ast.unparse(guard) == "if __name__ == '__main__':\n    main()"
    monkeypatch.syspath_prepend(ROOT)
    module = f"benchmarks.{path.parent.name}.{path.stem}"
    script = importlib.import_module(module)
    assert module in script.__doc__
    monkeypatch.setattr(sys, "argv", [path.stem, "--help"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0
    assert script.__doc__.split()[0] in capsys.readouterr().out


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_script_is_in_the_list(path):
    assert f"`{name(path)}`" in (BENCHMARKS / "README.md").read_text("utf-8") or (
        path.stem == "peer_recbole"
    )


def test_old_rows_are_read_with_the_names_of_today(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks._results import OLD_NAMES, current_names
    from skclip import CLIPSessionRecommender, Fusion

    assert current_names({"gate": "add", "max_epochs": 6}) == {
        "prompt__gate": "add",
        "max_epochs": 6,
    }
    model = CLIPSessionRecommender(loss="sampled_softmax", item_features=Fusion(None))
    assert set(OLD_NAMES.values()) <= set(model.get_params())


def test_pages_cite_files_that_are_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    pages += [*(ROOT / "docs/guide").glob("*.md"), *(BENCHMARKS / "lab").glob("*.md")]
    cited = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"`(benchmarks/[^`*]*)`", page.read_text("utf-8"))
    ]
    assert len(cited) > 20
    assert not [
        (page, target) for page, target in cited if not (ROOT / target).exists()
    ]


def test_docstrings_cite_no_benchmark():
    """A wheel has none of them."""
    for path in (ROOT / "skclip").rglob("*.py"):
        assert "benchmarks/" not in path.read_text("utf-8"), path.name


def test_lists_that_differ_among_ties_agree(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.speed.gpu import compared

    def ranked(column_lists, ranks, last=0.0):
        scores = np.array([[1.0, 0.5, 0.5, last]] * 2)
        lists, targets = np.array(column_lists), np.array([1, 3])
        return {"scores": scores, "lists": lists, "targets": targets, "ranks": ranks}

    expected = ranked([[0, 1], [0, 1]], np.array([3, 4]))
    among_ties = ranked([[0, 2], [0, 1]], np.array([2, 4]), last=1e-5)
    row = compared(expected, among_ties)
    assert row["lists_that_differ"] == row["ranks_that_differ"] == 1
    assert row["lists_beyond_ties"] == row["ranks_beyond_ties"] == 0
    assert row["largest_difference"] == pytest.approx(1e-5)
    row = compared(expected, ranked([[0, 3], [1, 0]], np.array([1, 3])))
    assert row["lists_beyond_ties"] == row["ranks_beyond_ties"] == 2


@pytest.mark.slow
def test_gpu_script_runs_to_its_end_on_a_cpu(monkeypatch, tmp_path, capsys):
    pytest.importorskip("torch", "2.13", reason="needs torch 2.13")
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.speed import gpu

    path = tmp_path / "gpu.json"
    arguments = ["--tiny", "--device", "cpu", "--backbones", "gru4rec", "tagnn"]
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments, "--output", str(path)])
    gpu.main()
    found = json.loads(path.read_text("utf-8"))
    assert not found["failed"]
    assert not found["skipped"]
    assert found["environment"]["device"] == "cpu"
    counts = {section: len(rows) for section, rows in found["rows"].items()}
    assert counts == {"agreement": 2, "files": 1, "training": 9, "loss step": 8}
    assert "tagnn" in capsys.readouterr().out


def test_gpu_script_without_a_device_says_what_to_pass(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.speed import gpu

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="--device cpu --tiny"):
        gpu.main()
