"""Every backbone on a CUDA device: agreement with the CPU, training speed, memory.

    SKCLIP_DATA=... python -m benchmarks.speed.gpu
    python -m benchmarks.speed.gpu --tiny --device cpu

At most eight minutes in all:

- Each backbone is fitted for some seconds on the clicks of rsc15_100k, with cluster
  prompts and the bias of `repeats`. The fitted model is saved and opened on the CPU,
  and both rank the same prefixes. Lists and ranks may differ among items whose scores
  on the CPU are within `TOLERANCE` of the span of the session's scores. By default
  cuDNN rounds the products of a GRU to 10 bits (TF32). The models have to agree with
  TF32 off; how far they are with it stands beside. A process that sees no CUDA device
  then opens the files as they were saved.
- Prefixes per second of training without prompts, in float32 and in bfloat16, as
  ratios to a step of ``F.cross_entropy(z @ table.T, y)`` and of
  ``torch.nn.functional.linear_cross_entropy`` of the same shape and precision.
- Training steps of a backbone that returns the vector of the last item, with the
  catalog of Diginetica, beside the same two: little more than a loss step and Adam.

Each training step reads its loss from the device, so that its time is that of finished
work; steps of the others end with a synchronization. Peak memory is that of torch's
allocator on CUDA, of the process elsewhere. What does not fit a section's time is left
out and listed under "skipped". Failures are listed under "failed" and make the exit
status 1. With ``--tiny`` all of this runs on a few simulated sessions, to see that it
does. The results of a run on CUDA are kept in ``results/gpu.json``; ``--output`` names
another file.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

import skclip
from benchmarks._data import rsc15
from benchmarks._results import environment, markdown, new_parser, result_file
from benchmarks.speed._measuring import (
    counted,
    in_fresh_process,
    peak_gib,
    prefixes_per_second,
)
from benchmarks.speed.engine import LastItem
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.backbones import BACKBONES
from skclip.datasets import make_sessions

RESULTS = "speed/gpu.json"
TOLERANCE = 1e-4
K = 20
PRECISIONS = ("float32", "bf16")
FORMS = ("cross_entropy", "linear_cross_entropy", "linear_cross_entropy, chunked")
SECTION_SECONDS = {"agreement": 230, "files": 30, "training": 140, "loss step": 50}
FULL = {
    "fit": {"max_epochs": 3, "max_time": 4.0},
    "timed": {"max_epochs": 1000, "embedding_dim": 64, "batch_size": 512},
    "seconds": 4.0,
    "queries": 2000,
    "catalog": 43_097,
    "rounds": 20,
}
TINY = {
    "fit": {"max_epochs": 1, "embedding_dim": 16, "max_time": 2.0},
    "timed": {"max_epochs": 2, "embedding_dim": 16, "batch_size": 64},
    "seconds": 0.5,
    "queries": 60,
    "catalog": 500,
    "rounds": 2,
}


class Report:
    """Rows of the sections, what was left out, what failed; a deadline for each."""

    def __init__(self):
        self.rows = {section: [] for section in SECTION_SECONDS}
        self.skipped, self.failed = [], []

    def begin(self, section):
        self.section = section
        self.deadline = time.perf_counter() + SECTION_SECONDS[section]

    def take(self, seconds, measure, *arguments, **names):
        """Add the row of a measurement, if there is time for so many seconds."""
        where = {"section": self.section} | names
        if time.perf_counter() + seconds > self.deadline:
            self.skipped.append(where)
            return
        begun = time.perf_counter()
        try:
            self.rows[self.section].append(names | measure(*arguments))
        except (Exception, SystemExit) as error:  # the others are still of interest
            text = f"{type(error).__name__}: {error}"
            self.failed.append(where | {"error": text[:2000]})
        took = f"{time.perf_counter() - begun:.1f} s"
        print(self.section, *names.values(), took, file=sys.stderr, flush=True)


# -- the device ------------------------------------------------------------------------


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device):
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak(device):
    """Largest memory since `forget_peak` on CUDA, of the process elsewhere, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return peak_gib()


def described(device):
    """What the environment of a result says of the device."""
    if device.type != "cuda":
        return {"device": device.type}
    facts = torch.cuda.get_device_properties(device)
    return {
        "device": "cuda",
        "gpu": facts.name,
        "gpu_gib": facts.total_memory / 2**30,
        "capability": list(torch.cuda.get_device_capability(device)),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
        "matmul_allow_tf32": torch.backends.cuda.matmul.allow_tf32,
    }


# -- agreement with the CPU ------------------------------------------------------------


def agreement(backbone, X, queries, device, sizes, folder):
    """Fit on the device, save, open on the CPU, and compare both."""
    forget_peak(device)
    begun = time.perf_counter()
    model = CLIPSessionRecommender(
        backbone, device=str(device), random_state=0, **sizes["fit"]
    ).fit(X)
    synchronize(device)
    row = {
        "fit_seconds": time.perf_counter() - begun,
        "epochs": model.n_iter_,
        "precision": model.resolved_params_["precision"],
        "has_repeat_bias": model.repeat_bias_ is not None,
        "peak_gib": peak(device),
    }
    expected = ranked(opened_on_cpu(model, folder, backbone), *queries)
    if device.type == "cuda":
        row["tf32"] = compared(expected, ranked(model, *queries))
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        row |= compared(expected, ranked(model, *queries))
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    if row["lists_beyond_ties"] or row["ranks_beyond_ties"]:
        raise AssertionError(f"The CPU ranks otherwise than {device}: {row}")
    return row


def opened_on_cpu(model, folder, name):
    """Save a model as it is and for the CPU, and open the latter file."""
    skclip.save(model, folder / "as_fitted" / name)
    device = model.device
    skclip.save(model.set_params(device="cpu"), folder / "for_cpu" / name)
    model.set_params(device=device)
    return skclip.load(folder / "for_cpu" / name)


def files(folder):
    """Models as they were fitted, opened where no CUDA device is seen."""
    found = in_fresh_process("benchmarks.speed.gpu", "--open", folder / "as_fitted")
    expected = lists_of_files(folder / "for_cpu")
    differ = [name for name, lists in expected.items() if found[name] != lists]
    if differ:
        raise AssertionError(f"Models rank otherwise where CUDA is hidden: {differ}")
    return {"opened": len(found)}


def lists_of_files(folder):
    paths = sorted(folder.iterdir())
    return {path.name: lists_of_single_items(skclip.load(path)) for path in paths}


def lists_of_single_items(model):
    rows = [[item] for item in model.item_ids_[:50].tolist()]
    return model.predict_topk(rows, k=5).tolist()


def ranked(model, prefixes, targets):
    """Scores, columns of the lists, targets' columns and ranks."""
    lists = model.predict_topk(prefixes, k=min(K, model.n_items_))
    order = np.argsort(model.item_ids_)

    def columns(items):
        return order[np.searchsorted(model.item_ids_, items, sorter=order)]

    return {
        "scores": model.decision_function(prefixes).astype(np.float64),
        "lists": columns(lists),
        "targets": columns(targets),
        "ranks": model.rank_targets(prefixes, targets),
    }


def compared(expected, found):
    """How many lists and ranks differ, and how many of them beyond ties."""
    scores, targets = expected["scores"], expected["targets"]
    span = np.ptp(scores, axis=1, keepdims=True)
    near = TOLERANCE * span
    differences = abs(found["scores"] - scores) / np.maximum(span, 1e-30)
    of_lists = [np.take_along_axis(scores, s["lists"], 1) for s in (expected, found)]
    other_list = (expected["lists"] != found["lists"]).any(axis=1)
    beyond = (abs(of_lists[0] - of_lists[1]) > near).any(axis=1)
    own = np.take_along_axis(scores, targets[:, None], 1)
    lowest = 1 + (scores > own + near).sum(axis=1)
    highest = (scores >= own - near).sum(axis=1)
    ranks = found["ranks"]
    return {
        "queries": len(scores),
        "largest_difference": float(differences.max()),
        "lists_that_differ": int(other_list.sum()),
        "lists_beyond_ties": int(beyond.sum()),
        "ranks_that_differ": int((ranks != expected["ranks"]).sum()),
        "ranks_beyond_ties": int(((ranks < lowest) | (ranks > highest)).sum()),
    }


# -- speed -----------------------------------------------------------------------------


def training(spec, X, precision, device, sizes):
    """Prefixes per second of training with the full softmax, without prompts."""
    steps = []
    forget_peak(device)
    model = CLIPSessionRecommender(
        counted(spec, steps),
        prompt=None,
        loss="cross_entropy",
        early_stopping=False,
        repeats=False,
        precision=precision,
        device=str(device),
        random_state=0,
        max_time=sizes["seconds"],
        **sizes["timed"],
    ).fit(X)
    steps = steps[min(10, len(steps) // 2) :]  # the first ones load kernels
    return {
        "prefixes_per_second": prefixes_per_second(steps),
        "steps": len(steps) - 1,
        "peak_gib": peak(device),
        "items": model.n_items_,
    }


def usual(form, precision, n_items, device, sizes):
    """A loss step of torch alone, forwards and backwards."""
    n, d = sizes["timed"]["batch_size"], sizes["timed"]["embedding_dim"]
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, d, generator=generator).to(device).requires_grad_()
    table = 0.3 * torch.randn(n_items, d, generator=generator)
    table = table.to(device).requires_grad_()
    y = torch.randint(n_items, (n,), generator=generator).to(device)
    loss_of = loss_forms()[form]
    low = precision == "bf16"
    forget_peak(device)
    times = []
    for _ in range(2 + sizes["rounds"]):
        z.grad = table.grad = None
        synchronize(device)
        begun = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
            loss = loss_of(z, table, y)
        loss.backward()
        synchronize(device)
        times.append(time.perf_counter() - begun)
    seconds = float(np.median(times[2:]))
    return {
        "milliseconds": 1e3 * seconds,
        "prefixes_per_second": n / seconds,
        "peak_gib": peak(device),
        "items": n_items,
    }


def loss_forms():
    """Loss steps of torch by name; `linear_cross_entropy` is new in torch 2.13."""

    def chunked(z, table, y):
        options = torch.nn.LinearCrossEntropyOptions()
        return F.linear_cross_entropy(z, table, y, options=options)

    steps = (
        lambda z, table, y: F.cross_entropy(z @ table.T, y),
        lambda z, table, y: F.linear_cross_entropy(z, table, y),
        chunked,
    )
    return dict(zip(FORMS, steps, strict=True))


def pairs(n_items):
    """Sessions of two items each, one prefix a session, that use all items."""
    items = np.random.default_rng(0).permutation(n_items + n_items % 2)
    offsets = np.arange(0, len(items) + 1, 2)
    return Sessions(items.astype(np.int32), offsets, np.arange(len(items)))


# -- the whole -------------------------------------------------------------------------


def data(tiny, n_queries):
    """Sessions with clusters to train on, and prefixes with targets to rank."""
    if tiny:
        X, _ = make_sessions(n_sessions=300, n_items=60, random_state=0)
        train, valid = X[:240], X[240:]
    else:
        train, valid = rsc15("train_tr"), rsc15("train_valid")
    train = SessionClusterer(engine="igraph", random_state=0).fit_transform(train)
    prefixes, targets = valid.to_prefixes()
    known = np.flatnonzero(np.isin(targets, np.unique(train.vocabulary[train.codes])))
    known = known[np.linspace(0, len(known) - 1, n_queries).astype(int)]
    return train, (prefixes[known], targets[known])


def measure(report, device, backbones, sizes, tiny):
    """Fill a report."""
    X, queries = data(tiny, sizes["queries"])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ("as_fitted", "for_cpu"):
            (folder / name).mkdir()
        report.begin("agreement")
        for backbone in backbones:
            what = X, queries, device, sizes, folder
            seconds = 2 * sizes["fit"]["max_time"] + 5
            report.take(seconds, agreement, backbone, *what, backbone=backbone)
        report.begin("files")
        report.take(15, files, folder)
    seconds, n_items = sizes["seconds"] + 2, len(np.unique(X.codes))
    report.begin("training")
    for precision in PRECISIONS:
        for form in FORMS:
            arguments = form, precision, n_items, device, sizes
            report.take(seconds, usual, *arguments, form=form, precision=precision)
    for backbone in backbones:
        for precision in PRECISIONS:
            if (backbone, precision) == ("tagnn", "bf16"):  # float32 alone
                continue
            arguments = BACKBONES[backbone], X, precision, device, sizes
            names = {"form": backbone, "precision": precision}
            report.take(seconds, training, *arguments, **names)
    report.begin("loss step")
    X = pairs(sizes["catalog"])
    for precision in PRECISIONS:
        for form in FORMS:
            arguments = form, precision, sizes["catalog"], device, sizes
            report.take(seconds, usual, *arguments, form=form, precision=precision)
        names = {"form": "skclip, last item", "precision": precision}
        report.take(seconds, training, LastItem, X, precision, device, sizes, **names)


def print_tables(content):
    """Ratios first, then agreement."""
    for section in ("training", "loss step"):
        rows = content["rows"][section]
        rates = {(r["form"], r["precision"]): r["prefixes_per_second"] for r in rows}
        lines = []
        for row in rows:
            floor = [rates.get((form, row["precision"])) for form in FORMS]
            rate = row["prefixes_per_second"]
            ratios = [f"{rate / other:.2f}" if other else "-" for other in floor]
            cells = [row["form"], row["precision"], f"{row['items']:,}", *ratios]
            lines.append([*cells, f"{rate:,.0f}", f"{row['peak_gib']:.2f}"])
        head = ["step", "precision", "items", *(f"/ {form}" for form in FORMS)]
        print(f"\n{markdown([*head, 'prefixes per second', 'peak GiB'], lines)}")
    head = ["backbone", "queries", "lists", "beyond ties", "ranks", "beyond ties"]
    lines = []
    for row in content["rows"]["agreement"]:
        counts = ("lists_that_differ", "lists_beyond_ties")
        counts += ("ranks_that_differ", "ranks_beyond_ties")
        cells = [row["backbone"], str(row["queries"]), *(str(row[c]) for c in counts)]
        with_tf32 = row.get("tf32", {}).get("largest_difference")
        differences = [row["largest_difference"], with_tf32]
        cells += ["-" if x is None else f"{x:.1e}" for x in differences]
        lines.append([*cells, f"{row['peak_gib']:.2f}"])
    head += ["largest difference", "with TF32", "peak GiB"]
    print(f"\n{markdown(head, lines)}\n")
    for what in ("skipped", "failed"):
        print(f"{what}:", content[what] or "nothing")


def checked_device(name):
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device. Pass --device cpu --tiny to try it.")
    return device


def written(path, content, device):
    """Write the one file."""
    content = {"environment": environment() | described(device)} | content
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print("wrote", path)


def output_path(arguments, device):
    """The committed file for a whole run on CUDA alone."""
    if arguments.output is not None:
        return arguments.output
    if device.type == "cuda" and not arguments.tiny:
        return result_file(RESULTS)
    return Path(tempfile.mkdtemp()) / "gpu.json"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="simulated sessions")
    parser.add_argument("--seconds", type=float, help="length of each timed fit")
    parser.add_argument("--backbones", nargs="+", default=[*BACKBONES])
    parser.add_argument("--output", type=Path, help="another file than that of CUDA")
    parser.add_argument(
        "--open", type=Path, help="folder of models to open without CUDA"
    )
    arguments = parser.parse_args()
    if arguments.open:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        print(json.dumps(lists_of_files(arguments.open)))
        return
    device = checked_device(arguments.device)
    sizes = dict(TINY if arguments.tiny else FULL)
    sizes["seconds"] = arguments.seconds or sizes["seconds"]
    begun, report = time.perf_counter(), Report()
    measure(report, device, arguments.backbones, sizes, arguments.tiny)
    content = {
        "protocol": __doc__,
        "tiny": arguments.tiny,
        "sizes": sizes,
        "seconds": time.perf_counter() - begun,
        "rows": report.rows,
        "skipped": report.skipped,
        "failed": report.failed,
    }
    print_tables(content)
    written(output_path(arguments, device), content, device)
    if report.failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
