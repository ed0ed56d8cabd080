"""Tests of the example of a web application: an order and its job are one transaction, and ends survive a restart."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import runpy
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from a2e_async import A2EClient, Config, PollPolicy
from a2e_async.cluster import Cluster, FolderSink, Worker
from a2e_async.errors import TaskNotFoundError, WaitTimeoutError
from a2e_async.integrations.cluster import ClusterTasks
from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.process("PostgreSQL is a process, which has no virtual time")

EXAMPLE = pathlib.Path(__file__).parents[2] / "docs/examples/cluster_app/orders.py"
IMAGE = "https://images.example/ada.png"


@contextlib.asynccontextmanager
async def shop(database: str) -> AsyncIterator[TestClient[Any, Any]]:
    """Run the application."""
    async with TestClient(TestServer(runpy.run_path(str(EXAMPLE))["make_app"](database))) as client:
        yield client


@contextlib.asynccontextmanager
async def working(database: str, folder: pathlib.Path) -> AsyncIterator[Sandbox]:
    """Run a worker in this event loop, with a local A2E."""
    config = Config(poll=PollPolicy(initial=0.02, steps=((0.0, 0.05),)), proxy="")
    async with (
        Sandbox(speed=500, render="tiny") as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url, config=config) as a2e,
        Cluster(database) as cluster,
    ):
        worker = Worker(cluster, a2e, FolderSink(folder), heartbeat=1.0)
        running = asyncio.create_task(worker.run())
        try:
            yield sandbox
        finally:
            worker.stop()
            await running


async def place(client: TestClient[Any, Any], id: str, prompt: str) -> int:
    """Place an order, and return the status of the response."""
    response = await client.post("/orders", json={"id": id, "image": IMAGE, "prompt": prompt})
    return response.status


async def state(client: TestClient[Any, Any], id: str) -> Any:
    """Return what the application says about an order."""
    return await (await client.get(f"/orders/{id}")).json()


async def test_orders(database: str, tmp_path: pathlib.Path) -> None:
    """An order that is refused leaves no order. Orders of a process that has ended are closed by the next one."""
    async with shop(database) as client:
        assert [await place(client, "17", "she smiles"), await place(client, "18", "#fail")] == [202, 202]
        assert await place(client, "19", "") == 400
        assert [await state(client, id) for id in ("17", "19")] == [{"state": "open", "video": None}, None]
    async with working(database, tmp_path / "videos") as sandbox, shop(database) as client:

        async def ended() -> bool:
            return "open" not in [(await state(client, id))["state"] for id in ("17", "18")]

        async with asyncio.timeout(30):
            while not await ended():
                await asyncio.sleep(0.05)
        assert await state(client, "17") == {"state": "done", "video": str(tmp_path / "videos/17.mp4")}
        assert await state(client, "18") == {"state": "failed", "video": None}
        assert sum(entry.reason == "image-to-video" for entry in sandbox.ledger) == 2
    assert b"ftyp" in (tmp_path / "videos/17.mp4").read_bytes()[:12]


async def test_waits_for_jobs(ready_database: str) -> None:
    """A wait for a job ends with typed errors: an unknown key, a timeout. The job goes on."""
    async with Cluster(ready_database) as cluster:
        await cluster.enqueue({"key": "a", "image_url": IMAGE, "prompt": "she smiles", "negative_prompt": "blurry"})
        tasks = ClusterTasks(cluster)
        with pytest.raises(TaskNotFoundError):
            await tasks.task("unknown").wait_until_done()
        with pytest.raises(WaitTimeoutError):
            await tasks.task("a").wait_until_done(0.05)
        assert repr(tasks.task("a")) == "<ClusterTask 'a' open>"
