"""A video with a2e_async; see `worker.Sdk` and `waiter.Sdk`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2e_async import A2EClient

if TYPE_CHECKING:
    from a2e_async import ImageToVideoRecord, TaskHandle


def connect(url: str, key: str) -> A2EClient:
    """Make a client."""
    return A2EClient(key, base_url=url)


async def start(client: A2EClient, prompt: str) -> TaskHandle[ImageToVideoRecord]:
    """Start a video."""
    return await client.image_to_video.start(
        name=prompt.partition(":")[0], image_url="https://example.com/a.png", prompt=prompt, negative_prompt="blurry"
    )


async def start_with_key(client: A2EClient, prompt: str) -> TaskHandle[ImageToVideoRecord]:
    """Start a video, unless an earlier process has started it."""
    return await client.image_to_video.start(
        idempotency_key=prompt.partition(":")[0],
        image_url="https://example.com/a.png",
        prompt=prompt,
        negative_prompt="blurry",
    )


async def pick_up(client: A2EClient, id: str) -> TaskHandle[ImageToVideoRecord]:
    """Return the handle of a video by its id. Sends nothing."""
    return client.image_to_video.task(id)


async def wait(client: A2EClient, task: TaskHandle[ImageToVideoRecord]) -> str:
    """Wait for it, and return its link."""
    record = await task.wait_until_done(timeout=300)
    return record.result_url or ""
