"""A program that uses a2e_async: a shop that sells videos of its customers' images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2e_async import InsufficientCreditsError, TaskFailedError

if TYPE_CHECKING:
    import pathlib

    from a2e_async import A2EClient


async def deliver(a2e: A2EClient, order: str, image: str, folder: pathlib.Path) -> str:
    """Make the video of an order in a folder, and return the message for the customer."""
    try:
        task = await a2e.image_to_video.start(
            image_url=image,
            prompt="slow zoom in, gentle light",
            negative_prompt="blurry, distorted",
            idempotency_key=f"order-{order}",
        )
        await task.wait_until_done(timeout=1800)
    except InsufficientCreditsError:
        return "We make no videos today."
    except TaskFailedError:
        return "We cannot make a video of this image."
    video = await task.download(folder / f"order-{order}.mp4", if_exists="overwrite")
    return f"Your video is {video.name}."
