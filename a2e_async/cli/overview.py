"""The commands that there are, where each one lives, and what `a2e --help` says about them.

The page is drawn by hand like the other pages of help: cyclopts would take much longer to draw it.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ABOUT",
    "COMMANDS",
    "ENVIRONMENT",
    "EPILOGUE",
    "EXIT_CODES",
    "OPTIONS",
    "Command",
    "overview",
    "show_overview",
]

ABOUT = "A2E's video API on the command line. Try it offline and free of charge: a2e demo"

EPILOGUE = (
    "Exit codes: 0 done, 1 not done (a task failed, A2E refused or is not reachable), 2 wrong use, 130 interrupted."
)


class Command(NamedTuple):  # attrs would take longer to import than everything else that `a2e --help` needs
    """One command.

    Attributes:
        target: The module and the name in it, for an import when the command is called.
        help: The first line of its help.
        arguments: What can follow its options, if cyclopts has no good name for that.
    """

    target: str
    help: str
    arguments: str = ""


COMMANDS = {
    "demo": Command(
        "a2e_async.cli.commands.demo:demo",
        "Turn images into videos with a local A2E, offline and free.",
        "[IMAGE...]",
    ),
    "image-to-video": Command(
        "a2e_async.cli.commands.image_to_video:app",
        "Turn images into videos at A2E, and look after the tasks.",
    ),
    "batch": Command(
        "a2e_async.cli.batch.commands:app",
        "Very many videos, with a journal: a crash or Ctrl-C costs nothing.",
    ),
    "account": Command(
        "a2e_async.cli.commands.account:account",
        "Show the coins and diamonds of the account. Free.",
    ),
    "upload": Command(
        "a2e_async.cli.commands.upload:upload",
        "Upload images to A2E's storage and print their links.",
    ),
    "request": Command(
        "a2e_async.cli.commands.request:request",
        "Call any operation of A2E's API and print what it answers.",
    ),
    "sandbox": Command(
        "a2e_async.cli.commands.sandbox:sandbox",
        "Run a local A2E until Ctrl-C. Its coins are play money.",
    ),
    "completion": Command(
        "a2e_async.cli.commands.completion:completion",
        "Print a script with which a shell completes the commands.",
        "[SHELL]",
    ),
}

OPTIONS = {
    "--help, -h": "Explain a command: a2e COMMAND --help",
    "--version": "Print the version.",
}

ENVIRONMENT = {
    "A2E_API_TOKEN": "The API token, which is made in A2E's web page under Account > API Token.",
    "A2E_BASE_URL": "Where A2E is, such as the address of a sandbox. Default: https://video.a2e.ai",
}

EXIT_CODES = {
    "0": "Done.",
    "1": "Not done: a task failed, A2E refused, is not reachable, or shows no such task.",
    "2": "Wrong use: an option, a setting, a file that is no image, a missing extra.",
    "130": "Interrupted with Ctrl-C. What was started goes on at A2E; its id is printed.",
    "141": "Nobody reads the output any more (a2e ... | head).",
}

_WIDTHS = range(40, 121)
"""Columns of a page; longer lines are hard to read."""

_BOX = "╭╮╰╯─│"
_PLAIN_BOX = "++++-|"
_NAME = "\033[36m{}\033[0m"


def show_overview() -> None:
    """Print the page as the terminal, or what stands in for it, can show it."""
    width = min(max(shutil.get_terminal_size().columns, _WIDTHS[0]), _WIDTHS[-1])
    print(overview(width, box=_BOX if _can_show(_BOX, sys.stdout) else _PLAIN_BOX, colour=_has_colour(sys.stdout)))


def overview(width: int, *, box: str = _BOX, colour: bool = False) -> str:
    """Draw the page.

    Args:
        width: Columns of the terminal.
        box: Four corners, a horizontal and a vertical line.
        colour: Whether names are coloured.
    """
    panels = {
        "Commands": {name: command.help for name, command in COMMANDS.items()},
        "Options": OPTIONS,
        "Environment": ENVIRONMENT,
        "Exit codes": EXIT_CODES,
    }
    style = _NAME if colour else "{}"
    drawn = [_panel(title, rows, width, box, style) for title, rows in panels.items()]
    return "\n".join(["Usage: a2e COMMAND", "", *textwrap.wrap(ABOUT, width), "", *drawn])


def _panel(title: str, rows: Mapping[str, str], width: int, box: str, style: str) -> str:
    left, right, lower_left, lower_right, line, side = tuple(box)
    names = max(map(len, rows))
    texts = width - names - 6  # two sides, a space beside each of them, two spaces between the columns
    drawn = [f"{left}{line} {title} {line * (width - len(title) - 5)}{right}"]
    for name, text in rows.items():
        for number, piece in enumerate(textwrap.wrap(text, texts)):
            shown = style.format(name) + " " * (names - len(name)) if number == 0 else " " * names
            drawn.append(f"{side} {shown}  {piece:{texts}} {side}")
    drawn.append(f"{lower_left}{line * (width - 2)}{lower_right}")
    return "\n".join(drawn)


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _has_colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb" and os.name != "nt"
