"""What a person sees: a live line per clip on a terminal, plain lines elsewhere, and a table at the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from a2e_async.cli.flow import Clip, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

__all__ = ["show_result", "watch"]

_STYLES = {Stage.DONE: "green", Stage.FAILED: "red"}
_TICK = 0.1
"""Seconds between two looks at the clips."""


async def watch(console: Console, clips: Sequence[Clip], work: Awaitable[None]) -> None:
    """Show how the clips are doing until the work is done."""
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


async def _watch_live(console: Console, clips: Sequence[Clip], task: asyncio.Future[None]) -> None:
    spinners = {id(clip): Spinner("dots") for clip in clips}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not task.done():
            live.update(Group(*(_line(clip, spinners[id(clip)]) for clip in clips)), refresh=True)
            await asyncio.wait({task}, timeout=_TICK)


def _line(clip: Clip, spinner: Spinner) -> Table:
    line = Table.grid(padding=(0, 1))
    line.add_column(width=1)
    line.add_column(width=24, no_wrap=True, overflow="ellipsis")
    line.add_column(width=12)
    line.add_column(width=8, justify="right")
    marks = {Stage.DONE: Text("✓", "green"), Stage.FAILED: Text("✗", "red")}
    style = _STYLES.get(clip.stage, "cyan")
    line.add_row(marks.get(clip.stage, spinner), clip.picture.name, Text(clip.state, style), f"{clip.elapsed:.1f} s")
    return line


async def _watch_plain(console: Console, clips: Sequence[Clip], task: asyncio.Future[None]) -> None:
    shown: dict[int, str] = {}
    while True:
        done = task.done()
        for clip in clips:
            if shown.get(id(clip)) != clip.state:
                shown[id(clip)] = clip.state
                console.print(
                    f"{clip.elapsed:6.1f} s  {clip.picture.name}: {clip.state}", highlight=False, markup=False
                )
        if done:
            return
        await asyncio.wait({task}, timeout=_TICK)


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
            console.print(f"{clip.picture.name}: {clip.error}", style="red", highlight=False, markup=False)


def _cells(clip: Clip, seconds: Sequence[str]) -> tuple[str, ...]:
    done = clip.stage is Stage.DONE
    return (
        clip.picture.name,
        str(clip.target) if done else "failed",
        *seconds,
        decimal(clip.target.stat().st_size) if done else "",
        "" if clip.coins is None else f"{clip.coins:g}",
        f"{clip.elapsed:.1f} s",
    )
