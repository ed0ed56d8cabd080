"""Commands about a journal: ``a2e batch status``, ``export`` and ``prune``."""

import contextlib
import csv
import datetime as dt
import errno
import json as json_lines
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator
from typing import IO, Annotated, Any, Literal, get_args

import attrs
from rich.text import Text

from a2e_async.batch import EntryState, JournalEntry, JournalInfo, JournalReader
from a2e_async.batch.rules import Action, next_action
from a2e_async.cli.batch.summary import MARKS, STYLES, count_line, retry_advice, without_ids
from a2e_async.cli.display import make_console
from a2e_async.cli.messages import coins_text, confirm, plural, printable
from a2e_async.cli.options import FLAG, Out
from a2e_async.cli.output import is_stdout, print_json
from a2e_async.errors import InvalidRequestError
from a2e_async.files.partial_file import temporary_path

_PROBLEMS_LISTED = 20

_REMARKS = {
    "new": "not started, no cost",
    "sending": "a start was in flight; the next run reconciles it",
    "running": "paid; the next run waits for them",
    "uncertain": "may have cost coins; the next run reconciles them",
}


async def status(journal: pathlib.Path, /, *, json: bool = False) -> None:
    """Show the progress, the cost and the problems of a batch, and how to resume it. Also while it runs.

    Try ``a2e batch status jobs.sqlite``.

    Args:
        journal: The journal of the batch.
        json: Print one JSON object, for programs.
    """
    async with JournalReader.open(journal) as reader:
        info, coins, found = reader.info, await reader.coins(), await reader.counts()
        problems: list[JournalEntry] = []
        more_problems = failed_starts = rejected = open_jobs = 0
        async for entry in reader.entries(states=("failed", "uncertain", "succeeded")):
            action = next_action(entry, download=True, retry_failed=0)
            open_jobs += action in {Action.START, Action.DOWNLOAD}
            if action is Action.REPORT:
                failed_starts, rejected = max(failed_starts, entry.starts), rejected + (not entry.starts)
            if entry.error is not None or entry.state != "succeeded":
                more_problems += len(problems) == _PROBLEMS_LISTED
                problems += [entry] if len(problems) < _PROBLEMS_LISTED else []
    counts = {state: found.get(state, 0) for state in get_args(EntryState)}
    if json:
        print_json(_status_json(info, counts, coins, problems))
        return
    console, jobs = make_console(), plural(sum(counts.values()), "job")
    created = f"{info.created_at.astimezone():%Y-%m-%d %H:%M}"
    console.print(printable(f"{info.path}: {jobs} at {info.base_url}, created {created}"))
    for state in filter(counts.get, counts):
        remark = "" if info.holder else _REMARKS.get(state, "")  # the remarks are about the next run
        name = f"{MARKS.get(state, ' ')} {state}"
        console.print(count_line(name, STYLES.get(state, ""), str(counts[state]), remark))
    console.print(count_line("  coins", "magenta", coins_text(coins)))
    for entry in problems:
        console.print(Text(_problem_text(entry), STYLES["failed" if entry.state == "succeeded" else entry.state]))
    if more_problems:
        console.print(f"  and {more_problems} more; list all of them with: a2e batch export {info.path}")
    for line in _next_steps(info, counts, open_jobs, failed_starts, rejected):
        console.print(line)


def _status_json(
    info: JournalInfo, counts: dict[EntryState, int], coins: float, problems: list[JournalEntry]
) -> dict[str, Any]:
    fields = ("key", "state", "task_id", "marker", "error")
    return {
        "path": str(info.path),
        "schema": info.schema,
        "created_at": info.created_at.isoformat(timespec="milliseconds"),
        "base_url": info.base_url,
        "holder": info.holder or None,
        "jobs": sum(counts.values()),
        "states": counts,
        "coins": coins,
        "attention": [{name: getattr(entry, name) or None for name in fields} for entry in problems],
    }


def _problem_text(entry: JournalEntry) -> str:
    reason = without_ids((entry.error or {}).get("message", "no reason recorded"))
    state = "has no file" if entry.state == "succeeded" else entry.state
    task = f" [task {entry.task_id}]" if entry.task_id and entry.task_id not in reason else ""
    mark = "✗" if entry.state == "succeeded" else MARKS.get(entry.state, "✗")
    return printable(f"{mark} {entry.key}: {state}: {reason}{task}")


def _next_steps(
    info: JournalInfo, counts: dict[EntryState, int], open_jobs: int, failed_starts: int, rejected: int
) -> Iterator[str]:
    if info.holder:
        yield printable(f"The journal is in use by {info.holder}.")
        return
    if open_jobs + sum(counts[state] for state in ("new", "sending", "running", "uncertain")):
        yield f"To resume, run the same a2e batch run again, with --journal {info.path}."
    yield from retry_advice(failed_starts, rejected)
    if sum(counts.values()) == counts["succeeded"] and not open_jobs:
        yield "All jobs have their video." if counts["succeeded"] else "The journal has no jobs yet."


Format = Literal["csv", "jsonl"]

_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

# The columns that every table has. Those of the request, the record and the error follow, as far as they occur.
_FIXED = tuple(field.name for field in attrs.fields(JournalEntry) if field.name not in {"request", "record", "error"})

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a spreadsheet formula


async def export(
    journal: pathlib.Path,
    /,
    *,
    format: Format | None = None,  # noqa: A002  the usual name of this option
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
) -> None:
    """Write all entries of a journal as CSV or JSON Lines. Also while the batch runs.

    The output has prompts, and links that need no token: keep it confidential.

    Try ``a2e batch export jobs.sqlite --out report.csv``, or ``a2e batch export jobs.sqlite --format jsonl | head``.

    Args:
        journal: The journal of the batch.
        format: The format. Default: by the suffix of --out (.csv, .jsonl); csv for standard output.
        out: The file to write. Default: standard output, as with - and /dev/stdout.
        overwrite: Replace an existing file. A pipe or a device is written to without it.
    """
    out = None if out is None or is_stdout(out) else out
    used = format or ("csv" if out is None else _FORMATS.get(out.suffix.lower()))
    if used is None:
        msg = f"{str(out)!r} has an unsupported file type: add --format csv or --format jsonl"
        raise InvalidRequestError(msg)
    async with JournalReader.open(journal) as reader:
        with _open_target(out, journal, overwrite=overwrite) as file:
            await (_write_csv if used == "csv" else _write_json)(reader, file)


@contextlib.contextmanager
def _open_target(target: pathlib.Path | None, journal: pathlib.Path, *, overwrite: bool) -> Iterator[IO[str]]:
    """Open the target. A regular file is replaced once everything is written, and nothing else is replaced."""
    if target is None:
        yield sys.stdout
        return
    if target.exists() and target.samefile(journal):
        msg = f"{str(target)!r} is the journal itself: choose another file"
        raise InvalidRequestError(msg)
    is_special = target.exists() and not target.is_file()
    if os.path.lexists(target) and not is_special and not overwrite:
        msg = f"{str(target)!r} exists"
        raise InvalidRequestError(msg, advice="overwrite")
    path = pathlib.Path(os.path.realpath(target))  # a symbolic link stays, and the file that it leads to is replaced
    part = temporary_path(path)
    # half a surrogate pair, which JSON can hold, has no UTF-8
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    try:
        if is_special:
            with open(target, "w", opener=_open_special, **options) as file:
                yield file
            return
        # for the owner only: it holds prompts, and links that need no token
        part.touch(mode=0o600, exist_ok=False)
        with part.open("w", **options) as file:
            yield file
        part.replace(path)
    except OSError as error:
        reason = "nothing reads from it" if error.errno == errno.ENXIO else error.strerror
        msg = f"cannot write {str(target)!r}: {reason}"
        raise InvalidRequestError(msg) from error
    finally:
        part.unlink(missing_ok=True)


def _open_special(path: str, flags: int) -> int:
    """Open a pipe or a device. A pipe without a reader is an error: the command would wait for one, maybe forever."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if sys.platform != "win32":
        os.set_blocking(descriptor, True)
    return descriptor


async def _write_csv(journal: JournalReader, file: IO[str]) -> None:
    # The journal is read twice: the columns must be known before the first row is written.
    others = {column async for entry in journal.entries() for column in _flatten(entry) if column not in _FIXED}
    columns, clean = [*_FIXED, *sorted(others)], printable if file.isatty() else str
    # A batch can add columns between the two readings: they are ignored.
    table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    table.writerow({column: clean(column) for column in columns})
    async for entry in journal.entries():
        cells = {column: _cell(value) for column, value in _flatten(entry).items()}
        table.writerow({column: "" if cell is None else clean(str(cell)) for column, cell in cells.items()})


async def _write_json(journal: JournalReader, file: IO[str]) -> None:
    async for entry in journal.entries():
        file.write(f"{json_lines.dumps(_flatten(entry))}\n")  # ASCII, as all JSON of the commands


def _cell(value: object) -> object:
    # A spreadsheet would run a prompt such as =HYPERLINK(...) as a formula; the apostrophe marks it as a text.
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json_lines.dumps(value, ensure_ascii=False) if isinstance(value, bool | list) else value


def _flatten(entry: JournalEntry) -> dict[str, Any]:
    """Return an entry as flat columns, such as ``request.prompt``."""
    values = attrs.asdict(entry)
    for name, value in values.items():
        if name.endswith("_at") and value is not None:
            values[name] = dt.datetime.fromtimestamp(value, dt.UTC).isoformat(timespec="milliseconds")
    return dict(column for name, value in values.items() for column in _columns(name, value))


def _columns(name: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _columns(f"{name}.{key}", inner)
    elif value is not None or name in _FIXED:
        yield name, value


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``30d``; raise an `InvalidRequestError` for another text."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        msg = f"{text!r} is not a duration: write 45s, 90m, 12h, 30d or 2w"
        raise InvalidRequestError(msg)
    return float(found[1]) * _SECONDS[found[2]]


async def prune(
    journal: pathlib.Path,
    /,
    *,
    state: list[Literal["succeeded", "failed"]] | None = None,
    older_than: str | None = None,
    yes: bool = False,
    json: bool = False,
) -> int:
    """Remove the entries of finished jobs from a journal. Video files are kept.

    A job without an entry is a new job: the same input would start it again.

    Try ``a2e batch prune jobs.sqlite --older-than 30d``.

    Args:
        journal: The journal of the batch.
        state: The state of the jobs; can be given twice. Default: succeeded.
        older_than: Only jobs that finished at least this long ago: 45s, 90m, 12h, 30d, 2w.
        yes: Skip the confirmation. Required without a terminal.
        json: Print one JSON object, for programs.
    """
    age = None if older_than is None else parse_duration(older_than)
    states: list[EntryState] = [*(state or ["succeeded"])]
    async with JournalReader.open(journal) as reader:
        until, number = time.time() - (age or 0), 0
        async for entry in reader.entries(states=states):
            number += (entry.finished_at or entry.created_at) <= until
        question = f"Remove {plural(number, 'job')} from {journal}? The same input would start these jobs again."
        may_remove = not number or yes or confirm(question)
        removed = await reader.prune(states=states, older_than=age) if may_remove else 0
    if json:
        print_json({"removed": removed})
    else:
        print(f"{plural(removed, 'job')} removed." if may_remove else "Nothing was removed.")
    return int(not may_remove)
