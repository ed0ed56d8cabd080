"""What `a2e --help` prints, drawn by hand like the other pages of help: cyclopts would take much longer to draw it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from a2e_async.cli.commands import ABOUT, COMMANDS, ENVIRONMENT, EXIT_CODES, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["overview", "show_overview"]

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
