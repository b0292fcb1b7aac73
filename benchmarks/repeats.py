"""Targets that stand in the observed session already, and those that do not.

    SKCLIP_DATA=... python benchmarks/repeats.py

Of the networks of compare.py whose ranks on the test part are kept (results/ranks), and
of STAN, fitted again with its settings: Recall@20 and MRR@20 for both kinds of targets.
Nothing is chosen here. Writes results/repeats.json and a table of docs/comparison.md.
"""

import numpy as np
from _common import log_test_evaluation, replace_table, save
from compare import models, parts
from reproduce import RANKS, name_of, rows_done

from skclip.metrics import mrr_at_k, recall_at_k

NAMES = {"none": "bare", "leiden": "CLIP"}


def main():
    rows = []
    for data in ("diginetica", "tmall"):
        train, X, y = parts(data)
        pairs = zip(X.to_lists(), y.tolist(), strict=True)
        again = np.array([target in set(session) for session, target in pairs])
        ranks = {"stan": models(data)["stan"]().fit(train).rank_targets(X, y)}
        values = {"recall@20": recall_at_k(ranks["stan"], 20)}
        log_test_evaluation("repeats.py", data, "stan", values)
        for row in rows_done():
            cell = row["cell"]
            is_ours = cell["data"] == data and cell["form"] == "sampled"
            file = RANKS / f"{name_of(cell)}.npz"
            if is_ours and cell["variant"] in NAMES and cell["seed"] == 0:
                with np.load(file) as stored:
                    found = stored["ranks"].astype(float)
                found[found == 0] = np.inf
                name = f"{cell['backbone']}, {NAMES[cell['variant']]}"
                ranks[name] = found
        for name, found in ranks.items():
            rows.append({"data": data, "model": name, "share": float(again.mean())})
            for kind, inside in (("again", again), ("new", ~again)):
                rows[-1][f"recall@20, {kind}"] = recall_at_k(found[inside], 20)
                rows[-1][f"mrr@20, {kind}"] = mrr_at_k(found[inside], 20)
    save("repeats", {"protocol": __doc__, "rows": rows})
    lines = [
        "| data | model | target in the session: Recall@20 | MRR@20 "
        "| not in it: Recall@20 | MRR@20 |",
        "|---" * 6 + "|",
    ]
    for row in rows:
        cells = [row["data"], row["model"]]
        for kind in ("again", "new"):
            cells += [
                f"{row[f'{name}, {kind}']:.3f}" for name in ("recall@20", "mrr@20")
            ]
        lines.append(f"| {' | '.join(cells)} |")
    replace_table("docs/comparison.md", "repeats", "\n".join(lines))


if __name__ == "__main__":
    main()
