"""Scenarios that a prompt can ask for."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from a2e_async.sandbox.tasks.scenarios import SCENARIOS, Scenario, scenario_of

if TYPE_CHECKING:
    from sandbox_requests import Call, FinishedTask, Start

    from a2e_async.sandbox import Sandbox

PREFIX = "/api/v1/userImage2Video"


@pytest.mark.parametrize(("tag", "code"), [("#fail", "generation_error"), ("#nsfw", "nsfw")])
async def test_failures_name_their_reason(
    sandbox: Sandbox, finished_task: FinishedTask, call: Call, tag: str, code: str
) -> None:
    """The task fails with a code and a message, has no result, and is not refunded."""
    task = await finished_task(sandbox, f"she smiles {tag}")
    record = (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data
    assert (record["current_status"], record["failed_code"], record["result_url"]) == ("failed", code, "")
    assert record["failed_message"]
    assert sandbox.coins == 9_970


async def test_rejected_start_costs_nothing(sandbox: Sandbox, start: Start) -> None:
    """Moderation answers 403 and makes no task."""
    answer = await start(sandbox, "#refuse")
    assert answer.status == 403
    assert "content policy" in answer.body["msg"]
    assert (sandbox.coins, len(sandbox.tasks)) == (10_000, 0)


async def test_a_flagged_start_is_a_success_without_a_task(sandbox: Sandbox, start: Start) -> None:
    """HTTP status and code mean success, but the data report flagged content instead of a task."""
    answer = await start(sandbox, "#flagged")
    assert (answer.status, answer.body["code"], answer.data["flagged"]) == (200, 0, True)
    assert "_id" not in answer.data
    assert (sandbox.coins, len(sandbox.tasks)) == (10_000, 0)


async def test_a_stuck_task_stays_pending(sandbox: Sandbox, start: Start) -> None:
    """It never leaves the status pending."""
    task = sandbox.tasks[(await start(sandbox, "#stuck")).data["_id"]]
    async with asyncio.timeout(30):
        while task.status != "pending":
            await asyncio.sleep(0.001)
    await asyncio.sleep(86_400)
    assert task.status == "pending"


async def test_a_fast_task_needs_no_time(frozen_sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """It ends almost at once, even if all other tasks stand still."""
    assert (await finished_task(frozen_sandbox, "#fast")).status == "completed"


async def test_tags_add_up(frozen_sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """A fast task can fail as well."""
    assert (await finished_task(frozen_sandbox, "#FAST and #fail!")).status == "failed"


async def test_expired_result(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """The record is completed, its URL is a 404, and lists hide it."""
    task = await finished_task(sandbox, "#expired")
    assert (await call(sandbox, "GET", task.result_url)).status == 404
    assert (await call(sandbox, "GET", f"{PREFIX}/allRecords")).data["rows"] == []
    assert (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data["result_url"] == task.result_url


async def test_html_result(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """The URL serves HTML instead of a video."""
    answer = await call(sandbox, "GET", (await finished_task(sandbox, "#html-result")).result_url)
    assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, "text/html")


async def test_short_result(sandbox: Sandbox, finished_task: FinishedTask, session: aiohttp.ClientSession) -> None:
    """Half of the bytes arrive, then the connection ends."""
    task = await finished_task(sandbox, "#short")
    async with session.get(task.result_url) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_short_result_can_be_resumed(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """A request for the rest is served in full, and HEAD has the full length."""
    task = await finished_task(sandbox, "#short")
    length = int((await call(sandbox, "HEAD", task.result_url)).headers["Content-Length"])
    rest = await call(sandbox, "GET", task.result_url, headers={"Range": "bytes=100-"})
    assert (rest.status, len(rest.content)) == (206, length - 100)


def test_slow_means_ten_times_the_duration() -> None:
    """The pace of a slow task is 10."""
    assert scenario_of("slowly #slow").pace == 10


def test_first_tag_decides() -> None:
    """Of tags that set the same field the first one is used; unknown tags and plain words are ignored."""
    assert scenario_of("#nsfw #fail").failure == SCENARIOS["#nsfw"].failure
    assert scenario_of("fail #failure #html") == Scenario()


def test_page_lists_every_scenario() -> None:
    """The table of docs/sandbox.md and the table of the code have the same tags."""
    page = Path(__file__).parents[3].joinpath("docs", "sandbox.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(#[a-z-]+)`", page, re.MULTILINE)) == set(SCENARIOS)
