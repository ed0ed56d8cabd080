"""Typical user code. It is type-checked by mypy and pyright, strictly, and never run."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import pathlib
from typing import Any, assert_type

from aiohttp import web

from a2e_async import (
    A2EClient,
    A2EError,
    Config,
    EndpointNotAvailableError,
    ImageToVideoRecord,
    InsufficientCreditsError,
    Job,
    OutageError,
    Pacing,
    PollPolicy,
    RateLimitError,
    RetryPolicy,
    StartOptions,
    StartPolicy,
    SubmissionUncertainError,
    TaskFailedError,
    TaskHandle,
    TaskStatus,
    TaskUpdate,
    WaitError,
    WaitResult,
    WaitTimeoutError,
    WebhookReceiver,
)
from a2e_async.batch import Batch, JobResult
from a2e_async.models import (
    ApiToken,
    Avatar,
    AvatarVideoRecord,
    Background,
    Balance,
    CaptionRemovalRecord,
    CreditTransaction,
    DubbingRecord,
    FaceImage,
    FaceSwapPreviewRecord,
    FaceSwapRecord,
    FamilyRecord,
    Language,
    PublicVoice,
    Quote,
    SpeechPreview,
    TwinRecord,
    VoiceRecord,
)
from a2e_async.resources.streaming_avatar import StreamingSession
from a2e_async.sandbox import Fault, FaultPlan, Sandbox


async def one_video(image: pathlib.Path) -> pathlib.Path:
    """Make one video, and read all public attributes."""
    async with A2EClient() as a2e:
        task = await a2e.image_to_video.start(
            image=image, prompt="p", negative_prompt="n", model_version="a2e-v2", video_time=10
        )
        assert_type(task, TaskHandle[ImageToVideoRecord])
        assert_type(task.id, str)
        assert_type(task.status, TaskStatus)
        record = await task.wait_until_done(timeout=600, raise_on_failure=False)
        assert_type(record, ImageToVideoRecord)
        assert_type(record.coins, float | None)
        assert_type(record.created_at, dt.datetime | None)
        assert_type(await task.refresh(), ImageToVideoRecord)
        assert_type(await task.download(io.BytesIO()), io.BytesIO)
        async with task.stream(byte_range="bytes=0-499") as stream:
            assert_type(stream.size, int | None)
            assert_type([chunk async for chunk in stream], list[bytes])
        return await task.download("ada.mp4", if_exists="overwrite")


async def image_inputs(a2e: A2EClient) -> None:
    """Pass an image in every way."""
    with pathlib.Path("ada.png").open("rb") as file:
        await a2e.image_to_video.start(image=file, prompt="p", negative_prompt="n")
    await a2e.image_to_video.start(image=b"...", prompt="p", negative_prompt="n")
    await a2e.image_to_video.start(image_url="https://example.com/a.png", lora="l1")
    options: StartOptions = {"image": "ada.png", "prompt": "p", "negative_prompt": "n", "video_time": 10}
    assert_type(await a2e.image_to_video.start(**options), TaskHandle[ImageToVideoRecord])
    assert_type(await a2e.image_to_video.quote(**options), float | None)
    handles = await a2e.image_to_video.start_variations(3, image="ada.png", prompt="p", negative_prompt="n")
    assert_type(handles, list[TaskHandle[ImageToVideoRecord]])


async def records(a2e: A2EClient) -> None:
    """Read records in every way."""
    assert_type(await a2e.image_to_video.get("id"), ImageToVideoRecord)
    assert_type(await a2e.image_to_video.get_many(["a", "b"]), dict[str, ImageToVideoRecord | None])
    assert_type((await a2e.image_to_video.get("id")).to_dict(links=True), dict[str, Any])
    async for record in a2e.image_to_video.list(page_size=50):
        assert_type(record, ImageToVideoRecord)
    assert_type(await a2e.request("GET", "user/remainingCoins", params={"x": 1}), Any)


async def errors(task: TaskHandle[ImageToVideoRecord]) -> str:
    """Catch the errors of a wait."""
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
    """Start exactly once, and wait through outages."""
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
        assert_type(outcome, WaitResult[ImageToVideoRecord])
        assert_type(outcome.record, ImageToVideoRecord)
        assert_type(outcome.error, A2EError | None)
    async with contextlib.aclosing(tasks[0].updates()) as updates:
        async for update in updates:
            assert_type(update, TaskUpdate[ImageToVideoRecord])
            assert_type(update.old, TaskStatus | None)
    seen: list[TaskUpdate[ImageToVideoRecord]] = []

    async def on_update(update: TaskUpdate[ImageToVideoRecord]) -> str:
        return update.current_status

    await tasks[0].wait_until_done(on_update=seen.append)
    await tasks[0].wait_until_done(on_update=on_update)
    await tasks[0].wait_until_done(on_update=lambda update: update.new.is_final)


async def a_batch(a2e: A2EClient, jobs: list[Job]) -> None:
    """Run a batch, whose results have the record of its family."""
    jobs.append(Job(key="order-17", image="ada.png", prompt="p", negative_prompt="n", video_time=5))
    assert_type(jobs[0].key, str)
    async with a2e.image_to_video.batch(jobs, journal="jobs.sqlite") as batch:
        assert_type(batch, Batch[ImageToVideoRecord])
        async for result in batch:
            assert_type(result, JobResult[ImageToVideoRecord])
            assert_type(result.record, ImageToVideoRecord | None)
            assert_type(result.error, A2EError | None)
    assert_type(batch.progress.started, int)


async def webhooks(a2e: A2EClient) -> web.Application:
    """Receive webhooks in an aiohttp application."""
    receiver = WebhookReceiver(a2e, url="https://example.com/hooks/a2e", token="secret")
    app = web.Application()
    app.add_routes(receiver.routes("/hooks/a2e"))
    await a2e.image_to_video.start(image="ada.png", prompt="p", negative_prompt="n", webhook=receiver)
    await a2e.image_to_video.start_variations(2, image="ada.png", prompt="p", negative_prompt="n", webhook=receiver)
    assert_type(a2e.poll_now("6927f1e7a1c5e4e0b5f0a3d2"), bool)
    assert_type(a2e.poll_now(), bool)
    return app


async def speech(a2e: A2EClient) -> str:
    """Use voices in every way."""
    for voice in await a2e.voices.public(country="en", region="US"):
        assert_type(voice, PublicVoice)
    for language in await a2e.voices.languages():
        assert_type(language, Language)
        assert_type(language.value, str)
    task = await a2e.voices.start(samples=["grace.wav", "https://example.com/g.mp3"], gender="female", denoise=True)
    assert_type(task, TaskHandle[VoiceRecord])
    assert_type(await a2e.voices.completed(), list[VoiceRecord])
    await a2e.voices.rename(task.id, "Grace")
    assert_type(await a2e.voices.clone_from_video("twin"), TaskHandle[VoiceRecord])
    async for preview in a2e.voices.previews(page_size=50):
        assert_type(preview, SpeechPreview)
        await a2e.voices.delete_preview(preview.id)
    await a2e.voices.delete("id")
    return await a2e.voices.speak("Hello!", user_voice_id=task.id, country="en", region="US", speech_rate=1.2)


async def avatars(a2e: A2EClient, speech: str) -> None:
    """Use avatars, backgrounds and avatar videos in every way."""
    async for avatar in a2e.avatars.list(type="default"):
        assert_type(avatar, Avatar)
        video = await a2e.avatar_videos.start(anchor_id=avatar.id, anchor_type=0, audio_url=speech, resolution=720)
        assert_type(video, TaskHandle[AvatarVideoRecord])
        assert_type(await video.wait_until_done(), AvatarVideoRecord)
    twin = await a2e.avatars.twins.start(name="Ada", gender="female", video=pathlib.Path("ada.mp4"))
    assert_type(twin, TaskHandle[TwinRecord])
    assert_type((await twin.wait_until_done()).anchor_id, str)
    assert_type(await a2e.avatars.twins.continue_training(twin.id), TaskHandle[TwinRecord])
    assert_type(await a2e.avatars.twins.ongoing(), list[TwinRecord])
    async for record in a2e.avatars.twins.list(status="completed"):
        assert_type(record, TwinRecord)
    await a2e.avatars.twins.delete(twin.id)
    await a2e.avatars.add_from_picture("id", gender="male")
    assert_type(await a2e.backgrounds.add(image="office.png"), Background)
    assert_type(await a2e.backgrounds.all(), list[Background])
    async for background in a2e.backgrounds.list():
        await a2e.backgrounds.delete(background.id)
    assert_type(await a2e.avatar_videos.detect_language("Hello!"), str)
    assert_type(await a2e.avatar_videos.set_auto_public_pool(True), bool)


async def other_videos(a2e: A2EClient) -> None:
    """Make a video from another one in every way."""
    dubbing = await a2e.dubbing.start(source="video.mp4", target_lang="es", num_speakers=2)
    assert_type(dubbing, TaskHandle[DubbingRecord])
    assert_type(await a2e.dubbing.ongoing(), list[DubbingRecord])
    clean = await a2e.caption_removal.start(source_url="https://example.com/video.mp4", idempotency_key="video")
    assert_type(clean, TaskHandle[CaptionRemovalRecord])
    assert_type(await a2e.caption_removal.retry(clean.id), TaskHandle[CaptionRemovalRecord])
    swap = await a2e.face_swap.start(face="face.png", video="video.mp4", model_version="v1")
    assert_type(swap, TaskHandle[FaceSwapRecord])
    assert_type((await swap.refresh()).duration, float | None)
    preview = await a2e.face_swap.previews.start(face=b"...", video_url="https://example.com/video.mp4")
    assert_type(await preview.wait_until_done(), FaceSwapPreviewRecord)
    assert_type(await a2e.face_swap.images.add(face="face.png"), FaceImage)
    async for image in a2e.face_swap.images.list():
        await a2e.face_swap.images.delete(image.id)


async def other_family(a2e: A2EClient) -> tuple[str, ...]:
    """Use another family by its name."""
    family = a2e.family("userText2Image")
    assert_type(family.fields, tuple[str, ...])
    task = await family.start({"name": "Tea", "prompt": "a cup of tea"}, on_unknown="raise")
    assert_type(task, TaskHandle[FamilyRecord])
    assert_type(await family.start_several({"prompt": "a cup of tea", "n": 2}), list[TaskHandle[FamilyRecord]])
    return (await task.wait_until_done()).result_urls


async def conversation(a2e: A2EClient) -> None:
    """Talk to a streaming avatar."""
    async with a2e.streaming_avatar.session("avatar", expire_seconds=60) as session:
        assert_type(session, StreamingSession)
        assert_type(session.channel, str)
        await session.set_qa_context("We are open from 9 to 5.")
        await session.ask("When are you open?")
        await session.speak("Hello!")
    await a2e.streaming_avatar.leave("channel")


async def housekeeping(a2e: A2EClient) -> None:
    """Use the account, its tokens and its storage."""
    balance = await a2e.account.balance()
    assert_type(balance, Balance)
    assert_type(balance.coins, float | None)
    async for transaction in a2e.account.history(is_consumption=True, page_size=50):
        assert_type(transaction, CreditTransaction)
    assert_type(await a2e.account.quote("userText2Image/start", {"prompt": "tea"}), Quote)
    await a2e.account.exchange_diamonds(1)
    assert_type(await a2e.account.languages(), list[Language])
    await a2e.account.add_user("ada", email="ada@example.com")
    assert_type(await a2e.tokens.generate("laptop"), ApiToken)
    try:
        async for token in a2e.tokens.list(path="token/all"):
            await a2e.tokens.delete(token.id)
    except EndpointNotAvailableError as error:
        assert_type(error.path, str)
    assert_type(await a2e.storage.save("https://example.com/video.mp4"), str)
    assert_type(await a2e.storage.upload("video.mp4"), str)


async def settings() -> None:
    """Set all settings, and use the sandbox."""
    config = Config(
        retry=RetryPolicy(max_attempts=3),
        poll=PollPolicy(initial=1.0, backstop=20),
        pacing=Pacing(per_second=5, pause=1.0),
        start=StartPolicy(on_unknown="resend", scan_delays=(0.0, 5.0)),
        request_timeout=60,
    )
    faults = FaultPlan(script={"start": [None, Fault("drop", after=True)]}, invisible=1.0)
    async with Sandbox(speed=10, render="tiny", faults=faults) as sandbox:
        sandbox.faults = FaultPlan.random(seed=1, rate=0.1)
        client = A2EClient(sandbox.token, base_url=sandbox.url, config=config)
        await client.aclose()


asyncio.run(one_video(pathlib.Path("ada.png")))
