"""The code of docs/llm_reranking.md."""

import re
from pathlib import Path

import skclip
from skclip import LLMReranker

PAGE = (Path(skclip.__file__).parents[1] / "docs" / "llm_reranking.md").read_text()


def test_the_example_runs(capsys):
    first, second = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec(compile(first, "docs/llm_reranking.md", "exec"), names)
    assert names["llm"].usage_["requests"] == 5
    assert names["llm"].fallbacks_ == {}
    assert "'requests': 5" in capsys.readouterr().out
    compile(second, "docs/llm_reranking.md", "exec")  # needs an endpoint
    params = set(re.findall(r"(\w+)=", second)) - {"random_state", "k"}
    assert params <= set(LLMReranker._get_param_names())


def test_every_reason_is_explained():
    source = Path(skclip.__file__).parent / "llm"
    text = "".join(path.read_text() for path in source.glob("*.py"))
    reasons = set(re.findall(r'"(timeout|connection|too_large|not_json|schema|empty|'
                             r'unmapped|budget|error)"', text))  # fmt: skip
    assert len(reasons) == 9
    assert all(f"`{reason}`" in PAGE for reason in reasons)
    assert "No real language model was run" in PAGE


def test_tables_are_written_by_the_script():
    for name in ("S1", "S2", "S8"):
        table = PAGE.split(f"<!-- table: {name} -->")[1].split("<!-- end")[0]
        assert table.count("\n|") >= 8
