"""The `a2e` command: an entry point that needs no extra, so that it can name the missing one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from a2e_async.cli.overview import print_overview
from a2e_async.cli.signals import stop_signals
from a2e_async.cli.streams import OutputError, standard_streams

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `a2e` command and return its exit code.

    The code is 0 for success; 1 if a task failed, or if A2E rejected the request, cannot be reached or does not show
    the task; 2 for wrong usage; 130 after Ctrl-C, SIGTERM or SIGHUP; 141 if the reader of the output has closed it.

    Args:
        arguments: The arguments after `a2e`; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with stop_signals(), standard_streams():
        try:
            if print_overview(arguments):
                code = 0
            else:
                from a2e_async.cli.app import run  # noqa: PLC0415  the extra may be missing

                code = run(arguments)
            sys.stdout.flush()  # a full disk or a closed pipe shows here at the latest, where it can be reported
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {"cyclopts", "dotenv", "rich"}:  # the packages of the extra
                raise
            print('a2e: the command line is not installed: pip install "a2e-async[cli]"', file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            from a2e_async.cli.messages import print_interrupted  # noqa: PLC0415  needs the package, which may be slow

            return print_interrupted()
        except OutputError as error:
            if isinstance(error.error, BrokenPipeError):
                return 141  # what a shell reports for a process that SIGPIPE has ended: 128 + 13
            print(f"a2e: cannot write to standard output: {error.error.strerror}", file=sys.stderr)
            return 1
        except OSError as error:
            # An error of the system that no command expects. Its text names the file, if there is one.
            print(f"a2e: {str(error) or type(error).__name__}", file=sys.stderr)
            return 1
    return code
