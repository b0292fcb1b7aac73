"""Seconds of a default fit on 700,000 clicks, without the bias of `repeats`.

    SKCLIP_DATA=... python -m benchmarks.speed.first_fit

The first training sessions of Diginetica, in order of time. All threads of torch, the
machine otherwise idle. The aim is five minutes on two cores.
"""

import time

import numpy as np

from benchmarks._data import training_rows
from benchmarks._results import new_parser, save
from skclip import CLIPSessionRecommender, Sessions

N_CLICKS = 700_000


def main():
    new_parser(__doc__).parse_args()
    rows = training_rows("diginetica")
    clicks = np.cumsum([len(row) for row in rows])
    X = Sessions.from_lists(rows[: np.searchsorted(clicks, N_CLICKS)])
    model = CLIPSessionRecommender(repeats=False, random_state=0)
    begun = time.perf_counter()
    model.fit(X)
    row = {
        "clicks": X.n_events,
        "items": len(model.item_ids_),
        "fit_seconds": time.perf_counter() - begun,
        "epoch_seconds": [epoch["seconds"] for epoch in model.history_],
        "loss": model.resolved_params_["loss"],
    }
    print(row)
    save("speed/first_fit.json", {"protocol": __doc__, "rows": [row]})


if __name__ == "__main__":
    main()
