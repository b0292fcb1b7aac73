"""One training step at 512 x 64 x 43,097 against the floor and the usual loss step.

    python -m benchmarks.speed.engine

The usual form is ``F.cross_entropy(z @ W.T, y).backward()``; the floor is the three
matrix products alone, written to buffers that exist, in float32 and in bfloat16. Beside
them stand whole training steps of a backbone that returns the vector of the last item:
the loss over the catalog, the look-up and the step of Adam, which is timed alone, too.
"""

import time

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks._results import load, markdown, new_parser, save
from benchmarks.speed._measuring import counted
from skclip import CLIPSessionRecommender, Sessions
from skclip.backbones import Backbone, BackboneSpec

NAME = "speed/engine.json"
N, D, N_ITEMS, ROUNDS = 512, 64, 43_097, 15


class LastItem(BackboneSpec):
    def build(self, embedding_dim, n_items, max_length):
        return LastItemNetwork()


class LastItemNetwork(Backbone):
    def encode(self, x, batch):
        return batch.last(x)


def whole_steps(precision):
    """Median milliseconds of a step, and the precision that "auto" chose."""
    items = np.random.default_rng(0).permutation(N_ITEMS + 1).astype(np.int32)
    offsets = np.arange(0, N_ITEMS + 2, 2)  # sessions of two items, one prefix each
    X, steps = Sessions(items, offsets, np.arange(N_ITEMS + 1)), []
    model = CLIPSessionRecommender(
        counted(LastItem, steps),
        prompt=None,
        loss="cross_entropy",
        similarity="dot",
        embedding_dim=D,
        batch_size=N,
        max_epochs=1,
        early_stopping=False,
        repeats=False,
        precision=precision,
        random_state=0,
    ).fit(X)
    begun = np.array([second for second, _ in steps])
    median = float(1e3 * np.median(np.diff(begun)[2:]))
    return median, model.resolved_params_["precision"]


def usual_and_floor():
    """Median milliseconds of each, timed in turn."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(N, D, generator=generator).requires_grad_()
    table = (0.3 * torch.randn(N_ITEMS, D, generator=generator)).requires_grad_()
    y = torch.randint(N_ITEMS, (N,), generator=generator)

    def usual():
        z.grad = table.grad = None
        F.cross_entropy(z @ table.T, y).backward()

    def products(dtype):
        left, right = z.detach().to(dtype), table.detach().to(dtype)
        scores = torch.empty(N, N_ITEMS, dtype=dtype)
        of_left, of_right = torch.empty_like(left), torch.empty_like(right)

        def run():
            torch.mm(left, right.T, out=scores)
            torch.mm(scores, right, out=of_left)
            torch.mm(scores.T, left, out=of_right)

        return run

    step = torch.optim.Adam([table], fused=True).step
    forms = {
        "usual": usual,
        "products, float32": products(torch.float32),
        "products, bf16": products(torch.bfloat16),
        "Adam": step,
    }
    times = {name: [] for name in forms}
    for _ in range(ROUNDS):
        for name, run in forms.items():
            begun = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - begun))
    return {name: float(np.median(values[2:])) for name, values in times.items()}


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--table", action="store_true", help="only print the table")
    if not parser.parse_args().table:
        medians = usual_and_floor()
        medians["whole step, float32"], _ = whole_steps("float32")
        median, precision = whole_steps("auto")
        if precision == "bf16":
            medians["whole step, bf16"] = median
        save(NAME, {"shape": [N, D, N_ITEMS], "milliseconds": medians})
    medians = load(NAME)["milliseconds"]
    lines = [
        [name, f"{value / medians['usual']:.2f}", f"{value:.0f}"]
        for name, value in medians.items()
    ]
    print(markdown(["form", "of the usual form", "milliseconds"], lines))


if __name__ == "__main__":
    main()
