"""The tables of the pages are those of the committed results."""

import functools
import importlib
import json
import math
import re
import sys
from pathlib import Path
from statistics import mean, pstdev

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LAB = ROOT / "benchmarks" / "lab"
METRICS = ("recall@20", "mrr@20")


@functools.cache
def results(name):
    """Rows of a file of results, wherever in ``benchmarks`` it lies."""
    (path,) = (ROOT / "benchmarks").rglob(name)
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        return json.loads(text)["rows"]
    return [json.loads(line) for line in text.splitlines()]


def table(page, name):
    """Rows of cells of the table between a page's markers, without its head."""
    _, text = page.read_text("utf-8").split(f"<!-- table: {name} -->\n")
    text, _ = text.split(f"\n<!-- end of table: {name} -->")
    return [line[2:-2].split(" | ") for line in text.split("\n")[2:]]


def numbers(cell):
    """Numbers in a cell, thousands without their commas."""
    return [
        float(text) for text in re.findall(r"[-+]?\d+(?:\.\d+)?", cell.replace(",", ""))
    ]


def test_every_marked_table_has_rows():
    for page in [ROOT / "README.md", *DOCS.rglob("*.md"), *LAB.glob("*.md")]:
        for name in re.findall("<!-- table: (.+?) -->", page.read_text("utf-8")):
            assert table(page, name), f"{page.name}: {name}"


def test_means_over_seeds():
    file = "backbones_rsc15.json"
    page = LAB / "2026-11-21-backbones-beside-neighbors.md"
    shown = {m: values for m, *values in table(page, "backbones")}
    assert set(shown) == {row["model"] for row in results(file)}
    for model, values in shown.items():
        runs = [row for row in results(file) if row["model"] == model]
        for metric, value in zip(METRICS, values, strict=False):
            assert value.split()[0] == f"{mean(run[metric] for run in runs):.3f}"


def eight_logs(log, model, metric):
    """Mean of a metric over seeds, for a log as the pages name it."""
    folder, _, part = log.partition(", 1/")
    return mean(
        row[metric]
        for row in results("eight_logs.jsonl")
        if row["model"] == model
        and folder.startswith(row["log"].removesuffix("_16"))
        and part == "16" * row["log"].endswith("_16")
    )


def test_table_of_one_log():
    shown = table(ROOT / "README.md", "one_log")
    models = ("popularity", "neighbors", "repeats", "blend")
    for model, (_, *cells) in zip(models, shown, strict=True):
        values = [eight_logs("retailrocket_last8days", model, m) for m in METRICS]
        assert cells == [f"{value:.3f}" for value in values], model


def test_numbers_of_the_first_screen():
    (shown,) = table(DOCS / "index.md", "first_screen")
    found = [eight_logs("retailrocket_last8days", model, "recall@20")
             for model in ("neighbors", "blend")]  # fmt: skip
    assert shown == [f"{value:.3f}" for value in found]


@pytest.mark.parametrize(
    ("name", "best", "note"),
    [
        ("eight_logs", "default", "2026-11-29-default-beside-its-neighbors.md"),
        ("eight_logs_blend", "blend", "2026-11-30-blend-and-bias-for-repeats.md"),
    ],
)
def test_long_tables_of_eight_logs(name, best, note):
    models = {"no bias for repeats": "default", "default": "repeats"}
    for log, shown, *cells in table(LAB / note, name):
        model = models.get(shown, shown)
        for at, metric in enumerate(METRICS):
            value = eight_logs(log, model, metric)
            assert cells[at] == f"{value:.4f}", (log, model)
            if model != best:
                difference = eight_logs(log, best, metric) - value
                shown = float(cells[4 + at].split()[0])
                assert shown == pytest.approx(difference, abs=6e-5), (log, model)


def test_speed_of_the_backbones():
    measured = {
        row["backbone"]: f"{row['prefixes_per_second']:,.0f}"
        for row in results("speed/results/train.json")
        if (row["data"], row["form"]) == ("rsc15_100k", "bare")
    }
    page = LAB / "2026-11-21-backbones-beside-neighbors.md"
    for name, _, _, speed, *_ in table(page, "backbones"):
        assert speed == measured[name]


def test_approximate_indexes():
    rows = [row for row in results("nearest.json") if row["index"] != "exact"]
    measured = {
        (row["vectors"], f"{row['index']}, {row['setting']}"): [
            f"{row['recall@20']:.3f}",
            f"{float(format(row['speed_of_one'], '.2g')):g}",
            f"{float(format(row['speed_of_many'], '.2g')):g}",
            f"{float(format(row['build_seconds'], '.2g')):g} s",
        ]
        for row in rows
    }
    shown = table(LAB / "2026-11-30-approximate-indexes.md", "nearest")
    assert len(shown) == len({(row["vectors"], row["index"]) for row in rows})
    sizes = {row["vectors"]: f"{row['n_items']:,}" for row in rows}
    for vectors, size, index, *values in shown:
        assert size == sizes[vectors]
        assert values == measured[vectors, index], (vectors, index)


def test_graphs_for_onnx_runtime():
    page = LAB / "2026-12-01-speed-of-onnx-graphs.md"
    shown = {name: cells for name, *cells in table(page, "onnx_latency")}
    rows = results("speed/results/onnx.json")
    assert list(shown) == [row["backbone"] for row in rows]
    for row in rows:
        times, (*cells, ratio, file) = row["milliseconds"], shown[row["backbone"]]
        assert cells == [f"{time:.2f}" for time in times.values()]
        assert ratio == f"{times['predict_topk'] / times['onnx']:.1f}"
        assert file == f"{row['file_bytes'] / 2**20:.0f} MB"
    rows = results("onnx_parity.jsonl")
    shown = table(LAB / "2026-12-01-agreement-of-onnx-graphs.md", "onnx_parity")
    for name, *cells in shown:
        own = [row for row in rows if row["backbone"] == name]
        *cells, same = cells
        assert cells == [f"{row['largest_difference']:.1e}" for row in own]
        assert same == f"{min(row['same_lists'] for row in own):.1%}"
    assert {name for name, *_ in shown} == {row["backbone"] for row in rows}


@pytest.mark.parametrize("data", ["rsc15", "diginetica", "tmall"])
def test_comparison(data):
    rows = {
        row["model"]: row for row in results("compare.jsonl") if row["data"] == data
    }
    shown = table(LAB / "2026-11-22-every-model-on-three-logs.md", data)
    assert {name for name, *_ in shown} == set(rows)
    for name, *values in shown:
        assert values[:2] == [f"{rows[name][metric]:.4f}" for metric in METRICS], name
    if data == "rsc15":
        page = LAB / "2026-11-21-backbones-beside-neighbors.md"
        for name, *values in table(page, "baselines"):
            expected = [f"{rows[name][metric]:.3f}" for metric in METRICS]
            assert values == [*expected, f"{rows[name]['fit_seconds']:.2f}"], name


def reproduced(**asked):
    """MRR@20 of the last run of each cell that has these values."""
    rows = results("reproduce.jsonl")
    last = {json.dumps(row["cell"], sort_keys=True): row for row in rows}
    return [
        row["mrr@20"]
        for row in last.values()
        if asked.items() <= row["cell"].items() and "prompt" not in row["cell"]
    ]


def test_reproduction():
    variants = {"CLIP": "leiden", "no prompt": "none", "random": "random", "one": "one"}
    found_in = {
        name: page
        for page in LAB.glob("*.md")
        for name in re.findall(r"<!-- table: (rq1_\w+) -->", page.read_text("utf-8"))
    }
    assert len(found_in) == 8
    for name, page in found_in.items():
        _, data, form = name.split("_")
        for backbone, variant, *values in table(page, name):
            found = reproduced(data=data, form=form, every=1, backbone=backbone,
                               variant=variants[variant])  # fmt: skip
            assert values[2].split()[0] == f"{mean(found):.4f}", name
            assert values[6] == str(len(found)), name
    variants = ("levels", "leiden", "none", "random levels", "one")
    for data, _, form, backbone, *values in table(
        LAB / "2026-11-28-every-variant-tuned-alike.md", "tuned"
    ):
        for variant, value in zip(variants, values, strict=False):
            found = reproduced(data=data, form=form, every=8, backbone=backbone,
                               variant=variant)  # fmt: skip
            assert value.split()[0] == f"{mean(found):.4f}", (backbone, variant)
            assert len(found) == 3


def test_memory_of_workers():
    shown = [
        [int(cell) for cell in row[1:]]
        for row in table(LAB / "2026-11-30-memory-of-server-workers.md", "workers")
    ]
    found = [list(row["memory_mb"].values()) for row in results("workers.json")]
    assert shown == [[round(value) for value in row] for row in found]


STAGES = {"alone": "base", "`CandidateRanker`": "candidates", "`MMRReranker`": "mmr"}


def test_second_stages():
    rows = results("report/results/second_stage.jsonl")
    shown = table(LAB / "2026-11-30-second-stages.md", "second_stage")
    assert len(shown) == len(rows)
    log = base = None
    for first, second, stage, *cells in shown:
        log, base = first or log, second or base  # given in the first of three rows
        (row,) = [
            row
            for row in rows
            if log.startswith(row["log"])
            and (row["base"], row["stage"]) == (base, STAGES[stage])
        ]
        for cell, metric in zip(cells, METRICS, strict=False):
            values = [value for value in row[metric] if value is not None]
            assert numbers(cell) == pytest.approx(values, abs=6e-5), (log, base, stage)
        lists = [row["cluster_diversity@20"][0], row["coverage@20"][0]]
        assert cells[2:4] == [f"{value:.2f}" for value in lists], (log, base, stage)
        assert cells[4] == f"{row['fit_seconds']:.1f} s"
        assert cells[5] == f"{row['seconds_per_1000']:.2f} s"


def test_kinds_of_item_features():
    rows = results("report/results/item_features.jsonl")
    rows = sorted(rows, key=lambda row: row["log"])
    shown = table(LAB / "2026-12-01-kinds-of-item-features.md", "item_features")
    assert len(shown) == len(rows)
    metrics = ["recall@20", *(f"recall@20, {g}" for g in ("0", "1-5", "6-20", ">20"))]
    log = None
    for (first, kind, *cells), row in zip(shown, rows, strict=True):
        log = first or log
        assert row["log"] == log
        name = row["kind"] if row["vectors"] == "real" else row["vectors"]
        assert kind.startswith(name.partition(",")[0])
        assert ("set_item_features" in kind) == ("set_item_features" in row["kind"])
        for cell, metric in zip(cells, metrics, strict=True):
            assert numbers(cell) == pytest.approx(row[metric][:3], abs=6e-4)


def test_cost_of_a_small_language_model():
    rows = [row for row in results("llm_amazon_beauty.json") if "usage" in row]
    shown = table(LAB / "2026-11-30-small-language-model.md", "small model, cost")
    assert [cells[0] for cells in shown] == [row["mode"] for row in rows]
    for row, (_, n, usable, failures, *cells) in zip(rows, shown, strict=True):
        usage, failed = row["usage"], row["fallbacks"]
        assert n == str(usage["asked"])
        assert usable == f"{1 - sum(failed.values()) / usage['asked']:.0%}".replace(
            "%", " %"
        )
        counts = [text.rsplit(" ", 1) for text in failures.split(", ") if failed]
        assert {reason: int(count) for reason, count in counts} == failed
        assert failed or failures == "none"
        spent = (row["cpu_seconds"], row["seconds"])
        spent += (usage["prompt_tokens"], usage["completion_tokens"])
        for cell, value in zip(cells, spent, strict=False):
            assert numbers(cell) == pytest.approx([value / usage["asked"]], abs=0.51)
        assert cells[4] == f"{row['distinct']:.1f} of {row['entries']:.1f}"


@pytest.mark.parametrize(
    ("mode", "lengths"), [("rerank", (1, 5, 10)), ("expand", (10, 20, 50))]
)
def test_lists_of_a_small_language_model(mode, lengths):
    rows = [row for row in results("llm_amazon_beauty.json") if row["mode"] == mode]
    shown = table(LAB / "2026-11-30-small-language-model.md", f"small model, {mode}")
    assert {way for way, *_ in shown} == {row["way"] for row in rows}
    for way, *cells in shown:
        for cell, metric in zip(
            cells, [*(f"recall@{k}" for k in lengths), "mrr@20"], strict=True
        ):
            values = [row[metric] for row in rows if row["way"] == way]
            expected = [mean(values), pstdev(values)][: len(values)]
            assert numbers(cell) == pytest.approx(expected, abs=6e-4), (way, metric)


def test_types_and_weights_of_events():
    rows = results("event_types.jsonl")
    page = LAB / "2026-12-01-types-and-weights-of-events.md"
    shown = table(page, "event_types")
    assert {cells[0] for cells in shown} == {row["model"] for row in rows}
    for model, *cells, n_seeds in shown:
        own = [row["targets"] for row in rows if row["model"] == model]
        assert n_seeds == str(len(own))
        for kind, cell in zip(("next", "cart", "purchase"), cells, strict=True):
            means = [
                mean(targets[kind][metric] for targets in own) for metric in METRICS
            ]
            assert cell == " / ".join(f"{value:.4f}" for value in means), model
    compared = {row["model"]: row for row in results("event_types.json")}
    shown = table(page, "event_types_differences")
    assert [cells[0] for cells in shown] == [
        model for model in compared for _ in METRICS
    ]
    for model, metric, *cells in shown:
        for kind, cell in zip(("next", "cart", "purchase"), cells, strict=True):
            expected = compared[model][kind][metric.lower()]
            assert numbers(cell) == pytest.approx(expected, abs=6e-5), model


def test_times_as_features():
    rows, compared = results("time_features.jsonl"), results("time_features.json")
    shown = table(LAB / "2026-12-01-time-inside-a-session.md", "time_features")
    for log, features, *cells in shown:
        names = [] if features == "none" else features.split(", ")
        own = [
            row
            for row in rows
            if log.startswith(row["log"])
            and (row["features"], row["shuffled"]) == (names, False)
        ]
        for metric, cell in zip(METRICS, cells, strict=False):
            assert cell == f"{mean(row[metric] for row in own):.4f}", (log, names)
        differences = [
            row
            for row in compared
            if log.startswith(row["log"]) and row["features"] == names
        ]
        assert len(differences) == bool(names)
        for row in differences:
            for base, cell in zip(("none", "control"), cells[2:], strict=True):
                if base in row:
                    expected = row[base]["mrr@20"]
                    assert numbers(cell) == pytest.approx(expected, abs=6e-5)
    assert len(shown) == len(compared) + len({row["log"] for row in rows})


def test_figures_of_scaling_out():
    shown = table(LAB / "2026-12-01-pairs-of-a-log-larger-than-memory.md", "pairs")
    for row, cells in zip(results("pairs.json"), shown, strict=False):
        assert numbers(cells[2]) == [row["pairs"]]
        assert cells[3:] == [f"{row['seconds']:.0f} s", f"{row['peak_gib']:.1f} GiB"]
    steps = results("data_parallel.json")
    shown = table(LAB / "2026-12-01-two-processes-train-together.md", "data_parallel")
    for one, two, cells in zip(steps[::2], steps[1::2], shown, strict=True):
        ratio = two["seconds_a_step"] / one["seconds_a_step"]
        assert numbers(cells[4]) == [round(ratio, 2)]
        if cells[6]:  # what is sent is what the formula says, and some small messages
            assert 1 <= numbers(cells[5])[0] / numbers(cells[6])[0] < 1.2
    costs = table(LAB / "2026-12-01-what-many-machines-would-cost.md", "scale_out")
    assert len(costs) * 3 == len(results("scale_out.json"))
    (cells,) = table(
        LAB / "2026-12-01-lists-for-20-million-sessions.md", "score_everywhere"
    )
    (row,) = [
        row for row in results("score_everywhere.json") if row["sessions"] == 20_000_000
    ]
    peak = max(process["peak_mb"] for process in row["processes"])
    measured = [row["sessions"], row["seconds"], row["sessions_per_second"], peak]
    assert [numbers(cell) for cell in cells[:4]] == [
        [round(value)] for value in measured
    ]
    shown = table(LAB / "2026-12-01-what-a-search-ships.md", "shipping")
    found = [row["searches"][0]["mb"] for row in results("shipping.json")]
    assert sorted(numbers(cells[2])[0] for cells in shown) == sorted(map(round, found))


def test_updates_day_by_day():
    rows = results("incremental.json")
    shown = table(LAB / "2026-11-30-what-updates-bring.md", "incremental")
    for day, model, *cells in shown:
        own = [row for row in rows if (str(row["day"]), row["model"]) == (day, model)]
        assert cells[:2] == [f"{mean(row[m] for row in own):.3f}" for m in METRICS]
    assert len(shown) == 6


def test_page_of_results():
    page = DOCS / "results.md"
    found = json.loads(
        (ROOT / "benchmarks/report/results/eight_logs.json").read_text("utf-8")
    )
    controls = ("no prompts", "random clusters")
    shown = table(page, "results_prompts")
    logs = sorted(found["clicks_per_item"], key=found["clicks_per_item"].get)
    for log, (_, clicks, *cells) in zip(logs, shown, strict=True):
        assert float(clicks) == found["clicks_per_item"][log]
        pairs = [(c, m) for c in controls for m in METRICS]
        for cell, (control, metric) in zip(cells, pairs, strict=True):
            expected = [100 * x for x in found["differences"][log][control][metric]]
            assert numbers(cell) == pytest.approx(expected, abs=0.06), (log, control)
    blends = ROOT / "benchmarks/report/results/eight_logs_blend.json"
    found = json.loads(blends.read_text("utf-8"))["differences"]
    for log, (name, *cells) in zip(logs, table(page, "results_models"), strict=True):
        for model, cell in zip(("neighbors", "repeats", "blend"), cells, strict=False):
            values = [eight_logs(name, model, metric) for metric in METRICS]
            assert cell == " / ".join(f"{100 * value:.1f}" for value in values), (
                log,
                model,
            )
        for cell, metric in zip(cells[3:], METRICS, strict=True):
            expected = [100 * x for x in found[log]["neighbors"][metric]]
            assert numbers(cell) == pytest.approx(expected, abs=0.06), (log, metric)
    shown = table(page, "results_backbones")
    assert len(shown) == 12
    gains = json.loads(
        (ROOT / "benchmarks/report/results/reproduce_gains.json").read_text("utf-8")
    )["gains"]
    asked = {"data": "rsc15", "form": "strong", "every": 1, "variant": "leiden"}
    for name, _, mrr, *cells in shown:
        asked["backbone"] = name.lower().replace("-", "")
        assert mrr == f"{100 * mean(reproduced(**asked)):.1f}", name
        (gain,) = [
            g for g in gains if (asked | {"control": "none"}).items() <= g.items()
        ]
        for cell, metric in zip(cells, METRICS, strict=True):
            assert numbers(cell) == pytest.approx(gain[metric], abs=0.06), name


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("choose.leiden_without_gpl", ["table"]),
        ("choose.pomrec", ["table"]),
        ("choose.updates", ["table"]),
        ("report.incremental", ["--table"]),
        ("report.recipes", ["--table"]),
        ("report.repeats", ["--table"]),
        ("report.reproduce_tables", []),
        ("report.results_page", []),
        ("report.sasrec", ["table"]),
        ("report.unseen", ["--table"]),
        ("speed.onnx", ["--table"]),
        ("speed.scale_out", []),
    ],
)
def test_tables_are_those_that_the_script_writes(script, arguments, monkeypatch):
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT)
    module = importlib.import_module(f"benchmarks.{script}")
    written = {}

    def keep(page, name, text):
        lines = [line[2:-2].split(" | ") for line in text.split("\n")[2:]]
        written[ROOT / page, name] = lines

    monkeypatch.setattr(module, "replace_table", keep)
    for name in ("save", "draw_figure", "draw_figures"):  # these write files
        if hasattr(module, name):
            monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    module.main()
    assert written
    for (page, name), lines in written.items():
        assert table(page, name) == lines, name


# In the order of the table: settings by their value before and after the change.
CHANGES = [
    {"backbone": ("gru4rec", "core")},
    {
        "temperature": (0.1, 0.07),
        "loss": ("cross_entropy", "cross_entropy"),
        "resolution": (1, 1),
    },
    {"prompt": ("cluster", None), "prompt__candidates": ("prompted", None)},
    {"max_epochs": (10, 20), "resolution": (1, 1)},
    {"resolution": (1, [1, 16, 256]), "backbone": ("gru4rec", "gru4rec")},
    {"learning_rate": (0.005, 0.01), "resolution": (1, 1)},
    {"batch_size": ("auto", 128)},
    {"early_stopping": (False, True), "max_epochs": (10, 20)},
]


def gains_of(change):
    """Gain on each log by a change of the settings; unseen items dropped if known."""
    base = {"backbone": "gru4rec", "resolution": 1, "prompt": "cluster"}
    base |= {"batch_size": "auto", "loss": "cross_entropy", "unseen_items": "vote"}
    found = {}
    for row in results("choose/results/defaults.jsonl"):
        if "model" not in row["setting"]:
            setting = base | {"prompt__candidates": None} | row["setting"]
            value = sum(math.log(row[metric]) for metric in METRICS)
            found[json.dumps([row["log"], row["seed"], setting], sort_keys=True)] = (
                value
            )
    gains = {}
    for key, value in found.items():
        log, seed, setting = json.loads(key)
        if all(setting.get(name) == old for name, (old, _) in change.items()):
            changed = setting | {name: new for name, (_, new) in change.items()}
            after = found.get(json.dumps([log, seed, changed], sort_keys=True))
            if after is not None:
                drops = setting["unseen_items"] == "drop"
                gains.setdefault(log, {}).setdefault(drops, []).append(after - value)
    return [gain for of_log in gains.values() for gain in of_log[max(of_log)]]


def test_what_to_tune_first():
    shown = table(DOCS / "guide" / "tune.md", "tune_first")
    for change, (name, *cells) in zip(CHANGES, shown, strict=True):
        gains = gains_of(change)
        assert len(gains) >= 3, name
        expected = [min(gains), max(gains)]
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=6e-3), (
            name
        )
