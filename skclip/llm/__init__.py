"""A language model over a recommender's list: prompts, answers, cost, failure.

`LLMReranker` is the estimator. The files in order: what is sent and how answers are
read (`_contract.py`), titles to items (`_titles.py`), examples (`_shots.py`), counters
and limits (`_budget.py`), kept answers (`_cache.py`), requests (`_client.py`), those of
one ranking (`_asking.py`), what answers do to a list (`_rank_fusion.py`), and the
estimator that wires them (`_reranker.py`).
"""

from skclip.llm._client import LLMError, LLMReply
from skclip.llm._contract import build_messages, parse_answer
from skclip.llm._reranker import LLMReranker

__all__ = ["LLMError", "LLMReply", "LLMReranker", "build_messages", "parse_answer"]
