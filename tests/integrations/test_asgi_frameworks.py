"""The same application in each ASGI framework: life, errors, live status, websockets, webhooks."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import quick
import web_apps
from asgi_server import exchange, lifespan, open_websocket
from conditions import wait_until
from paid_starts import make_client, start_video

from a2e_async import A2EClient, WebhookReceiver
from a2e_async.integrations import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async.sandbox import Sandbox

UNKNOWN = "6927f1e7a1c5e4e0b5f0a3d2"


@pytest.fixture
def client(sandbox: Sandbox) -> A2EClient:
    """Make the client of the application, which is not open yet."""
    return make_client(sandbox)


@pytest.fixture(params=web_apps.APPS)
async def app(request: pytest.FixtureRequest, client: A2EClient) -> AsyncIterator[Any]:
    """Run the application of each framework."""
    pytest.importorskip(request.param)
    receiver = WebhookReceiver(client, url="https://app.example/hooks/a2e", token="any-long-secret")
    app = web_apps.APPS[request.param](client, receiver)
    async with lifespan(app):
        yield app


async def test_start_and_status(app: Any, client: A2EClient, sandbox: Sandbox) -> None:
    """A start answers 202 with the id, and the record of the task is JSON without links."""
    async with exchange(app, "POST", "/videos", quick.PNG) as started:
        await wait_until(started.serving.done)
    assert started.status == 202
    task_id = json.loads(started.body)["id"]
    assert task_id in sandbox.tasks
    await client.image_to_video.task(task_id).wait_until_done()
    async with exchange(app, "GET", f"/videos/{task_id}") as shown:
        await wait_until(shown.serving.done)
    assert shown.status == 200
    assert json.loads(shown.body)["status"] == "succeeded"
    assert b"http" not in shown.body


@pytest.mark.parametrize("app", ["litestar"], indirect=True)
async def test_litestar_writes_no_links(app: Any, client: A2EClient, sandbox: Sandbox) -> None:
    """Litestar writes a list of records without links, and can describe them."""
    task = await start_video(client)
    await task.wait_until_done()
    async with exchange(app, "GET", "/videos") as listed:
        await wait_until(listed.serving.done)
    assert [record["id"] for record in json.loads(listed.body)] == [*sandbox.tasks]
    assert b"http" not in listed.body
    assert app.openapi_schema.to_schema()["paths"]["/videos"]


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", f"/videos/{UNKNOWN}", 404, "NotFoundError"),
        ("GET", "/videos/..%2e", 422, "InvalidRequestError"),
        ("POST", "/videos", 422, "InvalidRequestError"),
    ],
)
async def test_errors_are_responses(app: Any, method: str, path: str, status: int, error: str) -> None:
    """An error becomes a response with its status and a JSON body."""
    async with exchange(app, method, path.replace("%2e", "."), b"no image") as answered:
        await wait_until(answered.serving.done)
    assert (answered.status, json.loads(answered.body)["error"]) == (status, error)


async def test_busy_a2e_is_503_with_retry_after(app: Any, sandbox: Sandbox) -> None:
    """A pause that A2E asks for reaches the visitor as ``Retry-After``; texts about the account do not."""
    from aiohttp import web

    busy = {"code": 429, "msg": "secret plan: too many requests"}
    with sandbox.override(
        "GET", quick.FAMILY_PATH, lambda _: web.json_response(busy, status=429, headers={"Retry-After": "7"})
    ):
        async with exchange(app, "GET", f"/videos/{UNKNOWN}") as answered:
            await wait_until(answered.serving.done, seconds=60)
    assert (answered.status, answered.headers["retry-after"]) == (503, "7")
    assert b"secret" not in answered.body


async def test_events_end_with_the_task(app: Any, client: A2EClient, sandbox: Sandbox) -> None:
    """A page gets the present state and each change; the response ends after the final event, and is not repeated."""
    task = await start_video(client, prompt="#stuck")
    async with exchange(app, "GET", f"/videos/{task.id}/events") as stream:
        await wait_until(lambda: stream.events)
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert stream.headers["cache-control"] == "no-store"
        sandbox.finish(task.id)
        await wait_until(stream.serving.done)
    assert [stream.events[0]["final"], stream.events[-1]["final"]] == [False, True]
    last_id = next(line[4:] for line in stream.body.decode().splitlines() if line.startswith("id: "))
    async with exchange(app, "GET", f"/videos/{task.id}/events", headers={"Last-Event-ID": last_id}) as again:
        await wait_until(again.serving.done)
    assert (again.status, again.body) == (204, b"")


async def test_events_end_when_the_browser_leaves(app: Any, client: A2EClient) -> None:
    """The stream of a browser that leaves ends at once, and with it the polls."""
    task = await start_video(client, prompt="#stuck")
    async with exchange(app, "GET", f"/videos/{task.id}/events") as stream:
        await wait_until(lambda: stream.events)
        assert client.poll_now(task.id)
        await stream.disconnect()
        with contextlib.suppress(Exception):
            await wait_until(stream.serving.done)
        await wait_until(lambda: not client.poll_now(task.id))


async def test_events_end_when_the_waits_end(app: Any, client: A2EClient) -> None:
    """When the server begins to stop, open streams end as complete responses."""
    task = await start_video(client, prompt="#stuck")
    async with exchange(app, "GET", f"/videos/{task.id}/events") as stream:
        await wait_until(lambda: stream.events)
        await client.end_waits()
        await wait_until(stream.serving.done)
    assert not stream.events[-1]["final"]
    assert stream.sent[-1].get("more_body", False) is False


@pytest.mark.parametrize("app", web_apps.WITH_WEBSOCKETS, indirect=True)
@pytest.mark.parametrize(("end", "code"), [("finish", 1000), ("stop", 1012), ("leave", None)])
async def test_websocket(app: Any, client: A2EClient, sandbox: Sandbox, end: str, code: int | None) -> None:
    """A websocket gets the state and each change. It ends with the task, with the server, and when the browser leaves."""
    task = await start_video(client, prompt="#stuck")
    async with open_websocket(app, f"/videos/{task.id}/live") as socket:
        await wait_until(lambda: socket.messages)
        if end == "finish":
            sandbox.finish(task.id)
        elif end == "stop":
            await client.end_waits()
        else:
            await socket.disconnect()
        await wait_until(socket.serving.done)
    assert socket.close_code == code or end == "leave"
    assert socket.messages[-1]["final"] is (end == "finish")
    assert not client.poll_now(task.id)


@pytest.mark.parametrize("root_path", ["", "/behind/proxy"])
async def test_webhook_ends_a_wait(app: Any, client: A2EClient, root_path: str) -> None:
    """A webhook with the token is 204, and 401 without it, also behind a proxy with a path of its own."""
    task = await start_video(client, prompt="#stuck")
    body = json.dumps({"_id": task.id}).encode()
    for token, status in (("any-long-secret", 204), ("another", 401)):
        headers = {"X-A2e-Webhook-Token": token}
        async with exchange(app, "POST", "/hooks/a2e", body, headers=headers, root_path=root_path) as answered:
            await wait_until(answered.serving.done)
        assert (answered.status, answered.body) == (status, b"")


@pytest.mark.parametrize("framework", web_apps.APPS)
async def test_client_and_supervisor_live_with_the_application(
    framework: str, client: A2EClient, sandbox: Sandbox
) -> None:
    """The client is open and the supervisor watches while the application runs; both are closed after it."""
    pytest.importorskip(framework)
    saved: list[str] = []

    async def save(task: Any) -> None:
        saved.append(task.id)

    async def other(task: Any, error: Exception) -> None:
        raise AssertionError

    async def open_ids() -> list[str]:
        return [task_id] if not saved else []

    task_id = (await start_video(client)).id
    supervisor = Supervisor(client.image_to_video, on_success=save, on_failure=other, on_gone=other, open_ids=open_ids)
    app = web_apps.APPS[framework](client, WebhookReceiver(client), supervisor)
    async with lifespan(app):
        await wait_until(lambda: saved)
        assert "closed" not in repr(client)
    assert "closed" in repr(client)
    assert saved == [task_id]
