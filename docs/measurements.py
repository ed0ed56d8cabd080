"""Write the measured tables and plots into the README and the pages: ``python docs/measurements.py [ALL_JSON]``.

``nox -s bench`` writes an ``all.json``. Its benchmarks replace those of the same name in ``docs/measurements.json``,
from which all tables are made. A table stands between ``<!-- measured: NAME -->`` and ``<!-- end -->``. The plots of
`PLOTTED` tables are files of ``docs/images``. ``--note TEXT`` says what else ran.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

DOCS = pathlib.Path(__file__).resolve().parent
DATA = DOCS / "measurements.json"
PAGES = (DOCS.parent / "README.md", DOCS / "comparison.md")
PLOTTED = ("growth-waits", "growth-jobs")
_BLOCK = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

US = "a2e-async"
SDKS = (US, "openai", "fal-client", "runwayml", "replicate")
JOBS = 3  # of each SDK and scenario of `faults`
SCENARIOS = {
    "none": "no fault",
    "startdrop": "start accepted, answer lost",
    "starterror": "start accepted, answered with 500",
    "gateway": "one 502 while waiting",
    "drops": "seven lost answers in a row while waiting",
    "killed": "killed after the starts, and run again",
}

# of the plots
STYLES = (("#1f6feb", "end", -9), ("#d1242f", "middle", 0), ("#1a7f37", "start", 9))
WIDTH, HEIGHT, MARGIN = 640, 300, 56

Cells = Sequence[str]


def table(head: Cells, rows: Iterable[Cells]) -> str:
    """Return a table in Markdown, with numbers to the right."""
    dashes = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, dashes, *rows))


def source(name: str, benchmark: Mapping[str, Any]) -> str:
    """Return a line about the command, the day and the machine; `name` may be those of several benchmarks."""
    machine = benchmark["machine"]
    memory = f", {machine['memory GiB']:g} GiB" if machine["memory GiB"] else ""
    where = f"{machine['cpu']}, {machine['cores']} cores{memory}, Python {machine['python']}"
    note = f", {benchmark['note']}" if benchmark.get("note") else ""
    return f"`nox -s bench -- {name}` on {machine['date']}{note}: {where}."


def draw(head: Cells, rows: Sequence[Cells]) -> str:
    """Return a plot of a table: each column but the first is a curve, drawn as shares of its highest value.

    Args:
        head: The names of the columns. The first one is that of what grows.
        rows: The numbers; the first column is drawn in powers of ten.
    """
    counts, *columns = ([float(cell.replace(",", "")) for cell in column] for column in zip(*rows, strict=True))
    low, high = math.log10(counts[0]), math.log10(counts[-1])
    places = [MARGIN + (math.log10(count) - low) / (high - low) * (WIDTH - 2 * MARGIN) for count in counts]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 70}">',
        '<g font-family="sans-serif" font-size="12">',
        f"<title>From {counts[0]:,.0f} to {counts[-1]:,.0f} {head[0]}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT + 70}" fill="white"/>',
    ]
    for x, count in zip(places, counts, strict=True):
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="20" y2="{HEIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{HEIGHT + 18}" text-anchor="middle">{count:,.0f} {head[0]}</text>')
    for number, (title, style, column) in enumerate(zip(head[1:], STYLES, columns, strict=True)):
        color, anchor, shift = style  # the numbers of different curves stand beside each other
        points = [
            (x, HEIGHT - value / max(column) * (HEIGHT - 40), value) for x, value in zip(places, column, strict=True)
        ]
        line = " ".join(f"{x:.0f},{y:.0f}" for x, y, _ in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        for x, y, value in points:
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{color}"/>')
            parts.append(
                f'<text x="{x + shift:.0f}" y="{y - 7:.0f}" fill="{color}" text-anchor="{anchor}">{value:,.4g}</text>'
            )
        parts.append(f'<text x="{MARGIN + number * 190}" y="{HEIGHT + 48}" fill="{color}">{title}</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


class Measurements:
    """All measurements, by the name of their benchmark."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        """Take what `nox -s bench` has written."""
        self._data = data
        tables = [each for benchmark in data.values() for each in benchmark["tables"]]
        self._tables: dict[str, list[dict[str, str]]] = {
            each["name"]: [dict(zip(each["head"], cells, strict=True)) for cells in each["cells"]] for each in tables
        }

    def render(self, name: str) -> str:
        """Return the text of a block: its table, and how it was measured."""
        if name == "summary":
            return f"{self._summary()}\n\n{source('waiting faults', self._data['waiting'])}"
        benchmark = name.partition("-")[0]
        if benchmark not in self._data:
            return "Not measured yet."
        if name == "faults":
            text = self._faults()
        elif name in self._tables:
            text = self._plain(name)
        elif name != benchmark:
            return "Not measured yet."
        else:
            text = self._bounds(benchmark)
        return f"{text}\n\n{source(benchmark, self._data[benchmark])}"

    def _sdks(self, name: str, scenario: str = "") -> dict[str, dict[str, str]]:
        """Return the rows of the SDKs in a table."""
        rows = [row for row in self._tables[name] if not scenario or row["scenario"] == scenario]
        return {sdk: row for sdk in SDKS for row in rows if row["client"].rpartition(" ")[0] == sdk}

    def _summary(self) -> str:
        waits = self._sdks("waiting-1000")
        lost, gateway, killed = (self._sdks("faults", key) for key in ("startdrop", "gateway", "killed"))
        rows = [
            ["status requests for 1,000 waits", *(waits[sdk]["status requests"] for sdk in SDKS)],
            ["CPU for 1,000 waits, seconds", *(waits[sdk]["CPU s"] for sdk in SDKS)],
            [f"paid twice after a lost answer, of {JOBS} jobs", *(_paid_twice(lost[sdk]) for sdk in SDKS)],
            [f"waits lost after one 502, of {JOBS}", *(gateway[sdk]["waits lost"] for sdk in SDKS)],
            [f"paid twice if killed and run again, of {JOBS} jobs", *(_paid_twice(killed[sdk]) for sdk in SDKS)],
        ]
        if any(row["came back"] != "all" for row in waits.values()):
            back = [waits[sdk]["came back"].removesuffix(" of 1,000").replace("all", "1,000") for sdk in SDKS]
            rows.insert(0, ["back within 120 s, of 1,000 waits of 8 to 40 s", *back])
        return table(["", *(waits[sdk]["client"].replace(" ", "<br>") for sdk in SDKS)], rows)

    def _faults(self) -> str:
        clients = [row["client"] for row in self._sdks("faults", "none").values()]
        rows = [
            [title, *(_paid_and_got(row) for row in self._sdks("faults", key).values())]
            for key, title in SCENARIOS.items()
        ]
        return table([f"paid / results of {JOBS} jobs", *clients], rows)

    def _plain(self, name: str) -> str:
        rows = self._tables[name]
        return table(["", *list(rows[0])[1:]], ([*row.values()] for row in rows))

    def plot(self, name: str) -> str:
        """Return the plot of a table, an empty text if it was not measured."""
        rows = self._tables.get(name)
        return draw([*rows[0]], [[*row.values()] for row in rows]) if rows else ""

    def _bounds(self, benchmark: str) -> str:
        return table(["", "by hand", "a2e_async", "value", "limit"], map(_row, self._data[benchmark]["rows"]))


def _paid_twice(row: Mapping[str, str]) -> str:
    paid, results = int(row["charged"]), int(row["results"])
    without = f"; {JOBS - results} without a result" if results < JOBS else ""
    return f"{paid - JOBS}{without}"


def _paid_and_got(row: Mapping[str, str]) -> str:
    return f"{row['charged']} / {row['results']}"


def _row(row: Mapping[str, Any]) -> list[str]:
    def number(value: float | None, unit: str) -> str:
        return "" if value is None else f"{value:,.4g} {unit}".strip()

    limit = f"{'≥' if row['at_least'] else '≤'} {number(row['bound'], row['unit'])}"
    compared = [number(row[column], row["scale"]) for column in ("by_hand", "ours")]
    return [row["name"], *compared, number(row["value"], row["unit"]), limit]


def written() -> Iterator[tuple[pathlib.Path, str]]:
    """Yield the pages and plots, and their texts with the tables of `DATA`."""
    found = Measurements(json.loads(DATA.read_text(encoding="utf-8")))
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        yield path, _BLOCK.sub(lambda block: f"{block[1]}\n{found.render(block[2])}\n\n{block[3]}", text)
    for name in PLOTTED:
        if plot := found.plot(name):
            yield DOCS / "images" / f"{name}.svg", plot


def main() -> None:
    """Take new measurements, and write all pages."""
    parser = argparse.ArgumentParser(description="Write the measured tables into the README and the pages.")
    parser.add_argument("results", nargs="?", type=pathlib.Path, help="an all.json of nox -s bench")
    parser.add_argument("--note", default="", help="what else the reader should know: beside other work")
    given = parser.parse_args()
    if given.results:
        new = json.loads(given.results.read_text(encoding="utf-8"))
        old = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
        data = old | {name: {**benchmark, "note": given.note} for name, benchmark in new.items()}
        DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for path, text in written():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
