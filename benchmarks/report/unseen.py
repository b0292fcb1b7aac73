"""What voted clusters do for items that were not seen in training: retailrocket.

    SKCLIP_DATA=... python -m benchmarks.report.unseen

Visits of eight days, those of at least two events; the last eighth by end time is the
test part, a third of whose events are of unseen items. Ranks every prefix whose target
is known: all, and apart those that observe an unseen item. "voted": the observed prefix
votes the unseen item into a cluster, whose prompt stands for it; "dropped": the same
model, unseen items taken out of the test sessions' prefixes by hand; "no prompt": a
model without prompts, which drops them itself. Seeds 0 to 2, the former defaults and
the former strong preset (`benchmarks/_november.py`). Writes the table of
a laboratory note.
"""

import numpy as np

from benchmarks._november import old_defaults, old_strong, without_latest
from benchmarks._results import (
    data_hash,
    load,
    markdown,
    mean_and_spread,
    new_parser,
    replace_table,
    save,
)
from benchmarks.report._test_parts import log_test_evaluation, retailrocket
from skclip import CLIPSessionRecommender, SessionClusterer, Sessions
from skclip.metrics import mrr_at_k, recall_at_k
from skclip.model_selection import temporal_split

NAME = "report/unseen.json"
FORMS = {"default": old_defaults, "strong": old_strong}
WAYS = ("voted", "dropped", "no prompt")
PARTS = ("all", "with unseen items", "of unseen items only")


def questions(test, known):
    """Prefixes with known targets, the same without unseen items, and the targets."""
    prefixes, targets = test.to_prefixes()
    asked = np.isin(targets, test.vocabulary[known])
    prefixes, targets = prefixes[np.flatnonzero(asked)], targets[asked]
    of_event = known[prefixes.codes]
    ends = np.concatenate([[0], np.cumsum(of_event)])
    dropped = Sessions(
        prefixes.codes[of_event], ends[prefixes.offsets], prefixes.vocabulary
    )
    return prefixes, dropped, targets


def ranks_by_way(form, seed, train, prefixes, dropped, targets):
    learned = without_latest(train)
    models = {
        kind: CLIPSessionRecommender(
            "gru4rec",
            clusterer=SessionClusterer(engine="igraph"),
            random_state=seed,
        )
        .set_params(**FORMS[form]("gru4rec", learned, prompt=kind))
        .fit(train)
        for kind in ("cluster", None)
    }
    return {
        "voted": models["cluster"].rank_targets(prefixes, targets),
        "dropped": models["cluster"].rank_targets(dropped, targets),
        "no prompt": models[None].rank_targets(prefixes, targets),
    }


def measured(ranks):
    return {
        "n": len(ranks),
        "recall@20": recall_at_k(ranks, 20),
        "mrr@20": mrr_at_k(ranks, 20),
    }


def run():
    X = retailrocket(user="user_id")
    train, _, test = temporal_split(X, test_size=0.125, validation_size=0)
    known = np.isin(test.vocabulary, train.vocabulary[np.unique(train.codes)])
    prefixes, dropped, targets = questions(test, known)
    touched = dropped.lengths < prefixes.lengths
    inside = dict(
        zip(PARTS, (touched | True, touched, dropped.lengths == 0), strict=True)
    )
    rows = []
    for seed in range(3):
        for form in FORMS:
            found = ranks_by_way(form, seed, train, prefixes, dropped, targets)
            for way, ranks in found.items():
                row = {"form": form, "way": way, "seed": seed}
                row |= {name: measured(ranks[part]) for name, part in inside.items()}
                rows.append(row)
                log_test_evaluation(
                    "unseen.py",
                    "retailrocket_last8days",
                    f"gru4rec, {form}, {way}, seed {seed}",
                    {k: row["all"][k] for k in ("recall@20", "mrr@20")},
                )
                print(row, flush=True)
    content = {
        "protocol": __doc__,
        "share_of_unseen_events": 1 - known[test.codes].mean(),
        "data_hash": {"train": data_hash(train), "test": data_hash(test)},
        "rows": rows,
    }
    save(NAME, content)


def write_table():
    rows = load(NAME)["rows"]
    sizes = [f"{part} (n = {rows[0][part]['n']})" for part in PARTS]
    lines = []
    for form in FORMS:
        for way in WAYS:
            some = [r for r in rows if r["form"] == form and r["way"] == way]
            cells = [form, way]
            for part in PARTS:
                pair = [[r[part][key] for r in some] for key in ("recall@20", "mrr@20")]
                cells.append(" / ".join(map(mean_and_spread, pair)))
            lines.append(cells)
    table = markdown(["form", "unseen items", *sizes], lines)
    replace_table("benchmarks/lab/2026-11-21-unseen-items.md", "unseen", table)


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the table")
    if not parser.parse_args().table:
        run()
    write_table()


if __name__ == "__main__":
    main()
