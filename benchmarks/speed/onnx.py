"""ONNX graphs of all backbones: how far they are from predict_topk, and how fast.

    python -m benchmarks.speed.onnx --parity
    python -m benchmarks.speed.onnx --latency [--backbones gru4rec ...]
    python -m benchmarks.speed.onnx --table          # from the saved results

Parity: models of 300 items (32 dimensions, an epoch on simulated sessions), with
cluster prompts and without, by cosine and by dot product, with a bias for repeats
(TAGNN has none). Rows that are there are kept.
1,000 sessions of 1 to 52 items, 50 of which are read, are ranked by both; each
twentieth goes alone as well.

Latency: models of 40,000 items (64 dimensions, no prompts, a second of training).
One session of 5 items at a time, top 20, one thread. The product of one vector with
those of all items, predict_topk and ONNX Runtime take turns in one process. Times are
those of the processor, which other programs on the machine do not lengthen. With
--backbones the rows of the others are kept.
"""

import itertools
import json
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import skclip
from benchmarks._results import (
    add_row,
    markdown,
    new_parser,
    replace_table,
    rows_of,
    save,
)
from benchmarks.speed.serve import N_ITEMS, WARM_UP, fitted, simulated_sessions
from skclip import CLIPSessionRecommender
from skclip.backbones import BACKBONES
from skclip.datasets import make_sessions

N_SESSIONS, LONGEST, N_ROUNDS = 1_000, 52, 200
PARITY, LATENCY = "speed/onnx_parity.jsonl", "speed/onnx.json"


def exported(rec, **options):
    """A session of ONNX Runtime on one thread, and the size of its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        skclip.export_onnx(rec, path, **options)
        data = path.read_bytes()
    one = onnxruntime.SessionOptions()
    one.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, one), len(data)


def padded(rows):
    lengths = np.array([len(row) for row in rows])
    codes = np.zeros((len(rows), lengths.max()), dtype=np.int64)
    codes[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(rows)
    return {"codes": codes, "lengths": lengths}


def parity(backbone, prompt, similarity):
    X, _ = make_sessions(500, 300, random_state=0)
    rec = CLIPSessionRecommender(
        backbone, prompt=prompt, similarity=similarity, embedding_dim=32, max_epochs=1,
        repeats=backbone != "tagnn", random_state=0, device="cpu", n_threads=1,
    ).fit(X)  # fmt: skip
    session, _ = exported(rec)
    rng = np.random.default_rng(1)
    lengths = np.r_[1, 50, LONGEST, rng.integers(1, LONGEST, N_SESSIONS - 3)]
    rows = [rng.integers(1, rec.n_items_ + 1, n) for n in lengths]
    expected, wanted = rec.predict_topk(
        [rec.item_ids_[row - 1].tolist() for row in rows], k=20, return_scores=True
    )
    items, scores = session.run(None, padded(rows))
    difference = float(abs(scores - wanted).max())
    for i in range(0, N_SESSIONS, 20):
        _, alone = session.run(None, padded(rows[i : i + 1]))
        difference = max(difference, float(abs(alone - wanted[i]).max()))
    same = (rec.item_ids_[items - 1] == expected).all(axis=1)
    return {
        "backbone": backbone,
        "prompt": prompt,
        "similarity": similarity,
        "largest_difference": difference,
        "largest_score": float(abs(wanted).max()),
        "same_lists": float(same.mean()),
    }


def medians(functions, queries):
    """Median milliseconds that functions of a query, which take turns, work for."""
    seconds = {name: [] for name in functions}
    for query in queries:
        for name, function in functions.items():
            begun = time.thread_time()
            function(query)
            seconds[name].append(time.thread_time() - begun)
    return {name: float(1e3 * np.median(s[WARM_UP:])) for name, s in seconds.items()}


def latency(backbone):
    rng = np.random.default_rng(0)
    rec = fitted(simulated_sessions(rng), backbone, prompt=None, max_time=1)
    session, size = exported(rec)
    torch.set_num_threads(1)
    code_of = {item: code for code, item in enumerate(rec.item_ids_.tolist(), 1)}
    vector, keys = torch.randn(1, 64), torch.randn(64, N_ITEMS)

    def ask(row):
        codes = np.array([[code_of[item] for item in row]])
        items, _ = session.run(None, {"codes": codes, "lengths": np.array([len(row)])})
        return rec.item_ids_[items - 1]

    queries = rng.integers(N_ITEMS, size=(WARM_UP + N_ROUNDS, 5)).tolist()
    found = medians(
        {
            "product": lambda _: torch.mm(vector, keys),
            "predict_topk": lambda row: rec.predict_topk([row], k=20),
            "onnx": ask,
        },
        queries,
    )
    return {"backbone": backbone, "milliseconds": found, "file_bytes": size}


def tables():
    lines = []
    for row in rows_of(LATENCY):
        found = row["milliseconds"]
        times = [f"{found[name]:.2f}" for name in ("product", "predict_topk", "onnx")]
        share = f"{found['predict_topk'] / found['onnx']:.1f}"
        size = f"{row['file_bytes'] / 2**20:.0f} MB"
        lines.append([row["backbone"], *times, share, size])
    head = ["backbone", "product alone, ms", "`predict_topk`, ms", "ONNX Runtime, ms"]
    head += ["times as fast", "file"]
    note = "benchmarks/lab/2026-12-01-speed-of-onnx-graphs.md"
    replace_table(note, "onnx_latency", markdown(head, lines))
    lines = []
    for backbone, rows in itertools.groupby(rows_of(PARITY), lambda r: r["backbone"]):
        rows = {(r["prompt"], r["similarity"]): r for r in rows}
        cells = [f"{r['largest_difference']:.1e}" for r in rows.values()]
        same = min(r["same_lists"] for r in rows.values())
        lines.append([backbone, *cells, f"{100 * same:.1f}%"])
    head = ["backbone", "prompts, cosine", "prompts, dot", "bare, cosine", "bare, dot"]
    head += ["same lists"]
    note = "benchmarks/lab/2026-12-01-agreement-of-onnx-graphs.md"
    replace_table(note, "onnx_parity", markdown(head, lines))


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--parity", action="store_true")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--backbones", nargs="+", default=[*BACKBONES])
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if asked.parity:
        there = {
            (row["backbone"], row["prompt"], row["similarity"])
            for row in rows_of(PARITY)
        }
        forms = ("cluster", None), ("cosine", "dot")
        for case in itertools.product(asked.backbones, *forms):
            if case not in there:
                add_row(PARITY, parity(*case))
    if asked.latency:
        rows = [r for r in rows_of(LATENCY) if r["backbone"] not in asked.backbones]
        for backbone in asked.backbones:
            rows.append(latency(backbone))
            print(json.dumps(rows[-1]), flush=True)
        save(LATENCY, {"protocol": __doc__, "rows": rows})
    if asked.table:
        tables()


if __name__ == "__main__":
    main()
