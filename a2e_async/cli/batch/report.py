"""What is said of a journal or at the end of a batch: `a2e batch status`, `export`, `prune`, and the summary."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
import pathlib
import re
import sys
import time
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

import attrs
from rich.text import Text

from a2e_async.batch import JournalReader
from a2e_async.batch.rules import Row, RowState
from a2e_async.cli.batch.display import MARKS, STYLES
from a2e_async.cli.batch.text import brief, coins_text, count, make_console, several
from a2e_async.cli.messages import printable
from a2e_async.errors import BudgetError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from a2e_async.batch import JournalInfo, Progress
    from a2e_async.cli.batch.text import Tally

__all__ = ["Format", "export", "flatten", "prune", "seconds_of", "show_status", "show_summary"]

_SHOWN = 20
"""Jobs that are named."""

_REMARKS = {
    "new": "nothing was paid for them",
    "sending": "a start was being sent; the next run finds out what became of it",
    "running": "paid; the next run waits for them",
    "uncertain": "may be paid; the next run finds out",
}


@attrs.frozen(kw_only=True)
class _Status:
    info: JournalInfo
    counts: dict[RowState, int]
    coins: float
    attention: list[Row]
    more: int
    free: int
    fileless: int


async def show_status(path: pathlib.Path, *, as_json: bool) -> None:
    """Print what a journal knows.

    Raises:
        JournalError: It cannot be read.
    """
    async with JournalReader.open(path) as journal:
        attention: list[Row] = []
        more = free = fileless = 0
        async for row in journal.rows(states=("failed", "uncertain", "succeeded")):
            free += row.state == "failed" and not row.purchases
            fileless += row.state == "succeeded" and row.path is None
            if row.error is not None or row.state != "succeeded":
                more += len(attention) == _SHOWN
                attention += [row] if len(attention) < _SHOWN else []
        status = _Status(
            info=journal.info,
            counts={state: (await journal.counts()).get(state, 0) for state in get_args(RowState)},
            coins=await journal.coins(),
            attention=attention,
            more=more,
            free=free,
            fileless=fileless,
        )
    if as_json:
        print(json.dumps(_as_json(status), ensure_ascii=False))
    else:
        _show(make_console(), status)


def _as_json(status: _Status) -> dict[str, Any]:
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
                "key": row.key,
                "state": row.state,
                "task_id": row.task_id,
                "marker": row.marker or None,
                "error": row.error,
            }
            for row in status.attention
        ],
    }


def _show(console: Console, status: _Status) -> None:
    info, counts = status.info, status.counts
    begun = f"{info.created_at.astimezone():%Y-%m-%d %H:%M}"
    jobs = several(sum(counts.values()), "job")
    console.print(printable(f"{info.path}: {jobs} at {info.base_url}, begun {begun}"))
    for state, number in counts.items():
        if number:
            name = f"{MARKS.get(state, ' ')} {state}"
            console.print(
                count(name, STYLES.get(state, ""), str(number), "" if info.holder else _REMARKS.get(state, ""))
            )
    console.print(count("  coins", "magenta", coins_text(status.coins)))
    for row in status.attention:
        console.print(Text(_problem(row), STYLES["failed" if row.state == "succeeded" else row.state]))
    if status.more:
        console.print(f"  and {status.more} more; all of them: a2e batch export {info.path}")
    for line in _advice(status):
        console.print(line)


def _problem(row: Row) -> str:
    reason = brief((row.error or {}).get("message", "for a reason that nobody wrote down"))
    state = "has no file" if row.state == "succeeded" else row.state
    task = f" [task {row.task_id}]" if row.task_id and row.task_id not in reason else ""
    mark = "✗" if row.state == "succeeded" else MARKS.get(row.state, "✗")
    return printable(f"{mark} {row.key}: {state}: {reason}{task}")


def _advice(status: _Status) -> list[str]:
    counts, info = status.counts, status.info
    if info.holder:
        return [printable(f"It is in use by {info.holder}.")]
    left = sum(counts[state] for state in get_args(RowState) if state not in {"succeeded", "failed"})
    left += status.free + status.fileless
    advice = []
    if left:
        advice.append(f"To go on, start the same a2e batch run again, with --journal {info.path}.")
    if counts["failed"] > status.free:
        advice.append("Those that A2E let fail are bought again with --retry-failed 1; each costs coins.")
    return advice or ["All of them have their video." if counts["succeeded"] else "It knows of no job yet."]


_ROWS = {
    "succeeded": "green",
    "skipped": "blue",
    "without a file": "red",
    "failed": "red",
    "uncertain": "yellow",
    "not started": "yellow",
}
"""What is counted, in this order, and its colour."""


def show_summary(console: Console, tally: Tally, progress: Progress, out: pathlib.Path, go_on: str) -> None:
    """Print the end of a batch. What matters most comes last: that is what a small terminal still shows.

    Args:
        console: Where to print.
        tally: What has become of the jobs.
        progress: The last look at the batch.
        out: Where the videos are.
        go_on: The command that goes on.
    """
    for failure in tally.first:
        console.print(Text(f"✗ {failure}", "red"))
    more = sum(tally.states[state] for state in ("failed", "uncertain", "without a file")) - len(tally.first)
    if more:
        console.print(Text(f"  and {more} more", "red"))
    again = f", {progress.retried} of them again" if progress.retried else ""
    remarks = {
        "succeeded": f"in {out}",
        "skipped": "done by an earlier run",
        "without a file": "made, but not downloaded",
        "uncertain": "may be paid",
        "not started": "not paid",
    }
    for state, style in _ROWS.items():
        if tally.states[state] or state == "succeeded":
            mark, number = MARKS.get(state, "-"), str(tally.states[state])
            console.print(count(f"{mark} {state}", style, number, remarks.get(state, "")))
    bought = f"{several(progress.bought, 'purchase')} in this run{again}"
    console.print(count("  coins", "magenta", coins_text(progress.coins), bought))
    if advice := _next_steps(tally, progress):
        console.print(advice)
    if tally.states["uncertain"] or tally.states["not started"] or tally.states["without a file"]:
        how = ", with a higher --max-coins" if isinstance(tally.reason, BudgetError) else ""
        console.print(f"To go on with the rest{how}:")
        console.print(f"  {go_on}", soft_wrap=True)  # to be copied


def _next_steps(tally: Tally, progress: Progress) -> str:
    if tally.reason is not None:
        return f"Not all were started: {brief(tally.reason.message).removeprefix('Not started: ')}"
    if tally.states["failed"] and not progress.retried:
        return "Those that A2E let fail are bought again with --retry-failed 1. Each costs coins."
    return ""


Format = Literal["csv", "jsonl"]

_FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_FIRST = tuple(field.name for field in attrs.fields(Row) if field.name not in {"request", "record", "error"})
"""The columns that every table has. What was asked for, what A2E said and what went wrong come behind them."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with."""


async def export(path: pathlib.Path, target: pathlib.Path | None, wanted: Format | None) -> None:
    """Write all rows of a journal.

    Args:
        path: The journal.
        target: Where to write; None is stdout.
        wanted: The format. By default the suffix of the target tells it, and it is CSV for stdout.

    Raises:
        JournalError: The journal cannot be read.
        InvalidRequestError: The target cannot be written, or its suffix tells no format.
    """
    chosen = wanted or _format_of(target)
    async with JournalReader.open(path) as journal:
        with _opened(target, path) as file:
            await (_write_csv if chosen == "csv" else _write_json)(journal, file)


def _format_of(target: pathlib.Path | None) -> Format:
    if target is None:
        return "csv"
    if (found := _FORMATS.get(target.suffix.lower())) is None:
        msg = f"{str(target)!r} does not tell its format by its suffix: say --format csv or --format jsonl"
        raise InvalidRequestError(msg)
    return found


@contextlib.contextmanager
def _opened(target: pathlib.Path | None, journal: pathlib.Path) -> Iterator[IO[str]]:
    """Open the target, which is replaced when all is written."""
    if target is None:
        yield sys.stdout
        return
    if target.exists() and target.samefile(journal):
        msg = f"{str(target)!r} is the journal itself: choose another file"
        raise InvalidRequestError(msg)
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)  # it holds links and prompts
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(target)
    except OSError as error:
        msg = f"{str(target)!r} cannot be written: {error.strerror}"
        raise InvalidRequestError(msg) from error
    finally:
        part.unlink(missing_ok=True)


async def _write_csv(journal: JournalReader, file: IO[str]) -> None:
    """Write a table. The journal is gone through twice, since its columns have to be known before its rows."""
    others = {column async for row in journal.rows() for column in flatten(row) if column not in _FIRST}
    table = csv.DictWriter(file, [*_FIRST, *sorted(others)], extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    async for row in journal.rows():
        table.writerow({column: _cell(value) for column, value in flatten(row).items()})


async def _write_json(journal: JournalReader, file: IO[str]) -> None:
    async for row in journal.rows():
        file.write(json.dumps(flatten(row), ensure_ascii=False) + "\n")


def _cell(value: object) -> object:
    """Return what stands in a cell. A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list) else value


def flatten(row: Row) -> dict[str, Any]:
    """Return a row without anything nested: what was asked for is ``request.prompt`` and so on."""
    flat: dict[str, Any] = {}
    for name, value in attrs.asdict(row).items():
        if name.endswith("_at") and value is not None:
            flat[name] = dt.datetime.fromtimestamp(value, dt.UTC).isoformat(timespec="milliseconds")
        else:
            flat.update(_flat(name, value))
    return flat


def _flat(name: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for word, inner in value.items():
            yield from _flat(f"{name}.{word}", inner)
    elif value is not None or name in _FIRST:
        yield name, value


_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds_of(age: str) -> float:
    """Read a time such as ``30d``.

    Raises:
        InvalidRequestError: It is none.
    """
    found = _AGE.fullmatch(age.strip().lower())
    if found is None:
        msg = f"{age!r} is no time: write 45s, 90m, 12h, 30d or 2w"
        raise InvalidRequestError(msg)
    return float(found[1]) * _SECONDS[found[2]]


async def prune(
    path: pathlib.Path, states: Sequence[RowState], older_than: float | None, agrees: Callable[[int], bool]
) -> int | None:
    """Remove rows, and return how many; None if somebody did not agree.

    Args:
        path: The journal.
        states: Which rows.
        older_than: Seconds since they were finished, None for all.
        agrees: Is asked with the number of rows.

    Raises:
        JournalError: The journal cannot be used, or a batch holds it.
    """
    async with JournalReader.open(path) as journal:
        until = time.time() - (older_than or 0)
        number = 0
        async for row in journal.rows(states=states):
            number += (row.finished_at or row.created_at) <= until
        if number and not agrees(number):
            return None
        return await journal.prune(states=states, older_than=older_than)
