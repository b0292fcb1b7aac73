"""Sphinx configuration. Build with ``python -m sphinx -W -n docs docs/_build/html``.

The API reference is written from the names in each public module's ``__all__`` when
the build begins, so that a new name or module needs no edit here.
``-D plot_gallery=0`` leaves the examples unexecuted; ``SKCLIP_INTERSPHINX=1`` links
scikit-learn's and NumPy's pages, which needs the network.
"""

import importlib
import inspect
import os
import pkgutil
import re
import sys
import warnings
from pathlib import Path

from docutils import nodes
from sphinx.domains.python import PyXRefRole

import skclip

DOCS = Path(__file__).parent

project = "skclip"
author = "The skclip developers"
copyright = author
version = release = skclip.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
nitpicky = True
# Names of other packages, and numpydoc's words for types, have no page here.
nitpick_ignore_regex = [(r"py:.*", r"(?!skclip\b).*")]
if os.environ.get("SKCLIP_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autosummary_generate = False  # the pages are written below
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "skclip"
html_static_path = ["_static"]
html_css_files = ["skclip.css"]
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 5,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
}

os.environ.setdefault("OMP_NUM_THREADS", "2")
warnings.filterwarnings("ignore", message=".*not seen in fit")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"^(?!plot_)",  # scripts of the command line
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skclip",),
    "backreferences_dir": "gallery/backreferences",
    "reference_url": {"skclip": None},
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 0,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "matplotlib_animations": False,
    "remove_config_comments": True,
}


# -- the API reference ---------------------------------------------------------------


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


def write(path, text):
    """Leave files alone that say the same already: Sphinx would read them again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def heading(text, line="="):
    return f"{text}\n{line * len(text)}\n\n"


def write_api_pages():
    canonical = public_objects()
    index = heading("API reference")
    index += (
        "Everything that may be imported. Names with an underscore in front are free\n"
        "to change.\n\n"
    )
    written = {"index.rst"}
    for module in public_modules():
        here = module.__name__
        index += heading(here, "-") + f".. py:module:: {here}\n\n"
        index += inspect.cleandoc(module.__doc__).split("\n\n")[0].rstrip(":")
        index += "\n\n.. list-table::\n   :widths: 35 65\n\n"
        for name in module.__all__:
            target = canonical[f"{here}.{name}"]
            value = getattr(module, name)
            summary = (inspect.getdoc(value) or "").split("\n\n")[0].replace("\n", " ")
            summary = re.sub(r" ?\[\d+\]_", "", summary)
            role = "func" if inspect.isroutine(value) else "class"
            if isinstance(value, dict):
                role, summary = "data", "Names and their classes."
            index += f"   * - :py:{role}:`{name} <{target}>`\n     - {summary}\n"
            if target == f"{here}.{name}":
                write(DOCS / "api" / f"{target}.rst", object_page(target, value))
                written.add(f"{target}.rst")
        index += "\n"
    index += ".. toctree::\n   :hidden:\n\n"
    index += "".join(f"   {name[:-4]}\n" for name in sorted(written - {"index.rst"}))
    write(DOCS / "api" / "index.rst", index)
    for path in (DOCS / "api").glob("*.rst"):
        if path.name not in written:
            path.unlink()


def object_page(name, value):
    module, short = name.rsplit(".", 1)
    page = heading(name)
    if inspect.isclass(value):
        page += f".. autoclass:: {name}\n"
        page += f"   :members: {', '.join(own_members(value))}\n"
        page += "   :member-order: bysource\n"
    elif inspect.isroutine(value):
        page += f".. autofunction:: {name}\n"
    else:
        page += f".. py:data:: {name}\n\n"
        page += "   A dictionary:\n\n   .. list-table::\n\n"
        for key, cls in value.items():
            page += f"      * - ``{key!r}``\n"
            page += f"        - :py:class:`{module}.{cls.__name__}`\n"
    if not isinstance(value, dict):
        page += f"\n.. minigallery:: {name}\n   :add-heading: Examples using {short}\n"
    return page


def short_names():
    """What a name in single backticks links to, such as `Sessions.concat`."""
    names = {}
    for full, target in public_objects().items():
        module, name = full.rsplit(".", 1)
        value = getattr(importlib.import_module(module), name)
        keys = {full: target, name: target}
        if inspect.isclass(value):
            for member in own_members(value):
                keys |= {f"{key}.{member}": f"{target}.{member}" for key in list(keys)
                         if "." not in key or key == full}  # fmt: skip
        for key, there in keys.items():
            names.setdefault(key, there)
    return names


def name_role(name, rawtext, text, lineno, inliner, options=None, content=()):
    """Single backticks: a link where the name is public, code where it is not."""
    target = NAMES.get(text)
    if target is None:
        return [nodes.literal(rawtext, text)], []
    return PyXRefRole()("py:obj", rawtext, f"{text} <{target}>", lineno, inliner)


NAMES = short_names()
default_role = "name"


def write_deviations_page():
    """The index of differences from papers, from the Notes of public docstrings."""
    sys.path.insert(0, str(DOCS))
    import _differences

    write(DOCS / "deviations.md", _differences.page(_differences.public_objects()))


def write_lab_pages():
    """Copies of the laboratory notes, newest first, and their index."""
    notes = sorted((DOCS.parent / "benchmarks" / "lab").glob("*.md"), reverse=True)
    index = "# Laboratory notes\n\n"
    index += "How each result was obtained: one dated note for each question, newest\n"
    index += "first. Notes keep the figures, names and versions of their day.\n\n"
    for note in notes:
        text = note.read_text().replace("](../../docs/", "](../")
        write(DOCS / "lab" / note.name, text)
        title = text.splitlines()[0].removeprefix("# ")
        index += f"- {note.name[:10]}: [{title}]({note.name})\n"
    index += "\n```{toctree}\n:hidden:\n:glob:\n:reversed:\n\n*\n```\n"
    write(DOCS / "lab" / "index.md", index)
    for path in (DOCS / "lab").glob("*.md"):
        if path.name not in {"index.md", *(note.name for note in notes)}:
            path.unlink()


def draw_figures():
    """Figures of the benchmarks and of a laboratory note, from committed rows."""
    sys.path.insert(0, str(DOCS.parent))
    from benchmarks.report import results_page
    from benchmarks.report.reproduce import rows_done
    from benchmarks.report.reproduce_tables import draw_figure

    draw_figure(rows_done())
    results_page.draw_figures()


def setup(app):
    app.add_role("name", name_role)
    write_api_pages()
    write_lab_pages()
    write_deviations_page()
    draw_figures()
