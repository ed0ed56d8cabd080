"""A local A2E in the event loop of the commands and pages under test, so that both see the same virtual time.

How it works:

- A command calls `asyncio.run`, which makes a loop and closes it. Here every call uses one shared loop, and the local A2E
  stays in this loop from one command to the next.
- Between two commands nothing runs and no time passes. A test can inspect the sandbox and its ledger meanwhile.
- As with `asyncio.run`, the end of a command cancels the tasks of this command, and no others. A task inherits the context
  in which it is created, and a context variable names the command.
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

__all__ = ["sandbox_in_shared_loop", "shared_loop"]

T = TypeVar("T")

_command: contextvars.ContextVar[object] = contextvars.ContextVar("_command", default=None)
"""The command of a task; None in the context of the sandbox."""


@contextlib.contextmanager
def shared_loop() -> Iterator[asyncio.Runner]:
    """Make every `asyncio.run` and `asyncio.Runner` of the block use one event loop, also after an interruption."""
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        commands: weakref.WeakKeyDictionary[asyncio.Task[Any], object] = weakref.WeakKeyDictionary()
        runner.get_loop().set_task_factory(_recording_factory(commands))

        class SharedRunner:
            """Replacement of `asyncio.Runner` that does not close the loop."""

            def __init__(self, *_: object, **__: object) -> None:
                """Accept the arguments of `asyncio.Runner`."""
                self._context = contextvars.copy_context()
                self._context.run(_command.set, self)

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

            def run(self, main: Coroutine[Any, Any, T], *, context: contextvars.Context | None = None) -> T:
                return runner.run(main, context=context or self._context)

            def close(self) -> None:
                """Cancel the remaining tasks of this command."""
                if remaining := [task for task, command in commands.items() if command is self and not task.done()]:
                    runner.run(_cancel(remaining))

        def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
            with SharedRunner() as shared:
                return shared.run(main)

        patch.setattr(asyncio, "run", run)
        patch.setattr(asyncio, "Runner", SharedRunner)
        yield runner


def _recording_factory(commands: weakref.WeakKeyDictionary[asyncio.Task[Any], object]) -> Any:
    """Return a task factory that records the command of each task."""

    def factory(
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T],
        *,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coroutine, loop=loop, context=context, **options)
        commands[task] = _command.get() if context is None else context.get(_command)
        return task

    return factory


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks, wait for their end, and report their errors to the loop, as `asyncio.run` does."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "unhandled exception at the end of a command", "exception": error, "task": task}
            )


@contextlib.contextmanager
def sandbox_in_shared_loop(**options: Any) -> Iterator[Sandbox]:
    """Run a local A2E in the loop of every `asyncio.run` of the block."""
    with shared_loop() as runner:
        settings: dict[str, Any] = {"speed": 100, "render": "tiny"} | options
        sandbox = Sandbox(**settings)
        runner.run(sandbox.start())
        try:
            yield sandbox
        finally:
            runner.run(sandbox.aclose())
