"""What a person does with the page in Chromium, and what they see."""

import base64
import json
import os
import shutil
import time
from pathlib import Path

FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
--disable-background-networking --disable-component-update --disable-sync"""
DESKTOP, PHONE = 1400, 390
PATIENCE = 60  # seconds


def until(condition, what):
    """Wait for a condition; what it returned."""
    end = time.monotonic() + PATIENCE
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"waited {PATIENCE} s for: {what}"
        time.sleep(0.05)


class Page:
    """A page of a server at a URL, in a browser that selenium drives."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url

    def open(self, session=(), width=DESKTOP, dark=False):
        phone = width == PHONE
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        size = {"width": width, "height": 844 if phone else 900}
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            deviceScaleFactor=1,
            mobile=phone,
            **size,
        )
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get("about:blank")
        self.driver.get(self.url + self.fragment(session))
        self.settle()
        return self

    def fragment(self, session):
        return f"#session={json.dumps(list(session))}" if session else ""

    def cdp(self, name, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def one(self, css):
        (found,) = self.all(css)
        return found

    def text(self, css):
        return self.js("return document.querySelector(arguments[0]).textContent", css)

    def texts(self, css):
        script = "return [...document.querySelectorAll(arguments[0])].map("
        return self.js(script + "node => node.textContent.trim())", css)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def settle(self):
        """Wait until the lists are those of the session."""
        until(
            lambda: self.js(
                "return document.querySelector('#lists li, #lists .problem') !== null"
                " && document.querySelector('#lists').ariaBusy === 'false'"
                " && document.querySelector('#results').children.length > 0"
            ),
            "the lists",
        )
        time.sleep(0.25)  # transitions of colors
        return self

    def until_clicks(self, n):
        until(lambda: len(self.all("#clicks > li")) == n, f"{n} clicks")
        return self.settle()

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def search(self, query):
        field = self.one("#query")
        field.clear()
        field.send_keys(query)
        found = "return document.querySelector('#results').dataset.query"
        until(lambda: self.js(found) == query, "the search")

    def focused(self):
        script = "const e = document.activeElement;"
        return self.js(script + "return e.dataset.key ?? (e.id || e.tagName)")

    def live(self):
        return self.text("#live")

    def ids(self, m=0):
        """Ids of the list of a model."""
        rows = f"#lists article:nth-of-type({m + 1}) > ol > li"
        return self.texts(f"{rows} .name .id") or self.texts(f"{rows} .name")

    def shot(self, name=None):
        """A picture of the whole page, kept where SCREENSHOTS names a folder."""
        picture = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        data = base64.b64decode(picture["data"])
        if name and "SCREENSHOTS" in os.environ:
            Path(os.environ["SCREENSHOTS"], f"{name}.png").write_bytes(data)
        return data


def chromium(profile):
    """A browser with a profile of its own that logs all it does."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = _installed("chromium")
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={profile}")
    driver = webdriver.Chrome(options, Service(_installed("chromedriver")))
    driver.set_script_timeout(PATIENCE)
    return driver


def _installed(program):
    path = shutil.which(program)
    assert path, f"{program} is not installed"
    return path


def requested(driver):
    """Addresses of all requests since the last call."""
    log = driver.get_log("performance")
    events = [json.loads(entry["message"])["message"] for entry in log]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [e["request"]["url"] for e in sent if e["request"]["url"] != "about:blank"]
