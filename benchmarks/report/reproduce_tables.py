"""Tables, intervals and figures of reproduce.py, from its committed rows.

    python -m benchmarks.report.reproduce_tables

Writes the tables of laboratory notes and the intervals of all gains: 10,000 draws
of the test sessions, in pairs, over all seeds. Intervals are made from the ranks that
`reproduce.py` writes to `results/ranks`. Git does not keep these: where they are not
there, the intervals of results/reproduce_gains.json are kept as long as the rows are
the same. To make ranks again, run a question of `reproduce.py` with `--again`.
"""

import hashlib
import json
from collections import defaultdict

import numpy as np

from benchmarks._results import (
    ROOT,
    load,
    markdown,
    mean_and_spread,
    new_parser,
    replace_table,
    result_file,
    save,
)
from benchmarks.report.reproduce import RANKS, ranks_file, rows_done

LAB = "benchmarks/lab"
ON_DIGINETICA = f"{LAB}/2026-11-28-prompts-on-diginetica.md"
ON_TMALL = f"{LAB}/2026-11-28-prompts-on-tmall-and-lastfm.md"
NOTES = {
    "rq1_rsc15_paper": f"{LAB}/2026-11-28-prompts-in-the-papers-form.md",
    "rq1_rsc15_strong": f"{LAB}/2026-11-28-prompts-with-cosine-scores.md",
    "rq1_diginetica_strong": ON_DIGINETICA,
    "rq1_diginetica_sampled": ON_DIGINETICA,
    "rq1_diginetica_long": ON_DIGINETICA,
    "rq1_diginetica_longer": ON_DIGINETICA,
    "rq1_tmall_sampled": ON_TMALL,
    "rq1_lastfm_sampled": ON_TMALL,
    "sparse": f"{LAB}/2026-11-28-prompts-where-clicks-are-few.md",
    "tuned": f"{LAB}/2026-11-28-every-variant-tuned-alike.md",
    "levels": f"{LAB}/2026-11-22-clusters-at-several-resolutions.md",
    "rq2": f"{LAB}/2026-11-22-kinds-of-prompts.md",
    "rq4": f"{LAB}/2026-11-22-resolution.md",
    "frequency": f"{LAB}/2026-11-28-rare-targets.md",
}
GAINS = "report/reproduce_gains.json"
N_DRAWS = 10_000
MEASURES = ("mrr@5", "recall@5", "mrr@20", "recall@20")
NAMES = {"leiden": "CLIP", "none": "no prompt", "random": "random", "one": "one",
         "levels": "CLIP, three resolutions",
         "random levels": "random, three resolutions"}  # fmt: skip
CONTROLS = {"leiden": ("none", "random", "one"),
            "levels": ("leiden", "none", "random levels", "one")}  # fmt: skip


def write_tables(rows):
    """Write all tables that have rows, and the intervals to a JSON file."""
    _check_settings(rows)
    gains = _gains(rows)
    save(GAINS, {"draws": N_DRAWS, "gains": gains})
    for data in ("rsc15", "diginetica", "tmall", "lastfm"):
        for form in ("paper", "strong", "sampled", "long", "longer"):
            asked = {"data": data, "form": form, "every": 1}
            of_form = [
                row
                for row in rows
                if asked.items() <= row["cell"].items() and "prompt" not in row["cell"]
            ]
            if of_form:
                _write(f"rq1_{data}_{form}", _rq1(of_form, gains))
    _write("sparse", _sparse(rows, gains))
    tuned = [row for row in rows if row["cell"]["form"] == "tuned"]
    others = [row for row in rows if row["cell"]["form"] != "tuned"]
    _write("tuned", _levels(tuned, gains))
    _write("levels", _levels(others, gains))
    _write("rq2", _rq2(rows))
    _write("rq4", _rq4(rows))
    _write("frequency", _frequency(rows))


def _write(name, table):
    replace_table(NOTES[name], name, table)


def _check_settings(rows):
    """Refuse seeds of a variant that were trained unlike each other."""
    trained = defaultdict(set)
    for row in rows:
        alike = {k: v for k, v in row["cell"].items() if k != "seed"}
        settings = ("max_epochs", "learning_rate", "temperature", "embedding_dim")
        values = tuple(row["resolved"][name] for name in settings)
        trained[json.dumps(alike)].add(values)
    for cell, values in trained.items():
        if len(values) > 1:
            raise SystemExit(f"Seeds of {cell} have {values}. Run them all again.")


def _key(row):
    cell = row["cell"]
    return cell["data"], cell["every"], cell["backbone"], cell["form"]


def _share(key):
    return "all" if key[1] == 1 else f"1/{key[1]}"


def _mean(rows, key):
    values = [row[key] for row in rows if row[key] is not None]
    return np.mean(values), np.std(values)


def _shown(rows, key):
    return mean_and_spread([row[key] for row in rows], 4)


def _groups(rows):
    """Rows by data, density, backbone and form, then by variant."""
    groups = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not {"prompt", "resolution"} & set(row["cell"]):
            groups[_key(row)][row["cell"]["variant"]].append(row)
    return groups


def _gains(rows):
    """Relative gains over each control, with bootstrap intervals in pairs.

    Those of the same ranks are taken from what was saved before, and so are those whose
    ranks are not there, if the rows have not changed since. Without ranks and without
    such a save a gain has no interval.
    """
    saved = []
    if result_file(GAINS).exists():
        content = load(GAINS)
        saved = content["gains"] if content["draws"] == N_DRAWS else []
    found = []
    for key, variants in _groups(rows).items():
        for variant, controls in CONTROLS.items():
            for control in controls:
                pairs = [
                    (a, b)
                    for a in variants[variant]
                    for b in variants[control]
                    if a["cell"]["seed"] == b["cell"]["seed"]
                ]
                if pairs:
                    names = ("data", "every", "backbone", "form")
                    what = dict(zip(names, key, strict=True))
                    what |= {"variant": variant, "control": control}
                    found.append(_gain_of_pairs(pairs, what, saved))
    return found


def _gain_of_pairs(pairs, what, saved):
    """The gain of some pairs of rows, with an interval for each measure if known."""
    what |= {"n_seeds": len(pairs)}
    values = {measure: _gain(pairs, measure) for measure in MEASURES}
    files = [tuple(ranks_file(row["cell"]) for row in pair) for pair in pairs]
    if all(file.exists() for pair in files for file in pair):
        digest = _digest(files)
        known = [gain for gain in saved if gain["ranks"] == digest]
        if known:
            of_ranks = known[-1]
        else:
            with np.load(RANKS / f"sessions_{what['data']}.npz") as stored:
                of_ranks = _bootstrap(files, stored["sessions"])
    else:
        same = [gain for gain in saved if _is_of(gain, what, values)]
        of_ranks = same[0] if same else {m: [v] for m, v in values.items()}
        digest = of_ranks.get("ranks")
    return {**what, "ranks": digest, **{m: of_ranks[m] for m in MEASURES}}


def _gain(pairs, measure):
    """Gain in % of the first of each pair of rows, by their sums."""
    own, other = (sum(pair[side][measure] for pair in pairs) for side in (0, 1))
    return round(100 * (own / other - 1), 2)


def _is_of(gain, what, values):
    """Whether a saved gain is of these rows, up to rounding."""
    same = all(gain[key] == value for key, value in what.items())
    return same and all(abs(gain[m][0] - v) < 0.011 for m, v in values.items())


def _digest(files):
    """What the ranks in pairs of files are known by."""
    digest = hashlib.sha256()
    for file in (file for pair in files for file in pair):
        with np.load(file) as stored:
            digest.update(stored["ranks"].tobytes())
    return digest.hexdigest()[:16]


def _bootstrap(files, sessions):
    """Gain in % and its 95 % interval for each measure, over test sessions."""
    sums = _sums_by_session(files, sessions)
    n = len(sums["mrr@5"][0])
    rng = np.random.default_rng(0)
    draws = {m: [] for m in MEASURES}
    for _ in range(N_DRAWS // 100):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=100).astype(np.float32)
        for measure, (clip, control) in sums.items():
            draws[measure].append((weights @ clip) / (weights @ control) - 1)
    result = {}
    for measure, (clip, control) in sums.items():
        low, high = np.percentile(np.concatenate(draws[measure]), [2.5, 97.5])
        gain = clip.sum() / control.sum() - 1
        result[measure] = [round(100 * float(x), 2) for x in (gain, low, high)]
    return result


def _sums_by_session(files, sessions):
    """What each test session is worth to both sides of the pairs, by measure."""
    sums = {m: [0.0, 0.0] for m in MEASURES}
    for pair in files:
        for side, file in enumerate(pair):
            with np.load(file) as stored:
                ranks = stored["ranks"]
            for measure in MEASURES:
                name, k = measure.split("@")
                hit = (ranks > 0) & (ranks <= int(k))
                worth = hit / np.maximum(ranks, 1) if name == "mrr" else hit * 1.0
                sums[measure][side] = sums[measure][side] + np.bincount(
                    sessions, weights=worth, minlength=sessions.max() + 1
                )
    return sums


def _gain_of(gains, key, control, variant="leiden"):
    for gain in gains:
        found = tuple(gain[k] for k in ("data", "every", "backbone", "form"))
        if found == key and (gain["variant"], gain["control"]) == (variant, control):
            return gain
    return None


def _interval(gain, measure):
    if gain is None:
        return "not run"
    value, *interval = gain[measure]
    if not interval:  # no ranks
        return f"{value:+.1f}"
    low, high = interval
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _rq1(rows, gains):
    head = ["backbone", "variant", "MRR@5", "Recall@5", "MRR@20", "Recall@20"]
    head += ["CLIP's gain in MRR@20 over it, %", "in Recall@20, %"]
    lines = []
    for key, variants in _groups(rows).items():
        for variant in ("leiden", "none", "random", "one"):
            of_variant = variants[variant]
            if not of_variant:
                continue
            cells = [key[2], NAMES[variant]]
            cells += [_shown(of_variant, measure) for measure in MEASURES]
            gain = _gain_of(gains, key, variant)
            for measure in MEASURES[2:]:
                over = "" if variant == "leiden" else _interval(gain, measure)
                cells.append(over)
            cells.append(str(len(of_variant)))
            cells.append(f"{np.median([r['fit_seconds'] for r in of_variant]):.0f} s")
            n_clusters = of_variant[0]["n_clusters"]
            cells.append("" if n_clusters is None else str(n_clusters))
            lines.append(cells)
    return markdown([*head, "seeds", "fit", "clusters"], lines)


def _sparse(rows, gains):
    head = ["data", "training sessions", "form", "backbone", "CLIP, MRR@20"]
    head += ["no prompt", "random", "one", "gain over no prompt, %", "over random, %"]
    head += ["over one, %", "clusters", "modularity", "clicks per item", "seeds"]
    lines = []
    for key, variants in sorted(_groups(rows).items()):
        if key[3] == "paper" or not variants["leiden"]:
            continue
        if key[2] != "gru4rec" and key[1] == 1:  # in rq1's tables
            continue
        first = variants["leiden"][0]
        cells = [key[0], _share(key), key[3], key[2]]
        for variant in ("leiden", "none", "random", "one"):
            some = variants[variant]
            cells.append(f"{_mean(some, 'mrr@20')[0]:.4f}" if some else "not run")
        cells += [
            _interval(_gain_of(gains, key, c), "mrr@20")
            for c in ("none", "random", "one")
        ]
        cells += [str(first["n_clusters"]), f"{first['modularity']:.2f}"]
        cells += [f"{first.get('n_events', 0) / first['n_items']:.1f}"]
        lines.append([*cells, str(len(variants["leiden"]))])
    return markdown(head, lines)


def _levels(rows, gains):
    head = [
        "data", "training sessions", "form", "backbone",
        "MRR@20: CLIP, three resolutions", "CLIP, one resolution", "no prompt",
        "random, three resolutions", "one cluster", "gain over one resolution, %",
        "over no prompt, %", "over random, %", "over one cluster, %",
        "Recall@20: CLIP, three resolutions", "without a prompt",
        "gain over no prompt in Recall@20, %", "seeds",
    ]  # fmt: skip
    lines = []
    for key, variants in sorted(_groups(rows).items()):
        if not variants["levels"]:
            continue

        def mean(variant, measure, variants=variants):
            some = variants[variant]
            return _shown(some, measure) if some else "not run"

        def gain(control, measure, key=key):
            return _interval(_gain_of(gains, key, control, "levels"), measure)

        cells = [key[0], _share(key), key[3], key[2]]
        cells += [mean(v, "mrr@20") for v in ("levels", *CONTROLS["levels"])]
        cells += [gain(c, "mrr@20") for c in CONTROLS["levels"]]
        cells += [mean(v, "recall@20") for v in ("levels", "none")]
        cells += [gain("none", "recall@20"), str(len(variants["levels"]))]
        lines.append(cells)
    return markdown(head, lines)


def _rq2(rows):
    names = ["MRR@5", "Recall@5", "MRR@20", "Recall@20"]
    head = ["prompt", f"by session: {names[0]}", *names[1:]]
    head += [f"within session: {names[0]}", *names[1:]]
    groups, lines = defaultdict(lambda: defaultdict(list)), []
    for row in rows:
        if "prompt" in row["cell"]:
            kinds = row["cell"]["prompt"]
            name = "none" if kinds is None else " + ".join(kinds)
            if row["cell"].get("pooled"):
                name += " (pooled)"
            groups[name][row["cell"]["data"]].append(row)
    for name, of_data in groups.items():
        cells = [name]
        for data in ("lastfm10", "lastfm10-within"):
            for measure in MEASURES:
                found = of_data[data]
                cells.append(_shown(found, measure) if found else "not run")
        lines.append(cells)
    return markdown(head, lines)


def _resolutions(rows, form):
    groups = defaultdict(list)
    for row in rows:
        if "resolution" in row["cell"] and row["cell"]["form"] == form:
            groups[row["cell"]["resolution"]].append(row)
    return dict(sorted(groups.items()))


def _rq4(rows):
    lines = []
    for form in ("paper", "strong"):
        for resolution, some in _resolutions(rows, form).items():
            cells = [form, f"{resolution:g}"]
            cells.append(f"{np.mean([r['n_clusters'] for r in some]):.0f}")
            cells.append(f"{np.mean([r['modularity'] for r in some]):.3f}")
            cells += [_shown(some, measure) for measure in ("mrr@5", "mrr@20")]
            lines.append([*cells, str(len(some))])
    head = ["form", "resolution", "clusters", "modularity", "MRR@5", "MRR@20", "seeds"]
    return markdown(head, lines)


def _frequency(rows):
    head = ["data", "training sessions", "form", "backbone", "clicks of the target"]
    lines = []
    for key, variants in sorted(_groups(rows).items()):
        alone = len([v for v in variants.values() if v]) < 2
        if key[3] == "paper" or key[1] not in (1, 8, 16) or alone:
            continue
        for b in ("1-5", "6-20", "21-"):
            name = f"recall@20, targets {b}"
            first = next(some[0] for some in variants.values() if some)
            if first[name] is None:
                continue
            cells = [key[0], _share(key), key[3], key[2], b]
            cells.append(f"{first[f'n, targets {b}']:,}")
            for variant in NAMES:
                some = variants[variant]
                cells.append(f"{_mean(some, name)[0]:.3f}" if some else "")
            lines.append(cells)
    return markdown([*head, "targets", *NAMES.values()], lines)


def draw_figure(rows):
    """Density and resolution; not kept, the documentation draws it when it is built."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    has_curve = any("resolution" in row["cell"] for row in rows)
    panels = 2 if has_curve else 1
    figure = Figure(figsize=(5 * panels, 3.4))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_density(axes[0], rows)
    if has_curve:
        _draw_resolution(axes[1], rows)
    figure.tight_layout()
    file = ROOT / "docs" / "figures" / "density_and_resolution.png"
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=130)
    print("wrote", file.relative_to(ROOT))


def _draw_density(ax, rows):
    looks = {"leiden": ("C3", "o-"), "none": ("C0", "s--"), "random": ("C7", "^:"),
             "one": ("C1", "D-."), "levels": ("C2", "v-")}  # fmt: skip
    for variant, (color, style) in looks.items():
        points = sorted(
            (1 / key[1], *_mean(variants[variant], "mrr@20"))
            for key, variants in _groups(rows).items()
            if key[0] == "rsc15" and key[2:] == ("gru4rec", "strong")
            and variants[variant]
        )  # fmt: skip
        if points:
            x, y, spread = zip(*points, strict=True)
            ax.errorbar(x, y, spread, label=NAMES[variant], color=color, fmt=style)
    ax.set_xscale("log", base=2)
    ax.set_xlabel("share of the training sessions")
    ax.set_ylabel("MRR@20, test, mean of 3 seeds")
    ax.set_title("rsc15_100k, GRU4Rec, former strong preset")
    ax.legend(frameon=False)


def _draw_resolution(ax, rows):
    for form, color in (("paper", "C0"), ("strong", "C3")):
        of_form = _resolutions(rows, form)
        if not of_form:
            continue
        x = list(of_form)
        y, spread = zip(*(_mean(s, "mrr@5") for s in of_form.values()), strict=True)
        ax.errorbar(x, y, spread, label=form, color=color, marker="o")
        for resolution, some in of_form.items():
            if form == "strong":
                ax.annotate(
                    f"{some[0]['n_clusters']}",
                    (resolution, _mean(some, "mrr@5")[0]),
                    textcoords="offset points", xytext=(0, -14), ha="center",
                    fontsize=7,
                )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xlabel("resolution (numbers: clusters)")
    ax.set_ylabel("MRR@5, validation")
    ax.set_title("resolution, GRU4Rec")
    ax.legend(frameon=False)


def main():
    new_parser(__doc__).parse_args()
    rows = rows_done()
    write_tables(rows)
    draw_figure(rows)


if __name__ == "__main__":
    main()
