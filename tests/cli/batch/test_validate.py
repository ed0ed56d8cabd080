"""Validation of all rows before the first start."""

from __future__ import annotations

import asyncio
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
import quick

from a2e_async import A2EClient, Config
from a2e_async.batch import Job
from a2e_async.cli.batch.job_file import InputRow
from a2e_async.cli.batch.validate import JobValidator, KnownJobs
from a2e_async.errors import InvalidRequestError
from a2e_async.files import local_files

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


LIMIT = 1_000 + len(quick.PNG + quick.WAV)  # bytes of an upload


@pytest.fixture
def images(tmp_path: pathlib.Path) -> pathlib.Path:
    """Make a folder with a good image, a larger one, one that is too large, and files that are no good images."""
    for name, more in {"good": 0, "larger": len(quick.WAV), "too large": LIMIT}.items():
        (tmp_path / name).write_bytes(quick.PNG + bytes(more))
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes(quick.PNG[:-8])
    (tmp_path / "audio").write_bytes(quick.WAV)
    return tmp_path


def check_all(folder: pathlib.Path, *rows: dict[str, Any]) -> tuple[list[str], int]:
    """Return the errors of rows as the client finds them, and how many of the rows it has checked in full."""
    errors, checked = [""] * len(rows), 0

    async def validate_rows() -> None:
        nonlocal checked
        async with A2EClient("sk_test", config=Config(max_upload_bytes=LIMIT)) as a2e:

            async def check(job: Job) -> None:
                nonlocal checked
                checked += 1
                await a2e.image_to_video.check(job)

            def on_invalid(row: InputRow, error: str, _: int) -> None:
                errors[row.number] = error

            jobs = [
                Job(**{"key": f"k{number}", "prompt": "x", "image": str(folder / fields.pop("file", "good"))} | fields)
                for number, fields in enumerate(map(dict, rows))
            ]
            validator = JobValidator(check, KnownJobs(), folder / "videos", False, on_invalid)
            await validator.run(InputRow(number=number, job=job) for number, job in enumerate(jobs))

    asyncio.run(validate_rows())
    return errors, checked


GOOD: dict[str, Any] = {"video_time": 5, "extend_prompt": True}


@pytest.mark.parametrize(
    "bad",
    [
        {"video_time": 5.0},
        {"video_time": "5"},
        {"extend_prompt": 1},
        {"name": {"a": 1}},
        {"negative_prompt": " "},
        {"model_type": "FLF2V"},
        {"prompt": None},
        {"prompt": " "},
        {"prompt": 7},
        {"prompt": "\ud800"},
        {"key": "k" * 501},
        {"key": "a\nb"},
        {"file": "missing"},
        {"file": "empty"},
        {"file": "cut"},
        {"file": "audio"},
        {"file": "too large"},
        {"image": None},
        {"image": ["good"]},
        {"image_url": "https://example.com/ada.png"},
        {"end_image": "missing"},
        {"end_image_url": "http://localhost/ada.png"},
    ],
    ids=repr,
)
def test_bad_row_after_good_ones(images: pathlib.Path, bad: dict[str, Any]) -> None:
    """A row that is rejected by itself is rejected with the same words after rows that are good, and spoils no other."""
    (alone,), _ = check_all(images, GOOD | bad)
    assert alone
    rows: list[dict[str, Any]] = [
        GOOD,
        GOOD | {"file": "larger"},
        GOOD | bad,
        GOOD,
        GOOD | {"end_image": str(images / "good")},
    ]
    assert check_all(images, *rows)[0] == ["", "", alone, "", ""]


def test_equal_options_are_checked_once(images: pathlib.Path) -> None:
    """The client checks options once that many rows have in common, and not once for each row and image."""
    for number in range(200):
        (images / f"{number}.png").write_bytes(quick.PNG)
    rows: list[dict[str, Any]] = [
        {"file": f"{number}.png", "prompt": f"she smiles {number}", "video_time": 5 + number % 2 * 5}
        for number in range(200)
    ]
    assert check_all(images, *rows) == ([""] * 200, 2)


def test_images_on_a_slow_disk(images: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are inspected in several threads at the same time if one thread would take long."""
    both, inspect = threading.Barrier(2, timeout=30), local_files._inspect_path

    def inspect_slowly(path: str) -> local_files.Inspection:
        if path.endswith(("empty", "cut")):
            both.wait()
        return inspect(path)

    monkeypatch.setattr(local_files, "_PATIENCE", -1.0)
    monkeypatch.setattr(local_files, "_inspect_path", inspect_slowly)
    paths = dict.fromkeys(str(images / name) for name in ("good", "larger", "empty", "cut", "missing"))
    found = asyncio.run(local_files.inspect_paths(paths))
    assert found == {path: inspect(path) for path in paths}
