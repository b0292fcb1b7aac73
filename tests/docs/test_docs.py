"""The pages of the site: their examples run, their links lead somewhere."""

import doctest
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in DOCS.rglob("*.md")
    if not {"_build", "api", "gallery"} & set(path.relative_to(DOCS).parts)
)
NAMES = [str(path.relative_to(DOCS)) for path in PAGES]
METRICS = ("recall@20", "mrr@20")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


def consoles(path):
    """The page's blocks with prompts, joined: names go on from one to the next."""
    blocks = FENCE.findall(path.read_text())
    return "\n".join(code for language, code in blocks if language == "pycon")


@pytest.mark.parametrize(
    "path", [p for p in PAGES if consoles(p)], ids=lambda p: p.stem
)
def test_examples_of_a_page_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(
        consoles(path), {}, path.name, str(path), 0
    )
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report = []
    runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_every_stage_of_the_guide_has_its_parts():
    """An equation, an example that runs, its cost, its pitfalls, links to the API."""
    stages = set((DOCS / "guide").glob("*.md")) - {
        DOCS / "guide" / "index.md",
        DOCS / "guide" / "start.md",
    }
    assert len(stages) >= 8
    for path in stages:
        text = path.read_text()
        assert "$$" in text, path.name
        assert consoles(path), path.name
        for part in ("**Cost.**", "**Pitfalls**", "**API:**"):
            assert part in text, f"{path.name} has no {part}"


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_links_lead_somewhere(path):
    text = FENCE.sub("", path.read_text())
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        there = (path.parent / target).resolve()
        if there.is_relative_to(DOCS / "api"):
            continue  # written when the site is built, which checks it
        if there == DOCS / "figures" / "density_and_resolution.png":
            continue  # drawn then
        if there.is_relative_to(DOCS / "gallery"):
            source = ROOT / "examples" / f"{there.stem}.py"
            assert there.stem == "index" or source.exists(), target
        else:
            assert there.exists(), target


def test_pages_are_in_the_site():
    """A new page in docs/ needs no edit: the list of the site ends in a pattern."""
    for page in ("index.md", "guide/index.md"):
        (tree,) = re.findall(r"```{toctree}\n(.*?)```", (DOCS / page).read_text(), re.S)
        lines = tree.split()
        if page == "index.md":
            assert ":glob:" in lines
            assert lines[-1] == "*"
        else:
            assert {path.stem for path in (DOCS / "guide").glob("*.md")} <= {
                "index",
                *lines,
            }
        for name in lines:
            if name[0] not in ":*1" and not name.startswith(("gallery", "api")):
                assert ((DOCS / page).parent / f"{name}.md").exists(), name


def test_flow_picture_is_sound():
    root = ET.parse(DOCS / "figures" / "flow.svg").getroot()
    assert root.tag.endswith("svg")


def test_citation_names_no_invented_people():
    citation = (ROOT / "CITATION.cff").read_text()
    assert 'name: "The skclip developers"' in citation
    assert "2410.04756" in citation
    version = re.search(
        r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert f"version: {version[1]}" in citation


def test_which_backbone_has_the_results_that_were_measured():
    """Its table is copied by hand from two files of results, so compare."""
    results = ROOT / "benchmarks"
    quality = results / "report" / "results" / "backbones_rsc15.json"
    quality = json.loads(quality.read_text())["rows"]
    speed = results / "speed" / "results" / "train.json"
    speed = json.loads(speed.read_text())["rows"]
    page = (DOCS / "which_backbone.md").read_text()
    lines = page.split("## Quality and speed together")[1].split("##")[0].splitlines()
    table = {line.split(" | ")[0][2:]: line for line in lines if line[:2] == "| "}
    names = {row["model"] for row in quality}
    assert names <= set(table)
    for name in names:
        rows = [row for row in quality if row["model"] == name]
        fast = [
            row["prefixes_per_second"]
            for row in speed
            if (row["data"], row["backbone"], row["form"])
            == ("rsc15_100k", name, "bare")
        ]
        expected = [
            name,
            *(f"{sum(r[m] for r in rows) / len(rows):.3f}" for m in METRICS),
            f"{fast[0]:,.0f}",
        ]
        assert table[name][2:].split(" | ")[:4] == expected


@pytest.mark.parametrize("data", ["rsc15", "diginetica", "tmall"])
def test_comparison_has_the_results_that_were_measured(data):
    results = ROOT / "benchmarks" / "report" / "results" / "compare.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    measured = {row["model"]: row for row in rows if row["data"] == data}
    page = (DOCS / "comparison.md").read_text()
    lines = page.split(f"<!-- table: {data} -->")[1].split("<!-- end")[0].splitlines()
    table = [line[2:-2].split(" | ") for line in lines if line[:2] == "| "][2:]
    assert {name for name, *_ in table} == set(measured)
    for name, *values in table:
        expected = [f"{measured[name][m]:.4f}" for m in METRICS]
        assert values[:2] == expected, name


def test_yardsticks_have_the_results_that_were_measured():
    results = ROOT / "benchmarks" / "report" / "results" / "compare.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    measured = {row["model"]: row for row in rows if row["data"] == "rsc15"}
    page = (DOCS / "which_backbone.md").read_text()
    lines = page.split("## Yardsticks")[1].split("##")[0].splitlines()
    table = [line[2:-2].split(" | ") for line in lines if line[:2] == "| "][1:]
    assert len(table) >= 8
    for name, *values in table:
        row = measured[name]
        expected = [f"{row[m]:.3f}" for m in METRICS] + [f"{row['fit_seconds']:.2f}"]
        assert values == expected, name


def reproduced(**asked):
    """MRR@20 of the last run of each cell that has these values."""
    results = ROOT / "benchmarks" / "report" / "results" / "reproduce.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    last = {json.dumps(row["cell"], sort_keys=True): row for row in rows}
    return [
        row["mrr@20"]
        for row in last.values()
        if asked.items() <= row["cell"].items() and "prompt" not in row["cell"]
    ]


def cells_of(page, table):
    """The cells of a table's lines, without its head."""
    text = page.split(f"<!-- table: {table} -->")[1].split("<!-- end")[0]
    return [line[2:-2].split(" | ") for line in text.splitlines() if line[:1] == "|"][
        2:
    ]


def test_reproduction_has_the_results_that_were_measured():
    names = {"CLIP": "leiden", "no prompt": "none", "random": "random", "one": "one"}
    page = (DOCS / "reproduction.md").read_text()
    tables = re.findall(r"<!-- table: (rq1_\w+) -->", page)
    assert {"rq1_rsc15_paper", "rq1_rsc15_strong", "rq1_tmall_sampled"} <= set(tables)
    for table in tables:
        _, data, form = table.split("_")
        for backbone, variant, *values in cells_of(page, table):
            found = reproduced(
                data=data, form=form, every=1, backbone=backbone, variant=names[variant]
            )
            assert values[2].split(" ")[0] == f"{sum(found) / len(found):.4f}"
            assert values[6] == str(len(found))
    variants = ("levels", "leiden", "none", "random levels", "one")
    lines = cells_of(page, "tuned")
    assert {line[3] for line in lines} >= {"gru4rec", "stamp"}
    for data, _, form, backbone, *values in lines:
        for variant, value in zip(variants, values, strict=False):
            found = reproduced(
                data=data, form=form, every=8, backbone=backbone, variant=variant
            )
            assert value.split(" ")[0] == f"{sum(found) / len(found):.4f}"
            assert len(found) == 3
