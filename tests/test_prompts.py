import numpy as np
import pytest
import torch
from golden import (
    FLOAT32,
    FLOAT64,
    golden_model,
    load,
    load_parameters,
    session_vectors,
)

from skclip._prompts import ClusterPrompt

CLIP = load("CLIP")
FORMS = {
    "elementwise_unit": ("unit", "elementwise"),
    "elementwise_none": ("none", "elementwise"),
    "scalar_unit": ("unit", "scalar"),
}
PRECISIONS = [(torch.float32, FLOAT32), (torch.float64, FLOAT64)]


def prompt_values(gate):
    params = CLIP["params"]
    values = {"table": params["prompt_emb"]}
    if gate == "elementwise":
        for name in ("gate_item", "gate_prompt"):
            values[f"{name}.weight"] = params[f"{name}.weight"]
            values[f"{name}.bias"] = params[f"{name}.bias"]
    elif gate == "scalar":
        values["gate_item.weight"] = params["gate_scalar.w_item"]
        values["gate_item.bias"] = params["gate_scalar.bias"]
        values["gate_prompt.weight"] = params["gate_scalar.w_prompt"]
    return values


@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS)
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_golden_prompted_table(form, dtype, atol):
    normalization, gate = FORMS[form]
    prompt = ClusterPrompt(3, 6, normalization=normalization, gate=gate).to(dtype)
    load_parameters(prompt, prompt_values(gate))
    items = torch.tensor(CLIP["params"]["item_emb"], dtype=dtype)
    table = prompt(items, torch.tensor(CLIP["item_to_cluster"]))
    np.testing.assert_allclose(
        table, CLIP["prompted_item_table"][form], atol=atol, rtol=0
    )


@pytest.mark.parametrize("candidates", ["raw", "prompted"])
@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS)
@torch.no_grad()
def test_golden_gru4rec_with_clip(candidates, dtype, atol):
    model = golden_model(
        "gru4rec",
        "untied",
        dtype,
        clusters=np.array(CLIP["item_to_cluster"][1:]),
        extra={"item_table": CLIP["params"]["item_emb"][1:]}
        | {
            f"prompt.{name}": value
            for name, value in prompt_values("elementwise").items()
        },
        candidates=candidates,
    )
    expected = CLIP["gru4rec_with_clip"]
    vectors = session_vectors(model, CLIP["sessions"])
    np.testing.assert_allclose(vectors, expected["session_vectors"], atol=atol, rtol=0)
    scores = model.scores(vectors, model.keys())
    np.testing.assert_allclose(
        scores, expected[f"scores_{candidates}_candidates"], atol=atol, rtol=0
    )


def test_add_and_cosine_forms():
    prompt = ClusterPrompt(2, 3, gate="add")
    with torch.no_grad():
        prompt.table[1:].normal_()
    x = torch.randn(4, 3)
    unit = torch.nn.functional.normalize
    expected = unit(x, dim=1) + unit(prompt.table[[1, 2, 1, 2]], dim=1)
    torch.testing.assert_close(prompt(x, torch.tensor([1, 2, 1, 2])), expected)

    model = golden_model(
        "narm", "plain", torch.float64, similarity="cosine", temperature=0.5
    )
    vectors = session_vectors(model, [[1, 2], [3]])
    cosine = unit(vectors, dim=1) @ unit(model.item_table, dim=1).T
    torch.testing.assert_close(model.scores(vectors, model.keys()), cosine / 0.5)


def test_unknown_cluster_leaves_the_gated_item():
    prompt = ClusterPrompt(2, 3)
    torch.nn.init.normal_(prompt.table[1:])
    x = torch.nn.functional.normalize(torch.randn(1, 3), dim=1)
    expected = torch.sigmoid(prompt.gate_item(x)) * x
    torch.testing.assert_close(prompt(x, torch.tensor([0])), expected)
    nothing = prompt(torch.zeros(1, 3), torch.tensor([0]))
    assert nothing.abs().sum() == 0


@pytest.mark.parametrize("normalization", ["unit", "none"])
@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
def test_a_table_in_chunks_equals_one_pass(gate, normalization, monkeypatch):
    torch.manual_seed(0)
    prompt = ClusterPrompt(4, 6, gate=gate, normalization=normalization).double()
    torch.nn.init.normal_(prompt.table[1:])
    table = torch.randn(23, 6, dtype=torch.float64)
    clusters, grad = torch.arange(23) % 5, torch.randn(23, 6, dtype=torch.float64)
    monkeypatch.setattr("skclip._tables._CHUNK_FLOATS", 30)  # five rows
    results = []
    for function in (prompt, prompt.of_table):
        x = table.clone().requires_grad_()
        prompt.zero_grad()
        out = function(x, clusters)
        out.backward(grad)
        results.append([out.detach(), x.grad, *(p.grad for p in prompt.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
