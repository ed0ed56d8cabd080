"""Waits in the background of a web application or a bot: one for each task, across restarts and worker processes."""

# How it works: each task that is watched has one asyncio task here, which
#
# 1. takes the lease of the task, if there are several processes: only its holder waits. It is renewed meanwhile.
# 2. waits for the end. Only a task that A2E does not know any more counts as gone. An error that ends the wait without
#    an end of the task (a wrong token) is logged, and the wait begins again later.
# 3. calls the function of the application for this end. An error of that function is logged, and it is called again.
#
# Nothing is stored here. The tasks that are open are in the application's database: `open_ids` reads them at the start
# and from time to time. The function of an end writes there that its task is closed, as its last step. So a process may
# die at any point: another one, or the next start, sees the task as open. The functions are called at least once.

import asyncio
import contextvars
import functools
import logging
import secrets
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from a2e_async._protocol.validation import check_seconds, raise_invalid
from a2e_async.errors import A2EError, ClientClosedError, ConfigurationError, TaskFailedError, TaskNotFoundError

__all__ = ["Lease", "OnEnd", "OnSuccess", "OpenIds", "Supervisor", "Watched", "WatchedFamily"]


class Watched(Protocol):
    """What a supervisor needs of a task: a `TaskHandle`, or a job of a cluster."""

    @property
    def id(self) -> str:
        """Its id in the application's database."""
        ...

    async def wait_until_done(
        self,
        timeout: float | None = ...,  # noqa: ASYNC109  as in `TaskHandle`
        *,
        outage_budget: float | None = ...,
    ) -> object:
        """Wait for its end.

        Raises:
            TaskFailedError: It has failed.
            TaskNotFoundError: It is gone.
        """
        ...


R = TypeVar("R", bound=Watched)
R_co = TypeVar("R_co", bound=Watched, covariant=True)


class WatchedFamily(Protocol[R_co]):
    """What a supervisor needs of a family of tasks: ``a2e.image_to_video``, or the jobs of a cluster."""

    def task(self, id: str, /) -> R_co:
        """Return a task by its id. Nothing is sent."""
        ...


OnSuccess: TypeAlias = Callable[[R], Awaitable[object]]
"""Called with the handle of a task that has succeeded."""

OnEnd: TypeAlias = Callable[[R, A2EError], Awaitable[object]]
"""Called with the handle of a task, and the error that says how it ended."""

OpenIds: TypeAlias = Callable[[], Awaitable[Iterable[str]] | AsyncIterable[str]]
"""Returns the ids of the tasks that the application's database calls open: an async function or an async generator."""

Lease: TypeAlias = Callable[[str, str, float], Awaitable[bool]]
"""Takes or renews the lease of a task, and returns whether this process holds it.

Its arguments are the id of the task, a random name of this supervisor, and the seconds that the lease lasts; 0 gives
it back. It must be atomic, such as one SQL ``UPDATE`` that sets the owner where there is none, where it is the same
one, or where the lease has expired.
"""

_LOGGER = logging.getLogger("a2e_async")

_CHUNK = 100  # waits started in one pass of the event loop, so that very many do not block it

_MAX_DELAY = 600.0  # seconds between two calls of a function that raises errors

_GIVE_BACK_TIMEOUT = 5.0  # seconds, since the end of the application waits for it


class Supervisor(Generic[R]):
    """Waits for tasks in the background, and calls a function of the application when each of them ends.

    Use it with ``async with``, inside of that of the client, or pass it to the lifespan of your framework. It needs
    no framework. A web request starts a task, stores its id, calls `watch`, and answers at once.

    Every task has one wait, however often it is watched. At the start, the tasks of `open_ids` are watched. At the end,
    all waits end and the tasks at A2E go on: the next start, or another process, continues.
    """

    def __init__(
        self,
        tasks: WatchedFamily[R],
        *,
        on_success: OnSuccess[R],
        on_failure: OnEnd[R],
        on_gone: OnEnd[R],
        open_ids: OpenIds | None = None,
        lease: Lease | None = None,
        lease_seconds: float = 60.0,
        scan_interval: float | None = 60.0,
        max_calls: int = 10,
        grace: float = 0.5,
    ) -> None:
        """Check the arguments. Nothing is opened or sent.

        Each function must write to your database, as its last step, that the task is not open any more. An error that
        it raises is logged, and it is called again after 1, 2, 4 ... seconds, at most 10 minutes, until it returns. It
        can be called twice for one task, since a process can die after the call.

        Args:
            tasks: The family, such as ``a2e.image_to_video``, or `ClusterTasks` of a cluster.
            on_success: Called with the handle of a task that has succeeded, for example to download its result.
            on_failure: Called with the handle and a `TaskFailedError`.
            on_gone: Called with the handle and a `TaskNotFoundError`: deleted, expired, or of another account.
            open_ids: Returns the ids that your database calls open. It is called at the start, and again every
                `scan_interval` seconds, for tasks of processes that have died.
            lease: Needed if several processes have a supervisor: only the process that holds the lease of a task waits
                for it and calls the functions. A task whose process has died is taken over when its lease has expired.
            lease_seconds: How long a lease lasts. It is renewed after a third of that.
            scan_interval: Seconds between two calls of `open_ids`; None calls it at the start only.
            max_calls: The most calls of your functions at the same time.
            grace: Seconds at the end for calls of your functions that are under way; then they are cancelled.

        Raises:
            InvalidRequestError: A number is not valid, or something else than a function was passed.
        """
        for name, value in (("lease_seconds", lease_seconds), ("scan_interval", scan_interval), ("grace", grace)):
            check_seconds(name, value)
            if (value is None and name != "scan_interval") or (value is not None and value <= 0 and name != "grace"):
                raise_invalid(f"{name} must be more than 0 seconds, not {value!r}")
        if isinstance(max_calls, bool) or not isinstance(max_calls, int) or max_calls < 1:
            raise_invalid(f"max_calls must be an int of 1 or more, not {max_calls!r}")
        functions = {"on_success": on_success, "on_failure": on_failure, "on_gone": on_gone}
        for name, function in {**functions, "open_ids": open_ids, "lease": lease}.items():
            if not callable(function) and (function is not None or name in functions):
                raise_invalid(f"{name} must be an async function, not {type(function).__name__}")
        self._tasks = tasks
        self._on_success, self._on_failure, self._on_gone = on_success, on_failure, on_gone
        self._open_ids, self._scan_interval = open_ids, scan_interval
        self._lease, self._lease_seconds = lease, lease_seconds
        self._owner = secrets.token_hex(8)
        self._max_calls, self._grace = max_calls, grace
        self._calls = asyncio.Semaphore(max_calls)
        self._waits: dict[str, tuple[R, asyncio.Task[None]]] = {}
        self._running: set[asyncio.Task[None]] = set()  # of all waits, also those that give back their leases
        self._calling: set[asyncio.Task[None]] = set()
        self._ended: set[str] = set()  # since the latest call of `open_ids`, which may still name them
        self._scanning: asyncio.Task[None] | None = None
        self._state = "new"

    def __repr__(self) -> str:
        """Return the family and the number of waits."""
        return f"<{type(self).__name__} of {type(self._tasks).__name__}, {len(self._waits)} waits>"

    def __len__(self) -> int:
        """Return the number of tasks that are watched."""
        return len(self._waits)

    def __contains__(self, id: object) -> bool:
        """Return whether a task is watched here."""
        return id in self._waits

    async def __aenter__(self) -> Self:
        """Watch the tasks that are open.

        Raises:
            Exception: What `open_ids` raises: an application without its database should not start.
        """
        self._calls = asyncio.Semaphore(self._max_calls)  # belongs to the event loop that uses it
        self._state = "running"
        await self._scan()
        if self._open_ids is not None and self._scan_interval is not None:
            self._scanning = _create_task(self._scan_again(self._scan_interval), "a2e-supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all waits; the tasks at A2E go on."""
        self._state = "stopped"
        calling, waits = {*self._calling}, {wait for _, wait in self._waits.values()}
        scanning = set() if self._scanning is None else {self._scanning}
        try:
            for task in (waits | scanning) - calling:
                task.cancel()
            if calling:
                await asyncio.wait(calling, timeout=self._grace)
        finally:
            for task in self._calling:  # once each: a second cancellation would keep a wait from giving back its lease
                task.cancel()
            if ending := scanning | self._running:
                await asyncio.wait(ending)
            self._scanning = None

    def watch(self, task: R | str) -> R:
        """Wait for a task in the background, unless that is done already. Returns its handle at once. Free.

        After the supervisor has ended this only logs a line: the task is paid and in your database, so that the next
        start, or another process, watches it.

        Args:
            task: A handle, or an id as for ``task()`` of the resource.

        Raises:
            ConfigurationError: The supervisor was not opened.
            InvalidRequestError: It is no handle, or the id is not valid.
        """
        if self._state == "new":
            msg = "The supervisor is not open: use `async with`, or pass it to the lifespan of your framework"
            raise ConfigurationError(msg)
        handle = self._tasks.task(task) if isinstance(task, str) else task
        if not isinstance(getattr(handle, "id", None), str):
            raise_invalid(f"pass a handle, or the id of a task as a str, not {type(task).__name__}")
        if handle.id in self._waits:
            return self._waits[handle.id][0]
        if self._state == "stopped":
            _LOGGER.info("Task %s is not watched any more: the application stops", handle.id)
            return handle
        wait = _create_task(self._supervise(handle), f"a2e-supervise-{handle.id}")
        self._waits[handle.id] = handle, wait
        self._running.add(wait)
        wait.add_done_callback(functools.partial(self._forget, handle.id))
        return handle

    def _forget(self, id: str, wait: asyncio.Task[None]) -> None:
        """Forget a wait that has ended; also one that was cancelled before it began."""
        self._running.discard(wait)
        if id in self._waits and self._waits[id][1] is wait:
            del self._waits[id]

    async def release(self, id: str) -> None:
        """End the wait for a task, and give back its lease, so that another process can take it over at once."""
        if id in self._waits:
            wait = self._waits[id][1]
            wait.cancel()
            await asyncio.wait([wait])

    async def _scan(self) -> None:
        """Call `open_ids`, and watch the tasks that are not watched yet."""
        if self._open_ids is None:
            return
        self._ended.clear()
        found = self._open_ids()
        ids = [id async for id in found] if isinstance(found, AsyncIterable) else [*await found]
        for number, id in enumerate(ids, 1):
            if id not in self._ended:
                try:
                    self.watch(id)
                except A2EError as error:
                    _LOGGER.error("open_ids returned %r, which cannot be watched: %s", id, error)  # noqa: TRY400  the text says all
            if number % _CHUNK == 0:
                await asyncio.sleep(0)

    async def _scan_again(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            try:
                await self._scan()
            except Exception:
                _LOGGER.exception("open_ids raised an error; it is called again in %g s", interval)

    async def _supervise(self, handle: R) -> None:
        """Watch one task to its end, as the holder of its lease."""
        renewing: asyncio.Task[None] | None = None
        try:
            if self._lease is not None:
                if not await self._take_lease(handle.id):
                    return
                renewing = _create_task(self._renew(handle.id, asyncio.current_task()), f"a2e-lease-{handle.id}")
            await self._wait_and_call(handle)
        except ClientClosedError:
            _LOGGER.debug("The wait for task %s ended with the client; the task goes on", handle.id)
        finally:
            self._waits.pop(handle.id, None)
            if renewing is not None:
                renewing.cancel()
                await self._give_back_lease(handle.id)

    async def _wait_and_call(self, handle: R) -> None:
        delay = 1.0
        while True:
            try:
                await handle.wait_until_done(None, outage_budget=None)
            except TaskFailedError as error:
                return await self._call(handle, self._on_failure, error)
            except TaskNotFoundError as error:
                return await self._call(handle, self._on_gone, error)
            except ClientClosedError:
                raise
            except A2EError as error:
                delay = min(2 * delay, _MAX_DELAY)
                _LOGGER.error("The wait for task %s failed, and begins again in %g s: %s", handle.id, delay, error)  # noqa: TRY400  the text says all
                await asyncio.sleep(delay)
            else:
                return await self._call(handle, self._on_success)

    async def _call(self, handle: R, function: Callable[..., Awaitable[object]], *error: A2EError) -> None:
        """Call a function of the application until it returns."""
        delay, wait = 0.5, asyncio.current_task()
        assert wait is not None  # noqa: S101  for mypy: a coroutine runs in a task
        while True:
            async with self._calls:
                self._calling.add(wait)
                try:
                    await function(handle, *error)
                except (Exception, asyncio.CancelledError):
                    # a CancelledError can come from the function itself: only a cancellation of this task ends it
                    if wait.cancelling():
                        raise
                    delay = min(2 * delay, _MAX_DELAY)
                    name = getattr(function, "__qualname__", repr(function))
                    msg = "%s raised an error for task %s; it is called again in %g s"
                    _LOGGER.exception(msg, name, handle.id, delay)
                else:
                    self._ended.add(handle.id)
                    return
                finally:
                    self._calling.discard(wait)
            if self._state == "stopped":
                return
            await asyncio.sleep(delay)

    # Leases

    async def _take_lease(self, id: str) -> bool:
        try:
            return await self._call_lease(id, self._lease_seconds, self._lease_seconds)
        except Exception:
            _LOGGER.exception("lease raised an error for task %s; the task is tried again at the next scan", id)
            return False

    async def _renew(self, id: str, wait: asyncio.Task[Any] | None) -> None:
        """Renew a lease until it is lost; then end the wait."""
        assert wait is not None  # noqa: S101  for mypy
        clock = asyncio.get_running_loop().time
        held_until = clock() + self._lease_seconds
        while (rest := held_until - clock()) > 0:
            await asyncio.sleep(min(self._lease_seconds / 3, rest))
            began = clock()
            try:
                if not await self._call_lease(id, self._lease_seconds, held_until - began):
                    break
                held_until = began + self._lease_seconds
            except Exception:
                _LOGGER.exception("lease raised an error for task %s; it is renewed again", id)
        _LOGGER.warning("The lease of task %s is lost; another process can take it over", id)
        wait.cancel()

    async def _give_back_lease(self, id: str) -> None:
        try:
            await self._call_lease(id, 0.0, min(self._lease_seconds, _GIVE_BACK_TIMEOUT))
        except Exception:
            _LOGGER.exception("lease raised an error for task %s; the lease expires by itself", id)

    async def _call_lease(self, id: str, seconds: float, timeout: float) -> bool:  # noqa: ASYNC109  one line for three callers
        """Call the function, for so long: a database that hangs must not keep a wait whose lease has expired."""
        assert self._lease is not None  # noqa: S101  for mypy
        async with asyncio.timeout(timeout):
            return await self._lease(id, self._owner, seconds)


def _create_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run a coroutine in an empty context: that of a web request, with its user, would live on in it."""
    return asyncio.create_task(work, name=name, context=contextvars.Context())
