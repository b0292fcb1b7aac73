"""Differences from papers: each is found in the Notes, and the page lists it."""

import inspect
import sys
from pathlib import Path

import pytest
from test_docstrings import OBJECTS

from skclip.backbones import BACKBONES

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import _differences as differences

WITH_DIFFERENCES = [f for f, o in OBJECTS.items() if "Differences from" in o.__doc__]


@pytest.mark.parametrize("full", WITH_DIFFERENCES)
def test_every_bullet_is_found_and_has_text_behind_its_title(full):
    docstring = inspect.cleandoc(OBJECTS[full].__doc__)
    bullets = differences.differences(docstring)
    _, listed = docstring.split(differences.LEAD)
    assert len(bullets) == listed.count("\n- **") > 0
    for bullet, title in zip(bullets, differences.titles(docstring), strict=True):
        assert 1 <= len(title.split()) <= 6
        assert len(bullet) > len(title) + 40


def test_the_page_lists_every_backbone_of_a_paper():
    page = differences.page()
    for cls in BACKBONES.values():
        heading = f"## {{py:obj}}`{cls.__name__} <skclip.backbones.{cls.__name__}>`"
        assert heading in page
    assert len(page.split()) < 800


def test_a_bullet_without_a_title_is_refused():
    doc = f"Notes\n-----\n{differences.LEAD}\n\n- Something\n  else.\n\nReferences"
    assert differences.differences(doc) == ["Something else."]
    with pytest.raises(ValueError, match=r"no title: 'Something else\.'"):
        differences.titles(doc)
    assert differences.titles("Summary.") == []
