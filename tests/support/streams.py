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

__all__ = ["Terminal", "broken_pipe", "ctrl_c_when", "read_terminal", "run_when"]

_INTERVAL = 0.01
"""Virtual seconds between two checks of a condition."""


class Terminal(io.StringIO):
    """A terminal as a standard stream."""

    def isatty(self) -> bool:
        """Return True: this is a terminal."""
        return True

    @classmethod
    def install(
        cls, patch: pytest.MonkeyPatch, *names: str, columns: int = 120, term: str = "xterm-256color"
    ) -> Terminal:
        """Replace standard streams by one terminal.

        Args:
            patch: Restores the streams.
            names: ``stdout``, ``stderr`` or both.
            columns: Its width.
            term: The value of `TERM`.
        """
        terminal = cls()
        for name in names:
            patch.setattr(sys, name, terminal)
        for variable, value in (("TERM", term), ("COLUMNS", str(columns)), ("LINES", "30")):
            patch.setenv(variable, value)
        return terminal


@contextlib.contextmanager
def broken_pipe(patch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Connect the standard output to a pipe, and give a function that closes its other end."""
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
def run_when(condition: Callable[[], object], action: Callable[[], object]) -> Iterator[None]:
    """Run an action in the event loop of the next command, as soon as a condition is true.

    Raises:
        AssertionError: The condition was never true.
    """
    handle: asyncio.Handle | None = None

    async def begin() -> None:
        loop = asyncio.get_running_loop()

        def check() -> None:
            nonlocal handle
            if condition():
                handle = None
                action()
            else:
                handle = loop.call_later(_INTERVAL, check)

        handle = loop.call_soon(check)

    asyncio.run(begin())
    yield
    missed = handle is not None
    if handle is not None:
        handle.cancel()
    assert not missed, "the condition was never true"


@contextlib.contextmanager
def ctrl_c_when(condition: Callable[[], object]) -> Iterator[None]:
    """Press Ctrl-C during the next command, as soon as a condition is true."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the test process may ignore SIGINT
    try:
        with run_when(condition, lambda: signal.raise_signal(signal.SIGINT)):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def read_terminal(master: int) -> bytes:
    """Read the next output of a pseudo-terminal; an empty result means that it is closed."""
    try:
        return os.read(master, 65536)
    except OSError:  # on Linux, the end of a pseudo-terminal
        return b""
