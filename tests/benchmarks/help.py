"""Benchmark of `a2e --help`, compared with the import of the libraries of the command line.

Both run alternately, each in its own process. The ratio is the median of the ratios of many rounds, so that a busy machine
disturbs both sides of a few rounds only. Run it with ``nox -s bench -- help``; it fails if the ratio is above the bound. The
other rows are for information.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

BOUND = 1.3
ROUNDS = 25

LIBRARIES = "import cyclopts, rich"
COMMANDS = {
    "a2e --help": ["--help"],
    "a2e": [],
    "a2e --version": ["--version"],
    "a2e image-to-video --help": ["image-to-video", "--help"],
}


def seconds(*arguments: str) -> float:
    """Return the seconds that a Python process takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def measure(arguments: list[str]) -> tuple[float, float, float]:
    """Return the medians of both times in seconds, and the median of their ratios."""
    samples = [(seconds("-c", LIBRARIES), seconds("-m", "a2e_async", *arguments)) for _ in range(ROUNDS)]
    libraries, command = (statistics.median(column) for column in zip(*samples, strict=True))
    return libraries, command, statistics.median(command / libraries for libraries, command in samples)


def main() -> int:
    """Measure, print a table, and return 1 if the ratio of `a2e --help` is above the bound."""
    rows = {name: measure(arguments) for name, arguments in COMMANDS.items()}
    print(f"{'ms':28}{LIBRARIES:>24}{'command':>10}{'ratio':>8}")
    for name, (libraries, command, ratio) in rows.items():
        print(f"{name:28}{libraries * 1000:>24.0f}{command * 1000:>10.0f}{ratio:>8.2f}")
    print(f"bound of the first ratio: {BOUND}")
    return int(rows["a2e --help"][2] > BOUND)


if __name__ == "__main__":
    sys.exit(main())
