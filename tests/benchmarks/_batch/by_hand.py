"""Handwritten script of one hour: all steps of a batch, without its safety.

No marker and no journal, so that a crash or a lost answer loses or doubles a start; no retries; no check whether the CDN has
the image; one poll for each task.
"""

from __future__ import annotations

import asyncio
import pathlib
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from .plan import INTERVAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .plan import Plan

__all__ = ["run"]

_FAMILY = "/api/v1/userImage2Video"


async def check(_storage: aiohttp.ClientSession, _link: str) -> None:
    """Trust the CDN to have the image."""


async def store(path: pathlib.Path, content: bytes) -> None:
    """Write a video."""
    path.write_bytes(content)


async def run(
    plan: Plan,
    url: str,
    token: str,
    *,
    connector: aiohttp.BaseConnector | None = None,
    check: Callable[[aiohttp.ClientSession, str], Awaitable[None]] = check,
    store: Callable[[pathlib.Path, bytes], Awaitable[None]] = store,
) -> int:
    """Make all videos, and return their number."""
    slots = asyncio.Semaphore(plan.running)
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(url, headers=headers) as reads,
        aiohttp.ClientSession(url, headers=headers, connector=connector) as own,
        aiohttp.ClientSession() as storage,
    ):
        sessions = Sessions(reads, own if connector else reads, storage, check, store)
        done = await asyncio.gather(*(_make(plan, job, slots, sessions) for job in plan.jobs()))
    return sum(done)


class Sessions(NamedTuple):
    """Sessions for reads, for requests that A2E charges for, and for files; and what is done about files."""

    reads: aiohttp.ClientSession
    paid: aiohttp.ClientSession
    storage: aiohttp.ClientSession
    check: Callable[[aiohttp.ClientSession, str], Awaitable[None]]
    store: Callable[[pathlib.Path, bytes], Awaitable[None]]


async def _make(plan: Plan, job: dict[str, str], slots: asyncio.Semaphore, sessions: Sessions) -> bool:
    async with slots:
        image_path = pathlib.Path(job["image"])
        link = await _upload(image_path, sessions)
        options = {"name": image_path.stem, "prompt": job["prompt"], "negative_prompt": job["negative_prompt"]}
        body = {**options, "image_url": link, "model_version": "a2e"}
        task = await _data(sessions.paid.post(f"{_FAMILY}/start", json=body))
        while task["current_status"] not in {"completed", "failed"}:
            await asyncio.sleep(INTERVAL)
            task = await _data(sessions.reads.get(f"{_FAMILY}/{task['_id']}"))
        if task["current_status"] == "failed":
            return False
        assert plan.out is not None
        async with sessions.storage.get(task["result_url"]) as answer:
            answer.raise_for_status()
            content = await answer.read()
        await sessions.store(plan.out / f"{job['key']}.mp4", content)
        return True


async def _upload(image_path: pathlib.Path, sessions: Sessions) -> str:
    content = image_path.read_bytes()
    upload = {"key": image_path.name, "contentType": "image/png", "contentLength": len(content)}
    links = await _data(sessions.paid.post("/api/v1/r2/upload-presigned-url", json=upload))
    async with sessions.storage.put(links["uploadUrl"], data=content, headers={"Content-Type": "image/png"}) as answer:
        answer.raise_for_status()
    await sessions.check(sessions.storage, links["cdnUrl"])
    return str(links["cdnUrl"])


async def _data(request: Any) -> dict[str, Any]:
    async with request as answer:
        answer.raise_for_status()
        envelope = await answer.json()
    if envelope["code"] != 0:
        raise RuntimeError(envelope)
    data: dict[str, Any] = envelope["data"]
    return data
