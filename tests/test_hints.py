"""Type hints agree with the code, and tools such as pydantic can evaluate them."""

import inspect
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))

from api_reference import own_members, public_objects, value_of

from skclip._sklearn import StrOptions
from skclip.model_selection import within_session_sizes

OBJECTS = {name: value_of(name) for name in sorted(set(public_objects().values()))}
CLASSES = {name: cls for name, cls in OBJECTS.items() if inspect.isclass(cls)}


def functions_of(value: Any) -> list[Any]:
    """The function, or the constructor, methods and properties of a class."""
    if not inspect.isclass(value):
        return [value] if inspect.isroutine(value) else []
    found = [inspect.getattr_static(value, name) for name in own_members(value)]
    found = [f.fget if isinstance(f, property) else f for f in found]
    return [value.__init__, *(inspect.unwrap(f) for f in found)]


def literals_of(hint: Any) -> set[Any]:
    """Values of the `Literal` types in a hint."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return {value for part in get_args(hint) for value in literals_of(part)}


@pytest.mark.parametrize("name", OBJECTS)
def test_hints_can_be_evaluated(name: str) -> None:
    """Classes of optional packages are `Any` at run time."""
    for function in functions_of(OBJECTS[name]):
        get_type_hints(function)
    if name in CLASSES:
        get_type_hints(CLASSES[name])


@pytest.mark.parametrize("name", CLASSES)
def test_request_setters(name: str) -> None:
    """scikit-learn makes them, for the methods of a class that take metadata."""
    exist = {n for n in dir(CLASSES[name]) if n[:4] == "set_" and n[-8:] == "_request"}
    promised = {n for n in get_type_hints(CLASSES[name]) if n.endswith("_request")}
    assert promised == exist


@pytest.mark.parametrize("name", CLASSES)
def test_enumerated_strings(name: str) -> None:
    """A hint lists the strings that `fit` accepts."""
    hints = get_type_hints(CLASSES[name].__init__)
    rules = getattr(CLASSES[name], "_parameter_constraints", {})
    for parameter, accepted in rules.items():
        options = [rule.options for rule in accepted if isinstance(rule, StrOptions)]
        if options and Any not in get_args(hints[parameter]):
            assert literals_of(hints[parameter]) == set().union(*options), parameter


def test_sizes_are_numbers_for_a_number() -> None:
    assert all(isinstance(size, np.integer) for size in within_session_sizes(20))
    sizes = within_session_sizes(np.array([3, 20]))
    assert all(isinstance(size, np.ndarray) for size in sizes)
