"""What voted clusters do for items that were not seen in training: retailrocket.

    SKCLIP_DATA=... python benchmarks/unseen.py

Visits of eight days, those of at least two events; the last eighth by end time is the
test part, a third of whose events are of unseen items. Ranks every prefix whose target
is known: all, and apart those that observe an unseen item. "voted": the unseen item is
voted into a cluster by the observed prefix and speaks through its prompt; "dropped":
the same model, unseen items taken out of the test sessions' prefixes by hand; "no
prompt": a model without prompts, which drops them itself. Seeds 0 to 2, library
defaults and ``preset="strong"``.
"""

import numpy as np
import pandas as pd
from _common import (
    data_hash,
    data_home,
    log_test_evaluation,
    replace_table,
    save,
)

from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.metrics import mrr_at_k, recall_at_k
from skclip.model_selection import temporal_split


def main():
    events = pd.read_parquet(data_home() / "retailrocket_last8days" / "events.parquet")
    X = Sessions.from_events(
        events, session="session_id", item="item_id", time="timestamp", user="user_id"
    )
    X = X[X.lengths > 1]
    train, _, test = temporal_split(X, test_size=0.125, validation_size=0)
    known = np.isin(test.vocabulary, train.vocabulary[np.unique(train.codes)])
    share = 1 - known[test.codes].mean()
    prefixes, targets = test.to_prefixes()
    asked = np.isin(targets, test.vocabulary[known])
    prefixes, targets = prefixes[np.flatnonzero(asked)], targets[asked]
    of_event = known[prefixes.codes]
    ends = np.concatenate([[0], np.cumsum(of_event)])
    dropped = Sessions(
        prefixes.codes[of_event], ends[prefixes.offsets], prefixes.vocabulary
    )
    touched = dropped.lengths < prefixes.lengths
    empty = dropped.lengths == 0
    rows = []
    for seed in range(3):
        for form in (None, "strong"):
            models = {
                kind: CLIPSessionRecommender(
                    "gru4rec",
                    preset=form,
                    prompt=kind,
                    clusterer=SessionClusterer(engine="igraph"),
                    random_state=seed,
                ).fit(train)
                for kind in ("cluster", None)
            }
            ways = {
                "voted": models["cluster"].rank_targets(prefixes, targets),
                "dropped": models["cluster"].rank_targets(dropped, targets),
                "no prompt": models[None].rank_targets(prefixes, targets),
            }
            for way, ranks in ways.items():
                row = {"form": form or "default", "way": way, "seed": seed}
                for name, part in (
                    ("all", np.ones(len(ranks), dtype=bool)),
                    ("with unseen items", touched),
                    ("of unseen items only", empty),
                ):
                    row[name] = {
                        "n": int(part.sum()),
                        "recall@20": recall_at_k(ranks[part], 20),
                        "mrr@20": mrr_at_k(ranks[part], 20),
                    }
                rows.append(row)
                log_test_evaluation(
                    "unseen.py",
                    "retailrocket_last8days",
                    f"gru4rec, {row['form']}, {way}, seed {seed}",
                    {k: row["all"][k] for k in ("recall@20", "mrr@20")},
                )
                print(row, flush=True)
    save(
        "unseen",
        {
            "protocol": __doc__,
            "share_of_unseen_events": share,
            "data_hash": {"train": data_hash(train), "test": data_hash(test)},
            "rows": rows,
        },
    )
    parts = ("all", "with unseen items", "of unseen items only")
    sizes = [rows[0][part]["n"] for part in parts]
    lines = [
        "| form | unseen items | "
        + " | ".join(f"{p} (n = {n})" for p, n in zip(parts, sizes, strict=True))
        + " |",
        "|---|---|---|---|---|",
    ]
    for form in ("default", "strong"):
        for way in ("voted", "dropped", "no prompt"):
            some = [r for r in rows if r["form"] == form and r["way"] == way]
            cells = [form, way]
            for part in parts:
                pair = [[r[part][key] for r in some] for key in ("recall@20", "mrr@20")]
                cells.append(
                    " / ".join(f"{np.mean(v):.3f} ± {np.std(v):.3f}" for v in pair)
                )
            lines.append("| " + " | ".join(cells) + " |")
    replace_table("docs/reproduction.md", "unseen", "\n".join(lines))


if __name__ == "__main__":
    main()
