"""The handwritten script with three promises of a2e-async, for what they cost by themselves.

Requests that A2E charges for have a connection of their own, the CDN has to have an image before the start, and a video is on
the disk under a temporary name before it gets its own.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING

import aiohttp

from . import by_hand

if TYPE_CHECKING:
    import pathlib

    from .plan import Plan

__all__ = ["run"]


async def run(plan: Plan, url: str, token: str) -> int:
    """Make all videos, and return their number."""
    connector = aiohttp.TCPConnector(force_close=True)
    return await by_hand.run(plan, url, token, connector=connector, check=_check, store=_store)


async def _check(storage: aiohttp.ClientSession, link: str) -> None:
    async with storage.head(link) as answer:
        answer.raise_for_status()


async def _store(path: pathlib.Path, content: bytes) -> None:
    await asyncio.to_thread(_write, path, content)


def _write(path: pathlib.Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(6)}.part")
    with part.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.link(part, path)
    part.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
