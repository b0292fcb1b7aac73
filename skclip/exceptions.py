"""Categories of the warnings of skclip, so that you can filter them.

All derive from `UserWarning`. Those about data derive from `SessionDataWarning`::
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
    """The sessions have a property that the caller may not expect."""


class UnseenItemWarning(SessionDataWarning):
    """Sessions contain items that were not seen in `fit`, or are empty."""


class IdTypeWarning(SessionDataWarning):
    """Ids have another type than those of `fit`, or a type that changes the ids."""


class ShortSessionWarning(SessionDataWarning):
    """Training sessions have fewer than two items, so the model learns nothing."""


class TimeWarning(SessionDataWarning):
    """Times are imprecise, or probably in another unit."""


class TrainingWarning(UserWarning):
    """Training was interrupted, or runs differently from the parameters."""
