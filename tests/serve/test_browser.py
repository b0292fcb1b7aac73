"""The page in Chromium, against a server in a process of its own.

`.ci/full page` runs this: `pytest -m browser`, with selenium, Chromium with its driver,
and AXE, the path of the script axe.min.js. SCREENSHOTS names a folder for pictures:

    SCREENSHOTS=docs/figures pytest -m browser tests/serve/test_browser.py -k figure
"""

import contextlib
import csv
import io
import os
import re
import time
from pathlib import Path

import pytest
from page_driver import DESKTOP, PHONE, Page, chromium, requested, until
from PIL import Image
from server_process import ask, free_port, running, serve_command

import skclip
from skclip import CLIPSessionRecommender, SessionKNN
from skclip.datasets import make_titled_sessions

pytestmark = pytest.mark.browser

NASTY = "<img src=x onerror=document.title='broken'> & <b>bold</b>"


class Server:
    """`python -m skclip.serve` on a port of its own."""

    def __init__(self, folder, *models, titles=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        options = [] if titles is None else [f"--titles={titles}"]
        self.command = serve_command(
            models[0], self.port, "--reload-seconds=0.2", *options
        )
        self.command[4:4] = map(str, models[1:])  # models stand before the options
        self.log = folder / f"{self.port}.log"

    @contextlib.contextmanager
    def up(self):
        with running(self.command, self.port, self.log):
            yield self

    def ask(self, where, body=None):
        status, answer = ask(self.port, where, body)
        assert status == 200
        return answer


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Two models of titled sessions, and one with numbers as ids, some of 63 bits."""
    folder = tmp_path_factory.mktemp("models")
    X, truth = make_titled_sessions(n_sessions=800, n_items=80, random_state=0)
    rec = CLIPSessionRecommender("gru4rec", max_epochs=4, random_state=0).fit(X)
    skclip.save(rec, folder / "gru4rec.skclip")
    skclip.save(SessionKNN().fit(X), folder / "knn.skclip")
    large = 2**62 + 1
    rows = [[1, 2, large], [2, large, 3], [large, 3, 1], [1, 2, 3]] * 5
    skclip.save(SessionKNN().fit(rows), folder / "numbers.skclip")
    titles = dict(zip(truth.item_ids.tolist(), truth.titles.tolist(), strict=True))
    titles["item-005"] = NASTY
    with open(folder / "titles.csv", "w", newline="") as file:
        csv.writer(file).writerows([("item", "title"), *titles.items()])
    return folder, titles


@pytest.fixture(scope="session")
def one_model(files):
    folder, _ = files
    titles = folder / "titles.csv"
    with Server(folder, folder / "gru4rec.skclip", titles=titles).up() as server:
        yield server


@pytest.fixture(scope="session")
def two_models(files):
    folder, _ = files
    models = folder / "gru4rec.skclip", folder / "knn.skclip"
    with Server(folder, *models, titles=folder / "titles.csv").up() as server:
        yield server


@pytest.fixture(scope="session")
def numbers(files):
    with Server(files[0], files[0] / "numbers.skclip").up() as server:
        yield server


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    pytest.importorskip("selenium")
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver):
    """Chromium. At the end: no error in its console, and no request to elsewhere."""
    driver.get_log("browser")
    requested(driver)
    driver.errors_expected = False
    yield driver
    driver.get("about:blank")
    problems = [e for e in driver.get_log("browser") if e["level"] != "INFO"]
    assert driver.errors_expected or not problems
    urls = requested(driver)
    assert urls
    assert not [url for url in urls if not url.startswith("http://127.0.0.1:")]


@pytest.fixture
def page(browser, one_model):
    return Page(browser, one_model.url).open()


@pytest.fixture
def two(browser, two_models):
    return Page(browser, two_models.url)


# ---- What the page does


def test_an_empty_session_shows_popular_items(page, one_model):
    popular = one_model.ask("/items?q=&limit=10")["items"]
    assert page.ids() == [item["id"] for item in popular]
    assert "most popular" in page.text("#recommended-note")
    assert page.texts(".because") == ["Popular"] * 10
    assert page.text("#found") == "The most clicked of all items."


def test_search_click_and_the_list_changes(page, files):
    titles = files[1]
    before = page.ids()
    words = titles["item-010"].split()
    page.search(f"{words[1]} {words[0]}".upper())  # words in any order and case
    found = page.texts("#results [role=option] .id")
    assert "item-010" in found
    page.all("#results [role=option]")[found.index("item-010")].click()
    page.until_clicks(1)
    assert page.text("#clicks .id") == "item-010"
    assert page.ids() != before
    assert "item-010" not in page.ids()
    assert f"Added {titles['item-010']}." in page.live()
    new = len(set(page.ids()) - set(before))
    assert f"{new} of 10 recommendations are new" in page.live()
    assert page.texts("#lists .tag").count("new") == new
    assert set(page.texts(".because")) == {f"Because of {titles['item-010']}"}

    second = page.ids()[1]
    page.all("#lists button.name")[1].click()  # a recommendation is clicked
    page.until_clicks(2)
    assert page.texts("#clicks .id") == ["item-010", second]
    assert second not in page.ids()
    page.one("#seen").click()
    until(lambda: {"item-010", second} & set(page.ids()), "clicked items in the list")


def test_moved_places_are_those_of_the_lists(page):
    page.open(["item-010"])
    before = page.ids()
    page.all("#lists button.name")[2].click()
    page.until_clicks(2)
    rows = page.texts("#lists li .more > :first-child")
    assert len(rows) == 10
    for rank, (item, row) in enumerate(zip(page.ids(), rows, strict=True)):
        gain = before.index(item) - rank if item in before else None
        sign = "new" if gain is None else f"up \u2191 {gain}"
        if gain is not None and gain < 0:
            sign = f"down \u2193 {-gain}"
        assert row.endswith(sign) or gain == 0


def test_the_explanation_is_that_of_the_server(page, one_model, files):
    session = ["item-010", "item-020", "item-030", "item-011"]
    page.open(session)
    answer = one_model.ask("/recommend", {"session": session, "explain": True})
    drops = answer["explanation"]["drops"]
    for j, sentence in enumerate(page.texts(".because")):
        best = max(range(4), key=lambda i, j=j: drops[i][j])
        assert f"ecause of {best + 1}. {files[1][session[best]]}" in sentence

    why = page.one("[data-key='why-0 0']")
    assert why.get_attribute("aria-expanded") == "false"
    why.click()
    page.settle()
    order = sorted(range(4), key=lambda i: -drops[i][0])
    shown = page.texts(".why li > span:first-child")
    assert shown == [f"{i + 1}. {files[1][session[i]]}" for i in order]
    numbers = [t.replace("\u2212", "-") for t in page.texts(".why .drop")]
    largest = max(abs(row[0]) for row in drops)
    for text, i in zip(numbers, order, strict=True):
        assert float(text) == pytest.approx(drops[i][0], rel=0.06, abs=1e-6)
    shares = page.js(
        "return [...document.querySelectorAll('.why .bar')].map("
        "bar => Number(bar.style.getPropertyValue('--share')))"
    )
    assert shares == pytest.approx([abs(drops[i][0]) / largest for i in order])
    assert page.all("#lists [aria-expanded=true]")


def test_the_pointer_shows_the_clicks_that_drove_an_item(page):
    from selenium.webdriver import ActionChains

    page.open(["item-010", "item-020", "item-030"])
    assert not page.all("#clicks .drives")
    place = page.one("#clear").rect
    rows = page.all("#lists article > ol > li")
    ActionChains(page.driver).move_to_element(rows[4]).perform()
    assert page.all("#clicks .drives")
    assert all(text.startswith("drop ") for text in page.texts("#clicks .drop"))
    assert page.one("#clear").rect == place  # nothing jumps
    ActionChains(page.driver).move_to_element(page.one("footer")).perform()
    assert not page.all("#clicks .drives")


def test_an_unknown_item(page):
    page.search("no such item")
    assert "No item found" in page.text("#found")
    assert page.texts("#results [role=option]") == ["Add the id no such item"]
    page.press("\ue007")  # Enter
    page.until_clicks(1)
    assert "Not in the catalog: ignored" in page.text("#clicks li")
    assert set(page.texts(".because")) == {"Popular: no click is in the catalog"}
    page.all("#results [role=option]")[0].click()
    page.until_clicks(2)
    assert "because" in page.text(".because").lower()
    assert len(page.all("#clicks .unknown")) == 1


def test_unknown_clicks_are_no_reasons(page):
    page.open(["item-010", "nothing", "item-020"])
    sentences = page.texts(".because")
    assert len(sentences) == 10
    assert not [text for text in sentences if "nothing" in text]
    page.one("[data-key='why-0 0']").click()
    page.settle()
    assert len(page.all("#lists .why li")) == 2


def test_similar_items(page, one_model, files):
    page.open(["item-010"])
    item = page.ids()[0]
    page.one("[data-key='similar-0 0']").click()
    until(lambda: page.all("#similar li"), "similar items")
    assert page.text("#similar-title") == f"Similar to {files[1][item]}"
    expected = one_model.ask("/similar", {"item": item})["items"]
    assert page.texts("#similar .name .id") == expected
    page.one("[data-key='near-0 3']").click()  # from item to item
    title = files[1][expected[3]]
    until(lambda: page.text("#similar-title") == f"Similar to {title}", "the next")
    until(lambda: page.all("#similar li"), "its similar items")
    page.press("\ue00c")  # Escape
    assert not page.one("#similar").is_displayed()
    assert page.focused() == "similar-0 0"
    page.one("[data-key='similar-click 0']").click()
    until(lambda: page.all("#similar li"), "similar items")
    chosen = page.texts("#similar .name .id")[1]
    page.all("#similar button.name")[1].click()
    page.until_clicks(2)
    assert page.texts("#clicks .id") == ["item-010", chosen]
    assert not page.one("#similar").is_displayed()


def test_a_long_session_has_no_reasons(page, one_model):
    page.driver.errors_expected = True  # a refused request is logged
    session = ["item-010", "item-020"] * 51
    page.open(session)
    assert "at most 100 clicks" in page.text("#lists .note")
    assert page.ids() == one_model.ask("/recommend", {"session": session})["items"]
    assert not page.all("[data-key='why-0 0']")
    page.open(session[:2])
    assert not page.all("#lists .note")


def test_titles_are_text(page):
    page.open(["item-005"])
    assert NASTY in page.text("#clicks .name")
    page.search("onerror")
    assert NASTY in page.text("#results .name")
    assert page.driver.title != "broken"
    assert not page.all("img, b")


def test_the_session_is_in_the_address(page):
    page.open(["item-010", "item-020"])
    assert page.texts("#clicks .id") == ["item-010", "item-020"]
    page.one("[aria-label^=Remove]:not(#clicks li:first-child *)").click()
    page.until_clicks(1)
    page.driver.back()
    page.until_clicks(2)
    page.driver.refresh()
    page.until_clicks(2)
    page.driver.get(page.url + "#session=%5B1%2C")  # cut off
    page.until_clicks(0)


def test_move_remove_and_clear_keep_the_focus(page):
    page.open(["item-010", "item-020", "item-030"])
    page.one("[data-key='up 2']").click()
    until(lambda: page.texts("#clicks .id")[1] == "item-030", "the move")
    page.settle()
    assert page.focused() == "up 1"
    page.one("[data-key='up 1']").click()
    until(lambda: page.texts("#clicks .id")[0] == "item-030", "the move")
    page.settle()
    assert page.focused() == "down 0"  # the first cannot go up
    page.one("[data-key='remove 2']").click()
    page.until_clicks(2)
    assert page.focused() == "remove 1"
    page.one("#clear").click()
    page.until_clicks(0)
    assert page.focused() == "session-title"
    assert "The session is empty." in page.live()


def test_numbers_stay_numbers(browser, numbers):
    page = Page(browser, numbers.url).open([2])
    assert str(2**62 + 1) in page.ids()
    page.search("3")
    page.press("\ue007")
    page.until_clicks(2)
    assert not page.all("#clicks .unknown")
    page.search("77")  # unknown, and a number
    page.press("\ue007")
    page.until_clicks(3)
    assert "session=%5B2%2C3%2C77%5D" in page.driver.current_url
    page.open(["2"])  # text is another item
    assert len(page.all("#clicks .unknown")) == 1
    page.open([2**62 + 1])
    assert not page.all("#clicks .unknown")
    assert page.text("#clicks .name") == str(2**62 + 1)


# ---- Two models


def test_two_models_side_by_side(two):
    two.open(["item-010", "item-011"])
    a, b = two.ids(0), two.ids(1)
    assert a != b
    both = [item for item in a if item in b]
    assert f"{len(both)} of 10 items are in both lists" in two.text("#recommended-note")
    marks = [t for t in two.texts("#lists article:first-of-type .tag") if "both" in t]
    assert marks == [f"in both (B: {b.index(item) + 1})" for item in both]
    titles = two.texts("#lists h3")
    assert titles == ["A: gru4rec.skclip", "B: knn.skclip"]
    left, right = (article.rect for article in two.all("#lists article"))
    assert left["x"] + left["width"] <= right["x"]
    assert len(two.all("#about li")) == 2


# ---- The server goes, comes back, takes a new model


def test_dead_server(browser, files):
    folder, _ = files
    titles = folder / "titles.csv"
    server = Server(folder, folder / "gru4rec.skclip", titles=titles)
    with server.up():
        page = Page(browser, server.url).open(["item-010"])
    browser.errors_expected = True  # Chromium logs each refused connection
    page.all("#lists button.name")[0].click()
    until(lambda: page.one("#banner").is_displayed(), "the banner")
    assert "does not answer" in page.text("#banner")
    assert len(page.all("#clicks > li")) == 2
    page.one("#retry").click()
    time.sleep(0.5)
    assert page.one("#banner").is_displayed()
    session = page.texts("#clicks .id")
    page.shot("page-dead")
    with server.up():
        page.js("document.querySelector('#retry').click()")
        until(lambda: not page.one("#banner").is_displayed(), "the server")
        page.settle()
        assert page.texts("#clicks .id") == session
        assert session[1] not in page.ids()
        browser.get("about:blank")


@pytest.fixture
def replaced(files, tmp_path):
    path = tmp_path / "model.skclip"
    path.write_bytes((files[0] / "gru4rec.skclip").read_bytes())
    with Server(tmp_path, path).up() as server:
        yield server


def test_a_new_model_is_seen(replaced, browser, tmp_path):
    path = tmp_path / "model.skclip"
    page = Page(browser, replaced.url).open(["item-010"])
    version = replaced.ask("/models")["models"][0]["version"]
    assert version in page.text("#about")
    skclip.save(SessionKNN().fit([["item-010", "item-077"]] * 3), path)
    until(lambda: "SessionKNN" in page.text("#about"), "the new model")
    assert version not in page.text("#about")
    until(lambda: page.ids() == ["item-077"], "its list")
    assert "reloaded" in page.live()
    path.write_bytes(b"no model")
    until(lambda: "could not be loaded" in page.text("#about"), "the error")
    assert page.ids() == ["item-077"]


def test_new_titles_are_seen(browser, files, tmp_path):
    titles = tmp_path / "titles.csv"
    titles.write_text("item,title\nitem-010,An old name\n")
    server = Server(tmp_path, files[0] / "gru4rec.skclip", titles=titles)
    with server.up():
        page = Page(browser, server.url).open(["item-010"])
        assert "An old name" in page.text("#clicks")
        titles.write_text("item,title\nitem-010,A new name\n")
        until(lambda: "A new name" in page.text("#clicks"), "the new title")
        assert "Titles were reloaded." in page.live()
        browser.get("about:blank")


def test_a_session_of_the_largest_size(page, one_model, browser):
    browser.errors_expected = True  # no explanation of so many clicks
    session = ["item-010", *(f"new-{i}" for i in range(999))]
    page.open(session)
    answer = one_model.ask("/recommend", {"session": session})
    assert page.ids() == answer["items"]
    assert len(page.all("#clicks .unknown")) == len(answer["unknown"]) == 999


def test_a_late_answer_does_not_replace_a_newer_one(page):
    page.js("""
        const send = window.fetch;
        window.answers = [];
        window.fetch = async (path, request) => {
          const late = request.body?.includes('"session":["item-010"]');
          const answer = await send(path, { ...request, signal: undefined });
          if (late) await new Promise((done) => setTimeout(done, 1500));
          if (path === "recommend") window.answers.push(request.body);
          return answer;
        };
    """)
    page.js("location.hash = 'session=' + JSON.stringify(['item-010'])")
    time.sleep(0.2)
    page.js("location.hash = 'session=' + JSON.stringify(['item-010', 'item-020'])")
    page.until_clicks(2)
    newer = page.ids()
    until(lambda: len(page.js("return window.answers")) == 2, "both answers")
    assert '"item-020"' in page.js("return window.answers[0]")  # the newer came first
    time.sleep(0.3)
    assert page.ids() == newer
    assert page.open(["item-010", "item-020"]).ids() == newer


# ---- Keyboard, phone, contrast


def test_everything_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    def tab_to(key):
        for _ in range(80):
            page.press(Keys.TAB)
            if page.focused() == key:
                return
        raise AssertionError(f"Tab did not reach {key}")

    tab_to("query")
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN)
    chosen = page.one("#results [aria-selected=true]")
    field = page.one("#query")
    assert field.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    assert page.focused() == "query"
    item = page.text("#results [aria-selected=true] .id")
    page.press(Keys.ENTER)
    page.until_clicks(1)
    assert page.text("#clicks .id") == item
    assert page.focused() == "query"
    page.press("zzz")
    until(lambda: "No item" in page.text("#found"), "the search")
    page.press(Keys.ESCAPE)
    assert field.get_attribute("value") == ""
    tab_to("add-0 1")
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.js(outline) == "solid"
    page.press(Keys.ENTER)
    page.until_clicks(2)
    assert page.focused() == "add-0 1"  # the place is kept, the item is another
    tab_to("why-0 1")
    assert page.all("#clicks .drives")
    page.press(Keys.SPACE)
    page.settle()
    assert page.focused() == "why-0 1"
    assert page.all("#lists .why")
    for _ in range(80):
        page.press(Keys.SHIFT, Keys.TAB)
        if page.focused() == "remove 0":
            break
    page.press(Keys.ENTER)
    page.until_clicks(1)
    assert page.focused() == "remove 0"


@pytest.mark.parametrize("width", [320, PHONE, 768, DESKTOP])
def test_nothing_overflows(two, width):
    long = "no-such-item-" + "x" * 60
    two.open(["item-010", "item-005", long, "item-020"], width=width)
    two.one("[data-key='why-0 0']").click()
    two.settle()
    assert two.js("return document.documentElement.scrollWidth") <= width


def test_targets_on_a_phone_are_large(two):
    two.open(["item-010", "item-005", "item-020"], width=PHONE)
    targets = two.all("button, .choice, #query")
    sizes = [t.rect for t in targets if t.is_displayed()]
    assert len(sizes) > 20
    assert min(size["height"] for size in sizes) >= 44
    assert min(size["width"] for size in sizes) >= 44


def test_search_on_a_phone(page):
    page.open(width=PHONE)
    assert not page.one("#results").is_displayed()
    page.one("#query").click()
    assert page.one("#results").is_displayed()
    page.all("#results [role=option]")[2].click()
    page.until_clicks(1)
    assert not page.one("#results").is_displayed()
    assert page.one("#query").get_attribute("aria-expanded") == "false"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_accessibility(two, width, dark):
    if "AXE" not in os.environ:
        pytest.skip("needs axe.min.js: AXE names no file")
    axe = Path(os.environ["AXE"]).read_text(encoding="utf-8")
    two.open(["item-010", "nothing", "item-020"], width=width, dark=dark)
    background = two.js("return getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", background)[0]) < 60) == dark
    two.one("[data-key='why-0 0']").click()
    two.settle()
    two.js(axe)
    found = two.driver.execute_async_script(
        "axe.run().then(arguments[arguments.length - 1])"
    )
    wrong = [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    assert not wrong
    assert len(found["passes"]) > 20


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_pictures(page, two, width, dark):
    session = ["item-010", "item-020", "item-030", "not there"]
    name = f"{width}-{'dark' if dark else 'light'}"
    page.open(session, width=width, dark=dark)
    page.one("[data-key='why-0 0']").click()
    assert page.settle().shot(f"page-one-{name}")
    two.open(session, width=width, dark=dark)
    assert two.shot(f"page-two-{name}")


def test_figure(page, tmp_path):
    page.open(["item-010", "item-020", "item-030"], width=1240)
    page.one("[data-key='why-0 0']").click()
    page.settle()
    picture = Image.open(io.BytesIO(page.shot()))
    file = Path(os.environ.get("SCREENSHOTS", tmp_path), "serve_page.png")
    picture.quantize().save(file, optimize=True)
    assert file.stat().st_size < 150_000
