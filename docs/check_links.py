"""Check the built site's links to itself: pages, files and places in pages.

    python docs/check_links.py docs/_build/html

Sphinx checks references while it builds; this reads what came out, so that links
written by hand, by the gallery or by the theme are checked as well. No network.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.names = [], {"", "#"}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names |= {attributes.get("id"), attributes.get("name")}
        for key in ("href", "src"):
            if attributes.get(key):
                self.links.append(attributes[key])


def broken_links(root):
    pages = {
        path.resolve(): Page(path.read_text(encoding="utf-8"))
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.parts  # the theme's templates
    }
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            there = path
            if parts.path:
                there = (path.parent / unquote(parts.path)).resolve()
                if there.is_dir():
                    there = there / "index.html"
            if not there.exists():
                yield path.relative_to(root), link, "no such file"
            elif "_modules" in path.parts:
                continue  # Sphinx names the place by the module that defines it
            elif there in pages and unquote(parts.fragment) not in pages[there].names:
                yield path.relative_to(root), link, "no such place in it"


def main():
    root = Path(sys.argv[1]).resolve()
    broken = list(broken_links(root))
    for path, link, why in broken:
        print(f"{path}: {link}: {why}")
    n = len(list(root.rglob("*.html")))
    print(f"{n} pages, {len(broken)} broken links")
    if broken or n < 10:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
