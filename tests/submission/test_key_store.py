"""A store of idempotency keys: no crash, and no other process, makes one key pay twice."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from aiohttp import web
from conditions import wait_until
from in_memory_a2e import InMemoryA2E, client_with_transport
from paid_starts import (
    charged_task_ids,
    count_list_requests,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
    start_in_background,
    start_video,
)
from virtual_clock import now

from a2e_async import (
    A2EClient,
    ConfigurationError,
    InsufficientCreditsError,
    KeyEntry,
    KeyStoreError,
    RateLimitError,
    SQLiteKeyStore,
    SubmissionUncertainError,
)
from a2e_async._submission.keys import MemoryKeyStore
from a2e_async._submission.markers import marker_for_key
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox
    from a2e_async.testing.clock import VirtualClock

KEY = "order-17"
LOST = Fault("drop", after=True)


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the path of a store that does not exist yet."""
    return tmp_path / "keys" / "keys.sqlite"


def client(sandbox: Sandbox, store: Any, **changes: Any) -> A2EClient:
    """Make a client with a store of keys."""
    config = attrs.evolve(quick.CONFIG, **changes)
    return A2EClient(sandbox.token, base_url=sandbox.url, config=config, key_store=store)


def rows(file: pathlib.Path) -> list[tuple[Any, ...]]:
    """Return the rows of a store: key, time and ids."""
    with sqlite3.connect(file) as connection:
        found = connection.execute("SELECT key, sent_at, task_ids FROM keys").fetchall()
    connection.close()
    return found


# the store alone


async def test_entries_are_replaced_only_if_they_are_the_expected_ones(file: pathlib.Path) -> None:
    """`replace` writes if the store holds the expected entry, and tells whether it did."""
    store, first, second = SQLiteKeyStore(file), KeyEntry(sent_at=1.5), KeyEntry(sent_at=2.5, task_ids=("a", "b"))
    assert await store.load("k") is None
    assert not await store.replace("k", first, second)
    assert await store.replace("k", None, first)
    assert not await store.replace("k", None, second)
    assert not await store.replace("k", second, None)
    assert await store.load("k") == first
    assert await store.replace("k", first, second)
    assert await SQLiteKeyStore(str(file)).load("k") == second
    assert await store.load("other") is None
    assert await store.replace("k", second, None)
    assert await store.load("k") is None
    assert await store.replace("k", None, None)


async def test_one_of_many_wins(file: pathlib.Path) -> None:
    """Of twenty stores that write to one key at once, one succeeds."""
    entries = [KeyEntry(sent_at=float(number)) for number in range(20)]
    written = await asyncio.gather(*(SQLiteKeyStore(file).replace("k", None, entry) for entry in entries))
    assert sum(written) == 1
    assert await SQLiteKeyStore(file).load("k") == entries[written.index(True)]


async def test_file_is_private(file: pathlib.Path) -> None:
    """The file is created with its folder, and only its owner can read it."""
    await SQLiteKeyStore(file).load("k")
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_database_of_another_program(file: pathlib.Path) -> None:
    """A database of another program is not touched."""
    file.parent.mkdir()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(KeyStoreError, match="another program"):
        await SQLiteKeyStore(file).load("k")


@pytest.mark.parametrize("content", [b"no database at all, just text" * 100, None], ids=["text", "a folder"])
async def test_file_that_is_no_database(file: pathlib.Path, content: bytes | None) -> None:
    """A file that is no database is a clear error."""
    if content is None:
        file.mkdir(parents=True)
    else:
        file.parent.mkdir()
        file.write_bytes(content)
    with pytest.raises(KeyStoreError, match="cannot be used"):
        await SQLiteKeyStore(file).replace("k", None, KeyEntry(sent_at=1.0))


async def test_damaged_row(file: pathlib.Path) -> None:
    """A row that was changed by hand is a clear error."""
    store = SQLiteKeyStore(file)
    await store.replace("k", None, KeyEntry(sent_at=1.0))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE keys SET task_ids = 'x'")
    connection.close()
    with pytest.raises(KeyStoreError):
        await store.load("k")


@pytest.mark.parametrize("store", ["keys.sqlite", SQLiteKeyStore, object()], ids=["path", "class", "object"])
def test_wrong_key_store(store: Any) -> None:
    """Anything without the methods of a store is rejected when the client is made."""
    with pytest.raises(ConfigurationError, match="key_store"):
        A2EClient("sk_test", key_store=store)


def test_wrong_path() -> None:
    """A path that is none is rejected at once."""
    with pytest.raises(ConfigurationError, match="path"):
        SQLiteKeyStore(17)  # type: ignore[arg-type]  # the wrong type is the test


# starts


async def test_entry_is_written_before_the_start_is_sent(sandbox: Sandbox, file: pathlib.Path) -> None:
    """When A2E gets the start, the file already has the key without tasks; afterwards it has the tasks."""
    seen: list[list[tuple[Any, ...]]] = []

    def look(_: web.Request) -> None:
        seen.append(rows(file))

    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        with sandbox.override("POST", quick.START_PATH, look):
            task = await start_video(a2e, idempotency_key=KEY)
    (((key, _, ids),),) = seen
    assert key.endswith(marker_for_key(KEY))
    assert sandbox.token not in key
    assert ids == "[]"
    ((_, _, ids),) = rows(file)
    assert ids == f'["{task.id}"]'


@pytest.mark.parametrize(
    "faults", [[Fault("status", status=402)], [Fault("429")] * quick.CONFIG.retry.max_attempts], ids=["402", "429"]
)
async def test_rejected_start_leaves_no_entry(sandbox: Sandbox, file: pathlib.Path, faults: list[Fault]) -> None:
    """A start that A2E rejects frees its key at once."""
    sandbox.faults = faults_on_start(*faults)
    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        with pytest.raises((InsufficientCreditsError, RateLimitError)):
            await start_video(a2e, idempotency_key=KEY)
        assert rows(file) == []
        began = now()
        assert not (await start_video(a2e, idempotency_key=KEY)).adopted
        assert now() - began < 5


async def test_suspend_while_the_entry_is_written(sandbox: Sandbox, a2e_clock: VirtualClock) -> None:
    """If the machine is suspended before the request is sent, the entry gets the time after that."""
    ages: list[float] = []

    class SuspendedStore(MemoryKeyStore):
        suspends = 1

        async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
            if self.suspends:
                self.suspends -= 1
                a2e_clock._time += 7200.0  # the wall clock, and A2E's
            return await super().replace(key, old, new)

    store = SuspendedStore()

    def look(_: web.Request) -> None:
        (entry,) = store._entries.values()
        ages.append(time.time() - entry.sent_at)

    async with client(sandbox, store) as a2e:
        with sandbox.override("POST", quick.START_PATH, look):
            await start_video(a2e, idempotency_key=KEY)
    assert [-2 < age < 2 for age in ages] == [True]


async def test_restart_after_a_crash(sandbox: Sandbox, file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """If a process is killed while A2E works on its start, the next one waits for the task instead of paying again."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=30, after=True), invisible=170)
    async with client(sandbox, SQLiteKeyStore(file)) as killed:
        start = await start_in_background(sandbox, killed, idempotency_key=KEY)
        copy = shutil.copy(file, tmp_path / "as_the_killed_process_left_it.sqlite")
        async with client(sandbox, SQLiteKeyStore(copy)) as a2e:
            task = await start_video(a2e, idempotency_key=KEY)
        await start
    assert task.adopted
    assert charged_task_ids(sandbox) == [task.id]


async def test_restart_without_a_store_scans_as_often_as_the_caller_allows(sandbox: Sandbox) -> None:
    """Without a store, `key_scan_delays` finds a task that is listed seconds after the restart."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=30, after=True), invisible=3)
    patient = attrs.evolve(quick.CONFIG.start, key_scan_delays=(0.0, 2.0, 7.0, 20.0))
    async with make_client(sandbox) as killed, make_client(sandbox, start=patient) as a2e:
        start = await start_in_background(sandbox, killed, idempotency_key=KEY)
        task = await start_video(a2e, idempotency_key=KEY)
        await start
        assert task.adopted
        began, before = now(), count_list_requests(sandbox)
        await start_video(a2e, idempotency_key="another")
        assert now() - began >= 20
        assert count_list_requests(sandbox) - before == 4
    assert len(charged_task_ids(sandbox)) == 2


async def test_two_processes_at_once(sandbox: Sandbox, file: pathlib.Path) -> None:
    """Of two processes with one key and one store, one starts, and both get the task, although it is listed late."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=30, after=True), invisible=100)
    async with client(sandbox, SQLiteKeyStore(file)) as one, client(sandbox, SQLiteKeyStore(file)) as two:
        tasks = await asyncio.gather(*(start_video(a2e, idempotency_key=KEY) for a2e in (one, two)))
    assert {task.id for task in tasks} == set(charged_task_ids(sandbox))
    assert sorted(task.adopted for task in tasks) == [False, True]
    assert now() < 60  # the store tells the other process the id, long before the list shows the task
    assert count_starts(sandbox) == 1


async def test_other_process_starts_after_a_rejection(sandbox: Sandbox, file: pathlib.Path) -> None:
    """If the start of one process is rejected, the other one need not wait until it is settled."""
    slow = asyncio.Event()

    async def hold(_: web.Request) -> web.Response | None:
        if slow.is_set():
            return None
        slow.set()
        await asyncio.sleep(10)
        return web.json_response({"code": 402, "msg": "insufficient credits"}, status=402)

    async with client(sandbox, SQLiteKeyStore(file)) as one, client(sandbox, SQLiteKeyStore(file)) as two:
        with sandbox.override("POST", quick.START_PATH, hold):
            first = asyncio.create_task(start_video(one, idempotency_key=KEY))
            await slow.wait()
            task = await start_video(two, idempotency_key=KEY)
            with pytest.raises(InsufficientCreditsError):
                await first
    assert not task.adopted
    assert now() < 60
    assert len(charged_task_ids(sandbox)) == 1


async def test_nothing_is_uploaded_again_if_another_process_was_faster(sandbox: Sandbox, file: pathlib.Path) -> None:
    """If another process takes the key during the upload of the image, its task is returned, and nothing is sent."""
    sandbox.faults = FaultPlan(script={"put": [Fault("delay", seconds=20)]})
    async with client(sandbox, SQLiteKeyStore(file)) as one, client(sandbox, SQLiteKeyStore(file)) as two:
        slow = asyncio.create_task(start_video(one, image=quick.PNG, idempotency_key=KEY))
        await wait_until(lambda: any(seen.method == "PUT" or "presigned" in seen.path for seen in sandbox.requests))
        quickly = await start_video(two, idempotency_key=KEY)
        task = await slow
    assert task.id == quickly.id
    assert task.adopted
    assert count_starts(sandbox) == 1


async def test_settled_key_of_another_process_that_is_not_listed(sandbox: Sandbox, file: pathlib.Path) -> None:
    """A task that the store knows is returned, although A2E neither lists nor shows it yet."""
    sandbox.faults = FaultPlan(invisible=1e6)
    async with client(sandbox, SQLiteKeyStore(file)) as one:
        first = await start_video(one, idempotency_key=KEY)
    async with client(sandbox, SQLiteKeyStore(file)) as two:
        second = await start_video(two, idempotency_key=KEY)
    assert second.id == first.id
    assert second.adopted
    assert charged_task_ids(sandbox) == [first.id]


async def test_deleted_task_frees_its_key(sandbox: Sandbox, file: pathlib.Path) -> None:
    """A key is free at once for all if the client that started its task has deleted it, else after ten minutes."""
    async with client(sandbox, SQLiteKeyStore(file)) as one, client(sandbox, SQLiteKeyStore(file)) as two:
        first = await start_video(one, idempotency_key=KEY)
        await first.wait_until_done(20)
        await first.delete()
        assert rows(file) == []
        second = await start_video(two, idempotency_key=KEY)
        await second.wait_until_done(20)
        async with make_client(sandbox) as stranger:
            await stranger.image_to_video.delete(second.id)
    async with client(sandbox, SQLiteKeyStore(file)) as three:
        assert (await start_video(three, idempotency_key=KEY)).id == second.id
        await asyncio.sleep(700)
        assert (await start_video(three, idempotency_key=KEY)).id not in {first.id, second.id}
    assert len(charged_task_ids(sandbox)) == 3


async def test_deleted_variation(sandbox: Sandbox, file: pathlib.Path) -> None:
    """If one of three tasks is deleted, the key still stands for the others."""
    options: dict[str, Any] = {"image_url": "https://example.com/a.png", "idempotency_key": KEY, **quick.PROMPTS}
    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        first, *others = await a2e.image_to_video.start_variations(3, **options)
        await first.wait_until_done(20)
        await first.delete()
        ((_, _, ids),) = rows(file)
        assert json.loads(ids) == [task.id for task in others]
        assert {task.id for task in await a2e.image_to_video.start_variations(3, **options)} == set(json.loads(ids))


async def test_store_that_fails_after_a_deletion(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """If the store fails after a deletion, the task is deleted, with a warning."""
    async with client(sandbox, FailingStore(3)) as a2e:
        task = await start_video(a2e, idempotency_key=KEY)
        await task.wait_until_done(20)
        await task.delete()
    assert any("the database is gone" in warning for warning in logged_warnings(caplog))


async def test_lost_response_is_settled_in_the_store(sandbox: Sandbox, file: pathlib.Path) -> None:
    """A start that was adopted after a lost response is no open entry."""
    sandbox.faults = faults_on_start(LOST)
    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        task = await start_video(a2e, idempotency_key=KEY)
    ((_, _, ids),) = rows(file)
    assert ids == f'["{task.id}"]'


async def uncertain(sandbox: Sandbox, file: pathlib.Path) -> KeyEntry:
    """Leave an open entry in a store, for a start that A2E has charged and never lists; return it."""
    sandbox.faults = faults_on_start(LOST, invisible=1e9)
    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        with pytest.raises(SubmissionUncertainError):
            await start_video(a2e, idempotency_key=KEY)
    ((key, _, _),) = rows(file)
    entry = await SQLiteKeyStore(file).load(key)
    assert entry is not None
    return entry


@pytest.mark.parametrize("shift", [1e3, 1e8, float("inf")])
async def test_time_of_an_entry_in_the_future(sandbox: Sandbox, file: pathlib.Path, shift: float) -> None:
    """If the time of an entry cannot be right, the whole time is waited for."""
    entry = await uncertain(sandbox, file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE keys SET sent_at = ?", (entry.sent_at + shift,))
    connection.close()
    began = now()
    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        await start_video(a2e, idempotency_key=KEY)
    assert now() - began >= quick.CONFIG.start.accept_time + quick.CONFIG.start.list_delay


async def test_entry_that_is_older_than_the_list(sandbox: Sandbox, file: pathlib.Path) -> None:
    """An open entry of last week proves nothing: the caller has to decide."""
    entry = await uncertain(sandbox, file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE keys SET sent_at = ?", (entry.sent_at - 7 * 86400,))
    connection.close()
    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        with pytest.raises(SubmissionUncertainError, match=r"7 days ago.*resend"):
            await start_video(a2e, idempotency_key=KEY)
        assert not (await start_video(a2e, idempotency_key=KEY, on_unknown="resend")).adopted


class FailingStore:
    """Store whose operations fail from a number on."""

    def __init__(self, operations: int) -> None:
        self.operations = operations

    async def load(self, key: str) -> KeyEntry | None:
        """Find nothing, or fail."""
        self._count()
        return None

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Write nothing, or fail."""
        self._count()
        return True

    def _count(self) -> None:
        self.operations -= 1
        if self.operations < 0:
            msg = "the database is gone"
            raise OSError(msg)


@pytest.mark.parametrize("operations", [0, 1])
async def test_store_that_fails_before_the_start(sandbox: Sandbox, operations: int) -> None:
    """If the store fails before the start is sent, nothing is started, and no slot of the throttle is lost."""
    async with client(sandbox, FailingStore(operations)) as a2e:
        with pytest.raises(KeyStoreError, match=r"Nothing was started.*the database is gone"):
            await start_video(a2e, idempotency_key=KEY)
        assert a2e._state.services().api.throttled.throttle.in_flight == 0
    assert count_starts(sandbox) == 0


class StaleStore:
    """Store whose `load` shows nothing that another process has written."""

    loads = 0

    async def load(self, key: str) -> KeyEntry | None:
        """Find nothing."""
        self.loads += 1
        return None

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Find that another process was faster."""
        return False


@pytest.mark.virtual_time
async def test_store_that_contradicts_itself(sandbox: Sandbox) -> None:
    """A store whose two methods do not agree ends in an error after a few seconds, without a request in between."""
    store, began = StaleStore(), now()
    async with client(sandbox, store) as a2e:
        with pytest.raises(KeyStoreError, match=r"Nothing was started.*do load and replace use one database"):
            await start_video(a2e, idempotency_key=KEY)
    assert count_starts(sandbox) == 0
    assert store.loads == 6
    assert 4.0 < now() - began < 10.0


class WrongStore:
    """Store whose methods return other things than they should."""

    def __init__(self, loaded: Any, written: Any) -> None:
        self.loaded, self.written = loaded, written

    async def load(self, key: str) -> Any:
        """Return anything."""
        return self.loaded

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> Any:
        """Return anything."""
        return self.written


@pytest.mark.parametrize(
    ("loaded", "written", "message"),
    [
        ({"sent_at": 1.0}, True, "load of the key store must return a KeyEntry"),
        (KeyEntry(sent_at="2026-11-30"), True, "seconds since the epoch"),  # type: ignore[arg-type]
        (None, None, "replace of the key store must return whether"),
    ],
    ids=["load returns a dict", "a time that is a text", "replace returns None"],
)
async def test_store_with_wrong_values(sandbox: Sandbox, loaded: Any, written: Any, message: str) -> None:
    """A store that breaks the protocol is named, and nothing is started."""
    async with client(sandbox, WrongStore(loaded, written)) as a2e:
        with pytest.raises(KeyStoreError, match=rf"Nothing was started.*{message}"):
            await start_video(a2e, idempotency_key=KEY)
    assert count_starts(sandbox) == 0


class HangingStore(FailingStore):
    """Store whose operations never end from a number on."""

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Write nothing, or hang."""
        self.operations -= 1
        if self.operations < 0:
            await asyncio.sleep(1e9)
        return True


@pytest.mark.parametrize("operations", [1, 2])
async def test_store_that_hangs(sandbox: Sandbox, operations: int, caplog: pytest.LogCaptureFixture) -> None:
    """A store that hangs delays a start by half a minute: before it nothing is started, after it the task is returned."""
    async with client(sandbox, HangingStore(operations)) as a2e:
        if operations == 1:
            with pytest.raises(KeyStoreError, match="TimeoutError"):
                await start_video(a2e, idempotency_key=KEY)
        else:
            await start_video(a2e, idempotency_key=KEY)
            assert any("TimeoutError" in warning for warning in logged_warnings(caplog))
    assert count_starts(sandbox) == operations - 1
    assert now() < 120


async def test_one_store_for_two_accounts(sandbox: Sandbox, file: pathlib.Path) -> None:
    """One key with two tokens is two jobs, also in one store."""
    async with client(sandbox, SQLiteKeyStore(file)) as one:
        first = await start_video(one, idempotency_key=KEY)
    sandbox.token = "sk_another"
    sandbox.faults = FaultPlan(invisible=1e6)
    async with client(sandbox, SQLiteKeyStore(file)) as two:
        await two.image_to_video.delete(first.id)
        assert (await start_video(two, idempotency_key=KEY)).id != first.id
    assert len(rows(file)) == 2


async def test_store_that_fails_after_the_start(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """If the store fails after the start, the task is returned, with a warning."""
    async with client(sandbox, FailingStore(2)) as a2e:
        task = await start_video(a2e, idempotency_key=KEY)
    assert charged_task_ids(sandbox) == [task.id]
    assert any("the database is gone" in warning for warning in logged_warnings(caplog))


async def test_start_that_is_cancelled_right_after_its_claim(sandbox: Sandbox) -> None:
    """A start that is cancelled after its claim and before its request sends nothing, and frees its key."""

    class CancellingStore(MemoryKeyStore):
        async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
            if old is None:
                asyncio.get_running_loop().call_soon(start.cancel)
            return await super().replace(key, old, new)

    store = CancellingStore()
    async with client(sandbox, store) as a2e:
        start = asyncio.create_task(start_video(a2e, idempotency_key=KEY))
        with pytest.raises(asyncio.CancelledError):
            await start
        assert a2e._state.services().api.throttled.throttle.in_flight == 0
    assert not charged_task_ids(sandbox)
    assert not store._entries


async def test_cancelled_start_is_settled_in_the_store(sandbox: Sandbox, file: pathlib.Path) -> None:
    """The task of a cancelled start is in the store when the client is closed, also after two cancellations."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=5, after=True))
    async with client(sandbox, SQLiteKeyStore(file)) as a2e:
        start = await start_in_background(sandbox, a2e, idempotency_key=KEY)
        start.cancel()
        await asyncio.sleep(0.1)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
    ((_, _, ids),) = rows(file)
    assert ids == f'["{charged_task_ids(sandbox)[0]}"]'


def test_store_in_two_event_loops(monkeypatch: pytest.MonkeyPatch, file: pathlib.Path) -> None:
    """One client and one store serve one event loop after the other."""
    service = InMemoryA2E(1, healthy=True)
    a2e = client_with_transport(monkeypatch, service, key_store=SQLiteKeyStore(file))

    async def main() -> str:
        async with a2e:
            return (await start_video(a2e, idempotency_key=KEY)).id

    assert asyncio.run(main()) == asyncio.run(main())
    assert len(service.tasks) == 1


_CHILD = """
import asyncio, sys
from a2e_async import A2EClient, SQLiteKeyStore

async def main():
    url, token, file = sys.argv[1:]
    async with A2EClient(token, base_url=url, key_store=SQLiteKeyStore(file)) as a2e:
        task = await a2e.image_to_video.start(
            image_url="https://example.com/a.png", prompt="p", negative_prompt="n", idempotency_key="order-17")
        print(task.id)

asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="no other system has SIGKILL")
@pytest.mark.realtime("a process that is killed while A2E works on its start")
async def test_killed_process(sandbox: Sandbox, file: pathlib.Path) -> None:
    """A process is killed after A2E has charged its start; the next one, at once, returns the task of the first."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=30, after=True), invisible=2)
    command = [sys.executable, "-c", _CHILD, sandbox.url, sandbox.token, str(file)]
    with subprocess.Popen(command) as killed:
        await wait_until(lambda: sandbox.ledger, seconds=30)
        killed.send_signal(signal.SIGKILL)
        await asyncio.to_thread(killed.wait)
    output = await asyncio.to_thread(subprocess.check_output, command, timeout=60)
    assert charged_task_ids(sandbox) == [output.decode().strip()]
