"""Re-ranking of a recommender's list by a language model.

`LLMReranker` is the estimator. Its parameters take objects of `ChatModel`, `Examples`,
`TitleMatching`, `When` and `Budget`, or the first parameter of these classes.
"""

from skclip.llm._budget import Budget
from skclip.llm._client import ChatModel, LLMError
from skclip.llm._examples import Examples
from skclip.llm._matching import TitleMatching
from skclip.llm._questions import When
from skclip.llm._reranker import LLMReranker

__all__ = ["Budget", "ChatModel", "Examples", "LLMError", "LLMReranker"]
__all__ += ["TitleMatching", "When"]
