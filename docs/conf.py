"""Sphinx configuration. Build with ``python -m sphinx -W -n docs docs/_build/html``.

The API reference is written when the build begins, in the order of ``API_GROUPS``.
``-D plot_gallery=0`` leaves the examples unexecuted; ``SKCLIP_INTERSPHINX=1`` links
scikit-learn's and NumPy's pages, which needs the network.
"""

import os
import re
import sys
import warnings
from pathlib import Path

from docutils import nodes

import skclip

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from api_reference import name_role, write, write_api_pages  # noqa: E402
from parameter_groups import add_parameter_groups  # noqa: E402

default_role = "name"
LONG_CELL = 50  # characters in a cell of a table
NUMBERS = re.compile(r"[-+\d.,;:/%±\[\]\s]*(?:[a-zA-Z]{1,2})?")  # with a unit, perhaps

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
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxext.opengraph",
]
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
nitpicky = True
# The gallery warns of a space anywhere in the path, so also in that of a checkout.
suppress_warnings = ["sphinx_gallery.space_in_filename"]
# Names of other packages, and numpydoc's words for types, have no page here.
nitpick_ignore_regex = [(r"py:.*", r"(?!skclip\b).*")]
if os.environ.get("SKCLIP_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
    }

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # the parameter descriptions say more
autosummary_generate = False  # api_reference.py writes the pages
toc_object_entries_show_parents = "hide"
smartquotes = False  # they would turn default="auto" into curly quotes
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# The address of the source repository stands in pyproject.toml alone.
(SOURCE,) = re.findall(
    r'^Source = "(.+)"$', (DOCS.parent / "pyproject.toml").read_text("utf-8"), re.M
)
html_theme = "pydata_sphinx_theme"
html_title = "skclip"
html_favicon = "_static/logo.svg"
html_use_index = html_domain_indices = False  # the API pages and the search have all
html_static_path = ["_static"]
html_css_files = ["skclip.css"]
html_js_files = [("accessible.js", {"defer": "defer"})]
templates_path = ["_templates"]
html_theme_options = {
    "logo": {
        "text": "skclip",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "icon_links": [
        {"name": "Source repository", "url": SOURCE, "icon": "fa-brands fa-github"}
    ],
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "navbar_start": ["navbar-logo", "version"],
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "search_bar_text": "Search",
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": {
        "**": ["page-toc", "view-source"],
        "gallery/index": [],
        "api/index": [],
        "index": [],
    },
}
# Pages that have no others below them need no column for navigation.
html_sidebars = {name: [] for name in ("index", "get_started", "results")}

# Open Graph; also the description of a page for search engines, its first paragraph.
ogp_site_url = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
ogp_image = "_images/item_clusters.png"
ogp_social_cards = {"enable": False}
copybutton_exclude = ".linenos, .gp, .go"  # neither prompts nor what they print

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
    "default_thumb_file": str(DOCS / "_static" / "thumbnail.svg"),
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 0,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "matplotlib_animations": False,
    "remove_config_comments": True,
}


# -- the API reference ---------------------------------------------------------------

# Title, what is in the group, names without "skclip.". A public name that is missing
# here stops the build, so that the page is complete.
API_GROUPS = [
    (
        "Estimators",
        "The recommender with cluster prompts, and the parts that it is made of.",
        ["CLIPSessionRecommender", "SessionClusterer", "Prompt", "Fusion"],
    ),
    (
        "Sessions and features",
        "Containers for sessions and for the features of items.",
        ["Sessions", "features.ItemFeatures", "features.ClusterFeatures",
         "text.ItemTextEncoder"],
    ),
    (
        "Baselines",
        "Simple recommenders that every other model should beat.",
        ["PopularityRecommender", "MarkovRecommender", "AssociationRules",
         "SequentialRules", "SessionKNN", "SLIST"],
    ),
    (
        "Ensembles and reranking",
        "Blends of recommenders, and second stages that reorder a list.",
        ["VotingRecommender", "MMRReranker", "CandidateRanker", "LLMReranker",
         "llm.ChatModel", "llm.When", "llm.Budget", "llm.Examples",
         "llm.TitleMatching", "llm.LLMError"],
    ),
    (
        "Ranking and updating",
        "Functions that reach a recommender inside a pipeline or a search.",
        ["predict_topk", "partial_fit", "scoring.TopK"],
    ),
    (
        "Splitters and evaluation",
        "Splits in time, cross-validation, and comparisons with intervals.",
        ["model_selection.temporal_split", "model_selection.leave_last_out",
         "model_selection.within_session_split",
         "model_selection.within_session_sizes", "model_selection.last_targets",
         "model_selection.TemporalSplit", "model_selection.SlidingWindowSplit",
         "model_selection.LeaveLastOut", "model_selection.evaluate",
         "model_selection.leakage_check", "model_selection.LeakageReport"],
    ),
    (
        "Metrics",
        "Accuracy of a ranking, diversity and coverage, scores by group.",
        ["metrics.SessionScorer", "metrics.target_ranks", "metrics.recall_at_k",
         "metrics.hit_rate_at_k", "metrics.mrr_at_k", "metrics.ndcg_at_k",
         "metrics.map_at_k", "metrics.precision_at_k", "metrics.catalog_coverage",
         "metrics.cluster_diversity", "metrics.gini_index", "metrics.novelty",
         "metrics.popularity_lift", "metrics.by_group", "metrics.length_groups",
         "metrics.position_groups", "metrics.popularity_groups"],
    ),
    (
        "Data sets",
        "Simulated sessions, and readers of published click logs.",
        ["datasets.make_sessions", "datasets.make_titled_sessions",
         "datasets.make_multi_interest_sessions", "datasets.fetch_rsc15_100k",
         "datasets.fetch_lastfm_1k", "datasets.read_yoochoose",
         "datasets.read_diginetica", "datasets.read_retailrocket",
         "datasets.read_lastfm_1k", "datasets.read_reddit", "datasets.read_xing",
         "datasets.read_recbole", "datasets.read_recbole_prefixes",
         "datasets.read_session_rec", "datasets.read_srgnn",
         "datasets.read_srgnn_sessions"],
    ),
    (
        "Preprocessing",
        "Functions that clean a table of events and cut it into sessions.",
        ["preprocessing.sessionize", "preprocessing.drop_duplicates",
         "preprocessing.drop_repeats", "preprocessing.drop_rare_items",
         "preprocessing.drop_rare_users", "preprocessing.drop_short_sessions",
         "preprocessing.keep_top_items", "preprocessing.truncate_sessions",
         "preprocessing.until_stable", "preprocessing.item_pairs"],
    ),
    (
        "Inspection",
        "Figures and tables that show what a fitted model has learned.",
        ["inspection.explain", "inspection.SessionExplanationDisplay",
         "inspection.ClusterMapDisplay", "inspection.GateDisplay",
         "inspection.RankCurveDisplay", "inspection.TrainingHistoryDisplay",
         "inspection.interest_report", "inspection.interest_assignments",
         "inspection.interest_vectors", "inspection.interest_weights"],
    ),
    (
        "Persistence and serving",
        "Model files, ONNX graphs, and an HTTP server.",
        ["save", "load", "export_onnx", "serve.create_app"],
    ),
    (
        "Backbones",
        "Networks that read a session, and the base classes for your own.",
        ["backbones.BACKBONES", "backbones.BackboneSpec", "backbones.Backbone",
         "backbones.Batch", "backbones.GRU4Rec", "backbones.NARM", "backbones.STAMP",
         "backbones.CORE", "backbones.SASRec", "backbones.SRGNN", "backbones.TAGNN",
         "backbones.GCSAN", "backbones.GCEGNN", "backbones.LESSR", "backbones.NISER",
         "backbones.PoMRec"],
    ),
    (
        "Losses and controls",
        "Training losses, and clusterers that serve as controls in an experiment.",
        ["losses.CrossEntropy", "losses.SampledSoftmax", "losses.GBCE", "losses.BPR",
         "losses.BPRMax", "losses.BPRSoftmax", "controls.OneCluster",
         "controls.RandomClusters"],
    ),
    (
        "Warnings",
        "Categories of warnings, to be filtered one by one.",
        ["exceptions.SessionDataWarning", "exceptions.UnseenItemWarning",
         "exceptions.ShortSessionWarning", "exceptions.IdTypeWarning",
         "exceptions.TimeWarning", "exceptions.TrainingWarning"],
    ),
]  # fmt: skip


def write_deviations_page():
    """The index of differences from papers, from the Notes of public docstrings."""
    import _differences

    write(DOCS / "deviations.md", _differences.page())


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


def mark_tables(app, doctree):
    """Tables of sentences become a list on a narrow screen; numbers stay on a line."""
    for table in doctree.findall(nodes.table):
        (body,) = table.findall(nodes.tbody)
        rows = [[entry.astext() for entry in row] for row in body]
        if any(len(cell) > LONG_CELL for row in rows for cell in row):
            table["classes"].append("of-text")
        elif all(NUMBERS.fullmatch(cell) for row in rows for cell in row[1:]):
            table["classes"].append("of-numbers")


def unlink_metrics(app, doctree):
    """A metric such as recall@20 in a parameter's type is not an e-mail address."""
    for link in list(doctree.findall(nodes.reference)):
        if link.get("refuri", "").startswith("mailto:"):
            link.replace_self(nodes.Text(link.astext()))


def draw_figures():
    """Figures of the benchmarks and of a laboratory note, from committed rows."""
    from benchmarks.report import results_page
    from benchmarks.report.reproduce import rows_done
    from benchmarks.report.reproduce_tables import draw_figure

    draw_figure(rows_done())
    results_page.draw_figures()


def setup(app):
    app.add_role("name", name_role)
    write_api_pages(API_GROUPS)
    write_lab_pages()
    write_deviations_page()
    draw_figures()
    app.connect("object-description-transform", add_parameter_groups)
    app.connect("doctree-read", mark_tables)
    app.connect("doctree-read", unlink_metrics)
