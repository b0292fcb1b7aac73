"""Limits and counters of requests, exact under threads."""

from __future__ import annotations

import json
import math
import threading
from numbers import Integral, Real

import numpy as np

from skclip._sklearn import BaseEstimator, Interval

SENT = ("requests", "prompt_tokens", "completion_tokens")


class Budget(BaseEstimator):
    """Limits on what `LLMReranker` sends between two calls of `fit`, and prices.

    The limits are checked before each request, with an upper estimate of its tokens.

    Parameters
    ----------
    max_requests : int, default=None
        Largest number of requests, including retries. None sets no limit.
    max_tokens : int, default=None
        Largest number of tokens of prompts and answers together. None sets no limit.
    max_cost : float, default=None
        Largest cost, in the currency of the prices. None sets no limit.
    prompt_price, completion_price : float, default=None
        Price of a million tokens of prompts, and of answers. Without both, the cost is
        unknown and `max_cost` cannot be used.

    Examples
    --------
    >>> from skclip.llm import Budget
    >>> Budget(max_requests=100, max_tokens=50_000)
    Budget(max_requests=100, max_tokens=50000)
    """

    _parameter_constraints: dict = {
        "max_requests": [Interval(Integral, 0, None, closed="left"), None],
        "max_tokens": [Interval(Integral, 0, None, closed="left"), None],
        "max_cost": [Interval(Real, 0, None, closed="left"), None],
        "prompt_price": [Interval(Real, 0, None, closed="left"), None],
        "completion_price": [Interval(Real, 0, None, closed="left"), None],
    }

    def __init__(
        self,
        max_requests: int | None = None,
        *,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        prompt_price: float | None = None,
        completion_price: float | None = None,
    ) -> None:
        self.max_requests = max_requests
        self.max_tokens = max_tokens
        self.max_cost = max_cost
        self.prompt_price = prompt_price
        self.completion_price = completion_price

    def _cost(self, prompt_tokens, completion_tokens):
        """Return the cost of tokens, or None without prices."""
        if self.prompt_price is not None and self.completion_price is not None:
            cost = prompt_tokens * self.prompt_price
            return float(cost + completion_tokens * self.completion_price) / 1e6
        if self.max_cost is not None:
            raise ValueError(
                f"max_cost={self.max_cost} needs prompt_price and completion_price. "
                "Pass both, as prices of a million tokens."
            )
        return None

    def _allows(self, requests, *tokens):
        limits = (self.max_requests, self.max_tokens, self.max_cost)
        used = (requests, sum(tokens), self._cost(*tokens))
        pairs = zip(used, limits, strict=True)
        return all(limit is None or number <= limit for number, limit in pairs)


def token_bound(text):
    """Estimate the tokens of a text or messages from above: UTF-8 bytes / 3."""
    if not isinstance(text, str):
        text = json.dumps(text, ensure_ascii=False) if text else ""
    return math.ceil(len(text.encode("utf-8", "replace")) / 3)


class Meter:
    """Count the ``usage_`` of a reranker, and keep it within a budget."""

    def __init__(self, usage):
        self._usage, self._changed = usage, threading.Condition()
        self._held = np.zeros(3, dtype=np.int64)  # for running requests, as in SENT

    def add(self, **counts):
        with self._changed:
            for name, n in counts.items():
                self._usage[name] += n

    def reserve(self, n, bound, budget):
        """Set aside up to `n` attempts of at most `bound` each, as the budget allows.

        If running requests hold the missing part, wait, because they may release it.
        """
        with self._changed:
            while budget._allows(*self._used() + bound):
                for granted in range(n, 0, -1):
                    if budget._allows(*self._used() + self._held + granted * bound):
                        self._held += granted * bound
                        return granted
                self._changed.wait()
        return 0

    def settle(self, granted, bound, budget, used):
        """Replace what was set aside for a request by what it used."""
        with self._changed:
            self._held -= granted * bound
            used = (self._used() + used).tolist()
            self._usage.update(zip(SENT, used, strict=True))
            self._usage["cost"] = budget._cost(*used[1:])
            self._changed.notify_all()

    def _used(self):
        return np.array([self._usage[name] for name in SENT])
