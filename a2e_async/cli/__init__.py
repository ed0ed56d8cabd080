"""The `a2e` command: a shim that needs no extra, so that it can tell which one is missing."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EXTRA = ("cyclopts", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `a2e` command and return its exit code.

    It is 0 if everything was done; 1 if a task failed, or if A2E refused, is not reachable or shows no such task; 2 for
    wrong use; 130 after Ctrl-C; 141 if nobody reads the output any more.

    Args:
        arguments: The words after `a2e`; None takes them from the command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no name of a task may end a command
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("a2e: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        return _without_stdout(error)
    return code


def _run(words: list[str]) -> int:
    if not all(map(_is_there, _EXTRA)):
        print('a2e: the command line is not installed: pip install "a2e-async[cli]"', file=sys.stderr)
        return 2
    if words in ([], ["--help"], ["-h"]):
        from a2e_async.cli.overview import show_overview  # noqa: PLC0415  a quarter of a second quicker than the rest

        show_overview()
        return 0
    from a2e_async.cli.app import run  # noqa: PLC0415  the extra may be missing

    return run(words)


def _without_stdout(error: OSError) -> int:
    """End a command whose output cannot be written (any more)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more at the very end
    if isinstance(error, BrokenPipeError):
        return 141
    print(f"a2e: {error.filename or 'the output'} cannot be used: {error.strerror}", file=sys.stderr)
    return 1


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
