"""Memory and time of reading an event log, and of what `fit` makes of it.

    python -m benchmarks.speed.reading

A simulated log of 5 million clicks in 830,000 sessions on 100,000 items is held by a
frame of pandas, polars or pyarrow, with whole numbers or text as ids, in order of time
or shuffled. A fresh process for each reads it by `Sessions.from_events`. Bytes a click
are those that the process takes at its peak beyond what it took with the frame, and
those that it keeps. The time is the CPU time of the faster of two readings. Then a
`PopularityRecommender` is fitted, which does no more than encode the sessions.

One thread. Linux only: memory is read from /proc.
"""

import json
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._results import new_parser, save
from benchmarks.speed._measuring import in_fresh_process
from skclip import PopularityRecommender, Sessions

N_CLICKS, N_ITEMS, A_SESSION = 5_000_000, 100_000, 6
LIBRARIES = ("pandas", "polars", "pyarrow")
NAMES = {"session": "session", "item": "item", "time": "time"}


def frame_of(library, ids, order, n=N_CLICKS):
    rng = np.random.default_rng(0)
    times = rng.integers(10**9, 10**9 + 10**7, size=n)
    if order == "in order":
        times.sort()
    frame = pl.DataFrame(
        {
            "session": rng.integers(n // A_SESSION, size=n),
            "item": (N_ITEMS * rng.random(n) ** 3).astype(np.int64),
            "time": times,
        }
    )
    if ids == "text":
        frame = frame.with_columns(
            pl.format("visit-{}", "session").alias("session"),
            pl.format("sku-{}", "item").alias("item"),
        )
    convert = {"pandas": frame.to_pandas, "pyarrow": frame.to_arrow}
    return convert.get(library, lambda: frame)()


def memory(name):
    """Bytes: "VmRSS" now, "VmHWM" at the peak since `forget_peak`."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition(f"{name}:")[2].split()[0])


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def measured(function):
    """Bytes a click at the peak and kept, CPU seconds, and the result."""
    forget_peak()
    before, begun = memory("VmRSS"), time.process_time()
    result = function()
    seconds = time.process_time() - begun
    peak, kept = memory("VmHWM") - before, memory("VmRSS") - before
    return {
        "peak": peak / N_CLICKS,
        "kept": kept / N_CLICKS,
        "seconds": seconds,
    }, result


def run(library, ids, order):
    few = frame_of(library, ids, order, 1000)  # imports, and what is made once
    PopularityRecommender().fit(Sessions.from_events(few, **NAMES))
    frame = frame_of(library, ids, order)
    read, X = measured(lambda: Sessions.from_events(frame, **NAMES))
    again, _ = measured(lambda: Sessions.from_events(frame, **NAMES))
    read["seconds"] = min(read["seconds"], again["seconds"])
    fitted, _ = measured(lambda: PopularityRecommender().fit(X))
    return {"read": read, "nbytes": X.nbytes / N_CLICKS, "fit": fitted}


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--one", nargs=3, help="library, ids, order; prints JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(*args.one)))
        return
    rows = []
    for ids, order in (
        ("numbers", "in order"),
        ("numbers", "shuffled"),
        ("text", "shuffled"),
    ):
        for library in LIBRARIES:
            found = in_fresh_process(
                "benchmarks.speed.reading", "--one", library, ids, order
            )
            rows.append({"library": library, "ids": ids, "order": order, **found})
            print(json.dumps(rows[-1]), flush=True)
            save("speed/reading.json", {"protocol": __doc__, "rows": rows})


if __name__ == "__main__":
    main()
