"""The supervisor: one wait for each task, its functions, restarts, and several processes."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from conditions import wait_until
from paid_starts import make_client, start_video

from a2e_async import A2EClient, ConfigurationError, InvalidRequestError, TaskFailedError, TaskNotFoundError
from a2e_async.integrations import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async.sandbox import Sandbox


@attrs.define(eq=False)
class Database:
    """Table of an application with its open tasks, and the functions of a supervisor.

    Attributes:
        open: The ids of the open tasks.
        calls: The name of each function that was called, with the id.
        problems: Errors that the next calls raise.
        owners: The leases: owner and end, by the id.
    """

    open: list[str] = attrs.field(factory=list)
    calls: list[tuple[str, str]] = attrs.field(factory=list)
    problems: list[BaseException] = attrs.field(factory=list)
    owners: dict[str, tuple[str, float]] = attrs.field(factory=dict)

    def supervise(self, a2e: A2EClient, **options: Any) -> Supervisor[Any]:
        """Make a supervisor with the functions of this database."""
        settings = {"open_ids": self.open_ids, **options}
        return Supervisor(
            a2e.image_to_video, on_success=self.save, on_failure=self.fail, on_gone=self.forget, **settings
        )

    async def open_ids(self) -> list[str]:
        """Return the ids of the open tasks."""
        return [*self.open]

    async def save(self, task: Any) -> None:
        """Store a success."""
        await self._close("success", task.id)

    async def fail(self, task: Any, error: Exception) -> None:
        """Store a failure."""
        assert isinstance(error, TaskFailedError)
        await self._close("failure", task.id)

    async def forget(self, task: Any, error: Exception) -> None:
        """Store that a task is gone."""
        assert isinstance(error, TaskNotFoundError)
        await self._close("gone", task.id)

    async def _close(self, end: str, task_id: str) -> None:
        self.calls.append((end, task_id))
        if self.problems:
            raise self.problems.pop(0)
        if task_id in self.open:
            self.open.remove(task_id)

    async def lease(self, task_id: str, owner: str, seconds: float) -> bool:
        """Take, renew or give back a lease."""
        now = asyncio.get_running_loop().time()
        holder, until = self.owners.get(task_id, ("", 0.0))
        if holder not in {"", owner} and until > now:
            return False
        self.owners[task_id] = (owner, now + seconds) if seconds else ("", 0.0)
        return True


@pytest.fixture
def database() -> Database:
    """Return an empty database."""
    return Database()


async def test_function_is_called_for_each_end(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """A success, a failure and an unknown task call their functions once, although one is watched twice."""
    tasks = [await start_video(a2e, prompt="#stuck") for _ in range(2)]
    tasks.append(a2e.image_to_video.task("6927f1e7a1c5e4e0b5f0a3d2"))
    async with database.supervise(a2e) as supervisor:
        for task in tasks:
            assert supervisor.watch(task) is task
        assert supervisor.watch(tasks[0].id) is tasks[0]
        assert (len(supervisor), tasks[0].id in supervisor) == (3, True)
        sandbox.finish(tasks[0].id)
        sandbox.fail(tasks[1].id)
        await wait_until(lambda: not len(supervisor), seconds=300)
    assert database.calls == [("success", tasks[0].id), ("failure", tasks[1].id), ("gone", tasks[2].id)]


async def test_open_tasks_are_watched_at_the_start(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """Tasks of an earlier run are picked up: one that has ended meanwhile, and one that goes on."""
    ended, running = [await start_video(a2e, prompt="#stuck") for _ in range(2)]
    sandbox.finish(ended.id)
    database.open = [ended.id, running.id]
    async with database.supervise(a2e):
        await wait_until(lambda: database.open == [running.id])
    async with database.supervise(a2e):
        sandbox.finish(running.id)
        await wait_until(lambda: not database.open)
    assert database.calls == [("success", ended.id), ("success", running.id)]


async def test_open_ids_can_be_an_async_generator(a2e: A2EClient, database: Database) -> None:
    """`open_ids` can be an async generator, such as a cursor of a database; an id that is not valid is logged only."""
    task = await start_video(a2e)

    async def rows() -> AsyncIterator[str]:
        for task_id in ("..", task.id):
            yield task_id

    async with database.supervise(a2e, open_ids=rows, scan_interval=None):
        await wait_until(lambda: database.calls == [("success", task.id)])


async def test_error_of_a_function_is_logged_and_it_is_called_again(
    a2e: A2EClient, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that raises, also a CancelledError of its own, is called again after 1, 2 and 4 seconds."""
    task = await start_video(a2e)
    database.open = [task.id]
    database.problems = [OSError("no disk"), asyncio.CancelledError(), RuntimeError("no database")]
    async with database.supervise(a2e):
        await wait_until(lambda: not database.open, seconds=60)
    assert len(database.calls) == 4
    logged = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [text.rpartition(" in ")[2] for text in logged] == ["1 s", "2 s", "4 s"]
    assert all(task.id in text for text in logged)


async def test_end_detaches_and_loses_nothing(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """At the end waits end at once, a call under way has its grace, and one that takes longer is made again."""
    quick, slow, running = [await start_video(a2e, prompt="#stuck") for _ in range(3)]
    database.open = [quick.id, slow.id, running.id]
    for task in (quick, slow):
        sandbox.finish(task.id)
    begun = []

    async def save(task: Any) -> None:
        begun.append(task.id)
        await asyncio.sleep(0.2 if task.id == quick.id else 60)
        await database.save(task)

    loop = asyncio.get_running_loop()
    async with Supervisor(
        a2e.image_to_video,
        on_success=save,
        on_failure=database.fail,
        on_gone=database.forget,
        open_ids=database.open_ids,
    ) as supervisor:
        await wait_until(lambda: len(begun) == 2)
        before = loop.time()
    assert loop.time() - before < 1
    assert database.open == [slow.id, running.id]
    assert len(supervisor) == 0
    assert supervisor.watch(running) is running  # after a start that was under way: no error, and no wait
    assert len(supervisor) == 0
    async with database.supervise(a2e):
        await wait_until(lambda: database.open == [running.id])
    assert sandbox.tasks[running.id].done is False


async def test_waits_end_with_the_client(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """When the client ends its waits, the supervisor calls nothing, and the task stays open."""
    task = await start_video(a2e, prompt="#stuck")
    database.open = [task.id]
    async with database.supervise(a2e) as supervisor:
        await a2e.end_waits()
        await wait_until(lambda: not len(supervisor))
    assert (database.calls, database.open) == ([], [task.id])


async def test_new_open_task_is_found_by_a_scan(a2e: A2EClient, database: Database) -> None:
    """A task of a process that has died is found after `scan_interval`, and an error of `open_ids` does not end that."""
    async with database.supervise(a2e, scan_interval=60.0):
        database.open = [None]  # type: ignore[list-item]
        await asyncio.sleep(61)
        database.open = [(await start_video(a2e)).id]
        await wait_until(lambda: not database.open, seconds=61)


async def test_start_fails_without_the_database(a2e: A2EClient, database: Database) -> None:
    """An error of `open_ids` at the start is raised."""

    async def broken() -> list[str]:
        raise OSError

    with pytest.raises(OSError):
        async with database.supervise(a2e, open_ids=broken):
            pass


async def test_one_process_holds_the_lease(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """Of two processes with the same open tasks only one calls the function; the other takes over what is released."""
    async with make_client(sandbox) as other:
        task = await start_video(a2e, prompt="#stuck")
        database.open = [task.id]
        async with (
            database.supervise(a2e, lease=database.lease, lease_seconds=6.0, scan_interval=None) as first,
            database.supervise(other, lease=database.lease, lease_seconds=6.0, scan_interval=1.0) as second,
        ):
            await asyncio.sleep(12.5)  # two leases
            assert (len(first), len(second)) == (1, 0)
            await first.release(task.id)
            await wait_until(lambda: len(second) == 1, seconds=1.1)
            sandbox.finish(task.id)
            await wait_until(lambda: not database.open)
            await asyncio.sleep(12)
    assert database.calls == [("success", task.id)]


async def test_lease_of_a_dead_process_expires(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """A task whose process has died is taken over when its lease has expired."""
    task = await start_video(a2e)
    database.open = [task.id]
    database.owners = {task.id: ("dead", asyncio.get_running_loop().time() + 60)}
    async with database.supervise(a2e, lease=database.lease, scan_interval=10.0):
        await asyncio.sleep(50)
        assert database.calls == []
        await wait_until(lambda: not database.open, seconds=25)


async def test_lost_lease_ends_the_wait(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """A process that was suspended for longer than its lease leaves the task to the one that has taken it over."""
    task = await start_video(a2e, prompt="#stuck")
    async with database.supervise(a2e, lease=database.lease) as supervisor:
        supervisor.watch(task)
        await wait_until(lambda: task.id in database.owners)
        database.owners[task.id] = ("other", asyncio.get_running_loop().time() + 600)
        await wait_until(lambda: not len(supervisor), seconds=30)
    assert database.owners[task.id][0] == "other"


async def test_hanging_lease_ends_the_wait(a2e: A2EClient, database: Database) -> None:
    """A database that hangs ends a wait when its lease has expired, and does not hold the end of the application."""
    task = await start_video(a2e, prompt="#stuck")
    taken: list[str] = []

    async def lease(task_id: str, _: str, __: float) -> bool:
        if task_id in taken:
            await asyncio.sleep(3600)
        taken.append(task_id)
        return True

    loop = asyncio.get_running_loop()
    async with database.supervise(a2e, lease=lease, lease_seconds=30.0) as supervisor:
        supervisor.watch(task)
        await wait_until(lambda: taken == [task.id])
        await wait_until(lambda: not len(supervisor), seconds=31)
        before = loop.time()
    assert loop.time() - before < 6


async def test_wait_that_has_not_begun_is_forgotten(a2e: A2EClient, sandbox: Sandbox, database: Database) -> None:
    """A wait that is ended before it begins, by `release` or the end, is no wait: the task can be watched again."""
    task = await start_video(a2e, prompt="#stuck")
    supervisor = database.supervise(a2e)
    async with supervisor:
        supervisor.watch(task)
        await supervisor.release(task.id)
        assert len(supervisor) == 0
        supervisor.watch(task)
    assert len(supervisor) == 0
    async with supervisor:
        supervisor.watch(task)
        sandbox.finish(task.id)
        await wait_until(lambda: not len(supervisor), seconds=60)
    assert database.calls == [("success", task.id)]


async def test_wrong_token_ends_no_wait(sandbox: Sandbox, database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A token that A2E rejects for a while is logged; the wait begins again, and the function is called once."""
    async with make_client(sandbox) as a2e:
        task = await start_video(a2e, prompt="#stuck")
        token = sandbox.token
        async with database.supervise(a2e) as supervisor:
            supervisor.watch(task)
            sandbox.token = "sk_other"
            await wait_until(lambda: "begins again" in caplog.text, seconds=60)
            sandbox.token = token
            sandbox.finish(task.id)
            await wait_until(lambda: not len(supervisor), seconds=60)
    assert database.calls == [("success", task.id)]


async def test_functions_have_a_limit_and_an_empty_context(a2e: A2EClient, database: Database) -> None:
    """At most `max_calls` functions run at the same time, and none in the context of a web request."""
    user = contextvars.ContextVar("user", default="none")
    tasks = [await start_video(a2e) for _ in range(6)]
    running, most, seen = 0, 0, set()

    async def save(task: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        seen.add(user.get())
        await asyncio.sleep(1)
        running -= 1
        await database.save(task)

    async with Supervisor(
        a2e.image_to_video, on_success=save, on_failure=database.fail, on_gone=database.forget, max_calls=2
    ) as supervisor:
        user.set("ada")
        for task in tasks:
            supervisor.watch(task)
        await wait_until(lambda: not len(supervisor), seconds=60)
    assert (len(database.calls), most, seen) == (6, 2, {"none"})


async def test_wrong_use_is_an_error(a2e: A2EClient, database: Database) -> None:
    """A supervisor that was not opened, a number that is none, and an id that is none are errors."""
    with pytest.raises(ConfigurationError, match="async with"):
        database.supervise(a2e).watch("6927f1e7a1c5e4e0b5f0a3d2")
    wrong: list[dict[str, Any]] = [
        *({"lease_seconds": each} for each in ("long", 0, None)),
        *({"scan_interval": each} for each in (0, -1)),
        *({"max_calls": each} for each in (0, 1.5, True)),
        {"grace": None},
        {"open_ids": ["6927f1e7a1c5e4e0b5f0a3d2"]},
    ]
    for options in wrong:
        with pytest.raises(InvalidRequestError, match=next(iter(options))):
            database.supervise(a2e, **options)
    async with database.supervise(a2e) as supervisor:
        with pytest.raises(InvalidRequestError, match="task id"):
            supervisor.watch("..")
        with pytest.raises(InvalidRequestError, match="as a str, not int"):
            supervisor.watch(5)
