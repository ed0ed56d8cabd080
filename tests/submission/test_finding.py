"""Search for a task by its marker or key: what is found, in which order, and how many pages of the list it takes."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import types
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web
from conditions import wait_until
from paid_starts import (
    IMAGE_URL,
    LIST_PATH,
    PROMPT,
    assert_no_secrets,
    charged_task_ids,
    count_list_requests,
    faults_on_start,
    logged_warnings,
    make_client,
    marker_in,
    start_video,
)
from virtual_clock import utc_now

from a2e_async import A2EClient, A2EError, AuthenticationError, InvalidRequestError, SubmissionUncertainError
from a2e_async.sandbox import Fault, FaultPlan, Sandbox
from a2e_async.sandbox.state import Task
from a2e_async.sandbox.tasks.scenarios import Scenario
from a2e_async.sandbox.tasks.starts import Start

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_found_by_marker_key_and_name(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task is found by the marker in its name, by the whole name, and by its idempotency key."""
    task = await start_video(a2e, idempotency_key="order-17")
    name = sandbox.tasks[task.id].name
    for known in ("order-17", name, marker_in(name), f" {marker_in(name).upper()} "):
        found = await a2e.image_to_video.find(known)
        assert found is not None
        assert found.id == task.id
        assert found.adopted


async def test_found_by_another_client(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that one process has started is found by another one, with its record."""
    task = await start_video(a2e, idempotency_key="order-17")
    async with make_client(sandbox) as other:
        found = await other.image_to_video.find("order-17")
    assert found is not None
    assert (found.id, found.record.coins) == (task.id, 30)


async def test_unknown_is_none(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A marker or key without a task finds nothing, and costs nothing."""
    await start_video(a2e)
    for unknown in ("order-18", "0123456789", "Ada [a2e:0123456789]", "Ada", "00000000000"):
        assert await a2e.image_to_video.find(unknown) is None
        assert await a2e.image_to_video.find_all(unknown) == []
    assert len(sandbox.ledger) == 1


@pytest.mark.parametrize("invalid", ["", " ", None, 5, b"0123456789"])
async def test_invalid_search_is_rejected(a2e: A2EClient, sandbox: Sandbox, invalid: Any) -> None:
    """A value that is neither a marker nor a key is rejected before a request."""
    with pytest.raises(InvalidRequestError, match="marker_or_key"):
        await a2e.image_to_video.find(invalid)
    assert not sandbox.requests


async def test_find_all_is_oldest_first(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The videos of one start are returned in the order of their creation."""
    await a2e.image_to_video.start_variations(3, image_url=IMAGE_URL, idempotency_key="order-17", **quick.PROMPTS)
    now = utc_now()
    for age, task in enumerate(sandbox.tasks.values()):
        task.created = now - dt.timedelta(seconds=age)
    async with make_client(sandbox) as other:
        found = await other.image_to_video.find_all("order-17")
        first = await other.image_to_video.find("order-17")
    assert [task.id for task in found] == list(sandbox.tasks)[::-1]
    assert first is not None
    assert first.id == found[0].id


async def test_two_tasks_with_one_marker_log_a_warning(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If two tasks have the marker of a start of one, a warning names both, once."""
    task = await start_video(a2e)
    async with make_client(sandbox, start=attrs.evolve(quick.CONFIG.start, mark_names=False)) as unmarked:
        twin = await start_video(unmarked, name=sandbox.tasks[task.id].name)
    for _ in range(2):
        assert len(await a2e.image_to_video.find_all(sandbox.tasks[task.id].name)) == 2
    (warning,) = logged_warnings(caplog)
    assert task.id in warning
    assert twin.id in warning
    assert_no_secrets(sandbox, caplog.text)


async def test_variations_are_not_duplicates(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """The tasks of one start share a marker, and no warning is logged."""
    tasks = await a2e.image_to_video.start_variations(3, image_url=IMAGE_URL, **quick.PROMPTS)
    assert len(await a2e.image_to_video.find_all(sandbox.tasks[tasks[0].id].name)) == 3
    assert not logged_warnings(caplog)


async def test_error_of_the_list_is_raised(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A list that cannot be read raises an error, and does not mean "not found"."""
    sandbox.faults = FaultPlan(chances={"list": {Fault("status", status=401): 1}})
    with pytest.raises(AuthenticationError):
        await a2e.image_to_video.find("order-17")


async def test_broken_second_page_is_an_error(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A second page that cannot be read does not mean "not found" either."""
    add_tasks(sandbox, 150)
    broken = FaultPlan(script={"list": [None, *[Fault("html", status=404)] * 9]})
    sandbox.faults = broken
    with pytest.raises(A2EError):
        await a2e.image_to_video.find("order-17")
    sandbox.faults = None
    assert await a2e.image_to_video.find("order-17") is None


def add_tasks(sandbox: Sandbox, count: int, age: float = 0.0, apart: float = 0.0) -> None:
    """Add tasks of other programs to the account, the newest of them `age` seconds old."""
    start = Start(
        name="task of another program",
        image_url=IMAGE_URL,
        end_image_url="",
        prompt=PROMPT,
        negative_prompt="n",
        model_version="a2e",
        model_type="GENERAL",
        video_time=5,
        count=1,
        scenario=Scenario(),
    )
    newest = utc_now() - dt.timedelta(seconds=age)
    for behind in reversed(range(count)):
        task = Task(start=start, coins=0, created=newest - dt.timedelta(seconds=behind * apart))
        sandbox._state.tasks[task.id] = task


async def test_old_task_on_a_later_page_is_found(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A key finds its task although 250 tasks were started since."""
    task = await start_video(a2e, idempotency_key="order-17")
    add_tasks(sandbox, 250)
    async with make_client(sandbox) as other:
        found = await other.image_to_video.find("order-17")
    assert found is not None
    assert found.id == task.id
    assert count_list_requests(sandbox) == 1 + 3  # one for the start


async def test_lost_task_on_a_later_page_is_found(sandbox: Sandbox) -> None:
    """A start whose response is lost is adopted although 250 others were started meanwhile."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=5, after=True))
    async with make_client(sandbox, request_timeout=2.0) as a2e:
        start = asyncio.create_task(start_video(a2e))
        await wait_until(lambda: sandbox.ledger)
        add_tasks(sandbox, 250)
        task = await start
    assert task.adopted
    assert task.id == next(iter(sandbox.tasks))


SHUFFLED: dict[str, Callable[[list[dict[str, object]]], list[dict[str, object]]]] = {
    "oldest-first": lambda rows: rows[::-1],
    "no-order": lambda rows: random.Random(5).sample(rows, len(rows)),
    "no-times": lambda rows: [{**row, "createdAt": ""} for row in rows],
    "some-times": lambda rows: [
        {**row, "createdAt": None if number % 3 else row["createdAt"]} for number, row in enumerate(rows)
    ],
}


@pytest.mark.parametrize("shuffle", SHUFFLED.values(), ids=SHUFFLED.keys())
async def test_order_of_the_list_does_not_matter(
    sandbox: Sandbox, shuffle: Callable[[list[dict[str, object]]], list[dict[str, object]]]
) -> None:
    """A2E promises no order: a lost start is adopted in any order of 250 records."""
    add_tasks(sandbox, 250, age=7200, apart=1)
    sandbox.faults = faults_on_start(Fault("drop", after=True))

    def page(request: web.Request) -> web.Response:
        rows = shuffle([task.record() for task in reversed([*sandbox.tasks.values()])])
        first = (int(request.query["pageNum"]) - 1) * 100
        return web.json_response({"code": 0, "data": {"rows": rows[first : first + 100], "count": len(rows)}})

    async with make_client(sandbox) as a2e:
        with sandbox.override("GET", LIST_PATH, page):
            task = await start_video(a2e)
    assert task.adopted
    assert task.id == list(sandbox.tasks)[-1]


async def test_old_pages_are_not_read(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The search for a recent start does not read pages from hours ago, once the client knows A2E's clock."""
    add_tasks(sandbox, 950, age=7200, apart=1)
    await a2e.account.balance()
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    assert (await start_video(a2e)).adopted
    assert count_list_requests(sandbox) == 1


async def test_old_pages_are_read_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """If the first request of a client is a start whose response is lost, only the first scan reads the whole list."""
    add_tasks(sandbox, 950, age=7200, apart=20)
    sandbox.faults = faults_on_start(Fault("drop"))
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e)
    assert count_list_requests(sandbox) == 10 + len(quick.CONFIG.start.scan_delays) - 1


async def test_first_key_reads_the_whole_list(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The first key reads the whole list, the next ones only its newest records."""
    add_tasks(sandbox, 450, age=7200, apart=1)
    await start_video(a2e, idempotency_key="one")
    assert count_list_requests(sandbox) == 5
    for key in ("two", "three", "one"):
        await start_video(a2e, idempotency_key=key)
    # the second scan overlaps with the first one by more than the 100 seconds of a page
    assert count_list_requests(sandbox) == 5 + 2 + 1 + 1
    assert len({task.name for task in sandbox.tasks.values()}) == 1 + 3


async def test_late_task_on_a_later_page_is_found(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that was missing from one scan, because it was listed late, is found by the next one."""
    assert await a2e.image_to_video.find("order-17") is None
    async with make_client(sandbox) as other:
        late = await start_video(other, idempotency_key="order-17")
    sandbox.tasks[late.id].created -= dt.timedelta(seconds=150)
    add_tasks(sandbox, 120, age=0, apart=1.2)  # a page and more, over the last 144 seconds
    found = await a2e.image_to_video.find("order-17")
    assert found is not None
    assert found.id == late.id


async def test_wrong_local_clock_does_not_matter(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start is adopted although the local clock is hours ahead, since A2E's clock counts."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    for module in ("_submission.finder", "_transport.http"):
        monkeypatch.setattr(f"a2e_async.{module}.time", types.SimpleNamespace(time=lambda: 4e9))
    assert (await start_video(a2e)).adopted


async def test_many_uncertain_starts_share_the_scans(sandbox: Sandbox) -> None:
    """Fifty starts with lost responses read the list a few times, not fifty times."""
    sandbox.faults = FaultPlan(chances={"start": {Fault("drop", after=True, seconds=0.3): 1}})
    wide = attrs.evolve(quick.CONFIG.pacing, max_in_flight=100)
    async with make_client(sandbox, pacing=wide) as a2e:
        tasks = await asyncio.gather(*(start_video(a2e) for _ in range(50)))
    assert {task.id for task in tasks} == set(charged_task_ids(sandbox))
    assert len(tasks) == 50
    assert count_list_requests(sandbox) <= 8


async def test_many_uncertain_starts_share_a_failed_scan(sandbox: Sandbox) -> None:
    """While the list cannot be read, fifty lost starts do not request it fifty times as often."""
    lists: dict[Fault, float] = {Fault("status"): 1}
    sandbox.faults = FaultPlan(chances={"start": {Fault("drop", seconds=0.3): 1}, "list": lists})
    wide = attrs.evolve(quick.CONFIG.pacing, max_in_flight=100)
    async with make_client(sandbox, pacing=wide) as a2e:
        results = await asyncio.gather(*(start_video(a2e) for _ in range(50)), return_exceptions=True)
    assert {type(result) for result in results} == {SubmissionUncertainError}
    one = len(quick.CONFIG.start.scan_delays) * quick.CONFIG.retry.max_attempts
    assert count_list_requests(sandbox) <= 4 * one
