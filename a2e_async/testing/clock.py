"""Virtual time: a clock that jumps to the next timer when an event loop has nothing else to do.

How it works
------------
An event loop waits in one place: its selector, until a socket is ready or the next timer is due. The selector of a
virtual event loop never waits for a timer. It selects ready sockets without a timeout, and then, in this order:

1. A socket is ready: return it. The clock stands still.
2. A thread works for the loop (a job of an executor, of AnyIO or asgiref, SQLite): wait in real time until it ends. The
   clock stands still.
3. No timer is set: only another thread or process can wake the loop. Wait in real time; raise after 30 seconds.
4. A connection is being opened: give the kernel 3.5 seconds of real time. If the backlog of a listener is full, the
   kernel tries again after one second and after three.
5. The kernel may still have data that one socket has sent to another: wait until it is delivered, and return it.
6. Nothing can happen before the next timer: the clock jumps to it.

So a client and a server in one loop see hours pass in milliseconds, with the same order of events in each run, even on
a slow machine. `time.time` and `time.monotonic` follow the clock in its thread: inside of virtual event loops, and
outside of all event loops. Other threads and other event loops keep real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import queue
import selectors
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any, NoReturn, cast

import attrs

__all__ = ["VirtualClock", "virtual_time"]

# Real seconds that a kernel other than Linux may need to deliver data between two sockets after a send.
_DELIVERY_TIME = 0.0 if sys.platform == "linux" else 0.0002

# Real seconds in which the kernel can open a connection to a listener whose backlog is full.
_CONNECT_TIME = 3.5

_REAL = {name: getattr(time, name) for name in ("monotonic", "monotonic_ns", "time", "time_ns")}

# Coroutine functions that wait for threads of their own (FastAPI, Starlette, Django), as (module, class, function).
_WAIT_FOR_THREADS = (
    ("anyio.to_thread", "", "run_sync"),
    ("asgiref.sync", "ThreadSensitiveContext", "__aexit__"),
)

# Packages whose modules may have imported a function of `time` by name.
_PATCHED_PACKAGES = ("aiohttp", "a2e_async")


@attrs.define(eq=False)
class VirtualClock:
    """Clock that advances only when all tasks of its event loops wait.

    Attributes:
        elapsed: Virtual seconds since the clock was made.
    """

    elapsed: float = attrs.field(default=0.0, init=False)
    _monotonic: float = attrs.field(default=1000.0, init=False)  # a constant: each run rounds alike
    _time: float = attrs.field(factory=_REAL["time"], init=False)
    _thread: int = attrs.field(factory=threading.get_ident, init=False)
    _holds: int = attrs.field(default=0, init=False)

    def monotonic(self) -> float:
        """Return the seconds of the monotonic clock, as `time.monotonic` does."""
        return self._monotonic + self.elapsed

    def time(self) -> float:
        """Return the seconds since 1970, as `time.time` does. They begin at the real time."""
        return self._time + self.elapsed

    def advance(self, seconds: float) -> None:
        """Advance the clock at once, as if the machine had slept. Timers that were due meanwhile are late."""
        self.elapsed += seconds

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Stop the clock inside of the block, for work that the event loop does not know.

        Such work is a process, or a thread that the loop did not start. The loop waits for it in real time.
        """
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    @property
    def is_held(self) -> bool:
        """Whether a block of `hold` is open."""
        return self._holds > 0

    @property
    def is_mine(self) -> bool:
        """Whether the clock was made in the current thread."""
        return threading.get_ident() == self._thread


_active: VirtualClock | None = None  # the clock of `virtual_time`


def _current() -> VirtualClock | None:
    """Return the clock for the caller's functions of `time`."""
    clock = _active
    if clock is None or not clock.is_mine:
        return None
    loop = asyncio._get_running_loop()  # noqa: SLF001  its public twin raises where no loop runs
    return clock if loop is None or getattr(loop, "clock", None) is clock else None


def _monotonic() -> float:
    clock = _current()
    return clock.monotonic() if clock else _REAL["monotonic"]()


def _monotonic_ns() -> int:
    clock = _current()
    return int(clock.monotonic() * 1e9) if clock else _REAL["monotonic_ns"]()


def _time() -> float:
    clock = _current()
    return clock.time() if clock else _REAL["time"]()


def _time_ns() -> int:
    clock = _current()
    return int(clock.time() * 1e9) if clock else _REAL["time_ns"]()


_VIRTUAL = {"monotonic": _monotonic, "monotonic_ns": _monotonic_ns, "time": _time, "time_ns": _time_ns}


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """An event loop on a `VirtualClock`, for the thread in which the clock was made."""

    def __init__(self, clock: VirtualClock, stall_timeout: float) -> None:
        self.clock = clock
        self.jobs: set[object] = set()  # jobs of threads; while there are any, the clock stands still
        self.connecting: dict[socket.socket, float] = {}  # until which real time each may stop the clock
        self._executor: ThreadPoolExecutor | None = None
        super().__init__(_JumpingSelector(self, stall_timeout))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.clock.monotonic()

    def run_in_executor(  # type: ignore[override]  # typeshed ties the arguments to the function
        self,
        executor: Executor | None,
        func: Callable[..., Any],
        *args: Any,  # noqa: ANN401  as in asyncio
    ) -> asyncio.Future[Any]:
        """Call a function in a thread. The clock stands still until it returns, even if its caller is cancelled."""
        self._check_closed()  # type: ignore[attr-defined]  # as asyncio's method does first
        if executor is None:
            if self._executor is None:
                self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
            executor = self._executor
        job = cast("Executor", executor).submit(func, *args)
        self.jobs.add(job)
        future = asyncio.wrap_future(job, loop=self)
        job.add_done_callback(self._end)  # after the callback of `wrap_future`: the result arrives first
        return future

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:  # noqa: ANN401  as in asyncio
        """Open a connection. The clock stands still while the kernel may still succeed."""
        self.connecting[sock] = _REAL["monotonic"]() + _CONNECT_TIME
        try:
            await super().sock_connect(sock, address)
        finally:
            del self.connecting[sock]

    def _end(self, job: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed in the meantime
            self.call_soon_threadsafe(self.jobs.discard, job)

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Set the executor that `asyncio.to_thread` uses."""
        self._executor = executor
        super().set_default_executor(executor)

    async def shutdown_default_executor(self, *args: float | None) -> None:
        """Wait for the threads."""
        # asyncio gives them five minutes, which must not pass in one jump.
        with self.clock.hold():
            await super().shutdown_default_executor(*args)


class _JumpingSelector(selectors.DefaultSelector):
    """Selector of a virtual event loop, which never waits for a timer."""

    def __init__(self, loop: VirtualEventLoop, stall_timeout: float) -> None:
        super().__init__()
        self._loop, self._stall_timeout = loop, stall_timeout
        self._probe: socket.socket | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if (ready := super().select(0)) or (timeout is not None and timeout <= 0):  # case 1
            return ready
        if timeout is None or self._loop.jobs or self._loop.clock.is_held:  # cases 2 and 3
            return super().select(self._stall_timeout) or self._raise_stalled()
        if self._loop.connecting:  # case 4
            left = max(self._loop.connecting.values()) - _REAL["monotonic"]()
            if left > 0 and (ready := super().select(left)):
                return ready
        if len(self.get_map()) > 1:  # case 5: one socket is that by which threads wake the loop
            self._flush()
            if ready := super().select(_DELIVERY_TIME):
                return ready
        self._loop.clock.advance(timeout)  # case 6
        return []

    def _flush(self) -> None:
        """Wait until the kernel has delivered all data between sockets."""
        # The loopback interface delivers in order: when this datagram arrives, everything sent before has arrived.
        with contextlib.suppress(OSError):  # a machine without 127.0.0.1 sends nothing there
            if self._probe is None:
                self._probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._probe.settimeout(1)
                self._probe.bind(("127.0.0.1", 0))
                self._probe.connect(self._probe.getsockname())
            self._probe.send(b".")
            self._probe.recv(1)

    def _raise_stalled(self) -> NoReturn:
        is_held = self._loop.jobs or self._loop.clock.is_held
        cause = "a thread or a process still works" if is_held else "no timer is set"
        tasks = "".join(f"\n  {task!r}" for task in asyncio.all_tasks(self._loop))
        msg = (
            f"virtual time stands still: {cause}, and nothing has woken the event loop for "
            f"{self._stall_timeout:g} seconds of real time. These tasks are waiting:{tasks}"
        )
        raise RuntimeError(msg)

    def close(self) -> None:
        if self._probe is not None:
            self._probe.close()
        super().close()


@attrs.frozen(eq=False)
class _Reply:
    """Stand-in for the future of a request to aiosqlite's thread, and for the event loop of that future."""

    future: asyncio.Future[Any]
    loop: VirtualEventLoop

    def get_loop(self) -> _Reply:
        return self

    def call_soon_threadsafe(self, set_future: Callable[..., None], _: object, value: object) -> None:
        self.loop.call_soon_threadsafe(self._arrive, set_future, value)

    def _arrive(self, set_future: Callable[..., None], value: object) -> None:
        self.loop.jobs.discard(self)
        set_future(self.future, value)


class _HoldingQueue(queue.SimpleQueue[Any]):
    """Queue of requests to the thread of an aiosqlite connection. Each stops the clock until its reply has arrived."""

    def put_nowait(self, item: object) -> None:
        match item:  # the item that ends the thread has no future, and in older versions it is not a pair
            case (asyncio.Future() as future, function) if isinstance(loop := future.get_loop(), VirtualEventLoop):
                reply = _Reply(future, loop)
                loop.jobs.add(reply)
                item = reply, function
        super().put_nowait(item)


@contextlib.contextmanager
def virtual_time(*, stall_timeout: float = 30.0) -> Iterator[VirtualClock]:
    """Run every event loop that this thread makes inside of the block on virtual time.

    `time.time`, `time.monotonic` and their ``_ns`` forms follow its clock. Other threads, and event loops that exist
    already, keep real time.

    Args:
        stall_timeout: Real seconds. An event loop that nothing wakes for this time raises a `RuntimeError` with a list
            of its tasks. Most likely they wait for each other.

    Raises:
        RuntimeError: Virtual time is already in use.

    Example:
        ::

            with virtual_time() as clock:
                asyncio.run(asyncio.sleep(3600))
            assert clock.elapsed >= 3600
    """
    global _active  # noqa: PLW0603  the functions of `time` are global as well
    if _active is not None:
        msg = "virtual_time() is already in use: it cannot be nested, and only one thread can use it at a time"
        raise RuntimeError(msg)
    clock = VirtualClock()
    real_loop = asyncio.new_event_loop

    def new_event_loop() -> asyncio.AbstractEventLoop:
        return VirtualEventLoop(clock, stall_timeout) if clock.is_mine else real_loop()

    import aiosqlite.core  # noqa: PLC0415  only tests need the import

    patches: list[tuple[Any, str, Any]] = [
        *((time, name, function) for name, function in _VIRTUAL.items()),
        *((module, name, function) for module, name, function in _imported_by_name()),
        (asyncio, "new_event_loop", new_event_loop),
        (asyncio.events, "new_event_loop", new_event_loop),
        (aiosqlite.core, "SimpleQueue", _HoldingQueue),
        *((owner, name, _holding(clock, getattr(owner, name))) for owner, name in _owners()),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in patches]
    try:
        for module, name, value in patches:
            setattr(module, name, value)
        _active = clock
        yield clock
    finally:
        _active = None
        for module, name, value in before:
            setattr(module, name, value)


def _owners() -> Iterator[tuple[Any, str]]:
    """Yield the owners and names of the functions that wait for threads, as far as their packages are installed."""
    for module_name, class_name, name in _WAIT_FOR_THREADS:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(module_name)
            yield (getattr(module, class_name) if class_name else module), name


def _holding(clock: VirtualClock, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return the coroutine function as one during which the clock stands still."""

    @functools.wraps(function)
    async def hold_and_call(*args: object, **options: object) -> object:
        with clock.hold() if clock.is_mine else contextlib.nullcontext():
            return await function(*args, **options)

    return hold_and_call


_scanned: set[str] = set()
_patches: list[tuple[ModuleType, str, Callable[[], float]]] = []


def _imported_by_name() -> list[tuple[ModuleType, str, Callable[[], float]]]:
    """Return modules that imported a function of `time` by name, that name, and the virtual function for it."""
    for name in sys.modules.keys() - _scanned:  # only the new ones, since each test searches
        _scanned.add(name)
        if name.partition(".")[0] in _PATCHED_PACKAGES:
            module = sys.modules[name]
            for attribute, value in vars(module).items():
                _patches.extend((module, attribute, _VIRTUAL[real]) for real in _REAL if value is _REAL[real])
    return _patches
