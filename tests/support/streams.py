"""Terminals, pipes and Ctrl-C for commands that run in the process of the test, on virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

__all__ = ["Terminal", "broken_pipe", "ctrl_c", "read", "when"]

_LOOK = 0.01
"""Virtual seconds between two looks at a condition."""


class Terminal(io.StringIO):
    """A terminal: what is typed at it, or what it shows."""

    def isatty(self) -> bool:
        """Say that this is a terminal."""
        return True

    @classmethod
    def of(cls, patch: pytest.MonkeyPatch, *names: str, columns: int = 120, kind: str = "xterm-256color") -> Terminal:
        """Put a terminal in the place of standard streams.

        Args:
            patch: What puts them back.
            names: ``stdout``, ``stderr`` or both.
            columns: Its width.
            kind: What `TERM` says.
        """
        terminal = cls()
        for name in names:
            patch.setattr(sys, name, terminal)
        for variable, value in (("TERM", kind), ("COLUMNS", str(columns)), ("LINES", "30")):
            patch.setenv(variable, value)
        return terminal


@contextlib.contextmanager
def broken_pipe(patch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Let the standard output go to a pipe, and give a function that closes its other end."""
    reader, writer = os.pipe()
    with contextlib.ExitStack() as stack:

        def on_broken_pipe(console: Console) -> None:
            stack.callback(setattr, console, "quiet", console.quiet)  # cyclopts keeps its console for the next command
            quiet_forever(console)

        quiet_forever = Console.on_broken_pipe
        patch.setattr(Console, "on_broken_pipe", on_broken_pipe)
        end = stack.enter_context(os.fdopen(reader))
        pipe: TextIO = stack.enter_context(os.fdopen(writer, "w", encoding="utf-8"))
        patch.setattr(sys, "stdout", pipe)
        yield end.close


@contextlib.contextmanager
def when(condition: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """Do something in the event loop of the next command, as soon as something else is so.

    Raises:
        AssertionError: It has not become so.
    """
    handle: asyncio.Handle | None = None

    async def begin() -> None:
        loop = asyncio.get_running_loop()

        def look() -> None:
            nonlocal handle
            if condition():
                handle = None
                act()
            else:
                handle = loop.call_later(_LOOK, look)

        handle = loop.call_soon(look)

    asyncio.run(begin())
    yield
    missed = handle is not None
    if handle is not None:
        handle.cancel()
    assert not missed, "the condition was never true"


@contextlib.contextmanager
def ctrl_c(condition: Callable[[], object]) -> Iterator[None]:
    """Press Ctrl-C during the next command, as soon as something is so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run with it ignored
    try:
        with when(condition, lambda: signal.raise_signal(signal.SIGINT)):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def read(master: int) -> bytes:
    """Read what a pseudo-terminal shows next; nothing if it was closed."""
    try:
        return os.read(master, 65536)
    except OSError:  # Linux tells the end of a pseudo-terminal so
        return b""
