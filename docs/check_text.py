"""Find text that is in a page's Markdown or a docstring, but not on the built page.

    python docs/check_text.py docs docs/_build/html

A line that begins with ``%`` is a comment to MyST, an unknown tag is HTML, and Sphinx
says nothing about either. In a docstring, a line "K." is an empty list. Compares the
words of each source with those of its page, and names what is missing. Markup is taken
off with a few regular expressions, not with the parser, as that would lose the same
text.
"""

import inspect
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

LEFT_OUT = {"_build", "api", "gallery"}  # written from docstrings and scripts
INSIDE_WORDS = {"a", "abbr", "b", "code", "em", "i", "span", "strong", "sub", "sup"}
HIDDEN = {"toctree", "image", "figure", "include", "literalinclude", "raw", "eval-rst"}
WORD = re.compile(r"[^\W_]+")


class Article(HTMLParser):
    """The text inside the ``article`` of a page, without that of scripts."""

    def __init__(self, text):
        super().__init__()
        self.inside, self.silent, self.text = 0, 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        classes = dict(attributes).get("class") or ""
        self.part_words("" if "classifier" in classes else tag)  # a parameter's type
        self.inside += tag == "article"
        self.silent += tag in {"script", "style"}

    def handle_endtag(self, tag):
        self.part_words(tag)
        self.inside -= tag == "article"
        self.silent -= tag in {"script", "style"}

    def part_words(self, tag):
        if tag not in INSIDE_WORDS:  # colored code cuts a word into pieces
            self.text.append(" ")

    def handle_data(self, data):
        if self.inside and not self.silent:
            self.text.append(data)


def visible_lines(source, path):
    """(name and number of the line, its text) of what a reader should see."""
    text = source.replace("\r", "")
    blank = lambda found: "\n" * found[0].count("\n")  # noqa: E731
    text = re.sub(r"\A---\n.*?^---$", blank, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", blank, text, flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", blank, text)  # pictures
    # The address of a link, which may begin on the next line; a title in it.
    text = re.sub(r"\](\s*)\((?:[^()\s]|\([^()]*\))*\)", blank, text)
    text = re.sub(r"^\[[^\]]+\]:.*$", "", text, flags=re.MULTILINE)
    # A role may have a title, or a ~ for the last part of a name.
    text = re.sub(r"\{[\w:.+-]+\}`([^`<]+?)(\s*)<[^`>]*>`", r"`\1`\2", text)
    text = re.sub(r"\{[\w:.+-]+\}`~[\w.]*?(\w+)`", r"`\1`", text)
    text = re.sub(r"\{[\w:.+-]+\}(?=`)", "", text)
    fences = []  # (fence, whether it is hidden, whether it holds code)
    options = False  # those of a directive stand below its first line
    for number, line in enumerate(text.split("\n"), start=1):
        where = f"{path}:{number}"
        fence = re.match(r"\s*(`{3,}|:{3,}|~{3,})\s*(\{([\w:.+-]+)\})?(.*)$", line)
        hidden = any(hides for _, hides, _ in fences)
        code = bool(fences) and fences[-1][2]
        if fence and fences and fence[0].strip() == fences[-1][0]:
            fences.pop()
            options = False
            continue
        if fence and not code:
            name = fence[3]
            if name == "include":
                there = (path.parent / fence[4].strip()).resolve()
                yield from visible_lines(there.read_text(encoding="utf-8"), there)
            fences.append(
                (fence[1], name in HIDDEN, name in {None, "code-block", "math"})
            )
            options = name is not None
            # What follows the name is shown where it is a title.
            if name and not hidden and name not in HIDDEN | {
                "code-block", "button-ref", "button-link", "grid", "div", "container",
                "math", "list-table", "py:module", "tab-set",
            }:  # fmt: skip
                yield where, fence[4]
            continue
        if hidden or (options and re.match(r"\s*:[\w:-]+:", line)):
            continue
        options = options and not line.strip()
        if not code:
            line = re.sub(r"^\(.*\)=$", "", line)  # a target
            line = re.sub(r"^\s*\d+[.)] ", "", line)  # numbers of a list
            line = re.sub(r"<(https?://[^>]*)>", r"\1", line)
            line = re.sub(r"</?(?:a|br|sub|sup|em|b|i|kbd|span|details|summary|p|div)"
                          r"(?:\s[^>]*)?/?>", " ", line)  # fmt: skip
        yield where, line


def lost_text(source, html, path):
    """(line, words) of the words that a page has less often than its source."""
    shown = WORD.findall("".join(Article(html).text))
    lines = [(where, WORD.findall(line)) for where, line in visible_lines(source, path)]
    missing = Counter(word for _, words in lines for word in words) - Counter(shown)
    if not missing:
        return []
    # Which of the lines with a missing word? Those of which least is on the page.
    text = f" {' '.join(shown)} "
    lost = []
    for where, words in lines:
        affected = [word for word in words if word in missing]
        if affected and f" {' '.join(words)} " not in text:
            lost.append((where, affected))
    return lost or [(str(path), sorted(missing))]


def docstrings(value):
    """Docstrings on the page of a class or a function, without their markup."""
    from api_reference import own_members
    from numpydoc.docscrape import get_doc_object

    texts = [inspect.getdoc(value) or ""]
    if inspect.isclass(value):
        for name, _, lines in get_doc_object(value)["Attributes"]:
            if isinstance(getattr(value, name, None), property):
                # numpydoc shows the docstring of the property instead.
                texts[0] = texts[0].replace("\n    ".join(lines), "")
        texts += [inspect.getdoc(getattr(value, m)) or "" for m in own_members(value)]
    text = "\n".join(texts).replace("See Also\n", "See also\n")
    text = re.sub(r"# doctest:.*", "", text)
    text = re.sub(r"\.\. [a-z-]+::", "", text)  # names of directives
    text = re.sub(r":[\w:]+:(?=`)", "", text)  # names of roles
    text = re.sub(r"`~[\w.]*?(\w+)`", r"`\1`", text)
    return re.sub(r"`([^`<]+?)\s*<[^`>]*>`", r"`\1`", text)


def lost_docstrings(root):
    """(name, words) of the public objects whose page lacks words of a docstring."""
    from api_reference import public_objects, value_of

    lost = []
    for full in sorted(set(public_objects().values())):
        if not isinstance(value_of(full), dict):
            html = (root / "api" / f"{full}.html").read_text(encoding="utf-8")
            words = WORD.findall(docstrings(value_of(full)))
            shown = WORD.findall("".join(Article(html).text))
            missing = Counter(words) - Counter(shown)
            if missing:
                lost.append((full, list(missing.elements())))
    return lost


def main():
    docs, root = (Path(argument).resolve() for argument in sys.argv[1:])
    n_pages, lost = 0, []
    for path in sorted(docs.rglob("*.md")):
        name = path.relative_to(docs)
        if LEFT_OUT & set(name.parts):
            continue
        page = root / name.with_suffix(".html")
        n_pages += 1
        lost += lost_text(
            path.read_text(encoding="utf-8"), page.read_text(encoding="utf-8"), path
        )
    lost += lost_docstrings(root)
    for where, words in lost:
        print(f"{where}: not on the page: {' '.join(words)}")
    print(f"{n_pages} pages, {len(lost)} places with lost text")
    if lost or not n_pages:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
