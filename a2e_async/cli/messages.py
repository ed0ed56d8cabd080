"""Errors, warnings and log lines on the command line: one line each, with the command to type.

The messages of the package are for Python programs, and name calls such as ``find('7f3k2m9q4d')``. The command line
replaces each call by its command.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Iterator

from a2e_async.errors import (
    A2EError,
    ConfigurationError,
    InsufficientCreditsError,
    InvalidRequestError,
    MissingExtraError,
)

_WRONG_USAGE = (ConfigurationError, InvalidRequestError, MissingExtraError)

_CREDITS_HINT = "Add coins to the account, or choose a shorter --video-time or a cheaper --model-version"

# Patterns of Python calls, never of sentences: the wording of a message may change. The order matters: a call that is
# awaited is an instruction, and so is its command.
_REPLACEMENTS = (
    (re.escape(InsufficientCreditsError.hint), _CREDITS_HINT),
    (r"wait_until_done\(\).*\btask\('([^']+)'\)(?:\.wait_until_done\(\))?", r"a2e image-to-video wait \1"),
    (r"\bawait find\('([^']+)'\)", r"run a2e image-to-video find \1"),
    (r"(?<![\w.])find\('([^']+)'\)", r"a2e image-to-video find \1"),
    (r"\bawait wait_until_done\(\)", "run a2e image-to-video wait"),
    (r"(?<![\w.])list\(\)", "a2e image-to-video list"),
    (r"\bA2EClient\(token\)", "--token"),
    (r"\boverwrite=True", "--overwrite"),
    (r"\bsk_\w+", "sk_…"),  # a token, typed in the wrong place
)


def to_cli_text(text: str) -> str:
    """Return a message of the package as one line, with commands instead of Python calls and without tokens."""
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return one_line(text)


def one_line(text: str) -> str:
    """Return a text without line breaks, terminal control characters and repeated spaces."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """Return a text with a space for each control character, such as a line break."""
    # A2E returns names and messages that any user can choose. Escape sequences in them must not reach the terminal.
    return "".join(char if char.isprintable() else " " for char in text)


def print_error(error: A2EError | str, code: int = 1) -> int:
    """Print one line on stderr, and return the exit code.

    Args:
        error: The error, or a message.
        code: The exit code for a message; an error has its own.
    """
    print(f"a2e: {to_cli_text(str(error))}", file=sys.stderr)
    return exit_code_of(error) if isinstance(error, A2EError) else code


def exit_code_of(error: A2EError) -> int:
    """Return 2 for wrong usage, for which nothing was sent, else 1."""
    return 2 if isinstance(error, _WRONG_USAGE) else 1


_LOGGER = logging.getLogger("a2e_async")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _StderrHandler(logging.Handler):
    """Log handler that writes to the current `sys.stderr`."""

    def emit(self, record: logging.LogRecord) -> None:
        # Not a `StreamHandler`: a live display replaces `sys.stderr`, and prints these lines above itself.
        print(f"a2e: {to_cli_text(self.format(record))}", file=sys.stderr)


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print warnings, and what `set_verbosity` adds, until the end of the block."""
    handler, level = _StderrHandler(), _LOGGER.level
    _LOGGER.addHandler(handler)
    set_verbosity(0)
    try:
        yield
    finally:
        # A program that calls `main` gets its own logging configuration back.
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(level)


def set_verbosity(verbosity: int) -> None:
    """Set the log level: warnings (0), information (1), debugging (2 and more)."""
    _LOGGER.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
