"""Status requests, deletion, and the lifecycle of tasks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from a2e_async.sandbox.lifecycle import Lifecycle
from a2e_async.sandbox.state import Options, State

if TYPE_CHECKING:
    from sandbox_requests import Call, FinishedTask, Start

    from a2e_async.sandbox import Sandbox

PREFIX = "/api/v1/userImage2Video"
MISSING = "0" * 24


async def test_statuses_in_order(sandbox: Sandbox, start: Start) -> None:
    """A task is initialized, sent and pending for a second each before the work; the result comes with completed."""
    task = sandbox.tasks[(await start(sandbox)).data["_id"]]
    began, seen = asyncio.get_running_loop().time(), {task.status: 0.0}
    while not task.done:
        assert task.result_url == ""
        await asyncio.sleep(0.0005)
        seen.setdefault(task.status, (asyncio.get_running_loop().time() - began) * 400)
    assert list(seen) == ["initialized", "sent", "pending", "completed"]
    assert [seen["sent"], seen["pending"]] == pytest.approx([1, 2], abs=0.21)
    assert 22 <= seen["completed"] <= 42.2


async def test_a_completed_record_has_its_result(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """The detail of a completed task has the URL of a real MP4, which needs no token."""
    task = await finished_task(sandbox)
    record = (await call(sandbox, "GET", f"{PREFIX}/{task.id}")).data
    assert (record["current_status"], record["failed_code"]) == ("completed", "")
    video = await call(sandbox, "GET", record["result_url"])
    assert (video.status, video.headers["Content-Type"]) == (200, "video/mp4")
    assert video.content[4:8] == b"ftyp"
    assert not sandbox.requests[-1].had_authorization


async def test_the_same_seed_gives_the_same_durations() -> None:
    """Two sandboxes with one seed draw the same durations; another seed draws others."""
    unused: Any = None

    def draws(seed: int) -> list[float]:
        lifecycle = Lifecycle(
            options=Options(seed=seed), state=State(coins=0), storage=unused, renderer=unused, webhook_sender=unused
        )
        return [lifecycle.draw_working_time() for _ in range(3)]

    assert draws(1) == draws(1) != draws(2)
    assert all(20 <= seconds <= 40 for seconds in draws(1))


async def test_unknown_id(sandbox: Sandbox, call: Call) -> None:
    """It is a 404 with an error body, not an HTML page."""
    answer = await call(sandbox, "GET", f"{PREFIX}/{MISSING}")
    assert (answer.status, answer.body["code"]) == (404, 404)


async def test_malformed_id(sandbox: Sandbox, call: Call) -> None:
    """It is a 400."""
    assert (await call(sandbox, "GET", f"{PREFIX}/status")).status == 400


async def test_list(sandbox: Sandbox, start: Start, call: Call) -> None:
    """The list has rows and count; the default page has 10 records, newest first."""
    ids = [(await start(sandbox)).data["_id"] for _ in range(12)]
    first = (await call(sandbox, "GET", f"{PREFIX}/allRecords")).data
    second = (await call(sandbox, "GET", f"{PREFIX}/allRecords?pageNum=2")).data
    assert [row["_id"] for row in first["rows"] + second["rows"]] == ids[::-1]
    assert (len(first["rows"]), first["count"]) == (10, 12)
    assert "result_url" in first["rows"][0]


@pytest.mark.parametrize("query", ["pageNum=0", "pageNum=x", "pageSize=0", "pageSize=101", "pageSize=-1", "pageSize=²"])
async def test_invalid_paging(sandbox: Sandbox, call: Call, query: str) -> None:
    """Page numbers begin at 1, and a page has 1 to 100 records."""
    assert (await call(sandbox, "GET", f"{PREFIX}/allRecords?{query}")).status == 400


async def test_batch_detail(sandbox: Sandbox, start: Start, call: Call) -> None:
    """Known ids come back once each, in any order; unknown and malformed ones are missing."""
    ids = [(await start(sandbox)).data["_id"] for _ in range(3)]
    answer = await call(sandbox, "POST", f"{PREFIX}/batchDetail", {"ids": [*ids, ids[0], MISSING, "x"]})
    assert sorted(record["_id"] for record in answer.data) == sorted(ids)


@pytest.mark.parametrize("body", [{}, {"ids": "x"}, {"ids": [1]}])
async def test_batch_detail_needs_ids(sandbox: Sandbox, call: Call, body: dict[str, object]) -> None:
    """All values except an array of strings are rejected."""
    answer = await call(sandbox, "POST", f"{PREFIX}/batchDetail", body)
    assert (answer.status, answer.invalid_fields) == (400, ["ids"])


async def test_deleting_an_initialized_task_refunds_it(frozen_sandbox: Sandbox, start: Start, call: Call) -> None:
    """The coins are refunded once, the ledger has both entries, and the record is gone for the API."""
    task_id = (await start(frozen_sandbox)).data["_id"]
    assert (await call(frozen_sandbox, "DELETE", f"{PREFIX}/{task_id}")).body["code"] == 0
    task = frozen_sandbox.tasks[task_id]
    assert (frozen_sandbox.coins, task.refunded, task.deleted, task.charged) == (100, True, True, 0)
    assert [(entry.reason, entry.coins) for entry in frozen_sandbox.ledger] == [("image-to-video", -30), ("refund", 30)]
    assert (await call(frozen_sandbox, "GET", f"{PREFIX}/{task_id}")).status == 404
    assert (await call(frozen_sandbox, "DELETE", f"{PREFIX}/{task_id}")).status == 404
    assert (await call(frozen_sandbox, "GET", f"{PREFIX}/allRecords")).data == {"rows": [], "count": 0}


@pytest.mark.parametrize("status", ["sent", "pending"])
async def test_a_running_task_cannot_be_deleted(frozen_sandbox: Sandbox, start: Start, call: Call, status: str) -> None:
    """Between initialized and its end a task stays, and is not refunded."""
    task_id = (await start(frozen_sandbox)).data["_id"]
    frozen_sandbox.tasks[task_id].set_status(status)
    assert (await call(frozen_sandbox, "DELETE", f"{PREFIX}/{task_id}")).status == 400
    assert frozen_sandbox.coins == 70


@pytest.mark.parametrize("prompt", ["", "#fail"])
async def test_deleting_a_finished_task_refunds_nothing(
    sandbox: Sandbox, finished_task: FinishedTask, call: Call, prompt: str
) -> None:
    """Completed and failed records can be deleted, and are not refunded."""
    task = await finished_task(sandbox, f"she smiles {prompt}")
    assert (await call(sandbox, "DELETE", f"{PREFIX}/{task.id}")).status == 200
    assert (sandbox.coins, task.refunded, task.deleted) == (9_970, False, True)


async def test_average_time(sandbox: Sandbox, finished_task: FinishedTask, call: Call) -> None:
    """The envelope is S2; the average is 0 before and positive after the first finished task."""
    before = (await call(sandbox, "GET", f"{PREFIX}/avgProcessingTime")).body
    await finished_task(sandbox)
    after = (await call(sandbox, "GET", f"{PREFIX}/avgProcessingTime")).body
    assert before.keys() == {"success", "data", "timestamp"}
    assert before["data"]["avgProcessingTime"] == 0 < after["data"]["avgProcessingTime"]


async def test_queue_level(frozen_sandbox: Sandbox, start: Start, call: Call) -> None:
    """The envelope is S2, and the level is the number of tasks that have not ended."""
    await start(frozen_sandbox, number_of_images=2)
    body = (await call(frozen_sandbox, "GET", f"{PREFIX}/unlimitedQueueLevel")).body
    assert (body["success"], body["data"]) == (True, {"level": 2})


@pytest.mark.parametrize("mark", ["markShared", "markDownloaded", "markCopied"])
async def test_marks(sandbox: Sandbox, start: Start, call: Call, mark: str) -> None:
    """Each mark answers S2 and is stored; an unknown task is a 404."""
    task_id = (await start(sandbox)).data["_id"]
    assert (await call(sandbox, "POST", f"{PREFIX}/{task_id}/{mark}")).body["success"] is True
    assert sandbox.tasks[task_id].marks == {mark}
    assert (await call(sandbox, "POST", f"{PREFIX}/{MISSING}/{mark}")).status == 404


async def test_attributes_of_a_task(frozen_sandbox: Sandbox, start: Start) -> None:
    """The task has the fields of the start as attributes."""
    task = frozen_sandbox.tasks[(await start(frozen_sandbox)).data["_id"]]
    assert (task.name, task.prompt, task.negative_prompt) == ("Ada", "she smiles", "blurry")
    assert (task.image_url, task.coins, task.created <= task.updated) == ("https://example.com/a.png", 30, True)
