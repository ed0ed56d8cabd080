"""The how-to pages about batches say what is so: their commands are typed, and print what the pages show."""

from __future__ import annotations

import pathlib
import re
import shlex
from typing import TYPE_CHECKING

import batch_command
import pytest
from batch_command import BatchCommand, write

if TYPE_CHECKING:
    from collections.abc import Iterator

a2e_batch = batch_command.a2e_batch

PAGES = pathlib.Path(__file__).parents[3] / "docs" / "how-to"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str) -> Iterator[tuple[str, list[str]]]:
    """Return what a page types, and what it shows below that. A block that presses Ctrl-C is tested elsewhere."""
    for block in BLOCK.findall((PAGES / page).read_text(encoding="utf-8")):
        if "^C" in block:
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield command, lines


VARIES = re.compile(r"http://127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d \d\d:\d\d|\d\d:\d\d:\d\d \d+(?=/)")
"""An address, a date, a time and the number of an outcome: they are others each time."""


def plain(line: str) -> str:
    """Leave out of a line what varies."""
    return VARIES.sub("*", " ".join(line.split()))


def is_shown(line: str, printed: str) -> bool:
    """Tell whether a line of a page stands for one that was printed; ``...`` is anything."""
    return re.fullmatch(re.escape(plain(line)).replace(re.escape("..."), ".*"), printed) is not None


@pytest.mark.parametrize("page", ["csv.md", "resume.md", "budgets.md"])
def test_commands_print_what_the_page_shows(a2e_batch: BatchCommand, page: str) -> None:
    """Each line that a page shows is printed by the command above it; and where it hides nothing, nothing else is."""
    picture = pathlib.Path("ada.png").read_bytes()
    for name in ("bob.png", "eva.png"):
        pathlib.Path(name).unlink()
    for name in ("garden.jpg", "pictures/ada.png", "pictures/garden.png"):
        write(name, picture + name.encode())
    typed = 0
    for command, lines in commands(page):
        words = shlex.split(command)
        if words[0] == "cat":
            write(words[1], "\n".join(lines) + "\n")
            continue
        assert words[:2] == ["a2e", "batch"]
        result = a2e_batch(*words[2:])
        typed += 1
        printed = [plain(line) for line in (result.out + result.err).splitlines() if line.strip()]
        shown = [line for line in lines if line.strip() and line != "..."]
        for line in shown:
            assert any(is_shown(line, found) for found in printed), (command, line, printed)
        assert "..." in lines or len(printed) == len(shown), (command, printed)
        assert "Traceback" not in result.err
    assert typed >= 3
