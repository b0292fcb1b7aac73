"""docs/api_reference.py: each public name is in one group of the API reference."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from api_reference import check_groups, public_objects
from sphinx.errors import ConfigError

NAMES = sorted(name.removeprefix("skclip.") for name in set(public_objects().values()))


def test_complete_groups_pass():
    check_groups([("Some", "", NAMES[:5]), ("Others", "", NAMES[5:])])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[1:], f"in no group of API_GROUPS.*: skclip.{NAMES[0]}$"),
        ([*NAMES, "Nothing"], "but not public: skclip.Nothing$"),
        ([*NAMES, NAMES[3]], f"in API_GROUPS twice: skclip.{NAMES[3]}$"),
    ],
)
def test_other_groups_stop_the_build(names, message):
    with pytest.raises(ConfigError, match=message):
        check_groups([("All", "", names)])
