"""Reports of a journal: `a2e batch status`, `export`, `prune`, and the summary at the end of a batch."""

import contextlib
import csv
import datetime as dt
import json
import pathlib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Literal, get_args

import attrs
from rich.console import Console
from rich.text import Text

from a2e_async.batch import JournalInfo, JournalReader, Progress
from a2e_async.batch.rules import EntryState, JournalEntry
from a2e_async.cli.batch.display import MARKS, STYLES
from a2e_async.cli.batch.text import ResultSummary, coins_text, count_line, make_console, plural, without_ids
from a2e_async.cli.messages import printable
from a2e_async.errors import BudgetError, InvalidRequestError

_PROBLEMS_LISTED = 20

_REMARKS = {
    "new": "not started, no cost",
    "sending": "a start was in flight; the next run reconciles it",
    "running": "paid; the next run waits for them",
    "uncertain": "may have cost coins; the next run reconciles them",
}


@attrs.frozen(kw_only=True)
class _Status:
    """Status of a journal.

    Attributes:
        info: The journal.
        counts: The number of jobs of each state.
        coins: The cost of all jobs.
        problems: The first entries with a problem.
        more_problems: The number of further entries with a problem.
        not_accepted: The number of failed jobs without an accepted start; the next run starts them again.
        without_file: The number of succeeded jobs whose video is not downloaded.
    """

    info: JournalInfo
    counts: dict[EntryState, int]
    coins: float
    problems: list[JournalEntry]
    more_problems: int
    not_accepted: int
    without_file: int


async def print_status(path: pathlib.Path, *, as_json: bool) -> None:
    """Print the status of a journal.

    Raises:
        JournalError: The journal cannot be read.
    """
    async with JournalReader.open(path) as journal:
        problems: list[JournalEntry] = []
        more_problems = not_accepted = without_file = 0
        async for entry in journal.entries(states=("failed", "uncertain", "succeeded")):
            not_accepted += entry.state == "failed" and not entry.starts
            without_file += entry.state == "succeeded" and entry.path is None
            if entry.error is not None or entry.state != "succeeded":
                more_problems += len(problems) == _PROBLEMS_LISTED
                problems += [entry] if len(problems) < _PROBLEMS_LISTED else []
        status = _Status(
            info=journal.info,
            counts={state: (await journal.counts()).get(state, 0) for state in get_args(EntryState)},
            coins=await journal.coins(),
            problems=problems,
            more_problems=more_problems,
            not_accepted=not_accepted,
            without_file=without_file,
        )
    if as_json:
        print(json.dumps(_status_json(status), ensure_ascii=False))
    else:
        _print_status(make_console(), status)


def _status_json(status: _Status) -> dict[str, Any]:
    info = status.info
    return {
        "path": str(info.path),
        "schema": info.schema,
        "created_at": info.created_at.isoformat(timespec="milliseconds"),
        "base_url": info.base_url,
        "holder": info.holder or None,
        "jobs": sum(status.counts.values()),
        "states": status.counts,
        "coins": status.coins,
        "attention": [
            {
                "key": entry.key,
                "state": entry.state,
                "task_id": entry.task_id,
                "marker": entry.marker or None,
                "error": entry.error,
            }
            for entry in status.problems
        ],
    }


def _print_status(console: Console, status: _Status) -> None:
    info, counts = status.info, status.counts
    created = f"{info.created_at.astimezone():%Y-%m-%d %H:%M}"
    jobs = plural(sum(counts.values()), "job")
    console.print(printable(f"{info.path}: {jobs} at {info.base_url}, created {created}"))
    for state, number in counts.items():
        if number:
            name = f"{MARKS.get(state, ' ')} {state}"
            remark = "" if info.holder else _REMARKS.get(state, "")  # the remarks are about the next run
            console.print(count_line(name, STYLES.get(state, ""), str(number), remark))
    console.print(count_line("  coins", "magenta", coins_text(status.coins)))
    for entry in status.problems:
        console.print(Text(_problem_text(entry), STYLES["failed" if entry.state == "succeeded" else entry.state]))
    if status.more_problems:
        console.print(f"  and {status.more_problems} more; list all of them with: a2e batch export {info.path}")
    for line in _advice(status):
        console.print(line)


def _problem_text(entry: JournalEntry) -> str:
    reason = without_ids((entry.error or {}).get("message", "no reason recorded"))
    state = "has no file" if entry.state == "succeeded" else entry.state
    task = f" [task {entry.task_id}]" if entry.task_id and entry.task_id not in reason else ""
    mark = "✗" if entry.state == "succeeded" else MARKS.get(entry.state, "✗")
    return printable(f"{mark} {entry.key}: {state}: {reason}{task}")


def _advice(status: _Status) -> list[str]:
    counts, info = status.counts, status.info
    if info.holder:
        return [printable(f"The journal is in use by {info.holder}.")]
    unfinished = sum(counts[state] for state in get_args(EntryState) if state not in {"succeeded", "failed"})
    unfinished += status.not_accepted + status.without_file
    advice = []
    if unfinished:
        advice.append(f"To resume, run the same a2e batch run again, with --journal {info.path}.")
    if counts["failed"] > status.not_accepted:
        advice.append(_RETRY_ADVICE)
    return advice or ["All jobs have their video." if counts["succeeded"] else "The journal has no jobs yet."]


_RETRY_ADVICE = "To start the failed tasks again, add --retry-failed 1. Each start costs coins."

# The states of the summary, in their order, with their colours.
_SUMMARY_STYLES = {
    "succeeded": "green",
    "skipped": "blue",
    "without a file": "red",
    "failed": "red",
    "uncertain": "yellow",
    "not started": "yellow",
}


def print_summary(
    console: Console, summary: ResultSummary, progress: Progress, out: pathlib.Path, resume_command: str
) -> None:
    """Print the summary at the end of a batch.

    Args:
        console: Where to print.
        summary: The results.
        progress: The last progress of the batch.
        out: The folder of the videos.
        resume_command: The command that resumes the batch.
    """
    # The most important lines come last: they are what a small terminal still shows.
    for failure in summary.first_failures:
        console.print(Text(f"✗ {failure}", "red"))
    failures = sum(summary.states[state] for state in ("failed", "uncertain", "without a file"))
    if more := failures - len(summary.first_failures):
        console.print(Text(f"  and {more} more", "red"))
    remarks = {
        "succeeded": f"in {out}",
        "skipped": "done by an earlier run",
        "without a file": "made, but not downloaded",
        "uncertain": "may have cost coins",
        "not started": "no cost",
    }
    for state, style in _SUMMARY_STYLES.items():
        if summary.states[state] or state == "succeeded":
            mark, number = MARKS.get(state, "-"), str(summary.states[state])
            console.print(count_line(f"{mark} {state}", style, number, remarks.get(state, "")))
    retries = f", {progress.retried} of them for failed tasks" if progress.retried else ""
    starts = f"{plural(progress.started, 'start')} in this run{retries}"
    console.print(count_line("  coins", "magenta", coins_text(progress.coins), starts))
    if advice := _summary_advice(summary, progress):
        console.print(advice)
    if summary.states["uncertain"] or summary.states["not started"] or summary.states["without a file"]:
        budget = ", with a higher --max-coins" if isinstance(summary.stop_error, BudgetError) else ""
        console.print(f"To resume the batch{budget}:")
        console.print(f"  {resume_command}", soft_wrap=True)  # in one piece, however long: it is there to be copied


def _summary_advice(summary: ResultSummary, progress: Progress) -> str:
    if summary.stop_error is not None:
        reason = without_ids(summary.stop_error.message).removeprefix("Not started: ")
        return f"Some jobs were not started: {reason}"
    return _RETRY_ADVICE if summary.states["failed"] and not progress.retried else ""


Format = Literal["csv", "jsonl"]

_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

# The columns that every table has. Those of the request, the record and the error follow, as far as they occur.
_FIXED = tuple(field.name for field in attrs.fields(JournalEntry) if field.name not in {"request", "record", "error"})

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # first characters of a spreadsheet formula


async def export(path: pathlib.Path, target: pathlib.Path | None, format_: Format | None) -> None:
    """Write all entries of a journal.

    Args:
        path: The journal.
        target: The file to write; None is stdout.
        format_: The format. Default: by the suffix of the target; CSV for stdout.

    Raises:
        JournalError: The journal cannot be read.
        InvalidRequestError: The target cannot be written, or its suffix is not that of a format.
    """
    format_ = format_ or _format_of(target)
    async with JournalReader.open(path) as journal:
        with _open_target(target, path) as file:
            await (_write_csv if format_ == "csv" else _write_json)(journal, file)


def _format_of(target: pathlib.Path | None) -> Format:
    if target is None:
        return "csv"
    if (found := _FORMATS.get(target.suffix.lower())) is None:
        msg = f"{str(target)!r} has an unsupported file type: add --format csv or --format jsonl"
        raise InvalidRequestError(msg)
    return found


@contextlib.contextmanager
def _open_target(target: pathlib.Path | None, journal: pathlib.Path) -> Iterator[IO[str]]:
    """Open the target; an existing file is replaced once everything is written."""
    if target is None:
        yield sys.stdout
        return
    if target.exists() and target.samefile(journal):
        msg = f"{str(target)!r} is the journal itself: choose another file"
        raise InvalidRequestError(msg)
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)  # for the owner only: it holds prompts, and links that need no token
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(target)
    except OSError as error:
        msg = f"cannot write {str(target)!r}: {error.strerror}"
        raise InvalidRequestError(msg) from error
    finally:
        part.unlink(missing_ok=True)


async def _write_csv(journal: JournalReader, file: IO[str]) -> None:
    # The journal is read twice: the columns must be known before the first row is written.
    others = {column async for entry in journal.entries() for column in flatten(entry) if column not in _FIXED}
    # A batch can add columns between the two readings: they are ignored.
    table = csv.DictWriter(file, [*_FIXED, *sorted(others)], extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    async for entry in journal.entries():
        table.writerow({column: _cell(value) for column, value in flatten(entry).items()})


async def _write_json(journal: JournalReader, file: IO[str]) -> None:
    async for entry in journal.entries():
        file.write(json.dumps(flatten(entry), ensure_ascii=False) + "\n")


def _cell(value: object) -> object:
    # A spreadsheet would run a prompt such as =HYPERLINK(...) as a formula; the apostrophe marks it as a text.
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list) else value


def flatten(entry: JournalEntry) -> dict[str, Any]:
    """Return an entry as flat columns, such as ``request.prompt``."""
    flat: dict[str, Any] = {}
    for name, value in attrs.asdict(entry).items():
        if name.endswith("_at") and value is not None:
            flat[name] = dt.datetime.fromtimestamp(value, dt.UTC).isoformat(timespec="milliseconds")
        else:
            flat.update(_flatten_value(name, value))
    return flat


def _flatten_value(name: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flatten_value(f"{name}.{key}", inner)
    elif value is not None or name in _FIXED:
        yield name, value


_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``30d``.

    Raises:
        InvalidRequestError: The text is not a duration.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        msg = f"{text!r} is not a duration: write 45s, 90m, 12h, 30d or 2w"
        raise InvalidRequestError(msg)
    return float(found[1]) * _SECONDS[found[2]]


async def prune(
    path: pathlib.Path, states: Sequence[EntryState], older_than: float | None, confirm: Callable[[int], bool]
) -> int | None:
    """Remove entries and return their number, or None without a confirmation.

    Args:
        path: The journal.
        states: The states of the entries to remove.
        older_than: Minimum seconds since the end of the job, None for all.
        confirm: Called with the number of entries; False keeps them.

    Raises:
        JournalError: The journal cannot be used, or a batch uses it.
    """
    async with JournalReader.open(path) as journal:
        until = time.time() - (older_than or 0)
        number = 0
        async for entry in journal.entries(states=states):
            number += (entry.finished_at or entry.created_at) <= until
        if number and not confirm(number):
            return None
        return await journal.prune(states=states, older_than=older_than)
