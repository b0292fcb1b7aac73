"""Leiden by igraph in a process of its own: arrays on standard input and output."""

import io
import random
import sys

import igraph
import numpy as np


def main():
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    n_items, n_iterations, seed = given["numbers"].tolist()
    igraph.set_random_number_generator(random.Random(seed))
    start = given["start"].tolist()
    found = igraph.Graph(n=n_items, edges=given["edges"]).community_leiden(
        objective_function="modularity",
        weights=given["weights"].tolist(),
        resolution=float(given["resolution"]),
        n_iterations=n_iterations,
        initial_membership=start or None,
    )
    np.save(sys.stdout.buffer, np.array(found.membership))


if __name__ == "__main__":
    main()
