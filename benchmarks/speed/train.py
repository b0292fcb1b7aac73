"""Prefixes per second of training and peak memory, per backbone, form and data set.

    SKCLIP_DATA=... python -m benchmarks.speed.train [--seconds 20] \\
        [--peer-python PATH] [--against FOLDER] [--data rsc15_100k diginetica] \\
        [--backbones gru4rec ...]

Each cell trains in a process of its own for some seconds after a warm-up of one;
clusters come from igraph's engine and are not counted. The baseline of the ratio is
one usual loss step of the same shape, timed in the same process. PATH is an
interpreter that has RecBole; its models then run on the same prefixes in between
(`peer_recbole.py`). Loss and scores of a form are those of `benchmarks/_november.py`.
Rows of cells that are not asked for are kept. With --against, each cell takes turns
with the same cell of another checkout, and only the ratios are kept, in a file of their
own.
"""

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks._data import rsc15, training_rows
from benchmarks._november import old_defaults
from benchmarks._results import (
    ROOT,
    markdown,
    new_parser,
    replace_table,
    rows_of,
    save,
)
from benchmarks.speed._measuring import (
    counted,
    in_fresh_process,
    peak_gib,
    prefixes_per_second,
)
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.backbones import BACKBONES

PEERS = {
    "gru4rec": "GRU4Rec",
    "narm": "NARM",
    "stamp": "STAMP",
    "core": "CORE",
    "srgnn": "SRGNN",
    "gcsan": "GCSAN",
}
MODULE = "benchmarks.speed.train"
DATA = ("rsc15_100k", "diginetica")
NOTE = "benchmarks/lab/2026-11-21-training-speed.md"
FORMS = {
    "bare": {"prompt": None},
    "CLIP": {},
    "CLIP, prompted candidates": {"prompt__candidates": "prompted"},
    "bare, sampled_softmax": {
        "prompt": None,
        "loss": "sampled_softmax",
        "loss__n_negatives": 2048,
    },
}


def sessions(data):
    if data == "rsc15_100k":
        return rsc15("train_tr")
    return Sessions.from_lists(training_rows(data))


def cell(data, backbone, form, seconds):
    X, steps = sessions(data), []
    if "CLIP" in form:
        X = SessionClusterer(engine="igraph", random_state=0).fit_transform(X)
    options = {"early_stopping": False, "batch_size": 512, "max_epochs": 1000}
    model = CLIPSessionRecommender(counted(BACKBONES[backbone], steps), random_state=0)
    model.set_params(**old_defaults(backbone, **options | FORMS[form]))
    model.set_params(max_time=1).fit(X)  # warm-up
    steps.clear()
    model.set_params(max_time=seconds).fit(X)
    rate, peak = prefixes_per_second(steps), peak_gib()
    return {
        "data": data,
        "backbone": backbone,
        "form": form,
        "prefixes_per_second": rate,
        "ratio_to_usual_loss_step": rate / usual_step_rate(model.n_items_),
        "peak_gib": peak,
    }


def usual_step_rate(n_items):
    z = torch.randn(512, 64, requires_grad=True)
    table = torch.randn(n_items, 64, requires_grad=True)
    y = torch.randint(n_items, (512,))
    times = []
    for _ in range(8):
        z.grad = table.grad = None
        begun = time.perf_counter()
        F.cross_entropy(z @ table.T, y).backward()
        times.append(time.perf_counter() - begun)
    return 512 / float(np.median(times[2:]))


def peer_cell(python, data, backbone, seconds):
    prefixes, targets = sessions(data).to_prefixes()
    items = np.concatenate([prefixes.vocabulary[prefixes.codes], targets])
    codes = np.unique(items, return_inverse=True)[1] + 1
    n_events = len(prefixes.codes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefixes.npz"
        np.savez(
            file,
            codes=codes[:n_events],
            starts=np.maximum(prefixes.offsets[:-1], prefixes.offsets[1:] - 50),
            stops=prefixes.offsets[1:],
            targets=codes[n_events:],
        )
        line = in_fresh_process(
            "benchmarks.speed.peer_recbole",
            *(file, PEERS[backbone], seconds),
            python=python,
        )
    return {"data": data, "backbone": backbone, "form": "RecBole", **line}


def forms_of(backbone):
    return list(FORMS) if backbone in ("gru4rec", "narm") else ["bare"]


def run(data, backbones, forms, seconds, peer_python):
    """Yield the row of each cell."""
    for backbone in backbones:
        for form in forms or forms_of(backbone):
            cell_of = ("--seconds", seconds, "--cell", data, backbone, form)
            yield in_fresh_process(MODULE, *cell_of)
        if peer_python and backbone in PEERS:
            yield peer_cell(peer_python, data, backbone, seconds)


def is_asked_for(row, arguments):
    """Whether `run` makes a row like this one."""
    backbone, form = row["backbone"], row["form"]
    forms = [*(arguments.forms or forms_of(backbone))]
    forms += ["RecBole"] if arguments.peer_python else []
    return (
        row["data"] in arguments.data
        and backbone in arguments.backbones
        and form in forms
    )


def compare(arguments):
    """Print and keep the rate of each cell, and its ratio to that elsewhere."""
    rows = []
    for data in arguments.data:
        for backbone in arguments.backbones:
            for form in arguments.forms or forms_of(backbone):
                cell_of = (
                    "--seconds",
                    arguments.seconds,
                    "--cell",
                    data,
                    backbone,
                    form,
                )
                here, there = [], []
                for _ in range(arguments.rounds):
                    for rates, checkout in ((there, arguments.against), (here, ROOT)):
                        row = in_fresh_process(MODULE, *cell_of, checkout=checkout)
                        rates.append(row["prefixes_per_second"])
                row = {"data": data, "backbone": backbone, "form": form}
                row |= {"ratio": float(np.median(here) / np.median(there))}
                row |= {"rates": here, "before": there}
                rows.append(row)
                print(f"{row['ratio']:.2f}", row, flush=True)
                save("speed/against.json", {"protocol": __doc__, "rows": rows})


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--peer-python")
    parser.add_argument("--against", metavar="FOLDER", help="another checkout")
    parser.add_argument("--rounds", type=int, default=5, help="with --against")
    parser.add_argument("--data", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument(
        "--forms",
        nargs="+",
        choices=FORMS,
        help="default: all for gru4rec and narm, bare for the others",
    )
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--cell", nargs=3, metavar=("DATA", "BACKBONE", "FORM"))
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(*arguments.cell, arguments.seconds)))
        return
    if arguments.against:
        compare(arguments)
        return
    rows = rows_of("speed/train.json")
    if not arguments.table:
        rows = [row for row in rows if not is_asked_for(row, arguments)]
    for data in () if arguments.table else arguments.data:
        for row in run(
            data,
            arguments.backbones,
            arguments.forms,
            arguments.seconds,
            arguments.peer_python,
        ):
            rows.append(row)
            print(row, flush=True)
            save("speed/train.json", {"protocol": __doc__, "rows": rows})
    write_tables()


def write_tables():
    """Print the table of the results, and put a short one into the note."""
    rows = rows_of("speed/train.json")
    short, lines = [], []
    for data, backbone in dict.fromkeys((r["data"], r["backbone"]) for r in rows):
        cells = {
            r["form"]: r for r in rows if (r["data"], r["backbone"]) == (data, backbone)
        }
        rates = [cells.get(form, {}).get("prefixes_per_second") for form in FORMS]
        shown = [f"{rate:,.0f}" if rate else "-" for rate in rates]
        both = times = "-"
        if peer := cells.get("RecBole"):
            both = f"{peer['as_shipped']:,.0f}; {peer['debug_off']:,.0f}"
            ratios = [rates[0] / peer[k] for k in ("as_shipped", "debug_off")]
            times = "; ".join(f"{ratio:.1f}" for ratio in ratios)
            whole = "; ".join(f"{ratio:.0f}" for ratio in ratios)
            short.append([data, backbone, shown[0], both, whole])
        peak = max(c.get("peak_gib", 0) for c in cells.values())
        usual = f"{cells['bare']['ratio_to_usual_loss_step']:.2f}"
        lines.append([data, backbone, times, usual, *shown, both, f"{peak:.2f}"])
    head = ["data", "backbone", "bare / peer", "bare / usual loss step", *FORMS]
    head += ["peer", "peak GiB"]
    print(markdown(head, lines))
    head = ["data", "backbone", "skclip", "RecBole", "times as fast"]
    replace_table(NOTE, "speed", markdown(head, short))


if __name__ == "__main__":
    main()
