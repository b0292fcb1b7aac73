"""Who may import whom, read from the sources; and what an import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skclip

ROOT = Path(skclip.__file__).parent
GROUND = {"_fork", "_warnings", "_sklearn", "_typing", "_base", "_inside", "_container"}
GROUND |= {"exceptions", "_cache"}
DATA = GROUND | {"_data"}
ABOVE_DATA = DATA | {"metrics", "text", "_clusters", "preprocessing"}
# Each package or file at the top of skclip, and what of skclip it may import.
ALLOWED = {
    "exceptions": set(),
    "_fork": set(),
    "_warnings": {"_fork"},
    "_sklearn": set(),
    "_typing": {"_data"},  # for type checkers only
    "_base": {"_sklearn", "_typing", "_warnings"},
    "_inside": {"_sklearn", "_typing"},
    "_container": {"_sklearn"},
    "_cache": set(),
    "_threads": {"_fork"},
    "_data": GROUND,
    "metrics": DATA,
    "text": DATA,
    "preprocessing": DATA,
    "_clusters": DATA,
    "backbones": {"_sklearn", "_typing"},
    "_model": DATA | {"_clusters", "_threads", "backbones"},
    "_ranking": DATA | {"metrics", "_threads"},
    "_training": DATA | {"_model", "_threads", "backbones"},
    "_clip": ABOVE_DATA | {"backbones", "_model", "_threads", "_training", "_ranking"},
    "losses": {"_training"},
    "features": ABOVE_DATA,
    "controls": ABOVE_DATA,
    "baselines": ABOVE_DATA | {"_ranking"},
    "ensemble": ABOVE_DATA | {"_ranking", "baselines"},
    "llm": ABOVE_DATA | {"_ranking"},
    "rerank": ABOVE_DATA | {"_ranking"},
    "model_selection": ABOVE_DATA,
    "datasets": ABOVE_DATA,
    "inspection": ABOVE_DATA | {"_ranking", "_model", "backbones"},
    "persistence": None,  # it sits on top
    "serve": GROUND | {"_data", "_ranking", "inspection", "persistence"},
    "scoring": None,  # it opens what persistence wrote
    "export": None,  # and so does this
}
NO_TORCH = {*DATA, "metrics", "text", "preprocessing", "_clusters"} | {
    "datasets",
    "model_selection",
    "controls",
    "features",
}
OPTIONAL = {
    "pandas",
    "polars",
    "pyarrow",
    "matplotlib",
    "openai",
    "httpx2",
    "fastapi",
    "pydantic",
    "uvicorn",
    "sentence_transformers",
    "pooch",
    "py7zr",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "dask",
    "distributed",
    "duckdb",
    "networkit",
    "graspologic_native",
    "pyspark",
    "ray",
    # Required, but under the GPL: who removes them must still import skclip.
    "igraph",
    "leidenalg",
}
ENGINES_OF_CLUSTERS = {"igraph", "leidenalg", "networkit", "graspologic_native"}
FILES = sorted(ROOT.rglob("*.py"))


def place(path):
    """The package or file at the top of skclip that a source belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree):
    """Names of imported modules, and of what is imported from skclip itself."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            if node.module == "skclip":
                names += [f"skclip.{alias.name}" for alias in node.names]
            else:
                names.append(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_follow_the_flow(path):
    here = place(path)
    assert here in {*ALLOWED, "__init__"}, f"say in ALLOWED what {here} may import"
    for name in imported(ast.parse(path.read_text("utf-8"))):
        top, _, rest = name.partition(".")
        assert top not in {"tests", "examples", "benchmarks"}
        assert top != "torch" or here not in NO_TORCH
        assert top not in ENGINES_OF_CLUSTERS or here == "_clusters"
        if top != "skclip" or here == "__init__":
            continue
        there, _, inner = rest.partition(".")
        if there == here:
            continue
        assert not inner, f"import from skclip.{there}, not from its files"
        allowed = ALLOWED[here]
        assert allowed is None or there in allowed, f"{here} imports {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_optional_package_at_import_time(path):
    if place(path) == "serve" and path.name != "__init__.py":
        return  # its __init__ imports nothing of it before it has FastAPI
    for node in ast.parse(path.read_text("utf-8")).body:  # those in functions are lazy
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            tops = {name.split(".")[0] for name in imported(node)}
            assert not OPTIONAL & tops


@pytest.mark.parametrize(
    "path", sorted((ROOT / "backbones").glob("_[a-z]*.py")), ids=lambda p: p.name
)
def test_backbones_stand_alone(path):
    shared = ("base", "parameters", "published", "transformer")
    shared += (
        "session_graph",
        "gated_graph",
        "global_graph",
        "target_attention",
        "exporting",
    )
    shared = {f"skclip.backbones._{name}" for name in shared}
    names = imported(ast.parse(path.read_text("utf-8")))
    ours = {name for name in names if name.startswith("skclip")}
    assert ours <= shared | {"skclip._sklearn", "skclip._typing"}
    if path.name != "_base.py":
        assert not any(name.startswith("sklearn") for name in names)


def test_a_baseline_loads_no_network():
    code = """
import sys, skclip
model = skclip.PopularityRecommender().fit([["a", "b"], ["b", "c"]])
model.predict_topk([["a"]], k=2)
print(*(name for name in sys.modules if name.startswith("skclip.")))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "skclip.baselines" in loaded
    networks = ("skclip._model", "skclip._training", "skclip.backbones", "skclip._clip")
    assert not [name for name in loaded if name.startswith(networks)]


def test_type_checkers_see_all_names():
    body = ast.parse((ROOT / "__init__.py").read_text("utf-8")).body
    block = next(node for node in body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == set(skclip.__all__)
    assert set(skclip.__all__) <= set(dir(skclip))
    assert not [name for name in dir(skclip) if name.startswith("_")][1:]
