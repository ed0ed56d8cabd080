"""Make the video of an order. Each order is started once, in any number of runs: ``python orders.py ORDER IMAGE``."""

from __future__ import annotations

import asyncio
import pathlib
import sys

from a2e_async import A2EClient, SQLiteKeyStore, SubmissionUncertainError, WaitError


async def deliver(order: str, image: pathlib.Path) -> pathlib.Path:
    """Make the video of an order, or resume it if it was started before."""
    async with A2EClient(key_store=SQLiteKeyStore("orders.sqlite")) as a2e:
        task = await a2e.image_to_video.start(
            image=image,  # not uploaded if the order already has a task
            prompt="slow zoom in, gentle light",
            negative_prompt="blurry, distorted",
            idempotency_key=f"order-{order}",
        )
        print(f"order {order}: task {task.id}", "was found" if task.adopted else "is new")
        await task.wait_until_done(timeout=1800)
        return await task.download(f"order-{order}.mp4", if_exists="overwrite")


def main(order: str, image: str) -> int:
    """Deliver an order; return 75 ("try again later") if the same command can be run again."""
    try:
        print(asyncio.run(deliver(order, pathlib.Path(image))))
    except (SubmissionUncertainError, WaitError) as error:
        print(f"{error}\nRun this again in some minutes.")
        return 75
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
