"""The browser of all tests of a module."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from browser_page import CHROMEDRIVER, CHROMIUM
from thread_leaks import leaked_threads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def _no_leaked_threads() -> Iterator[None]:
    """Check for threads after the last test of a module: those of a local A2E live as long as it."""
    before = set(threading.enumerate())
    yield
    leaked = leaked_threads(before)
    assert not leaked, leaked


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """Run a browser."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER)) as driver:
        yield driver
