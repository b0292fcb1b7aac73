"""Counters and limits, exact under threads."""

import json
import math
import threading
from collections import Counter


def token_bound(messages, max_output_tokens=0):
    """Upper estimate of prompt tokens (UTF-8 bytes / 3), and with the answer's.

    Bytes and not characters: scripts with a token or more for each character have
    three bytes for it.
    """
    text = json.dumps(messages, ensure_ascii=False)
    prompt = math.ceil(len(text.encode("utf-8", "replace")) / 3)
    return prompt, prompt + max_output_tokens


def text_tokens(text):
    """Upper estimate of the tokens of an answer."""
    return math.ceil(len((text or "").encode("utf-8", "replace")) / 3)


def cost_of(prices, prompt_tokens, completion_tokens):
    """Money, `prices` being for a million tokens each; None without prices."""
    if prices is None:
        return None
    money = prompt_tokens * prices["prompt"] + completion_tokens * prices["completion"]
    return money / 1e6


class Meter:
    """Counts of what was sent and came back, and what may still be sent."""

    _FIELDS = ("rows", "asked", "requests", "cache_hits", "cache_errors")

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = Counter()
        self._prompt = self._completion = 0
        self._reserved = (0, 0)  # prompt and completion tokens under way
        self.fallbacks, self.faults = Counter(), Counter()

    def add(self, name, n=1):
        with self._lock:
            self._counts[name] += n

    def add_fault(self, name, n=1):
        with self._lock:
            self.faults[name] += n

    def add_fallback(self, name):
        with self._lock:
            self.fallbacks[name] += 1

    def reserve(self, prompt, completion, limits):
        """Count a request that is about to be sent; False if a limit forbids it."""
        with self._lock:
            if (
                limits.max_requests is not None
                and self._counts["requests"] + 1 > limits.max_requests
            ):
                return False
            prompts = self._prompt + self._reserved[0] + prompt
            completions = self._completion + self._reserved[1] + completion
            if (
                limits.max_total_tokens is not None
                and prompts + completions > limits.max_total_tokens
            ):
                return False
            if (
                limits.max_cost is not None
                and cost_of(limits.prices, prompts, completions) > limits.max_cost
            ):
                return False
            self._counts["requests"] += 1
            self._reserved = (
                self._reserved[0] + prompt,
                self._reserved[1] + completion,
            )
            return True

    def settle(self, reserved, used):
        """Put what a request used in the place of what was set aside for it."""
        with self._lock:
            self._reserved = (
                self._reserved[0] - reserved[0],
                self._reserved[1] - reserved[1],
            )
            self._prompt += used[0]
            self._completion += used[1]

    def usage(self, prices):
        with self._lock:
            return {name: self._counts[name] for name in self._FIELDS} | {
                "prompt_tokens": self._prompt,
                "completion_tokens": self._completion,
                "cost": cost_of(prices, self._prompt, self._completion),
            }

    # Counts are plain data; a lock is not.

    def to_dict(self):
        with self._lock:
            return {
                "counts": dict(self._counts),
                "tokens": [self._prompt, self._completion],
                "fallbacks": dict(self.fallbacks),
                "faults": dict(self.faults),
            }

    @classmethod
    def from_dict(cls, state):
        meter = cls()
        meter._counts.update(state["counts"])
        meter._prompt, meter._completion = state["tokens"]
        meter.fallbacks.update(state["fallbacks"])
        meter.faults.update(state["faults"])
        return meter
