"""What a person sees: a live line per clip or task on a terminal, plain lines elsewhere, and a table at the end."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from a2e_async.cli.flow import Clip, Stage
from a2e_async.cli.words import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

__all__ = ["Watched", "show_result", "watch"]

_STYLES = {True: "green", False: "red", None: "cyan"}
_TICK = 0.1
"""Seconds between two looks."""


class Watched(Protocol):
    """What a line is about."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def state(self) -> str:
        """What it is doing, in a word."""

    @property
    def elapsed(self) -> float:
        """Seconds since its beginning, until its end."""

    @property
    def ok(self) -> bool | None:
        """Whether it has worked; None as long as it is not known."""


async def watch(console: Console, clips: Sequence[Watched], work: Awaitable[None]) -> None:
    """Show how the clips or tasks are doing until the work is done."""
    task = asyncio.ensure_future(work)
    try:
        if console.is_terminal:
            await _watch_live(console, clips, task)
        else:
            await _watch_plain(console, clips, task)
        await task
    finally:
        task.cancel()  # the display failed or was interrupted; a finished task does not mind
        await asyncio.wait({task})


async def _watch_live(console: Console, clips: Sequence[Watched], task: asyncio.Future[None]) -> None:
    spinners = {id(clip): Spinner("dots") for clip in clips}
    to_terminal = sys.stdout.isatty()  # what is printed meanwhile goes above the display, unless it goes to a file
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=to_terminal) as live:
        while not task.done():
            live.update(Group(*(_line(clip, spinners[id(clip)]) for clip in clips)), refresh=True)
            await asyncio.wait({task}, timeout=_TICK)


def _line(clip: Watched, spinner: Spinner) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=24, no_wrap=True, overflow="ellipsis")
    line.add_column(width=12)
    line.add_column(width=8, justify="right")
    style = _STYLES[clip.ok]
    mark = spinner if clip.ok is None else Text("✓" if clip.ok else "✗", style)
    line.add_row(mark, Text(one_line(clip.name)), Text(clip.state, style), f"{clip.elapsed:.1f} s")
    return line


async def _watch_plain(console: Console, clips: Sequence[Watched], task: asyncio.Future[None]) -> None:
    shown: dict[int, str] = {}
    while not task.done():
        await asyncio.wait({task}, timeout=_TICK)
        for clip in clips:
            if clip.ok is not False and shown.get(id(clip)) != clip.state:  # what has failed is told at the end
                shown[id(clip)] = clip.state
                text = f"{clip.elapsed:6.1f} s  {one_line(clip.name)}: {clip.state}"
                console.print(text, highlight=False, markup=False, soft_wrap=True)


def show_result(console: Console, clips: Sequence[Clip], lengths: Sequence[float | None]) -> None:
    """Print a table of what was made, and a line for each failure.

    Args:
        console: Where to print.
        clips: The finished clips.
        lengths: Seconds of video of each clip, None where it is not known; without any, there is no such column.
    """
    table = Table(show_edge=False, header_style="bold")
    table.add_column("picture", overflow="fold")
    table.add_column("video", overflow="fold")
    known = any(length is not None for length in lengths)
    for name in (*(["seconds"] if known else []), "size", "coins", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    for clip, length in zip(clips, lengths, strict=True):
        seconds = ["" if length is None else f"{length:.1f}"] if known else []
        table.add_row(*_cells(clip, seconds), style="red" if clip.error else None)
    console.print(table)
    for clip in clips:
        if clip.error is not None:
            console.print(f"{clip.name}: {clip.error}", style="red", highlight=False, markup=False)


def _cells(clip: Clip, seconds: Sequence[str]) -> tuple[str, ...]:
    done = clip.stage is Stage.DONE
    return (
        escape(clip.name),
        escape(str(clip.target)) if done else "failed",
        *seconds,
        decimal(clip.target.stat().st_size) if done else "",
        "" if clip.coins is None else f"{clip.coins:g}",
        f"{clip.elapsed:.1f} s",
    )
