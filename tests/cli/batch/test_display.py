"""The live display of invented batches, in terminals of all sizes."""

from __future__ import annotations

import io
import itertools
from typing import Any

import attrs
import pytest
from rich.console import Console
from rich.live_render import LiveRender
from rich.segment import Segment

from a2e_async.batch import ActiveJob, Progress
from a2e_async.cli.batch.display import BatchView
from a2e_async.cli.batch.summary import count_line
from a2e_async.cli.display import shorten_middle

LONG = "Insufficient credits: 30 coins needed, 0 left (HTTP 400, code 400, trace_id 9f4d3d44). Add coins to the account, or choose a shorter video_time"
FAILURES = [
    "ada: failed: nsfw content was detected",
    "eva: failed: the video could not be generated",
    "zoë: failed: 内容审核未通过",
]


RUNNING = ActiveJob(key="ada", stage="running", task_id="0123456789abcdef01234567", status="pending", seconds=32.0)


def job(key: str, **changes: Any) -> ActiveJob:
    """Make a job under way."""
    return attrs.evolve(RUNNING, key=key, **changes)


PROGRESS = Progress(
    total=200,
    read=60,
    succeeded=12,
    failed=3,
    uncertain=1,
    skipped=4,
    started=20,
    retried=1,
    coins=510.0,
    active=tuple(job(f"portrait-{number:03}") for number in range(47)),
    paused="",
    stopped="",
)
STATE = BatchView(
    name="jobs.csv", progress=PROGRESS, max_coins=6000, per_second=0.2, seconds_left=840.0, failures=FAILURES
)


def state(**changes: Any) -> BatchView:
    """Make a state of the display; the changes are fields of it or of the progress."""
    fields = {key: changes.pop(key) for key in list(changes) if key in BatchView.__annotations__}
    return attrs.evolve(STATE, progress=attrs.evolve(PROGRESS, **changes), **fields)


def render(displayed: BatchView, width: int, height: int) -> list[list[Segment]]:
    """Return the lines in a window with one line more, as rich's live display cuts them."""
    console = Console(width=width, height=height + 1, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    return list(Segment.split_lines(console.render(LiveRender(displayed, vertical_overflow="crop"))))


def shown(displayed: BatchView, width: int = 140, height: int = 40) -> str:
    """Return the text on a terminal."""
    lines = ("".join(segment.text for segment in line) for line in render(displayed, width, height))
    return "\n".join(line.rstrip() for line in lines)


STATES = {
    "running": state(),
    "paused": state(paused=LONG),
    "stopped": state(stopped=LONG, paused=LONG),
    "stopping": state(stopping=True, paused=LONG),
    "beginning": state(
        total=None,
        read=0,
        succeeded=0,
        failed=0,
        uncertain=0,
        skipped=0,
        active=(),
        failures=(),
        per_second=0.0,
        seconds_left=None,
    ),
    "preparing": state(active=(*PROGRESS.active[:10], job("a", stage="starting"), job("b", stage="checking"))),
    "end": state(succeeded=192, active=(), seconds_left=0.0),
    "keys": state(
        name="内容/" * 40,
        active=tuple(job("内容审核" * 30 + str(n), status="wörd" * 9, seconds=1e6) for n in range(3)),
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_lines_always_fit(name: str) -> None:
    """No line is wider than the window, and there are at most as many lines as it has."""
    for width, height in itertools.product(
        (1, 2, 5, 9, 10, 20, 30, 50, 69, 70, 80, 140, 300), (1, 2, 3, 5, 8, 14, 17, 18, 24, 60)
    ):
        lines = render(STATES[name], width, height)
        assert len(lines) <= height + 1
        assert max(map(Segment.get_line_length, lines)) <= width


def test_wide() -> None:
    """A wide terminal shows the bar, coins, rate, time left, counts, ten jobs with all details, and failures."""
    lines = shown(state()).splitlines()
    assert lines[0].startswith("jobs.csv ━━━")
    assert lines[0].endswith("━ 20/200  10%")
    assert lines[1] == "510 of 6000 coins   12.0 a minute   14 min left   1 started again"
    assert lines[2] == "✓ 12 succeeded   ✗ 3 failed   ? 1 uncertain   - 4 skipped   47 running   133 waiting"
    assert lines[4] == "⠋ portrait-000  running     pending            32 s  0123456789abcdef01234567"
    assert lines[13].startswith("⠋ portrait-009")
    assert lines[14] == "  and 37 more"
    assert lines[16:19] == [f"✗ {failure}" for failure in FAILURES]
    assert lines[-1].startswith("Ctrl-C stops new starts")


def test_narrow() -> None:
    """A narrow terminal shows marks instead of words, one word for each job, and the latest failure."""
    lines = shown(state(), 50, 14).splitlines()
    assert lines[0].startswith("━━━")
    assert lines[0].endswith("━ 20/200  10%")
    assert lines[1:3] == ["510 of 6000 coins   12.0 a minute   14 min left", "1 started again"]
    assert lines[3] == "✓ 12   ✗ 3   ? 1   - 4   47 running   133 waiting"
    assert lines[4] == "⠋ portrait-000 pending         32 s"
    assert lines[-2:] == ["  and 39 more", f"✗ {FAILURES[-1]}"]
    assert len(lines) == 14


def test_all_jobs_if_they_fit() -> None:
    """The line 'and 1 more' never stands where the hidden job would fit."""
    ten = tuple(job(f"p{n}") for n in range(10))
    assert "more" not in shown(state(active=ten)).partition("Ctrl-C")[0]
    assert "  and 1 more" in shown(state(active=(*ten, job("p10"))))
    head = len(render(state(active=(), failures=()), 50, 14))
    assert "p3" in shown(state(active=ten[:4], failures=()), 50, head + 4)


def test_order_of_the_jobs() -> None:
    """Downloads and running tasks come before jobs that are being prepared, which count as waiting."""
    stages = ("checking", "uploading", "starting", "running", "downloading")
    text = shown(state(active=tuple(job(f"p-{stage}", stage=stage) for stage in stages)))
    assert "being prepared" not in text
    places = [text.index(f"p-{stage}") for stage in reversed(stages)]
    assert places == sorted(places)
    assert "2 running   178 waiting" in text
    assert "  and 2 being prepared" in shown(STATES["preparing"])


def test_status_of_a_failed_task_is_hidden() -> None:
    """While a job is started again, the status of its failed task is not shown."""
    assert "failed" not in shown(state(failed=0, failures=(), active=(job("ada", stage="starting", status="failed"),)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"paused": LONG},
            "Paused, resumes by itself: Insufficient credits: 30 coins needed, 0 left. Add coins to the account",
        ),
        (
            {"stopped": "the token was rejected", "paused": "x"},
            "Stopped, nothing more is started: the token was rejected",
        ),
        ({"stopping": True}, "Stopping: the responses to starts in flight are still recorded."),
    ],
    ids=["paused", "stopped", "stopping"],
)
def test_reason_of_a_pause(changes: dict[str, Any], text: str) -> None:
    """During a pause, its reason and the running tasks are shown, without a time left."""
    paused = state(**changes, active=(job("at-a2e"), job("waits", stage="starting")))
    displayed = shown(paused)
    assert text in displayed
    assert "left " not in displayed.splitlines()[1]
    assert "at-a2e" in displayed
    assert "waits" not in displayed
    assert "bold yellow" in {str(segment.style) for line in render(paused, 140, 40) for segment in line}


def test_hint_after_ctrl_c() -> None:
    """After Ctrl-C, the last line says what a second Ctrl-C does."""
    assert shown(state(stopping=True)).endswith("Press Ctrl-C again to exit at once.")


def test_parts_of_the_bar() -> None:
    """The parts of the bar have the lengths and the colours of their states."""
    half_done = state(name="", total=100, succeeded=50, failed=25, uncertain=0, skipped=0, active=())
    cells = dict.fromkeys(("green", "red", "grey23"), 0)
    for segment in render(half_done, 69, 40)[0]:
        if "━" in segment.text:
            cells[str(segment.style)] += len(segment.text)
    assert 50 < sum(cells.values()) < 69
    assert [round(number * 4 / sum(cells.values())) for number in cells.values()] == [2, 1, 1]


def test_spinner_turns() -> None:
    """Two refreshes differ, although nothing has happened."""
    assert shown(state(tick=0)) != shown(state(tick=1))


def test_colours_do_not_spread() -> None:
    """The colour of a part does not colour the other parts of its line."""
    styles = {segment.text.strip(): str(segment.style) for segment in render(state(), 140, 40)[1]}
    assert styles["510 of 6000 coins"] == "magenta"
    assert styles["12.0 a minute"] == "None"
    assert styles["14 min left"] == "bold"


@pytest.mark.parametrize("width", [10, 20, 30, 49, 50, 51, 80])
def test_parts_are_not_broken(width: int) -> None:
    """Coins, rate and time left fill lines; none of them is broken, and only one that is wider than a line is cut."""
    text = shown(state(), width, 40)
    for part in ("12.0 a minute", "14 min left", "1 started again", "47 running", "133 waiting"):
        assert part in text or len(part) > width


def test_notes_have_two_lines() -> None:
    """A note is wrapped between words into two lines, and truncated after them."""
    lines = shown(state(stopped=LONG * 3), 50, 40).splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith("Stopped, "))
    assert lines[first] == "Stopped, nothing more is started: Insufficient"
    assert lines[first + 1].endswith("…")
    assert not lines[first + 2]


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("portrait-1", 10, "portrait-1"),
        ("portrait-001", 9, "port…-001"),
        ("portrait", 2, "p…"),
        ("portrait", 1, "…"),
        ("内容审核", 5, "内…核"),
    ],
)
def test_shorten_middle(text: str, width: int, short: str) -> None:
    """A long text loses its middle."""
    assert shorten_middle(text, width) == short


def test_count_line() -> None:
    """The numbers of a list are aligned."""
    assert count_line("✓ succeeded", "green", "12", "in videos").plain == "✓ succeeded          12  in videos"
    assert count_line("  coins", "", "5").plain == "  coins               5"
