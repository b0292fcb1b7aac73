"""What might make prompts better, one at a time, on validation parts.

    SKCLIP_DATA=... python benchmarks/extras.py --data rsc15 --every 8

Each extra is compared with `preset="strong"` without it, over the same seeds, and
(where it touches the clusters) with random clusters of its own sizes. No test part is
opened.
Rows go to results/extras.jsonl; none of these is part of the library unless the table
in benchmarks/README.md says that it survived.
"""

import argparse
import json
import time
from collections import defaultdict

import numpy as np
import torch
from _common import RESULTS, environment, replace_table
from recipe import SCORER, load
from scipy import sparse

import skclip._clip._recommender
from skclip import CLIPSessionRecommender, SessionClusterer
from skclip._clusters import canonical_clusters, leiden_membership
from skclip._model import SessionModel
from skclip.controls import RandomClusters

FILE = RESULTS / "extras.jsonl"


class Reweighted(SessionClusterer):
    """Leiden on edge weights that are less ruled by popular items."""

    def __init__(self, resolution=1.0, *, kind="log", random_state=None):
        super().__init__(resolution, engine="igraph", random_state=random_state)
        self.kind = kind

    def fit(self, X, y=None):
        super().fit(X, y)
        graph, counts = self.graph_.tocoo(), self.graph_.sum(axis=1)
        weights = {
            "log": lambda: np.log1p(graph.data),
            "cosine": lambda: (
                graph.data / np.sqrt(counts[graph.row] * counts[graph.col])
            ),
            "no singles": lambda: graph.data * (graph.data > 1),
        }[self.kind]()
        changed = sparse.coo_array((weights, (graph.row, graph.col)), graph.shape)
        changed = changed.tocsr()
        changed.eliminate_zeros()
        self.membership_, self.n_clusters_ = leiden_membership(
            changed, resolution=self.resolution, n_iterations=2, seed=0, engine="igraph"
        )
        return self


class Shared(SessionClusterer):
    """Clusters of fewer than `least` items share one prompt."""

    def __init__(self, resolution=1.0, *, least=5, random_state=None):
        super().__init__(resolution, engine="igraph", random_state=random_state)
        self.least = least

    def fit(self, X, y=None):
        super().fit(X, y)
        small = np.bincount(self.membership_)[self.membership_] < self.least
        labels = np.where(small, self.membership_.max() + 1, self.membership_)
        self.membership_, self.n_clusters_ = canonical_clusters(labels)
        return self


class Uniform:
    """Cross-entropy plus the item uniformity loss of the items of the batch."""

    weight, temperature = 0.0, 0.1
    plain = skclip._clip._recommender.CrossEntropy

    def __init__(self, precision):
        self.loss = self.plain(precision)

    def __call__(self, queries, targets, keys, **options):
        table = keys()
        value = self.loss(queries, targets, lambda: table, **options)
        items = torch.unique(targets)
        units = torch.nn.functional.normalize(table[items], dim=1)
        spread = (units @ units.T / self.temperature).logsumexp(dim=1).mean()
        return value + self.weight * (spread - 1.0 / self.temperature)


class Dropping(SessionModel):
    """Items that come to the encoder without a vector of their own, now and then.

    What is left of such an item is its prompt, as of an unseen item.
    """

    share = 0.0

    def _item_vectors(self, codes):
        vectors = super()._item_vectors(codes)
        if not self.training or not self.share:
            return vectors
        kept = torch.rand(codes.shape, device=codes.device) >= self.share
        return vectors * kept[..., None]


class Soft(SessionClusterer):
    """Clusters that an item's edges lead to, by weight: the three of most of it.

    `membership_` numbers the items themselves. `random` hands the shares to others.
    """

    def __init__(self, resolution=1.0, *, random=False, random_state=None):
        super().__init__(resolution, engine="igraph", random_state=random_state)
        self.random = random

    def fit(self, X, y=None):
        super().fit(X, y)
        items = np.arange(len(self.membership_))
        labels = sparse.csr_array((np.ones(len(items)), (items, self.membership_)))
        shares = (self.graph_ @ labels + 1e-3 * labels).tolil()
        for row, values in enumerate(shares.data):
            least = sorted(values)[-3:][0]
            shares.data[row] = [v if v >= least else 0.0 for v in values]
        shares = shares.tocsr()
        if self.random:
            shares = shares[np.random.default_rng(0).permutation(len(items))]
        self.membership_, self.n_clusters_ = items, len(items)
        Mixing.shares = (shares / shares.sum(axis=1)[:, None]).tocsr()
        return self


class Mixed(torch.nn.Module):
    """In place of a table of prompts: each item's mixture of fewer prompts."""

    def __init__(self, plain, shares):
        super().__init__()
        self.gate = plain.gate
        self.few = torch.nn.Parameter(plain.table.data[1 : shares.shape[1] + 1])
        parts = shares.indptr, shares.indices, shares.data.astype(np.float32)
        parts = [torch.from_numpy(part) for part in parts]
        self.shares = torch.sparse_csr_tensor(*parts, size=shares.shape)

    @property
    def table(self):
        """A prompt for each item, zeros for code 0."""
        return torch.nn.functional.pad(self.shares @ self.few, (0, 0, 1, 0))

    def __len__(self):
        return self.shares.shape[0] + 1

    def rows(self, codes):
        return self.table[codes]


class Mixing(Dropping):
    """A model whose cluster prompts are mixed, if there are shares."""

    shares = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.shares is not None:
            kinds = self.prompt.kinds
            kinds["cluster"] = Mixed(kinds["cluster"], self.shares)


def extras():
    """Name, clusterer or None for no prompt, and what else is set."""
    leiden = SessionClusterer(engine="igraph")
    yield "strong", leiden, {}
    yield "no prompt", None, {}
    yield "random", RandomClusters(leiden), {}
    for kind in ("log", "cosine", "no singles"):
        yield f"edges: {kind}", Reweighted(kind=kind), {}
    yield "small clusters share", Shared(), {}
    yield "random, small share", RandomClusters(Shared()), {}
    for weight in (0.01, 0.1, 0.3):
        yield f"uniformity {weight}", leiden, {"uniformity": weight}
        yield f"uniformity {weight}, no prompt", None, {"uniformity": weight}
    for share in (0.1, 0.3, 0.5):
        yield f"item dropout {share}", leiden, {"dropout": share}
        yield f"item dropout {share}, no prompt", None, {"dropout": share}
    yield "soft", Soft(), {}
    yield "soft, random", Soft(random=True), {}
    for resolutions in ((1, 8, 64), (1, 4, 16), (1, 4, 16, 64), (1, 16, 256)):
        several = SessionClusterer(resolutions, engine="igraph")
        yield f"resolutions {resolutions}", several, {}
        yield f"resolutions {resolutions}, random", RandomClusters(several), {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="rsc15")
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--names", nargs="+", default=None, help="of extras; all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    train, valid = load(arguments.data)
    done = []
    if FILE.exists():
        done = [json.loads(line)["cell"] for line in FILE.read_text().splitlines()]
    skclip._clip._recommender.CrossEntropy = Uniform
    skclip._clip._recommender.SessionModel = Mixing
    for seed in arguments.seeds:
        for name, clusterer, more in extras():
            cell = {"data": arguments.data, "every": arguments.every, "extra": name,
                    "seed": seed}  # fmt: skip
            if cell in done or arguments.names and name not in arguments.names:
                continue
            Uniform.weight = more.get("uniformity", 0.0)
            Mixing.shares = None
            Dropping.share = more.get("dropout", 0.0)
            begun = time.perf_counter()
            model = CLIPSessionRecommender(
                "gru4rec",
                preset="strong",
                prompt=None if clusterer is None else "cluster",
                clusterer=clusterer,
                early_stopping=False,
                random_state=seed,
            ).fit(train[:: arguments.every], eval_set=(valid, None))
            row = {
                "cell": cell,
                **SCORER(model, valid),
                "n_clusters": None
                if model.membership_ is None
                else int(model.membership_.max()) + 1,
                "seconds": time.perf_counter() - begun,
                "environment": environment(),
            }
            with FILE.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(cell, f"{row['recall@20']:.4f} / {row['mrr@20']:.4f}", flush=True)
    write_table()


def write_table():
    """Means and spreads over the seeds, by data set and extra."""
    groups = defaultdict(list)
    for line in FILE.read_text().splitlines():
        row = json.loads(line)
        cell = row["cell"]
        groups[cell["data"], cell["every"], cell["extra"]].append(row)
    lines = [
        "| data | sessions | extra | Recall@20 | MRR@20 | seeds |",
        "|---" * 6 + "|",
    ]
    for (data, every, extra), rows in sorted(groups.items()):
        cells = [data, "all" if every == 1 else f"1/{every}", extra]
        for name in ("recall@20", "mrr@20"):
            values = [row[name] for row in rows]
            spread = f" ± {np.std(values):.4f}" if len(rows) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        lines.append("| " + " | ".join([*cells, str(len(rows))]) + " |")
    replace_table("benchmarks/README.md", "extras", "\n".join(lines))


if __name__ == "__main__":
    main()
