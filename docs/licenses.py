"""List the licenses of all packages that skclip needs, directly or not.

    python docs/licenses.py            # all of them, as a table
    python docs/licenses.py --write    # the direct ones, into docs/guide/licenses.md

Dependencies and extras are read from pyproject.toml. What these packages need in turn,
and their licenses, is what the metadata of the installed versions says. Nothing is
known about a package that is not installed, and the list says so. Versions, and so
licenses, of another environment may be others.
"""

import argparse
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guide" / "licenses.md"
REQUIRED = "required"  # the group of what is no extra
MISSING = "not installed"
COPYLEFT = {
    "AGPL": r"\bAGPL|Affero",
    "LGPL": r"\bLGPL|(Lesser|Library) General Public",
    "GPL": r"\bGPL|GNU General Public",
    "MPL": r"\bMPL|Mozilla Public",
}


def direct_requirements(project):
    """Group -> requirements: what is required, and the extras.

    An extra that only names other extras, such as "all", is left out.
    """
    groups = {REQUIRED: project["dependencies"], **project["optional-dependencies"]}
    own = canonicalize_name(project["name"])
    found = {}
    for group, lines in groups.items():
        requirements = [Requirement(line) for line in lines]
        others = [r for r in requirements if canonicalize_name(r.name) != own]
        if others:
            found[group] = others
    return found


def license_of(metadata):
    """The license that metadata name, as short as they have it."""
    expression = metadata.get("License-Expression")
    if expression:
        return expression
    text = (metadata.get("License") or "").strip()
    if text and text != "UNKNOWN" and "\n" not in text:
        return text
    classifiers = metadata.get_all("Classifier") or []
    licenses = [c.split(" :: ")[-1] for c in classifiers if c.startswith("License ::")]
    if licenses:
        return ", ".join(licenses)
    return text.partition("\n")[0] or "not stated"  # the first line of a whole text


def copyleft(license):
    """Copyleft licenses that a text names, such as "GPL"."""
    return [name for name, pattern in COPYLEFT.items() if re.search(pattern, license)]


def needed_by(requirement):
    """Packages that a requirement needs, itself included: canonical name -> found.

    A package that is not installed is None. Markers are those of this environment.
    """
    found, left = {}, [(requirement.name, frozenset(requirement.extras))]
    seen = set(left)
    while left:
        name, extras = left.pop()
        key = canonicalize_name(name)
        try:
            found[key] = distribution(name)
        except PackageNotFoundError:
            found[key] = None
            continue
        for line in found[key].requires or []:
            further = Requirement(line)
            asked = (further.name, frozenset(further.extras))
            applies = further.marker is None or any(
                further.marker.evaluate({"extra": extra}) for extra in {"", *extras}
            )
            if applies and asked not in seen:
                seen.add(asked)
                left.append(asked)
    return found


def rows_of(groups):
    """Rows of cells by package: name, version, license, copyleft, groups.

    Copyleft licenses come first.
    """
    found, by = {}, {}
    for group, requirements in groups.items():
        for requirement in requirements:
            if requirement.marker is None or requirement.marker.evaluate():
                packages = needed_by(requirement)
                found |= packages
                for name in packages:
                    by.setdefault(name, {})[group] = None
    rows = []
    for name, package in found.items():
        license = MISSING if package is None else license_of(package.metadata)
        version = "" if package is None else package.version
        marks = " ".join(copyleft(license))
        rows.append([name, version, license, marks, ", ".join(by[name])])
    return sorted(rows, key=lambda row: (not row[3], row[2] != MISSING, row[0]))


def direct_rows(groups):
    """Rows of the page: name, license, groups. In the order of pyproject.toml."""
    by = {}
    for group, requirements in groups.items():
        for requirement in requirements:
            by.setdefault(canonicalize_name(requirement.name), []).append(group)
    rows = []
    for name, names in by.items():
        try:
            license = license_of(distribution(name).metadata)
        except PackageNotFoundError:
            license = MISSING
        if copyleft(license):
            license = f"**{license}**"
        rows.append([name, license, ", ".join(names)])
    return rows


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def read_project():
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the page's table")
    options = parser.parse_args()
    groups = direct_requirements(read_project())
    if not options.write:
        head = ["package", "version", "license", "copyleft", "needed by"]
        rows = rows_of(groups)
        print(table(head, rows))
        missing = [row[0] for row in rows if row[2] == MISSING]
        print(f"\n{len(rows)} packages, {sum(bool(row[3]) for row in rows)} of them "
              f"under a copyleft license, {len(missing)} not installed")  # fmt: skip
        return
    rows = direct_rows(groups)
    missing = [row[0] for row in rows if row[1] == MISSING]
    if missing:
        raise SystemExit(f"Install first: {', '.join(missing)}")
    begin, end = "<!-- table: licenses -->\n", "<!-- end of table: licenses -->"
    head, rest = PAGE.read_text(encoding="utf-8").split(begin)
    text = table(["package", "license", "needed by"], rows) + "\n"
    PAGE.write_text(head + begin + text + end + rest.split(end)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
