"""Make the video of an order, and start it once, however often this is run: ``python orders.py ORDER IMAGE``."""

from __future__ import annotations

import asyncio
import pathlib
import sys

from a2e_async import A2EClient, SubmissionUncertainError, WaitError


async def deliver(order: str, picture: pathlib.Path) -> pathlib.Path:
    """Make the video of an order, or go on with it if it was started before."""
    async with A2EClient() as a2e:
        task = await a2e.image_to_video.start(
            image=picture,  # not even uploaded if the order has a task already
            prompt="slow zoom in, gentle light",
            negative_prompt="blurry, distorted",
            idempotency_key=f"order-{order}",
        )
        print(f"order {order}: task {task.id}", "was found" if task.adopted else "is new")
        await task.wait_until_done(timeout=1800)
        return await task.download(f"order-{order}.mp4", overwrite=True)


def main(order: str, picture: str) -> int:
    """Deliver, and return 75 ("try again later") if that makes sense."""
    try:
        print(asyncio.run(deliver(order, pathlib.Path(picture))))
    except (SubmissionUncertainError, WaitError) as error:
        print(f"{error}\nRun this again in some minutes.")
        return 75
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
