"""Tables of notes on scaling out: figures of other scripts, and arithmetic on them.

    python -m benchmarks.speed.scale_out

`pairs`, `shipping`, `score_everywhere` and `data_parallel` measure. What work costs on
1, 8 and 64 machines is computed from their figures.

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

from benchmarks._results import load, markdown, new_parser, replace_table, save

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


def cost_table(rows):
    head = ["work (computed)", "1 machine", *(f"{n} machines" for n in MACHINES[1:])]
    lines = [
        [name, *(shown(row["seconds"]) for row in rows if row["work"] == name)]
        for name in WORK
    ]
    return markdown(head, lines)


def pairs_table():
    content = load("speed/pairs.json")
    tasks = {
        "all": "pairs of all clicks",
        "filtered": "pairs after `drop_rare_items` and `drop_short_sessions`",
    }
    lines = [
        [
            tasks[row["task"]],
            {"duckdb": "DuckDB"}.get(row["engine"], row["engine"]),
            f"{row['pairs']:,}",
            f"{row['seconds']:.0f} s",
            f"{row['peak_gib']:.1f} GiB",
        ]
        for task in tasks
        for row in content["rows"]
        if row["task"] == task
    ]
    head = [f"{content['clicks']:,} clicks", "engine", "pairs", "time", "peak memory"]
    return markdown(head, lines)


def shipping_table():
    names = {
        "dask": "Dask",
        "dask, with each task": "Dask, if the sessions traveled with each task",
        "dask, scattered": "Dask, with `scatter=[X]`",
        "loky": "loky, which shares memory",
        "ray": "Ray, which shares memory",
    }
    rows = {row["backend"]: row for row in load("speed/shipping.json")["rows"]}
    lines = [
        [
            name,
            f"{rows[key]['start']['mb']:.0f} MB",
            *(f"{search['mb']:,.0f} MB" for search in rows[key]["searches"]),
        ]
        for key, name in names.items()
    ]
    head = ["backend", "sent at the start", "first search", "second search"]
    return markdown(head, lines)


def step_table():
    rows = load("speed/data_parallel.json")["rows"]
    head = ["loss", "items", "one process", "two processes", "ratio"]
    head += ["traffic a step", "by the formula"]
    lines = []
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        seconds = one["seconds_a_step"], two["seconds_a_step"]
        dense = 2 * 4 * one["items"] * DIM  # both processes: 2 x (2 - 1) x 4 N d
        is_full = one["loss"] == "cross_entropy"
        lines.append(
            [
                f"`{one['loss']}`",
                f"{one['items']:,}",
                *(f"{1000 * s:,.0f} ms" for s in seconds),
                f"{seconds[1] / seconds[0]:.2f}",
                f"{two['bytes_a_step'] / 1e6:.1f} MB",
                f"{dense / 1e6:.1f} MB" if is_full else "",
            ]
        )
    return markdown(head, lines)


def scoring_table():
    row = load("speed/score_everywhere.json")["rows"][-1]
    peak = max(row["processes"], key=lambda process: process["peak_mb"])
    head = ["sessions", "time", "sessions per second", "peak of a process"]
    cells = [f"{row['sessions']:,}", f"{row['seconds']:.0f} s"]
    cells += [f"{row['sessions_per_second']:,.0f}", f"{peak['peak_mb']:.0f} MB"]
    cells += [f"{peak['idle_mb']:.0f} MB"]
    return markdown([*head, "before it opened the model"], [cells])


def main():
    new_parser(__doc__).parse_args()
    rows = [
        {"work": name, "machines": n, "seconds": seconds(n)}
        for name, seconds in WORK.items()
        for n in MACHINES
    ]
    save("speed/scale_out.json", {"protocol": __doc__, "computed": True, "rows": rows})
    for name, note, table in (
        ("shipping", "what-a-search-ships", shipping_table()),
        ("pairs", "pairs-of-a-log-larger-than-memory", pairs_table()),
        ("data_parallel", "two-processes-train-together", step_table()),
        ("score_everywhere", "lists-for-20-million-sessions", scoring_table()),
        ("scale_out", "what-many-machines-would-cost", cost_table(rows)),
    ):
        replace_table(f"benchmarks/lab/2026-12-01-{note}.md", name, table)


if __name__ == "__main__":
    main()
