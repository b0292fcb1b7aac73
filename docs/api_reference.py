"""Writes the pages of the API reference before Sphinx reads the sources.

The names come from the ``__all__`` of each public module, their order and headings from
``API_GROUPS`` in conf.py. Links in single backticks are made here, too.
"""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

from docutils import nodes
from sphinx.domains.python import PyXRefRole
from sphinx.errors import ConfigError

import skclip

FOLDER = Path(__file__).parent / "api"


def public_modules():
    """skclip and its modules without underscore, those with ``__all__``."""
    names = [
        f"skclip.{module.name}"
        for module in pkgutil.iter_modules(skclip.__path__)
        if not module.name.startswith("_")
    ]
    modules = [skclip, *map(importlib.import_module, sorted(names))]
    return [module for module in modules if hasattr(module, "__all__")]


def public_objects():
    """Full name of each public object, once: where it is first found."""
    found, names = {}, {}
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            names[f"{module.__name__}.{name}"] = found.setdefault(
                id(value), f"{module.__name__}.{name}"
            )
    return names


def value_of(full):
    module, name = full.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def own_members(cls):
    """Public methods and properties that skclip defines, in order of the classes."""
    names = []
    for base in cls.__mro__:
        if not base.__module__.startswith("skclip"):
            continue
        for name, value in vars(base).items():
            kinds = (property, classmethod, staticmethod)
            if not name.startswith("_") and (
                inspect.isfunction(value) or isinstance(value, kinds)
            ):
                names.append(name)
    return list(dict.fromkeys(names))


def summary_of(value):
    """First paragraph of a docstring, without its citations."""
    if isinstance(value, dict):
        return "Names and their classes."
    summary = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
    return re.sub(r" ?\[\d+\]_", "", summary)


def write(path, text):
    """Leave files alone that say the same already: Sphinx would read them again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def heading(text, line="="):
    return f"{text}\n{line * len(text)}\n\n"


def slug(title):
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


def check_groups(groups):
    """Each public object belongs to one group, and each name in a group exists."""
    listed = [f"skclip.{name}" for _, _, names in groups for name in names]
    public = set(public_objects().values())
    for what, names in {
        "in no group of API_GROUPS in docs/conf.py": public - set(listed),
        "in API_GROUPS, but not public": set(listed) - public,
        "in API_GROUPS twice": {name for name in listed if listed.count(name) > 1},
    }.items():
        if names:
            raise ConfigError(f"{what}: {', '.join(sorted(names))}")


def role_of(value):
    if isinstance(value, dict):
        return "data"
    return "class" if inspect.isclass(value) else "func"


def table_of(rows):
    lines = [".. list-table::", "   :widths: 35 65", "   :class: summary", ""]
    for link, summary in rows:
        lines += [f"   * - {link}", f"     - {summary}"]
    return "\n".join(lines) + "\n\n"


def toctree_of(entries):
    return ".. toctree::\n   :hidden:\n\n" + "".join(f"   {e}\n" for e in entries)


def write_api_pages(groups):
    """The index, a page for each group, and a page for each object."""
    check_groups(groups)
    modules = {}  # modules that offer an object, by its full name
    for full, target in public_objects().items():
        modules.setdefault(target, []).append(full.rsplit(".", 1)[0])
    pages = {}
    index = heading("API reference") + ".. py:module:: skclip\n\n"
    index += "All public classes and functions. Names that start with an underscore\n"
    index += "are private and may change without notice.\n\n"
    declared = {"skclip"}
    for title, text, names in groups:
        page = heading(title)
        index += f":doc:`{title} <{slug(title)}>`\n"
        index += f"   {text}\n\n   "
        index += ",\n   ".join(
            f":py:{role_of(value_of(full))}:`{full.rsplit('.', 1)[1]} <{full}>`"
            for full in (f"skclip.{name}" for name in names)
        )
        index += "\n\n"
        rows = []
        for name in names:
            full = f"skclip.{name}"
            value = value_of(full)
            for module in modules[full]:
                if module not in declared:
                    declared.add(module)
                    page += f".. py:module:: {module}\n\n"
            rows.append((f":py:{role_of(value)}:`{name} <{full}>`", summary_of(value)))
            pages[f"{full}.rst"] = object_page(full, value)
        page += f"{text}\n\n" + table_of(rows)
        page += toctree_of(f"{name.rsplit('.')[-1]} <skclip.{name}>" for name in names)
        pages[f"{slug(title)}.rst"] = page
    index += toctree_of(f"{title} <{slug(title)}>" for title, _, _ in groups)
    pages["index.rst"] = index
    for name, text in pages.items():
        write(FOLDER / name, text)
    for path in FOLDER.glob("*.rst"):
        if path.name not in pages:
            path.unlink()


def object_page(full, value):
    module, short = full.rsplit(".", 1)
    page = heading(short)
    if inspect.isclass(value):
        members = own_members(value)
        page += f".. autoclass:: {full}\n"
        page += f"   :members: {', '.join(members)}\n"
        page += "   :member-order: bysource\n"
        rows = [
            (f":py:obj:`{name} <{full}.{name}>`", summary_of(getattr(value, name)))
            for name in members
        ]
        if rows:  # after the docstring of the class, before the members
            page += "\n   .. rubric:: Methods and properties\n\n"
            page += re.sub(r"(?m)^(?=.)", "   ", table_of(rows)).rstrip() + "\n"
    elif inspect.isroutine(value):
        page += f".. autofunction:: {full}\n"
    else:
        page += f".. py:data:: {full}\n\n"
        page += "   A dictionary:\n\n   .. list-table::\n\n"
        for key, cls in value.items():
            page += f"      * - ``{key!r}``\n"
            page += f"        - :py:class:`{module}.{cls.__name__}`\n"
    if not isinstance(value, dict):
        page += f"\n.. minigallery:: {full}\n   :add-heading: Examples using {short}\n"
    return page


def short_names():
    """What a name in single backticks links to, such as `Sessions.concat`."""
    names = {}
    for full, target in public_objects().items():
        name = full.rsplit(".", 1)[1]
        value = value_of(full)
        keys = {full: target, name: target}
        if inspect.isclass(value):
            for member in own_members(value):
                keys |= {f"{key}.{member}": f"{target}.{member}" for key in list(keys)
                         if "." not in key or key == full}  # fmt: skip
        for key, there in keys.items():
            names.setdefault(key, there)
    return names


NAMES = short_names()


def name_role(name, rawtext, text, lineno, inliner, options=None, content=()):
    """Single backticks: a link where the name is public, code where it is not."""
    target = NAMES.get(text)
    if target is None:
        return [nodes.literal(rawtext, text)], []
    return PyXRefRole()("py:obj", rawtext, f"{text} <{target}>", lineno, inliner)
