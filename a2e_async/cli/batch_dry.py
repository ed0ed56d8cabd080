"""`a2e batch run --dry-run`: what would be sent, and what it would cost. Nothing is uploaded or started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from rich.table import Table
from rich.text import Text

from a2e_async.cli.batch_check import kind_of
from a2e_async.cli.batch_fit import make_console
from a2e_async.cli.batch_pace import coins_text
from a2e_async.cli.batch_words import several
from a2e_async.cli.words import one_line
from a2e_async.errors import A2EError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from a2e_async import A2EClient
    from a2e_async.batch import Job
    from a2e_async.cli.batch_check import Kind, Known

__all__ = ["show_plan"]

_SHOWN = 20
"""Jobs that are listed for a person."""


@attrs.define(eq=False)
class _Plan:
    """What is counted while the jobs are gone through."""

    known: int = 0
    numbers: dict[Kind, int] = attrs.field(factory=dict)
    prices: dict[Kind, float | None] = attrs.field(factory=dict)

    @property
    def coins(self) -> float | None:
        """What all of them cost, None if one of the prices is not known."""
        total = 0.0
        for kind, number in self.numbers.items():
            price = self.prices[kind]
            if price is None:
                return None
            total += number * price
        return total


async def show_plan(a2e: A2EClient, jobs: Iterable[Job], known: Known, *, as_json: bool) -> None:
    """Go through the jobs, ask A2E for the price of each kind, and print both.

    Args:
        a2e: An open client.
        jobs: Jobs that were checked.
        known: What the journal knows; those jobs would not be started.
        as_json: Print every job to the standard output as JSON, and only the costs for a person.
    """
    console = make_console(stderr=as_json)
    plan = _Plan()
    table = Table("key", "picture", "model", "seconds", "prompt", box=None, pad_edge=False, header_style="bold")
    for job in jobs:
        if await known.has(job.key):
            plan.known += 1
            continue
        kind = kind_of(job)
        if kind not in plan.prices:
            plan.prices[kind] = await _price(a2e, job)
        plan.numbers[kind] = plan.numbers.get(kind, 0) + 1
        if as_json:
            print(json.dumps({**_request(job), "coins": plan.prices[kind]}, ensure_ascii=False), flush=True)
        elif table.row_count < _SHOWN:
            table.add_row(*_cells(job))
    if table.row_count:
        console.print(table)
    _show_costs(plan, console, left_out=0 if as_json else sum(plan.numbers.values()) - table.row_count)


async def _price(a2e: A2EClient, job: Job) -> float | None:
    words = {word: value for word, value in attrs.asdict(job, recurse=False).items() if word != "key"}
    try:
        return await a2e.image_to_video.quote(**words)
    except A2EError:
        return None  # an estimate that cannot be had is no reason to fail


def _request(job: Job) -> dict[str, Any]:
    return {word: value for word, value in attrs.asdict(job, recurse=False).items() if value is not None}


def _cells(job: Job) -> tuple[Text, ...]:
    picture = job.image if job.image is not None else job.image_url
    texts = (job.key, picture, job.model_version, job.video_time, job.prompt or "")
    return tuple(Text(one_line(str(text)), no_wrap=True, overflow="ellipsis") for text in texts)


def _show_costs(plan: _Plan, console: Console, left_out: int) -> None:
    if left_out:
        console.print(f"… and {left_out} more (--json lists all)\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("videos", "model", "seconds", "last picture", "coins each", "coins"):
        table.add_column(name, justify="left" if name in {"model", "last picture"} else "right")
    for kind, number in plan.numbers.items():
        model, seconds, has_end = kind
        price = plan.prices[kind]
        coins = ("?", "?") if price is None else (coins_text(price), coins_text(number * price))
        table.add_row(str(number), str(model), str(seconds), "yes" if has_end else "no", *coins)
    if plan.numbers:
        console.print(table)
    if plan.known:
        console.print(f"{plan.known} more are in the journal: nothing would be bought for them.")
    costs = "A2E told no price" if plan.coins is None else f"about {coins_text(plan.coins)} coins by A2E's estimate"
    console.print(f"{several(sum(plan.numbers.values()), 'video')} would be started: {costs}, uploads not counted.")
