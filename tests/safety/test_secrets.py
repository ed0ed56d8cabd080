"""The token is sent to A2E only; signed links and prompts stay out of the logs."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import pickle
import ssl
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import quick
import trustme
from aiohttp import web
from shared_loop import sandbox_in_shared_loop

import a2e_async
from a2e_async import A2EClient, A2EError, Config, ConfigurationError, NetworkError
from a2e_async.cli import main
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

TOKEN = "sk_a_very_secret_token_0123456789"
PROMPT = "a prompt that must stay private"
LINK = "https://example.com/ada.png?X-Signature=a_signature_that_must_stay_private"
SECRETS = (TOKEN, PROMPT, "X-Signature", "X-Amz-Signature", "a_signature_that_must_stay_private")
OURS = str(Path(a2e_async.__file__).parent)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Collect all log messages, from DEBUG on."""
    buffer = io.StringIO()
    handler = logging.StreamHandler(buffer)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield buffer
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox that accepts the token."""
    async with Sandbox(token=TOKEN, speed=200, render="tiny") as sandbox:
        yield sandbox


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client of the sandbox."""
    asyncio.get_running_loop().set_debug(True)  # asyncio logs more then
    async with A2EClient(TOKEN, base_url=sandbox.url, config=quick.CONFIG) as client:
        yield client


async def start(a2e: A2EClient, **options: Any) -> Any:
    """Start a video with a secret link and a secret prompt."""
    return await a2e.image_to_video.start(**{"image_url": LINK, "prompt": PROMPT, "negative_prompt": PROMPT, **options})


def error_text(error: BaseException) -> str:
    """Return all that a careless program prints of an error, with the local variables of our frames."""
    lines = [str(error), repr(error), repr(error.__dict__ if not isinstance(error, A2EError) else error.args)]
    chain: BaseException | None = error
    while chain is not None:
        lines += [str(chain), repr(chain)]
        for frame, _ in traceback.walk_tb(chain.__traceback__):
            if frame.f_code.co_filename.startswith(OURS) and f"{OURS}/sandbox" not in frame.f_code.co_filename:
                lines += [f"{frame.f_code.co_name}.{name} = {value!r}" for name, value in frame.f_locals.items()]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(lines)


async def test_no_secret_is_logged(a2e: A2EClient, sandbox: Sandbox, log: io.StringIO, tmp_path: Path) -> None:
    """Tasks with all kinds of faults leave no token, signed link or prompt in any log at DEBUG."""
    sandbox.faults = FaultPlan(
        script={
            "start": [
                None,
                Fault("drop", after=True),
                Fault("status", status=500, after=True),
                Fault("html"),
                Fault("429"),
            ],
            "detail": [Fault("drop"), Fault("drop"), Fault("cut"), Fault("status")],
        }
    )
    for options in ({"image_url": None, "image": quick.PNG}, {}, {}, {}, {}, {"prompt": f"{PROMPT} #fail"}):
        with contextlib.suppress(A2EError):
            task = await start(a2e, **options)
            await task.wait_until_done(30)
            await task.download(tmp_path / task.id)
    cancelled = asyncio.create_task(start(a2e))
    sandbox.faults = FaultPlan(script={"start": [Fault("delay", after=True, seconds=0.2)]})
    await asyncio.sleep(0.1)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    written = log.getvalue()
    assert "marker" in written  # it did log
    assert [secret for secret in SECRETS if secret in written] == []


async def test_no_secret_of_a_batch_is_logged(
    a2e: A2EClient, sandbox: Sandbox, log: io.StringIO, tmp_path: Path
) -> None:
    """A batch with a journal leaves no secret in any log at DEBUG, also if A2E quotes the request in its errors."""
    jobs = [{"key": f"{number}", "image_url": LINK, "prompt": PROMPT, "negative_prompt": PROMPT} for number in range(3)]
    options: dict[str, Any] = {"journal": tmp_path / "jobs.sqlite", "out": tmp_path / "out"}
    quoted = f"You are not allowed to make '{PROMPT}' of {LINK} with {TOKEN}"
    answers = [
        web.json_response({"code": 403, "msg": quoted}, status=403),
        web.json_response({"code": 1001, "msg": f"All hosts are occupied: {quoted}"}),
        web.json_response({"code": 500, "msg": quoted}, status=500),
        web.Response(text=f"<html>{quoted}</html>", content_type="text/html"),
    ]
    for answer in answers:
        with sandbox.override("POST", quick.START_PATH, answer):
            task = asyncio.create_task(_run_batch(a2e, jobs, options))
            await asyncio.sleep(60)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    await _run_batch(a2e, jobs, options)
    written = log.getvalue()
    assert "paused" in written  # it did log
    assert [secret for secret in SECRETS if secret in written] == []


async def _run_batch(a2e: A2EClient, jobs: list[dict[str, str]], options: dict[str, Any]) -> None:
    async for _ in a2e.image_to_video.batch(jobs, **options):
        pass


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop"),
        Fault("status", status=500),
        Fault("status", status=400),
        Fault("status", status=401),
        Fault("html"),
        Fault("redirect"),
        Fault("429", retry_after=1000),
        Fault("refuse", seconds=1.0),
        Fault("delay", seconds=3.0),
    ],
    ids=lambda fault: f"{fault.type} {fault.status or ''}",
)
@pytest.mark.parametrize("operation", ["start", "detail", "presign"])
async def test_no_error_shows_the_token(sandbox: Sandbox, fault: Fault, operation: str) -> None:
    """An error, its causes and the local variables in its traceback do not show the token."""
    config = Config(
        request_timeout=0.5,
        retry=a2e_async.RetryPolicy(max_attempts=1),
        start=a2e_async.StartPolicy(scan_delays=(0.0,)),
    )
    calls: dict[str, Callable[[A2EClient], Awaitable[object]]] = {
        "start": start,
        "detail": lambda a2e: a2e.image_to_video.get("67d29023dd27a536fdf6e809"),
        "presign": lambda a2e: a2e.upload(quick.PNG),
    }
    sandbox.faults = FaultPlan(script={operation: [fault] * 4})
    async with A2EClient(TOKEN, base_url=sandbox.url, config=config) as a2e:
        with pytest.raises(A2EError) as caught:
            await calls[operation](a2e)
    assert TOKEN not in error_text(caught.value)
    assert TOKEN.encode() not in pickle.dumps(caught.value)


@pytest.mark.parametrize("token", [f"{TOKEN} and more", f"{TOKEN}\n2", f"{TOKEN}é"])
@pytest.mark.parametrize("where", ["argument", "config", "environment"])
def test_error_of_an_invalid_token_does_not_show_it(token: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid token is rejected without being shown, also in the variables of the traceback."""
    monkeypatch.delenv("A2E_API_TOKEN", raising=False)
    if where == "environment":
        monkeypatch.setenv("A2E_API_TOKEN", token)
    config = Config(token=token) if where == "config" else None
    with pytest.raises(ConfigurationError) as caught:
        A2EClient(token if where == "argument" else None, config=config)
    assert TOKEN not in error_text(caught.value)


async def test_no_repr_shows_the_token(a2e: A2EClient) -> None:
    """No part of a client shows the token in its repr."""
    task = await start(a2e)
    services = a2e._state.services()
    objects = [
        a2e,
        a2e._state,
        a2e._state.settings,
        services,
        services.api,
        services.files,
        services.submitter,
        task,
        vars(a2e),
    ]
    assert TOKEN not in "\n".join(map(repr, objects))


async def test_token_is_sent_to_a2e_only(a2e: A2EClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Storage and CDN never receive the token, and the target of a redirect receives no request."""
    task = await start(a2e, image_url=None, image=quick.PNG)
    await task.wait_until_done(30)
    await task.download(tmp_path / "ada.mp4")
    seen: list[str] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", note)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    elsewhere = f"http://localhost:{runner.addresses[0][1]}/"
    with (
        sandbox.override("*", "/api", web.Response(status=307, headers={"Location": elsewhere})),
        pytest.raises(A2EError),
    ):
        await start(a2e)
    await runner.cleanup()
    assert seen == []
    assert {request.path.split("/")[1] for request in sandbox.requests if request.had_authorization} == {"api"}


def test_command_line_shows_no_token(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A command prints no token, whether it succeeds or fails."""
    image = tmp_path / "ada.png"
    image.write_bytes(quick.PNG)
    monkeypatch.setenv("A2E_API_TOKEN", TOKEN)
    with sandbox_in_shared_loop(token=TOKEN) as sandbox:
        monkeypatch.setenv("A2E_BASE_URL", sandbox.url)
        for prompt in ("#fast", "#fast #fail", "#refuse"):
            target = tmp_path / f"{prompt}.mp4"
            main(["image-to-video", "run", str(image), "--prompt", prompt, "--out", str(target)])
    printed = capsys.readouterr()
    assert "done" in printed.err
    assert TOKEN not in printed.out + printed.err


@pytest.mark.parametrize("verify", [False, "context"])
async def test_session_without_tls_verification_is_rejected(verify: object) -> None:
    """An external session that does not verify TLS is rejected for https, and accepted for loopback."""
    choice: Any = verify
    if verify == "context":
        choice = ssl.create_default_context()
        choice.check_hostname, choice.verify_mode = False, ssl.CERT_NONE
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=choice)) as session:
        with pytest.raises(ConfigurationError, match="verify"):
            A2EClient(TOKEN, session=session)
        A2EClient(TOKEN, base_url="http://127.0.0.1:1", session=session)
    async with aiohttp.ClientSession() as session:
        A2EClient(TOKEN, session=session)


async def test_tls_is_verified() -> None:
    """A host with an untrusted certificate gets no request, and the error says so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    reached: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    config = Config(retry=a2e_async.RetryPolicy(max_attempts=1))
    async with A2EClient(TOKEN, base_url=f"https://127.0.0.1:{port}", config=config) as a2e:
        with pytest.raises(NetworkError, match="certificate") as caught:
            await start(a2e)
    server.close()
    await server.wait_closed()
    assert not caught.value.request_sent
    assert reached == []


async def test_objects_with_the_token_cannot_be_pickled() -> None:
    """Pickling a client, a resource or a handle raises an error that says what to pass instead."""
    a2e = A2EClient("sk_secret_token", base_url="http://127.0.0.1:1")
    for value in (a2e, a2e.image_to_video, a2e.image_to_video.task("abc")):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(value)
    await a2e.aclose()
