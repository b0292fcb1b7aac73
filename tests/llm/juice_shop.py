"""Six items with titles, sessions, and clients that stand where a model would."""

import json

from skclip import LLMReranker, PopularityRecommender

KEY = "SKCLIP_TEST_KEY"
SENTINEL = "sk-sentinel-51f7c0ffee"
# Popularity: a 5, b 4, c 3, d 2, e 1, f 1
TRAIN = [
    ["a", "b", "c"],
    ["a", "b", "d"],
    ["a", "b", "c"],
    ["a", "c", "e"],
    ["a", "b", "d", "f"],
]
TITLES = {
    "a": "apple juice",
    "b": "bread knife",
    "c": "coffee mill",
    "d": "dog basket",
    "e": "egg timer",
    "f": "fruit bowl",
    "new": "novel gadget",
}


def asked(messages):
    """The data of a prompt."""
    return json.loads(messages[1]["content"])


def says(*titles):
    """A client that always writes these titles."""
    return lambda messages: json.dumps({"titles": list(titles)})


def egg_timer(messages):
    return '{"titles": ["egg timer"]}'


class Recorder:
    """A client that keeps what it is asked."""

    def __init__(self, answer=egg_timer):
        self.prompts, self._answer = [], answer

    def __call__(self, messages):
        self.prompts.append(asked(messages))
        return self._answer(messages)


def reranker(client, **params):
    params = {"weight": 0.5, "protect_top": 0, "examples": None} | params
    llm = LLMReranker(PopularityRecommender(), TITLES, client=client)
    return llm.set_params(**params)


def fit(client, **params):
    return reranker(client, **params).fit(TRAIN)
