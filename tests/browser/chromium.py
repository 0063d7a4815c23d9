"""Debian's Chromium without a window, as a test sees a page in it."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build"))
SCREENSHOTS = BUILD / "screenshots"
WIDTHS = (360, 768, 1280)
THEMES = ("light", "dark")
HEIGHT = 900


def start() -> Any:
    """A browser that may use no network; the test is skipped where there is none."""
    webdriver = pytest.importorskip(
        "selenium.webdriver",
        reason="selenium is not installed: .venv/bin/pip install -r requirements-browser.txt",
    )
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    browser, driver = programs
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for word in ("--headless=new", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    if os.geteuid() == 0:  # where its sandbox does not start; the pages are our own
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


class Browser:
    """One window, at a width and in a theme."""

    def __init__(self, driver: Any) -> None:
        """Wrap selenium's driver."""
        self.driver = driver

    def open(self, page: Path, width: int, theme: str) -> None:
        """Open a file as a device of this width and theme shows it."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        theme_feature = {"name": "prefers-color-scheme", "value": theme}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [theme_feature, still]}
        )
        self.driver.get(page.as_uri())

    def ask(self, script: str, *arguments: object) -> Any:
        """What a function body returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the browser wrote to its console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def screenshot(self, name: str) -> None:
        """Keep a picture of the whole page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        picture = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True}
        )
        (SCREENSHOTS / f"{name}.png").write_bytes(base64.b64decode(picture["data"]))
