"""The layout of the cluster map: circles that do not overlap, linked ones near.

First points are placed by a force-directed layout, as if circles had no size. Then
circles grow around the points from a tenth of their radius to the full radius. In each
step linked circles attract each other, with decreasing force. Circles that overlap push
each other apart, and the smaller one moves more. The last steps only push, until no
circles overlap.
"""

import numpy as np
from scipy.spatial.distance import cdist

_STEPS = 300  # of the layout, and at most of removing overlaps
_GAP = 0.25  # between two circles, in mean radii


def pack_circles(links, radii, random_state):
    """Centers (n, 2) of circles that do not overlap, linked ones near each other."""
    n = len(radii)
    if n == 1:
        return np.zeros((1, 2))
    strength = links.sum(axis=1)
    scale = np.sqrt(np.outer(strength, strength))
    pull = np.divide(links, scale, out=np.zeros_like(links), where=scale > 0)
    size = np.sqrt((radii**2).sum())  # about the radius of the whole map
    at = size * _place_points(pull, random_state)

    touch = radii[:, None] + radii[None, :] + _GAP * radii.mean()
    mass = radii**2
    yields = mass[None, :] / (mass[:, None] + mass[None, :])  # the lighter one more
    # `towards @ at` is the mean place of what a circle is linked with.
    towards = pull / np.maximum(pull.sum(axis=1, keepdims=True), 1e-12)
    linked = strength > 0
    for grown in np.linspace(0.1, 1, _STEPS):  # circles grow, held together meanwhile
        calm = 1 - grown
        at[linked] += 0.1 * calm * (towards @ at - at)[linked]
        at *= 1 - 0.01 - 0.04 * calm
        for _ in range(3):
            at, _ = _pushed_apart(at, grown * touch, yields, random_state)
    for _ in range(2 * _STEPS):
        at, overlap = _pushed_apart(at, touch, yields, random_state)
        if overlap < 1e-3:
            break
    distance = cdist(at, at)
    np.fill_diagonal(distance, np.inf)
    return at * max(1.0, (touch / distance).max())  # what little is left


def _place_points(pull, random_state):
    """Points (n, 2) of about the unit disc, by springs and repulsion.

    They begin at the leading eigenvectors of the links but the first, which differ
    between groups of clusters. An eigenvector may come with either sign, so its largest
    entry is made positive. Ranks replace the entries, to spread what lies crowded.
    """
    n = len(pull)
    _, vectors = np.linalg.eigh(pull)
    start = vectors[:, -3:-1] if n > 2 else vectors
    start = start * np.sign(start[np.abs(start).argmax(axis=0), [0, 1]])
    at = start.argsort(axis=0, kind="stable").argsort(axis=0) * 2 / (n - 1) - 1.0
    at += 0.02 * random_state.normal(size=(n, 2))
    rest = 1 / np.sqrt(n)
    spring = pull / max(pull.sum(axis=1).mean(), 1e-12) / rest
    for heat in np.linspace(0.2, 0, _STEPS, endpoint=False):
        distance = np.maximum(cdist(at, at), 1e-9)
        force = rest**2 / distance**2 - spring * distance  # per unit of at[i] - at[j]
        np.fill_diagonal(force, 0)
        # The sum over j of force[i, j] * (at[i] - at[j]), and gravity.
        move = force.sum(axis=1)[:, None] * at - force @ at - 0.5 * at
        length = np.maximum(np.sqrt((move**2).sum(axis=1, keepdims=True)), 1e-12)
        at = at + move / length * np.minimum(length, heat)
    at = at - at.mean(axis=0)
    return at / np.quantile(np.sqrt((at**2).sum(axis=1)), 0.9)


def _pushed_apart(at, touch, yields, random_state):
    """Move circles half way out of each other. Also return the largest overlap."""
    distance = cdist(at, at)
    np.fill_diagonal(distance, np.inf)
    overlap = np.maximum(touch - distance, 0)
    if not overlap.any():
        return at, 0.0
    move = 0.5 * yields * overlap / np.maximum(distance, 1e-9 * touch)
    at = at + move.sum(axis=1)[:, None] * at - move @ at
    at += 1e-6 * touch.min() * random_state.normal(size=at.shape)  # parts equal centers
    return at, float((overlap / touch).max())


def sunflower(n):
    """Points (n, 2) that lie evenly on the unit disc, from the middle outwards.

    The angle between successive points is the golden angle, as in a sunflower.
    """
    at = np.arange(n)
    angle, distance = at * np.pi * (3 - 5**0.5), np.sqrt((at + 0.5) / n)
    return distance[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
