"""Hooks: which events they get, in which context, and what their errors do. aiohttp's traces, and the User-Agent."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import logging
import platform
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import quick
from aiohttp import web
from aiohttp.test_utils import TestServer
from scripted_a2e import ScriptedReader

from a2e_async import A2EClient, A2EError, Config, ConfigurationError, NetworkError, PollPolicy, __version__, events
from a2e_async._observer import Observer
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter
from a2e_async.models import TaskRecord, TaskStatus
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from a2e_async.events import Event

SPAN = contextvars.ContextVar[str]("SPAN", default="")
SECRETS = ("a private prompt", "X-Signature", "sk_secret", "a_signature")
USER_AGENT = f"a2e-async/{__version__} Python/{platform.python_version()} aiohttp/{aiohttp.__version__}"


def make_client(sandbox: Sandbox, *hooks: Any, **options: Any) -> A2EClient:
    """Make a client of a sandbox that polls every 30 seconds."""
    config = Config(poll=PollPolicy(initial=5, steps=((0, 30),)), proxy="")
    return A2EClient(sandbox.token, base_url=sandbox.url, config=config, hooks=hooks, **options)


async def make_video(a2e: A2EClient, path: pathlib.Path, **options: Any) -> str:
    """Start a video from a local image, wait for it, download it, and return its id."""
    options = {"image": quick.PNG, "prompt": SECRETS[0], "negative_prompt": SECRETS[0]} | options
    task = await a2e.image_to_video.start(**options)
    await task.wait_until_done()
    await task.download(path)
    return task.id


@pytest.mark.virtual_time
async def test_a_hook_gets_each_event_in_the_context_of_its_caller(
    a2e_sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Start, wait and transfers have the caller's context; polls and the request of a start have an empty one."""
    seen: list[tuple[str, str]] = []
    async with make_client(a2e_sandbox, lambda event: seen.append((type(event).__name__, SPAN.get()))) as a2e:
        SPAN.set("visitor")
        await make_video(a2e, tmp_path / "ada.mp4")
    assert seen == [
        ("RequestSent", "visitor"),  # the links for the upload
        ("RequestAnswered", "visitor"),
        ("TransferBegan", "visitor"),
        ("TransferDone", "visitor"),
        ("StartBegan", "visitor"),
        ("RequestSent", ""),
        ("RequestAnswered", ""),
        ("TaskStarted", ""),
        ("CoinsSpent", ""),
        ("StartEnded", "visitor"),
        ("WaitBegan", "visitor"),
        *[(name, "") for name in ("TasksPolled", "RequestSent", "RequestAnswered", "TaskChanged")],
        *[(name, "") for name in ("TasksPolled", "RequestSent", "RequestAnswered", "TaskFinished")],
        ("WaitEnded", "visitor"),
        ("TransferBegan", "visitor"),
        ("TransferDone", "visitor"),
    ]


@pytest.mark.virtual_time
async def test_no_event_has_a_secret(
    a2e_sandbox: Sandbox, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No event, and no field of a log record, has a token, a signed link or a prompt, in flows with faults."""
    caplog.set_level(logging.DEBUG, "a2e_async")
    seen: list[Event] = []
    link = "https://example.com/ada.png?X-Signature=a_signature"
    quoted = f"No '{SECRETS[0]}' of {link} with sk_secret"
    faults = FaultPlan(
        script={
            "presign": [Fault("429")],
            "put": [Fault("status", status=503)],
            "start": [Fault("busy"), Fault("drop", after=True)],
            "cdn": [None, Fault("status", status=503), Fault("short")],
        }
    )
    async with make_client(a2e_sandbox, seen.append) as a2e:
        a2e_sandbox.faults = faults
        await make_video(a2e, tmp_path / "ada.mp4")
        rejection = web.json_response({"code": 400, "msg": quoted}, status=400)
        with a2e_sandbox.override("POST", quick.START_PATH, rejection), pytest.raises(A2EError):
            await make_video(a2e, tmp_path / "eve.mp4", image_url=link, image=None)
        with pytest.raises(A2EError):
            await make_video(a2e, tmp_path / "eve.mp4", image_url=link, image=None, prompt=f"{SECRETS[0]} #fail")
    observer = Observer.of([seen.append])
    record = TaskRecord(id="a", status=TaskStatus.FAILED, current_status=quoted, failed_code=quoted, name=SECRETS[0])
    await poll(observer, [attrs.evolve(record, extra={"prompt": SECRETS[0]})])
    text = "\n".join([*map(repr, seen), *(f"{record.getMessage()} {vars(record)}" for record in caplog.records)])
    assert {type(event).__name__ for event in seen} >= {"RequestRetried", "Throttled", "RequestFailed", "TransferDone"}
    assert [secret for secret in SECRETS if secret in text] == []


async def poll(observer: Observer, results: list[TaskRecord | A2EError]) -> None:
    """Wait for a task whose polls have these results, the last one being final."""

    async def get(_: str) -> TaskRecord:
        await asyncio.sleep(0)
        if isinstance(result := results.pop(0), A2EError):
            raise result
        return result

    waiter = Waiter()
    poller = Poller(PollPolicy(initial=1, steps=((0, 10),)), observer)
    unsubscribe = poller.subscribe("family", "a", functools.partial(ScriptedReader, get), waiter)
    await waiter.done
    unsubscribe()


@pytest.mark.virtual_time
async def test_an_outage_begins_and_ends_and_changes_are_told_once() -> None:
    """Failed polls are one outage, which ends with the next record; an equal record is no change."""
    seen: list[Event] = []
    running, done = TaskRecord(id="a", current_status="pending"), TaskRecord(id="a", status=TaskStatus.SUCCEEDED)
    down = [NetworkError("no"), NetworkError("no")]
    await poll(Observer.of([seen.append]), [running, running, *down, running, attrs.evolve(done, coins=30)])
    names = [type(event).__name__ for event in seen if not isinstance(event, events.TasksPolled)]
    assert names == ["WaitBegan", "TaskChanged", "OutageBegan", "OutageEnded", "TaskFinished", "WaitEnded"]
    ended = next(event for event in seen if isinstance(event, events.OutageEnded))
    assert ended.seconds == pytest.approx(20)


@pytest.mark.virtual_time
async def test_a_price_that_the_start_does_not_tell_is_spent_with_a_poll() -> None:
    """`CoinsSpent` comes once for a task of this client, with the first record that has the price."""
    seen: list[Event] = []
    observer = Observer.of([seen.append])
    observer.on_started("family", "7f3k2m9q4d", "a", {"_id": "a", "coins": "soon"})
    running, done = TaskRecord(id="a", coins=30, current_status="pending"), TaskStatus.SUCCEEDED
    await poll(observer, [running, attrs.evolve(running, status=done)])
    await poll(observer, [attrs.evolve(running, status=done)])
    assert [event.coins for event in seen if isinstance(event, events.CoinsSpent)] == [30]
    assert observer.stats().coins == 30


@pytest.mark.virtual_time
@pytest.mark.parametrize("error", [ValueError("secret"), asyncio.CancelledError()])
async def test_an_error_in_a_hook_is_logged_once_and_harmless(
    error: BaseException, a2e_sandbox: Sandbox, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that always fails is called for each event, delays nothing, and leaves one line; other hooks go on."""
    seen: list[Event] = []

    def broken(event: Event) -> None:
        seen.append(event)
        raise error

    others: list[Event] = []
    async with make_client(a2e_sandbox, broken, others.append) as a2e:
        await make_video(a2e, tmp_path / "ada.mp4")
    assert seen == others
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert f"broken raised {type(error).__name__}" in record.getMessage()


async def asynchronous(event: Event) -> None:
    """Take an event too late."""


class AsynchronousHook:
    """Object whose call is asynchronous."""

    async def __call__(self, event: Event) -> None:
        """Take an event too late."""


@pytest.mark.parametrize(
    ("hooks", "text"),
    [
        (print, "hooks must be a list of functions, not builtin_function_or_method"),
        ("print", "hooks must be a list of functions, not str"),
        ([1], "A hook must be a function that takes an event, not int"),
        ([asynchronous], "The hook asynchronous is asynchronous"),
        ([AsynchronousHook()], "The hook AsynchronousHook is asynchronous"),
    ],
)
def test_a_hook_must_be_a_plain_function(hooks: Any, text: str) -> None:
    """Anything else is an error when the client is made."""
    with pytest.raises(ConfigurationError, match=text):
        A2EClient("sk_any", hooks=hooks)


@pytest.fixture
def traced() -> tuple[list[str], aiohttp.TraceConfig]:
    """Return a trace, and the list of the requests that it has seen."""
    seen: list[str] = []

    async def on_request_start(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        await asyncio.sleep(0)
        seen.append(f"{params.method} {params.url.path.split('/')[1]}")

    config = aiohttp.TraceConfig()
    config.on_request_start.append(on_request_start)
    return seen, config


@pytest.mark.virtual_time
@pytest.mark.parametrize("owner", ["client", "user"])
async def test_traces_reach_the_api_and_the_files(
    owner: str, a2e_sandbox: Sandbox, tmp_path: pathlib.Path, traced: tuple[list[str], aiohttp.TraceConfig]
) -> None:
    """`trace_configs`, or those of the user's session, see API requests, paid ones, uploads and downloads alike."""
    seen, config = traced
    async with aiohttp.ClientSession(trace_configs=[config]) as session:
        options: dict[str, Any] = {"session": session} if owner == "user" else {"trace_configs": [config]}
        async with make_client(a2e_sandbox, **options) as a2e:
            await make_video(a2e, tmp_path / "ada.mp4")
    assert seen == ["POST api", "PUT storage", "HEAD cdn", "POST api", "GET api", "GET api", "GET cdn"]


async def test_traces_beside_a_session_are_rejected(traced: tuple[list[str], aiohttp.TraceConfig]) -> None:
    """They would have no effect there; a value that is no list of traces is rejected too."""
    async with aiohttp.ClientSession() as session:
        sessions: list[dict[str, Any]] = [{"session": session}, {"file_session": session}]
        for options in sessions:
            with pytest.raises(ConfigurationError, match="set trace_configs in the session"):
                A2EClient("sk_any", trace_configs=[traced[1]], **options)
    for value in (traced[1], [1]):
        with pytest.raises(ConfigurationError, match="trace_configs must be a list"):
            A2EClient("sk_any", trace_configs=value)  # type: ignore[arg-type]


@pytest.fixture
async def agents() -> AsyncIterator[tuple[str, list[str]]]:
    """Run a server that notes the User-Agent of each request; return its URL and the list."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("User-Agent", ""))
        if request.path.endswith(".mp4"):
            return web.Response(body=quick.MP4 + bytes(1000))
        return web.json_response({"code": 0, "data": {"coins": 1, "diamonds": 0}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/"), seen


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, [USER_AGENT, USER_AGENT]),
        ({}, [USER_AGENT, USER_AGENT]),
        ({"User-Agent": "shop/1.0"}, ["shop/1.0", USER_AGENT]),
    ],
    ids=["own session", "session of the user", "session of the user with a User-Agent"],
)
async def test_user_agent(headers: dict[str, str] | None, expected: list[str], agents: tuple[str, list[str]]) -> None:
    """Requests and downloads name the package, Python and aiohttp, unless the user's session has a name of its own."""
    url, seen = agents
    async with aiohttp.ClientSession(headers=headers) as session:
        options: dict[str, Any] = {} if headers is None else {"session": session}
        async with A2EClient("sk_any", base_url=url, config=Config(proxy=""), **options) as a2e:
            await a2e.account.balance()
            await a2e.download(f"{url}/ada.mp4", io.BytesIO())
    assert seen == expected
