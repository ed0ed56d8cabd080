"""`a2e batch run`: validate all rows, run the batch with its display, and print the command that resumes it."""

# How it works:
#
# - Case 1, an invalid row: all invalid rows are listed before the first start. Then the command ends, unless
#   --skip-invalid is given.
# - Case 2, the first Ctrl-C: the batch ends itself. Starts in flight get their response, and the journal records it.
# - Case 3, the second Ctrl-C: the process exits at once. The journal is as safe as after a crash.
# - In every case that leaves work to do, the command that resumes the batch is printed.

import asyncio
import collections
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Parameter
from rich.console import Console

from a2e_async.batch import Batch, JournalReader
from a2e_async.batch.jobs import JOB_FIELDS
from a2e_async.cli.batch.display import BatchDisplay
from a2e_async.cli.batch.ending import ring_bell, run_on_done
from a2e_async.cli.batch.families import FamilyJobs, print_family_plan
from a2e_async.cli.batch.job_file import VIDEO_ROWS, InputRow, JobSource, open_source, read_jobs
from a2e_async.cli.batch.summary import print_summary
from a2e_async.cli.batch.validate import JobValidator, KnownJobs, print_plan, read_known
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import (
    INTERRUPTED,
    exit_code_of,
    ignored_interrupts,
    one_line,
    plural,
    print_error,
    printable,
)
from a2e_async.cli.options import DEFAULT_CONNECTION, DEFAULT_JOB, FLAG, Connection, Duration, JobDefaults, Out
from a2e_async.cli.streams import OutputError
from a2e_async.config import OnUnknown
from a2e_async.errors import A2EError, InvalidRequestError, JournalError
from a2e_async.resources.family_batches import FamilyBatches

# Options that the resuming command has always (`journal`, `out`) or never (`dry_run`).
_SPECIAL = frozenset({"dry_run", "journal", "out"})

# Options that are about the input, or have another form in `batch`.
_NOT_OF_BATCH = frozenset({"skip_invalid", "recursive", "dry_run", "bell", "on_done", "family", "field"})


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RunOptions:
    """Options of a batch.

    Attributes:
        family: Instead of videos, results of a family, such as userText2Image. The columns are its fields.
        field: With --family, a field of all jobs, such as resolution=1080p. It can be repeated.
        journal: The journal, an SQLite file. Default: a file in the current folder, named after INPUT.
        out: The folder for the videos, which are named after the keys: the one of cat.png is cat.png.mp4.
        max_running: Number of tasks at A2E at the same time.
        max_coins: Budget for the starts in coins, including earlier runs with the journal.
        retry_failed: Maximum number of new starts for a job whose task fails. Each costs coins again.
        on_shortage: When credits run out or A2E is busy: wait pauses the batch, stop starts nothing more.
        on_unknown: For a start with an unknown outcome: raise reports it as uncertain, resend sends it again.
        timeout: Time to wait for each task: seconds, or such as 30m. The next run resumes the wait.
        overwrite: Replace existing videos.
        skip_invalid: Skip invalid rows and run the others.
        recursive: Take the images in the subfolders of INPUT too, if it is a folder.
        dry_run: Print what would be sent and its price, and start nothing.
        bell: Ring the terminal's bell at the end.
        on_done: A shell command to run at the end, which gets the numbers as A2E_BATCH_FAILED and so on.
    """

    family: str | None = None
    field: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    journal: pathlib.Path | None = None
    out: Annotated[pathlib.Path, Out] = pathlib.Path("videos")
    max_running: int = 10
    max_coins: float | None = None
    retry_failed: int = 0
    on_shortage: Literal["wait", "stop"] = "wait"
    on_unknown: OnUnknown | None = None
    timeout: Duration = 1800.0
    overwrite: Annotated[bool, FLAG] = False
    skip_invalid: Annotated[bool, FLAG] = False
    recursive: Annotated[bool, FLAG] = False
    dry_run: Annotated[bool, FLAG] = False
    bell: Annotated[bool, FLAG] = False
    on_done: str | None = None


_DEFAULTS = RunOptions()
INPUT = (
    "A table (.csv), JSON Lines (.jsonl), a folder of images, an image, or - for JSON Lines on standard input. The "
    f"columns are {', '.join(JOB_FIELDS)}. Relative paths are relative to the file."
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
            if isinstance(value, tuple):
                words += [f"--{name}={each}" for each in value]
            elif isinstance(value, bool):
                words.append(f"--{name}" if value else f"--no-{name}")
            elif text.startswith("-"):  # as a word of its own it would be read as an option
                words.append(f"--{name}={text}")
            else:
                words += [f"--{name}", text]
    words += connection.words()
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


INVALID_ROWS_LISTED = 50


def run(
    source: Annotated[str, Parameter(name="INPUT", help=INPUT, allow_leading_hyphen=True)],
    /,
    *,
    options: RunOptions = _DEFAULTS,
    jobs: JobDefaults = DEFAULT_JOB,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Make a video of each row of a table, or of each image of a folder. Each costs coins.

    Try:

        a2e batch run jobs.csv --journal jobs.sqlite --out videos
        a2e batch run images --prompt "she smiles"

    To resume after Ctrl-C, a crash or a shortage, run the same command again: nothing is started twice.
    All rows are validated before the first start. With --json, each result is printed as a JSON object.

    Args:
        source: See `INPUT`.
        options: The options of the batch.
        jobs: The options of jobs without their own.
        connection: The shared options.
    """
    if options.out.exists() and not options.out.is_dir():
        msg = f"{str(options.out)!r} is not a folder: choose another folder for the videos with --out"
        raise InvalidRequestError(msg)
    if options.field and options.family is None:
        msg = "--field is for jobs of a family: add --family"
        raise InvalidRequestError(msg)
    family = FamilyJobs.of(options.family, options.field, jobs)
    rows = VIDEO_ROWS if family is None else family.format
    with open_source(source, recursive=options.recursive, rows=rows) as opened:
        journal = options.journal or pathlib.Path(f"{opened.file_name}.a2e.sqlite")
        command = resume_command(source, journal, options, jobs, connection)
        work = _Run(
            opened, attrs.evolve(options, journal=journal), journal, attrs.asdict(jobs), connection, command, family
        )
        try:
            code = run_interruptible(work.run(), work.explain_resume)
        except A2EError as error:
            work.announce_end(exit_code_of(error))
            raise
        except OutputError:  # such as that of a reader that has closed it
            work.explain_resume()
            raise
        work.announce_end(code)
        return code


@attrs.define(eq=False)
class _Run:
    """One `a2e batch run`."""

    source: JobSource
    options: RunOptions
    journal: pathlib.Path
    defaults: dict[str, Any]  # fields of a job that its row does not set
    connection: Connection
    resume_command: str
    family: FamilyJobs | None = None  # None for image-to-video
    display: BatchDisplay | None = None  # None before the batch begins
    _console: Console = attrs.field(factory=lambda: make_console(stderr=True), init=False)
    _errors: collections.Counter[str] = attrs.field(factory=collections.Counter, init=False)  # of invalid rows

    async def run(self) -> int:
        """Validate all rows, and run the batch or print the plan; return the exit code."""
        options = self.options
        async with self.connection.client() as a2e:
            known = await read_known(self.journal, options.retry_failed, self._extension)
            batches = a2e.image_to_video if self.family is None else self.family.batches(a2e)
            if self.source.left_out:
                self._console.print(f"left out of {printable(self.source.name)}: {one_line(self.source.left_out)}")
            validator = JobValidator(
                batches.check, known, options.out, options.overwrite, self._print_invalid, self._extension
            )
            with self._console.status(f"Checking {self.source.name} …"):
                await validator.run(self._rows(known))
            if not self._may_begin(validator):
                return 2
            jobs = validator.jobs(self._rows(known))
            if options.dry_run and isinstance(batches, FamilyBatches):
                await print_family_plan(batches, jobs, known.started, as_json=self.connection.json)
                return 0
            if options.dry_run:
                await print_plan(a2e, jobs, known.started, as_json=self.connection.json)
                return 0
            console, total = make_console(stderr=self.connection.json), validator.valid
            given = attrs.asdict(options, filter=lambda field, _: field.name not in _NOT_OF_BATCH)
            batch: Batch[Any] = batches.batch(jobs, total=total, **given)
            self.display = display = BatchDisplay(
                console, self.source.name, total, options.max_coins, self.connection.json
            )
            console.print(f"{plural(total, 'job')} in {self.source.name}; journal: {self.journal}")
            await display.run(batch)
            print_summary(console, display.summary, batch.progress, options.out, self.resume_command)
            return int(not display.summary.is_complete)

    @property
    def _extension(self) -> str:
        return ".mp4" if self.family is None else self.family.extension

    def _rows(self, known: KnownJobs) -> Iterator[InputRow]:
        if self.family is not None:
            return self.family.read(self.source)
        return read_jobs(self.source, self.defaults, known.earlier)

    def _print_invalid(self, row: InputRow, error: str, _: int) -> None:
        # A prompt that is missing in 300 rows is one mistake.
        if error in self._errors:
            self._errors[error] += 1
        elif len(self._errors) < INVALID_ROWS_LISTED:
            self._errors[error] = 1
            self._console.print(f"{printable(row.place)}: {one_line(error)}")

    def _may_begin(self, validator: JobValidator) -> bool:
        """Return whether the batch may begin; print the reason if not."""
        invalid = len(validator.invalid)
        for error, number in self._errors.items():
            if number > 1:
                same = "the same error" if len(self._errors) == 1 else f"this error: {one_line(error)}"
                self._console.print(f"and {plural(number - 1, 'more row')} with {same}")
        if more := invalid - self._errors.total():
            self._console.print(f"and {plural(more, 'more invalid row')}")
        # Case 1: invalid rows.
        if invalid and not self.options.skip_invalid:
            rows = f"{invalid} of {validator.valid + invalid} rows are invalid"
            self._console.print(f"a2e: {rows}, and nothing was started: fix them, or skip them with --skip-invalid")
            return False
        if not validator.valid:
            self._console.print(f"a2e: no jobs in {self.source.name}")
        return bool(validator.valid)

    def announce_end(self, code: int) -> None:
        """Ring the bell and run the command, if the batch has begun. After Ctrl-C, the user knows it already."""
        if self.display is None or code == INTERRUPTED:
            return
        if self.options.bell:
            ring_bell()
        if self.options.on_done is not None:
            coins, as_json = self.display.coins, self.connection.json
            run_on_done(self.options.on_done, self.display.summary, coins, code, self.journal, as_json=as_json)

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
