"""How long `a2e --help` takes, next to the import of the libraries that the command line is made with.

Both run in processes of their own, in turns. The ratio is the median of the ratios of many rounds, so that a machine
that is busy for a while disturbs both sides of a few of them. Run it with ``nox -s bench -- help``; it fails over the
bound. The other rows are for information.
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


def seconds(*words: str) -> float:
    """Return how long a process of Python takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def measure(arguments: list[str]) -> tuple[float, float, float]:
    """Return the medians of both columns in seconds, and the median of their ratios."""
    samples = [(seconds("-c", LIBRARIES), seconds("-m", "a2e_async", *arguments)) for _ in range(ROUNDS)]
    libraries, command = (statistics.median(column) for column in zip(*samples, strict=True))
    return libraries, command, statistics.median(command / libraries for libraries, command in samples)


def main() -> int:
    """Measure, print a table, and return 1 if `a2e --help` is over the bound."""
    rows = {name: measure(arguments) for name, arguments in COMMANDS.items()}
    print(f"{'ms':28}{LIBRARIES:>24}{'command':>10}{'ratio':>8}")
    for name, (libraries, command, ratio) in rows.items():
        print(f"{name:28}{libraries * 1000:>24.0f}{command * 1000:>10.0f}{ratio:>8.2f}")
    print(f"bound of the first ratio: {BOUND}")
    return int(rows["a2e --help"][2] > BOUND)


if __name__ == "__main__":
    sys.exit(main())
