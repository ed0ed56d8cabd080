"""Handwritten script of one hour: all steps of a batch, without its safety.

No marker and no journal, so that a crash or a lost answer loses or doubles a start; no retries; no check whether the CDN has
the image; one poll for each task.
"""

from __future__ import annotations

import asyncio
import pathlib
from typing import TYPE_CHECKING, Any

import aiohttp

from .plan import INTERVAL

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["run"]

_FAMILY = "/api/v1/userImage2Video"


async def run(plan: Plan, url: str, token: str) -> int:
    """Make all videos, and return their number."""
    slots = asyncio.Semaphore(plan.running)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(url, headers=headers) as api, aiohttp.ClientSession() as storage:
        done = await asyncio.gather(*(_make(plan, job, slots, api, storage) for job in plan.jobs()))
    return sum(done)


async def _make(
    plan: Plan,
    job: dict[str, str],
    slots: asyncio.Semaphore,
    api: aiohttp.ClientSession,
    storage: aiohttp.ClientSession,
) -> bool:
    async with slots:
        image_path = pathlib.Path(job["image"])
        link = await _upload(image_path, api, storage)
        options = {"name": image_path.stem, "prompt": job["prompt"], "negative_prompt": job["negative_prompt"]}
        body = {**options, "image_url": link, "model_version": "a2e"}
        task = await _data(api.post(f"{_FAMILY}/start", json=body))
        while task["current_status"] not in {"completed", "failed"}:
            await asyncio.sleep(INTERVAL)
            task = await _data(api.get(f"{_FAMILY}/{task['_id']}"))
        if task["current_status"] == "failed":
            return False
        assert plan.out is not None
        async with storage.get(task["result_url"]) as answer:
            answer.raise_for_status()
            (plan.out / f"{job['key']}.mp4").write_bytes(await answer.read())
        return True


async def _upload(image_path: pathlib.Path, api: aiohttp.ClientSession, storage: aiohttp.ClientSession) -> str:
    content = image_path.read_bytes()
    upload = {"key": image_path.name, "contentType": "image/png", "contentLength": len(content)}
    links = await _data(api.post("/api/v1/r2/upload-presigned-url", json=upload))
    async with storage.put(links["uploadUrl"], data=content, headers={"Content-Type": "image/png"}) as answer:
        answer.raise_for_status()
    return str(links["cdnUrl"])


async def _data(request: Any) -> dict[str, Any]:
    async with request as answer:
        answer.raise_for_status()
        envelope = await answer.json()
    if envelope["code"] != 0:
        raise RuntimeError(envelope)
    data: dict[str, Any] = envelope["data"]
    return data
