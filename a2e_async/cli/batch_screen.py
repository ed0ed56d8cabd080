"""Shows a batch while it runs: a live display on a terminal, a line for each outcome elsewhere, JSON for programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console, Group
from rich.live import Live

from a2e_async.cli.batch_fit import make_console
from a2e_async.cli.batch_pace import Pace
from a2e_async.cli.batch_picture import View, draw
from a2e_async.cli.batch_words import Tally, brief, outcome_json, outcome_text

if TYPE_CHECKING:
    from a2e_async.batch import Batch, Outcome, Progress

__all__ = ["Screen", "follow"]

_STOPPING = "stopping; Ctrl-C again leaves at once"
_TICK = 0.1
"""Seconds between two looks at the batch."""


@attrs.define(eq=False)
class Screen:
    """What a person or a program gets to see.

    Attributes:
        name: What the jobs come from.
        total: How many there are.
        max_coins: What may be spent, or None.
        as_json: Whether the standard output is for a program. Then what is for a person goes to standard error.
        console: Where a person looks.
        tally: What has become of the jobs so far.
    """

    name: str
    total: int
    max_coins: float | None
    as_json: bool
    console: Console = attrs.field(init=False)
    tally: Tally = attrs.field(factory=Tally, init=False)
    _pace: Pace = attrs.field(factory=Pace, init=False)
    _note: str = attrs.field(default="", init=False)
    _live: Live | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Choose where a person looks."""
        self.console = make_console(stderr=self.as_json)

    @property
    def is_live(self) -> bool:
        """Whether there is a terminal, and nothing but the display writes to it."""
        is_able = self.console.is_terminal and not self.console.is_dumb_terminal
        return is_able and not (self.as_json and sys.stdout.isatty())

    def tell(self, outcome: Outcome, progress: Progress) -> None:
        """Say what has become of a job, and before that what has become of the batch."""
        self.tally.add(outcome)
        if not self.is_live:
            self._say_note(_note(progress))
        if self.as_json:
            print(json.dumps(outcome_json(outcome), ensure_ascii=False), flush=True)
        elif not self.is_live:
            self._say(f"{self.tally.told}/{self.total} {outcome_text(outcome)}")

    async def watch(self, batch: Batch, owner: asyncio.Task[Any]) -> None:
        """Show how the batch is doing until this is cancelled.

        Args:
            batch: What to look at.
            owner: Who goes through it; Ctrl-C cancels him.
        """
        if self.is_live:
            await self._watch_live(batch, owner)
        while True:
            self._say_note(_STOPPING if owner.cancelling() else _note(batch.progress))
            await asyncio.sleep(_TICK)

    def close(self) -> None:
        """Give the terminal back, if `watch` could not."""
        if self._live is not None:
            self._live.stop()

    async def _watch_live(self, batch: Batch, owner: asyncio.Task[Any]) -> None:
        redirect = not self.as_json  # what is for a program must not end up in the display
        with Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=redirect) as live:
            self._live, tick = live, 0
            while True:
                tick += 1
                view = self._view(batch.progress, tick, stopping=bool(owner.cancelling()))
                size = self.console.size
                live.update(Group(*draw(view, size.width, size.height - 1)), refresh=True)
                await asyncio.sleep(_TICK)

    def _view(self, progress: Progress, tick: int, *, stopping: bool) -> View:
        """Put together what the display shows. What an earlier run has done says nothing about the rate."""
        self._pace.note(time.monotonic(), progress.done - progress.skipped)
        return View(
            name=self.name,
            progress=progress,
            max_coins=self.max_coins,
            a_second=self._pace.a_second,
            left=self._pace.left(self.total - progress.done),
            failures=[*self.tally.latest],
            stopping=stopping,
            tick=tick,
        )

    def _say_note(self, note: str) -> None:
        if note != self._note:
            self._say(note or "goes on")
            self._note = note

    def _say(self, text: str) -> None:
        self.console.print(f"{time.strftime('%H:%M:%S')} {text}")


def _note(progress: Progress) -> str:
    if progress.stopped:
        return f"stopped, nothing more is started: {brief(progress.stopped)}"
    return f"paused, goes on by itself: {brief(progress.paused)}" if progress.paused else ""


def _is_news(record: logging.LogRecord) -> bool:
    """Keep from the log what the screen shows anyway: that the batch is paused and goes on."""
    return not str(record.msg).startswith("The batch ")


async def follow(batch: Batch, screen: Screen) -> None:
    """Go through a batch, and show how it is doing meanwhile.

    Raises:
        A2EError: The batch could not go on.
    """
    owner = asyncio.current_task()
    assert owner is not None, "a coroutine runs in a task"  # noqa: S101  for mypy
    logger = logging.getLogger("a2e_async")
    logger.addFilter(_is_news)
    watching = asyncio.create_task(screen.watch(batch, owner))
    try:
        async with batch:
            async for outcome in batch:
                screen.tell(outcome, batch.progress)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        logger.removeFilter(_is_news)
