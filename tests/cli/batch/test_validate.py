"""The look at all rows before the first start: what it keeps, and what it lets pass."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING

from a2e_async.batch import Job
from a2e_async.cli.batch.job_file import Entry
from a2e_async.cli.batch.validate import Checked, Checker, Known
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator


def row(number: int, key: str = "", **words: str) -> Entry:
    """Make a row that can be read."""
    job = Job(key=key or f"k{number}", image_url="https://example.com/ada.png", prompt=words.get("prompt", "x"))
    return Entry(number=number, place=f"jobs.csv:{number}", job=job)


def check(rows: Iterable[Entry], folder: pathlib.Path, refused: str = "") -> tuple[Checked, list[str]]:
    """Check rows; a job of one key is refused."""
    complaints: list[str] = []

    async def look(job: Job) -> None:
        if job.key == refused:
            msg = "no such image"
            raise InvalidRequestError(msg)

    known = Known(folder / "none.sqlite", 0)
    checker = Checker(look, known, folder, False, lambda place, error: complaints.append(f"{place}: {error}"))
    return asyncio.run(checker.run(rows)), complaints


def test_good_and_wrong_rows(tmp_path: pathlib.Path) -> None:
    """Good rows are counted, wrong ones are told, and the second look passes over those alone."""
    rows = [row(2), Entry(number=3, place="jobs.csv:3", error="this is no JSON"), row(4), row(5)]
    checked, complaints = check(rows, tmp_path, refused="k4")
    assert complaints == ["jobs.csv:3: this is no JSON", "jobs.csv:4: no such image"]
    assert (checked.good, checked.wrong) == (2, {3, 4})
    assert [job.key for job in checked.jobs(rows)] == ["k2", "k5"]


def test_row_that_has_gone_wrong_since(tmp_path: pathlib.Path) -> None:
    """A row that could be read at the first look and not at the second is passed over."""
    checked, _ = check([row(2)], tmp_path)
    assert list(checked.jobs([Entry(number=2, place="jobs.csv:2", error="this is no JSON")])) == []


def test_nothing_is_kept_of_good_rows(tmp_path: pathlib.Path) -> None:
    """Checking twenty megabytes of rows takes no more memory than checking one row."""

    def rows() -> Iterator[Entry]:
        for number in range(5_000):
            yield row(number, prompt=f"{number:04}" * 1_000)

    tracemalloc.start()
    try:
        checked, _ = check(rows(), tmp_path)
        assert checked.good == 5_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_others_get_their_turn(tmp_path: pathlib.Path) -> None:
    """A check that waits for nothing lets Ctrl-C through."""
    seen: list[int] = []

    async def interrupted() -> int:
        async def look(job: Job) -> None:
            seen.append(1)

        checker = Checker(look, Known(tmp_path / "none.sqlite", 0), tmp_path, True, print)
        task = asyncio.create_task(checker.run(row(number) for number in range(1_000)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return len(seen)

    assert asyncio.run(interrupted()) < 5


def test_name_of_the_file_is_that_of_the_batch(tmp_path: pathlib.Path) -> None:
    """A video that is in the way is found also where the key is no file name."""
    (tmp_path / "a_b~c14cddc033f64b9d.mp4").touch()
    checked, complaints = check([row(2, key="a/b")], tmp_path)
    assert checked.wrong == {2}
    assert complaints == [
        f"jobs.csv:2: {tmp_path / 'a_b~c14cddc033f64b9d.mp4'} exists already: --overwrite replaces it"
    ]
