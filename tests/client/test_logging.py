"""The log of a client: a flow with faults is readable from it alone, in lines with documented fields, without secrets."""

from __future__ import annotations

import functools
import io
import logging
import pathlib
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

import a2e_async.client
from a2e_async import A2EClient, Config, PollPolicy, events
from a2e_async._observer import Observer
from a2e_async._transport.retry import Retry
from a2e_async.models import TaskStatus
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from a2e_async.events import Event

PAGE = pathlib.Path(__file__).parents[2] / "docs/how-to/observability.md"

EVENTS = [getattr(events, name) for name in events.__all__ if name not in {"Event", "Hook", "Stats"}]

SAMPLES: dict[str, Any] = {
    "status": TaskStatus.RUNNING,
    "coins": 30,
    "adopted": False,
    **dict.fromkeys(("attempt", "count", "size", "resumed"), 1),
    **dict.fromkeys(("seconds", "pause", "lag"), 0.5),
}

LOG = """\
DEBUG   Start of userImage2Video, marker 7f3k2m9q4d: begins
DEBUG   POST /api/v1/userImage2Video/start: sent
DEBUG   POST /api/v1/userImage2Video/start: HTTP 200 BusyError after 0.000 s
INFO    Pause of 2.1 s for POST /api/v1/userImage2Video/start: A2E asks for it (BusyError, HTTP 200)
INFO    POST /api/v1/userImage2Video/start: attempt 1 failed (BusyError, HTTP 200), retry in 0.2 s
DEBUG   POST /api/v1/userImage2Video/start: sent
DEBUG   POST /api/v1/userImage2Video/start: HTTP 429 RateLimitError after 0.000 s
INFO    Pause of 3.1 s for all requests: A2E asks for it (RateLimitError, HTTP 429)
INFO    POST /api/v1/userImage2Video/start: attempt 2 failed (RateLimitError, HTTP 429), retry in 3.0 s
DEBUG   POST /api/v1/userImage2Video/start: sent
DEBUG   POST /api/v1/userImage2Video/start: no answer after 0.000 s, NetworkError
DEBUG   GET /api/v1/userImage2Video/allRecords: sent
DEBUG   GET /api/v1/userImage2Video/allRecords: HTTP 200 ok after 0.000 s
WARNING The response to a start was lost. A2E's list shows its task 67d29023dd27a536fdf6e809 (marker 7f3k2m9q4d), \
which is adopted: the start is not sent again, and nothing is charged twice
INFO    Task 67d29023dd27a536fdf6e809 of userImage2Video: started, marker 7f3k2m9q4d, coins 30
DEBUG   Task 67d29023dd27a536fdf6e809 of userImage2Video: costs coins, 30
DEBUG   Start of userImage2Video, marker 7f3k2m9q4d: accepted after 5.2 s
DEBUG   Wait for task 67d29023dd27a536fdf6e809 of userImage2Video: begins
DEBUG   Poll of userImage2Video: tasks 1, 0.000 s late
DEBUG   GET /api/v1/userImage2Video/67d29023dd27a536fdf6e809: sent
DEBUG   GET /api/v1/userImage2Video/67d29023dd27a536fdf6e809: HTTP 200 ok after 0.000 s
DEBUG   Task 67d29023dd27a536fdf6e809 of userImage2Video: running, A2E says pending
DEBUG   Poll of userImage2Video: tasks 1, 0.000 s late
DEBUG   GET /api/v1/userImage2Video/67d29023dd27a536fdf6e809: sent
DEBUG   GET /api/v1/userImage2Video/67d29023dd27a536fdf6e809: HTTP 200 ok after 0.000 s
INFO    Task 67d29023dd27a536fdf6e809 of userImage2Video: succeeded, coins 30, code none
DEBUG   Wait for task 67d29023dd27a536fdf6e809 of userImage2Video: succeeded after 35.5 s
INFO    download, host 127.0.0.1:8000: begins
INFO    download, host 127.0.0.1:8000: attempt 1 failed (NetworkError), retry in 0.2 s
INFO    download, host 127.0.0.1:8000: ok, 1983 bytes in 0.2 s, resumed 1 times
"""


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """Return the logger of the package, at DEBUG."""
    logger = logging.getLogger("a2e_async")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.setLevel(level)


@pytest.fixture
def collect(logger: logging.Logger) -> Iterator[Callable[[], list[logging.LogRecord]]]:
    """Return a function that returns the log records so far."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign,assignment]
    logger.addHandler(handler)
    yield lambda: records
    logger.removeHandler(handler)


def make_event(kind: type[Event]) -> Event:
    """Return an event with a value in each field."""
    names = kind._fields - {"at"}
    values = {name: SAMPLES.get(name, f"the {name}") for name in names}
    if kind is events.RequestAnswered:
        values["status"] = 200  # of HTTP, and not of a task
    return kind(**values)


@pytest.mark.virtual_time
async def test_a_flow_with_faults_is_readable_from_the_log(
    a2e_sandbox: Sandbox, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """One busy answer, one 429, one lost answer and one resumed download: each is a line, and the page shows them."""
    monkeypatch.setattr(random, "random", lambda: 0.5)
    monkeypatch.setattr(a2e_async.client, "Retry", functools.partial(Retry, jitter=lambda: 0.5))
    buffer = io.StringIO()
    handler = logging.StreamHandler(buffer)
    handler.setFormatter(logging.Formatter("%(levelname)-7s %(message)s"))
    logger.addHandler(handler)
    a2e_sandbox.faults = FaultPlan(
        script={
            "start": [Fault("busy"), Fault("429", retry_after=3), Fault("drop", after=True)],
            "cdn": [Fault("short")],
        }
    )
    config = Config(poll=PollPolicy(initial=5, steps=((0, 30),)), proxy="")
    try:
        async with A2EClient(a2e_sandbox.token, base_url=a2e_sandbox.url, config=config) as a2e:
            task = await a2e.image_to_video.start(
                image_url="https://example.com/ada.png", prompt="she smiles", negative_prompt="blurry"
            )
            await task.wait_until_done()
            await task.download(tmp_path / "ada.mp4")
    finally:
        logger.removeHandler(handler)
    marker = str(re.search(r"marker (\w+)", buffer.getvalue())[1])  # type: ignore[index]
    text = buffer.getvalue().replace(task.id, "67d29023dd27a536fdf6e809").replace(marker, "7f3k2m9q4d")
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8000", text)
    assert text == LOG
    shown = "".join(line for line in LOG.splitlines(keepends=True) if not line.startswith("DEBUG"))
    assert f"```text\n{shown}```" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", EVENTS)
def test_each_event_is_one_line_with_its_fields(
    kind: type[Event], collect: Callable[[], list[logging.LogRecord]]
) -> None:
    """A line has each field of the event as an attribute ``a2e_…``, all of which are on the page; the text is one line."""
    event = make_event(kind)
    Observer().publish(event)
    (record,) = collect()
    fields = {name: value for name, value in vars(record).items() if name.startswith("a2e_")}
    names = kind._fields - {"at"}
    assert fields == {"a2e_event": kind.__name__, **{f"a2e_{name}": getattr(event, name) for name in names}}
    assert "\n" not in record.getMessage()
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in fields if f"`{name}`" not in page] == []
    assert f"`{kind.__name__}`" in page


def test_a_field_from_a2e_cannot_break_a_line(collect: Callable[[], list[logging.LogRecord]]) -> None:
    """Control characters in an id or a word of A2E are escaped, in the text and in the fields."""
    Observer().publish(
        events.TaskChanged(task_id="a\nb", family="f", status=TaskStatus.RUNNING, current_status="\x1b[2J")
    )
    (record,) = collect()
    assert record.getMessage() == r"Task a\nb of f: running, A2E says \x1b[2J"
    assert (record.a2e_task_id, record.a2e_current_status) == (r"a\nb", r"\x1b[2J")  # type: ignore[attr-defined]


@pytest.mark.virtual_time
async def test_nothing_is_made_without_hooks_and_log(
    a2e_client: A2EClient, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Without hooks and at the level WARNING, a whole flow makes no event and no line. The counters count."""
    logger.setLevel(logging.WARNING)
    made: list[Event] = []
    monkeypatch.setattr(Observer, "publish", lambda _, event: made.append(event))
    task = await a2e_client.image_to_video.start(
        image_url="https://example.com/ada.png", prompt="she smiles", negative_prompt="blurry"
    )
    await task.wait_until_done()
    await task.download(tmp_path / "ada.mp4")
    assert made == []
    assert a2e_client.stats().succeeded == 1
