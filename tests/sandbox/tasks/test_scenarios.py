"""What a prompt can ask for."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from a2e_async.sandbox.tasks.scenarios import FATES, Fate, fate_of

if TYPE_CHECKING:
    from sandbox_requests import Call, FinishedTask, Start

    from a2e_async.sandbox import Sandbox

PREFIX = "/api/v1/userImage2Video"


@pytest.mark.parametrize(("tag", "code"), [("#fail", "generation_error"), ("#nsfw", "nsfw")])
async def test_failures_name_their_reason(
    sandbox: Sandbox, finished_task: FinishedTask, call: Call, tag: str, code: str
) -> None:
    """The task fails with a code and a text, has no result, and stays paid."""
    task = await finished_task(sandbox, f"she smiles {tag}")
    record = (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data
    assert (record["current_status"], record["failed_code"], record["result_url"]) == ("failed", code, "")
    assert record["failed_message"]
    assert sandbox.coins == 9_970


async def test_a_refused_start_costs_nothing(sandbox: Sandbox, start: Start) -> None:
    """Moderation answers 403 and creates nothing."""
    answer = await start(sandbox, "#refuse")
    assert answer.status == 403
    assert "content policy" in answer.body["msg"]
    assert (sandbox.coins, len(sandbox.tasks)) == (10_000, 0)


async def test_a_flagged_start_is_a_success_without_a_task(sandbox: Sandbox, start: Start) -> None:
    """HTTP 200 and code 0, but the data report flagged content instead of a task."""
    answer = await start(sandbox, "#flagged")
    assert (answer.status, answer.body["code"], answer.data["flagged"]) == (200, 0, True)
    assert "_id" not in answer.data
    assert (sandbox.coins, len(sandbox.tasks)) == (10_000, 0)


async def test_a_stuck_task_stays_pending(sandbox: Sandbox, start: Start) -> None:
    """It gets as far as pending and never on."""
    task = sandbox.tasks[(await start(sandbox, "#stuck")).data["_id"]]
    async with asyncio.timeout(30):
        while task.status != "pending":
            await asyncio.sleep(0.001)
    await asyncio.sleep(86_400)
    assert task.status == "pending"


async def test_a_fast_task_needs_no_time(frozen_sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """Even where everything else stands still, it is done almost at once."""
    assert (await finished_task(frozen_sandbox, "#fast")).status == "completed"


async def test_tags_add_up(frozen_sandbox: Sandbox, finished_task: FinishedTask) -> None:
    """A fast task can fail as well."""
    assert (await finished_task(frozen_sandbox, "#FAST and #fail!")).status == "failed"


async def test_an_expired_result_is_gone(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """The record is completed, its link answers 404, and lists no longer show it."""
    task = await finished_task(sandbox, "#expired")
    assert (await call(sandbox, "GET", task.result_url)).status == 404
    assert (await call(sandbox, "GET", f"{PREFIX}/allRecords")).data["rows"] == []
    assert (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data["result_url"] == task.result_url


async def test_an_html_result_is_a_page(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """The link answers 200 with HTML instead of a video."""
    answer = await call(sandbox, "GET", (await finished_task(sandbox, "#html-result")).result_url)
    assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, "text/html")


async def test_a_short_result_breaks_off(
    sandbox: Sandbox, finished_task: FinishedTask, session: aiohttp.ClientSession
) -> None:
    """Half of the promised bytes arrive, then the connection ends."""
    task = await finished_task(sandbox, "#short")
    async with session.get(task.result_url) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_short_result_can_be_resumed(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """A request for the rest is served in full, and HEAD tells the whole length."""
    task = await finished_task(sandbox, "#short")
    length = int((await call(sandbox, "HEAD", task.result_url)).headers["Content-Length"])
    rest = await call(sandbox, "GET", task.result_url, headers={"Range": "bytes=100-"})
    assert (rest.status, len(rest.content)) == (206, length - 100)


def test_slow_means_ten_times_the_duration() -> None:
    """The pace of a slow task is 10."""
    assert fate_of("slowly #slow").pace == 10


def test_the_first_tag_of_an_aspect_decides() -> None:
    """Contradicting tags do not fight; unknown ones and plain words say nothing."""
    assert fate_of("#nsfw #fail").failure == FATES["#nsfw"].failure
    assert fate_of("fail #failure #html") == Fate()


def test_the_page_lists_every_fate() -> None:
    """The table of docs/sandbox.md and the table of the code name the same tags."""
    page = Path(__file__).parents[3].joinpath("docs", "sandbox.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(#[a-z-]+)`", page, re.MULTILINE)) == set(FATES)
