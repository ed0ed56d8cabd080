"""A clock that jumps to the next timer as soon as an event loop has nothing left to do.

How it works
------------
An event loop waits in one place: its selector, until a socket is ready or the next timer is due. The selector of a
virtual event loop never waits for a timer. It asks for ready sockets without a timeout, and then, in this order:

1. A socket is ready: it is served first. The clock stands still.
2. A thread works for the loop (an executor's job, SQLite): wait in real time until it is done. The clock stands still.
3. No timer is set: only another thread or process can wake the loop. Wait in real time, and raise after 30 seconds.
4. A connection is being opened: give the kernel 3.5 seconds of real time. If a listener has no room, it
   asks again after one second and after three.
5. The kernel may still hold what one socket has sent to another: wait until it is delivered, and serve it.
6. Nothing can happen before the next timer: the clock jumps there.

So a client and a server in one loop see the same hours pass in milliseconds, in the same order each time, however slow
the machine is. `time.time` and `time.monotonic` follow the clock in its thread: inside of virtual event loops, and
outside of all loops. Other threads and other event loops keep real time.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any, NoReturn, cast

import attrs

__all__ = ["VirtualClock", "virtual_time"]

_GRACE = 0.0 if sys.platform == "linux" else 0.0002
"""Real seconds for a kernel that delivers between two sockets later than it says."""

_OPENING = 3.5
"""Real seconds for the kernel to open a connection to a listener that has no room at the moment."""

_REAL = {name: getattr(time, name) for name in ("monotonic", "monotonic_ns", "time", "time_ns")}

_FOLLOWERS = ("aiohttp", "a2e_async")
"""Packages whose modules may have imported a function of `time` by its name."""


@attrs.define(eq=False)
class VirtualClock:
    """Seconds that pass only when everything waits for them.

    Attributes:
        elapsed: Virtual seconds since the clock was made.
    """

    elapsed: float = attrs.field(default=0.0, init=False)
    _monotonic: float = attrs.field(default=1000.0, init=False)  # the same each time: so is every rounding
    _time: float = attrs.field(factory=_REAL["time"], init=False)
    _thread: int = attrs.field(factory=threading.get_ident, init=False)
    _holds: int = attrs.field(default=0, init=False)

    def monotonic(self) -> float:
        """Return what `time.monotonic` returns: seconds that never go back."""
        return self._monotonic + self.elapsed

    def time(self) -> float:
        """Return what `time.time` returns: seconds since 1970. It begins at the real time."""
        return self._time + self.elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass at once, as if the machine had slept. Timers that are due meanwhile ring late."""
        self.elapsed += seconds

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Let no time pass inside of the block: something works that the event loop does not know of.

        For example a process, or a thread that was not started by the loop. The loop waits for it in real time.
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
        """Whether the current thread is the one that the clock was made in."""
        return threading.get_ident() == self._thread


_active: VirtualClock | None = None
"""The clock of `virtual_time`."""


def _current() -> VirtualClock | None:
    """Return the clock that the caller's `time` follows."""
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

    def __init__(self, clock: VirtualClock, patience: float) -> None:
        self.clock = clock
        self.jobs: set[object] = set()  # of threads, which hold the clock
        self.opening: dict[socket.socket, float] = {}  # connections, and the real time until which they hold the clock
        self._executor: ThreadPoolExecutor | None = None
        super().__init__(_JumpingSelector(self, patience))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.clock.monotonic()

    def run_in_executor(  # type: ignore[override]  # typeshed ties the arguments to the function
        self,
        executor: Executor | None,
        func: Callable[..., Any],
        *args: Any,  # noqa: ANN401  as in asyncio
    ) -> asyncio.Future[Any]:
        """Call a function in a thread, and let no time pass until it has returned, even if its caller is cancelled."""
        self._check_closed()  # type: ignore[attr-defined]  # what asyncio's own method does first
        if executor is None:
            if self._executor is None:
                self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
            executor = self._executor
        job = cast("Executor", executor).submit(func, *args)
        self.jobs.add(job)
        future = asyncio.wrap_future(job, loop=self)
        job.add_done_callback(self._end)  # after that of `wrap_future`: the result arrives before time may pass
        return future

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:  # noqa: ANN401  as in asyncio
        """Open a connection, and let no time pass while the kernel may still succeed."""
        self.opening[sock] = _REAL["monotonic"]() + _OPENING
        try:
            await super().sock_connect(sock, address)
        finally:
            del self.opening[sock]

    def _end(self, job: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self.call_soon_threadsafe(self.jobs.discard, job)

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        """Set the executor that `asyncio.to_thread` uses."""
        self._executor = executor
        super().set_default_executor(executor)

    async def shutdown_default_executor(self, *args: float | None) -> None:
        """Wait for the threads. asyncio gives them five minutes, which must not pass in a jump."""
        with self.clock.hold():
            await super().shutdown_default_executor(*args)


class _JumpingSelector(selectors.DefaultSelector):
    """The selector of a virtual loop: the real one, but for its timeout."""

    def __init__(self, loop: VirtualEventLoop, patience: float) -> None:
        super().__init__()
        self._loop, self._patience = loop, patience
        self._probe: socket.socket | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if (ready := super().select(0)) or (timeout is not None and timeout <= 0):  # 1
            return ready
        if timeout is None or self._loop.jobs or self._loop.clock.is_held:  # 2, 3
            return super().select(self._patience) or self._give_up()
        if self._loop.opening:  # 4
            left = max(self._loop.opening.values()) - _REAL["monotonic"]()
            if left > 0 and (ready := super().select(left)):
                return ready
        if len(self.get_map()) > 1:  # 5: there is a socket besides the one by which threads wake the loop
            self._flush()
            if ready := super().select(_GRACE):
                return ready
        self._loop.clock.advance(timeout)  # 6
        return []

    def _flush(self) -> None:
        """Wait until the kernel has delivered what was sent: a datagram on the same way arrives behind it."""
        with contextlib.suppress(OSError):  # this machine has no 127.0.0.1, so nothing was sent there
            if self._probe is None:
                self._probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._probe.settimeout(1)
                self._probe.bind(("127.0.0.1", 0))
                self._probe.connect(self._probe.getsockname())
            self._probe.send(b".")
            self._probe.recv(1)

    def _give_up(self) -> NoReturn:
        is_held = self._loop.jobs or self._loop.clock.is_held
        why = "a thread or a process still works" if is_held else "no timer is set"
        tasks = "".join(f"\n  {task!r}" for task in asyncio.all_tasks(self._loop))
        msg = (
            f"virtual time stands still: {why}, and for {self._patience:g} seconds of real time nothing has woken the "
            f"event loop. These tasks wait:{tasks}"
        )
        raise RuntimeError(msg)

    def close(self) -> None:
        if self._probe is not None:
            self._probe.close()
        super().close()


@attrs.frozen(eq=False)
class _Reply:
    """Stands for the future of a request to aiosqlite's thread, and for the loop that the thread sets it by."""

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
    """The requests to the thread of an aiosqlite connection. Each holds the clock until its reply has arrived."""

    def put_nowait(self, item: object) -> None:
        match item:  # what ends the thread has no future, and in older versions it is no pair
            case (asyncio.Future() as future, function) if isinstance(loop := future.get_loop(), VirtualEventLoop):
                reply = _Reply(future, loop)
                loop.jobs.add(reply)
                item = reply, function
        super().put_nowait(item)


@contextlib.contextmanager
def virtual_time(*, patience: float = 30.0) -> Iterator[VirtualClock]:
    """Let every event loop that is made in this thread inside of the block run on virtual time.

    `time.time`, `time.monotonic` and their ``_ns`` forms follow its clock. Other threads, and event loops that exist
    already, keep real time.

    Args:
        patience: Real seconds. A loop that nothing has woken for so long raises a `RuntimeError`, which names its
            tasks: most likely they wait for each other.

    Raises:
        RuntimeError: Virtual time is in use already.

    Example:
        ::

            with virtual_time() as clock:
                asyncio.run(asyncio.sleep(3600))
            assert clock.elapsed >= 3600
    """
    global _active  # noqa: PLW0603  the functions of `time` are global as well
    if _active is not None:
        msg = "virtual_time() is in use already: it cannot be nested, nor used by two threads at once"
        raise RuntimeError(msg)
    clock = VirtualClock()
    real_loop = asyncio.new_event_loop

    def new_event_loop() -> asyncio.AbstractEventLoop:
        return VirtualEventLoop(clock, patience) if clock.is_mine else real_loop()

    import aiosqlite.core  # noqa: PLC0415  only tests pay for the import

    patches: list[tuple[Any, str, Any]] = [
        *((time, name, function) for name, function in _VIRTUAL.items()),
        *((module, name, function) for module, name, function in _imported_by_name()),
        (asyncio, "new_event_loop", new_event_loop),
        (asyncio.events, "new_event_loop", new_event_loop),
        (aiosqlite.core, "SimpleQueue", _HoldingQueue),
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


_scanned: set[str] = set()
_found: list[tuple[ModuleType, str, Callable[[], float]]] = []


def _imported_by_name() -> list[tuple[ModuleType, str, Callable[[], float]]]:
    """Return modules that have imported a function of `time` by name, that name, and what follows the clock instead.

    Only modules that are new since the last call are searched.
    """
    for name in sys.modules.keys() - _scanned:
        _scanned.add(name)
        if name.partition(".")[0] in _FOLLOWERS:
            module = sys.modules[name]
            for attribute, value in vars(module).items():
                _found.extend((module, attribute, _VIRTUAL[real]) for real in _REAL if value is _REAL[real])
    return _found
