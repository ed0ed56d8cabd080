"""What was measured, as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .trial import Outcome

__all__ = ["tables"]

_KIB, _MIB = 1024, 1024 * 1024

_HEAD = (
    "client",
    "came back",
    "status requests",
    "CPU s",
    "CPU ms per task",
    "mean delay s",
    "worst delay s",
    "peak MiB",
    "KiB per task",
    "server CPU s",
)


def tables(outcomes: Sequence[Outcome]) -> str:
    """Return a table for each number of tasks, with a note on everybody who lost some."""
    return "\n\n".join(_table([it for it in outcomes if it.plan.count == count]) for count in _counts(outcomes))


def _counts(outcomes: Sequence[Outcome]) -> list[int]:
    return sorted({outcome.plan.count for outcome in outcomes})


def _table(outcomes: Sequence[Outcome]) -> str:
    plan = outcomes[0].plan
    rows = [_HEAD, *map(_row, outcomes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    dashes = tuple("-" * width if not place else "-" * (width - 1) + ":" for place, width in enumerate(widths))
    title = f"{plan.count:,} tasks of {plan.shortest:g} to {plan.longest:g} s:"
    return "\n".join([title, "", *(_line(row, widths) for row in (_HEAD, dashes, *rows[1:])), *_notes(outcomes)])


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *numbers = widths
    padded = [f"{cells[0]:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells[1:], numbers, strict=True))]
    return f"| {' | '.join(padded)} |"


def _row(outcome: Outcome) -> tuple[str, ...]:
    count = outcome.plan.count
    came = f"{len(outcome.delays):,} of {count:,}" if outcome.problem else "all"
    if not outcome.took:
        return (outcome.client.title, came, *("-" for _ in _HEAD[2:]))
    return (
        outcome.client.title,
        came,
        f"{outcome.asked:,}",
        f"{outcome.cpu:.2f}",
        f"{outcome.cpu / count * 1000:.2f}",
        *((f"{outcome.mean:.3f}", f"{outcome.worst:.3f}") if outcome.delays else "--"),
        f"{outcome.peak / _MIB:.0f}",
        f"{outcome.growth / count / _KIB:.1f}" if outcome.growth else "-",
        f"{outcome.server_cpu:.2f}",
    )


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    notes = [f"{outcome.client.title}: {outcome.problem}" for outcome in outcomes if outcome.problem]
    return ["", *notes] if notes else []
