"""What the package logs, as lines on stderr while a command runs."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from a2e_async.cli.words import said

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["log_to_stderr", "set_verbosity"]

_LOGGER = logging.getLogger("a2e_async")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Stderr(logging.Handler):
    """Writes to what is stderr at that moment, so that a live display can keep clear of the lines."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"a2e: {said(self.format(record))}", file=sys.stderr)


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Show warnings, and what `set_verbosity` adds to them, until the command has ended."""
    handler, level = _Stderr(), _LOGGER.level
    _LOGGER.addHandler(handler)
    set_verbosity(0)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(level)


def set_verbosity(verbosity: int) -> None:
    """Say how much is shown: warnings (0), what happens (1), everything (2 and more)."""
    _LOGGER.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
