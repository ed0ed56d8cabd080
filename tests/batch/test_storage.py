"""Folders and disks that take no videos: nothing is started that could not be stored, and no video is lost."""

from __future__ import annotations

import asyncio
import collections
import errno
import os
import pathlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from batches import collect_results, count_charges, make_jobs, run_batch, states_by_key
from paid_starts import count_starts

from a2e_async.batch.circuit_breaker import CircuitBreaker, TrippedError
from a2e_async.batch.storage import StorageGuard
from a2e_async.errors import TransferError
from a2e_async.files import partial_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.virtual_time

FULL = [errno.ENOSPC, errno.EDQUOT]
FORBIDDEN = [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EIO]


class Disk:
    """A disk that can be filled: every write of a video, and possibly of a test of the folder, then fails."""

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
        """Replace the functions that write."""
        self.folder = folder
        self.error: int | None = None
        self.names: tuple[str, ...] = ()
        self.writes = 0
        append, check = partial_file.append, partial_file.check_folder

        def append_unless_full(file: Any, chunks: list[bytes]) -> None:
            with partial_file.map_disk_errors(pathlib.Path(file.name)):
                self.write(file.name)
            append(file, chunks)

        def check_unless_full(folder: pathlib.Path, room: int) -> None:
            if self.error in FORBIDDEN and not self.names:
                msg = "Nothing can be stored"
                raise TransferError(msg) from OSError(self.error, "no")
            check(folder, room)

        patch.setattr(partial_file, "append", append_unless_full)
        patch.setattr("a2e_async.batch.storage.check_folder", check_unless_full)

    def write(self, name: str) -> None:
        """Write to a file, which can fail."""
        self.writes += 1
        if self.error is not None and (not self.names or any(each in name for each in self.names)):
            raise OSError(self.error, os.strerror(self.error))


@pytest.fixture
def disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Return the disk of the videos."""
    return Disk(tmp_path, monkeypatch)


@pytest.mark.parametrize("error", [*FULL, *FORBIDDEN])
async def test_batch_pauses_until_videos_can_be_stored(
    a2e: A2EClient, sandbox: Sandbox, disk: Disk, error: int, caplog: pytest.LogCaptureFixture
) -> None:
    """After the first video that cannot be stored no job is started; later each video is stored, and paid once."""
    out = disk.folder / "videos"
    batch = a2e.image_to_video.batch(make_jobs(12), out=out, journal=disk.folder / "j", max_running=2)
    loop, seen = asyncio.get_running_loop(), list[tuple[int, str]]()

    async def fill_and_free() -> None:
        while count_starts(sandbox) < 2:
            await asyncio.sleep(0.01)
        disk.error = error
        for _ in range(3):
            await asyncio.sleep(60)
            seen.append((count_starts(sandbox), batch.progress.paused))
        disk.error = None

    filling = loop.create_task(fill_and_free())
    results = await collect_results(batch)
    await filling
    assert states_by_key(results) == {f"k{number}": "succeeded" for number in range(12)}
    assert all(result.ok and result.path is not None and result.path.stat().st_size for result in results.values())
    assert [starts for starts, _ in seen] == [seen[0][0]] * 3
    assert seen[0][0] <= 4  # those that ran when the disk became full
    assert {paused for _, paused in seen} == {f"nothing can be stored in {str(out)!r}: {os.strerror(error)}"}
    assert count_charges(sandbox) == {f"k{number}": 1 for number in range(12)}
    assert collections.Counter(record.getMessage().partition(":")[0] for record in caplog.records) == {
        "The batch is paused": 1,
        "The batch continues": 1,
    }
    assert batch.progress.paused == ""
    assert not [path for path in out.iterdir() if path.suffix != ".mp4"]


@pytest.mark.parametrize("error", FULL)
async def test_shortage_of_space_can_stop_the_batch(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, disk: Disk, error: int
) -> None:
    """With on_shortage="stop", nothing more is started, and the next run downloads the videos that were paid."""
    options = {"out": tmp_path / "videos", "journal": tmp_path / "j", "max_running": 1, "on_shortage": "stop"}
    disk.error = error
    first = await run_batch(a2e, make_jobs(5), **options)
    started = count_starts(sandbox)
    assert started <= 3
    assert [str(result.error) for result in first.values() if result.state == "skipped"]
    assert all(isinstance(result.error, TransferError) for result in first.values())
    disk.error = None
    second = await run_batch(a2e, make_jobs(5), **options)
    assert all(result.ok and result.path is not None for result in second.values())
    assert count_charges(sandbox) == {f"k{number}": 1 for number in range(5)}


@pytest.mark.parametrize("error", FORBIDDEN)
async def test_file_of_one_job_pauses_nothing(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, disk: Disk, error: int
) -> None:
    """If the folder itself can be written, the failure belongs to the job: another program can have locked its file."""
    disk.error, disk.names = error, ("k1.mp4",)
    results = await run_batch(a2e, make_jobs(4), out=tmp_path)
    assert {key for key, result in results.items() if not result.ok} == {"k1"}
    assert states_by_key(results)["k1"] == "succeeded"
    assert count_starts(sandbox) == 4


async def test_pause_ends_with_the_last_download(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, disk: Disk
) -> None:
    """If the download that waits for space fails for another reason, the batch does not wait for it forever."""
    batch = a2e.image_to_video.batch(make_jobs(3), out=tmp_path / "videos", max_running=1)
    disk.error = errno.ENOSPC

    async def replace_the_error() -> None:
        while not batch.progress.paused:
            await asyncio.sleep(0.1)
        disk.error = errno.EFBIG

    replacing = asyncio.get_running_loop().create_task(replace_the_error())
    results = await collect_results(batch)
    await replacing
    assert states_by_key(results) == dict.fromkeys(results, "succeeded")
    assert not any(result.ok for result in results.values())
    assert count_starts(sandbox) == 3


async def test_batch_that_is_left_while_it_waits_for_space(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, disk: Disk
) -> None:
    """A paused batch can be left at once, and the next run stores what was paid."""
    disk.error = errno.ENOSPC
    async with a2e.image_to_video.batch(make_jobs(5), out=tmp_path, journal=tmp_path / "j", max_running=1) as batch:
        waiting = asyncio.ensure_future(anext(batch))
        while not batch.progress.paused:
            await asyncio.sleep(0.1)
        waiting.cancel()
    started = count_starts(sandbox)
    assert started < 5
    disk.error = None
    results = await run_batch(a2e, make_jobs(5), out=tmp_path, journal=tmp_path / "j")
    assert all(result.ok for result in results.values())
    assert count_charges(sandbox) == {f"k{number}": 1 for number in range(5)}


# before the first start


async def test_folder_that_cannot_be_written(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is tested before the first start: nothing is uploaded or paid, and each result has the reason."""

    def open_nothing(self: pathlib.Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(pathlib.Path, "open", open_nothing)
    results = await run_batch(a2e, make_jobs(3), out=tmp_path / "videos")
    assert states_by_key(results) == dict.fromkeys(results, "skipped")
    assert {str(result.error) for result in results.values()} == {
        f"Nothing can be stored in {str(tmp_path / 'videos')!r}: Permission denied"
    }
    assert not [request for request in sandbox.requests if request.method != "GET"]


@pytest.mark.parametrize(("total", "needed"), [(100, 100_000_000), (3, 30_000_000)])
async def test_disk_without_room(
    a2e: A2EClient, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, total: int, needed: int
) -> None:
    """The disk needs room for the videos that run at the same time, before anything is paid."""
    usage = collections.namedtuple("usage", "total used free")  # noqa: PYI024  as that of shutil
    free = needed - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - free, free))
    results = await run_batch(a2e, make_jobs(3), out=tmp_path, total=total)
    assert states_by_key(results) == dict.fromkeys(results, "skipped")
    assert all(f"has {free:,} bytes free" in str(result.error) for result in results.values())
    assert not any(result.starts for result in results.values())
    free = needed
    assert all(result.ok for result in (await run_batch(a2e, make_jobs(3), out=tmp_path, total=total)).values())


async def test_folder_that_is_gone(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """If the folder is gone in the middle, the jobs wait until it is back, also those that were not checked yet."""
    out = tmp_path / "videos"
    batch = a2e.image_to_video.batch(make_jobs(60), out=out, max_running=1)
    assert (await anext(batch)).ok
    out.rename(tmp_path / "away")
    out.write_text("a file", encoding="utf-8")

    async def return_it() -> None:
        await asyncio.sleep(600)
        assert "Not a directory" in batch.progress.paused
        assert count_starts(sandbox) <= 4
        out.unlink()
        (tmp_path / "away").rename(out)

    returning = asyncio.get_running_loop().create_task(return_it())
    results = await collect_results(batch)
    await returning
    assert all(result.ok for result in results.values())
    assert len(results) == 59
    assert count_starts(sandbox) == 60


async def test_finished_jobs_need_no_folder(
    a2e: A2EClient, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch with nothing to start does not test the folder: a finished archive can be read-only."""
    await run_batch(a2e, make_jobs(2), out=tmp_path / "videos", journal=tmp_path / "j")
    monkeypatch.setattr("a2e_async.batch.storage.check_folder", lambda *_: pytest.fail("tested"))
    results = await run_batch(a2e, make_jobs(2), out=tmp_path / "videos", journal=tmp_path / "j")
    assert states_by_key(results) == dict.fromkeys(results, "skipped")


def test_test_of_a_folder_leaves_nothing(tmp_path: pathlib.Path) -> None:
    """The folder is made with those above it, and the file of the test is removed."""
    partial_file.check_folder(tmp_path / "a" / "b", 1)
    assert list((tmp_path / "a" / "b").iterdir()) == []
    with pytest.raises(TransferError, match="Nothing can be stored"):
        partial_file.check_folder(pathlib.Path("a\0b"), 0)


def test_disk_without_a_size(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network drive that reports no size is used."""
    usage = collections.namedtuple("usage", "total used free")  # noqa: PYI024  as that of shutil
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 0))
    partial_file.check_folder(tmp_path, 1)


# the guard itself


async def test_downloads_try_again_one_after_the_other(tmp_path: pathlib.Path) -> None:
    """Of many downloads that failed, one tries again at a time, after 5, 10, 20 ... seconds, up to 5 minutes."""
    guard, loop = StorageGuard(CircuitBreaker(), tmp_path, 1), asyncio.get_running_loop()
    tries, begin = list[float](), loop.time()

    async def download() -> pathlib.Path:
        tries.append(round(loop.time() - begin))
        if loop.time() - begin < 1000:
            msg = "x"
            raise TransferError(msg) from OSError(errno.ENOSPC, "full")
        return tmp_path

    assert await asyncio.gather(*(guard.store(download) for _ in range(3))) == [tmp_path] * 3
    assert tries == [0, 0, 0, 5, 15, 35, 75, 155, 315, 615, 915, 1215, 1215, 1215]
    assert guard.reason == ""


async def test_start_right_before_it_is_sent(tmp_path: pathlib.Path) -> None:
    """A start that waited for a slot while the disk became full goes back to wait; a stopped batch waits no more."""
    breaker = CircuitBreaker()
    guard = StorageGuard(breaker, tmp_path, 1)
    guard.check()
    await guard.wait()
    guard.reason = "full"
    with pytest.raises(TrippedError):
        guard.check()
    waiting = asyncio.ensure_future(guard.wait())
    await asyncio.sleep(100)
    assert not waiting.done()
    breaker.stop(TransferError("stop"))
    async with asyncio.timeout(10):
        await waiting


# a disk that is really full


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Mount a disk of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if (
        sys.platform != "linux"
        or shutil.which("mount") is None
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("cannot mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def test_full_disk(
    a2e: A2EClient, sandbox: Sandbox, small_disk: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that is full, nothing is started; when another program fills it later, the batch waits until it is freed."""
    results = await run_batch(a2e, make_jobs(3), out=small_disk / "videos")
    assert states_by_key(results) == dict.fromkeys(results, "skipped")
    monkeypatch.setattr("a2e_async.batch.storage._VIDEO_SIZE", 1)
    batch = a2e.image_to_video.batch(make_jobs(5), out=small_disk / "videos", max_running=1)
    first = await anext(batch)
    assert first.ok
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass

    async def free_it() -> None:
        while not batch.progress.paused:
            await asyncio.sleep(0.1)
        await asyncio.sleep(600)
        assert count_starts(sandbox) < 5
        filler.unlink()

    freeing = asyncio.get_running_loop().create_task(free_it())
    results = await collect_results(batch)
    await freeing
    assert all(result.ok for result in results.values())
    assert count_starts(sandbox) == 5
