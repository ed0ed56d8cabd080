"""The virtual clock: its functions, when it stands still, and when it jumps."""

from __future__ import annotations

import asyncio
import io
import random
import socket
import sys
import threading
import time
import types
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import aiohttp.connector
import aiosqlite.core
import pytest

from a2e_async import A2EClient, TaskStatus
from a2e_async.sandbox import Sandbox
from a2e_async.testing import virtual_time

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from a2e_async.testing import VirtualClock

REAL_SLEEP = 0.05
"""Real seconds for which a thread works: far longer than a loop needs to jump."""


def work(ended: threading.Event | None = None) -> str:
    """Work in a thread for some real time, and return the name of the thread."""
    time.sleep(REAL_SLEEP)
    if ended is not None:
        ended.set()
    return threading.current_thread().name


async def test_timers_run_in_order(a2e_clock: VirtualClock) -> None:
    """Timers run in the order of their times, and the clock has moved to the last one."""
    rung: list[float] = []

    async def ring(seconds: float) -> None:
        await asyncio.sleep(seconds)
        rung.append(seconds)

    await asyncio.gather(*(ring(seconds) for seconds in (3600, 0.5, 86400, 2)))
    assert rung == [0.5, 2, 3600, 86400]
    assert a2e_clock.elapsed == pytest.approx(86400)


async def test_time_follows() -> None:
    """An hour of sleep is an hour for every function of `time`, also where aiohttp imported it by name."""

    def read() -> list[float]:
        now = [time.monotonic(), time.time(), asyncio.get_running_loop().time(), aiohttp.connector.monotonic()]  # type: ignore[attr-defined]
        return [*now, time.monotonic_ns() / 1e9, time.time_ns() / 1e9]

    before = read()
    await asyncio.sleep(3600)
    assert [now - then for now, then in zip(read(), before, strict=True)] == pytest.approx([3600] * 6)


@pytest.mark.own_clock
def test_everything_is_restored() -> None:
    """After the block, and after an error in it, all names have their former values."""
    names = [
        *((time, name) for name in ("monotonic", "monotonic_ns", "time", "time_ns")),
        *((module, "new_event_loop") for module in (asyncio, asyncio.events)),
        (aiohttp.connector, "monotonic"),
        (aiosqlite.core, "SimpleQueue"),
    ]
    before = [getattr(module, name) for module, name in names]
    with pytest.raises(ZeroDivisionError), virtual_time():
        assert [getattr(*name) for name, old in zip(names, before, strict=True) if getattr(*name) is old] == []
        raise ZeroDivisionError
    assert [getattr(module, name) for module, name in names] == before


@pytest.mark.own_clock
def test_later_modules_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that was imported since the last block follows as well, and gets its own function back."""
    with virtual_time():
        pass
    late = types.ModuleType("a2e_async.late")
    late.now = real = time.monotonic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, late.__name__, late)
    with virtual_time() as clock:
        before = late.now()
        clock.advance(60)
        assert late.now() - before == 60
    assert late.now is real


async def test_other_threads_keep_real_time() -> None:
    """Another thread has real time, and its event loop really sleeps."""
    await asyncio.sleep(86400)

    async def sleep() -> float:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        return time.monotonic() - before

    assert time.time() - await asyncio.to_thread(time.time) > 86000
    assert 0.009 < await asyncio.to_thread(lambda: asyncio.run(sleep())) < 60


@pytest.mark.own_clock
def test_older_loops_keep_real_time() -> None:
    """An event loop that was made before the block really sleeps in it, and has real time."""

    async def sleep() -> float:
        before = time.monotonic()
        await asyncio.sleep(0.01)
        return time.monotonic() - before

    with asyncio.Runner() as older:
        older.get_loop()
        with virtual_time() as clock:
            assert 0.009 < older.run(sleep()) < 60
            assert clock.elapsed == 0


async def test_clock_waits_for_a_thread(a2e_clock: VirtualClock) -> None:
    """No time passes while a thread works, so that a timeout of a millisecond does not end."""
    async with asyncio.timeout(0.001):
        await asyncio.to_thread(work)
    assert a2e_clock.elapsed == 0


async def test_clock_waits_for_an_executor(a2e_clock: VirtualClock) -> None:
    """No time passes while an executor of the program works, whether passed to the call or set as the default."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(thread_name_prefix="mine") as mine:
        async with asyncio.timeout(0.001):
            await loop.run_in_executor(mine, work)
            loop.set_default_executor(mine)
            name = await asyncio.to_thread(work)
    assert name.startswith("mine")
    assert a2e_clock.elapsed == 0


async def test_clock_waits_for_a_thread_of_anyio(a2e_clock: VirtualClock) -> None:
    """No time passes while a thread works for FastAPI or Starlette, which have their threads from AnyIO."""
    to_thread = pytest.importorskip("anyio.to_thread")
    async with asyncio.timeout(0.001):
        assert await to_thread.run_sync(work) != threading.current_thread().name
    assert a2e_clock.elapsed == 0


async def test_clock_waits_for_the_threads_of_a_request(a2e_clock: VirtualClock) -> None:
    """No time passes at the end of a request of Django, which waits in another thread until its threads have ended."""
    sync = pytest.importorskip("asgiref.sync")
    async with asyncio.timeout(0.001), sync.ThreadSensitiveContext() as request:
        await sync.sync_to_async(work)()
        sync.SyncToAsync.context_to_thread_executor[request].submit(work)
    assert a2e_clock.elapsed == 0


async def test_clock_waits_for_a_cancelled_job() -> None:
    """A job whose caller was cancelled continues, and no time passes before its end."""
    ended = threading.Event()
    job = asyncio.create_task(asyncio.to_thread(work, ended))
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.sleep(1)
    assert ended.is_set()


async def test_clock_does_not_wait_for_a_queued_job() -> None:
    """A job that was cancelled in the queue of its executor has ended."""
    with ThreadPoolExecutor(1) as busy:
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(busy, work)
        loop.run_in_executor(busy, time.sleep, 3600).cancel()
        await running
        async with asyncio.timeout(2):
            await asyncio.sleep(1)


@pytest.mark.own_clock
def test_closing_a_loop_waits_for_its_threads() -> None:
    """A loop gives threads five minutes at its end: they end in real time, and no virtual time passes."""
    ended = threading.Event()

    async def leave_a_job() -> None:
        asyncio.get_running_loop().run_in_executor(None, work, ended)

    with virtual_time() as clock:
        asyncio.run(leave_a_job())
        assert clock.elapsed == 0
    assert ended.is_set()


async def test_clock_waits_for_sqlite(a2e_clock: VirtualClock) -> None:
    """No time passes while the thread of aiosqlite works."""
    async with asyncio.timeout(0.001), aiosqlite.connect(":memory:") as database:
        await database.create_function("work", 0, work)
        await database.execute("SELECT work()")
        async with database.execute("VALUES (1), (2)") as rows:
            assert [row async for row in rows] == [(1,), (2,)]
    assert a2e_clock.elapsed == 0


async def test_clock_waits_for_cancelled_sqlite() -> None:
    """A statement whose caller was cancelled continues, and no time passes before its end."""
    ended = threading.Event()
    async with aiosqlite.connect(":memory:") as database:
        await database.create_function("work", 0, lambda: work(ended))
        statement = asyncio.ensure_future(database.execute_fetchall("SELECT work()"))
        await asyncio.sleep(0)
        statement.cancel()
        await asyncio.sleep(1)
        assert ended.is_set()


async def test_hold(a2e_clock: VirtualClock) -> None:
    """`hold` stops the clock for work that the loop does not know."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    thread = threading.Thread(target=lambda: (work(), loop.call_soon_threadsafe(done.set_result, 7)))
    with a2e_clock.hold():
        thread.start()
        async with asyncio.timeout(0.001):
            assert await done == 7
    thread.join()
    assert a2e_clock.elapsed == 0


async def test_advance(a2e_clock: VirtualClock) -> None:
    """After `advance`, as after a sleep of the machine, a timer that was due runs at once, and late."""
    timer = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(0)
    a2e_clock.advance(3600)
    await timer
    assert a2e_clock.elapsed == 3600


async def test_sockets_are_served_before_a_jump(a2e_clock: VirtualClock) -> None:
    """Data of sockets come before any timer: a thousand round trips take less than a millisecond."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            writer.write(data)
        writer.close()

    async def talk(port: int) -> None:
        for size in (1, 100_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(100):
                async with asyncio.timeout(0.001):
                    writer.write(b"." * size)
                    await reader.readexactly(size)
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.gather(*(talk(port) for _ in range(5)))
        assert a2e_clock.elapsed == 0


@pytest.fixture
def full_listener() -> Iterator[socket.socket]:
    """A listener with a full backlog: Linux drops connection requests, and sends them again later."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield listener


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse the connection")
async def test_clock_waits_for_a_connection(a2e_clock: VirtualClock, full_listener: socket.socket) -> None:
    """The listener accepts after a moment: the connection is opened, and no time has passed."""

    def make_room() -> None:
        time.sleep(REAL_SLEEP)
        full_listener.accept()[0].close()

    room = threading.Thread(target=make_room)
    room.start()
    async with asyncio.timeout(0.1):
        _, writer = await asyncio.open_connection(*full_listener.getsockname())
    assert a2e_clock.elapsed == 0
    writer.close()
    await writer.wait_closed()
    room.join()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse the connection")
async def test_a_connection_that_is_never_opened(
    monkeypatch: pytest.MonkeyPatch, a2e_clock: VirtualClock, full_listener: socket.socket
) -> None:
    """The listener never accepts: the timeout of the program ends the attempt."""
    monkeypatch.setattr("a2e_async.testing.clock._CONNECT_TIME", REAL_SLEEP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await asyncio.open_connection(*full_listener.getsockname())
    assert a2e_clock.elapsed == pytest.approx(60)


async def test_sandbox_at_the_speed_of_a2e(a2e_clock: VirtualClock, tmp_path: pathlib.Path) -> None:
    """Twenty videos take their 22 to 42 seconds of virtual time; three downloads take none."""
    async with Sandbox(render="tiny", seed=1) as sandbox, A2EClient(sandbox.token, base_url=sandbox.url) as a2e:
        start = a2e.image_to_video.start
        link = "https://example.com/ada.png"
        tasks = await asyncio.gather(
            *(start(image_url=link, prompt="she waves", negative_prompt="blurry") for _ in range(20))
        )
        assert a2e_clock.elapsed < 1
        await asyncio.gather(*(task.wait_until_done() for task in tasks))
        waited = a2e_clock.elapsed
        assert 40 < waited < 44
        await asyncio.gather(*(task.download(tmp_path / f"{task.id}.mp4") for task in tasks[:3]))
        assert a2e_clock.elapsed == pytest.approx(waited)
        assert sandbox.coins == 10_000 - 20 * 30


@pytest.mark.own_clock
def test_same_order_each_time() -> None:
    """Two runs with the same seeds see the same statuses at the same times."""

    async def wait() -> list[tuple[TaskStatus, float]]:
        async with Sandbox(render="tiny", seed=7) as sandbox, A2EClient(sandbox.token, base_url=sandbox.url) as a2e:
            began, updates = time.monotonic(), list[tuple[TaskStatus, float]]()
            task = await a2e.image_to_video.start(
                image_url="https://example.com/ada.png", prompt="she waves", negative_prompt="blurry"
            )
            await task.wait_until_done(
                on_update=lambda update: updates.append((update.new, round(time.monotonic() - began, 6)))
            )
            return updates

    runs = []
    for _ in range(2):
        random.seed(1)  # each client has its own times of polling
        with virtual_time():
            runs.append(asyncio.run(wait()))
    assert runs[0] == runs[1]
    assert runs[0][-1][0] == "succeeded"


@pytest.mark.own_clock
def test_unittest() -> None:
    """The example of tests without pytest passes."""
    tests = unittest.defaultTestLoader.loadTestsFromName("unittest_shop")
    result = unittest.TextTestRunner(stream=io.StringIO()).run(tests)
    assert (result.testsRun, result.wasSuccessful()) == (1, True)


@pytest.mark.own_clock
def test_nested_use() -> None:
    """The second block raises an error, and the first one keeps its clock."""
    with virtual_time() as clock:
        with pytest.raises(RuntimeError, match="already in use"), virtual_time():
            pass
        asyncio.run(asyncio.sleep(5))
        assert clock.elapsed == pytest.approx(5)


@pytest.mark.own_clock
@pytest.mark.filterwarnings("ignore:coroutine")
def test_stalled_loop() -> None:
    """A loop whose tasks wait for each other raises an error that names them."""

    async def wait_for_the_other() -> None:
        await asyncio.get_running_loop().create_future()

    with (
        virtual_time(stall_timeout=0.01),
        pytest.raises(RuntimeError, match=r"(?s)no timer is set.*wait_for_the_other\(\) running at .*test_clock.py"),
    ):
        asyncio.run(wait_for_the_other())


@pytest.mark.own_clock
def test_thread_that_never_ends() -> None:
    """The error names a thread that works for too long."""
    release = threading.Event()

    async def wait_for_a_thread() -> None:
        try:
            async with asyncio.timeout(1):
                await asyncio.to_thread(release.wait)
        finally:
            release.set()

    with virtual_time(stall_timeout=0.01), pytest.raises(RuntimeError, match="a thread or a process still works"):
        asyncio.run(wait_for_a_thread())
