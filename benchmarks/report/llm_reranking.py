"""What LLMReranker does with scripted clients that are sometimes right.

    python -m benchmarks.report.llm_reranking

No language model is run. An "oracle" writes ten titles, the true next one among them at
a random place with probability p, else ten random ones; in "rerank" it puts the true
candidate first with probability p, if it is there, and leaves the rest in the order
shown. A "noisy" oracle (p = 0.5) drops each word of the true title with probability q
and replaces it by a random word with probability q. What comes out says how fusion,
mapping and limits work, and nothing about the quality of any model.

Simulated shop with titles (`make_titled_sessions`, 2,000 sessions, 600 items, a tenth
of them on sale only in the last fifth of the time, so cold); sessions that end in the
first 80 % of the time train a GRU4Rec with cluster prompts (settings of
`benchmarks/_november.py`), the first 300 distinct prefixes after that, whose target is
in the catalog, are ranked. Seeds 0 to 4 for shop, model and clients; mean and standard
deviation. Tables go to three notes in `benchmarks/lab`.
"""

import hashlib
import json
import time

import numpy as np
import torch

from benchmarks._november import old_defaults, without_latest
from benchmarks._results import (
    data_hash,
    load,
    markdown,
    mean_and_spread,
    new_parser,
    replace_table,
    save,
)
from skclip import CLIPSessionRecommender, LLMReranker
from skclip.datasets import make_titled_sessions
from skclip.llm import ChatModel, When
from skclip.metrics import mrr_at_k, recall_at_k

NAME = "report/llm_reranking.json"
NOTES = {
    "S1": "benchmarks/lab/2026-11-21-language-model-that-is-sometimes-right.md",
    "S2": "benchmarks/lab/2026-11-21-protected-places-and-weight.md",
    "S8": "benchmarks/lab/2026-11-21-asking-only-where-the-base-is-unsure.md",
}
SEEDS = range(5)
ROWS = 300
OPTIONS = {"model": ChatModel(max_concurrency=1), "prefit": True}


def seeded(*parts):
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


class Oracle:
    """Knows the next title of each session; says so with probability `p`."""

    systems: dict = {}  # system message that was last sent for each task

    def __init__(self, truth, titles, p, *, noise=0.0, words=(), seed=0):
        self.truth, self.titles, self.p = truth, titles, p
        self.noise, self.words, self.seed = noise, words, seed

    def __call__(self, messages):
        data = json.loads(messages[1]["content"])
        self.systems[data["task"]] = messages[0]["content"]
        rng = seeded(self.seed, self.p, self.noise, data["session"])
        true = self.truth[tuple(data["session"])]
        knows = rng.uniform() < self.p
        if data["task"] == "rerank":
            ranking = [c["id"] for c in data["candidates"]]
            first = [c["id"] for c in data["candidates"] if c["title"] == true]
            if knows and first:
                ranking = first + [i for i in ranking if i not in first]
            return json.dumps({"ranking": ranking})
        written = rng.choice(self.titles, data["n"], replace=False).tolist()
        if knows:
            written[rng.integers(len(written))] = self.noisy(true, rng)
        return json.dumps({"titles": written})

    def noisy(self, title, rng):
        kept = []
        for word in title.split():
            what = rng.uniform()
            if what >= self.noise:  # dropped below
                kept.append(rng.choice(self.words) if what > 1 - self.noise else word)
        return " ".join(kept)


def shop(seed):
    X, truth = make_titled_sessions(
        2000, 600, n_communities=20, cold_share=0.1, cold_from=0.8, random_state=seed
    )
    end = 0.8 * 30 * 86_400
    train, test = X[X.end_times < end], X[X.times[X.offsets[:-1]] >= end]
    model = CLIPSessionRecommender(
        "gru4rec", random_state=seed, n_threads=1, device="cpu"
    ).set_params(**old_defaults("gru4rec", without_latest(train)))
    model.fit(train)
    titles = dict(zip(truth.item_ids.tolist(), truth.titles.tolist(), strict=True))
    prefixes, targets = test.to_prefixes()
    next_title, rows = {}, []
    for i, (row, target) in enumerate(zip(prefixes, targets.tolist(), strict=True)):
        # Distinct as the client sees them: the newest 20 titles.
        told = tuple(titles[item] for item in row[-20:].tolist())
        if told not in next_title and target in model.item_ids_:
            next_title[told] = titles[target]
            rows.append(i)
        if len(rows) == ROWS:
            break
    words = sorted({word for title in titles.values() for word in title.split()})
    return {
        "train": train,
        "model": model,
        "titles": titles,
        "X": prefixes[rows],
        "y": targets[rows],
        "next_title": next_title,
        "all_titles": truth.titles,
        "words": words,
        "hash": data_hash(X),
    }


def measured(ranks):
    return {
        "recall@50": recall_at_k(ranks, 50),
        "recall@20": recall_at_k(ranks, 20),
        "mrr@20": mrr_at_k(ranks, 20),
    }


def run(data, client, **params):
    llm = LLMReranker(
        data["model"], data["titles"], client=client, **OPTIONS, **params
    ).fit(data["train"])
    begin = time.perf_counter()
    ranks = llm.rank_targets(data["X"], data["y"])
    seconds = time.perf_counter() - begin
    return {**measured(ranks), "seconds": seconds, "usage": llm.usage_,
            "fallbacks": llm.fallbacks_}  # fmt: skip


def experiments(seed):
    data = shop(seed)
    base = measured(data["model"].rank_targets(data["X"], data["y"]))
    rows = [{"experiment": name, "way": "base", **base} for name in ("S1", "S2", "S8")]

    def oracle(p, noise=0.0):
        return Oracle(data["next_title"], data["all_titles"], p, noise=noise,
                      words=data["words"], seed=seed)  # fmt: skip

    for p in (0.0, 0.2, 0.5, 0.8):
        for mode in ("agent", "expand"):
            found = run(data, oracle(p), mode=mode)
            rows.append({"experiment": "S1", "way": mode, "p": p, **found})
    for noise in (0.2, 0.4):
        found = run(data, oracle(0.5, noise))
        row = {"experiment": "S1", "way": "expand", "p": 0.5, "noise": noise, **found}
        rows.append(row)
    for mode, protect in (
        ("agent", 0), ("rerank", 0), ("rerank", 1), ("rerank", 3), ("expand", 0),
        ("expand", 1), ("expand", 3),
    ):  # fmt: skip
        for weight in (0.3, 0.7):
            if mode == "agent" and weight != 0.3:
                continue
            found = run(
                data, oracle(0.5), mode=mode, protect_top=protect, weight=weight
            )
            row = {"experiment": "S2", "way": mode, "protect_top": protect}
            rows.append({**row, "weight": weight, "p": 0.5, **found})
    rows += cost(data, oracle, seed)
    for row in rows:
        row["seed"] = seed
    return rows, data["hash"]


def cost(data, oracle, seed):
    """S8: the rows that a margin picks, and as many picked by chance."""
    rows = []
    found = run(data, oracle(0.5))
    rows.append({"experiment": "S8", "way": "always", "share": 1.0, **found})
    scores = torch.from_numpy(data["model"].decision_function(data["X"]))
    best = scores.softmax(dim=1).topk(2, dim=1).values
    margins = (best[:, 0] - best[:, 1]).numpy()
    for share in (0.25, 0.5, 0.75):
        margin = float(np.quantile(margins, share))
        when = When("uncertain", margin=margin, entropy=1.0)
        found = run(data, oracle(0.5), when=when)
        row = {"experiment": "S8", "way": "uncertain", "share": share}
        rows.append({**row, "margin": margin, **found})

        def by_chance(sessions, share=share):
            picked = [seeded(seed, "chance", s).uniform() < share for s in sessions]
            return np.array(picked)

        found = run(data, oracle(0.5), when=by_chance)
        rows.append({"experiment": "S8", "way": "chance", "share": share, **found})
    return rows


def table(rows, keys, values):
    lines, groups = [], {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    for group, some in groups.items():
        cells = ["" if g is None else f"{g:g}" if g != str(g) else g for g in group]
        for name, value in values.items():
            numbers = [value(row) for row in some]
            if None in numbers:
                cells.append("")
            elif name.startswith(("Recall", "MRR")):
                cells.append(mean_and_spread(numbers))
            else:
                cells.append(f"{np.mean(numbers):,.0f}")
        lines.append(cells)
    return markdown([*keys, *values], lines)


def used(row, *names):
    if "usage" not in row:
        return None
    return sum(row["usage"][name] for name in names) * 1000 / ROWS


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only write the tables")
    if parser.parse_args().table:
        tables(load(NAME)["rows"])
        return
    rows, hashes = [], {}
    for seed in SEEDS:
        some, hashes[seed] = experiments(seed)
        rows += some
        print("seed", seed, "done", flush=True)
    system = Oracle.systems["expand"]
    content = {
        "protocol": __doc__,
        "prompt": hashlib.sha256(system.encode()).hexdigest()[:16],
        "data_hash": hashes,
        "rows": rows,
    }
    save(NAME, content)
    tables(rows)


def tables(rows):
    metrics = {
        "Recall@50": lambda row: row["recall@50"],
        "Recall@20": lambda row: row["recall@20"],
        "MRR@20": lambda row: row["mrr@20"],
    }
    per_1000 = {
        "requests": lambda row: used(row, "requests"),
        "tokens": lambda row: used(row, "prompt_tokens", "completion_tokens"),
        "seconds": lambda row: (
            row["seconds"] * 1000 / ROWS if "seconds" in row else None
        ),
    }
    for name, keys, values in (
        ("S1", ("way", "p", "noise"), metrics),
        ("S2", ("way", "weight", "protect_top"), metrics),
        ("S8", ("way", "share"), metrics | per_1000),
    ):
        some = [row for row in rows if row["experiment"] == name]
        replace_table(NOTES[name], name, table(some, keys, values))


if __name__ == "__main__":
    main()
