"""What a step of training costs in one process and in two that train together.

    python -m benchmarks.speed.data_parallel

GRU4Rec without prompts, d = 64, 512 prefixes a batch, one thread for each process, on
simulated sessions. Two processes of torch.distributed (gloo) share each batch. Traffic
is what the loopback interface carries: all that both of them send. The first steps are
left out. Each line runs twice, in turn; the faster run counts.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks._results import ROOT, new_parser, save
from benchmarks.speed._measuring import counted, peak_gib
from skclip import CLIPSessionRecommender, Sessions
from skclip.backbones import GRU4Rec

CASES = (
    ("cross_entropy", 10_000),
    ("cross_entropy", 40_000),
    ("cross_entropy", 200_000),
    ("sampled_softmax", 40_000),
    ("sampled_softmax", 1_000_000),
)
DIM, BATCH = 64, 512
WARM_UP, MOST_SECONDS = 3, 20


class Steps(list):
    """Beginnings of steps, each with the bytes that the loopback has carried."""

    def append(self, step):
        super().append((*step, loopback_bytes()))


def loopback_bytes():
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.strip().partition(":")
        if name == "lo":
            return int(numbers.split()[0])
    return 0


def line(loss, n_items, rank, n_processes, store):
    """What one process measures."""
    if n_processes > 1:
        from torch import distributed

        distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=n_processes
        )
    rng = np.random.default_rng(0)
    lengths = 1 + rng.geometric(0.25, max(20_000, n_items // 4))
    codes = (n_items * rng.random(lengths.sum()) ** 2).astype(np.int32)
    codes[: min(n_items, len(codes))] = np.arange(min(n_items, len(codes)))
    X, steps = (
        Sessions(codes, np.r_[0, np.cumsum(lengths)], np.arange(n_items)),
        Steps(),
    )
    model = CLIPSessionRecommender(
        counted(GRU4Rec, steps),
        prompt=None,
        loss=loss,
        embedding_dim=DIM,
        batch_size=BATCH,
        early_stopping=False,
        repeats=False,
        random_state=0,
        max_epochs=1,
        max_time=MOST_SECONDS,
        precision="float32",
        n_threads=1,
    ).fit(X)
    times, _, carried = zip(*steps[WARM_UP:], strict=True)
    return {
        "loss": loss,
        "items": model.n_items_,
        "processes": n_processes,
        "steps": len(times) - 1,
        "seconds_a_step": statistics.median(np.diff(times)),
        "bytes_a_step": (carried[-1] - carried[0]) / (len(times) - 1),
        "gib_peak": peak_gib(),
    }


def measured(loss, n_items, n_processes):
    """The row of the first process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.speed.data_parallel",
        ]
        running = [
            subprocess.Popen(
                [*command, "--line", loss, str(n_items), str(rank), str(n_processes)]
                + [f"{folder}/store"],
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            for rank in range(n_processes)
        ]
        shown = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        sys.exit(f"{loss} with {n_items} items failed")
    return json.loads(shown[0].splitlines()[-1])


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--line", nargs="+")
    arguments = parser.parse_args()
    if arguments.line:
        loss, *numbers, store = arguments.line
        n_items, rank, n_processes = map(int, numbers)
        print(json.dumps(line(loss, n_items, rank, n_processes, store)))
        return
    rows = []
    for case in CASES:
        runs = [measured(*case, n) for _ in range(2) for n in (1, 2)]
        for n in (1, 2):
            of_n = [run for run in runs if run["processes"] == n]
            rows.append(min(of_n, key=lambda run: run["seconds_a_step"]))
            print(rows[-1], flush=True)
        save("speed/data_parallel.json", {"protocol": __doc__, "rows": rows})


if __name__ == "__main__":
    main()
