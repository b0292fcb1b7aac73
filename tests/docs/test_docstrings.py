"""Every public docstring is complete: numpydoc's validation over all public names."""

import doctest
import importlib
import inspect
import pkgutil
from types import FunctionType

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import skclip

LEFT_OUT = {
    "ES01",  # a summary line that says all needs no second sentence
    "SA01",  # not everything has a neighbor
    "EX01",  # methods are shown in the example of their class
    "RT02",  # results are named, `ranks : ndarray of shape (n,)`, as parameters are
}


def public_modules():
    """skclip and its modules without underscore."""
    names = [module.name for module in pkgutil.iter_modules(skclip.__path__)]
    public = sorted(name for name in names if not name.startswith("_"))
    return [skclip, *(importlib.import_module(f"skclip.{name}") for name in public)]


def public_objects():
    """Classes and functions by full name, each once."""
    found = {}
    for module in public_modules():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isroutine(value):
                found.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return dict(sorted(found.values(), key=lambda pair: pair[0]))


def members(cls):
    """(name, value, classes that define it) of what skclip defines, bases included."""
    bases = [base for base in cls.__mro__ if base.__module__.startswith("skclip")]
    for name in dict.fromkeys(name for base in bases for name in vars(base)):
        value = inspect.getattr_static(cls, name)
        kinds = (FunctionType, property, classmethod, staticmethod)
        if name[0] != "_" and isinstance(value, kinds):
            yield name, value, [base for base in bases if name in vars(base)]


OBJECTS = public_objects()
CLASSES = {full: cls for full, cls in OBJECTS.items() if inspect.isclass(cls)}


def docstrings():
    """(full name, what may be missing); a method is checked where it is defined."""
    for full in OBJECTS:
        yield full, LEFT_OUT
    for full, cls in CLASSES.items():
        for name, value, homes in members(cls):
            if value.__doc__ is None and any(vars(c)[name].__doc__ for c in homes):
                continue  # it inherits the docstring of a base
            if homes[0] is cls or homes[0] not in CLASSES.values():
                ignored = {"RT01"} if isinstance(value, property) else set()
                if set(homes) - {cls}:  # a base documents it in full
                    ignored |= {"PR01", "RT01"}
                yield f"{full}.{name}", LEFT_OUT | ignored


MAY_MISS = dict(docstrings())


@pytest.mark.parametrize("full", MAY_MISS)
def test_docstring_is_complete(full):
    errors = validate(full)["errors"]
    assert not [error for error in errors if error[0] not in MAY_MISS[full]]


@pytest.mark.parametrize("full", OBJECTS)
def test_has_an_example(full):
    """An Examples section that pytest's doctests run (none is skipped)."""
    examples = "\n".join(get_doc_object(OBJECTS[full])["Examples"])
    parsed = doctest.DocTestParser().get_examples(examples)
    assert any(example.want for example in parsed), "no example shows a result"
    assert not any(doctest.SKIP in example.options for example in parsed)


def test_every_public_module_says_what_is_public():
    for module in public_modules():
        assert module.__all__, module.__name__
        assert module.__doc__, module.__name__
        assert not set(module.__all__) - set(dir(module)), module.__name__
