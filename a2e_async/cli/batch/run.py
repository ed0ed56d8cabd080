"""`a2e batch run`: validate all rows, run the batch with its display, and print the command that resumes it."""

# How it works:
#
# - Case 1, an invalid row: all invalid rows are listed before the first start. Then the command ends, unless
#   --skip-invalid is given.
# - Case 2, the first Ctrl-C: the batch ends itself. Starts in flight get their response, and the journal records it.
# - Case 3, the second Ctrl-C: the process exits at once. The journal is as safe as after a crash.
# - In every case that leaves work to do, the command that resumes the batch is printed.

import asyncio
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Parameter
from rich.console import Console

from a2e_async.batch import JournalReader
from a2e_async.batch.jobs import JOB_FIELDS
from a2e_async.cli.batch.display import BatchDisplay
from a2e_async.cli.batch.job_file import InputRow, JobSource, open_source, read_jobs
from a2e_async.cli.batch.summary import print_summary
from a2e_async.cli.batch.validate import JobValidator, print_plan, read_known
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import (
    INTERRUPTED,
    ignored_interrupts,
    one_line,
    plural,
    print_error,
    printable,
)
from a2e_async.cli.options import DEFAULT_CONNECTION, DEFAULT_JOB, FLAG, Connection, JobDefaults, Out
from a2e_async.cli.streams import OutputError
from a2e_async.config import OnUnknown
from a2e_async.errors import InvalidRequestError, JournalError

# Options that the resuming command has always (`journal`, `out`) or never (`dry_run`).
_SPECIAL = frozenset({"dry_run", "journal", "out"})

# Options that are about the input, or have another form in `batch`.
_NOT_OF_BATCH = frozenset({"skip_invalid", "recursive", "dry_run"})


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunOptions:
    """Options of a batch.

    Attributes:
        journal: The journal, an SQLite file. Default: a file in the current folder, named after INPUT.
        out: The folder for the videos, which are named after the keys: the one of cat.png is cat.png.mp4.
        max_running: Number of tasks at A2E at the same time.
        max_coins: Budget for the starts in coins, including earlier runs with the journal.
        retry_failed: Maximum number of new starts for a job whose task fails. Each costs coins again.
        on_shortage: When credits run out or A2E is busy: wait pauses the batch, stop starts nothing more.
        on_unknown: For a start with an unknown outcome: raise reports it as uncertain, resend sends it again.
        timeout: Seconds to wait for each task. It continues afterwards, and the next run resumes the wait.
        overwrite: Replace existing videos.
        skip_invalid: Skip invalid rows and run the others.
        recursive: Take the images in the subfolders of INPUT too, if it is a folder.
        dry_run: Print what would be sent and its price, and start nothing.
    """

    journal: pathlib.Path | None = None
    out: Annotated[pathlib.Path, Out] = pathlib.Path("videos")
    max_running: int = 10
    max_coins: float | None = None
    retry_failed: int = 0
    on_shortage: Literal["wait", "stop"] = "wait"
    on_unknown: OnUnknown | None = None
    timeout: float = 1800.0
    overwrite: Annotated[bool, FLAG] = False
    skip_invalid: Annotated[bool, FLAG] = False
    recursive: Annotated[bool, FLAG] = False
    dry_run: Annotated[bool, FLAG] = False


_DEFAULTS = RunOptions()
_INPUT = (
    "A table (.csv), JSON Lines (.jsonl), a folder of images, or - for JSON Lines on standard input. The columns are "
    f"{', '.join(JOB_FIELDS)}. Relative paths are relative to the file."
)


def resume_command(
    source: str, journal: pathlib.Path, options: RunOptions, jobs: JobDefaults, connection: Connection
) -> str:
    """Return the command that resumes the batch: the same options, without the token, with all file names."""
    words = ["a2e", "batch", "run", source, "--journal", str(journal), "--out", str(options.out)]
    given = [(field, getattr(each, field.name)) for each in (jobs, options) for field in attrs.fields(type(each))]
    for field, value in given:
        if field.name not in _SPECIAL and value != field.default:
            name = field.name.replace("_", "-")
            text = repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
            if isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            elif text.startswith("-"):  # as a word of its own it would be read as an option
                words.append(f"--{name}={text}")
            else:
                words += [f"--{name}", text]
    if connection.base_url is not None:
        words += ["--base-url", connection.base_url]
    command = shlex.join([*words, "--json"] if connection.json else words)
    return f"{command} < INPUT" if source == "-" else command


def run_interruptible(work: Coroutine[Any, Any, int], explain: Callable[[], None]) -> int:
    """Run a coroutine to its end, or until Ctrl-C, which cancels it and calls `explain`; return the exit code."""
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
            with ignored_interrupts():
                explain()
        finally:
            # Case 3: the second Ctrl-C left `work` before its end. `runner.close` would wait for it.
            if not ended:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(INTERRUPTED)
        # Case 2: `work` has ended itself.
        return INTERRUPTED
    finally:
        runner.close()


_INVALID_ROWS_LISTED = 50


def run(
    source: Annotated[str, Parameter(name="INPUT", help=_INPUT, allow_leading_hyphen=True)],
    /,
    *,
    options: RunOptions = _DEFAULTS,
    jobs: JobDefaults = DEFAULT_JOB,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Make a video of each row of a table, or of each image of a folder. Each costs coins.

    To resume after Ctrl-C, a crash or a shortage, run the same command again: nothing is started twice.
    All rows are validated before the first start. With --json, each result is printed as a JSON object.

    Try ``a2e batch run jobs.csv --journal jobs.sqlite --out videos``, or
    ``a2e batch run images --prompt "she smiles"``.

    Args:
        source: See `_INPUT`.
        options: The options of the batch.
        jobs: The options of jobs without their own.
        connection: The shared options.
    """
    if options.out.exists() and not options.out.is_dir():
        msg = f"{str(options.out)!r} is not a folder: choose another folder for the videos with --out"
        raise InvalidRequestError(msg)
    with open_source(source, recursive=options.recursive) as opened:
        journal = options.journal or pathlib.Path(f"{opened.file_name}.a2e.sqlite")
        command = resume_command(source, journal, options, jobs, connection)
        work = _Run(opened, attrs.evolve(options, journal=journal), journal, attrs.asdict(jobs), connection, command)
        try:
            return run_interruptible(work.run(), work.explain_resume)
        except OutputError:  # such as that of a reader that has closed it
            work.explain_resume()
            raise


@attrs.define(eq=False)
class _Run:
    """One `a2e batch run`."""

    source: JobSource
    options: RunOptions
    journal: pathlib.Path
    defaults: dict[str, Any]  # fields of a job that its row does not set
    connection: Connection
    resume_command: str
    display: BatchDisplay | None = None  # None before the batch begins
    _console: Console = attrs.field(factory=lambda: make_console(stderr=True), init=False)

    async def run(self) -> int:
        """Validate all rows, and run the batch or print the plan; return the exit code."""
        options = self.options
        async with self.connection.client() as a2e:
            known = await read_known(self.journal, options.retry_failed)
            check = a2e.image_to_video.check
            if self.source.left_out:
                self._console.print(f"left out of {printable(self.source.name)}: {one_line(self.source.left_out)}")
            validator = JobValidator(check, known, options.out, options.overwrite, self._print_invalid)
            with self._console.status(f"Checking {self.source.name} …"):
                await validator.run(read_jobs(self.source, self.defaults, known.earlier))
            if not self._may_begin(validator):
                return 2
            jobs = validator.jobs(read_jobs(self.source, self.defaults, known.earlier))
            if options.dry_run:
                await print_plan(a2e, jobs, known.started, as_json=self.connection.json)
                return 0
            console, total = make_console(stderr=self.connection.json), validator.valid
            given = attrs.asdict(options, filter=lambda field, _: field.name not in _NOT_OF_BATCH)
            batch = a2e.image_to_video.batch(jobs, total=total, **given)
            self.display = display = BatchDisplay(
                console, self.source.name, total, options.max_coins, self.connection.json
            )
            console.print(f"{plural(total, 'job')} in {self.source.name}; journal: {self.journal}")
            await display.run(batch)
            print_summary(console, display.summary, batch.progress, options.out, self.resume_command)
            return int(not display.summary.is_complete)

    def _print_invalid(self, row: InputRow, error: str, number: int) -> None:
        if number <= _INVALID_ROWS_LISTED:
            self._console.print(f"{printable(row.place)}: {one_line(error)}")

    def _may_begin(self, validator: JobValidator) -> bool:
        """Return whether the batch may begin; print the reason if not."""
        invalid = len(validator.invalid)
        if invalid > _INVALID_ROWS_LISTED:
            self._console.print(f"and {invalid - _INVALID_ROWS_LISTED} more invalid rows")
        # Case 1: invalid rows.
        if invalid and not self.options.skip_invalid:
            rows = f"{invalid} of {validator.valid + invalid} rows are invalid"
            self._console.print(f"a2e: {rows}, and nothing was started: fix them, or skip them with --skip-invalid")
            return False
        if not validator.valid:
            self._console.print(f"a2e: no jobs in {self.source.name}")
        return bool(validator.valid)

    def explain_resume(self) -> None:
        """Print after Ctrl-C what continues at A2E, and the command that resumes the batch."""
        if self.display is None or not self.journal.exists():
            print_error("interrupted; nothing was started")
            return
        self.display.close()
        print_error(f"interrupted; {asyncio.run(_remaining_tasks(self.journal))}. To resume:")
        print(f"  {self.resume_command}", file=sys.stderr)  # unchanged, however long: it is there to be copied


async def _remaining_tasks(journal: pathlib.Path) -> str:
    """Return how many tasks continue at A2E, and how many starts have an unknown outcome."""
    try:
        async with JournalReader.open(journal) as reader:
            counts = await reader.counts()
    except JournalError as error:
        return str(error)
    running, unknown = counts.get("running", 0), counts.get("sending", 0) + counts.get("uncertain", 0)
    tasks = {0: "no task continues", 1: "1 task continues"}.get(running, f"{running} tasks continue")
    starts = f"; unknown outcome of {plural(unknown, 'start')}, which the next run reconciles" if unknown else ""
    return f"{tasks} at A2E{starts}"
