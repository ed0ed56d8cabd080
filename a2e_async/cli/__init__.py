"""The `a2e` command: an entry point that needs no extra, so that it can name the missing one."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `a2e` command and return its exit code.

    The code is 0 for success; 1 if a task failed, or if A2E rejected the request, cannot be reached or does not show
    the task; 2 for wrong usage; 130 after Ctrl-C; 141 if the reader of the output has closed it.

    Args:
        arguments: The arguments after `a2e`; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A task's name can hold any character; one that the terminal cannot encode must not end the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        from a2e_async.cli.app import run  # noqa: PLC0415  the extra may be missing

        code = run(arguments)
        sys.stdout.flush()  # a full disk or a closed pipe shows here at the latest, where it can be reported
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"cyclopts", "rich"}:  # the packages of the extra
            raise
        print('a2e: the command line is not installed: pip install "a2e-async[cli]"', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("a2e: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        return _on_output_error(error)
    return code


def _on_output_error(error: OSError) -> int:
    """Report that the output cannot be written, and return the exit code."""
    # Python flushes stdout once more when the process ends. Without this, that flush would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 141  # what a shell reports for a process that SIGPIPE has ended: 128 + 13
    print(f"a2e: cannot write to {error.filename or 'the output'}: {error.strerror}", file=sys.stderr)
    return 1
