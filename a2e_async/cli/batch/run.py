"""`a2e batch run`: checks all rows, runs the batch, shows how it is doing, and says at the end how to go on.

The first Ctrl-C lets the batch end itself, the second one leaves at once. Both say how to go on.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from cyclopts import Parameter

from a2e_async import ModelVersion
from a2e_async.batch import JournalReader
from a2e_async.cli.batch.display import Screen, follow
from a2e_async.cli.batch.job_file import Entry, Source, entries, open_source
from a2e_async.cli.batch.report import show_summary
from a2e_async.cli.batch.text import make_console, several
from a2e_async.cli.batch.validate import Checked, Checker, Known, show_plan
from a2e_async.cli.flow import NEGATIVE_PROMPT, VideoTime
from a2e_async.cli.messages import complain, printable, said
from a2e_async.config import OnUnknown
from a2e_async.errors import InvalidRequestError, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from rich.console import Console

    from a2e_async import A2EClient
    from a2e_async.cli.options import Connection

__all__ = ["RunOptions", "left_alive", "run_batch", "run_interruptible"]

_ONCE = frozenset({"dry_run", "journal", "out"})
"""Options that are always in the command that goes on, or never."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunOptions:
    """What a batch is like.

    Attributes:
        journal: The file that remembers everything. By default it is in the current folder, and named after INPUT.
        out: The folder for the videos, which are named after the keys.
        prompt: What should happen, for jobs that do not say it.
        negative_prompt: What to avoid, for jobs that do not say it.
        video_time: Seconds of video, for jobs that do not say it: 5, 10, 15 or 20. The price grows with it.
        model_version: The model, for jobs that do not say it. The price depends on it.
        max_running: Tasks at A2E at the same time.
        max_coins: Coins that may be spent on starts, those of earlier runs with the journal included.
        retry_failed: New starts for a job whose task fails, at most. Each costs coins again.
        on_shortage: What to do if there are not enough coins or A2E is busy: pause the batch, or start nothing more.
        on_unknown: What to do if nobody knows whether A2E accepted a start: report it as uncertain, or send it again.
        timeout: Seconds to wait for each task. It goes on afterwards, and the next run takes it up.
        overwrite: Replace existing videos.
        skip_invalid: Go on without the rows that are wrong.
        dry_run: Show what would be sent and what it would cost, and start nothing.
    """

    journal: pathlib.Path | None = None
    out: Annotated[pathlib.Path, Parameter(name=["--out", "-o"])] = pathlib.Path("videos")
    prompt: str | None = attrs.field(default=None, repr=False)
    negative_prompt: str = attrs.field(default=NEGATIVE_PROMPT, repr=False)
    video_time: VideoTime = 5
    model_version: ModelVersion = "a2e"
    max_running: int = 10
    max_coins: float | None = None
    retry_failed: int = 0
    on_shortage: Literal["wait", "stop"] = "wait"
    on_unknown: OnUnknown | None = None
    timeout: float = 1800.0
    overwrite: bool = False
    skip_invalid: bool = False
    dry_run: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """What a job means that does not say it."""
        words = ("prompt", "negative_prompt", "video_time", "model_version")
        return {word: getattr(self, word) for word in words}

    def command(self, source: str, journal: pathlib.Path, connection: Connection) -> str:
        """Return the command that goes on: what the user has typed without the token, with the names of all files."""
        words = ["a2e", "batch", "run", source, "--journal", str(journal), "--out", str(self.out)]
        for field in attrs.fields(RunOptions):
            value = getattr(self, field.name)
            if field.name not in _ONCE and value != field.default:
                option = f"--{field.name.replace('_', '-')}"
                text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
                if isinstance(value, bool):
                    words.append(option)
                elif text.startswith("-"):  # which would be taken for an option
                    words.append(f"{option}={text}")
                else:
                    words += [option, text]
        if connection.base_url is not None:
            words += ["--base-url", connection.base_url]
        command = shlex.join([*words, "--json"] if connection.json else words)
        return f"{command} < INPUT" if source == "-" else command


_INTERRUPTED = 130


def run_interruptible(work: Coroutine[Any, Any, int], explain: Callable[[], None]) -> int:
    """Run until the end, or until Ctrl-C; return the exit code.

    Args:
        work: What to do. Ctrl-C cancels it.
        explain: Says how to go on, after Ctrl-C.
    """
    ended = False

    async def main() -> int:
        nonlocal ended
        try:
            return await work
        finally:
            ended = True

    runner = asyncio.Runner()
    try:
        return runner.run(main())
    except KeyboardInterrupt:
        try:
            explain()
        finally:
            if not ended:
                _leave()
        return _INTERRUPTED
    finally:
        runner.close()


def _leave() -> None:
    """End the process without waiting for threads and answers: the journal is as safe as in a crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def left_alive(journal: pathlib.Path) -> str:
    """Say how many tasks go on at A2E."""
    try:
        counts = asyncio.run(_counts(journal))
    except JournalError as error:
        return str(error)
    running, unknown = counts.get("running", 0), counts.get("sending", 0) + counts.get("uncertain", 0)
    alive = {0: "no task goes on at A2E", 1: "1 task goes on at A2E"}.get(running, f"{running} tasks go on at A2E")
    if unknown:
        alive += f"; whether A2E has accepted {several(unknown, 'start')}, the next run finds out"
    return alive


async def _counts(journal: pathlib.Path) -> dict[Any, int]:
    async with JournalReader.open(journal) as reader:
        return {**await reader.counts()}


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
