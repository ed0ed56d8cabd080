"""Errors, log lines and small texts of the command line, safe for a terminal.

An error carries the id of its advice (`A2EError.advice`). `ADVICE` names commands where the package names calls.
"""

import contextlib
import copy
import logging
import re
import signal
import sys
from collections.abc import Iterator, Mapping

from a2e_async import errors
from a2e_async._aio import under_way
from a2e_async._protocol.failures import failure_of
from a2e_async.errors import A2EError, Advice, InvalidRequestError

ADVICE: Mapping[Advice, str] = {
    **errors.ADVICE,
    "find": "Search for the task with a2e image-to-video find {marker} later, before you start it again",
    "list": "Check a2e image-to-video list before you start it again",
    "no_token": "Run a2e login, or set A2E_API_TOKEN. Make one under Account > API Token",
    "overwrite": "Add --overwrite, or choose another name",
    "wait": "Wait for it with a2e image-to-video wait {task_id}",
}

EPILOGUE = "Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted. More: a2e help"
"""The end of the help of each command."""

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

_TOKEN = re.compile(r"\bsk_\w+")


def error_text(error: A2EError) -> str:
    """Return an error as one line, with the advice of the command line."""
    text = one_line(error.describe(advice()))
    # A2E's own words; which ids are well-formed is not published.
    return f"{text}. {of_family('a2e image-to-video list shows the ids')}" if "_id is malformed" in text else text


_FAMILY_COMMAND = re.compile(r"a2e image-to-video (\w+)")
_FAMILIES: list[str] = []  # the last one is the family of the running command, unless that is image-to-video


def set_family(key: str) -> None:
    """Let messages name the commands of a family, until the next command: `a2e family wait KEY ...`."""
    _FAMILIES.append(key)


def of_family(text: str) -> str:
    """Return a text about commands of image-to-video with those of the family of the running command."""
    return _FAMILY_COMMAND.sub(rf"a2e family \1 {_FAMILIES[-1]}", text) if _FAMILIES else text


def advice() -> Mapping[Advice, str]:
    """Return the advice of the running command."""
    return {name: of_family(text) for name, text in ADVICE.items()}


def one_line(text: str) -> str:
    """Return a text without line breaks, control characters and repeated spaces, and without a misplaced token."""
    return " ".join(printable(_TOKEN.sub("sk_…", text)).split())


def printable(text: str) -> str:
    """Return a text with a space for each control character, such as a line break."""
    # A2E returns names and messages that any user can choose. Escape sequences in them must not reach the terminal.
    return "".join(char if char.isprintable() else " " for char in text)


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 job``, ``2 jobs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def coins_text(coins: float | None) -> str:
    """Format an amount of coins, rounded to hundredths; return an empty text if it is unknown."""
    return "" if coins is None else f"{round(coins, 2):.12g}"  # 12 digits: never as a power of ten


def print_error(error: A2EError | str, code: int = 1) -> int:
    """Print one line on stderr, and return the exit code: that of the error, or `code` for a message."""
    print(f"a2e: {error_text(error) if isinstance(error, A2EError) else one_line(error)}", file=sys.stderr)
    return exit_code_of(error) if isinstance(error, A2EError) else code


def print_interrupted(text: str = "", command: str = "") -> int:
    """Print one line on stderr about a command that Ctrl-C has ended, and return the exit code.

    Starts that are still under way are named in any case: no log line may have been printed about them yet.
    """
    with ignored_interrupts():
        unknown = under_way()
        for what in unknown:
            search = of_family("search for its marker with a2e image-to-video find, before you start again")
            print_error(f"interrupted while {what} is under way. A2E may have accepted it: {search}")
        if text or not unknown:
            print_error(f"interrupted; {text}" if text else "interrupted")
        if command:
            print(f"  {command}", file=sys.stderr)  # unchanged, however long: it is there to be copied
    return INTERRUPTED


@contextlib.contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C until the end of the block: if it is pressed again, the ids of paid tasks are printed still."""
    try:
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, which alone is interrupted
        previous = None
    try:
        yield
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)


def exit_code_of(error: A2EError) -> int:
    """Return 2 for wrong usage, else 1."""
    return 2 if failure_of(error).wrong_usage else 1


def confirm(question: str) -> bool:
    """Ask on the terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        msg = "no terminal to confirm at: add --yes"
        raise InvalidRequestError(msg)
    print(question, "[y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


_LOGGER = logging.getLogger("a2e_async")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _StderrHandler(logging.Handler):
    """Log handler that writes to the current `sys.stderr`."""

    def emit(self, record: logging.LogRecord) -> None:
        record = copy.copy(record)  # a program that calls `main` can have other handlers
        if isinstance(record.args, tuple):
            record.args = tuple(error_text(arg) if isinstance(arg, A2EError) else arg for arg in record.args)
        # Not a `StreamHandler`: a live display replaces `sys.stderr`, and prints these lines above itself.
        print(f"a2e: {one_line(self.format(record))}", file=sys.stderr)


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print warnings, and what `set_verbosity` adds, until the end of the block."""
    _FAMILIES.clear()  # not at the end: Ctrl-C is reported after it
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
