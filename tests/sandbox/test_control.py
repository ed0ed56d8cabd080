"""The page of the sandbox and its control API: what they show, change and reject."""

from __future__ import annotations

import asyncio
import pkgutil
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from sandbox_requests import sandbox_with, statuses_and_faults, wait_for_end

from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox_requests import Call, FinishedTask, Start

COINS = "/api/v1/user/remainingCoins"
EVERY_PATH = ("/", "/_sandbox/page.js", "/_sandbox/page.css", "/_sandbox/icon.svg", "/_sandbox/state")


async def state_of(call: Call, sandbox: Sandbox, query: str = "") -> Any:
    """Return the state that the control API shows."""
    answer = await call(sandbox, "GET", f"/_sandbox/state{query}")
    assert answer.status == 200
    return answer.body


async def test_page_is_no_part_of_a2e(sandbox: Sandbox, call: Call) -> None:
    """The page needs no token, costs nothing and is not recorded; it may load and run nothing but its own files."""
    for path in EVERY_PATH:
        answer = await call(sandbox, "GET", path)
        assert answer.status == 200, path
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"http" not in (await call(sandbox, "GET", "/")).content  # nothing of another origin
    await call(sandbox, "GET", "/favicon.ico")
    assert (list(sandbox.requests), sandbox.coins) == ([], 10_000)


@pytest.mark.pure
def test_page_sets_text_as_text() -> None:
    """The script uses nothing that reads a text as HTML, or as a program."""
    script = (pkgutil.get_data("a2e_async.sandbox", "page/page.js") or b"").decode()
    assert "textContent" in script
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc", "javascript:"):
        assert name not in script


async def test_state_of_a_task(sandbox: Sandbox, call: Call, finished_task: FinishedTask) -> None:
    """The state has the task with its result, the ledger and the request, newest first."""
    task = await finished_task(sandbox, "<script>alert(1)</script>")
    failed = await finished_task(sandbox, "#nsfw")
    state = await state_of(call, sandbox)
    assert [one["id"] for one in state["tasks"]] == [failed.id, task.id]
    assert [one["phase"] for one in state["tasks"]] == ["failed", "succeeded"]
    assert (state["tasks"][0]["failed_code"], state["tasks"][1]["prompt"]) == ("nsfw", "<script>alert(1)</script>")
    [result] = state["tasks"][1]["results"]
    assert (result["url"], result["type"]) == (task.result_url, "video/mp4")
    assert (state["coins"], [entry["coins"] for entry in state["ledger"]]) == (9_940, [-30, -30])
    assert {one["path"] for one in state["requests"]} == {"/api/v1/userImage2Video/start"}
    assert state["counts"] == {"tasks": 2, "ledger": 2, "requests": 2, "webhooks": 0}
    assert len((await state_of(call, sandbox, "?limit=1"))["tasks"]) == 1
    await call(sandbox, "DELETE", f"/api/v1/userImage2Video/{task.id}")
    shown = await state_of(call, sandbox, "?phase=deleted")
    assert [one["id"] for one in shown["tasks"]] == [task.id]
    assert shown["phases"] == {"queued": 0, "working": 0, "succeeded": 0, "failed": 1, "deleted": 1}
    assert (await call(sandbox, "GET", "/_sandbox/state?phase=done")).status == 400
    assert (await call(sandbox, "GET", "/_sandbox/state?limit=-1")).status == 400


async def test_unchanged_state_is_not_sent_again(sandbox: Sandbox, call: Call) -> None:
    """The ETag of the state is that of its content."""
    etag = (await call(sandbox, "GET", "/_sandbox/state")).headers["ETag"]
    again = await call(sandbox, "GET", "/_sandbox/state", headers={"If-None-Match": etag})
    assert (again.status, again.content) == (304, b"")
    sandbox.coins = 5
    assert (await call(sandbox, "GET", "/_sandbox/state", headers={"If-None-Match": etag})).status == 200


async def test_switches(call: Call, start: Start) -> None:
    """Each switch does what the attribute or method of the sandbox does."""
    async with sandbox_with(None) as sandbox:

        async def switch(path: str, **body: object) -> None:
            answer = await call(sandbox, "POST", f"/_sandbox/{path}", body)
            assert (answer.status, answer.content) == (204, b"")

        ids = [(await start(sandbox)).data["_id"] for _ in range(2)]
        await switch(f"tasks/{ids[0]}/finish")
        await switch(f"tasks/{ids[1]}/fail", code="nsfw", message="no")
        assert (await wait_for_end(sandbox.tasks[ids[0]])).succeeded
        assert (sandbox.tasks[ids[1]].failed_code, sandbox.tasks[ids[1]].failed_message) == ("nsfw", "no")
        await switch("coins", coins=1)
        assert sandbox.coins == 1
        await switch("speed", speed=50)
        assert sandbox.speed == 50
        await switch("hold", hold=True)
        assert (await state_of(call, sandbox))["hold"]
        await switch("hold", hold=False)
        await switch("hold", hold=False)
        assert not (await state_of(call, sandbox))["hold"]
        await switch("failures/next", count=2)
        await switch("faults/next", operation="start", fault={"type": "drop", "after": True})
        await switch("faults/next", fault="429")
        waiting = (await state_of(call, sandbox))["next_faults"]
        assert waiting[0] == {"operation": "start", "fault": {"type": "drop", "after": True, "seconds": 0.0}}
        assert (await call(sandbox, "GET", COINS)).status == 429
        await switch("faults", faults={"random": 7, "rate": 0.1})
        assert sandbox.faults == FaultPlan.random(7, 0.1)
        assert (await state_of(call, sandbox))["faults"]["seed"] == 7
        await switch("faults", faults=None)
        assert sandbox.faults is None


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("coins", {"coins": -1}, 400, "coins must be 0 or more"),
        ("coins", {}, 400, "coins is required"),
        ("coins", [], 400, "the body is not an object"),
        ("speed", {"speed": 0}, 400, "speed"),
        ("speed", {"speed": "fast"}, 400, "speed must be a number"),
        ("hold", {"hold": "yes"}, 400, "hold must be a boolean"),
        ("faults", {"faults": {"sript": {}}}, 400, "'sript'"),
        ("faults/next", {"fault": "rain"}, 400, "there is no fault 'rain'"),
        ("faults/next", {"fault": {"type": "busy"}, "operation": "cdn"}, 400, "not of storage"),
        ("faults/next", {"fault": "drop", "operation": "stat"}, 400, "there is no operation 'stat'"),
        ("failures/next", {"count": 0}, 400, "count must be from 1"),
        ("tasks/64a0000000000000000000a1/finish", {}, 409, "has no task"),
        ("tasks/64a0000000000000000000a1/fail", {"code": 1}, 400, "code must be a string"),
    ],
)
async def test_invalid_changes(
    sandbox: Sandbox, call: Call, *, path: str, body: object, status: int, message: str
) -> None:
    """An invalid change gets a message that names the field, and changes nothing."""
    answer = await call(sandbox, "POST", f"/_sandbox/{path}", body)
    assert (answer.status, message in answer.body["error"]) == (status, True), answer.body
    assert (sandbox.coins, sandbox.speed, sandbox.faults) == (10_000, 400, None)


async def test_a_body_that_is_nested_too_deeply(sandbox: Sandbox) -> None:
    """Python's recursion limit is no fault of the sandbox: the body is a bad request, for A2E's operations as well."""
    headers = {"Authorization": f"Bearer {sandbox.token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(sandbox.url, headers=headers) as session:
        for path in ("/_sandbox/coins", "/api/v1/userImage2Video/start"):
            async with session.post(path, data=b"[" * 100_000) as response:
                assert response.status == 400
                assert "not JSON" in await response.text()


@pytest.mark.parametrize(
    ("headers", "of_page", "of_state", "of_change"),
    [
        ({}, 200, 200, 204),
        ({"Origin": "{url}"}, 200, 200, 204),
        ({"Sec-Fetch-Site": "same-origin"}, 200, 200, 204),
        ({"Sec-Fetch-Site": "cross-site"}, 200, 403, 403),  # a link on another page
        ({"Sec-Fetch-Site": "same-site"}, 200, 403, 403),  # another program at localhost
        ({"Origin": "https://evil.example"}, 403, 403, 403),
        ({"Origin": "null"}, 403, 403, 403),  # a sandboxed frame, or a file
        ({"Origin": "http://127.0.0.1:1"}, 403, 403, 403),
        ({"Host": "evil.example"}, 421, 421, 421),  # a name that leads to 127.0.0.1
    ],
)
async def test_strangers(
    sandbox: Sandbox, call: Call, *, headers: Mapping[str, str], of_page: int, of_state: int, of_change: int
) -> None:
    """A web page of another origin can neither read the state nor change it."""
    headers = {name: value.format(url=sandbox.url) for name, value in headers.items()}
    assert (await call(sandbox, "GET", "/", headers=headers)).status == of_page
    assert (await call(sandbox, "GET", "/_sandbox/state", headers=headers)).status == of_state
    changed = await call(sandbox, "POST", "/_sandbox/coins", {"coins": 1}, headers=headers)
    assert (changed.status, sandbox.coins) == (of_change, 1 if of_change == 204 else 10_000)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_forms_change_nothing(sandbox: Sandbox, call: Call, content_type: str) -> None:
    """A change must be JSON, which no form of another page can send."""
    answer = await call(
        sandbox, "POST", "/_sandbox/coins", data=b'{"coins": 1}', headers={"Content-Type": content_type}
    )
    assert (answer.status, sandbox.coins) == (415, 10_000)
    assert (await call(sandbox, "GET", "/_sandbox/coins")).status == 404


async def test_open_sandbox_asks_for_its_token(call: Call) -> None:
    """If others can reach the sandbox, its page needs the token: as a bearer token, or as a password in the browser."""
    async with Sandbox(host="0.0.0.0", render="tiny", token="sk_über") as sandbox:
        answers = {}
        for name, value in {
            "nothing": "",
            "wrong": "Bearer sk_wrong",
            "malformed": "Basic ???",
            "bearer": f"Bearer {sandbox.token}",
            "password": f"Basic {b64encode(f'user:{sandbox.token}'.encode()).decode()}",
        }.items():
            answer = await call(sandbox, "GET", "/_sandbox/state", headers={"Authorization": value} if value else {})
            answers[name] = answer.status
            assert ("WWW-Authenticate" in answer.headers) == (answer.status == 401)
        assert answers == {"nothing": 401, "wrong": 401, "malformed": 401, "bearer": 200, "password": 200}
        assert (await call(sandbox, "GET", "/")).status == 401


async def test_no_fault_and_no_override_meets_the_page(call: Call) -> None:
    """The switches work while everything of A2E fails."""
    plan = FaultPlan(chances={"*": {Fault("drop"): 1.0}}, per_second=1)
    async with sandbox_with(plan) as sandbox:
        with sandbox.override("*", "/", web.Response(status=500)):
            for path in EVERY_PATH:
                assert (await call(sandbox, "GET", path)).status == 200


async def test_images_and_results_are_shown(
    call: Call, start: Start, image: bytes, few_frames: None, finished_task: FinishedTask
) -> None:
    """The page gets images and results from itself: no request for the CDN is recorded, no fault damages them."""
    async with Sandbox(speed=1000, faults=FaultPlan(chances={"cdn": {Fault("status"): 1.0}})) as sandbox:
        links = (await call(sandbox, "POST", "/api/v1/r2/upload-presigned-url", {"key": "a.png"})).data
        await call(sandbox, "PUT", links["uploadUrl"], data=image, headers={"Content-Type": "image/png"})
        await finished_task(sandbox, "#expired", image_url=links["cdnUrl"])
        before = len(sandbox.requests)
        [task] = (await state_of(call, sandbox))["tasks"]
        assert (await call(sandbox, "GET", task["image"])).content == image
        part = await call(sandbox, "GET", task["results"][0]["path"], headers={"Range": "bytes=4-7"})
        assert (part.status, part.content, part.headers["Content-Type"]) == (206, b"ftyp", "video/mp4")
        assert (await call(sandbox, "GET", task["results"][0]["path"][:-1] + "7")).status == 404
        assert len(sandbox.requests) == before


@pytest.mark.parametrize("content_type", ["text/html", "Image/SVG+xml", "application/xhtml+xml"])
async def test_uploaded_pages_have_no_rights(sandbox: Sandbox, call: Call, start: Start, content_type: str) -> None:
    """A page that was uploaded is not shown, and its scripts do not run when it is opened at the CDN."""
    links = (await call(sandbox, "POST", "/api/v1/r2/upload-presigned-url", {"key": "a"})).data
    await call(sandbox, "PUT", links["uploadUrl"], data=b"<script>1</script>", headers={"Content-Type": content_type})
    task_id = (await start(sandbox, image_url=links["cdnUrl"])).data["_id"]
    assert (await call(sandbox, "GET", f"/_sandbox/tasks/{task_id}/image")).status == 404
    assert (await state_of(call, sandbox))["tasks"][0]["image"] is None
    assert (await call(sandbox, "GET", links["cdnUrl"])).headers["Content-Security-Policy"] == "sandbox"


async def test_results_can_be_opened(sandbox: Sandbox, call: Call, finished_task: FinishedTask) -> None:
    """The link of a video has no such policy: a browser that opens it would not play it."""
    task = await finished_task(sandbox)
    assert "Content-Security-Policy" not in (await call(sandbox, "GET", task.result_url)).headers


async def test_sample_image_can_be_used(call: Call, few_frames: None, finished_task: FinishedTask) -> None:
    """The image of the snippets is an input that needs no internet, also in a sandbox that others can reach."""
    async with Sandbox(host="0.0.0.0", speed=1000) as sandbox:
        answer = await call(sandbox, "GET", "/_sandbox/state", headers={"Authorization": f"Bearer {sandbox.token}"})
        assert answer.body["sample_image"] == sandbox.sample_image
        assert (await finished_task(sandbox, image_url=sandbox.sample_image)).succeeded


async def test_single_faults(call: Call, start: Start) -> None:
    """Single faults come before those of the plan, in their order, and use no line of its script."""
    async with sandbox_with(FaultPlan(script={"start": [Fault("html")]})) as sandbox:
        sandbox.inject(Fault("status", after=True), "start")
        sandbox.inject(Fault("429"))  # any request
        assert [(await start(sandbox)).status for _ in range(4)] == [502, 429, 200, 200]
        assert statuses_and_faults(sandbox) == [(502, "status"), (429, "429"), (200, "html"), (200, "")]
        assert len(sandbox.tasks) == 2
        with pytest.raises(ValueError, match="there is no operation"):
            sandbox.inject(Fault("429"), "begin")


async def test_next_tasks_fail(sandbox: Sandbox, start: Start, finished_task: FinishedTask) -> None:
    """The next tasks fail, with any prompt; rejected starts do not count."""
    sandbox.fail_next(2, code="nsfw", message="not this one")
    assert (await start(sandbox, "#refuse")).status == 403
    tasks = [await finished_task(sandbox, prompt) for prompt in ("#fast", "she smiles", "she smiles")]
    assert [task.failed_code for task in tasks] == ["nsfw", "nsfw", ""]
    assert tasks[0].failed_message == "not this one"


async def test_speed_of_running_tasks(start: Start) -> None:
    """A new speed counts for the rest of the time of running tasks."""
    async with Sandbox(speed=0.001, render="tiny") as sandbox:
        task = sandbox.tasks[(await start(sandbox)).data["_id"]]
        clock = asyncio.get_running_loop()
        await asyncio.sleep(300)  # 0.3 seconds of A2E's
        assert task.status == "initialized"
        sandbox.speed, began = 1.0, clock.time()
        await wait_for_end(task)
        assert 21.5 < clock.time() - began < 42.5
        with pytest.raises(ValueError, match="speed"):
            sandbox.speed = 0


async def test_every_request_is_told(call: Call) -> None:
    """A program can follow the requests as they are answered."""
    told: list[Any] = []
    async with Sandbox(render="tiny", on_request=told.append) as sandbox:
        await call(sandbox, "GET", COINS)
        await call(sandbox, "GET", "/_sandbox/state")
        assert told == list(sandbox.requests)
        assert (told[0].path, told[0].status) == (COINS, 200)
