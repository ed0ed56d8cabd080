"""The table of commands, and the page of `a2e --help`.

This module imports nothing of the package and draws the page itself: with cyclopts the page takes much longer.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import NamedTuple, TextIO

ABOUT = "A2E's video API on the command line. Try it offline and free of charge: a2e demo"

EPILOGUE = (
    "Exit codes: 0 success, 1 failure (a task failed, A2E rejected the request or cannot be reached), 2 wrong usage, "
    "130 interrupted."
)


class Command(NamedTuple):  # attrs takes longer to import than all other imports of `a2e --help`
    """Command of the first level.

    Attributes:
        target: The module and the name in it; imported when the command is called.
        help: The first line of its help.
        arguments: The arguments after the options, where cyclopts shows them badly.
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
        "Turn images into videos at A2E, and manage the tasks.",
    ),
    "batch": Command(
        "a2e_async.cli.batch.commands:app",
        "Make many videos, with a journal: a crash or Ctrl-C costs nothing extra.",
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
        "Call any operation of A2E's API and print the response.",
    ),
    "sandbox": Command(
        "a2e_async.cli.commands.sandbox:sandbox",
        "Run a local A2E until Ctrl-C. Its coins are play money.",
    ),
    "completion": Command(
        "a2e_async.cli.commands.completion:completion",
        "Print a script that makes a shell complete the commands.",
        "[SHELL]",
    ),
}

OPTIONS = {
    "--help, -h": "Explain a command: a2e COMMAND --help",
    "--version": "Print the version.",
}

ENVIRONMENT = {
    "A2E_API_TOKEN": "The API token. Create one on A2E's website under Account > API Token.",
    "A2E_BASE_URL": "The URL of A2E, or of a sandbox. Default: https://video.a2e.ai",
}

EXIT_CODES = {
    "0": "Success.",
    "1": "Failure: a task failed, or A2E rejected the request, cannot be reached or does not show the task.",
    "2": "Wrong usage: an option, a setting, a file that is not an image, a missing extra.",
    "130": "Interrupted with Ctrl-C. Started tasks continue at A2E; their ids are printed.",
    "141": "The reader of the output has closed it (a2e ... | head).",
}

_WIDTHS = range(40, 121)  # columns of a page: longer lines are hard to read

_BOX = "╭╮╰╯─│"  # as rich draws the other pages of help
_PLAIN_BOX = "++++-|"  # for terminals without Unicode
_NAME = "\033[36m{}\033[0m"


def show_overview() -> None:
    """Print the page in the width, the characters and the colours that the output supports."""
    width = min(max(shutil.get_terminal_size().columns, _WIDTHS[0]), _WIDTHS[-1])
    print(overview(width, box=_BOX if _can_show(_BOX, sys.stdout) else _PLAIN_BOX, colour=_has_colour(sys.stdout)))


def overview(width: int, *, box: str = _BOX, colour: bool = False) -> str:
    """Return the page.

    Args:
        width: Columns of the terminal.
        box: Four corners, a horizontal and a vertical line.
        colour: Print names in colour.
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
    texts = width - names - 6  # two sides, a space next to each of them, two spaces between the columns
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
