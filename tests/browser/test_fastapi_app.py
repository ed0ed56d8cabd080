"""The page of the example `fastapi_app` in a browser: with mouse, keyboard and phone, with errors and restarts.

``pytest tests/browser/test_fastapi_app.py --screenshots docs/how-to`` writes the images of the page "A web application with FastAPI".
"""

from __future__ import annotations

import base64
import io
import pathlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from browser_page import NEEDS_BROWSER, BrowserPage
from conditions import block_until
from example_server import ExampleServer, example_server
from pages import background_sandbox
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from a2e_async.sandbox import Sandbox

pytestmark = NEEDS_BROWSER

PROMPT = "the sun rises <b>slowly</b> & the wind blows"
IMAGES = pathlib.Path(__file__).parents[2] / "a2e_async/cli/commands/images"
WORKS = "Queued|In progress"


class Page(BrowserPage):
    """The page of the application."""

    def __init__(self, driver: Any, url: str, folder: pathlib.Path) -> None:
        """Open the page, as a new visitor; its images are in a folder."""
        super().__init__(driver, url)
        self._folder = folder
        driver.execute_script("localStorage.clear()")
        driver.refresh()

    def cards(self, name: str = "") -> list[str]:
        """Return the texts of the cards whose name has this begin."""
        texts = self.run("return [...document.querySelectorAll('.card')].map((card) => card.innerText)")
        return [text for text in texts if text.startswith(name)]

    def wait_for(self, state: str, *names: str) -> None:
        """Wait until there is one card of each name, with this text, a regular expression."""
        block_until(lambda: all(len(cards := self.cards(name)) == 1 and re.search(state, cards[0]) for name in names))

    def choose(self, *names: str) -> None:
        """Choose images by the button for files, which opens a dialog of the system for a visitor."""
        paths = [self._folder / name for name in names]
        for path in paths:
            draw_image().save(path)
        self.find("#files").send_keys("\n".join(map(str, paths)))

    def write(self, prompt: str) -> None:
        """Write the prompt."""
        self.find("#prompt").clear()
        self.find("#prompt").send_keys(prompt)

    def make(self, name: str, prompt: str = PROMPT) -> None:
        """Start the video of one image."""
        self.choose(name)
        self.write(prompt)
        self.find("#make").click()

    def again(self, name: str) -> None:
        """Try a start again that has failed."""
        script = """
        const card = [...document.querySelectorAll(".card")].find((it) => it.innerText.startsWith(arguments[0]));
        card.querySelector(".again").click();
        """
        self.run(script, name)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        chain = ActionChains(self.driver)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in reversed(keys[:-1]):
            chain.key_up(key)
        chain.perform()


def draw_image() -> Image.Image:
    """Return a landscape."""
    width, height = size = 320, 180
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for y in range(height):
        share = y / height
        draw.line((0, y, width, y), fill=(int(255 - 90 * share), int(150 + 60 * share), int(110 + 130 * share)))
    draw.ellipse((width * 0.6, height * 0.2, width * 0.75, height * 0.2 + width * 0.15), fill=(255, 236, 170))
    draw.polygon([(0, height), (width * 0.35, height * 0.5), (width * 0.7, height)], fill=(60, 84, 92))
    draw.polygon([(width * 0.4, height), (width * 0.8, height * 0.62), (width * 1.2, height)], fill=(40, 62, 70))
    return image


@pytest.fixture(scope="module")
def a2e() -> Iterator[Sandbox]:
    """Run a local A2E that renders real videos."""
    with background_sandbox(render="video", speed=20) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def server(a2e: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleServer]:
    """Run the application for all tests that need no server of their own."""
    with example_server("fastapi_app", tmp_path_factory.mktemp("server"), a2e) as server:
        yield server


@pytest.fixture
def open_page(driver: Any, tmp_path: pathlib.Path) -> Iterator[Callable[[ExampleServer], Page]]:
    """Return a function that opens the page. The browser must log no error of the page itself."""
    pages: list[Page] = []

    def open_page(server: ExampleServer) -> Page:
        pages.append(Page(driver, server.url, tmp_path))
        return pages[-1]

    yield open_page
    assert [page.unexpected_logs() for page in pages] == [[]]


@pytest.fixture
def page(open_page: Callable[[ExampleServer], Page], server: ExampleServer) -> Page:
    """Open the page of the common server."""
    page = open_page(server)
    page.resize(1280)
    return page


def test_images_become_videos(page: Page, request: pytest.FixtureRequest) -> None:
    """Several images, dropped and chosen, are watched until their videos play; a reload shows them again."""
    dropped = io.BytesIO()
    draw_image().save(dropped, "PNG")
    page.run(
        """
        const bytes = Uint8Array.from(atob(arguments[0]), (char) => char.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], "morning.png", { type: "image/png" }));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        """,
        base64.b64encode(dropped.getvalue()).decode(),
    )
    page.choose("hills.png")
    assert page.text("#make") == "Make 2 videos"
    page.write(PROMPT)
    page.find("#make").click()
    page.wait_for(WORKS, "morning", "hills")
    assert all(PROMPT in card for card in page.cards("morning"))  # as text
    page.wait_for("Done", "morning", "hills")
    page.run("window.video = document.querySelector('video'); video.muted = true; return video.play()")
    block_until(lambda: page.run("return video.currentTime > 0.3 && video.readyState >= 3"))
    page.run("video.currentTime = 4")
    block_until(lambda: page.run("return video.currentTime >= 4 && !video.seeking"))
    page.driver.refresh()
    page.wait_for("Done", "morning", "hills")
    assert PROMPT in page.cards("hills")[0]
    if folder := request.config.getoption("screenshots"):
        take_screenshots(page, request.config.rootpath / folder)


def take_screenshots(page: Page, folder: pathlib.Path) -> None:
    """Write the images of the documentation."""
    for name, prompt in (("balloon", "it rises above the hills"), ("lighthouse", "the waves roll in, slow zoom")):
        page.find("#files").send_keys(str(IMAGES / f"{name}.jpg"))
        page.write(prompt)
        page.find("#make").click()
    page.wait_for("Done", "balloon", "lighthouse")
    page.make("evening.png", "the sun sets, clouds move #slow")
    page.wait_for("In progress", "evening")
    page.write("the sun sets, clouds move")
    page.resize(1280)
    page.save_image(folder / "fastapi-wide.webp", 790)
    page.resize(360, dark=True)
    page.save_image(folder / "fastapi-phone.webp", 900)
    page.resize(1280)


def test_keyboard(page: Page) -> None:
    """Everything works by keyboard: each stop of the focus is visible, and Ctrl+Enter starts the videos."""
    page.run(
        """
        window.news = [];
        const node = document.getElementById("news");
        new MutationObserver(() => news.push(node.textContent)).observe(node, { childList: true });
        """
    )
    page.choose("keys.png")
    stops: list[str] = []
    outlines: list[str] = []
    for _ in range(4):
        page.press("\ue004")  # Tab
        outlines.append(page.run("return getComputedStyle(document.activeElement).outlineStyle"))
        stops.append(page.run("const it = document.activeElement; return it.ariaLabel || it.id"))
    assert stops == ["Remove keys.png", "pick", "prompt", "make"]
    assert set(outlines) == {"solid"}
    page.press("\ue008", "\ue004")  # Shift, Tab
    page.press(PROMPT)
    page.press("\ue009", "\ue007")  # Ctrl, Enter
    page.wait_for("Done", "keys")
    assert page.run("return news") == ["keys.png is being uploaded", "keys.png: Done"]  # are read out
    page.press("\ue004")
    page.press("\ue004")
    assert page.run("return document.activeElement.ariaLabel") == "Video of keys.png"
    page.run("document.activeElement.muted = true")
    page.press(" ")
    block_until(lambda: page.run("return document.activeElement.currentTime > 0"))


def test_phone(page: Page, tmp_path: pathlib.Path) -> None:
    """At 360 pixels nothing is cut off, also with long words, and all buttons are large enough for a finger."""
    page.resize(360)
    wrong = tmp_path / f"{'long' * 40}.txt"
    wrong.write_text("no image")
    page.find("#files").send_keys(str(wrong))
    assert page.text("#problem").startswith(wrong.name)
    assert page.run("return document.documentElement.scrollWidth") == 360
    page.make(f"phone{'_long' * 20}.png", "endless" * 30)
    page.wait_for("Done", "phone")
    page.choose("a.png", "b.png", "c.png", "d.png")
    page.find("#prompt").clear()
    page.find("#make").click()
    assert page.text("#problem") == "Describe what should happen in the video."
    assert page.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    small = (
        "return [...document.querySelectorAll('button')].filter((it) => it.offsetHeight && it.offsetHeight < 32).length"
    )
    assert page.run(small) == 0


def test_errors(page: Page, a2e: Sandbox, tmp_path: pathlib.Path) -> None:
    """Wrong files, missing coins and an A2E that is away are explained; one more attempt starts the video once."""
    (tmp_path / "notes.txt").write_text("no image")
    page.find("#files").send_keys(str(tmp_path / "notes.txt"))
    assert page.text("#problem") == "notes.txt is not an image (PNG, JPEG, WebP, GIF or BMP)."
    (tmp_path / "damaged.png").write_bytes(b"no image")
    page.find("#files").send_keys(str(tmp_path / "damaged.png"))
    page.write(PROMPT)
    page.find("#make").click()
    page.wait_for("image is not an image", "damaged")
    page.make("fails.png", "#fast #fail")
    page.wait_for("The video could not be generated. Please try another image.", "fails")

    before, a2e.coins = a2e.coins, 5
    page.make("poor.png")
    page.wait_for("There are not enough coins for this video.", "poor")
    a2e.coins = before
    with a2e.override("*", "/api/", lambda _: web.Response(status=502)):
        page.again("poor")
        page.wait_for("A2E cannot be reached at the moment. You can try again", "poor")
    page.again("poor")
    page.wait_for("Done", "poor")
    assert [task.name.partition(" ")[0] for task in a2e.tasks.values() if "poor" in task.name] == ["poor.png"]


def test_server_restarts(open_page: Callable[[ExampleServer], Page], a2e: Sandbox, tmp_path: pathlib.Path) -> None:
    """The empty page says so. A page stays open while its server restarts: all videos are made, each paid once."""
    before = len(a2e.tasks)
    with example_server("fastapi_app", tmp_path, a2e) as server:
        page = open_page(server)
        block_until(lambda: page.text("#empty").startswith("No videos yet."))
        page.make("first.png")
        page.wait_for(WORKS, "first")
        assert page.text("#empty") == ""
        server.stop()
        block_until(lambda: "The server cannot be reached" in page.text("#offline"))
        page.make("second.png")
        page.wait_for("Waiting for the server", "second")
        server.start()
        page.wait_for("Done", "first", "second")
        assert page.text("#offline") == ""
        tasks = [*a2e.tasks.values()][before:]
        assert [(task.charged, task.name.partition(" ")[0]) for task in tasks] == [
            (30, "first.png"),
            (30, "second.png"),
        ]
