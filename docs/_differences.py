"""Differences from papers, as the Notes of public docstrings list them."""

import inspect
import re

from api_reference import public_objects, value_of

LEAD = "Differences from the paper and its code:"
TITLE = re.compile(r"\*\*([^*]+)\.\*\* \S")


def differences(docstring):
    """Bullets below the line LEAD of a docstring, each as one line of text."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    if LEAD not in lines:
        return []
    bullets = []
    for line in lines[lines.index(LEAD) + 2 :]:
        if line.startswith("- "):
            bullets.append(line[2:])
        elif line.startswith("  "):
            bullets[-1] += " " + line.strip()
        else:
            break
    return bullets


def titles(docstring):
    """The bold titles of these bullets; each bullet must begin with one."""
    found = []
    for bullet in differences(docstring):
        title = TITLE.match(bullet)
        if title is None:
            raise ValueError(
                f"A difference has no title: {bullet[:60]!r}. Begin it with a few bold "
                "words and a full stop: '- **Attention weights.** The paper ...'."
            )
        found.append(title[1])
    return found


def page():
    """Markdown of the page: titles of the differences of each public object."""
    text = "# Differences from the papers\n\n"
    text += (
        "Papers and their published code often disagree, and some details are in\n"
        "neither. skclip then makes a choice. The notes of each class say what the\n"
        "paper and its code do, what skclip does and why, and how to get the other\n"
        "form. This page lists these choices by class. Follow a heading to the notes.\n"
    )
    for name in dict.fromkeys(public_objects().values()):
        found = titles(value_of(name).__doc__)
        if found:
            text += f"\n## {{py:obj}}`{name.rsplit('.', 1)[1]} <{name}>`\n\n"
            text += "".join(f"- {title}\n" for title in found)
    return text
