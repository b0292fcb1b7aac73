"""Tables, intervals and figures of reproduce.py, from its committed rows."""

import hashlib
import json
from collections import defaultdict

import numpy as np
from _common import RESULTS, load, replace_table
from _common import save as save_json

FILE = "docs/reproduction.md"
N_DRAWS = 10_000
MEASURES = ("mrr@5", "recall@5", "mrr@20", "recall@20")
NAMES = {"leiden": "CLIP", "none": "no prompt", "random": "random", "one": "one",
         "levels": "CLIP, three resolutions",
         "random levels": "random, three resolutions"}  # fmt: skip
CONTROLS = {"leiden": ("none", "random", "one"),
            "levels": ("leiden", "none", "random levels", "one")}  # fmt: skip


def write(rows, folder, name_of):
    """Write all tables that have rows, and the intervals to a JSON file."""
    _check_settings(rows)
    gains = _gains(rows, folder, name_of)
    save_json("reproduce_gains", {"draws": N_DRAWS, "gains": gains})
    for data in ("rsc15", "diginetica", "tmall", "lastfm"):
        for form in ("paper", "strong", "sampled", "long", "longer"):
            of_form = [
                r
                for r in rows
                if r["cell"]["data"] == data
                and r["cell"]["form"] == form
                and r["cell"]["every"] == 1
                and "prompt" not in r["cell"]
            ]
            if of_form:
                replace_table(FILE, f"rq1_{data}_{form}", _rq1(of_form, gains))
    replace_table(FILE, "sparse", _sparse(rows, gains))
    tuned = [row for row in rows if row["cell"]["form"] == "tuned"]
    others = [row for row in rows if row["cell"]["form"] != "tuned"]
    replace_table(FILE, "tuned", _levels(tuned, gains))
    replace_table(FILE, "levels", _levels(others, gains))
    replace_table(FILE, "rq2", _rq2(rows))
    replace_table(FILE, "rq4", _rq4(rows))
    replace_table(FILE, "frequency", _frequency(rows))
    figures(rows)


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
    mean, spread = _mean(rows, key)
    return f"{mean:.4f} ± {spread:.4f}" if len(rows) > 1 else f"{mean:.4f}"


def _groups(rows):
    """Rows by data, density, backbone and form, then by variant."""
    groups = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not {"prompt", "resolution"} & set(row["cell"]):
            groups[_key(row)][row["cell"]["variant"]].append(row)
    return groups


def _gains(rows, folder, name_of):
    """Relative gains over each control, with bootstrap intervals in pairs.

    Those of the same ranks are taken from what was saved before, and so are those whose
    ranks are lost, if the rows have not changed since. Without ranks and without such a
    save a gain has no interval.
    """
    found, saved = [], []
    if (RESULTS / "reproduce_gains.json").exists():
        content = load("reproduce_gains")
        saved = content["gains"] if content["draws"] == N_DRAWS else []
    known = {g["ranks"]: g for g in saved}
    for key, variants in _groups(rows).items():
        for variant, control in (
            (variant, control)
            for variant, controls in CONTROLS.items()
            for control in controls
        ):
            pairs = [
                (a, b)
                for a in variants[variant]
                for b in variants[control]
                if a["cell"]["seed"] == b["cell"]["seed"]
            ]
            if not pairs:
                continue
            files = [
                tuple(folder / f"{name_of(r['cell'])}.npz" for r in pair)
                for pair in pairs
            ]
            what = dict(zip(("data", "every", "backbone", "form"), key, strict=True))
            what |= {"variant": variant, "control": control, "n_seeds": len(pairs)}
            values = {measure: _gain(pairs, measure) for measure in MEASURES}
            if all(file.exists() for pair in files for file in pair):
                digest = _digest(files)
                of_ranks = known.get(digest)
                if of_ranks is None:
                    with np.load(folder / f"sessions_{key[0]}.npz") as stored:
                        of_ranks = _bootstrap(files, stored["sessions"])
            else:
                same = [g for g in saved if _is_of(g, what, values)]
                of_ranks = same[0] if same else {m: [v] for m, v in values.items()}
                digest = of_ranks.get("ranks")
            of_ranks = {measure: of_ranks[measure] for measure in MEASURES}
            found.append({**what, "ranks": digest, **of_ranks})
    return found


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
    n = len(sums["mrr@5"][0])
    rng = np.random.default_rng(0)
    result = {}
    draws = {m: [] for m in MEASURES}
    for _ in range(N_DRAWS // 100):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=100).astype(np.float32)
        for measure, (clip, control) in sums.items():
            draws[measure].append((weights @ clip) / (weights @ control) - 1)
    for measure, (clip, control) in sums.items():
        low, high = np.percentile(np.concatenate(draws[measure]), [2.5, 97.5])
        gain = clip.sum() / control.sum() - 1
        result[measure] = [round(100 * float(x), 2) for x in (gain, low, high)]
    return result


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
    if not interval:  # ranks are lost
        return f"{value:+.1f}"
    low, high = interval
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def _rq1(rows, gains):
    lines = [
        "| backbone | variant | MRR@5 | Recall@5 | MRR@20 | Recall@20 | CLIP's gain in "
        "MRR@20 over it, % | in Recall@20, % | seeds | fit | clusters |",
        "|" + "---|" * 11,
    ]
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
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _sparse(rows, gains):
    lines = [
        "| data | training sessions | form | backbone | CLIP, MRR@20 | no prompt "
        "| random | one | gain over no prompt, % | over random, % | over one, % "
        "| clusters | modularity | clicks per item | seeds |",
        "|" + "---|" * 15,
    ]
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
        cells.append(str(len(variants["leiden"])))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _levels(rows, gains):
    columns = [
        "data", "training sessions", "form", "backbone",
        "MRR@20: CLIP, three resolutions", "CLIP, one resolution", "no prompt",
        "random, three resolutions", "one cluster", "gain over one resolution, %",
        "over no prompt, %", "over random, %", "over one cluster, %",
        "Recall@20: CLIP, three resolutions", "without a prompt",
        "gain over no prompt in Recall@20, %", "seeds",
    ]  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
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
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rq2(rows):
    lines = [
        "| prompt | by session: MRR@5 | Recall@5 | MRR@20 | Recall@20 "
        "| within session: MRR@5 | Recall@5 | MRR@20 | Recall@20 |",
        "|" + "---|" * 9,
    ]
    groups = defaultdict(lambda: defaultdict(list))
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
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _resolutions(rows, form):
    groups = defaultdict(list)
    for row in rows:
        if "resolution" in row["cell"] and row["cell"]["form"] == form:
            groups[row["cell"]["resolution"]].append(row)
    return dict(sorted(groups.items()))


def _rq4(rows):
    lines = ["| form | resolution | clusters | modularity | MRR@5 | MRR@20 | seeds |"]
    lines.append("|" + "---|" * 7)
    for form in ("paper", "strong"):
        for resolution, some in _resolutions(rows, form).items():
            cells = [form, f"{resolution:g}"]
            cells.append(f"{np.mean([r['n_clusters'] for r in some]):.0f}")
            cells.append(f"{np.mean([r['modularity'] for r in some]):.3f}")
            for measure in ("mrr@5", "mrr@20"):
                cells.append(_shown(some, measure))
            cells.append(str(len(some)))
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _frequency(rows):
    names = " | ".join(NAMES.values())
    lines = [
        "| data | training sessions | form | backbone | clicks of the target | targets "
        f"| {names} |",
        "|" + "---|" * (6 + len(NAMES)),
    ]
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
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figures(rows):
    """Density and resolution; not kept, the documentation draws it when it is built."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder = RESULTS.parent.parent / "docs" / "figures"
    folder.mkdir(exist_ok=True)
    has_curve = any("resolution" in row["cell"] for row in rows)
    panels = 2 if has_curve else 1
    figure = Figure(figsize=(5 * panels, 3.4))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    groups = _groups(rows)
    looks = {"leiden": ("C3", "o-"), "none": ("C0", "s--"), "random": ("C7", "^:"),
             "one": ("C1", "D-."), "levels": ("C2", "v-")}  # fmt: skip
    for variant, (colour, style) in looks.items():
        points = sorted(
            (1 / key[1], *_mean(variants[variant], "mrr@20"))
            for key, variants in groups.items()
            if key[0] == "rsc15" and key[2:] == ("gru4rec", "strong")
            and variants[variant]
        )  # fmt: skip
        if points:
            x, y, spread = zip(*points, strict=True)
            axes[0].errorbar(
                x, y, spread, label=NAMES[variant], color=colour, fmt=style
            )
    axes[0].set_xscale("log", base=2)
    axes[0].set_xlabel("share of the training sessions")
    axes[0].set_ylabel("MRR@20, test, mean of 3 seeds")
    axes[0].set_title("rsc15_100k, GRU4Rec, strong preset")
    axes[0].legend(frameon=False)
    for form, colour in (("paper", "C0"), ("strong", "C3")) if has_curve else ():
        of_form = _resolutions(rows, form)
        if of_form:
            x = list(of_form)
            y, spread = zip(*(_mean(s, "mrr@5") for s in of_form.values()), strict=True)
            axes[1].errorbar(x, y, spread, label=form, color=colour, marker="o")
            for resolution, some in of_form.items():
                if form == "strong":
                    axes[1].annotate(
                        f"{some[0]['n_clusters']}",
                        (resolution, _mean(some, "mrr@5")[0]),
                        textcoords="offset points", xytext=(0, -14), ha="center",
                        fontsize=7,
                    )  # fmt: skip
    if has_curve:
        axes[1].set_xscale("log", base=2)
        axes[1].set_xlabel("resolution (numbers: clusters)")
        axes[1].set_ylabel("MRR@5, validation")
        axes[1].set_title("resolution, GRU4Rec")
        axes[1].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(folder / "density_and_resolution.png", dpi=130)
    print("wrote docs/figures/density_and_resolution.png")
