"""The live display, drawn for batches that are made up, in terminals of all sizes."""

from __future__ import annotations

import io
import itertools
from typing import Any

import attrs
import pytest
from rich.console import Console, Group
from rich.text import Text

from a2e_async.batch import Doing, Progress
from a2e_async.cli.batch.display import View, draw
from a2e_async.cli.batch.text import count, cut, flow, fold, shorten

LONG = "Insufficient credits: 30 coins needed, 0 left (HTTP 400, code 400, trace_id 9f4d3d44). Buy coins, or choose a shorter video_time"
FAILURES = [
    "ada: failed: nsfw content was detected",
    "eva: failed: the video could not be generated",
    "zoë: failed: 内容审核未通过",
]


RUNNING = Doing(key="ada", stage="running", task_id="0123456789abcdef01234567", status="pending", seconds=32.0)


def doing(key: str, **changes: Any) -> Doing:
    """Make a job under way."""
    return attrs.evolve(RUNNING, key=key, **changes)


MOMENT = Progress(
    total=200,
    read=60,
    succeeded=12,
    failed=3,
    uncertain=1,
    skipped=4,
    bought=20,
    retried=1,
    coins=510.0,
    doing=tuple(doing(f"portrait-{number:03}") for number in range(47)),
    paused="",
    stopped="",
)
PICTURE = View(name="jobs.csv", progress=MOMENT, max_coins=6000, a_second=0.2, left=840.0, failures=FAILURES)


def view(**changes: Any) -> View:
    """Make what is shown; a change of the batch or of the view."""
    words = {key: changes.pop(key) for key in list(changes) if key in View.__annotations__}
    return attrs.evolve(PICTURE, progress=attrs.evolve(MOMENT, **changes), **words)


def shown(view: View, width: int = 140, height: int = 40) -> str:
    """Return what a terminal shows."""
    return "\n".join(line.plain for line in draw(view, width, height))


VIEWS = {
    "running": view(),
    "paused": view(paused=LONG),
    "stopped": view(stopped=LONG, paused=LONG),
    "stopping": view(stopping=True, paused=LONG),
    "beginning": view(
        total=None,
        read=0,
        succeeded=0,
        failed=0,
        uncertain=0,
        skipped=0,
        doing=(),
        failures=(),
        a_second=0.0,
        left=None,
    ),
    "preparing": view(doing=(*MOMENT.doing[:10], doing("a", stage="starting"), doing("b", stage="checking"))),
    "end": view(succeeded=192, doing=(), left=0.0),
    "keys": view(
        name="内容/" * 40,
        doing=tuple(doing("内容审核" * 30 + str(n), status="wörd" * 9, seconds=1e6) for n in range(3)),
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_it_always_fits(name: str) -> None:
    """No line is wider than the terminal, there are not more lines than it has, and none is broken."""
    for width, height in itertools.product(
        (1, 2, 5, 9, 10, 20, 30, 50, 69, 70, 80, 140, 300), (1, 2, 3, 5, 8, 14, 17, 18, 24, 60)
    ):
        lines = draw(VIEWS[name], width, height)
        assert len(lines) <= height
        assert max(line.cell_len for line in lines) <= width
        assert not any("\n" in line.plain for line in lines)


@pytest.mark.parametrize(("width", "height"), [(50, 14), (140, 39), (20, 5)])
def test_a_terminal_draws_a_line_for_each(width: int, height: int) -> None:
    """A terminal of that size draws exactly these lines: nothing wraps."""
    console = Console(
        width=width, height=height, file=io.StringIO(), force_terminal=True, record=True, legacy_windows=False
    )
    lines = draw(VIEWS["paused"], width, height)
    console.print(Group(*lines))
    assert len(console.export_text().splitlines()) == len(lines)


def test_wide() -> None:
    """A wide terminal shows bar, rate, time left, coins, counts, ten tasks with all that is known, and failures."""
    lines = shown(view()).splitlines()
    assert lines[0].startswith("jobs.csv ━━━")
    assert lines[0].endswith("━ 20/200  10%")
    assert lines[1] == "510 of 6000 coins   12.0 a minute   14 min left   1 bought again"
    assert lines[2] == "✓ 12 succeeded   ✗ 3 failed   ? 1 uncertain   - 4 skipped   47 running   133 waiting"
    assert lines[4] == "⠋ portrait-000  running     pending            32 s  0123456789abcdef01234567"
    assert lines[13].startswith("⠋ portrait-009")
    assert lines[14] == "  and 37 more"
    assert lines[16:19] == [f"✗ {failure}" for failure in FAILURES]
    assert lines[-1].startswith("Ctrl-C starts nothing more")


def test_narrow() -> None:
    """A narrow terminal shows the same with fewer words: marks, one word about each task, the latest failure."""
    lines = shown(view(), 50, 14).splitlines()
    assert lines[0].startswith("━━━")
    assert lines[0].endswith("━ 20/200  10%")
    assert lines[1:3] == ["510 of 6000 coins   12.0 a minute   14 min left", "1 bought again"]
    assert lines[3] == "✓ 12   ✗ 3   ? 1   - 4   47 running   133 waiting"
    assert lines[4] == "⠋ portrait-000 pending         32 s"
    assert lines[-2:] == ["  and 39 more", f"✗ {FAILURES[-1]}"]
    assert len(lines) == 14


def test_all_tasks_if_they_fit() -> None:
    """Nobody reads 'and 1 more' where that one would have fitted."""
    ten = tuple(doing(f"p{n}") for n in range(10))
    assert "more" not in shown(view(doing=ten)).partition("Ctrl-C")[0]
    assert "  and 1 more" in shown(view(doing=(*ten, doing("p10"))))
    head = len(draw(view(doing=(), failures=()), 50, 14))
    assert "p3" in shown(view(doing=ten[:4], failures=()), 50, head + 4)


def test_tasks_at_a2e_come_first() -> None:
    """Downloads and running tasks are shown before jobs that are being prepared, which count as waiting."""
    stages = ("checking", "uploading", "starting", "running", "downloading")
    text = shown(view(doing=tuple(doing(f"p-{stage}", stage=stage) for stage in stages)))
    assert "being prepared" not in text
    places = [text.index(f"p-{stage}") for stage in reversed(stages)]
    assert places == sorted(places)
    assert "2 running   178 waiting" in text
    assert "  and 2 being prepared" in shown(VIEWS["preparing"])


def test_word_of_a_failed_task_is_not_shown_for_the_next_one() -> None:
    """While a job is started again, A2E's last word is about the task that has failed."""
    assert "failed" not in shown(view(failed=0, failures=(), doing=(doing("ada", stage="starting", status="failed"),)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paused": LONG}, "Paused, goes on by itself: Insufficient credits: 30 coins needed, 0 left. Buy coins"),
        (
            {"stopped": "the token was refused", "paused": "x"},
            "Stopped, nothing more is started: the token was refused",
        ),
        ({"stopping": True}, "Stopping: starts that are being sent get their answer written down."),
    ],
    ids=["paused", "stopped", "stopping"],
)
def test_why_nothing_is_started(changes: dict[str, Any], words: str) -> None:
    """A pause is said in words, with its reason; then no time is left to tell, and only what runs is shown."""
    made = view(**changes, doing=(doing("at-a2e"), doing("waits", stage="starting")))
    text = shown(made)
    assert words in text
    assert "left " not in text.splitlines()[1]
    assert "at-a2e" in text
    assert "waits" not in text
    assert "bold yellow" in {str(line.style) for line in draw(made, 140, 40)}


def test_second_interrupt_is_offered() -> None:
    """After Ctrl-C, the last line says what another one does."""
    assert shown(view(stopping=True)).endswith("Ctrl-C again leaves at once.")


def test_bar_is_as_long_as_what_is_done() -> None:
    """The parts of the bar have the lengths and the colours of what they stand for."""
    made = view(name="", total=100, succeeded=50, failed=25, uncertain=0, skipped=0, doing=())
    line = draw(made, 69, 40)[0]
    bar = line.plain.index(" ")
    cells = dict.fromkeys(("green", "red", "grey23"), 0)
    for span in line.spans:
        if str(span.style) in cells:
            cells[str(span.style)] += span.end - span.start
    assert bar == sum(cells.values())
    assert [round(number * 4 / bar) for number in cells.values()] == [2, 1, 1]


def test_spinner_turns() -> None:
    """Two images differ, though nothing has happened: the display is alive."""
    assert shown(view(tick=0)) != shown(view(tick=1))


def test_colours_do_not_spread() -> None:
    """The colour of the first number does not colour its neighbours."""
    (line,) = flow([Text("1", "red"), Text("2")], 20)
    assert not line.style
    assert [(span.start, span.end, span.style) for span in line.spans] == [(0, 1, "red")]


def test_flow() -> None:
    """Chips fill lines up to the last column, and none is broken unless it is wider than a line."""
    chips = [Text("aaaa"), Text("bbb"), Text("cc"), Text("dddddddddddd")]
    assert [line.plain for line in flow(chips, 10)] == ["aaaa   bbb", "cc", "ddddddddd…"]
    assert flow([], 10) == []


def test_fold() -> None:
    """A text gets two lines, broken between words; what does not fit into them is cut off."""
    assert [line.plain for line in fold("one two three four five", 8, "")] == ["one two", "three f…"]
    assert [line.plain for line in fold("one two", 8, "")] == ["one two"]
    assert [line.plain for line in fold("unbreakable thing", 5, "")] == ["unbr…", "thing"]


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
def test_shorten(text: str, width: int, short: str) -> None:
    """What is left out of a long name is its middle."""
    assert shorten(text, width) == short


def test_cut_and_count() -> None:
    """A line that is too long ends with an ellipsis; numbers stand below each other."""
    assert cut(Text("abcdef"), 4).plain == "abc…"
    assert count("✓ succeeded", "green", "12", "in videos").plain == "✓ succeeded          12  in videos"
    assert count("  coins", "", "5").plain == "  coins               5"
