"""Does a bias for items of the session help? Trials on the validation parts of 8 logs.

    SKCLIP_DATA=... python -m benchmarks.choose.repeat_bias small large --workers 2
    python -m benchmarks.choose.repeat_bias --table

Logs are fitted with ``repeats`` False and "auto". Criterion, parts and tuned neighbors
are those of `choose/defaults.py`. Rows say what "auto" chose and its seconds. It should
choose what is better on the validation part, which it does not see. A trial that has a
row is not run again. No test part is opened.
"""

from concurrent.futures import ProcessPoolExecutor, as_completed

from benchmarks._data import LOGS
from benchmarks._results import add_row, markdown, new_parser, rows_of
from benchmarks.choose.defaults import ALL, SIZES, gain, key_of, neighbors_of, run

ROWS = "choose/repeat_bias.jsonl"


def main():
    parser = new_parser(__doc__)
    parser.add_argument("sizes", nargs="*", choices=[[], *SIZES, *LOGS, *ALL])
    parser.add_argument("--repeats", nargs="+", default=["False", "auto"])
    parser.add_argument("--backbones", nargs="+", default=["gru4rec"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if not arguments.table:
        done = {key_of(r["log"], r["setting"], r["seed"]) for r in rows_of(ROWS)}
        todo = [
            (log, {"backbone": backbone, "repeats": value}, seed)
            for size in arguments.sizes
            for log in SIZES.get(size, [size])
            for backbone in arguments.backbones
            for value in ({"False": False, "True": True}.get(r, r)
                          for r in arguments.repeats)
            for seed in arguments.seeds
        ]  # fmt: skip
        with ProcessPoolExecutor(arguments.workers) as pool:
            for future in as_completed(
                pool.submit(run, *trial) for trial in todo if key_of(*trial) not in done
            ):
                row = future.result()
                add_row(ROWS, row)
                values = f"{row['recall@20']:.4f} {row['mrr@20']:.4f}"
                print(row["log"], row["setting"], row["repeats"], values,
                      f"{row['fit_seconds']:.0f} s", flush=True)  # fmt: skip
    print(table())


def table():
    """Metrics and gain over the neighbors of each trial, mean over seeds."""
    cells = {}
    for row in rows_of(ROWS):
        key = row["log"], row["setting"]["backbone"], row["setting"]["repeats"]
        cells.setdefault(key, []).append(row)
    lines = []
    for (log, backbone, repeats), rows in sorted(cells.items(), key=str):
        neighbors = neighbors_of(log)
        values = [
            sum(row[name] for row in rows) / len(rows)
            for name in ("recall@20", "mrr@20", "fit_seconds")
        ]
        gains = sum(gain(row, neighbors) for row in rows) / len(rows)
        chosen = "/".join(str(row["repeats"]) for row in rows)
        lines.append(
            [log, backbone, str(repeats), chosen, f"{values[0]:.4f}"]
            + [f"{values[1]:.4f}", f"{gains:+.3f}", f"{values[2]:.0f} s"]
        )
    head = ["log", "backbone", "repeats", "used", "Recall@20", "MRR@20", "criterion"]
    return markdown([*head, "fit"], lines)


if __name__ == "__main__":
    main()
