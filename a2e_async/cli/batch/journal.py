"""Commands about a journal: ``a2e batch status``, ``export`` and ``prune``."""

import asyncio
import contextlib
import datetime as dt
import pathlib
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, get_args

import attrs
from rich.console import Group
from rich.live import Live
from rich.text import Text

from a2e_async.batch import EntryState, JournalEntry, JournalInfo, JournalReader
from a2e_async.batch.rules import Action, next_action
from a2e_async.cli.batch.summary import MARKS, STYLES, count_line, retry_advice, without_ids
from a2e_async.cli.display import make_console
from a2e_async.cli.export import ExportTarget, Format
from a2e_async.cli.messages import coins_text, confirm, plural, printable
from a2e_async.cli.options import FLAG, Out, read_duration
from a2e_async.cli.output import print_json
from a2e_async.errors import InvalidRequestError

_PROBLEMS_LISTED = 20

_REMARKS = {
    "new": "not started, no cost",
    "sending": "a start was in flight; the next run reconciles it",
    "running": "paid; the next run waits for them",
    "uncertain": "may have cost coins; the next run reconciles them",
}


@attrs.frozen(kw_only=True)
class _Status:
    """What a journal shows at one moment."""

    info: JournalInfo
    counts: dict[EntryState, int]
    coins: float
    problems: list[JournalEntry]  # the first ones
    more_problems: int
    open_jobs: int
    failed_starts: int
    rejected: int

    @classmethod
    async def read(cls, journal: pathlib.Path) -> Self:
        """Read the journal."""
        async with JournalReader.open(journal) as reader:
            coins, found = await reader.coins(), await reader.counts()
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
            return cls(
                info=reader.info, counts={state: found.get(state, 0) for state in get_args(EntryState)}, coins=coins,
                problems=problems, more_problems=more_problems, open_jobs=open_jobs, failed_starts=failed_starts,
                rejected=rejected,
            )  # fmt: skip

    def lines(self) -> Iterator[Text]:
        """Yield the lines for a terminal."""
        info, counts = self.info, self.counts
        created = f"{info.created_at.astimezone():%Y-%m-%d %H:%M}"
        jobs = plural(sum(counts.values()), "job")
        yield Text(printable(f"{info.path}: {jobs} at {info.base_url}, created {created}"))
        for state in filter(counts.get, counts):
            remark = "" if info.holder else _REMARKS.get(state, "")  # the remarks are about the next run
            name = f"{MARKS.get(state, ' ')} {state}"
            yield count_line(name, STYLES.get(state, ""), str(counts[state]), remark)
        yield count_line("  coins", "magenta", coins_text(self.coins))
        for entry in self.problems:
            yield Text(_problem_text(entry), STYLES["failed" if entry.state == "succeeded" else entry.state])
        if self.more_problems:
            yield Text(f"  and {self.more_problems} more; list all of them with: a2e batch export {info.path}")
        yield from map(Text, _next_steps(info, counts, self.open_jobs, self.failed_starts, self.rejected))


_INTERVAL = 1.0  # seconds between two readings of --watch


async def status(
    journal: pathlib.Path, /, *, watch: Annotated[bool, FLAG] = False, json: Annotated[bool, FLAG] = False
) -> None:
    """Show the progress, the cost and the problems of a batch, and how to resume it. Also while it runs.

    Try:

        a2e batch status jobs.sqlite
        a2e batch status jobs.sqlite --watch

    Args:
        journal: The journal of the batch.
        watch: Show it again every second, until the batch ends.
        json: Print one JSON object, for programs; with --watch one for each change.
    """
    console, last = make_console(stderr=json), None
    is_live = watch and not json and console.is_terminal and not console.is_dumb_terminal
    with Live(console=console, auto_refresh=False) if is_live else contextlib.nullcontext() as live:
        while True:
            now = await _Status.read(journal)
            shown = _status_json(now.info, now.counts, now.coins, now.problems)
            if live is not None:
                live.update(Group(*now.lines()), refresh=True)
            elif shown != last and json:
                print_json(shown)
            elif shown != last:
                for line in now.lines():
                    console.print(line)
            last = shown
            if not watch or not now.info.holder:
                return
            await asyncio.sleep(_INTERVAL)


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


# The columns that every table has. Those of the request, the record and the error follow, as far as they occur.
_FIXED = tuple(field.name for field in attrs.fields(JournalEntry) if field.name not in {"request", "record", "error"})


async def export(
    journal: pathlib.Path,
    /,
    *,
    format: Format | None = None,  # noqa: A002  the usual name of this option
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
) -> None:
    """Write all entries of a journal as CSV or JSON Lines. Also while the batch runs.

    Try:

        a2e batch export jobs.sqlite --out report.csv
        a2e batch export jobs.sqlite --format jsonl | head

    The output has prompts, and links that need no token: keep it confidential.

    Args:
        journal: The journal of the batch.
        format: The format. Default: by the suffix of --out (.csv, .jsonl); csv for standard output.
        out: The file to write. Default: standard output, as with - and /dev/stdout.
        overwrite: Replace an existing file. A pipe or a device is written to without it.
    """
    target = ExportTarget.of(out, format)
    async with JournalReader.open(journal) as reader:
        with target.open(overwrite=overwrite, journal=journal) as file:
            await target.write(file, lambda: (_to_row(entry) async for entry in reader.entries()), _FIXED)


def _to_row(entry: JournalEntry) -> dict[str, Any]:
    values = attrs.asdict(entry)
    for name, value in values.items():
        if name.endswith("_at") and value is not None:
            values[name] = dt.datetime.fromtimestamp(value, dt.UTC).isoformat(timespec="milliseconds")
    return values


def parse_duration(text: str) -> float:
    """Return the seconds of a duration with a unit, such as ``30d``; raise an `InvalidRequestError` if it is none."""
    try:
        if text.strip()[-1:].isalpha():  # a number alone can be taken for days
            return read_duration(text)
    except ValueError:
        pass
    msg = f"{text!r} is not a duration: write 45s, 90m, 12h, 30d or 2w"
    raise InvalidRequestError(msg)


async def prune(
    journal: pathlib.Path,
    /,
    *,
    state: list[Literal["succeeded", "failed"]] | None = None,
    older_than: str | None = None,
    yes: Annotated[bool, FLAG] = False,
    json: Annotated[bool, FLAG] = False,
) -> int:
    """Remove the entries of finished jobs from a journal. Video files are kept.

    Try:

        a2e batch prune jobs.sqlite --older-than 30d

    A job without an entry is a new job: the same input would start it again.

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
