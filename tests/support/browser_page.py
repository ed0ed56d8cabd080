"""A page in headless Chromium, for tests with the mark `browser`; the fixture `driver` is the browser."""

from __future__ import annotations

import base64
import io
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    import pathlib

__all__ = ["CHROMEDRIVER", "CHROMIUM", "NEEDS_BROWSER", "BrowserPage"]

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")

NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.process("a browser"),
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="no browser: these tests need Debian's packages chromium and chromium-driver",
    ),
]
"""The marks of a module."""

# Return the texts of visible elements whose contrast is below AA (4.5, or 3 for large text).
_CONTRAST = """
const parse = (color) => color.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (let it = element; it; it = it.parentElement) {
    const color = parse(getComputedStyle(it).backgroundColor);
    if (color.length === 3 || color[3] > 0.99) return color;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll("body *")].filter((element) =>
  [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && element.offsetHeight > 2
).flatMap((element) => {
  const style = getComputedStyle(element);
  const [a, b] = [light(parse(style.color)), light(ground(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  const needed = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
  return contrast < needed ? [`${element.textContent.trim().slice(0, 40)}: ${contrast.toFixed(2)}`] : [];
});
"""


class BrowserPage:
    """The page in the browser, by what a visitor sees."""

    def __init__(self, driver: Any, url: str) -> None:
        """Open the page."""
        self.driver = driver
        driver.get(url)

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript, and return its value."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> Any:
        """Return the first element of a selector."""
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """Return the visible text of an element."""
        script = "const it = document.querySelector(arguments[0]); return it?.offsetHeight ? it.innerText : ''"
        return str(self.run(script, selector))

    def low_contrast(self) -> list[str]:
        """Return the visible texts whose contrast is below AA."""
        return list(self.run(_CONTRAST))

    def resize(self, width: int, *, dark: bool = False) -> None:
        """Set the width of the page, and its colours."""
        size = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def save_image(self, path: pathlib.Path, height: int) -> None:
        """Write an image of the page, from its top."""
        image = Image.open(io.BytesIO(base64.b64decode(self.driver.get_screenshot_as_base64())))
        image.crop((0, 0, image.width, height)).convert("RGB").save(path, quality=82, method=6)

    def unexpected_logs(self) -> list[Any]:
        """Return what the browser has logged since the last call, without failed requests. It leaves the page."""
        logged = [entry for entry in self.driver.get_log("browser") if entry["source"] != "network"]
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.get("about:blank")
        return logged
