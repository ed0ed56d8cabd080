"""`a2e batch status`: what a journal knows, which jobs need attention, and what to do next."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import attrs
from rich.text import Text

from a2e_async._protocol.batch import RowState
from a2e_async.batch import JournalReader
from a2e_async.cli.batch_fit import count, make_console
from a2e_async.cli.batch_pace import coins_text
from a2e_async.cli.batch_picture import MARKS, STYLES
from a2e_async.cli.batch_words import brief, several
from a2e_async.cli.words import printable

if TYPE_CHECKING:
    import pathlib

    from rich.console import Console

    from a2e_async._protocol.batch import Row
    from a2e_async.batch import JournalInfo

__all__ = ["show_status"]

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
