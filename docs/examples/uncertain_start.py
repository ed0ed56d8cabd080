"""Start a video, and find it again if the answer got lost. Costs coins, but never twice for one name."""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import TYPE_CHECKING

from a2e_async import A2EClient, ImageToVideoRecord, NetworkError, ServerError, TaskHandle, UnexpectedResponseError

if TYPE_CHECKING:
    from collections.abc import Sequence


async def start_once(
    a2e: A2EClient,
    image_url: str,
    *,
    name: str,
    looks: Sequence[float] = (2.0, 5.0, 13.0),
) -> TaskHandle[ImageToVideoRecord]:
    """Start a video whose name nobody else uses, and return its handle.

    Args:
        a2e: An open client.
        image_url: A link to the picture, which was uploaded before.
        name: A name that was never used before.
        looks: Seconds to wait before each look for a task that may have been made.
    """
    try:
        return await a2e.image_to_video.start(
            image_url=image_url,
            name=name,
            prompt="she smiles at the camera",
            negative_prompt="blurry",
        )
    except (NetworkError, ServerError, UnexpectedResponseError) as error:
        if isinstance(error, NetworkError) and not error.request_sent:
            raise  # it never left this machine: nothing was bought
        for seconds in looks:
            # a fresh task can be missing from the list for a while
            await asyncio.sleep(seconds)
            async for record in a2e.image_to_video.list():
                if record.name == name:
                    return a2e.image_to_video.task(record.id)
        raise  # still unknown: a person decides whether to start again


async def main(picture: str) -> None:
    """Upload a picture and start one video of it."""
    async with A2EClient() as a2e:
        link = await a2e.upload(picture)
        task = await start_once(a2e, link, name=f"Ada {uuid.uuid4().hex}")
        print(f"task {task.id}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
