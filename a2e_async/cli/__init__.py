"""The `a2e` command: a shim that needs no extra, so that it can tell which one is missing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `a2e` command and return its exit code: 0, 1 for a failed task, 2 for wrong use.

    Args:
        arguments: The words after `a2e`; None takes them from the command line.
    """
    try:
        from a2e_async.cli.app import run  # noqa: PLC0415  the extra may be missing
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        print('a2e: the command line is not installed: pip install "a2e-async[cli]"', file=sys.stderr)
        return 2
    return run(arguments)
