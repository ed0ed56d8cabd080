"""The example `fastapi_app` with two more routes: one that does nothing, and one that counts what a leak would leave."""

from __future__ import annotations

import asyncio
import pathlib
import resource
import sys

from fastapi.routing import APIRoute

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "docs" / "examples" / "fastapi_app"))

from app import app


async def bare() -> dict[str, str]:
    """Do nothing."""
    return {}


async def usage() -> dict[str, float]:
    """Return the tasks of asyncio, the sockets, the memory in megabytes, and the seconds of CPU of this process."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    folder = pathlib.Path("/proc/self/fd")
    files = [str(path.readlink()) for path in folder.iterdir() if path.is_symlink()]
    times = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "tasks": len(asyncio.all_tasks()),
        "sockets": sum(name.startswith("socket:") for name in files),
        "memory": pages * resource.getpagesize() / 1e6,
        "cpu": times.ru_utime + times.ru_stime,
    }


app.router.routes[:0] = [APIRoute("/bare", bare), APIRoute("/usage", usage)]  # before the page, which takes all paths
