"""What work costs on 1, 8 and 64 machines: arithmetic on measured figures.

    python -m benchmarks.speed.scale_out

A machine is one like that of the measurements, with two cores. Machines are joined by
10 gigabits a second. Nothing here was run on more than one machine. The formulas:

- search: fits are spread over all cores; each worker first receives the sessions once
  from one machine, and 8 bytes for each session and fit.
- pairs: clicks by the speed of DuckDB on one machine, divided by the machines; each
  sends 24 bytes for each click that goes to another one.
- training: the measured step of one process divided by the machines, and what each
  sends in a step, 2 (W - 1) / W x 4 N d bytes.
- lists: sessions by the speed of `TopK`, divided by the machines.
"""

from benchmarks._results import load, markdown, new_parser, save

MACHINES, CORES = (1, 8, 64), 2
NETWORK = 10e9 / 8  # bytes a second
FITS, FIT_SECONDS, SESSIONS_MB, SESSIONS = 1000, 60, 67, 10**6
CLICKS = 10**10
ITEMS, DIM, BATCH, PREFIXES = 200_000, 64, 512, 10**7
LISTS = 10**8


def search(machines):
    """A thousand fits of a minute each, on 5 million clicks."""
    workers = machines * CORES
    sent = (workers * SESSIONS_MB * 1e6 + FITS * 8 * SESSIONS) if machines > 1 else 0
    rounds = -(-FITS // workers)
    return rounds * FIT_SECONDS + sent / NETWORK


def pairs(machines):
    """The pairs of 10 billion clicks."""
    (row,) = [
        row
        for row in load("speed/pairs.json")["rows"]
        if row["engine"] == "duckdb" and row["task"] == "all"
    ]
    clicks = load("speed/pairs.json")["clicks"]
    others = (machines - 1) / machines
    sent = 24 * CLICKS * others / machines / NETWORK
    return CLICKS * row["seconds"] / clicks / machines + sent


def training(machines):
    """An epoch of 10 million prefixes over 200,000 items, full softmax."""
    (row,) = [
        row
        for row in load("speed/data_parallel.json")["rows"]
        if row["loss"] == "cross_entropy"
        and row["items"] == ITEMS
        and row["processes"] == 1
    ]
    step = row["seconds_a_step"] / CORES / machines
    sent = 2 * (machines - 1) / machines * 4 * ITEMS * DIM / NETWORK
    return PREFIXES / BATCH * (step + sent)


def lists(machines):
    """The 20 best of 5,000 items for 100 million sessions."""
    row = load("speed/score_everywhere.json")["rows"][-1]
    return LISTS / row["sessions_per_second"] / machines


WORK = {
    "1,000 fits of a minute, 5 million clicks": search,
    "pairs of 10 billion clicks": pairs,
    "an epoch of 10 million prefixes, 200,000 items, full softmax": training,
    "lists for 100 million sessions, 5,000 items": lists,
}


def shown(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def main():
    new_parser(__doc__).parse_args()
    rows = [
        {"work": name, "machines": n, "seconds": seconds(n)}
        for name, seconds in WORK.items()
        for n in MACHINES
    ]
    save("speed/scale_out.json", {"protocol": __doc__, "computed": True, "rows": rows})
    head = ["work (computed)", *(f"{n} machines" for n in MACHINES)]
    lines = [
        [name, *(shown(row["seconds"]) for row in rows if row["work"] == name)]
        for name in WORK
    ]
    print(markdown(head, lines))


if __name__ == "__main__":
    main()
