"""Typical user code. It is type-checked by mypy and pyright, strictly, and never run."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import pathlib
from typing import Any, assert_type

from aiohttp import web

from a2e_async import (
    A2EClient,
    A2EError,
    Config,
    ImageToVideoRecord,
    InsufficientCreditsError,
    OutageError,
    Outcome,
    Pacing,
    PollPolicy,
    RateLimitError,
    RetryPolicy,
    StartPolicy,
    SubmissionUncertainError,
    TaskFailedError,
    TaskHandle,
    TaskStatus,
    TaskUpdate,
    WaitError,
    WaitTimeoutError,
    WebhookReceiver,
)
from a2e_async.sandbox import Fault, Sandbox, Weather


async def one_video(picture: pathlib.Path) -> pathlib.Path:
    """Make one video, and look at everything that a user looks at."""
    async with A2EClient() as a2e:
        task = await a2e.image_to_video.start(
            image=picture, prompt="p", negative_prompt="n", model_version="a2e-v2", video_time=10
        )
        assert_type(task, TaskHandle[ImageToVideoRecord])
        assert_type(task.id, str)
        assert_type(task.status, TaskStatus)
        record = await task.wait_until_done(timeout=600, raise_on_failure=False)
        assert_type(record, ImageToVideoRecord)
        assert_type(record.coins, float | None)
        assert_type(record.created_at, dt.datetime | None)
        assert_type(await task.refresh(), ImageToVideoRecord)
        return await task.download("ada.mp4", overwrite=True)


async def kinds_of_pictures(a2e: A2EClient) -> None:
    """Give a picture in every way."""
    with pathlib.Path("ada.png").open("rb") as file:
        await a2e.image_to_video.start(image=file, prompt="p", negative_prompt="n")
    await a2e.image_to_video.start(image=b"...", prompt="p", negative_prompt="n")
    await a2e.image_to_video.start(image_url="https://example.com/a.png", lora="l1")
    handles = await a2e.image_to_video.start_variations(3, image="ada.png", prompt="p", negative_prompt="n")
    assert_type(handles, list[TaskHandle[ImageToVideoRecord]])


async def records(a2e: A2EClient) -> None:
    """Read records in every way."""
    assert_type(await a2e.image_to_video.get("id"), ImageToVideoRecord)
    assert_type(await a2e.image_to_video.get_many(["a", "b"]), dict[str, ImageToVideoRecord | None])
    async for record in a2e.image_to_video.list(page_size=50):
        assert_type(record, ImageToVideoRecord)
    assert_type(await a2e.request("GET", "user/remainingCoins", params={"x": 1}), Any)


async def errors(task: TaskHandle[ImageToVideoRecord]) -> str:
    """Catch what can be caught."""
    try:
        await task.wait_until_done()
    except TaskFailedError as error:
        return error.failed_code + error.failed_message
    except WaitTimeoutError as error:
        return error.task_id or ""
    except (RateLimitError, InsufficientCreditsError) as error:
        return f"{error.status} {error.retry_after}"
    except A2EError as error:
        return error.message
    return ""


async def safely(a2e: A2EClient) -> TaskHandle[ImageToVideoRecord] | None:
    """Buy once, whatever happens, and wait through trouble."""
    try:
        task = await a2e.image_to_video.start(
            image="ada.png", prompt="p", negative_prompt="n", idempotency_key="order-17", on_unknown="resend"
        )
    except SubmissionUncertainError as error:
        assert_type(error.sent_at, dt.datetime | None)
        return await a2e.image_to_video.find(error.marker)
    assert_type(task.adopted, bool)
    assert_type(task.record, ImageToVideoRecord)
    try:
        await task.wait_until_done(outage_budget=None, cancel_policy="delete")
    except (WaitError, OutageError) as error:
        await error.handle.wait_until_done()
    assert_type(await a2e.image_to_video.find_all("order-17"), list[TaskHandle[ImageToVideoRecord]])
    return task


async def many(a2e: A2EClient, tasks: list[TaskHandle[ImageToVideoRecord]]) -> None:
    """Wait for many, in every way."""
    async for outcome in a2e.image_to_video.wait_all([*tasks, "6927f1e7a1c5e4e0b5f0a3d2"], timeout=None):
        assert_type(outcome, Outcome[ImageToVideoRecord])
        assert_type(outcome.record, ImageToVideoRecord)
        assert_type(outcome.error, A2EError | None)
    async with contextlib.aclosing(tasks[0].updates()) as updates:
        async for update in updates:
            assert_type(update, TaskUpdate[ImageToVideoRecord])
            assert_type(update.old, TaskStatus | None)
    seen: list[TaskUpdate[ImageToVideoRecord]] = []

    async def tell(update: TaskUpdate[ImageToVideoRecord]) -> str:
        return update.current_status

    await tasks[0].wait_until_done(on_update=seen.append)
    await tasks[0].wait_until_done(on_update=tell)
    await tasks[0].wait_until_done(on_update=lambda update: update.new.is_final)


async def hooked(a2e: A2EClient) -> web.Application:
    """Receive webhooks in an aiohttp application."""
    receiver = WebhookReceiver(a2e, url="https://example.com/hooks/a2e", token="secret")
    app = web.Application()
    app.add_routes(receiver.routes("/hooks/a2e"))
    await a2e.image_to_video.start(image="ada.png", prompt="p", negative_prompt="n", webhook=receiver)
    await a2e.image_to_video.start_variations(2, image="ada.png", prompt="p", negative_prompt="n", webhook=receiver)
    assert_type(a2e.nudge("6927f1e7a1c5e4e0b5f0a3d2"), bool)
    assert_type(a2e.nudge(), bool)
    return app


async def settings() -> None:
    """Set everything, against the sandbox."""
    config = Config(
        retry=RetryPolicy(max_attempts=3),
        poll=PollPolicy(initial=1.0, backstop=20),
        pacing=Pacing(per_second=5, hold_back=1.0),
        start=StartPolicy(on_unknown="resend", looks=(0.0, 5.0)),
        request_timeout=60,
    )
    weather = Weather(script={"start": [None, Fault("drop", after=True)]}, invisible=1.0)
    async with Sandbox(speed=10, render="tiny", weather=weather) as sandbox:
        sandbox.weather = Weather.changeable(seed=1, rate=0.1)
        client = A2EClient(sandbox.token, base_url=sandbox.url, config=config)
        await client.aclose()


asyncio.run(one_video(pathlib.Path("ada.png")))
