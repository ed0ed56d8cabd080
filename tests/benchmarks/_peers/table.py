"""The measurements as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks._report import Table

    from .trial import Measurement
else:  # the script that imports this package is in the same folder
    from _report import Table

__all__ = ["tables", "to_report"]

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


def tables(measurements: Sequence[Measurement]) -> str:
    """Return a table for each number of tasks, with notes on the clients that lost some."""
    return "\n\n".join(_table([it for it in measurements if it.plan.count == count]) for count in _counts(measurements))


def to_report(measurements: Sequence[Measurement]) -> Iterator[Table]:
    """Yield the same tables for `report`, without notes."""
    for count in _counts(measurements):
        cells = [_row(measurement) for measurement in measurements if measurement.plan.count == count]
        yield Table(name=f"waiting-{count}", head=_HEAD, cells=cells)


def _counts(measurements: Sequence[Measurement]) -> list[int]:
    return sorted({measurement.plan.count for measurement in measurements})


def _table(measurements: Sequence[Measurement]) -> str:
    plan = measurements[0].plan
    rows = [_HEAD, *map(_row, measurements)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    dashes = tuple("-" * width if not place else "-" * (width - 1) + ":" for place, width in enumerate(widths))
    title = f"{plan.count:,} tasks of {plan.min_duration:g} to {plan.max_duration:g} s:"
    return "\n".join([title, "", *(_line(row, widths) for row in (_HEAD, dashes, *rows[1:])), *_notes(measurements)])


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *numbers = widths
    padded = [f"{cells[0]:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells[1:], numbers, strict=True))]
    return f"| {' | '.join(padded)} |"


def _row(measurement: Measurement) -> tuple[str, ...]:
    count = measurement.plan.count
    came = f"{len(measurement.delays):,} of {count:,}" if measurement.problem else "all"
    if not measurement.took:
        return (measurement.client.title, came, *("-" for _ in _HEAD[2:]))
    return (
        measurement.client.title,
        came,
        f"{measurement.requests:,}",
        f"{measurement.cpu:.2f}",
        f"{measurement.cpu / count * 1000:.2f}",
        *((f"{measurement.mean:.3f}", f"{measurement.worst:.3f}") if measurement.delays else "--"),
        f"{measurement.peak / _MIB:.0f}",
        f"{measurement.growth / count / _KIB:.1f}" if measurement.growth else "-",
        f"{measurement.server_cpu:.2f}",
    )


def _notes(measurements: Sequence[Measurement]) -> list[str]:
    notes = [
        f"{measurement.client.title}: {measurement.problem}" for measurement in measurements if measurement.problem
    ]
    return ["", *notes] if notes else []
