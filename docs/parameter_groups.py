"""Puts headings of groups into a long list of parameters.

The docstring of a class says which parameters belong together: a paragraph "The
parameters come in groups:", then a list with items such as "**Model**: `backbone`,
`similarity`." On the page of the class the list becomes headings inside "Parameters".
"""

from docutils import nodes
from sphinx.util import logging

OPENING = "The parameters come in groups:"
logger = logging.getLogger(__name__)


def groups_of(bullets):
    """Names of parameters by the title of their group."""
    return {
        next(item.findall(nodes.strong)).astext(): [
            name.astext() for name in item.findall(nodes.literal)
        ]
        for item in bullets
    }


def add_parameter_groups(app, domain, objtype, content):
    """A handler of ``object-description-transform``."""
    for paragraph in list(content.findall(nodes.paragraph)):
        if paragraph.astext() == OPENING:
            break
    else:
        return
    bullets = paragraph.parent[paragraph.parent.index(paragraph) + 1]
    groups = groups_of(bullets)
    body = next(  # those of methods come later
        field[1]
        for field in content.findall(nodes.field)
        if field[0].astext() == "Parameters"
    )
    parameters = body[0]
    by_name = {entry[0].astext(): entry for entry in parameters}
    listed = [name for names in groups.values() for name in names]
    if sorted(listed) != sorted(by_name):
        differing = ", ".join(sorted(set(listed) ^ set(by_name))) or "one is twice"
        logger.warning("groups and parameters differ: %s", differing, location=content)
        return
    paragraph.parent.remove(bullets)
    paragraph.parent.remove(paragraph)
    body.remove(parameters)
    for title, names in groups.items():
        body += nodes.rubric("", title, classes=["parameter-group"])
        body += nodes.definition_list("", *(by_name[name] for name in names))
