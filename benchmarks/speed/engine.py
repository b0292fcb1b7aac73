"""One training step's loss at 512 x 64 x 43,097 against its floor and the usual form.

    python benchmarks/bench_engine.py

The usual form is ``F.cross_entropy(z @ W.T, y).backward()``; the floor is the three
matrix products alone, written to buffers that exist. All are timed in turn, in one
run, so that ratios hold on a noisy machine.
"""

import sys
import time

import numpy as np
import torch
from _common import load, replace_table, save
from torch.nn import functional as F

from skclip._training import CrossEntropy, resolve_precision

N, D, N_ITEMS, ROUNDS = 512, 64, 43_097, 15


def main():
    if "--table" in sys.argv:
        write_table()
        return
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(N, D, generator=generator).requires_grad_()
    table = (0.3 * torch.randn(N_ITEMS, D, generator=generator)).requires_grad_()
    y = torch.randint(N_ITEMS, (N,), generator=generator)
    scores, grad_z, grad_table = (
        torch.empty(N, N_ITEMS),
        torch.empty(N, D),
        torch.empty(N_ITEMS, D),
    )
    losses = {p: CrossEntropy(p) for p in ("float32", "bf16")}

    def usual():
        z.grad = table.grad = None
        F.cross_entropy(z @ table.T, y).backward()

    def floor():
        with torch.no_grad():
            torch.mm(z, table.T, out=scores)
            torch.mm(scores, table, out=grad_z)
            torch.mm(scores.T, z, out=grad_table)

    def ours(precision):
        z.grad = table.grad = None
        losses[precision](z, y, lambda: table).backward()

    runs = {"usual": usual, "floor": floor, "float32": lambda: ours("float32")}
    if resolve_precision("auto", z.device) == "bf16":
        runs["bf16"] = lambda: ours("bf16")
    times = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - begun))
    medians = {name: float(np.median(values[2:])) for name, values in times.items()}
    result = {
        "milliseconds": medians,
        "ratio_to_usual": {k: v / medians["usual"] for k, v in medians.items()},
        "ratio_to_floor": {k: v / medians["floor"] for k, v in medians.items()},
        "relative_error": errors(z, table, y),
        "bf16_in_hardware": "bf16" in runs,
    }
    for name, value in result.items():
        print(name, value)
    save("bench_engine", {"shape": [N, D, N_ITEMS], **result})
    write_table()


def write_table():
    """Put the table of the committed results into benchmarks/README.md."""
    result = load("bench_engine")
    lines = [
        "| form | milliseconds | of the usual form | relative error of gradients |"
    ]
    lines.append("|---" * 4 + "|")
    for name, time_ in result["milliseconds"].items():
        errors = result["relative_error"].get(name)
        error = f"{max(errors[1:]):.1e}" if errors else "-"
        ratio = result["ratio_to_usual"][name]
        lines.append(f"| {name} | {time_:.0f} | {ratio:.2f} | {error} |")
    replace_table("benchmarks/README.md", "bench_engine", "\n".join(lines))


def errors(z, table, y):
    """Relative norms of the errors of loss and gradients against float64."""

    def run(loss, dtype):
        a, b = (x.detach().to(dtype).requires_grad_() for x in (z, table))
        value = loss(a, b)
        value.backward()
        return [x.double() for x in (value.detach(), a.grad, b.grad)]

    exact = run(lambda a, b: F.cross_entropy(a @ b.T, y), torch.float64)
    result = {}
    for name, loss in {
        "usual": lambda a, b: F.cross_entropy(a @ b.T, y),
        "float32": lambda a, b: CrossEntropy()(a, y, lambda: b),
        "bf16": lambda a, b: CrossEntropy("bf16")(a, y, lambda: b),
    }.items():
        found = run(loss, torch.float32)
        result[name] = [
            float((x - e).norm() / e.norm()) for x, e in zip(found, exact, strict=True)
        ]
    return result


if __name__ == "__main__":
    main()
