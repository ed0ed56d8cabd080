"""The how-to pages about batches: their commands are run, and print the output that the pages show."""

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
    """Yield the commands of a page with their output. A block with Ctrl-C is tested elsewhere."""
    for block in BLOCK.findall((PAGES / page).read_text(encoding="utf-8")):
        if "^C" in block:
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield command, lines


VARIES = re.compile(r"http://127\.0\.0\.1:\d+|\d{4}-\d\d-\d\d \d\d:\d\d|\d\d:\d\d:\d\d \d+(?=/)")
"""Texts that differ in every run: an address, a date, a time and the number of a result."""


def plain(line: str) -> str:
    """Replace the varying texts of a line."""
    return VARIES.sub("*", " ".join(line.split()))


def is_shown(line: str, printed: str) -> bool:
    """Return whether a line of a page matches a printed one; ``...`` matches any text."""
    return re.fullmatch(re.escape(plain(line)).replace(re.escape("..."), ".*"), printed) is not None


@pytest.mark.parametrize("page", ["csv.md", "resume.md", "budgets.md"])
def test_commands_print_what_the_page_shows(a2e_batch: BatchCommand, page: str) -> None:
    """Each command prints the lines that the page shows, and no other lines unless the page has ``...``."""
    image = pathlib.Path("ada.png").read_bytes()
    for name in ("bob.png", "eva.png"):
        pathlib.Path(name).unlink()
    for name in ("garden.jpg", "images/ada.png", "images/garden.png"):
        write(name, image + name.encode())
    runs = 0
    for command, lines in commands(page):
        words = shlex.split(command)
        if words[0] == "cat":
            write(words[1], "\n".join(lines) + "\n")
            continue
        assert words[:2] == ["a2e", "batch"]
        result = a2e_batch(*words[2:])
        runs += 1
        printed = [plain(line) for line in (result.out + result.err).splitlines() if line.strip()]
        shown = [line for line in lines if line.strip() and line != "..."]
        for line in shown:
            assert any(is_shown(line, found) for found in printed), (command, line, printed)
        assert "..." in lines or len(printed) == len(shown), (command, printed)
        assert "Traceback" not in result.err
    assert runs >= 3
