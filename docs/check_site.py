"""Look at the built site in Chromium: widths, header, colors and search.

    python docs/check_site.py docs/_build/html PICTURES

Opens the main pages at four widths, light and dark, and writes a picture of each into
the folder PICTURES, to be looked at by a person. The other pages are measured at two
widths. Fails where a page is wider than the window, the header has more than one row or
other words, an empty column takes space, a large box stays white in the dark, or a word
of the field finds no page through the site's own search. Needs selenium, Chromium and
its driver.
"""

import argparse
import base64
import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

WIDTHS = (390, 768, 1280, 1400)
ONE_ROW = 1280  # from this width on, the header shows all words in one row
HEADER = ["Get started", "User guide", "Examples", "API", "Benchmarks"]
PAGES = (
    "index",
    "get_started",
    "guide/index",
    "guide/which_model",
    "guide/prompts",
    "gallery/index",
    "gallery/plot_item_clusters",
    "api/index",
    "api/skclip.CLIPSessionRecommender",
    "api/skclip.model_selection.evaluate",
    "results",
    "lab/index",
)
WITHOUT_SIDEBAR = {"index", "get_started", "results"}
WORDS = (
    "cold start",
    "cold-start",
    "deploy",
    "deployment",
    "hyperparameter",
    "nearest neighbors",
    "SASRec",
    "onnx",
    "faiss",
    "docker",
    "mlflow",
    "optuna",
    "dask",
    "multi-GPU",
    "production",
    "csv",
    "bots",
    "catalog",
    "explain",
    "next-item",
    "timezone",
    "retrain",
    "OOV",
)
TALLEST = 6000  # pixels of a picture

LOOK = """
const width = window.innerWidth;
const visible = e => e.getClientRects().length
    && getComputedStyle(e).visibility !== "hidden";
const name = e => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "")
    + [...e.classList].map(c => "." + c).join("");
const found = {width: document.documentElement.scrollWidth, beyond: [], white: []};
// What lies beyond the edge, but for code, tables and formulas that can be scrolled.
const scrolls = "pre, .pst-scrollable-table-container, div.math, .bd-sidebar-primary, "
    + ".bd-sidebar-secondary";
const hidden = "dialog, .skip-link, #pst-skip-link, .pst-async-banner-revealer";
for (const e of document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    if (!visible(e) || !box.width || !box.height || e.closest(hidden)) continue;
    if (box.right <= width + 1 && box.left >= -1) continue;
    const around = e.parentElement.closest(scrolls);
    if (!around || around.getBoundingClientRect().right > width + 1)
        found.beyond.push(name(e));
}
// The list of contents on the right is cut off, not scrolled.
for (const e of document.querySelectorAll(".bd-sidebar-secondary a"))
    if (visible(e) && e.getBoundingClientRect().right > width + 1)
        found.beyond.push(name(e));
const header = document.querySelector(".bd-header");
const links = [...header.querySelectorAll(".navbar-nav a.nav-link")].filter(visible)
    .filter(e => !e.querySelector("i, svg"));
found.header = links.map(e => e.textContent.trim());
found.rows = new Set(links.map(e => Math.round(e.getBoundingClientRect().top))).size;
found.height = header.getBoundingClientRect().height;
found.cut = [...header.querySelectorAll("a, button")].filter(visible)
    .filter(e => e.getBoundingClientRect().right > width + 1).map(name);
const column = document.querySelector(".bd-sidebar-primary");
found.sidebar = column && visible(column) && column.getBoundingClientRect().left >= 0
    ? column.querySelectorAll("nav a").length : null;
// Images need a text; without one, Sphinx shows the path. Thumbnails have a title.
found.unnamed = [...document.querySelectorAll("article img")]
    .filter(e => !e.closest(".sphx-glr-thumbcontainer"))
    .filter(e => !e.alt || /[.](png|svg)$/.test(e.alt)).map(e => e.getAttribute("src"));
// Grounds that are nearly white. A PNG is white inside; its frame is checked by eye.
for (const e of document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    const color = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
    const opaque = color.length < 4 || color[3] > 0.5;
    const light = Math.min(...color.slice(0, 3)) > 200;
    if (visible(e) && opaque && light && box.width * box.height > 20000
        && !(e.tagName === "IMG" && /[.]png$/.test(e.src))) found.white.push(name(e));
}
return found;
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Site:
    """The built site on a port of its own, and a browser to look at it."""

    def __init__(self, root):
        handler = functools.partial(Quiet, directory=str(root))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage",
                         "hide-scrollbars", "force-device-scale-factor=1"):  # fmt: skip
            options.add_argument(f"--{argument}")
        service = Service("/usr/bin/chromedriver")
        self.browser = webdriver.Chrome(options=options, service=service)
        self.browser.set_page_load_timeout(60)
        self.do("Network.enable")
        # MathJax is the only thing from elsewhere; without a network it would wait.
        self.do("Network.setBlockedURLs", urls=["*cdn.jsdelivr.net*"])

    def do(self, command, **values):
        return self.browser.execute_cdp_cmd(command, values)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.browser.quit()
        self.server.shutdown()

    def window(self, width, theme):
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=900,
                deviceScaleFactor=1, mobile=False)  # fmt: skip
        features = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in features.items()]
        self.do("Emulation.setEmulatedMedia", features=features)

    def open(self, path):
        self.browser.get(f"{self.address}/{path}")

    def picture(self, path):
        height = self.browser.execute_script(
            "return document.documentElement.scrollHeight"
        )
        width = self.browser.execute_script("return window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST),
                "scale": 1}  # fmt: skip
        shot = self.do("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def search(self, words):
        """Addresses of the pages that the site's search lists."""
        self.open(f"search.html?q={quote(words)}")
        script = """
            const status = document.querySelector("#search-results .search-summary");
            return status && /[Ff]ound|did not match/.test(status.textContent)
                ? [...document.querySelectorAll("#search-results li > a")]
                    .map(a => a.getAttribute("href")) : null"""
        found = WebDriverWait(self.browser, 20).until(
            lambda browser: (
                (browser.execute_script(script),)
                if browser.execute_script(script) is not None
                else False
            )
        )
        return found[0]


def problems_of(page, width, theme, seen):
    """What is wrong with a page, in words."""
    if seen["width"] > width:
        yield f"is {seen['width']} px wide in a window of {width} px"
    if seen["beyond"]:
        yield f"has parts beyond the edge: {', '.join(seen['beyond'][:5])}"
    if seen["unnamed"]:
        yield f"has images without a text: {', '.join(seen['unnamed'])}"
    if seen["cut"]:
        yield f"has parts of the header beyond the edge: {', '.join(seen['cut'])}"
    if width >= ONE_ROW:
        if seen["header"] != HEADER:
            yield f"has {seen['header']} in the header"
        if seen["rows"] != 1 or seen["height"] > 80:
            yield f"has a header of {seen['height']} px with {seen['rows']} rows"
        if seen["sidebar"] is not None and (
            not seen["sidebar"] or page in WITHOUT_SIDEBAR
        ):
            yield "has an empty column on the left"
    if theme == "dark" and seen["white"]:
        yield f"is white in the dark: {', '.join(seen['white'][:5])}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="the built site")
    parser.add_argument("pictures", type=Path, help="folder for the pictures")
    parser.add_argument("--pages", nargs="*", default=PAGES)
    parser.add_argument("--widths", nargs="*", type=int, default=WIDTHS)
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    problems = []
    with Site(options.root.resolve()) as site:
        for theme in ("light", "dark"):
            for width in options.widths:
                site.window(width, theme)
                for page in options.pages:
                    site.open(f"{page}.html")
                    seen = site.browser.execute_script(LOOK)
                    name = f"{page.replace('/', '-')}-{width}-{theme}.png"
                    site.picture(options.pictures / name)
                    for problem in problems_of(page, width, theme, seen):
                        problems.append(f"{page} ({width} px, {theme}) {problem}")
        # Every page is measured, without a picture.
        for width in (min(options.widths), ONE_ROW):
            site.window(width, "light")
            for path in sorted(options.root.rglob("*.html")):
                page = str(path.relative_to(options.root).with_suffix(""))
                if page.startswith(("_static/", "_modules/")) or page in options.pages:
                    continue
                site.open(f"{page}.html")
                seen = site.browser.execute_script(LOOK)
                for problem in problems_of(page, width, "light", seen):
                    problems.append(f"{page} ({width} px) {problem}")
        for words in WORDS:
            found = site.search(words)
            print(f"{words}: {len(found)} pages; {', '.join(found[:3])}")
            if not found:
                problems.append(f"the search finds nothing for {words!r}")
    print("\n".join(problems))
    n = len(options.pages) * len(options.widths) * 2
    print(f"{n} pictures in {options.pictures}, {len(problems)} problems")
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
