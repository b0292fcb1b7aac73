"""Default fits beside busy processes, against one thread alone.

    SKCLIP_DATA=... python -m benchmarks.speed.busy [--sizes quickstart rsc15_100k ...]

A busy process computes without end. Each round fits alone with default settings, with
one thread and with two, then with default settings beside one and two busy processes.
Ratios are those of the medians of all rounds. The machine must be idle otherwise. Fits
are short: two epochs of the quickstart's sessions, one epoch of `rsc15_100k`, one of
the latest eighth of Diginetica with the loss that all of it has. At last a search of
four candidates takes turns with one worker and with two.
"""

import subprocess
import sys
import time
import warnings
from contextlib import ExitStack, contextmanager

import numpy as np
from sklearn.model_selection import GridSearchCV

from benchmarks._data import rsc15, training_rows
from benchmarks._results import load, markdown, new_parser, replace_table, save
from skclip import CLIPSessionRecommender, Sessions
from skclip.datasets import make_sessions
from skclip.model_selection import TemporalSplit

NAME = "speed/busy.json"
NOTE = "benchmarks/lab/2026-11-30-threads-and-busy-cores.md"
SIZES = ("quickstart", "rsc15_100k", "diginetica")
SHOWN = {"quickstart": "4,000 simulated ones", "diginetica": "diginetica, an eighth"}
WAYS = {  # of a round: number of busy processes, n_threads
    "default": (0, None),
    "one thread": (0, 1),
    "two threads": (0, 2),
    "default, one busy": (1, None),
    "default, two busy": (2, None),
}


def case(size):
    """Sessions, and a recommender with default settings that is not trained long."""
    model = CLIPSessionRecommender(random_state=0)
    if size == "quickstart":
        return make_sessions(4000, 300, random_state=0)[0], model.set_params(
            max_epochs=2
        )
    if size == "rsc15_100k":
        return rsc15("train_tr"), model.set_params(max_epochs=1)
    rows = training_rows(size)
    model.set_params(max_epochs=1, loss="sampled_softmax", batch_size=512)
    return Sessions.from_lists(rows[-len(rows) // 8 :]), model


@contextmanager
def busy(n):
    """Run `n` processes that compute without end."""
    with ExitStack() as stack:
        for _ in range(n):
            command = [sys.executable, "-c", "while True: pass"]
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)
        time.sleep(0.3 if n else 0)
        yield


def seconds_of(function):
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def fits(size, n_rounds):
    """Median seconds of each way, and the number of threads that the default took."""
    X, model = case(size)
    model.fit(X)  # warm-up
    times = {way: [] for way in WAYS}
    for _ in range(n_rounds):
        for way, (n_busy, n_threads) in WAYS.items():
            model.set_params(n_threads=n_threads)
            with busy(n_busy):
                times[way].append(seconds_of(lambda: model.fit(X)))
    medians = {way: float(np.median(values)) for way, values in times.items()}
    row = {"size": size, "n_rounds": n_rounds, "seconds": medians}
    row["all_seconds"] = times
    print(row, flush=True)
    return row


def searches(n_rounds):
    """Median seconds of a search by one worker and by two, which are warm."""
    X, model = case("quickstart")
    grid = {"learning_rate": [0.002, 0.003, 0.005, 0.008]}
    times = {1: [], 2: []}
    for i in range(n_rounds + 1):
        for n_jobs, values in times.items():
            search = GridSearchCV(
                model, grid, cv=TemporalSplit(1), n_jobs=n_jobs, refit=False
            )
            seconds = seconds_of(lambda search=search: search.fit(X))
            if i > 0:
                values.append(seconds)
    medians = {n: float(np.median(values)) for n, values in times.items()}
    row = {"size": "search", "n_rounds": n_rounds, "seconds": medians}
    print(row, flush=True)
    return row


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--sizes", nargs="+", default=[*SIZES, "search"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print the tables")
    arguments = parser.parse_args()
    if not arguments.table:
        warnings.simplefilter("ignore")
        rows = []
        for size in arguments.sizes:
            if size == "search":
                rows.append(searches(arguments.rounds))
            else:
                rows.append(fits(size, arguments.rounds))
        print_tables(rows)
        save(NAME, {"protocol": __doc__, "rows": rows})
    else:
        print_tables(load(NAME)["rows"])


def print_tables(rows):
    lines = []
    for row in rows:
        if row["size"] == "search":
            one, two = row["seconds"].values()
            print(
                f"Two workers of a search do {one / two:.2f} times the work of one.\n"
            )
            continue
        seconds = row["seconds"]
        alone, best = seconds["one thread"], min(list(seconds.values())[1:3])
        lines.append(
            [
                SHOWN.get(row["size"], row["size"]),
                f"{seconds['default'] / best:.2f}",
                f"{seconds['default, one busy'] / alone:.2f}",
                f"{seconds['default, two busy'] / alone:.2f}",
                *(f"{value:.1f} s" for value in seconds.values()),
            ]
        )
    head = ["sessions", "alone / better of one and two threads"]
    head += ["one busy / one thread alone", "two busy / one thread alone", *WAYS]
    print(markdown(head, lines))
    ratios = [line[:4] for line in lines]
    replace_table(NOTE, "busy", markdown(head[:4], ratios))


if __name__ == "__main__":
    main()
