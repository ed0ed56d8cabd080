"""The cost of the sandbox's videos: CPU time per second of video, and delays of the event loop during rendering.

Run it with ``nox -s bench -- rendering``; it fails if a video takes more CPU time than it lasts.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import io
import pathlib
import statistics
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING

from PIL import Image

from a2e_async import A2EClient, Config, PollPolicy
from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.media.video import VideoSpec, render

if TYPE_CHECKING:
    from tests.benchmarks._report import Row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import Row, report

BOUND = 1.0
IMAGES = importlib.resources.files("a2e_async.cli.commands") / "images"
LENGTHS = (5, 20)


def images() -> dict[str, bytes]:
    """Return a drawing, and noise, which takes the encoder the most time."""
    noise = Image.effect_noise((1920, 1280), 80).convert("RGB")
    photo = io.BytesIO()
    noise.save(photo, "JPEG", quality=90)
    return {"drawing": (IMAGES / "lighthouse.jpg").read_bytes(), "noise": photo.getvalue()}


def cpu(image: bytes, seconds: int) -> float:
    """Return the CPU seconds of one video."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        render(
            VideoSpec(first=image, prompt="zoom in", seconds=seconds), pathlib.Path(folder, "x.mp4"), threading.Event()
        )
        return time.process_time() - began


async def loop_delays(image: bytes) -> list[float]:
    """Return the delays of the event loop in milliseconds, while videos are rendered and served."""
    late: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            late.append((time.perf_counter() - before - 0.005) * 1000)

    config = Config(poll=PollPolicy(initial=0.1, steps=((0.0, 0.1),)))
    async with Sandbox(speed=100) as sandbox, A2EClient(sandbox.token, base_url=sandbox.url, config=config) as a2e:
        ticking = asyncio.create_task(tick())
        starts = (a2e.image_to_video.start(image=image, prompt="left", negative_prompt="x") for _ in range(3))
        tasks = await asyncio.gather(*starts)
        await asyncio.gather(*(task.wait_until_done() for task in tasks))
        ticking.cancel()
    return late


def main() -> int:
    """Measure, print a table, and return 1 if a video takes more CPU time than it lasts."""
    rows: list[Row] = []
    for name, image in images().items():
        for seconds in LENGTHS:
            spent = min(cpu(image, seconds) for _ in range(2))
            rows.append(Row(name=f"{name}, {seconds} s, CPU for a second of video", value=spent / seconds, bound=BOUND))
    late = asyncio.run(loop_delays(images()["drawing"]))
    print(
        f"delay of the event loop while three videos are rendered: median {statistics.median(late):.1f} ms, "
        f"worst {max(late):.1f} ms"
    )
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
