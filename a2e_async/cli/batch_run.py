"""`a2e batch run`: checks all rows, runs the batch, shows how it is doing, and says at the end how to go on."""

from __future__ import annotations

import pathlib
import sys
from typing import TYPE_CHECKING

import attrs

from a2e_async.cli.batch_check import Checked, Checker, Known
from a2e_async.cli.batch_dry import show_plan
from a2e_async.cli.batch_fit import make_console
from a2e_async.cli.batch_input import Source, open_source
from a2e_async.cli.batch_interrupt import left_alive, run_interruptible
from a2e_async.cli.batch_jobs import Entry, entries
from a2e_async.cli.batch_screen import Screen, follow
from a2e_async.cli.batch_summary import show_summary
from a2e_async.cli.batch_words import several
from a2e_async.cli.words import complain, printable, said
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from a2e_async import A2EClient
    from a2e_async.cli.batch_options import RunOptions
    from a2e_async.cli.options import Connection

__all__ = ["run_batch"]

_LISTED = 50
"""Wrong rows that are listed."""


def run_batch(name: str, options: RunOptions, connection: Connection) -> int:
    """Run a batch and return the exit code.

    Args:
        name: The input, as the user calls it.
        options: What the batch is like.
        connection: Where A2E is. With its `json`, every outcome is printed to stdout as JSON, and nothing else.

    Raises:
        A2EError: The input, the journal or the settings cannot be used.
    """
    if options.out.exists() and not options.out.is_dir():
        msg = f"{str(options.out)!r} is no folder: choose another one for the videos with --out"
        raise InvalidRequestError(msg)
    with open_source(name) as source:
        journal = options.journal or pathlib.Path(f"{source.file_name}.a2e.sqlite")
        run = _Run(source, options, journal, connection, options.command(name, journal, connection))
        try:
            return run_interruptible(run.run(), run.say_how_to_go_on)
        except (BrokenPipeError, SystemExit):  # rich makes the one of the other
            run.say_how_to_go_on()
            raise


@attrs.define(eq=False)
class _Run:
    """One `a2e batch run`.

    Attributes:
        go_on: The command that goes on.
        screen: What shows the batch, None before it has begun.
    """

    source: Source
    options: RunOptions
    journal: pathlib.Path
    connection: Connection
    go_on: str
    screen: Screen | None = None
    _console: Console = attrs.field(factory=lambda: make_console(stderr=True), init=False)
    _wrong: int = attrs.field(default=0, init=False)

    async def run(self) -> int:
        """Check all rows, and then run what they say or show it; return the exit code."""
        async with self.connection.client() as a2e:
            known = Known(self.journal, self.options.retry_failed)
            await known.look()
            checked = await self._check(a2e, known)
            if not self._may_begin(checked):
                return 2
            if self.options.dry_run:
                await show_plan(a2e, checked.jobs(self._entries()), known, as_json=self.connection.json)
                return 0
            return await self._run(a2e, checked)

    def _entries(self) -> Iterator[Entry]:
        return entries(self.source, self.options.defaults)

    async def _check(self, a2e: A2EClient, known: Known) -> Checked:
        """Look at all rows, and list those that are wrong."""
        options = self.options
        checker = Checker(a2e.image_to_video.check, known, options.out, options.overwrite, self._complain)
        with self._console.status(f"Checking {self.source.name} …"):
            checked = await checker.run(self._entries())
        if self._wrong > _LISTED:
            self._say(f"and {self._wrong - _LISTED} more wrong rows")
        return checked

    def _complain(self, place: str, error: str) -> None:
        self._wrong += 1
        if self._wrong <= _LISTED:
            self._say(f"{printable(place)}: {said(error)}")

    def _may_begin(self, checked: Checked) -> bool:
        """Say why nothing is started, if that is so."""
        if checked.wrong and not self.options.skip_invalid:
            wrong = f"{len(checked.wrong)} of {checked.good + len(checked.wrong)} rows are wrong"
            self._say(f"a2e: {wrong}, and nothing was started: mend them, or leave them out with --skip-invalid")
            return False
        if not checked.good:
            self._say(f"a2e: there is no job in {self.source.name}")
            return False
        return True

    async def _run(self, a2e: A2EClient, checked: Checked) -> int:
        options = self.options
        batch = a2e.image_to_video.batch(
            checked.jobs(self._entries()),
            journal=self.journal,
            out=options.out,
            overwrite=options.overwrite,
            max_running=options.max_running,
            max_coins=options.max_coins,
            retry_failed=options.retry_failed,
            on_shortage=options.on_shortage,
            on_unknown=options.on_unknown,
            timeout=options.timeout,
            total=checked.good,
        )
        self.screen = screen = Screen(self.source.name, checked.good, options.max_coins, self.connection.json)
        screen.console.print(f"{several(checked.good, 'job')} of {self.source.name}; the journal is {self.journal}")
        await follow(batch, screen)
        show_summary(screen.console, screen.tally, batch.progress, options.out, self.go_on)
        return int(not screen.tally.is_good)

    def say_how_to_go_on(self) -> None:
        """Say after Ctrl-C what goes on without us, and how to come back."""
        if self.screen is None or not self.journal.exists():
            complain("interrupted; nothing was started")
            return
        self.screen.close()
        complain(f"interrupted; {left_alive(self.journal)}. To go on:")
        print(f"  {self.go_on}", file=sys.stderr)  # it may be long, and is to be copied: nothing is changed in it

    def _say(self, text: str) -> None:
        self._console.print(text)
