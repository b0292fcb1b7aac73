"""The code of docs/semantics.md."""

import re
from pathlib import Path

import skclip


def test_the_page_runs():
    page = (Path(skclip.__file__).parents[1] / "docs" / "semantics.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names = {}
    exec(block, names)
    ranked = names["rec"].predict_topk([["new-1"]], k=names["rec"].n_items_)
    assert {"new-1", "new-2"} <= set(ranked[0])
