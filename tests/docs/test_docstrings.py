"""Every public docstring is complete: numpydoc's validation over all public names."""

import doctest
import importlib
import inspect
import pkgutil

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import ERROR_MSGS, validate

import skclip

LEFT_OUT = {
    "ES01": "a summary line that says all needs no second sentence",
    "SA01": "not everything has a neighbour",
    "EX01": "methods are shown in the example of their class; see test_has_an_example",
    "RT02": "results are named, `ranks : ndarray of shape (n,)`, as parameters are",
}
# A method that says again what a base class of skclip documents in full.
LEFT_TO_THE_BASE = {"PR01", "RT01"}


def public_modules():
    names = [
        f"skclip.{module.name}"
        for module in pkgutil.iter_modules(skclip.__path__)
        if not module.name.startswith("_")
    ]
    return [skclip, *map(importlib.import_module, sorted(names))]


def public_objects():
    """(full name, object) of the classes and functions, each once."""
    found = {}
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isroutine(value):
                found.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return sorted(found.values(), key=lambda pair: pair[0])


def members(cls):
    """Public methods and properties that a class of skclip defines, or inherits."""
    found = {}
    for base in cls.__mro__:
        if base.__module__.startswith("skclip"):
            for name, value in vars(base).items():
                kinds = (property, classmethod, staticmethod)
                if not name.startswith("_") and (
                    inspect.isfunction(value) or isinstance(value, kinds)
                ):
                    found.setdefault(name, base)
    return found


def documented_by_a_base(cls, name):
    return any(
        name in vars(base) and base.__module__.startswith("skclip")
        for base in cls.__mro__[1:]
    )


OBJECTS = public_objects()
PUBLIC_CLASSES = {value for _, value in OBJECTS if inspect.isclass(value)}
METHODS = [  # inherited ones where they are not another public class's own
    (f"{full}.{member}", cls, member)
    for full, cls in OBJECTS
    if inspect.isclass(cls)
    for member, base in members(cls).items()
    if base is cls or base not in PUBLIC_CLASSES
]


def errors_of(full, ignored):
    return [
        f"{full}: {code} {message}"
        for code, message in validate(full)["errors"]
        if code not in ignored
    ]


def test_every_public_module_says_what_is_public():
    for module in public_modules():
        assert module.__all__, module.__name__
        assert module.__doc__, module.__name__


def test_what_is_left_out_is_known():
    assert set(LEFT_OUT) | LEFT_TO_THE_BASE <= set(ERROR_MSGS)


@pytest.mark.parametrize("full", [full for full, _ in OBJECTS])
def test_docstring_is_complete(full):
    assert not errors_of(full, LEFT_OUT)


@pytest.mark.parametrize(
    ("full", "cls", "name"), METHODS, ids=[full for full, _, _ in METHODS]
)
def test_docstring_of_method_is_complete(full, cls, name):
    ignored = set(LEFT_OUT)
    if documented_by_a_base(cls, name):
        ignored |= LEFT_TO_THE_BASE
    if isinstance(inspect.getattr_static(cls, name), property):
        ignored |= {"RT01"}  # what it is stands in the summary
    assert not errors_of(full, ignored)


@pytest.mark.parametrize(("full", "value"), OBJECTS, ids=[full for full, _ in OBJECTS])
def test_has_an_example(full, value):
    """An Examples section that pytest's doctests run (none is skipped)."""
    examples = "\n".join(get_doc_object(value)["Examples"])
    parsed = doctest.DocTestParser().get_examples(examples)
    assert parsed, f"{full} has no example"
    assert any(example.want for example in parsed), f"{full}: no example shows a result"
    assert not any(doctest.SKIP in example.options for example in parsed), full
