"""The same jobs with `ImageToVideo.batch`, and its default options but for the number of running tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import a2e_async.batch.runner  # noqa: F401  a batch imports it at its beginning, and imports are not measured
from a2e_async import A2EClient
from a2e_async._protocol.converter import preload

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["run"]

preload()  # likewise, what a client imports at its first request


async def run(plan: Plan, url: str, token: str) -> int:
    """Make all videos, and return their number."""
    async with A2EClient(token, base_url=url) as a2e:
        batch = a2e.image_to_video.batch(
            plan.jobs(), journal=plan.journal, out=plan.out, max_running=plan.running, total=plan.count
        )
        return sum([result.ok async for result in batch])
