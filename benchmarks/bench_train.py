"""Prefixes per second of training and peak memory, per backbone, form and data set.

    SKCLIP_DATA=... python benchmarks/bench_train.py [--seconds 20]

Each cell trains in a process of its own for some seconds after a warm-up of one;
clusters come from igraph's engine and are not counted. The baseline of the ratio is
one usual loss step of the same shape, timed in the same process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from _common import diginetica_rows, rsc15, save
from torch.nn import functional as F

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions

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


def cell(data, backbone, form, seconds):
    if data == "rsc15_100k":
        X = rsc15("train_tr", "train_valid")
    else:
        X = Sessions.from_lists(diginetica_rows())
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--cell", nargs=3, metavar=("DATA", "BACKBONE", "FORM"))
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(cell(*arguments.cell, arguments.seconds)))
        return
    rows = []
    for data in ("rsc15_100k", "diginetica"):
        for backbone in ("gru4rec", "narm"):
            for form in FORMS:
                run = subprocess.run(
                    [
                        *(sys.executable, "-W", "ignore", __file__),
                        *("--seconds", str(arguments.seconds)),
                        *("--cell", data, backbone, form),
                    ],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                rows.append(json.loads(run.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
    save("bench_train", {"protocol": __doc__, "rows": rows})


if __name__ == "__main__":
    main()
