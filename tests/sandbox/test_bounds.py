"""Bounds of a sandbox that runs for a long time: tasks, changes of the balances, files, and inputs in memory."""

from __future__ import annotations

import asyncio
import pathlib
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox import state as state_module
from a2e_async.sandbox.media import storage
from a2e_async.sandbox.media.renderer import _image_size  # the only place that knows sizes
from a2e_async.sandbox.media.storage import Fetched, InputFetcher, Storage, StoredObject
from a2e_async.sandbox.state import LedgerEntry, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_requests import Call, FinishedTask, Start


@pytest.fixture
def store() -> Iterator[Storage]:
    """A storage."""
    made = Storage(cdn_lag=0)
    yield made
    made.close()


def add(store: Storage, address: str, size: int) -> StoredObject:
    """Store an object of some bytes."""
    path = store.new_file()
    path.write_bytes(bytes(size))
    stored = StoredObject(path=path, content_type="image/png")
    store.store(address, stored)
    return stored


def test_oldest_files_are_removed(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too many bytes, the oldest files go from the disk and the CDN; the newest one always stays."""
    monkeypatch.setattr(storage, "_MAX_STORED", 100)
    first, second = add(store, "a", 60), add(store, "b", 40)
    assert (store.visible("a"), store.visible("b")) == (first, second)
    third = add(store, "c", 50)
    assert (store.visible("a"), store.visible("b"), store.visible("c")) == (None, second, third)
    assert [each.path.exists() for each in (first, second, third)] == [False, True, True]
    huge = add(store, "d", 1000)
    assert [store.visible(address) for address in "abcd"] == [None, None, None, huge]


def test_a_file_of_many_objects_counts_once(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constant result of `render="tiny"` is one file, however many tasks have it."""
    monkeypatch.setattr(storage, "_MAX_STORED", 100)
    tiny = add(store, "a", 60)
    for number in range(50):
        store.store(f"copy-{number}", tiny)
    assert store.visible("a") is tiny


def test_objects_and_upload_urls_are_bounded(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables in memory do not grow without end."""
    monkeypatch.setattr(storage, "_MAX_OBJECTS", 3)
    for number in range(9):
        add(store, str(number), 1)
        store.grant(storage.Grant(address="a", content_type="", length=None, lifetime=60))
    assert [number for number in range(9) if store.visible(str(number))] == [6, 7, 8]
    assert len(store._grants) == 3


async def test_tiny_results_survive_the_removal(
    finished_task: FinishedTask, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its file was removed, a constant result is written again."""
    async with Sandbox(render="tiny", speed=1000) as sandbox:
        old = await finished_task(sandbox, "#fast")
        monkeypatch.setattr(storage, "_MAX_STORED", 1000)
        links = (await call(sandbox, "POST", "/api/v1/r2/upload-presigned-url", {"key": "a.png"})).data
        await call(sandbox, "PUT", links["uploadUrl"], data=bytes(2000), headers={"Content-Type": "image/png"})
        assert (await call(sandbox, "GET", old.result_url)).status == 404
        new = await finished_task(sandbox, "#fast")
        assert len((await call(sandbox, "GET", new.result_url)).content) == 1983


async def test_oldest_tasks_are_forgotten(start: Start, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest task is forgotten if it has ended, and never one that runs."""
    monkeypatch.setattr(state_module, "_MAX_RECORDED", 2)
    async with Sandbox(render="tiny", speed=0.001) as sandbox:
        ids = [(await start(sandbox)).data["_id"] for _ in range(3)]
        assert list(sandbox.tasks) == ids
        sandbox.fail(ids[0])
        newest = (await start(sandbox)).data["_id"]
        assert list(sandbox.tasks) == [*ids[1:], newest]
        assert (await call(sandbox, "GET", f"/api/v1/userImage2Video/{ids[0]}")).status != 200


def test_the_ledger_is_bounded() -> None:
    """Of the changes of the balances, the latest 100,000 are kept."""
    state = State(coins=1)
    entry = LedgerEntry(reason="x", task_id=None, coins=-1)
    state.ledger.extend([entry] * 100_001)
    assert len(state.ledger) == 100_000


async def test_few_inputs_are_in_memory(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tasks wait for their rendering, the inputs of only a few are read."""
    active, most = 0, 0

    async def fetch(*_: object) -> Fetched:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.01)
        active -= 1
        return Fetched("text/html", b"")

    monkeypatch.setattr(InputFetcher, "fetch", fetch)
    async with Sandbox(speed=1000) as sandbox:
        for _ in range(30):
            await start(sandbox)
        async with asyncio.timeout(30):
            while not all(task.done for task in sandbox.tasks.values()):
                await asyncio.sleep(0.01)
    assert 1 < most <= 8


@pytest.mark.parametrize("size", ["50000*50000", f"{'9' * 9999}*1", "0*0"])
def test_sizes_of_rendered_images(size: str) -> None:
    """No size that a start asks for makes the sandbox draw a huge image."""
    start = SimpleNamespace(sent={"size": size})
    width, height = _image_size(start)  # type: ignore[arg-type]  # only its fields count
    assert 1 <= width <= 2048
    assert 1 <= height <= 2048


async def test_an_aborted_upload_leaves_no_file(call: Call) -> None:
    """Half a file of a client that has gone is removed."""
    async with Sandbox(render="tiny") as sandbox:
        body = {"key": "a.png", "contentLength": 5000}
        url = (await call(sandbox, "POST", "/api/v1/r2/upload-presigned-url", body)).data["uploadUrl"]
        host, _, port = sandbox.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        path = url.removeprefix(sandbox.url)
        writer.write(f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5000\r\n\r\nabc".encode())
        await writer.drain()
        files = sandbox._storage
        assert files is not None
        async with asyncio.timeout(10):
            while files._directory is None:
                await asyncio.sleep(0.01)
            folder = files._directory.name
            writer.close()

            while [*pathlib.Path(folder).iterdir()]:
                await asyncio.sleep(0.01)
