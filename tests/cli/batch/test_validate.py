"""Validation of all rows before the first start."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import TYPE_CHECKING

from a2e_async.batch import Job
from a2e_async.cli.batch.job_file import InputRow
from a2e_async.cli.batch.validate import JobValidator, KnownJobs
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterable, Iterator


def row(number: int, key: str = "", prompt: str = "x") -> InputRow:
    """Make a row with a job."""
    job = Job(key=key or f"k{number}", image_url="https://example.com/ada.png", prompt=prompt)
    return InputRow(number=number, place=f"jobs.csv:{number}", job=job)


def validate(rows: Iterable[InputRow], folder: pathlib.Path, rejected: str = "") -> tuple[JobValidator, list[str]]:
    """Validate rows. The job with the key `rejected` is rejected."""
    errors: list[str] = []

    async def check(job: Job) -> None:
        if job.key == rejected:
            msg = "no such image"
            raise InvalidRequestError(msg)

    validator = JobValidator(
        check, KnownJobs(), folder, False, lambda row, error, _: errors.append(f"{row.place}: {error}")
    )
    asyncio.run(validator.run(rows))
    return validator, errors


def test_valid_and_invalid_rows(tmp_path: pathlib.Path) -> None:
    """Valid rows are counted, invalid ones are reported, and the second reading skips the invalid ones only."""
    rows = [row(2), InputRow(number=3, place="jobs.csv:3", error="not valid JSON"), row(4), row(5)]
    result, errors = validate(rows, tmp_path, rejected="k4")
    assert errors == ["jobs.csv:3: not valid JSON", "jobs.csv:4: no such image"]
    assert (result.valid, result.invalid) == (2, {3, 4})
    assert [job.key for job in result.jobs(rows)] == ["k2", "k5"]


def test_row_that_became_invalid(tmp_path: pathlib.Path) -> None:
    """A row that is valid in the first reading and not in the second is skipped."""
    result, _ = validate([row(2)], tmp_path)
    assert list(result.jobs([InputRow(number=2, place="jobs.csv:2", error="not valid JSON")])) == []


def test_no_row_is_kept(tmp_path: pathlib.Path) -> None:
    """Validating twenty megabytes of rows takes as much memory as validating one row."""

    def rows() -> Iterator[InputRow]:
        for number in range(5_000):
            yield row(number, prompt=f"{number:04}" * 1_000)

    tracemalloc.start()
    try:
        result, _ = validate(rows(), tmp_path)
        assert result.valid == 5_000
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_cancellation(tmp_path: pathlib.Path) -> None:
    """A check that never waits can be cancelled by Ctrl-C."""
    checked: list[int] = []

    async def interrupted() -> int:
        async def check(job: Job) -> None:
            checked.append(1)

        validator = JobValidator(check, KnownJobs(), tmp_path, True, print)
        task = asyncio.create_task(validator.run(row(number) for number in range(1_000)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        return len(checked)

    assert asyncio.run(interrupted()) < 5


def test_existing_video_of_an_unusual_key(tmp_path: pathlib.Path) -> None:
    """An existing video is found, also if the key is not a valid file name."""
    (tmp_path / "a_b~c14cddc033f64b9d.mp4").touch()
    result, errors = validate([row(2, key="a/b")], tmp_path)
    assert result.invalid == {2}
    assert errors == [f"jobs.csv:2: {tmp_path / 'a_b~c14cddc033f64b9d.mp4'} already exists: --overwrite replaces it"]
