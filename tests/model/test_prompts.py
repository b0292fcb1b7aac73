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

from skclip._model._prompts import Prompts

CLIP = load("CLIP")
FORMS = {
    "elementwise_unit": ("unit", "elementwise"),
    "elementwise_none": ("none", "elementwise"),
    "scalar_unit": ("unit", "scalar"),
}
PRECISIONS = [(torch.float32, FLOAT32), (torch.float64, FLOAT64)]
unit = torch.nn.functional.normalize


def clusters(n):
    """Cells of one level: their codes are the clusters."""
    return {"cluster": np.arange(n + 1)[:, None]}


def tables_of(prompt, kind):
    return prompt.kinds[kind].tables


def drawn(dim, sizes, **options):
    """Prompts whose learned vectors are random."""
    prompt = Prompts(dim, sizes, **options).double()
    for kind in prompt.kinds:
        for table in tables_of(prompt, kind):
            torch.nn.init.normal_(table[1:])
    return prompt


def prompt_values(gate):
    params = CLIP["params"]
    values = {"kinds.cluster.levels.0": params["prompt_emb"]}
    if gate == "elementwise":
        for ours, theirs in (
            ("gate_item", "gate_item"),
            ("kinds.cluster.gate", "gate_prompt"),
        ):
            values[f"{ours}.weight"] = params[f"{theirs}.weight"]
            values[f"{ours}.bias"] = params[f"{theirs}.bias"]
    elif gate == "scalar":
        values["gate_item.weight"] = params["gate_scalar.w_item"]
        values["gate_item.bias"] = params["gate_scalar.bias"]
        values["kinds.cluster.gate.weight"] = params["gate_scalar.w_prompt"]
    return values


@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS)
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_golden_prompted_table(form, dtype, atol):
    normalization, gate = FORMS[form]
    prompt = Prompts(6, clusters(3), normalization=normalization, gate=gate).to(dtype)
    load_parameters(prompt, prompt_values(gate))
    items = torch.tensor(CLIP["params"]["item_emb"], dtype=dtype)
    codes = torch.tensor(CLIP["item_to_cluster"])
    expected = CLIP["prompted_item_table"][form]
    for table in (prompt(items, codes), prompt(items, clusters=codes[:, None])):
        np.testing.assert_allclose(table, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("candidates", ["raw", "prompted"])
@pytest.mark.parametrize(("dtype", "atol"), PRECISIONS)
@torch.no_grad()
def test_golden_gru4rec_with_clip(candidates, dtype, atol):
    values = prompt_values("elementwise").items()
    model = golden_model(
        "gru4rec",
        "untied",
        dtype,
        clusters=np.array(CLIP["item_to_cluster"][1:])[:, None],
        extra={"item_table": CLIP["params"]["item_emb"][1:]}
        | {f"prompt.{name}": value for name, value in values},
        candidates=candidates,
    )
    expected = CLIP["gru4rec_with_clip"]
    vectors = session_vectors(model, CLIP["sessions"])
    np.testing.assert_allclose(vectors, expected["session_vectors"], atol=atol, rtol=0)
    scores = model.scores(vectors, model.keys())
    expected = expected[f"scores_{candidates}_candidates"]
    np.testing.assert_allclose(scores, expected, atol=atol, rtol=0)


def test_cosine_scores():
    options = {"similarity": "cosine", "temperature": 0.5}
    model = golden_model("narm", "plain", torch.float64, **options)
    vectors = session_vectors(model, [[1, 2], [3]])
    cosine = unit(vectors, dim=1) @ unit(model.item_table, dim=1).T
    torch.testing.assert_close(model.scores(vectors, model.keys()), cosine / 0.5)


def test_padding_is_nothing():
    prompt = drawn(3, clusters(2))
    assert prompt(torch.zeros(1, 3).double(), torch.tensor([0])).abs().sum() == 0


@pytest.mark.parametrize("normalization", ["unit", "none"])
@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
def test_a_table_in_chunks_equals_one_pass(gate, normalization, monkeypatch):
    torch.manual_seed(0)
    prompt = drawn(6, clusters(4), gate=gate, normalization=normalization)
    table = torch.randn(23, 6, dtype=torch.float64)
    codes, grad = torch.arange(23) % 5, torch.randn(23, 6, dtype=torch.float64)
    monkeypatch.setattr("skclip._model._item_table._CHUNK_FLOATS", 30)  # five rows
    results = []
    for function in (prompt, prompt.of_table):
        x = table.clone().requires_grad_()
        prompt.zero_grad()
        out = function(x, codes)
        out.backward(grad)
        results.append([out.detach(), x.grad, *(p.grad for p in prompt.parameters())])
    torch.testing.assert_close(*results, atol=1e-12, rtol=0)


# -- all kinds -------------------------------------------------------------------------

ONE_LEVEL = clusters(3)["cluster"]
TWO_LEVELS = np.array([[0, 0], [1, 2], [2, 0], [2, 1]])


@pytest.mark.parametrize("gate", ["elementwise", "scalar", "add"])
@pytest.mark.parametrize("normalization", ["unit", "none"])
@pytest.mark.parametrize("cells", [ONE_LEVEL, TWO_LEVELS], ids=["one", "two"])
@torch.no_grad()
def test_all_kinds_equal_a_loop(cells, normalization, gate):
    torch.manual_seed(0)
    sizes = {"cluster": cells, "user": 5, "session": 4}
    prompt = drawn(6, sizes, gate=gate, normalization=normalization)
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    codes = torch.tensor([[1, 0, 3], [2, 2, 1]])
    users, sessions = torch.tensor([5, 0]), torch.tensor([0, 2])
    found = prompt(x, codes, users=users, sessions=sessions)
    given = torch.from_numpy(cells)[codes]
    by_clusters = prompt(x, clusters=given, users=users, sessions=sessions)
    torch.testing.assert_close(by_clusters, found)
    levels = tables_of(prompt, "cluster")
    for b in range(2):
        for t in range(3):
            v = x[b, t]
            of_item = given[b, t]
            total = sum(level[c] for level, c in zip(levels, of_item, strict=True))
            ps = {
                "cluster": total / max(1, int((of_item > 0).sum())),
                "user": tables_of(prompt, "user")[0][users[b]],
                "session": tables_of(prompt, "session")[0][sessions[b]],
            }
            if normalization == "unit":
                v = unit(v, dim=0)
                ps = {k: unit(p, dim=0) for k, p in ps.items()}
            if gate == "elementwise":
                out = torch.sigmoid(prompt.gate_item(v)) * v
                for k, p in ps.items():
                    out = out + torch.sigmoid(prompt.kinds[k].gate(p)) * p
            elif gate == "scalar":
                logit = sum(prompt.kinds[k].gate(p) for k, p in ps.items())
                g = torch.sigmoid(prompt.gate_item(v) + logit)
                out = g * v + (1 - g) * sum(ps.values())
            else:
                out = v + sum(ps.values())
            torch.testing.assert_close(found[b, t], out)


@torch.no_grad()
def test_pooled_session_prompt_is_a_map_of_the_observed_mean():
    torch.manual_seed(0)
    prompt = Prompts(4, {"session": "pooled"})
    x = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    found = prompt(x, mask=mask)
    kind = prompt.kinds["session"]
    for b, n in ((0, 2), (1, 3)):
        v = unit(x[b], dim=1)
        p = unit(kind.W_s(v[:n].mean(dim=0)), dim=0)
        out = torch.sigmoid(prompt.gate_item(v)) * v + torch.sigmoid(kind.gate(p)) * p
        torch.testing.assert_close(found[b, :n], out[:n])


@torch.no_grad()
def test_unknown_user():
    x, nobody = torch.randn(1, 2, 4), torch.tensor([0])
    zero, mean = (
        Prompts(4, {"user": 3}, unknown_user=u, gate="add") for u in ("zero", "mean")
    )
    for prompt in (zero, mean):
        tables_of(prompt, "user")[0][1:] = torch.arange(12.0).view(3, 4) + 1
    x_hat = unit(x, dim=-1)
    torch.testing.assert_close(zero(x, users=nobody), x_hat)
    average = unit(torch.tensor([5.0, 6.0, 7.0, 8.0]), dim=0)
    torch.testing.assert_close(mean(x, users=nobody), x_hat + average)
    known = unit(torch.arange(5.0, 9.0), dim=0)
    torch.testing.assert_close(mean(x, users=torch.tensor([2])), x_hat + known)
