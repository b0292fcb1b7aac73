"""Warnings of skclip, each of a category of its own, so that they can be filtered.

All derive from `UserWarning`, and those about data from `SessionDataWarning`::

    import warnings
    from skclip.exceptions import UnseenItemWarning

    warnings.simplefilter("ignore", UnseenItemWarning)
"""

__all__ = [
    "IdTypeWarning",
    "SessionDataWarning",
    "ShortSessionWarning",
    "TimeWarning",
    "TrainingWarning",
    "UnseenItemWarning",
]


class SessionDataWarning(UserWarning):
    """Something about the sessions may not be what the caller thinks."""


class UnseenItemWarning(SessionDataWarning):
    """Sessions hold items that were not seen in `fit`, or nothing at all."""


class IdTypeWarning(SessionDataWarning):
    """Ids are of another type than those of `fit`, or of one that changes them."""


class ShortSessionWarning(SessionDataWarning):
    """Training sessions have fewer than two items and give nothing to learn."""


class TimeWarning(SessionDataWarning):
    """Times are imprecise, or probably in another unit."""


class TrainingWarning(UserWarning):
    """Training was interrupted, or goes on otherwise than was asked for."""
