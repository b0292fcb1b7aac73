"""The pages: their code runs and does what they say, their links lead somewhere."""

import ast
import doctest
import re
import warnings
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest

import skclip

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if not {"_build", "api", "gallery", "lab", "deviations.md"}
    & set(path.relative_to(ROOT).parts)
}
# What the build writes.
WRITTEN = r"docs/(api|gallery|lab)/|docs/(deviations.md|figures/density_and_.*png)$"
# Too large for the default run. `.ci/full tracking` installs them.
MAY_BE_MISSING = {"mlflow", "wandb", "optuna_integration"}
NEEDS_CALLBACKS = {"docs/guide/tune.md"}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def code_blocks(path):
    """(language, code) of each block of Python, with the line in the page."""
    text = path.read_text("utf-8")
    for found in FENCE.finditer(text):
        if found[1] in {"python", "pycon"}:  # a traceback shows the line of the page
            yield found[1], "\n" * text[: found.start(2)].count("\n") + found[2]


def large_packages(code):
    """Those of MAY_BE_MISSING that a block imports."""
    nodes = list(ast.walk(ast.parse(code)))
    modules = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    modules += [n.module for n in nodes if isinstance(n, ast.ImportFrom)]
    return {module.split(".")[0] for module in modules} & MAY_BE_MISSING


def run_block(code, name, names):
    with warnings.catch_warnings():
        if large_packages(code):  # they use deprecated parts of each other
            warnings.simplefilter("default")
        exec(compile(code, name, "exec"), names)


@pytest.mark.parametrize(
    "name", [name for name, path in PAGES.items() if list(code_blocks(path))]
)
def test_code_of_a_page_runs(name, tmp_path, monkeypatch):
    """In one namespace; what a block with prompts prints is what the page shows.

    A block that needs a package of MAY_BE_MISSING is left out where that is missing.
    The other blocks run, and then the test is skipped to say so.
    """
    if name in NEEDS_CALLBACKS and find_spec("sklearn.callback") is None:
        pytest.skip("needs scikit-learn 1.9 for callbacks")
    monkeypatch.chdir(tmp_path)
    names, report, missing = {}, [], set()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for language, code in code_blocks(PAGES[name]):
        assert "from skclip._" not in code  # public names only
        if language == "python":
            absent = {p for p in large_packages(code) if find_spec(p) is None}
            missing |= absent
            if not absent:
                run_block(code, name, names)
        else:
            test = doctest.DocTestParser().get_doctest(code, {}, name, name, 0)
            test.globs = names
            runner.run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)
    if missing:
        pytest.skip(f"page ran but for blocks that need {', '.join(sorted(missing))}")


@pytest.mark.parametrize("name", [*PAGES, "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_lead_somewhere(name):
    path = ROOT / name
    text = FENCE.sub("", path.read_text("utf-8"))
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    files = re.findall(r"`((?:examples|benchmarks|docs)/[^`*<]*)`", text)
    targets = [path.parent / link for link in links]
    for target in [*targets, *(ROOT / file for file in files)]:
        target = target.resolve()
        assert target.is_relative_to(ROOT), target
        by_the_build = re.match(WRITTEN, target.relative_to(ROOT).as_posix())
        assert by_the_build or target.exists(), target


def test_the_gate_finds_the_commands_of_the_readme():
    """.ci/run takes the second line below a marker and runs it."""
    text = (ROOT / "README.md").read_text("utf-8")
    for name in ("quickstart", "test"):
        assert f"<!-- command: {name} -->\n```bash\npython -m venv " in text


def test_reasons_for_keeping_the_base_list_are_documented():
    names = "timeout|connection|not_json|schema|empty|unmapped|budget|error"
    sources = [path.read_text("utf-8") for path in (ROOT / "skclip/llm").glob("*.py")]
    reasons = set(re.findall(f'"({names})"', "".join(sources)))
    assert len(reasons) == 8
    assert all(reason in skclip.LLMReranker.__doc__ for reason in reasons)


def test_figures_and_citation_are_sound():
    for path in (DOCS / "figures").glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert "\nversion:" not in citation  # pyproject.toml has the version
    assert 'name: "The skclip developers"' in citation  # no invented people
