"""Rules of a shop in a file: boosts, reminders, group limits, exclusions."""

import json

from skclip._inside import clusters_for
from skclip._ranking import Groups

_KEYS = ("boost", "boost_seen", "max_per_group", "groups", "deny")
_WHAT = (
    "Expected a JSON object with some of "
    + ", ".join(map(repr, _KEYS))
    + (", or such objects under 'a' and 'b', the names of the models.")
)


def read_rules(path, name, names):
    """Read the rules for the model `name`, one of `names`, as `Rules` needs them.

    Raises
    ------
    ValueError
        The JSON is wrong, for this model or another. The message names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rules = json.loads(text, object_pairs_hook=_without_repeats)
    except ValueError as error:  # from JSON or UTF-8
        raise ValueError(f"{path.name} is not JSON in UTF-8: {error}.") from None
    if not isinstance(rules, dict):
        raise ValueError(f"{path.name} holds a {type(rules).__name__}. {_WHAT}")
    several = rules and set(rules) <= set(names)
    parts = rules if several else {name: rules}
    for part, of_part in parts.items():
        if not isinstance(of_part, dict):
            raise ValueError(f"{path.name}: {part!r} is not a JSON object. {_WHAT}")
        for key, value in of_part.items():
            _check(path.name, key, value)
    return {k: v for k, v in parts.get(name, {}).items() if v is not None}


def _without_repeats(pairs):
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        found[key] = value
    return found


def _check(file, key, value):
    if key not in _KEYS:
        raise ValueError(f"{file} has the key {key!r}. {_WHAT}")
    if value is None:
        return
    if key == "boost" and not isinstance(value, dict):
        raise ValueError(f"{file}: 'boost' is not an object of ids and factors.")
    if key == "groups" and value != "cluster" and not isinstance(value, dict):
        raise ValueError(
            f"{file}: 'groups' is neither \"cluster\" nor an object of ids and groups."
        )
    are_ids = isinstance(value, list) and all(type(i) in (str, int) for i in value)
    if key == "deny" and not are_ids:
        raise ValueError(f"{file}: 'deny' is not a list of ids.")


class Rules:
    """Rules as options of `predict_topk`, with the ids of a model. They never change.

    Keys of a JSON object are text. If a key is an id only after conversion to a number,
    it stands for that number.
    """

    def __init__(self, rules, estimator, recommender):
        ids = recommender.item_ids_.tolist()
        known = set(ids)
        numbers = {str(i): i for i in ids if type(i) is int}
        numbers |= {f"{i:.17g}": i for i in ids if type(i) is float}  # 1.0 is "1"
        self.unknown = set()

        def named(item):
            item = item if item in known else numbers.get(item, item)
            if item not in known:
                self.unknown.add(item)
            return item

        self.boost = {named(i): f for i, f in rules.get("boost", {}).items()}
        self.boost_seen = rules.get("boost_seen")
        self.deny = [named(item) for item in rules.get("deny", [])]
        self.max_per_group, self.groups = rules.get("max_per_group"), None
        if "groups" in rules:
            groups = rules["groups"]
            if groups == "cluster":
                groups = clusters_for(recommender, estimator)
            else:
                groups = {named(item): label for item, label in groups.items()}
            self.groups = Groups(recommender, groups)

    def options(self, exclude_seen=False, deny=None, **options):
        """Return the options of a request, extended by the rules."""
        options |= {"exclude_seen": exclude_seen, "deny": [*(deny or []), *self.deny]}
        options["deny"] = options["deny"] or None
        if self.boost:
            options["boost"] = self.boost
        if self.boost_seen is not None and not exclude_seen:
            options["boost_seen"] = self.boost_seen
        if self.max_per_group is not None or self.groups is not None:
            options |= {"max_per_group": self.max_per_group, "groups": self.groups}
        return options
