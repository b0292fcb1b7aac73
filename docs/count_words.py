"""Measure how the pages read: words, long sentences, numbers in running text.

    python docs/count_words.py            # a table of all pages
    python docs/count_words.py --check    # exit status 1 where a limit is exceeded
    python docs/count_words.py --long docs/guide/ranking.md    # its long sentences

Words are counted as by `wc -w`, with tables and code. Running text is what is left
without code, tables, headings and formulas. A name in backticks is a word, and its
digits do not count as numbers.
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Written by the build.
LEFT_OUT = {"_build", "api", "gallery", "lab"}

MAX_WORDS = 25_000  # all pages of the site
MAX_PAGE = 2_500
MAX_README_LINES = 100
MAX_SENTENCE = 35  # words; README, first page and guide
MAX_NUMBERS = 4  # in 100 words of running text; the same pages

COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
HEAD = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)  # settings of a page
# Code, and directives without text of their own.
FENCE = re.compile(
    r"^(`{3,}|~{3,})(?!\{(?:glossary|note|tip|important|warning)\})[^\n]*\n.*?^\1\s*$",
    re.DOTALL | re.MULTILINE,
)
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d[\d,]*\.?\d*|\.\d+)\s?%?(?![\w])")
ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|vs|cf|etc|No|Fig|eq)\.")


def pages():
    """README and the pages of the site, by their path."""
    found = [path for path in sorted(DOCS.rglob("*.md"))
             if not LEFT_OUT & set(path.relative_to(DOCS).parts)]  # fmt: skip
    return [ROOT / "README.md", *found]


def limited(path):
    """Whether sentences and numbers have limits: README, first pages, guide."""
    return path.name == "README.md" or path.parent.name == "guide" or (
        path.parent == DOCS and path.name in {"index.md", "get_started.md"}
    )  # fmt: skip


def read(path):
    """A page as a reader sees it: what it includes is read, its comments are not."""
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"^```\{include\} (\S+)", text, re.MULTILINE):
        text += "\n" + (path.parent / name).read_text(encoding="utf-8")
    return COMMENT.sub("", text)


def count_words(text):
    return len(text.split())


def running_text(text):
    """Paragraphs and items of lists, each on a line of its own."""
    text = FENCE.sub("\n\n", HEAD.sub("", text))
    text = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    text = FORMULA.sub("formula", text)
    text = re.sub(r"<[^>\n]+>", " ", text)  # HTML
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", " ", text)  # pictures
    text = re.sub(r"\]\([^)]*\)|\]\[[^\]]*\]", "]", text)
    text = re.sub(r"\{[\w:]+\}`([^`<]+?)(?: <[^`]*>)?`", r"`\1`", text)
    text = re.sub(r"`+[^`]+`+", "code", text)
    paragraphs, block = [], []
    for line in [*text.splitlines(), ""]:
        line = line.strip()
        starts = re.match(r"(?:[-*+]|\d+\.|\|)\s+|#", line)
        if (not line or starts or line.startswith("|")) and block:
            paragraphs.append(" ".join(block))
            block = []
        if line and not line.startswith(("|", "#", ":", "+-", "---", "===")):
            block.append(re.sub(r"^(?:[-*+]|\d+\.)\s+|^>\s*", "", line))
    return paragraphs


def sentences(paragraph):
    paragraph = ABBREVIATION.sub(lambda found: found[0].replace(".", ""), paragraph)
    return [s for s in re.split(r"(?<=[.!?])[\"')*_]*\s+", paragraph) if s]


def words(text):
    return re.findall(r"[^\s]*\w[^\s]*", text)


def measure(path):
    text = read(path)
    paragraphs = running_text(text)
    n_words = sum(len(words(paragraph)) for paragraph in paragraphs)
    numbers = sum(len(NUMBER.findall(paragraph)) for paragraph in paragraphs)
    long = [s for p in paragraphs for s in sentences(p) if len(words(s)) > MAX_SENTENCE]
    return {
        "words": count_words(text),
        "running": n_words,
        "numbers": 100 * numbers / max(n_words, 1),
        "long": long,
        "lines": path.read_text(encoding="utf-8").count("\n"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--long", type=Path, help="print the long sentences of a page")
    options = parser.parse_args()
    if options.long:
        for sentence in measure(options.long.resolve())["long"]:
            print(f"{len(words(sentence))}: {sentence}\n")
        return
    found = {path: measure(path) for path in pages()}
    problems = []
    print(f"{'page':40} {'words':>6} {'running':>8} {'numbers/100':>11} {'long':>5}")
    for path, row in found.items():
        name = str(path.relative_to(ROOT))
        print(f"{name:40} {row['words']:6} {row['running']:8} {row['numbers']:11.1f} "
              f"{len(row['long']):5}")  # fmt: skip
        if path.parent != ROOT and row["words"] > MAX_PAGE:
            problems.append(f"{name} has {row['words']} words")
        if limited(path):
            if row["long"]:
                problems.append(f"{name} has {len(row['long'])} long sentences")
            if row["numbers"] >= MAX_NUMBERS:
                problems.append(
                    f"{name} has {row['numbers']:.1f} numbers per 100 words"
                )
    readme = found.pop(ROOT / "README.md")
    total = sum(row["words"] for row in found.values())
    print(f"\n{total} words on {len(found)} pages; README: {readme['lines']} lines")
    if readme["lines"] > MAX_README_LINES:
        problems.append(f"README.md has {readme['lines']} lines")
    if total > MAX_WORDS:
        problems.append(f"the site has {total} words")
    print("\n".join(problems) or "within all limits")
    if options.check and problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
