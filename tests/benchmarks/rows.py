"""The check of 10,000 rows before a batch, next to reading them with `csv` and looking at each image.

`a2e batch` checks all rows before the first start: the columns and options, the key, and that each image has a known type
and its end. The hand-written program reads the table, opens each image, and reads its size and its first bytes. Both take
turns in this process. Run it with ``nox -s bench -- rows``.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import pathlib
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NoReturn

from a2e_async import A2EClient
from a2e_async.cli.batch.job_file import InputRow, open_source, read_jobs
from a2e_async.cli.batch.validate import JobValidator, KnownJobs

if TYPE_CHECKING:
    from tests.benchmarks._batch.plan import make_images
    from tests.benchmarks._report import ROUNDS, ratio_row, report
else:  # under PYTHONSAFEPATH a script does not find the modules beside it
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from _batch.plan import make_images
    from _report import ROUNDS, ratio_row, report

BOUND = 5.0
HEAD = 64


def make_table(folder: pathlib.Path, rows: int) -> pathlib.Path:
    """Make a table, and its images in a folder beside it."""
    images, table = folder / "images", folder / "jobs.csv"
    images.mkdir()
    make_images(images, rows)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "prompt", "negative_prompt", "video_time"])
        writer.writerows([f"images/{number}.png", f"she smiles {number}", "blurry", 5] for number in range(rows))
    return table


def read_by_hand(table: pathlib.Path) -> int:
    """Read the rows, and look at each image."""
    found = 0
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            with (table.parent / row["image"]).open("rb") as image:
                found += os.fstat(image.fileno()).st_size > 0 and image.read(HEAD).startswith(b"\x89PNG")
    return found


async def check(table: pathlib.Path) -> int:
    """Check the rows as `a2e batch run` and `a2e batch validate` do."""

    def on_invalid(_: InputRow, error: str, __: int) -> NoReturn:
        raise AssertionError(error)

    async with A2EClient("sk_bench") as a2e:
        known = KnownJobs()
        validator = JobValidator(a2e.image_to_video.check, known, table.parent / "videos", False, on_invalid)
        with open_source(str(table)) as source:
            await validator.run(read_jobs(source, {}, known.earlier))
    return validator.valid


def measure(table: pathlib.Path, rows: int) -> tuple[float, float]:
    """Return the milliseconds of CPU of both."""
    began = time.process_time()
    assert read_by_hand(table) == rows
    between = time.process_time()
    assert asyncio.run(check(table)) == rows
    return (between - began) * 1000, (time.process_time() - between) * 1000


def main() -> int:
    """Measure, print a table, and return 1 if a row is over its bound."""
    parser = argparse.ArgumentParser(description="Measure the check of a table.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = make_table(pathlib.Path(folder), given.rows)
        samples = [measure(table, given.rows) for _ in range(given.rounds)]
    return report([ratio_row(f"check of {given.rows:,} rows, CPU", samples, BOUND, "ms")])


if __name__ == "__main__":
    sys.exit(main())
