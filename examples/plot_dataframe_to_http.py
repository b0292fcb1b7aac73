"""
From a data frame to a web service
==================================

**Task.** The clicks are in a data frame. Build a service that answers a session with
ten recommended items.

**Steps.** Make sessions, fit, evaluate, save, serve. The saved file opens without the
training data, and loading it runs no code. ``python -m skclip.serve`` loads it and
answers HTTP requests.
"""

# %%
# Load the clicks
# ---------------
# Use a pandas or polars data frame or a pyarrow table with one row per click. It needs
# a column for the session, one for the item and one for the time.

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

import skclip
from skclip import (
    CLIPSessionRecommender,
    PopularityRecommender,
    SessionKNN,
    Sessions,
)
from skclip.datasets import make_sessions
from skclip.model_selection import temporal_split

log, truth = make_sessions(1500, 150, random_state=0)
clicks = log.to_frame().rename(columns={"session": "sid", "item": "sku", "time": "ts"})
print(clicks.head(3))

# %%
# Fit the model and evaluate it on later sessions
# -----------------------------------------------
# Compare it with two baselines: popularity and nearest neighbors.

X = Sessions.from_events(clicks, session="sid", item="sku", time="ts")
train, _, test = temporal_split(X, test_size=0.1, validation_size=0)
model = CLIPSessionRecommender(random_state=0).fit(train)
print(f"MRR@20 {model.score(test):.3f}")
for baseline in (PopularityRecommender(), SessionKNN("vstan")):
    print(f"{baseline}: {baseline.fit(train).score(test):.3f}")

# %%
# Save the model to a file
# ------------------------

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "model.skclip"
skclip.save(model, path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

# %%
# Start the service
# -----------------
# In a terminal, run ``python -m skclip.serve model.skclip``. The service accepts
# connections from the same computer only. Open ``http://127.0.0.1:8000/`` to try the
# model in a browser. This script starts the same command on a free port.

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
command = [sys.executable, "-m", "skclip.serve", str(path), "--port", str(port)]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
server = subprocess.Popen(command, **quiet, text=True)
for line in server.stderr:
    if "Uvicorn running" in line:
        break


def recommend(session):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/recommend",
        json.dumps({"session": session, "k": 10}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


community = dict(zip(truth.item_ids.tolist(), truth.communities.tolist(), strict=True))
visit = next(  # one that begins in two communities
    row[:2].tolist()
    for row in test
    if len(row) > 2 and community[row[0]] != community[row[1]]
)
answer = recommend(visit)
print(visit, "->", answer["items"][:3], "...")

# %%
# Measure how long one answer takes, including HTTP. The service also answers unknown
# items and empty sessions.

visits = [row[:3].tolist() for row in test[:50]] + [["never seen"], []]
milliseconds = []
for row in visits:
    begun = time.perf_counter()
    assert len(recommend(row)["items"]) == 10
    milliseconds.append(1000 * (time.perf_counter() - begun))
print(f"median {np.median(milliseconds):.1f} ms")
server.terminate()
server.wait()

# %%
# Look at one answer
# ------------------
# The softmax turns the scores of all items into probabilities. The shade of a bar is
# the simulated community of its item.

scores = model.decision_function([visit])[0]
share = np.exp(scores - scores.max())
share = dict(zip(model.item_ids_.tolist(), share / share.sum(), strict=True))
shades = {community[visit[0]]: "0.8", community[visit[1]]: "0.3"}
fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for place, item in enumerate(answer["items"]):
    shade = shades.get(community[item], "white")
    bar = ax.barh(-place, share[item], color=shade, edgecolor="k")
    ax.bar_label(bar, [f"{share[item]:.1%}"], padding=4, fontsize=9)
ax.set_yticks(range(0, -10, -1), answer["items"])
ax.set(xlabel="probability", title=f"Recommended after {visit[0]}, {visit[1]}")
ax.margins(x=0.12)
ax.legend(
    handles=[
        Patch(facecolor="0.8", edgecolor="k", label=f"community of {visit[0]}"),
        Patch(facecolor="0.3", edgecolor="k", label=f"community of {visit[1]}"),
        Patch(facecolor="white", edgecolor="k", label="another community"),
    ],
    loc="lower right",
    frameon=False,
)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
folder.cleanup()
