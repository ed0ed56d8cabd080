"""A local A2E in the event loop that the commands and pages under test use, so that both see the same virtual time.

A command calls `asyncio.run`, which makes a loop and closes it. Here it borrows one loop instead, in which the local A2E
lives on from one command to the next. Between two commands nothing runs and no time passes: a test can look at the
sandbox, and at what was paid, as long as it likes.

As `asyncio.run` does, a command ends with all tasks that it has made, and only with those: tasks inherit the context in
which they are made, and that of a command has a mark.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from a2e_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from typing import Self

__all__ = ["one_loop", "sandbox_in_one_loop"]

T = TypeVar("T")

_command: contextvars.ContextVar[object] = contextvars.ContextVar("_command", default=None)
"""Which command runs, None in the context of the sandbox."""


@contextlib.contextmanager
def one_loop() -> Iterator[asyncio.Runner]:
    """Let every `asyncio.run` and `asyncio.Runner` of the block use one event loop, also if they are interrupted."""
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        made: weakref.WeakKeyDictionary[asyncio.Task[Any], object] = weakref.WeakKeyDictionary()
        runner.get_loop().set_task_factory(_remembering(made))

        class Borrowed:
            """Runs as `asyncio.Runner` does, and leaves the loop open."""

            def __init__(self, *_: object, **__: object) -> None:
                """Take what asyncio's own takes."""
                self._context = contextvars.copy_context()
                self._context.run(_command.set, self)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

            def run(self, main: Coroutine[Any, Any, T], *, context: contextvars.Context | None = None) -> T:
                return runner.run(main, context=context or self._context)

            def close(self) -> None:
                """End the tasks that are left, and leave the loop to its owner."""
                if left := [task for task, command in made.items() if command is self and not task.done()]:
                    runner.run(_cancel(left))

        def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
            with Borrowed() as borrowed:
                return borrowed.run(main)

        patch.setattr(asyncio, "run", run)
        patch.setattr(asyncio, "Runner", Borrowed)
        yield runner


def _remembering(made: weakref.WeakKeyDictionary[asyncio.Task[Any], object]) -> Any:
    """Return a task factory that remembers which command has made a task."""

    def factory(
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, T],
        *,
        context: contextvars.Context | None = None,
        **words: Any,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(work, loop=loop, context=context, **words)
        made[task] = _command.get() if context is None else context.get(_command)
        return task

    return factory


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks, wait for their end, and tell the loop what went wrong, as `asyncio.run` does."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "unhandled exception at the end of a command", "exception": error, "task": task}
            )


@contextlib.contextmanager
def sandbox_in_one_loop(**options: Any) -> Iterator[Sandbox]:
    """Run a local A2E in the loop that every `asyncio.run` of the block uses."""
    with one_loop() as runner:
        words: dict[str, Any] = {"speed": 100, "render": "tiny"} | options
        sandbox = Sandbox(**words)
        runner.run(sandbox.start())
        try:
            yield sandbox
        finally:
            runner.run(sandbox.aclose())
