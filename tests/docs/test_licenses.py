"""docs/licenses.py reads metadata right, and the page names every dependency."""

import sys
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

import licenses  # noqa: E402

PAGE = DOCS / "guide" / "licenses.md"


def metadata(*pairs):
    message = Message()
    for name, value in pairs:
        message[name] = value
    return message


MIT = ("Classifier", "License :: OSI Approved :: MIT License")


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("License-Expression", "MIT"), ("License", "old")], "MIT"),
        ([("License", "Apache-2.0"), MIT], "Apache-2.0"),
        ([("License", "UNKNOWN"), MIT], "MIT License"),
        ([("License", ""), MIT], "MIT License"),
        ([("License", "The license\n\nPermission is granted"), MIT], "MIT License"),
        ([("License", "The license\n\nPermission is granted")], "The license"),
        ([MIT, ("Classifier", "License :: CC0")], "MIT License, CC0"),
        ([("Classifier", "Programming Language :: Rust")], "not stated"),
    ],
)
def test_license_of_metadata(pairs, expected):
    assert licenses.license_of(metadata(*pairs)) == expected


@pytest.mark.parametrize(
    ("license", "marks"),
    [
        ("GPL-3.0-or-later", ["GPL"]),
        ("GNU General Public License v2 or later (GPLv2+)", ["GPL"]),
        ("LGPL-2.1-only", ["LGPL"]),
        ("GNU Lesser General Public License v3 (LGPLv3)", ["LGPL"]),
        ("GNU Affero General Public License v3", ["AGPL"]),
        ("AGPL-3.0-only", ["AGPL"]),
        ("MPL-2.0 AND MIT", ["MPL"]),
        ("Mozilla Public License 2.0 (MPL 2.0)", ["MPL"]),
        ("MIT OR GPL-2.0-only", ["GPL"]),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", []),
        ("BSL-1.0", []),
    ],
)
def test_copyleft(license, marks):
    assert licenses.copyleft(license) == marks


def install(folder, name, version, license, *requires, extras=()):
    """Metadata of a package that does not exist."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
    lines += [f"License-Expression: {license}"]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {line}" for line in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n\n")


def test_all_packages_and_who_needs_them(tmp_path, monkeypatch):
    """Markers, extras of extras, circles, and packages that are not there."""
    monkeypatch.syspath_prepend(tmp_path)
    further = ["Zz_Deep>=1", "zz-no; python_version < '3'", "zz-ex; extra == 'more'"]
    install(tmp_path, "zz-base", "1.0", "MIT", *further, extras=["more"])
    install(tmp_path, "zz-deep", "2.0", "GPL-2.0-only", "zz-base", "zz-absent")
    install(tmp_path, "zz-ex", "3.0", "LGPL-3.0-only", "zz-base[more]")
    project = {
        "name": "zz",
        "dependencies": ["zz-base>=1"],
        "optional-dependencies": {
            "fast": ["zz-base[more]", "zz-win; sys_platform == 'no such'"],
            "all": ["zz[fast]"],
        },
    }
    groups = licenses.direct_requirements(project)
    assert list(groups) == ["required", "fast"]
    assert licenses.rows_of(groups) == [
        ["zz-deep", "2.0", "GPL-2.0-only", "GPL", "required, fast"],
        ["zz-ex", "3.0", "LGPL-3.0-only", "LGPL", "fast"],
        ["zz-absent", "", "not installed", "", "required, fast"],
        ["zz-base", "1.0", "MIT", "", "required, fast"],
    ]
    assert licenses.direct_rows(groups) == [
        ["zz-base", "MIT", "required, fast"],
        ["zz-win", "not installed", "fast"],
    ]
    assert set(licenses.needed_by(Requirement("zz-absent"))) == {"zz-absent"}


def test_the_page_has_every_direct_dependency():
    groups = licenses.direct_requirements(licenses.read_project())
    text = PAGE.read_text("utf-8").split("<!-- table: licenses -->\n")[1]
    text = text.split("\n<!-- end of table: licenses -->")[0]
    shown = [line[2:-2].split(" | ") for line in text.split("\n")[2:]]
    expected = licenses.direct_rows(groups)
    assert [(name, by) for name, _, by in shown] == [
        (name, by) for name, _, by in expected
    ]
    assert not [name for name, license, _ in shown if license == licenses.MISSING]
    copyleft = {name for name, license, _ in shown if licenses.copyleft(license)}
    assert copyleft == {"igraph", "leidenalg", "tqdm"}


@pytest.mark.parametrize("engine", ["graspologic", "networkit"])
def test_engines_without_gpl_need_none(engine):
    """Nothing else that such an engine needs is under the GPL."""
    groups = licenses.direct_requirements(licenses.read_project())
    try:
        for requirement in groups[engine]:
            distribution(requirement.name)
    except PackageNotFoundError:
        pytest.skip(f"extra {engine}")
    assert not [row for row in licenses.rows_of({engine: groups[engine]}) if row[3]]
    ours = [r for r in groups["required"] if r.name not in ("igraph", "leidenalg")]
    marks = {row[3] for row in licenses.rows_of({"required": ours})}
    assert marks <= {"", "MPL"}
