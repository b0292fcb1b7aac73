"""Workflows and settings of the repository agree with what they are about."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = [".ci", ".github", ".pre-commit-config.yaml", "CONTRIBUTING.md"]
MISSING = [name for name in NEEDED if not (ROOT / name).exists()]

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"not in this copy of the project: {', '.join(MISSING)}"
)


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def workflows():
    return "\n".join(map(read, sorted((ROOT / ".github/workflows").glob("*.yml"))))


def parts(script):
    return set(re.findall(r"^part_(\w+)\(\)", read(script), re.MULTILINE))


def list_of(key, text):
    """Entries of a YAML list on one line, or below its key."""
    found = re.search(rf"^ +{key}:(?: \[(.+)\]|((?:\n +- \S+)+))$", text, re.MULTILINE)
    return re.findall(r"[\w.]+", found[1] or found[2])


def test_versions_of_pre_commit_are_those_of_the_constraints():
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", read("constraints.txt"), re.M))
    hooks = re.findall(
        r"repo: \S+/([a-z]+)\S*\n +rev: v(\S+)\n", read(".pre-commit-config.yaml")
    )
    assert {tool for tool, _ in hooks} == {"ruff", "typos"}
    assert hooks == [(tool, pinned.get(tool)) for tool, _ in hooks]


def test_both_ends_of_the_pythons_are_tested():
    project = read("pyproject.toml")
    (oldest,) = re.findall(r'^requires-python = ">=(.+)"$', project, re.MULTILINE)
    minors = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', project)
    newest = f"3.{max(map(int, minors))}"
    pythons = re.findall(r"^ +python: \[(.+)\]$", workflows(), re.MULTILINE)
    assert len(pythons) == 2  # Linux, and the other systems
    for line in pythons:
        first, *_, last = re.findall(r'"(.+?)"', line)
        assert (first, last) == (oldest, newest)


def test_workflows_call_parts_that_exist():
    text = read(".github/workflows/tests.yml")
    checks = set(list_of("part", text))
    (called,) = re.findall(r"\.ci/run ((?:[a-z]+ ?)+)$", text, re.MULTILINE)
    assert checks | set(called.split()) == parts(".ci/run")
    always = re.findall(r"^ +part: (\w+)$", text, re.MULTILINE)
    weekly = list_of("part", read(".github/workflows/weekly.yml"))
    assert sorted([*always, *weekly]) == sorted(parts(".ci/full"))


@pytest.mark.parametrize("script", [".ci/run", ".ci/full"])
def test_without_names_all_parts_run(script):
    (listed,) = re.findall(r"^parts=\$\{\*:-(.+)\}$", read(script), re.MULTILINE)
    on_request = {"nightly"}
    assert set(listed.split()) == parts(script) - on_request


def test_actions_are_pinned_by_commit():
    for action in re.findall(r"uses: (.+)", workflows()):
        assert re.fullmatch(r"\./\S+|\S+@[0-9a-f]{40} # v[\d.]+", action), action


def test_the_address_of_the_project_stands_in_one_place():
    (address,) = re.findall(r'^Source = "https://(.+)"$', read("pyproject.toml"), re.M)
    files = [
        *ROOT.glob("[!.]*.[mcy]*"),
        *ROOT.glob(".*.yaml"),
        *(ROOT / ".ci").iterdir(),
    ]
    for folder in (".github", "docs", "examples", "skclip"):
        for suffix in ("md", "py", "yml"):
            files += (ROOT / folder).rglob(f"*.{suffix}")
    files = [path for path in files if "_build" not in path.parts]
    assert len(files) > 200
    assert [p for p in files if address in p.read_text(encoding="utf-8")] == []


def test_the_contributing_guide_names_every_package_and_group():
    guide = read("CONTRIBUTING.md")
    modules = [*(ROOT / "skclip").glob("[!_]*.py")]
    modules += [p.parent for p in (ROOT / "skclip").glob("*/__init__.py")]
    assert len(modules) > 20
    assert [p.stem for p in modules if f"`{p.stem}`" not in guide] == []
    _, table = read("pyproject.toml").split("[dependency-groups]\n")
    groups = re.findall(r"^(\w+) = \[", table.split("\n[")[0], re.MULTILINE)
    assert [name for name in groups if f"`{name}`" not in guide] == []


def test_the_commands_of_the_guide_name_tests_that_exist():
    (path, name), *_ = re.findall(r"pytest (\S+\.py) -k (\w+)", read("CONTRIBUTING.md"))
    assert re.search(rf"^def test_\w*{name}", read(path), re.MULTILINE)
