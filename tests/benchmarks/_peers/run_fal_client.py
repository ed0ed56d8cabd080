"""A video with fal's Python SDK; see `worker.Sdk` and `waiter.Sdk`."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

fal_client: Any = importlib.import_module("fal_client")
inner: Any = importlib.import_module("fal_client.client")

_MODEL = "fal-ai/kling-video/v2.1/standard/image-to-video"


def connect(url: str, key: str) -> contextlib.AbstractAsyncContextManager[Any]:
    """Make a client. FAL_QUEUE_RUN_HOST sets its host, but only this replaces https."""
    inner.QUEUE_URL_FORMAT = f"{url}/"
    return contextlib.nullcontext(fal_client.AsyncClient(key=key))


async def start(client: Any, prompt: str) -> Any:
    """Put a request into the queue."""
    arguments = {"prompt": prompt, "image_url": "https://example.com/a.png"}
    return await client.submit(_MODEL, arguments=arguments)


async def pick_up(client: Any, id: str) -> Any:
    """Pick up a request by its id. Sends nothing."""
    return await client.get_handle(_MODEL, id)


async def wait(client: Any, handle: Any) -> str:
    """Wait for it, and return its link."""
    return str((await handle.get())["video"]["url"])
