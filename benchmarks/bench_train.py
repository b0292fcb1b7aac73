"""Prefixes per second of training and peak memory, per backbone, form and data set.

    SKCLIP_DATA=... python benchmarks/bench_train.py [--seconds 20] \\
        [--peer-python PATH] [--data rsc15_100k diginetica] [--backbones gru4rec ...]

Each cell trains in a process of its own for some seconds after a warm-up of one;
clusters come from igraph's engine and are not counted. The baseline of the ratio is
one usual loss step of the same shape, timed in the same process. PATH is an
interpreter that has RecBole; its models then run on the same prefixes in between
(`peer_recbole.py`).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import diginetica_rows, replace_table, rsc15, save
from _common import load as load_results
from torch.nn import functional as F

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip._data import training_data
from skclip.backbones import BACKBONES

PEERS = {
    "gru4rec": "GRU4Rec",
    "narm": "NARM",
    "stamp": "STAMP",
    "core": "CORE",
    "srgnn": "SRGNN",
    "gcsan": "GCSAN",
}
DATA = ("rsc15_100k", "diginetica")
FORMS = {
    "bare": {"prompt": None},
    "CLIP": {},
    "CLIP, prompted candidates": {"candidates": "prompted"},
    "bare, sampled_softmax": {
        "prompt": None,
        "loss": "sampled_softmax",
        "n_negatives": 2048,
    },
}


def load(data):
    if data == "rsc15_100k":
        return rsc15("train_tr")
    return Sessions.from_lists(diginetica_rows())


def cell(data, backbone, form, seconds):
    X = load(data)
    if "CLIP" in form:
        X = SessionClusterer(engine="igraph", random_state=0).fit_transform(X)
    model = CLIPSessionRecommender(
        backbone,
        **FORMS[form],
        early_stopping=False,
        random_state=0,
        batch_size=512,
        max_epochs=1000,
    )
    model.set_params(max_time=1).fit(X)  # warm-up
    counted = count_steps(model.set_params(max_time=seconds), X)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    usual = usual_step_rate(model.n_items_)
    return {
        "data": data,
        "backbone": backbone,
        "form": form,
        "prefixes_per_second": counted,
        "ratio_to_usual_loss_step": counted / usual,
        "peak_gib": peak,
    }


def count_steps(model, X):
    from skclip import _training

    seen, spent = [], []
    step = _training._Stepper.step

    def counting(self, batch, done):
        begun = time.perf_counter()
        value = step(self, batch, done)
        seen.append(len(batch.targets))
        spent.append(begun)
        return value

    _training._Stepper.step = counting
    model.fit(X)
    _training._Stepper.step = step
    return float(sum(seen[:-1]) / (spent[-1] - spent[0]))


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
    X = training_data(load(data))
    instances = X.instances(np.flatnonzero(np.diff(X.offsets) > 1), 50)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefixes.npz"
        np.savez(
            file,
            codes=instances.codes,
            starts=instances.starts,
            stops=instances.stops,
            targets=instances.targets,
        )
        script = Path(__file__).parent / "peer_recbole.py"
        command = [python, "-W", "ignore", script, file, PEERS[backbone], str(seconds)]
        line = last_line(command)
    return {"data": data, "backbone": backbone, "form": "RecBole", **line}


def last_line(command):
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"{command} failed:\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--peer-python")
    parser.add_argument("--data", nargs="+", default=DATA, choices=DATA)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument(
        "--forms",
        nargs="+",
        choices=FORMS,
        help="all for gru4rec and narm, bare for the others, if not said",
    )
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--cell", nargs=3, metavar=("DATA", "BACKBONE", "FORM"))
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(*arguments.cell, arguments.seconds)))
        return
    if arguments.table:
        write_table()
        return
    rows = []
    for data in arguments.data:
        for backbone in arguments.backbones:
            of_backbone = FORMS if backbone in ("gru4rec", "narm") else ["bare"]
            for form in arguments.forms or of_backbone:
                command = [sys.executable, "-W", "ignore", __file__]
                command += ["--seconds", str(arguments.seconds)]
                rows.append(last_line([*command, "--cell", data, backbone, form]))
                print(rows[-1], flush=True)
            if arguments.peer_python and backbone in PEERS:
                rows.append(
                    peer_cell(arguments.peer_python, data, backbone, arguments.seconds)
                )
                print(rows[-1], flush=True)
            save("bench_train", {"protocol": __doc__, "rows": rows})
    write_table()


def write_table():
    """Put the results into benchmarks/README.md, and a short table into README.md."""
    rows = load_results("bench_train")["rows"]
    short = ["| data | backbone | skclip | RecBole | times as fast |", "|---" * 5 + "|"]
    head = ["data", "backbone", *FORMS, "peer", "ratio", "peak GiB"]
    lines = [head, ["---"] * len(head)]
    for data, backbone in dict.fromkeys((r["data"], r["backbone"]) for r in rows):
        cells = {
            r["form"]: r for r in rows if (r["data"], r["backbone"]) == (data, backbone)
        }
        rates = [cells.get(form, {}).get("prefixes_per_second") for form in FORMS]
        peer = cells.get("RecBole")
        both = f"{peer['as_shipped']:,.0f}; {peer['debug_off']:,.0f}" if peer else "-"
        ratios = (
            [rates[0] / peer[k] for k in ("as_shipped", "debug_off")] if peer else []
        )
        lines.append(
            [
                *(data, backbone),
                *(f"{rate:,.0f}" if rate else "-" for rate in rates),
                both,
                "; ".join(f"{ratio:.1f}" for ratio in ratios) or "-",
                f"{max(c.get('peak_gib', 0) for c in cells.values()):.2f}",
            ]
        )
        if peer:
            ratio = f"{ratios[0]:.0f}; {ratios[1]:.0f}"
            cells = (data, backbone, f"{rates[0]:,.0f}", both, ratio)
            short.append(f"| {' | '.join(cells)} |")
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    replace_table("benchmarks/README.md", "bench_train", table)
    replace_table("README.md", "speed", "\n".join(short))


if __name__ == "__main__":
    main()
