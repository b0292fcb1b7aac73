"""The files of the page, without a browser."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import tree_sitter_javascript
from fastapi.testclient import TestClient
from server_process import JSON
from tree_sitter import Language, Parser

import skclip
from skclip.serve import create_app

FOLDER = files("skclip.serve") / "page"
FILES = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()}
SCRIPTS = [name for name in FILES if name.endswith(".js")]
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
TYPES["svg"] = "image/svg+xml"


class Tags(HTMLParser):
    """All tags with their attributes, and the text in scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.inline, self._inside = [], "", None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside in ("script", "style"):
            self.inline += data.strip()

    def values(self, *names):
        return [a[name] for _, a in self.tags for name in names if name in a]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "model.skclip"
    skclip.save(skclip.PopularityRecommender().fit([["a", "b"], ["b", "c"]]), path)
    return TestClient(create_app(path))


@pytest.fixture(scope="module")
def page():
    return Tags(FILES["index.html"])


@pytest.mark.parametrize("name", FILES)
def test_files_are_served(client, name):
    answer = client.get("/" if name == "index.html" else f"/{name}")
    assert answer.status_code == 200
    assert answer.text == FILES[name]
    assert answer.headers["content-type"].startswith(TYPES[name.rpartition(".")[2]])
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in policy
    assert not [rule for rule in policy if "unsafe" in rule]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_needs_its_own_files_only(page):
    imported = re.findall(r'^import .* from "\./([\w.]+)";$', FILES["page.js"], re.M)
    assert {"index.html", *page.values("src", "href"), *imported} == set(FILES)
    for text in FILES.values():
        text = text.replace("http://www.w3.org/2000/svg", "")  # the name of a format
        assert not re.search(r"https?:|//[\w-]+\.\w|@import|url\(", text)


def test_nothing_that_the_policy_forbids(page):
    assert not page.inline
    names = {name for _, attributes in page.tags for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    unsafe = r"(innerHTML|outerHTML|insertAdjacent|document\.write|\beval|new Function)"
    assert not [name for name in SCRIPTS if re.search(unsafe, FILES[name])]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name):
    parser = Parser(Language(tree_sitter_javascript.language()))
    script = FILES[name]
    assert not parser.parse(script.encode()).root_node.has_error
    damaged = script.replace("{", "", 1)
    assert parser.parse(damaged.encode()).root_node.has_error


def test_script_and_page_agree(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'\$\("([\w-]+)"\)', FILES["page.js"]))
    assert used
    assert used <= set(ids)
    referred = page.values(
        "aria-labelledby", "aria-describedby", "aria-controls", "for"
    )
    assert set(referred) <= set(ids)


def test_endpoints_of_the_script_exist(client):
    asked = re.findall(r'ask\([`"](\w+)', FILES["page.js"])
    assert set(asked) == {"models", "items", "recommend", "similar"}
    assert {f"/{name}" for name in asked} <= set(
        client.get("/openapi.json").json()["paths"]
    )


def test_curl_commands_of_the_documentation():
    """Each is sent to a model of the page; all of them are understood."""
    text = (Path(__file__).parents[2] / "docs/guide/serving.md").read_text("utf-8")
    commands = re.findall(
        r"^curl -s '?localhost:8000(/[^\s']+)'?(?: -H.*\n +-d '(.*)')?$", text, re.M
    )
    assert len(commands) == text.count("curl -s") > 4
    sessions = [[f"item-{i:03}" for i in range(first, 30)] for first in range(3)]
    with TemporaryDirectory() as folder:
        skclip.save(
            skclip.AssociationRules().fit(sessions), Path(folder, "model.skclip")
        )
        client = TestClient(create_app(Path(folder, "model.skclip")))
    for where, body in commands:
        method = "POST" if body else "GET"
        answer = client.request(method, where, content=body, headers=JSON)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found.get("items") or found.get("results") or found["models"]
