"""A video with Replicate's Python SDK; see `worker.Sdk` and `waiter.Sdk`."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

replicate: Any = importlib.import_module("replicate")


def connect(url: str, key: str) -> contextlib.AbstractAsyncContextManager[Any]:
    """Make a client."""
    return contextlib.nullcontext(replicate.Client(api_token=key, base_url=url))


async def start(client: Any, prompt: str) -> Any:
    """Start a prediction in the background, as for work that takes minutes; `async_run` would hold the POST open."""
    arguments = {"prompt": prompt, "start_image": "https://example.com/a.png"}
    return await client.predictions.async_create(model="kwaivgi/kling-v2.1", input=arguments)


async def pick_up(client: Any, id: str) -> Any:
    """Pick up a prediction by its id. Sends one request."""
    return await client.predictions.async_get(id)


async def wait(client: Any, prediction: Any) -> str:
    """Wait for it, and return its link."""
    await prediction.async_wait()
    return str(prediction.output)
