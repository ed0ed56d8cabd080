"""Benchmark of `a2e --help`, compared with the import of the libraries of the command line.

The help of a command is made of the signatures of the client, so it is compared with the import of both.

Both run alternately, each in its own process. The ratio is the median of the ratios of many rounds, so that a busy machine
disturbs both sides of a few rounds only. Run it with ``nox -s bench -- help``; it fails if a ratio is above its bound.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks._report import Row, ratio_row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _report import Row, ratio_row, report

ROUNDS = 25

LIBRARIES = "import cyclopts, rich"
CLIENT = "import cyclopts, rich, a2e_async; a2e_async.A2EClient"

# name -> what it is compared with, the arguments, the bound of the ratio
COMMANDS = {
    "a2e --help": (LIBRARIES, ["--help"], 0.8),
    "a2e": (LIBRARIES, [], 0.8),
    "a2e --version": (LIBRARIES, ["--version"], 0.8),
    "a2e image-to-video --help": (CLIENT, ["image-to-video", "--help"], 2.0),
}


def seconds(*arguments: str) -> float:
    """Return the seconds that a Python process takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> int:
    """Measure, print a table, and return 1 if a command is above the bound."""
    rows: list[Row] = []
    for name, (imports, arguments, bound) in COMMANDS.items():
        samples = [
            (seconds("-c", imports) * 1000, seconds("-m", "a2e_async", *arguments) * 1000) for _ in range(ROUNDS)
        ]
        rows.append(ratio_row(name, samples, bound, "ms"))
    return report(rows)


if __name__ == "__main__":
    sys.exit(main())
