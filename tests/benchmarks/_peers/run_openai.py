"""A video with OpenAI's Python SDK; see `worker.Sdk` and `waiter.Sdk`."""

from __future__ import annotations

import importlib
from typing import Any

openai: Any = importlib.import_module("openai")


def connect(url: str, key: str) -> Any:
    """Make a client."""
    return openai.AsyncOpenAI(api_key=key, base_url=f"{url}/v1")


async def start(client: Any, prompt: str) -> str:
    """Start a video, the first half of ``create_and_poll``, and return its id."""
    return str((await client.videos.create(model="sora-2", prompt=prompt)).id)


async def pick_up(client: Any, id: str) -> str:
    """Return the id, which is enough to wait for a video."""
    return id


async def wait(client: Any, id: str) -> str:
    """Wait for it: the second half. There are no links; return its id once it is completed."""
    done = await client.videos.poll(id)
    return str(done.id) if done.status == "completed" else ""
