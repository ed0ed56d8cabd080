"""A video with Runway's Python SDK; see `worker.Sdk` and `waiter.Sdk`."""

from __future__ import annotations

import importlib
from typing import Any

runwayml: Any = importlib.import_module("runwayml")


def connect(url: str, key: str) -> Any:
    """Make a client."""
    return runwayml.AsyncRunwayML(api_key=key, base_url=url)


async def start(client: Any, prompt: str) -> Any:
    """Start a video."""
    return await client.image_to_video.create(
        model="gen4_turbo", prompt_image="https://example.com/a.png", prompt_text=prompt, ratio="1280:720"
    )


async def pick_up(client: Any, id: str) -> Any:
    """Pick up a task by its id. Sends one request."""
    return await client.tasks.retrieve(id)


async def wait(client: Any, task: Any) -> str:
    """Wait for it, and return its link."""
    return str((await task.wait_for_task_output()).output[0])
