"""`a2e batch run`: validate all rows, run the batch with its display, and print the command that resumes it.

How it works:

- Case 1, an invalid row: all invalid rows are listed before the first start. Then the command ends, unless
  --skip-invalid is given.
- Case 2, the first Ctrl-C: the batch ends itself. Starts in flight get their response, and the journal records it.
- Case 3, the second Ctrl-C: the process exits at once. The journal is as safe as after a crash.
- In every case that leaves work to do, the command that resumes the batch is printed.
"""

import asyncio
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Parameter
from rich.console import Console

from a2e_async import A2EClient, ModelVersion
from a2e_async.batch import JournalReader
from a2e_async.cli.batch.display import BatchDisplay, run_with_display
from a2e_async.cli.batch.job_file import JobSource, ParsedJob, open_source, read_jobs
from a2e_async.cli.batch.report import print_summary
from a2e_async.cli.batch.text import make_console, plural
from a2e_async.cli.batch.validate import JobValidator, JournalLookup, ValidationResult, print_plan
from a2e_async.cli.conversion import NEGATIVE_PROMPT, VideoTime
from a2e_async.cli.messages import print_error, printable, to_cli_text
from a2e_async.cli.options import Connection
from a2e_async.config import OnUnknown
from a2e_async.errors import InvalidRequestError, JournalError

# Options that the resuming command has always (`journal`, `out`) or never (`dry_run`).
_SPECIAL = frozenset({"dry_run", "journal", "out"})


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunOptions:
    """Options of a batch.

    Attributes:
        journal: The journal, an SQLite file. Default: a file in the current folder, named after INPUT.
        out: The folder for the videos, which are named after the keys.
        prompt: The prompt of jobs without their own.
        negative_prompt: The negative prompt of jobs without their own.
        video_time: Seconds of video of jobs without their own: 5, 10, 15 or 20. A longer video costs more.
        model_version: The model of jobs without their own. a2e-v2 costs more than the other two.
        max_running: Number of tasks at A2E at the same time.
        max_coins: Budget for the starts in coins, including earlier runs with the journal.
        retry_failed: Maximum number of new starts for a job whose task fails. Each costs coins again.
        on_shortage: When credits run out or A2E is busy: wait pauses the batch, stop starts nothing more.
        on_unknown: For a start with an unknown outcome: raise reports it as uncertain, resend sends it again.
        timeout: Seconds to wait for each task. It continues afterwards, and the next run resumes the wait.
        overwrite: Replace existing videos.
        skip_invalid: Skip invalid rows and run the others.
        dry_run: Print what would be sent and its price, and start nothing.
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
        """Fields of a job that its row does not set."""
        names = ("prompt", "negative_prompt", "video_time", "model_version")
        return {name: getattr(self, name) for name in names}

    def resume_command(self, source: str, journal: pathlib.Path, connection: Connection) -> str:
        """Return the command that resumes the batch: the same options, without the token, with all file names."""
        words = ["a2e", "batch", "run", source, "--journal", str(journal), "--out", str(self.out)]
        for field in attrs.fields(RunOptions):
            value = getattr(self, field.name)
            if field.name not in _SPECIAL and value != field.default:
                option = f"--{field.name.replace('_', '-')}"
                text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
                if isinstance(value, bool):
                    words.append(option)
                elif text.startswith("-"):  # as a word of its own it would be read as an option
                    words.append(f"{option}={text}")
                else:
                    words += [option, text]
        if connection.base_url is not None:
            words += ["--base-url", connection.base_url]
        command = shlex.join([*words, "--json"] if connection.json else words)
        return f"{command} < INPUT" if source == "-" else command


_INTERRUPTED = 130


def run_interruptible(work: Coroutine[Any, Any, int], explain: Callable[[], None]) -> int:
    """Run a coroutine to its end, or until Ctrl-C; return the exit code.

    Args:
        work: The coroutine. Ctrl-C cancels it.
        explain: Called after Ctrl-C, to print the command that resumes.
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
            # Case 3: the second Ctrl-C left `work` before its end. `runner.close` would wait for it.
            if not ended:
                _exit_process()
        # Case 2: `work` has ended itself.
        return _INTERRUPTED
    finally:
        runner.close()


def _exit_process() -> None:
    """End the process without waiting for threads and responses: the journal is as safe as after a crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def remaining_tasks_text(journal: pathlib.Path) -> str:
    """Return how many tasks continue at A2E, and how many starts have an unknown outcome."""
    try:
        counts = asyncio.run(_counts(journal))
    except JournalError as error:
        return str(error)
    running, unknown = counts.get("running", 0), counts.get("sending", 0) + counts.get("uncertain", 0)
    tasks = {0: "no task continues", 1: "1 task continues"}.get(running, f"{running} tasks continue")
    text = f"{tasks} at A2E"
    if unknown:
        text += f"; unknown outcome of {plural(unknown, 'start')}, which the next run reconciles"
    return text


async def _counts(journal: pathlib.Path) -> dict[Any, int]:
    async with JournalReader.open(journal) as reader:
        return {**await reader.counts()}


_INVALID_ROWS_LISTED = 50


def run_batch(name: str, options: RunOptions, connection: Connection) -> int:
    """Run a batch and return the exit code.

    Args:
        name: The input, as the user typed it.
        options: The options of the batch.
        connection: The shared options. With its `json`, stdout gets the results as JSON, and nothing else.

    Raises:
        A2EError: The input, the journal or the settings cannot be used.
    """
    if options.out.exists() and not options.out.is_dir():
        msg = f"{str(options.out)!r} is not a folder: choose another folder for the videos with --out"
        raise InvalidRequestError(msg)
    with open_source(name) as source:
        journal = options.journal or pathlib.Path(f"{source.file_name}.a2e.sqlite")
        run = _Run(source, options, journal, connection, options.resume_command(name, journal, connection))
        try:
            return run_interruptible(run.run(), run.explain_resume)
        except (BrokenPipeError, SystemExit):  # the reader has closed the output; rich raises SystemExit then
            run.explain_resume()
            raise


@attrs.define(eq=False)
class _Run:
    """One `a2e batch run`.

    Attributes:
        source: The input.
        options: The options of the batch.
        journal: The journal.
        connection: The shared options.
        resume_command: The command that resumes the batch.
        display: The display, None before the batch begins.
    """

    source: JobSource
    options: RunOptions
    journal: pathlib.Path
    connection: Connection
    resume_command: str
    display: BatchDisplay | None = None
    _console: Console = attrs.field(factory=lambda: make_console(stderr=True), init=False)
    _invalid: int = attrs.field(default=0, init=False)

    async def run(self) -> int:
        """Validate all rows, and run the batch or print the plan; return the exit code."""
        async with self.connection.client() as a2e:
            lookup = JournalLookup(self.journal, self.options.retry_failed)
            await lookup.check()
            validated = await self._validate(a2e, lookup)
            if not self._may_begin(validated):
                return 2
            if self.options.dry_run:
                await print_plan(a2e, validated.jobs(self._rows()), lookup, as_json=self.connection.json)
                return 0
            return await self._run(a2e, validated)

    def _rows(self) -> Iterator[ParsedJob]:
        return read_jobs(self.source, self.options.defaults)

    async def _validate(self, a2e: A2EClient, lookup: JournalLookup) -> ValidationResult:
        """Validate all rows, and list the invalid ones."""
        options = self.options
        check = a2e.image_to_video.check
        validator = JobValidator(check, lookup, options.out, options.overwrite, self._print_invalid)
        with self._console.status(f"Checking {self.source.name} …"):
            validated = await validator.run(self._rows())
        if self._invalid > _INVALID_ROWS_LISTED:
            self._print(f"and {self._invalid - _INVALID_ROWS_LISTED} more invalid rows")
        return validated

    def _print_invalid(self, place: str, error: str) -> None:
        self._invalid += 1
        if self._invalid <= _INVALID_ROWS_LISTED:
            self._print(f"{printable(place)}: {to_cli_text(error)}")

    def _may_begin(self, validated: ValidationResult) -> bool:
        """Return whether the batch may begin; print the reason if not."""
        # Case 1: invalid rows.
        if validated.invalid and not self.options.skip_invalid:
            rows = f"{len(validated.invalid)} of {validated.valid + len(validated.invalid)} rows are invalid"
            self._print(f"a2e: {rows}, and nothing was started: fix them, or skip them with --skip-invalid")
            return False
        if not validated.valid:
            self._print(f"a2e: no jobs in {self.source.name}")
            return False
        return True

    async def _run(self, a2e: A2EClient, validated: ValidationResult) -> int:
        options = self.options
        batch = a2e.image_to_video.batch(
            validated.jobs(self._rows()),
            journal=self.journal,
            out=options.out,
            overwrite=options.overwrite,
            max_running=options.max_running,
            max_coins=options.max_coins,
            retry_failed=options.retry_failed,
            on_shortage=options.on_shortage,
            on_unknown=options.on_unknown,
            timeout=options.timeout,
            total=validated.valid,
        )
        self.display = display = BatchDisplay(
            self.source.name, validated.valid, options.max_coins, self.connection.json
        )
        display.console.print(f"{plural(validated.valid, 'job')} in {self.source.name}; journal: {self.journal}")
        await run_with_display(batch, display)
        print_summary(display.console, display.summary, batch.progress, options.out, self.resume_command)
        return int(not display.summary.is_complete)

    def explain_resume(self) -> None:
        """Print after Ctrl-C what continues at A2E, and the command that resumes the batch."""
        if self.display is None or not self.journal.exists():
            print_error("interrupted; nothing was started")
            return
        self.display.close()
        print_error(f"interrupted; {remaining_tasks_text(self.journal)}. To resume:")
        print(f"  {self.resume_command}", file=sys.stderr)  # unchanged, however long: it is there to be copied

    def _print(self, text: str) -> None:
        self._console.print(text)
