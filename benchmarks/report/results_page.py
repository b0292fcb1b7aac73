"""The tables and figures of the page of results, from committed rows.

    python -m benchmarks.report.results_page

It fits nothing and opens no test part: everything is read from the results of
`report/eight_logs.py` and `report/reproduce.py`. The tables go to docs/results.md. The
documentation draws the figures when it is built, once on light and once on dark ground.
Git does not keep them. Metrics are in percent, and differences in percentage points but
for those of the backbones, which are relative.
"""

from benchmarks._results import ROOT, load, markdown, new_parser, replace_table
from benchmarks.report.eight_logs import DIFFERENCES, NAMES, OF_BLEND, mean
from benchmarks.report.reproduce import rows_done
from benchmarks.report.reproduce_tables import GAINS

PAGE = "docs/results.md"
METRICS = {"recall@20": "Recall@20", "mrr@20": "MRR@20"}
CONTROLS = {"no prompts": "no prompts", "random clusters": "random clusters"}
MODELS = {"popularity": "popularity", "neighbors": "neighbors", "repeats": "default",
          "blend": "blend"}  # fmt: skip
PROPER = {"gru4rec": "GRU4Rec", "narm": "NARM", "stamp": "STAMP", "core": "CORE",
          "srgnn": "SR-GNN", "tagnn": "TAGNN", "gcsan": "GC-SAN", "gcegnn": "GCE-GNN",
          "lessr": "LESSR", "niser": "NISER", "pomrec": "PoMRec",
          "sasrec": "SASRec"}  # fmt: skip
NO_BREAK = "\N{NO-BREAK SPACE}"
LOOKS = {
    "light": {"text": "#222222", "grid": "#cccccc", "blue": "#1f5fa8",
              "orange": "#c2570c", "strong": "#000000"},
    "dark": {"text": "#dddddd", "grid": "#555555", "blue": "#7db8f5",
             "orange": "#f0964f", "strong": "#ffffff"},
}  # fmt: skip


def logs():
    """Names of the logs, those with few clicks per item first."""
    clicks = load(DIFFERENCES)["clicks_per_item"]
    return {log: clicks[log] for log in sorted(clicks, key=clicks.get)}


def write_tables():
    replace_table(PAGE, "results_prompts", prompts_table())
    replace_table(PAGE, "results_backbones", backbones_table())
    replace_table(PAGE, "results_models", models_table())


def prompts_table():
    """The default with cluster prompts, less its two controls."""
    found = load(DIFFERENCES)["differences"]
    head = ["click log", "clicks per item", "over no prompts: Recall@20", "MRR@20"]
    head += ["over random clusters: Recall@20", "MRR@20"]
    lines = [
        [
            NAMES.get(log, log),
            f"{clicks:g}",
            *(_shown(found[log][c][m]) for c in CONTROLS for m in METRICS),
        ]
        for log, clicks in logs().items()
    ]
    return markdown(head, lines)


def backbones_table():
    """Every backbone with cluster prompts on rsc15_100k, best MRR@20 first."""
    rows = {}
    for row in rows_done():
        asked = {"data": "rsc15", "form": "strong", "every": 1, "variant": "leiden"}
        if asked.items() <= row["cell"].items() and "prompt" not in row["cell"]:
            rows.setdefault(row["cell"]["backbone"], []).append(row)
    means = {
        name: [sum(row[m] for row in some) / len(some) for m in METRICS]
        for name, some in rows.items()
    }
    head = ["backbone", "Recall@20", "MRR@20"]
    head += ["relative gain by prompts, %: Recall@20", "MRR@20"]
    lines = []
    for name in sorted(means, key=lambda name: -means[name][1]):
        (gain,) = [g for g in load(GAINS)["gains"] if _is_gain(g, name)]
        values = [f"{100 * value:.1f}" for value in means[name]]
        lines.append(
            [PROPER[name], *values, *(_shown(gain[m], 1, NO_BREAK) for m in METRICS)]
        )
    return markdown(head, lines)


def _is_gain(gain, backbone):
    asked = {"data": "rsc15", "form": "strong", "every": 1, "variant": "leiden",
             "control": "none", "backbone": backbone}  # fmt: skip
    return asked.items() <= gain.items()


def models_table():
    """Neighbors, the default and the blend of both."""
    found = load(OF_BLEND)["differences"]
    shown = {key: MODELS[key] for key in ("neighbors", "repeats", "blend")}
    head = ["click log", *shown.values(), "blend less neighbors: Recall@20", "MRR@20"]
    lines = []
    for log in logs():
        pairs = [[f"{100 * mean(log, name, m):.1f}" for m in METRICS] for name in shown]
        differences = [_shown(found[log]["neighbors"][m]) for m in METRICS]
        lines.append([NAMES.get(log, log), *map(" / ".join, pairs), *differences])
    return markdown(head, lines)


def _shown(values, scale=100, space=" "):
    """A difference and its interval, which does not break."""
    value, low, high = (scale * x for x in values)
    shown = f"{value:+.1f}"
    shown = "0.0" if shown in ("+0.0", "-0.0") else shown
    return f"{shown}{space}[{low:.1f},{NO_BREAK}{high:.1f}]"


# -- figures ---------------------------------------------------------------------------


def draw_figures():
    """Both figures on both grounds; the documentation calls this when it is built."""
    for look, colors in LOOKS.items():
        _draw(_draw_prompts, f"results_prompts_{look}.svg", colors, "points")
        _draw(_draw_models, f"results_models_{look}.svg", colors, "%")


def _draw(draw, name, colors, unit):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color",
         "ytick.color"),
        colors["text"],
    )  # fmt: skip
    style |= {"grid.color": colors["grid"], "font.size": 10, "svg.hashsalt": name,
              "legend.frameon": False, "axes.axisbelow": True}  # fmt: skip
    with mpl.rc_context(style):
        figure = Figure(figsize=(8.4, 4.4), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        names = [
            f"{NAMES.get(log, log)} ({clicks:g})" for log, clicks in logs().items()
        ]
        for ax, metric in zip(axes, METRICS, strict=True):
            draw(ax, metric, colors)
            ax.set_title(f"{METRICS[metric]}, {unit}", fontsize=11)
            ax.grid(axis="x", linewidth=0.6)
            ax.tick_params(axis="y", length=0)
            ax.spines[["top", "right", "left"]].set_visible(False)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylabel("click log (clicks per item)")
        axes[0].invert_yaxis()
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        file = ROOT / "docs" / "figures" / name
        file.parent.mkdir(exist_ok=True)
        figure.savefig(file, transparent=True, metadata={"Date": None})


def _draw_prompts(ax, metric, colors):
    """Differences with intervals, over both controls."""
    found = load(DIFFERENCES)["differences"]
    looks = {
        "no prompts": {"color": colors["blue"], "marker": "o"},
        "random clusters": {
            "color": colors["orange"], "marker": "s", "markerfacecolor": "none"
        },
    }  # fmt: skip
    ax.axvline(0, color=colors["text"], linewidth=1)
    for shift, (control, look) in zip((-0.15, 0.15), looks.items(), strict=True):
        values = [[100 * x for x in found[log][control][metric]] for log in logs()]
        middle, low, high = zip(*values, strict=True)
        y = [i + shift for i in range(len(values))]
        left = [m - x for m, x in zip(middle, low, strict=True)]
        right = [x - m for m, x in zip(middle, high, strict=True)]
        label = f"gain over {CONTROLS[control]}"
        ax.errorbar(middle, y, xerr=(left, right), linestyle="none", label=label,
                    markersize=5, elinewidth=1.3, **look)  # fmt: skip


def _draw_models(ax, metric, colors):
    """Values of popularity, neighbors, the default and the blend."""
    looks = {
        "popularity": (0, {"color": colors["text"], "marker": "x"}),
        "neighbors": (-0.25, {"color": colors["orange"], "marker": "s",
                              "markerfacecolor": "none"}),
        "repeats": (0, {"color": colors["blue"], "marker": "o"}),
        "blend": (0.25, {"color": colors["strong"], "marker": "D"}),
    }  # fmt: skip
    shown = list(logs())
    for model, (shift, look) in looks.items():
        x = [100 * mean(log, model, metric) for log in shown]
        y = [i + shift for i in range(len(shown))]
        ax.plot(x, y, linestyle="none", label=MODELS[model], markersize=5.5, **look)
    ax.set_xlim(left=-0.02 * ax.get_xlim()[1])


def main():
    new_parser(__doc__).parse_args()
    write_tables()
    draw_figures()


if __name__ == "__main__":
    main()
