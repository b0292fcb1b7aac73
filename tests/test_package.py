"""pyproject.toml: extras exist and suffice, and the page on PyPI has no dead link."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
ENGINES = {"dask", "spark", "ray"}  # for many machines; `all` leaves them out
SOURCES = sorted((ROOT / "skclip").rglob("*.py"))
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
PAGES += (ROOT / "docs" / "guide").glob("*.md")
NAMED = re.compile(r"skclip\[([\w,]+)\]")


def extras():
    """Packages by extra."""
    _, table = PROJECT.split("[project.optional-dependencies]\n")
    lines = re.findall(r"^(\w+) = \[(.*)\]$", table.split("\n[")[0], re.MULTILINE)
    packages = re.compile(r'"([\w-]+(?:\[[\w,]+\])?)')
    return {extra: packages.findall(listed) for extra, listed in lines}


def needed(path):
    """(package, extra) of each import whose error names an extra."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Try):
            tried = "\n".join(map(ast.unparse, node.body))
            modules = re.findall(r"^(?:import|from) (\w+)", tried, re.MULTILINE)
            for extra in NAMED.findall("".join(map(ast.unparse, node.handlers))):
                yield from ((name.replace("_", "-"), extra) for name in modules)


def test_all_has_what_users_want_on_one_machine():
    (listed,) = extras()["all"]
    assert set(NAMED.search(listed)[1].split(",")) == set(extras()) - ENGINES - {"all"}


def test_extras_that_are_named_exist():
    texts = [path.read_text(encoding="utf-8") for path in [*SOURCES, *PAGES]]
    named = {extra for text in texts for extra in NAMED.findall(text)}
    assert len(named) > 8
    assert {extra for names in named for extra in names.split(",")} <= set(extras())


def test_an_error_names_the_extra_that_helps():
    pairs = {pair for path in SOURCES for pair in needed(path)}
    assert len(pairs) > 8
    assert [pair for pair in pairs if pair[0] not in extras()[pair[1]]] == []


def test_no_link_on_the_page_of_pypi_is_relative():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.compile(r"\]\((?!https?:)")
    assert links.search(text)
    for pattern, new in re.findall(
        r"^pattern = '(.+)'\nreplacement = ['\"](.*)['\"]$", PROJECT, re.MULTILINE
    ):
        text = re.sub(pattern, new, text)
    assert not links.search(text)
