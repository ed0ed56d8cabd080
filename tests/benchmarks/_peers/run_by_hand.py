"""A simple client: aiohttp, and a loop for each task that polls every five seconds; see `waiter.Sdk`."""

from __future__ import annotations

import asyncio

import aiohttp


def connect(url: str, key: str) -> aiohttp.ClientSession:
    """Make a session, with the 100 connections that aiohttp allows by default."""
    return aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"})


async def pick_up(session: aiohttp.ClientSession, id: str) -> str:
    """Return the id, which is enough to wait for a video."""
    return id


async def wait(session: aiohttp.ClientSession, id: str) -> str:
    """Wait for it, and return its link."""
    while True:
        async with session.get(f"/api/v1/userImage2Video/{id}") as response:
            data = (await response.json())["data"]
        if data["current_status"] == "completed":
            return str(data["result_url"])
        if data["current_status"] == "failed":
            raise RuntimeError(data["failed_message"])
        await asyncio.sleep(5)
