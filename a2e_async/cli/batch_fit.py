"""Makes text fit into a terminal: nothing that comes from here is wider than it may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["count", "cut", "flow", "fold", "make_console", "shorten"]

_GAP = "   "


def make_console(*, stderr: bool = False) -> Console:
    """Make a console that prints text as it is: folded between words on a terminal, in one piece elsewhere."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    console.soft_wrap = not console.is_terminal
    return console


def count(name: str, style: str, number: str, remark: str = "") -> Text:
    """Make a line of a list of numbers."""
    line = Text().append(f"{name:<16}", style).append(f"{number:>7}")
    return line.append(f"  {remark}", "dim") if remark else line


def cut(line: Text, width: int) -> Text:
    """Cut a line off at its end, with an ellipsis."""
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def shorten(text: str, width: int) -> str:
    """Leave out the middle of a text: keys and paths often differ at their end."""
    if cell_len(text) <= width:
        return text
    room = max(0, (width - 1) // 2)
    tail = text[len(text) - room :]
    while cell_len(tail) > room:
        tail = tail[1:]
    return set_cell_size(text, max(0, width - 1 - cell_len(tail))) + "…" + tail


def flow(chips: Iterable[Text], width: int) -> list[Text]:
    """Put as many chips into each line as fit, and break none of them."""
    lines: list[Text] = []
    for chip in chips:
        if lines and lines[-1].cell_len + len(_GAP) + chip.cell_len <= width:
            lines[-1].append(_GAP).append_text(chip)
        else:
            lines.append(Text().append_text(chip))
    return [cut(line, width) for line in lines]


def fold(text: str, width: int, style: str) -> list[Text]:
    """Break a text between words into two lines at most."""
    first, rest = "", text.split()
    while rest and (not first or cell_len(f"{first} {rest[0]}") <= width):
        first = f"{first} {rest.pop(0)}".strip()
    return [cut(Text(line, style), width) for line in (first, " ".join(rest)) if line]
