"""What the benchmarks share: data folder, versions, results, the test log."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from skclip import Sessions

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("skclip", "torch", "numpy", "scipy", "scikit-learn", "leidenalg", "igraph")


def data_home():
    home = os.environ.get("SKCLIP_DATA")
    if not home:
        sys.exit("Set SKCLIP_DATA to the folder that holds the data sets.")
    return Path(home)


def rsc15(*parts):
    """YooChoose clicks of eight days; parts train_tr, train_valid, test."""
    events = pd.read_parquet(data_home() / "rsc15_100k" / "events.parquet")
    return Sessions.from_events(
        events[events.part.isin(parts)],
        session="session_id",
        item="item_id",
        time="timestamp",
    )


def diginetica_rows():
    """Training sessions of the SR-GNN split of Diginetica, in order of time."""
    return pd.read_parquet(data_home() / "diginetica" / "train.parquet").session


def data_hash(X):
    """Hash of the raw content of some sessions."""
    digest = hashlib.sha256(X.offsets.tobytes())
    digest.update("\n".join(map(str, X.vocabulary[X.codes].tolist())).encode())
    return digest.hexdigest()[:16]


def environment():
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    ).stdout.strip()
    cpu = platform.processor() or "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "cpu": cpu,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "commit": commit,
        "date": time.strftime("%Y-%m-%d"),
    }


def save(name, content):
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"environment": environment()} | content, indent=1) + "\n"
    )
    print("wrote", path.relative_to(Path(__file__).parent.parent))


def log_test_evaluation(script, data, model, values):
    """Every look at a test part leaves a line, so that looks can be counted."""
    line = {
        "date": time.strftime("%Y-%m-%dT%H:%M"),
        "commit": environment()["commit"],
        "script": script,
        "data": data,
        "model": model,
        **values,
    }
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "test_evaluations.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def load(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def chosen_learning_rates():
    """Best of each bare backbone on rsc15_100k's validation part (tune.py)."""
    best = {}
    for row in load("tune_rsc15_bare")["rows"]:
        known = best.get(row["backbone"])
        if known is None or row["mrr@20"] > known["mrr@20"]:
            best[row["backbone"]] = row
    return {name: row["learning_rate"] for name, row in best.items()}


def seed_table(rows, names, extra=()):
    """Markdown table: Recall@20 and MRR@20 over seeds, mean and spread, fit time."""
    head = ["model", *(key.replace("_", " ") for key in extra)]
    lines = [[*head, "Recall@20", "MRR@20", "fit"], ["---"] * (len(head) + 3)]
    for name in names:
        of_model = [row for row in rows if row["model"] == name]
        if not of_model:
            continue
        cells = [name, *(f"{of_model[0][key]:g}" for key in extra)]
        for key in ("recall@20", "mrr@20"):
            values = [row[key] for row in of_model]
            spread = f" ± {np.std(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        seconds = np.median([row["fit_seconds"] for row in of_model])
        lines.append([*cells, f"{seconds:.0f} s"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def replace_table(file, name, table):
    """Write a table between its two markers in a document."""
    path = Path(__file__).parent.parent / file
    text = path.read_text()
    begin, end = f"<!-- table: {name} -->", f"<!-- end of table: {name} -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    path.write_text(f"{head}{begin}\n{table}\n{end}{tail}")
    print("wrote table", name, "in", file)
