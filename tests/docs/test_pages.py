"""The pages: their code runs and does what they say, their links lead somewhere."""

import doctest
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    if not {"_build", "api", "gallery"} & set(path.relative_to(ROOT).parts)
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def code_blocks(path):
    """(language, code) of each block of Python, with the line in the page."""
    text = path.read_text()
    for found in FENCE.finditer(text):
        if found[1] in {"python", "pycon"}:  # a traceback shows the line of the page
            yield found[1], "\n" * text[: found.start(2)].count("\n") + found[2]


@pytest.mark.parametrize(
    "name", [name for name, path in PAGES.items() if list(code_blocks(path))]
)
def test_code_of_a_page_runs(name, tmp_path, monkeypatch):
    """In one namespace; what a block with prompts prints is what the page shows."""
    monkeypatch.chdir(tmp_path)
    names, report = {}, []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for language, code in code_blocks(PAGES[name]):
        assert "from skclip._" not in code  # public names only
        if language == "python":
            exec(compile(code, name, "exec"), names)
        else:
            test = doctest.DocTestParser().get_doctest(code, {}, name, name, 0)
            test.globs = names
            runner.run(test, out=report.append, clear_globs=False)
    assert not report, "".join(report)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    text = FENCE.sub("", PAGES[name].read_text())
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    files = re.findall(r"`((?:examples|benchmarks|docs)/[^`*<]*)`", text)
    targets = [PAGES[name].parent / link for link in links]
    for target in [*targets, *(ROOT / file for file in files)]:
        by_the_build = {"api", "gallery", "density_and_resolution.png"}
        assert by_the_build & set(target.parts) or target.exists(), target


def test_the_gate_finds_the_commands_of_the_readme():
    """.ci/run takes the second line below a marker and runs it."""
    text = (ROOT / "README.md").read_text()
    for name in ("quickstart", "test"):
        assert f"<!-- command: {name} -->\n```bash\npython -m venv .venv && " in text


def test_reasons_for_keeping_the_base_list_are_explained():
    names = "timeout|connection|not_json|schema|empty|unmapped|budget|error"
    sources = [path.read_text() for path in (ROOT / "skclip/llm").glob("*.py")]
    reasons = set(re.findall(f'"({names})"', "".join(sources)))
    assert len(reasons) == 8
    page = (DOCS / "llm_reranking.md").read_text()
    assert all(f"`{reason}`" in page for reason in reasons)


def test_figures_and_citation_are_sound():
    for path in (DOCS / "figures").glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    citation = (ROOT / "CITATION.cff").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    (version,) = re.findall(r'^version = "(.*)"', project, re.MULTILINE)
    assert f"version: {version}\n" in citation
    assert 'name: "The skclip developers"' in citation  # no invented people
