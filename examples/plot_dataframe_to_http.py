"""
From a data frame to an answer over HTTP?
=========================================

**Question.** The clicks are in a data frame. What is on the way to a service that
answers a session with ten items?

**Answer.** Five steps: sessions, fit, check, save, serve. The file opens without the
training data and runs no code; ``python -m skclip.serve`` answers with it.
"""

# %%
# Clicks, one row each
# --------------------
# Any pandas or polars frame or pyarrow table with a session, an item and a time.

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
# Fit, and check on the future
# ----------------------------

X = Sessions.from_events(clicks, session="sid", item="sku", time="ts")
train, _, test = temporal_split(X, test_size=0.1, validation_size=0)
model = CLIPSessionRecommender(random_state=0).fit(train)
print(f"MRR@20 {model.score(test):.3f}")
for baseline in (PopularityRecommender(), SessionKNN("vstan")):
    print(f"{baseline}: {baseline.fit(train).score(test):.3f}")

# %%
# One file
# --------

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "model.skclip"
skclip.save(model, path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

# %%
# Serve
# -----
# In a terminal: ``python -m skclip.serve model.skclip``. Here the command runs beside
# this script, on a free port. It listens to this machine alone, and
# ``http://127.0.0.1:8000/`` is a page to try the model.

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
# How long does one answer take, HTTP included? Unknown items and empty sessions are
# answered too.

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
# The answer, looked at
# ---------------------
# The softmax of all scores says how sure the model is. The shade of a bar is the
# community that its item belongs to.

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
ax.set(xlabel="probability", title=f"after {visit[0]}, {visit[1]}")
ax.margins(x=0.12)
ax.legend(
    handles=[
        Patch(facecolor="0.8", edgecolor="k", label=f"community of {visit[0]}"),
        Patch(facecolor="0.3", edgecolor="k", label=f"community of {visit[1]}"),
        Patch(facecolor="white", edgecolor="k", label="another one"),
    ],
    loc="lower right",
    frameon=False,
)
ax.spines[["top", "right"]].set_visible(False)
plt.show()
folder.cleanup()
