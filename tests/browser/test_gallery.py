"""The gallery of `a2e batch report` in a browser, opened as a file: it plays, and it can be searched and used by everybody.

``pytest tests/browser/test_gallery.py --screenshots docs`` writes the image of the page about batches.
"""

from __future__ import annotations

import pathlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from browser_page import NEEDS_BROWSER, BrowserPage
from conditions import block_until
from journals import write_journal, write_video
from PIL import Image

from a2e_async.cli import main

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = NEEDS_BROWSER

ROOT = pathlib.Path(__file__).parents[2] / "a2e_async"
NAMES = ("balloon", "lighthouse", "harbour", "portrait", "clouds", "dusk")
PROMPTS = (
    "A balloon drifts over the hills at dawn, and the camera rises until the whole valley is in view",
    "The beam of the lighthouse turns slowly",
    "Waves roll in, the camera moves closer",
    "She smiles and looks up",
    "Clouds pass quickly, time lapse",
    "The light goes from gold to blue",
)
TROUBLE: dict[int, dict[str, Any]] = {
    3: {"state": "failed", "error": {"message": "The video could not be generated. Please try another image."}},
    7: {"state": "failed", "coins": 0, "error": {"message": "A2E rejects the content: the prompt names a person"}},
    9: {"state": "uncertain", "coins": None, "error": {"message": "The outcome of the start is unknown"}},
    11: {"state": "running", "finished_at": None},
}
HOSTILE = "</script><img src=x onerror=\"document.title = 'hit'\"><script>document.title = 'hit'</script>"


def job(number: int) -> dict[str, Any]:
    """Return one of twelve jobs, of which eight have a video."""
    key = f"{NAMES[number % 6]}-{number + 1:02}.png"
    request = {"image": f"photos/{key}", "prompt": PROMPTS[number % 6], "model_version": "a2e-v2", "video_time": 5}
    made = TROUBLE.get(number, {"path": f"videos/{key}.mp4"})
    return {
        "key": key,
        "request": request,
        "task_id": f"68e0f8{number:018}",
        "finished_at": 1.8e9 + 60 * number,
        **made,
    }


def write_gallery(folder: pathlib.Path, jobs: list[dict[str, Any]]) -> str:
    """Write a gallery, and return the URL of its file."""
    write_journal(folder / "jobs.sqlite", jobs)
    assert main(["batch", "report", str(folder / "jobs.sqlite"), "--html", str(folder / "report")]) == 0
    return (folder / "report/index.html").as_uri()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a gallery of twelve jobs, whose videos show parts of the images of the demo."""
    folder = tmp_path_factory.mktemp("gallery")
    sources = ("cli/commands/images/balloon.jpg", "cli/commands/images/lighthouse.jpg", "sandbox/page/sample.jpg")
    jobs = [job(number) for number in range(12)]
    for number, made in enumerate(jobs):
        if "path" in made:
            with Image.open(ROOT / sources[number % 3]) as image:
                width, height = (int(side * (1 - 0.12 * (number // 3))) for side in image.size)
                left, top = (image.width - width) * (number % 2), (image.height - height) // 2
                size = (640, 360) if image.width > image.height else (360, 640)
                part = image.convert("RGB").crop((left, top, left + width, top + height)).resize(size)
            write_video(folder / made["path"], part)
    return write_gallery(folder, jobs)


@pytest.fixture
def page(driver: Any, url: str) -> Iterator[BrowserPage]:
    """Open the gallery. The browser must log no error."""
    page = BrowserPage(driver, url)
    page.resize(1280)
    yield page
    assert page.unexpected_logs() == []


def keys(page: BrowserPage) -> list[str]:
    """Return the names of the jobs that are shown."""
    return list(page.run("return [...document.querySelectorAll('#grid .name')].map((it) => it.textContent)"))


def press(page: BrowserPage, *pressed: str) -> None:
    """Press keys."""
    webdriver.ActionChains(page.driver).send_keys(*pressed).perform()


def test_jobs(page: BrowserPage) -> None:
    """Each job has its first frame, prompt, price, status and error."""
    block_until(lambda: page.run("return [...document.querySelectorAll('img.front')].every((it) => it.naturalWidth)"))
    assert page.run("return document.querySelectorAll('img.front').length") == 8
    texts = page.run("return [...document.querySelectorAll('.job')].map((it) => it.innerText.split('\\n'))")
    assert [line for line in texts[1] if line] == ["lighthouse-02.png", PROMPTS[1], "succeeded", "30 coins"]
    failed = ["✗", "no result", "portrait-04.png", TROUBLE[3]["error"]["message"], PROMPTS[3], "failed", "30 coins"]
    assert [line for line in texts[3] if line] == failed
    assert [line for line in texts[9] if line][-2:] == ["uncertain", "cost unknown"]
    assert page.text("#figures").split() == ["12", "jobs", "8", "succeeded", "300", "coins"]


def test_search_filter_and_sort(page: BrowserPage) -> None:
    """The jobs are filtered by words and by state, and sorted. The address brings the same view back."""
    page.find("#filter label[for='state-failed']").click()
    assert keys(page) == ["portrait-04.png", "lighthouse-08.png"]
    press(page, "/", "LOOKS try")
    block_until(lambda: keys(page) == ["portrait-04.png"])
    address = page.run("return location.href")
    press(page, "zzz")
    block_until(lambda: "No job matches." in page.text("#empty"))
    page.find("#reset").click()
    assert len(keys(page)) == 12
    page.find("#sort option[value='newest']").click()
    assert keys(page)[:2] == ["clouds-11.png", "portrait-10.png"]
    page.find("#sort option[value='name']").click()
    assert keys(page)[:2] == ["balloon-01.png", "balloon-07.png"]
    page.driver.get("about:blank")
    page.driver.get(address)
    assert keys(page) == ["portrait-04.png"]


def test_viewer(page: BrowserPage) -> None:
    """A click plays the video; the keys lead to the neighbours and back to the card; a failed job shows its error."""
    page.find("#grid li:nth-child(2) button").click()
    block_until(lambda: page.run("return document.querySelector('#stage video').currentTime > 0.1"))
    assert page.text("#viewer-name") == "lighthouse-02.png"
    assert page.find("#viewer a").get_attribute("href").endswith("/videos/lighthouse-02.png.mp4")
    page.find("#next").click()
    press(page, "\ue014")  # arrow to the right
    assert (page.text("#viewer-name"), page.text("#viewer-error")) == (
        "portrait-04.png",
        TROUBLE[3]["error"]["message"],
    )
    press(page, "\ue00c")  # escape
    block_until(lambda: page.run("return document.activeElement.ariaLabel") == "Show portrait-04.png")
    press(page, "\ue015")  # arrow down: the same column of the next row
    assert page.run("return document.activeElement.ariaLabel") == "Show lighthouse-08.png"


def test_ten_thousand_jobs_and_hostile_texts(driver: Any, tmp_path: pathlib.Path) -> None:
    """Ten thousand jobs are pages of sixty cards, found at once; the texts of strangers are texts."""
    jobs = [
        {**job(0), "path": None, "key": f"{HOSTILE} {number}", "error": {"message": HOSTILE}}
        for number in range(10_000)
    ]
    began = time.monotonic()
    page = BrowserPage(driver, write_gallery(tmp_path, jobs))
    assert page.text("#found") == "1 to 60 of 10,000 jobs"
    assert time.monotonic() - began < 20  # 2 s on an idle machine
    assert page.run("return document.querySelectorAll('*').length") < 3000
    page.find("main > .pager select option:last-child").click()
    assert page.text("#found") == "9,961 to 10,000 of 10,000 jobs"
    page.find("#search").send_keys("script> 7777")
    block_until(lambda: keys(page) == [f"{HOSTILE} 7777"])
    page.find("#grid button").click()
    assert page.text("#viewer-name") == f"{HOSTILE} 7777"
    assert page.run("return [document.title, document.querySelectorAll('#grid script, #grid img').length]") == [
        "jobs.sqlite", 0,
    ]  # fmt: skip
    assert page.unexpected_logs() == []


def test_videos_without_frames(driver: Any, url: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without extracted frames, the cards show the first frames of the videos themselves, loaded near the window only."""
    monkeypatch.setattr("a2e_async.cli.batch.gallery.command.has_packages", lambda: False)
    folder = pathlib.Path(url.removeprefix("file://")).parents[1]
    jobs = [{"key": str(number), "path": str(folder / "videos/dusk-06.png.mp4")} for number in range(60)]
    page = BrowserPage(driver, write_gallery(tmp_path, jobs))
    page.resize(360)
    block_until(lambda: page.run("return document.querySelector('#grid video').videoWidth") == 640)
    assert 0 < page.run("return document.querySelectorAll('#grid video[src]').length") < 40
    assert page.unexpected_logs() == []


def test_everybody_can_use_it(page: BrowserPage, request: pytest.FixtureRequest) -> None:
    """Texts have the contrast of AA in both colours, nothing is wider than the window, and focus is always visible."""
    for dark in (False, True):
        for width in (1280, 360):
            page.resize(width, dark=dark)
            assert page.low_contrast() == []
            assert page.run("return document.documentElement.scrollWidth") == width
            page.find("#grid li:nth-child(4) button").click()
            assert page.low_contrast() == []
            page.find("#close").click()
    page.resize(1280)
    page.run("""
        document.activeElement.blur(); window.reached = [];
        document.addEventListener("focusin", ({ target }) => reached.push(
          [target.ariaLabel ?? target.id, getComputedStyle(target.type === "radio" ? target.nextSibling : target).outlineStyle]));
    """)
    press(page, "\t" * 22)
    reached = dict(page.run("return reached"))
    assert {"search", "sort", "state-all", "Play balloon-01.png", "Show dusk-12.png"} <= reached.keys()
    assert "none" not in reached.values()
    if folder := request.config.getoption("screenshots"):
        page.run("document.activeElement.blur(); scrollTo(0, 0)")
        page.resize(1280)
        block_until(lambda: page.run("return [...document.images].every((image) => image.complete)"))
        page.save_image(pathlib.Path(folder, "batch-gallery.webp"), 860)
