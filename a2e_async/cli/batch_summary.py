"""What is said at the end of a batch: what was made, what it cost, what went wrong, and how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from a2e_async.cli.batch_fit import count
from a2e_async.cli.batch_pace import coins_text
from a2e_async.cli.batch_picture import MARKS
from a2e_async.cli.batch_words import brief, several
from a2e_async.errors import BudgetError

if TYPE_CHECKING:
    import pathlib

    from rich.console import Console

    from a2e_async.batch import Progress
    from a2e_async.cli.batch_words import Tally

__all__ = ["show_summary"]


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
    if advice := _advice(tally, progress):
        console.print(advice)
    if tally.states["uncertain"] or tally.states["not started"] or tally.states["without a file"]:
        how = ", with a higher --max-coins" if isinstance(tally.reason, BudgetError) else ""
        console.print(f"To go on with the rest{how}:")
        console.print(f"  {go_on}", soft_wrap=True)  # to be copied


def _advice(tally: Tally, progress: Progress) -> str:
    if tally.reason is not None:
        return f"Not all were started: {brief(tally.reason.message).removeprefix('Not started: ')}"
    if tally.states["failed"] and not progress.retried:
        return "Those that A2E let fail are bought again with --retry-failed 1. Each costs coins."
    return ""
