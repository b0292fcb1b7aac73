"""Clusters of unseen items, by votes of the other items in their session."""

import numpy as np


def vote_clusters(codes, clusters, offsets, sizes):
    """Assign a cluster to items without one, by votes inside their session.

    Voting runs in rounds. An item without a cluster gets one vote for each adjacent
    transition, in either direction, to an item with a cluster. It takes the cluster
    with most votes; ties go to the cluster with more items, then to the smaller number.
    Sessions in which no item has a cluster get the largest cluster. `codes` (n_events,)
    identify the items of one session. `clusters` are 1..K, or 0 for none. `sizes` (K,)
    are the numbers of items in the clusters.
    """
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    open_rows = np.unique(rows[clusters == 0])
    if len(open_rows) == 0 or len(sizes) == 0:
        return clusters
    busy = np.zeros(len(offsets) - 1, dtype=bool)
    busy[open_rows] = True
    events = np.flatnonzero(busy[rows])
    # A node is one item of one session.
    pairs = np.column_stack([rows[events], codes[events]])
    _, first, node = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    node = node.reshape(-1)
    of_node = clusters[events][first].astype(np.int64)

    links = np.flatnonzero(np.diff(rows[events]) == 0)
    one = np.concatenate([node[links], node[links + 1]])
    other = np.concatenate([node[links + 1], node[links]])
    n_codes = len(sizes) + 1
    while True:
        voting = (of_node[one] == 0) & (of_node[other] > 0)
        if not voting.any():
            break
        ballots, counts = np.unique(
            one[voting] * n_codes + of_node[other[voting]], return_counts=True
        )
        voter, choice = ballots // n_codes, ballots % n_codes
        order = np.lexsort((choice, -sizes[choice - 1], -counts, voter))
        voter, choice = voter[order], choice[order]
        won = np.ones(len(voter), dtype=bool)
        won[1:] = np.diff(voter) != 0
        of_node[voter[won]] = choice[won]
    of_node[of_node == 0] = 1 + int(np.argmax(sizes))
    resolved = clusters.copy()
    resolved[events] = of_node[node]
    return resolved
