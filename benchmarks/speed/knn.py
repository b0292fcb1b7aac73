"""How fast neighbors and SLIST answer: in batches, and one session alone.

    SKCLIP_DATA=... python -m benchmarks.speed.knn

Settings of `choose/tune_baselines.py`, fitted on the training part; the first prefixes
of the validation part are asked, 20 items each (SLIST on rsc15 alone). Batches: the
median of five passes over 10,000 prefixes. Alone: 500 lists of raw ids spread over the
part, one call each, after 50 others. Nothing else may run beside it. Writes the table
of a laboratory note.
"""

import time

import numpy as np

from benchmarks._results import (
    data_hash,
    load,
    markdown,
    new_parser,
    replace_table,
    save,
)
from benchmarks.choose.tune_baselines import SPACES, chosen_baselines, parts

MODELS = ("sknn", "vsknn", "stan", "vstan", "slist")


def measure(model, prefixes):
    passes, alone = [], []
    for _ in range(5):
        begun = time.perf_counter()
        model.predict_topk(prefixes, k=20)
        passes.append(time.perf_counter() - begun)
    rows = prefixes.to_lists()
    step = max(1, len(rows) // 550)
    for row in rows[::step][:550]:
        begun = time.perf_counter()
        model.predict_topk([row], k=20)
        alone.append(1000 * (time.perf_counter() - begun))
    return {
        "queries_per_second": len(prefixes) / float(np.median(passes)),
        "ms_alone": float(np.median(alone[50:])),
        "ms_alone_95": float(np.quantile(alone[50:], 0.95)),
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table")
    if parser.parse_args().table:
        write_table()
        return
    rows = []
    for data in ("rsc15", "diginetica"):
        train, valid = parts(data)
        prefixes = valid.to_prefixes()[0][:10_000]
        chosen = chosen_baselines(data)
        for name in MODELS:
            if name not in chosen:
                continue
            model = SPACES[name][0](**chosen[name]).fit(train)
            row = {"data": data, "model": name, "settings": chosen[name]}
            row |= measure(model, prefixes) | {"train": data_hash(train)}
            rows.append(row)
            print(row, flush=True)
    save("speed/knn.json", {"protocol": __doc__, "rows": rows})
    write_table()


def write_table():
    head = ["data", "model", "queries a second", "ms alone, median", "95 %"]
    lines = [
        [
            row["data"],
            row["model"],
            f"{row['queries_per_second']:,.0f}",
            f"{row['ms_alone']:.2f}",
            f"{row['ms_alone_95']:.2f}",
        ]
        for row in load("speed/knn.json")["rows"]
    ]
    note = "benchmarks/lab/2026-11-22-how-fast-neighbors-answer.md"
    replace_table(note, "bench_knn", markdown(head, lines))


if __name__ == "__main__":
    main()
