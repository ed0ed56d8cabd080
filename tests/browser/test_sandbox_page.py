"""The page of the sandbox in a browser: its switches and snippets work, and it can be read and used by everybody.

``pytest tests/browser/test_sandbox_page.py --screenshots docs`` writes the images of the page "The sandbox".
"""

from __future__ import annotations

import asyncio
import functools
import pathlib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from browser_page import NEEDS_BROWSER, BrowserPage
from conditions import block_until
from pages import background_sandbox

from a2e_async import A2EClient, Config
from a2e_async.sandbox import Fault, FaultPlan

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from a2e_async.sandbox import Sandbox

pytestmark = NEEDS_BROWSER

IMAGES = pathlib.Path(__file__).parents[2] / "a2e_async/cli/commands/images"


class Page(BrowserPage):
    """The page of the sandbox."""

    def __init__(self, driver: Any, url: str) -> None:
        """Open the page, and wait for its content."""
        super().__init__(driver, url)
        self.resize(1280)
        block_until(lambda: self.text("#live") == "live")

    def click(self, selector: str, condition: Callable[[], object]) -> None:
        """Click on an element, and wait until a condition is true."""
        self.find(selector).click()
        block_until(condition)


@pytest.fixture
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a local A2E; it renders real videos for the images of the documentation."""
    render: Any = "video" if request.config.getoption("screenshots") else "tiny"
    with background_sandbox(render=render, speed=50) as sandbox:
        yield sandbox


@pytest.fixture
def page(driver: Any, sandbox: Sandbox) -> Iterator[Page]:
    """Open the page. The browser must log no error."""
    page = Page(driver, sandbox.url)
    yield page
    assert page.unexpected_logs() == []


def start(sandbox: Sandbox, prompt: str, image: str = "lighthouse.jpg", **fields: Any) -> str:
    """Start a task with an uploaded image, and return its id."""

    async def send() -> str:
        async with A2EClient(sandbox.token, base_url=sandbox.url, config=Config(proxy="")) as a2e:
            task = await a2e.image_to_video.start(
                image=IMAGES / image, prompt=prompt, negative_prompt="blurry", **fields
            )
            return task.id

    return asyncio.run(send())


def test_first_task(page: Page, sandbox: Sandbox) -> None:
    """An empty page says what to do. Its sample task appears at once, ends in a video that plays, and costs as usual."""
    assert "No tasks yet." in page.text("#no-tasks")
    page.click("#sample", lambda: page.text(".task .pill") == "completed")
    assert page.text("#coins") == "9,970"
    assert (page.text("#no-tasks"), page.text(".task .buttons")) == ("", "")
    page.run("const video = document.querySelector('.task video'); video.muted = true; video.play()")
    block_until(lambda: page.run("return document.querySelector('.task video').currentTime > 0.2"))
    assert [request.path for request in sandbox.requests] == ["/api/v1/userImage2Video/start"]
    page.click("#phase-failed + label", lambda: page.text("#none-of-kind"))
    assert page.text("#task-list") == ""


def test_switches(page: Page, sandbox: Sandbox) -> None:
    """Every switch changes the sandbox, and the page shows the change; errors are told."""
    page.click("#hold", lambda: page.find("#hold").get_attribute("aria-pressed") == "true")
    first, second = start(sandbox, "one"), start(sandbox, "two")
    block_until(lambda: page.text(f"[data-id='{second}']"))
    page.click(f"[data-id='{first}'] button", lambda: sandbox.tasks[first].succeeded)
    page.click(f"[data-id='{second}'] button + button", lambda: sandbox.tasks[second].failed)
    block_until(lambda: "generation_error" in page.text(f"[data-id='{second}'] .reason"))
    page.click("#hold", lambda: page.find("#hold").get_attribute("aria-pressed") == "false")
    for number, fault in enumerate((Fault("drop", after=True), Fault("status"), Fault("429", retry_after=2))):
        page.find(f".buttons button[data-fault]:nth-child({number + 1})").click()
        block_until(functools.partial(sandbox._injector.single.__contains__, ("start", fault)))
    page.click("#fail-next", lambda: "next task fails" in page.text("#pending"))
    page.click("#no-coins", lambda: (sandbox.coins, page.text("#coins")) == (0, "0"))
    page.click("#coins-form [type=submit]", lambda: sandbox.coins == 10_000)
    page.find("#speed option[value='1000']").click()
    block_until(lambda: sandbox.speed == 1000)
    page.click("#random-faults", lambda: isinstance(sandbox.faults, FaultPlan) and "20 % faults" in page.text("#plan"))
    page.click("#no-faults", lambda: sandbox.faults is None)
    page.run(
        "document.querySelector('#coins-form').noValidate = true; document.querySelector('#coins-input').value = -1"
    )
    page.click("#coins-form [type=submit]", lambda: "coins must be 0 or more" in page.text("#toast"))


def test_texts_of_strangers_are_harmless(page: Page, sandbox: Sandbox) -> None:
    """A prompt with markup is shown as it is, and nothing of it runs."""
    prompt = "<script>document.title = 'hit'</script><img src=x onerror=\"document.title = 'hit'\"> #nsfw"
    task_id = start(sandbox, prompt)
    block_until(lambda: page.text(f"[data-id='{task_id}'] .pill") == "failed")
    assert page.text(f"[data-id='{task_id}'] .prompt") == prompt
    assert page.run("return [document.title, document.querySelectorAll('.about img, .about script').length]") == [
        "Sandbox: a local A2E", 0,
    ]  # fmt: skip


def test_snippets_work_when_pasted(
    page: Page, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each snippet can be run as it is: they start tasks, download a video, and set the balance."""
    monkeypatch.chdir(tmp_path)
    exec(compile(page.text("#python"), "python", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "sample.mp4").read_bytes()[4:8] == b"ftyp"
    for name in ("curl", "control"):
        subprocess.run(["bash", "-ec", page.text(f"#{name}")], check=True, stdout=subprocess.DEVNULL)
    assert (len(sandbox.tasks), sandbox.coins) == (2, 0)
    assert sandbox._injector.single == [("start", Fault("429"))]


def test_everybody_can_use_it(page: Page, sandbox: Sandbox, request: pytest.FixtureRequest) -> None:
    """It fits a phone; the keyboard reaches everything visibly; every text has the contrast of WCAG AA, day and night."""
    done = [start(sandbox, "slow zoom in, gentle light"), start(sandbox, "the balloon rises", "balloon.jpg")]
    failed = start(sandbox, "she smiles #nsfw", webhook_url="http://127.0.0.1:9/hook")
    block_until(lambda: all(sandbox.tasks[task_id].done for task_id in (*done, failed)) and sandbox.webhooks)
    page.find("#speed option[value='0.1']").click()
    start(sandbox, "the light turns around")
    page.click("[data-fault]", lambda: page.text("#pending"))
    block_until(lambda: page.text(".task .pill") == "initialized" and len(page.text("#webhooks")) > 3)
    for width in (1280, 768, 360):
        page.resize(width)
        assert page.run("return document.documentElement.scrollWidth") == width
    for dark in (False, True):
        page.resize(1280, dark=dark)
        assert page.low_contrast() == []
    page.run(
        """
        document.activeElement.blur();
        window.reached = [];
        document.addEventListener("focusin", ({ target }) =>
          reached.push([target.outerHTML.slice(0, 90), target.type, getComputedStyle(target).outlineStyle]));
        """
    )
    webdriver.ActionChains(page.driver).send_keys("\t" * 60).perform()
    reached = page.run("return reached")
    for name in ("skip", 'id="hold"', 'id="operation"', "data-fault", 'id="coins-input"', 'id="python"', "Finish:"):
        assert any(name in html for html, *_ in reached), name
    hidden = [html for html, kind, outline in reached if outline == "none" and kind != "radio" and "<video" not in html]
    assert hidden == []  # a radio button has the outline of its label, and a video its own
    if folder := request.config.getoption("screenshots"):
        page.run("document.activeElement.blur()")
        page.resize(1280)
        block_until(lambda: page.run("return [...document.images].every((image) => image.complete)"))
        page.save_image(pathlib.Path(folder, "sandbox-page.webp"), 980)
        page.resize(360)
        page.save_image(pathlib.Path(folder, "sandbox-page-phone.webp"), 980)


def test_sandbox_that_stops_and_returns(driver: Any) -> None:
    """The page says so when the sandbox has stopped."""
    with background_sandbox() as sandbox:
        page = Page(driver, sandbox.url)
    block_until(lambda: page.text("#live") == "the sandbox does not answer")
    assert page.unexpected_logs() == []
