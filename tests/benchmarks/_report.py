"""Rows of the benchmarks, each with its bound: printed as a table, and collected by `nox -s bench`.

A benchmark ends with ``sys.exit(report(rows))``. If the environment variable ``A2E_BENCH_RESULTS`` names a folder, its rows
and other tables are written there as JSON. Run as a program, this module makes ``all.json`` and ``table.md`` of all rows in
that folder; `docs/measurements.py` shows them in the documentation.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import sys
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = "A2E_BENCH_RESULTS"
ROUNDS = 7
PACKAGES = ("aiohttp", "attrs", "cattrs", "backoff", "aiosqlite")


@attrs.frozen(kw_only=True)
class Row:
    """One measured value and its bound.

    Attributes:
        name: What was measured: ``"download of 500 MiB, speed"``.
        value: The value: by default the ratio of `ours` to `by_hand`.
        bound: The most that it may be; the least with `at_least`.
        unit: Unit of the value, empty for a ratio.
        by_hand: What the program by hand took, in `scale`; None without one.
        ours: What a2e-async took.
        scale: The unit of both: ``"ms"``.
    """

    name: str
    value: float
    bound: float
    at_least: bool = False
    unit: str = ""
    by_hand: float | None = None
    ours: float | None = None
    scale: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value is within its bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def cells(self) -> list[str]:
        """Return the cells of the row in the table."""
        compared = [
            "" if number is None else f"{number:,.4g} {self.scale}".strip() for number in (self.by_hand, self.ours)
        ]
        value, bound = (f"{number:,.4g} {self.unit}".strip() for number in (self.value, self.bound))
        return [
            self.name,
            *compared,
            value,
            f"{'≥' if self.at_least else '≤'} {bound}",
            "ok" if self.holds else "MISSED",
        ]


@attrs.frozen(kw_only=True)
class Table:
    """Measured values that have no bound of their own, such as those of other SDKs.

    Attributes:
        name: Key of the table: ``"waiting-1000"``.
        head: The names of the columns.
        cells: The texts of each row.
    """

    name: str
    head: Sequence[str]
    cells: Sequence[Sequence[str]]


def ratio_row(
    name: str, samples: Sequence[tuple[float, float]], bound: float, scale: str, *, speed: bool = False
) -> Row:
    """Return the row of the medians of several rounds, and of the median of their ratios.

    Args:
        name: What was measured.
        samples: For each round, what the program by hand and what a2e-async took.
        bound: The most that the ratio may be.
        scale: The unit of the samples.
        speed: The samples are speeds, so the bound is the least.
    """
    by_hand, ours = (statistics.median(column) for column in zip(*samples, strict=True))
    ratio = statistics.median(mine / theirs for theirs, mine in samples)
    return Row(name=name, value=ratio, bound=bound, at_least=speed, by_hand=by_hand, ours=ours, scale=scale)


def table(rows: Sequence[Row]) -> str:
    """Return a table in Markdown."""
    cells = [["", "by hand", "a2e_async", "value", "bound", ""], *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        f"| {cell[0]:{widths[0]}} | {' | '.join(f'{text:>{width}}' for text, width in zip(cell[1:], widths[1:], strict=True))} |"
        for cell in cells
    ]
    marks = [f"{'-' * (width - (number > 0))}{':' if number else ''}" for number, width in enumerate(widths)]
    return "\n".join([lines[0], f"| {' | '.join(marks)} |", *lines[1:]])


def report(rows: Sequence[Row], tables: Sequence[Table] = ()) -> int:
    """Print the rows, write them and the tables for `nox -s bench`, and return 1 if a row is over its bound."""
    print(f"\n{table(rows)}", flush=True)
    if folder := os.environ.get(FOLDER):
        name = pathlib.Path(sys.argv[0]).stem
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        stored = {
            "machine": describe_machine(),
            "rows": [*map(attrs.asdict, rows)],
            "tables": [*map(attrs.asdict, tables)],
        }
        text = json.dumps(stored, indent=1)
        pathlib.Path(folder, f"{name}.json").write_text(text, encoding="utf-8")
    return int(not all(row.holds for row in rows))


def describe_machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    cpu = platform.processor()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "system": platform.platform(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory GiB": None if memory is None else round(memory, 1),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def collect(folder: pathlib.Path) -> int:
    """Write one table and one JSON of all rows in a folder, and return 1 if one is over its bound."""
    paths = [path for path in sorted(folder.glob("*.json")) if path.stem != "all"]
    stored = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    (folder / "all.json").write_text(json.dumps(stored, indent=1), encoding="utf-8")
    rows = {name: [Row(**row) for row in benchmark["rows"]] for name, benchmark in stored.items()}
    named = [attrs.evolve(row, name=f"{name}: {row.name}") for name, group in rows.items() for row in group]
    text = f"{', '.join(f'{name} {value}' for name, value in describe_machine().items())}\n\n{table(named)}\n"
    (folder / "table.md").write_text(text, encoding="utf-8")
    print(text)
    return int(not all(row.holds for row in named))


if __name__ == "__main__":
    sys.exit(collect(pathlib.Path(sys.argv[1])))
