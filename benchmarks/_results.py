"""Results: where they are kept, what they say about themselves, tables of them.

A result is named by its folder and file: "speed/train.json" is
`benchmarks/speed/results/train.json`.
"""

import argparse
import fcntl
import hashlib
import json
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
PACKAGES = ("skclip", "torch", "numpy", "scipy", "scikit-learn", "leidenalg", "igraph")
# Parameters that rows of 2026-11 and before know by another name.
OLD_NAMES = {
    "gate": "prompt__gate",
    "normalization": "prompt__normalization",
    "candidates": "prompt__candidates",
    "session_prompt": "prompt__session",
    "unknown_user": "prompt__unknown_user",
    "feature_fusion": "item_features__kind",
    "cold_item_weight": "item_features__cold_item_weight",
    "n_negatives": "loss__n_negatives",
    "negative_sampling": "loss__sampling",
    "share_negatives": "loss__shared",
}


def new_parser(doc):
    """An argument parser that is described by the first line of a docstring."""
    return argparse.ArgumentParser(description=doc.splitlines()[0])


def current_names(settings):
    """Settings of an old row by the names that the parameters have today."""
    return {OLD_NAMES.get(name, name): value for name, value in settings.items()}


# -- files -----------------------------------------------------------------------------


def result_file(name):
    folder, file = name.split("/", 1)
    return ROOT / "benchmarks" / folder / "results" / file


def save(name, content):
    """Write a JSON file that begins with versions, machine and commit.

    If all rows that were there stay, the beginning stays as well, and each further row
    of another environment says its own.
    """
    path = result_file(name)
    path.parent.mkdir(exist_ok=True)
    here = first = environment()
    before = json.loads(path.read_text()) if path.exists() else {}
    n = len(before.get("rows", []))
    if n and content.get("rows", [])[:n] == before["rows"]:
        first = before["environment"]
        if first != here:
            for row in content["rows"][n:]:
                row["environment"] = here
    text = json.dumps({"environment": first} | content, indent=1)
    path.write_text(text + "\n")
    print("wrote", path.relative_to(ROOT))


def load(name):
    return json.loads(result_file(name).read_text())


def rows_of(name):
    """Rows of a .json or .jsonl file, in order; none where there is no such file."""
    path = result_file(name)
    if not path.exists():
        return []
    if path.suffix == ".json":
        return load(name)["rows"]
    return [json.loads(line) for line in path.read_text().splitlines()]


def add_row(name, row):
    """Append a row to a .jsonl file; several processes may do so."""
    path = result_file(name)
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(row) + "\n")


def data_hash(X):
    """Hash of the raw content of some sessions."""
    digest = hashlib.sha256(X.offsets.tobytes())
    digest.update("\n".join(map(str, X.vocabulary[X.codes].tolist())).encode())
    return digest.hexdigest()[:16]


def environment():
    """Versions, CPU, threads, commit and date."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(git, capture_output=True, text=True, cwd=ROOT, check=False)
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
        "commit": found.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def plain(values):
    """What of a dictionary is a number, a text, a truth value or None."""
    kinds = (int, float, str, bool, type(None))
    return {name: value for name, value in values.items() if isinstance(value, kinds)}


def n_clusters_of(model):
    """Clusters that prompts were learned for; None without."""
    clusters = model.membership_
    return None if clusters is None else int(clusters.max()) + 1


# -- tables ----------------------------------------------------------------------------


def markdown(head, lines):
    """A table of cells, which are texts."""
    lines = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def mean_and_spread(values, digits=3, ddof=0):
    """Mean and, of several values, their standard deviation."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {np.std(values, ddof=ddof):.{digits}f}"


def seed_table(rows, names, extra=()):
    """Recall@20 and MRR@20 over seeds, mean and spread, and the time of a fit."""
    head = ["model", *(key.replace("_", " ") for key in extra)]
    lines = []
    for name in names:
        of_model = [row for row in rows if row["model"] == name]
        if not of_model:
            continue
        cells = [name, *(f"{of_model[0][key]:g}" for key in extra)]
        for key in ("recall@20", "mrr@20"):
            cells.append(mean_and_spread([row[key] for row in of_model]))
        seconds = np.median([row["fit_seconds"] for row in of_model])
        lines.append([*cells, f"{seconds:.0f} s"])
    return markdown([*head, "Recall@20", "MRR@20", "fit"], lines)


def replace_table(file, name, table):
    """Write a table between its two markers in a page."""
    path = ROOT / file
    text = path.read_text()
    begin, end = f"<!-- table: {name} -->", f"<!-- end of table: {name} -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    path.write_text(f"{head}{begin}\n{table}\n{end}{tail}")
    print("wrote table", name, "in", file)
