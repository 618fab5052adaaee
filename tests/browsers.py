"""Chromium, driven as a visitor uses it, and axe-core to look for what keeps people out."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.processes import wait_until
from tests.production import HOST, PROXY_HEADERS

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
)

ARGUMENTS = (
    "--headless=new",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
)
FOCUSABLE = "a[href], button, summary, input:not([type=hidden]), select, textarea"


@dataclass(frozen=True)
class Screen:
    """What a page is shown on.

    Attributes:
        width: in CSS pixels.
        height: in CSS pixels.
        dark: whether the visitor prefers dark colours.
    """

    width: int
    height: int
    dark: bool = False


class Browser:
    """A browser with a profile of its own; leaving the context ends it."""

    def __init__(self, tls_port: int) -> None:
        """Start it.

        Args:
            tls_port: where on this machine TLS for `HOST` ends.
        """
        self._folder = tempfile.mkdtemp(prefix="chromium-")
        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in (
            *ARGUMENTS,
            f"--user-data-dir={self._folder}",
            f"--host-resolver-rules=MAP {HOST}:443 127.0.0.1:{tls_port}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        self.driver = Chrome(options, Service(str(DRIVER)))
        self.driver.set_page_load_timeout(30)
        self.show_on(Screen(1280, 900))
        self._command("Network.enable", {})
        # What the proxy adds that ends TLS.
        self._command("Network.setExtraHTTPHeaders", {"headers": PROXY_HEADERS})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, path: str) -> float:
        """Open a page.

        Returns:
            How many seconds passed until the whole answer was there.
        """
        self.driver.get(f"https://{HOST}{path}")
        milliseconds: float = self.driver.execute_script(
            "return performance.getEntriesByType('navigation')[0].responseEnd"
        )
        return milliseconds / 1000

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return self.find("body").text

    def find(self, selector: str) -> WebElement:
        """Return the first element that a CSS selector fits."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, selector: str, key: str = "") -> None:
        """Use a link or a button, and wait for the page that comes.

        Args:
            selector: CSS selector.
            key: the key to use it with; the mouse if not given.
        """
        page, element = self.find("html"), self.find(selector)
        if key:
            element.send_keys(key)
        else:
            element.click()
        wait_until(lambda: _is_gone(page), 20, "the next page")
        ready = "return document.readyState === 'complete'"
        wait_until(lambda: self.driver.execute_script(ready), 20, "the whole page")

    def show_on(self, screen: Screen) -> None:
        """Show pages on another screen from now on."""
        self._screen = screen
        metrics = {"width": screen.width, "height": screen.height}
        self._command(
            "Emulation.setDeviceMetricsOverride",
            {**metrics, "deviceScaleFactor": 1, "mobile": screen.width < 600},
        )
        scheme = "dark" if screen.dark else "light"
        self._command(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong with the page, one line each."""
        self.driver.execute_script(_axe_core())
        found: dict[str, Any] = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run().then(done, error => done({violations: [{id: String(error), nodes: []}]}))"
        )
        return [
            f"{violation['id']}: {[node['html'] for node in violation['nodes']]}"
            for violation in found["violations"]
        ]

    def is_too_wide(self) -> bool:
        """Return whether the page scrolls sideways."""
        # Not innerWidth, which grows with the page on a phone.
        width = self.driver.execute_script("return document.scrollingElement.scrollWidth")
        return bool(width > self._screen.width)

    def unreached_by_keyboard(self) -> list[str]:
        """Press Tab through the page and return the links and buttons that never had the focus."""
        wanted = self.driver.find_elements(By.CSS_SELECTOR, FOCUSABLE)
        reached: set[str] = set()
        for _ in range(len(wanted) + 5):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            reached.add(self.driver.switch_to.active_element.id)
        return [element.text for element in wanted if element.id not in reached]

    def planned_refreshes(self) -> list[float]:
        """Return after how many seconds pages were to load again, since this was last asked."""
        return [
            event["params"]["delay"]
            for event in self._events()
            if event["method"] == "Page.frameScheduledNavigation"
            and event["params"]["reason"] == "httpHeaderRefresh"
        ]

    def screenshot(self, file: Path, width: int) -> None:
        """Write a picture of the whole page.

        Args:
            file: PNG.
            width: in CSS pixels.
        """
        self.show_on(Screen(width, 800))
        height = self.driver.execute_script("return document.documentElement.scrollHeight")
        self.show_on(Screen(width, height))
        self.driver.save_screenshot(str(file))

    def _events(self) -> Iterable[dict[str, Any]]:
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            yield json.loads(entry["message"])["message"]

    def _command(self, name: str, parameters: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(name, parameters)


def _is_gone(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except WebDriverException:
        return True
    return False


def _axe_core() -> str:
    # Found, not imported: the import needs Playwright, of which nothing else is wanted.
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None and spec.origin is not None, "axe-playwright-python is not installed"
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")
