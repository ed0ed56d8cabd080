"""Where videos are made: `TinyStudio` hands out a constant one, `FilmStudio` renders in worker threads."""

import asyncio
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Protocol

from attrs import define, field

from a2e_async.sandbox.options import SandboxError
from a2e_async.sandbox.orders import Order
from a2e_async.sandbox.pictures import Fetcher
from a2e_async.sandbox.storage import Storage


class Studio(Protocol):
    """Makes the video of an order."""

    async def make(self, order: Order) -> Path:
        """Return the file of the finished video, an MP4."""
        ...

    async def aclose(self) -> None:
        """Stop all work."""
        ...


@define
class TinyStudio:
    """One constant video for everybody; the picture is not even looked at."""

    storage: Storage
    _path: Path | None = None

    async def make(self, order: Order) -> Path:  # noqa: ARG002  (the same for every order)
        """Return the shipped video, written to the disk once."""
        if self._path is None:
            self._path = self.storage.new_file()
            self._path.write_bytes(resources.files("a2e_async.sandbox").joinpath("tiny.mp4").read_bytes())
        return self._path

    async def aclose(self) -> None:
        """Nothing runs here."""


@define
class FilmStudio:
    """Renders with at most one thread less than there are cores, so that the event loop keeps one."""

    storage: Storage
    fetcher: Fetcher
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _jobs: "set[Future[None]]" = field(factory=set, init=False)
    _pool: ThreadPoolExecutor = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Bound the pool."""
        workers = max(1, (os.cpu_count() or 1) - 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="a2e-sandbox")

    async def make(self, order: Order) -> Path:
        """Fetch the pictures and render."""
        from a2e_async.sandbox.render import Film, render  # noqa: PLC0415  (needs the extra)

        first = await self.fetcher.picture(order.image_url)
        last = await self.fetcher.picture(order.end_image_url) if order.model_type == "FLF2V" else None
        path = self.storage.new_file()
        film = Film(first=first, last=last, prompt=order.prompt, seconds=order.video_time)
        job = self._pool.submit(render, film, path, self._stop)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        await asyncio.wrap_future(job)
        return path

    async def aclose(self) -> None:
        """Ask the threads to stop at their next frame and wait for them without blocking the loop."""
        self._stop.set()
        waiting = [asyncio.wrap_future(job) for job in list(self._jobs)]
        self._pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*waiting, return_exceptions=True)
        self._pool.shutdown(wait=True)


def check_extra() -> None:
    """Refuse early, with the command that helps, when rendering is not installed."""
    try:
        import a2e_async.sandbox.render  # noqa: F401, PLC0415  (needs the extra)
    except ImportError as error:
        message = (
            'rendering real videos needs more packages: pip install "a2e-async[sandbox]"'
            ' (or choose render="tiny", which needs none)'
        )
        raise SandboxError(message) from error
