"""The example for Node answers as the model does, where its package is installed."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import skclip

NODE = Path(__file__).parents[2] / "examples" / "onnx_node"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.skipif(
    not (NODE / "node_modules").exists(),
    reason="needs npm install in examples/onnx_node",
)
def test_node_answers_as_the_model_does(fitted, test, tmp_path):
    path = tmp_path / "model.onnx"
    skclip.export_onnx(fitted, path, k=10, exclude_seen=True)
    rows = [*test.to_lists(), ["never seen"], [], fitted.item_ids_[3:].tolist()]
    answered = subprocess.run(
        ["node", "rank.mjs", str(path), json.dumps(rows)],
        cwd=NODE, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = json.loads(answered.stdout)
    items, scores = fitted.predict_topk(rows, 10, return_scores=True, exclude_seen=True)
    for answer, own, values in zip(answers, items, scores, strict=True):
        there = np.isfinite(values)
        assert answer["items"] == own[there].tolist()
        np.testing.assert_allclose(answer["scores"], values[there], atol=1e-4)
