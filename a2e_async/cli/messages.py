"""How an error, a warning or a log line is said on the command line: one line, with what to type."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from typing import TYPE_CHECKING

from a2e_async.errors import A2EError, ConfigurationError, InvalidRequestError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["code_of", "complain", "log_to_stderr", "one_line", "printable", "said", "set_verbosity"]

_WRONG_USE = (ConfigurationError, InvalidRequestError, MissingExtraError)

_SAID = (
    (r"await find\('([^']+)'\)", r"type a2e image-to-video find \1"),
    (r"find\('([^']+)'\)", r"a2e image-to-video find \1"),
    (r"wait_until_done\(\) waits again, also in .+ by task\('([^']+)'\)", r"wait on with a2e image-to-video wait \1"),
    (r"await wait_until_done\(\) first", "wait for it first with a2e image-to-video wait"),
    (r"look at list\(\)", "look at a2e image-to-video list"),
    (r"list\(\) can tell", "a2e image-to-video list can tell"),
    (r"pass A2EClient\(token\)", "give --token"),
    (r"pass (\w+)=True", r"add --\1"),
    (r"shorter video_time or a cheaper model_version", "shorter --video-time or a cheaper --model-version"),
    (r"\bsk_\w+", "sk_…"),
)
"""What the package says to who writes Python, and what that means here; and a token never belongs on a screen."""


def said(text: str) -> str:
    """Say in one line, and in commands, what the package says."""
    for python, command in _SAID:
        text = re.sub(python, command, text)
    return one_line(text)


def one_line(text: str) -> str:
    """Return a text without line breaks, without what would steer a terminal, and without spaces in a row."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """Return a text with a space for everything that would steer a terminal, such as a line break."""
    return "".join(char if char.isprintable() else " " for char in text)


def complain(trouble: A2EError | str, code: int = 1) -> int:
    """Print one line on stderr, and return the exit code.

    Args:
        trouble: What happened.
        code: The exit code, if it is no error that has one of its own.
    """
    print(f"a2e: {said(str(trouble))}", file=sys.stderr)
    return code_of(trouble) if isinstance(trouble, A2EError) else code


def code_of(error: A2EError) -> int:
    """Return 2 for wrong use, which nothing was sent for, else 1."""
    return 2 if isinstance(error, _WRONG_USE) else 1


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
