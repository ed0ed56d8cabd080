"""Files of a batch: their names, existing files, and failed downloads of succeeded jobs."""

from __future__ import annotations

import asyncio
import string
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from batches import (
    CDN_PATH,
    PRICE,
    collect_results,
    count_charges,
    count_downloads,
    count_uploads,
    make_job,
    make_jobs,
    read_journal,
    run_batch,
    run_job,
    states_by_key,
    write_image,
)
from paid_starts import count_starts, make_client

from a2e_async import A2EClient, RetryPolicy
from a2e_async.batch import downloads
from a2e_async.batch.file_names import FileNames
from a2e_async.batch.journal import SqliteJournal
from a2e_async.errors import InvalidRequestError, TaskFailedError, TransferError
from a2e_async.files.partial_file import temporary_path
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib


ODD = [
    "../../etc/passwd", "..", ".", ".hidden", "a/b", "a\\b", "/etc/passwd", "C:\\x", "~root", "-rf", "CON", "con.txt",
    "nul", "COM1", "a:b", "a*b", "a?b", 'a"b', "a<b>c|d", "a.", "a ", " a", "🐙", "ключ", "a%2Fb", "$HOME", "`x`", "x" * 300,
    "x" * 299 + "y", "é", "e\u0301", "a.mp4", "a.mp4.part", "a~b",
]  # fmt: skip
"""Keys that are no file names, or bad ones."""

SAFE = {*string.ascii_letters, *string.digits, *"_.-~ "}


@pytest.fixture
def out(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return the folder for the videos."""
    return tmp_path / "videos"


# names


async def test_plain_keys_are_file_names(a2e: A2EClient, out: pathlib.Path) -> None:
    """A key that can be a file name is the file name."""
    keys = ["order-17", "a b", "Ada_1.2", "x" * 100, "7"]
    results = await run_batch(a2e, [make_job(key) for key in keys], out=out)
    assert {key: result.path for key, result in results.items()} == {key: out / f"{key}.mp4" for key in keys}


async def test_names_of_an_earlier_run_do_not_block_the_loop(
    a2e: A2EClient, out: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal can have very many names: they are reserved in several passes of the event loop."""
    journal, in_pass, reserve = tmp_path / "journal.sqlite", [0], FileNames.reserve
    await run_batch(a2e, make_jobs(6), journal=journal, out=out)

    def count(names: FileNames, name: str, key: str, extension: str) -> None:
        if not in_pass[-1]:
            asyncio.get_running_loop().call_soon(in_pass.append, 0)
        in_pass[-1] += 1
        reserve(names, name, key, extension)

    monkeypatch.setattr(downloads, "_CHUNK", 2)
    monkeypatch.setattr(FileNames, "reserve", count)
    results = await run_batch(a2e, make_jobs(6), journal=journal, out=out)
    assert all(result.path.is_file() for result in results.values() if result.path is not None)
    assert in_pass[:3] == [2, 2, 2]


async def test_no_key_leaves_the_folder(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """For any key, the file is directly in the folder, with a harmless name of its own."""
    results = await run_batch(a2e, [make_job(key) for key in ODD], out=out)
    assert states_by_key(results) == dict.fromkeys(ODD, "succeeded")
    paths = [result.path for result in results.values() if result.path is not None]
    assert len({str(path).lower() for path in paths}) == len(ODD)
    for path in paths:
        assert path.parent == out
        assert path.stat().st_size > 0
        assert {*path.name} <= SAFE
        assert path.name[0] not in ". "
        assert len(path.name) <= 110
        assert path.stem.upper() not in {"CON", "NUL", "COM1"}
        assert path.suffix == ".mp4"
    assert {path.name for path in out.iterdir()} == {path.name for path in paths}
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]
    assert count_charges(sandbox) == dict.fromkeys(ODD, 1)


async def test_names_are_the_same_in_the_next_run(a2e: A2EClient, tmp_path: pathlib.Path, out: pathlib.Path) -> None:
    """The file name of a key does not change between runs."""
    first = await run_batch(a2e, [make_job(key) for key in ODD], out=out / "one")
    second = await run_batch(a2e, [make_job(key) for key in ODD], out=out / "two")
    for key in ODD:
        one, two = first[key].path, second[key].path
        assert one is not None
        assert two is not None
        assert one.name == two.name


# existing files


async def test_an_existing_file_fails_before_anything_is_paid(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A job whose file exists fails without a request, and the file is not changed; the others succeed."""
    out.mkdir()
    (out / "k1.mp4").write_text("mine")
    results = await run_batch(a2e, make_jobs(3, image=write_image(tmp_path)), out=out)
    assert states_by_key(results) == {"k0": "succeeded", "k1": "failed", "k2": "succeeded"}
    assert isinstance(results["k1"].error, InvalidRequestError)
    assert "k1.mp4" in str(results["k1"].error)
    assert (out / "k1.mp4").read_text() == "mine"
    assert count_charges(sandbox) == {"k0": 1, "k2": 1}
    assert count_uploads(sandbox) == 1


async def test_an_existing_file_is_replaced_with_overwrite(a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path) -> None:
    """With ``overwrite`` the video replaces the existing file."""
    out.mkdir()
    (out / "a.mp4").write_text("old")
    assert (await run_job(a2e, make_job("a"), out=out, overwrite=True)).path == out / "a.mp4"
    assert (out / "a.mp4").read_bytes()[4:8] == b"ftyp"
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize("obstacle", ["folder", "file as a folder"])
async def test_a_folder_in_the_way_fails_before_anything_is_paid(
    a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path, obstacle: str
) -> None:
    """A file that cannot be created, because of a folder of its name or a file instead of its folder, costs nothing."""
    if obstacle == "folder":
        (out / "a.mp4").mkdir(parents=True)
    else:
        out.write_text("no folder")
    result = await run_job(a2e, make_job("a"), out=out, overwrite=True)
    # no other job could be stored either, if the folder is none
    assert (result.state, result.coins) == ("failed" if obstacle == "folder" else "skipped", 0)
    assert isinstance(result.error, InvalidRequestError | TransferError)
    assert count_starts(sandbox) == 0


async def test_a_file_created_during_the_run_is_kept(a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path) -> None:
    """A file that another program creates while the task runs is not replaced: the job has succeeded, with an error."""

    def create_the_file(_: Any) -> None:
        out.mkdir(exist_ok=True)
        (out / "a.mp4").write_text("mine")

    with sandbox.override("GET", "/api/v1/userImage2Video", create_the_file):
        result = await run_job(a2e, make_job("a"), out=out)
    assert (result.state, result.path, result.coins) == ("succeeded", None, PRICE)
    assert isinstance(result.error, InvalidRequestError)
    assert (out / "a.mp4").read_text() == "mine"


async def test_a_foreign_file_is_not_taken_for_that_of_an_earlier_run(
    a2e: A2EClient, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A job that was done without a folder does not replace an existing file when a folder is given."""
    journal = tmp_path / "journal.sqlite"
    await run_job(a2e, make_job("a"), journal=journal)
    out.mkdir()
    (out / "a.mp4").write_text("mine")
    result = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert (out / "a.mp4").read_bytes() == b"mine"
    assert (result.state, result.path) == ("succeeded", None)


async def test_a_file_that_a_crash_has_left_is_recognized(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A file that an earlier run has stored, without recording it, is known by its content. Nothing is paid again."""
    journal = tmp_path / "journal.sqlite"
    stored = await run_job(a2e, make_job("b"), out=out)
    assert stored.path is not None
    with sandbox.override("GET", CDN_PATH, web.Response(status=418)):
        first = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert first.path is None
    stored.path.rename(out / "a.mp4")
    result = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert (result.state, result.path, result.error) == ("succeeded", out / "a.mp4", None)
    assert [path.name for path in out.iterdir()] == ["a.mp4"]
    assert count_charges(sandbox)["a"] == 1


async def test_partial_files_of_a_killed_run_are_removed(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """The next run removes what a killed run has left beside its own videos, and no other file; a new journal nothing."""
    long = "k" * 80
    items = [make_job("a"), make_job(long), make_job("ключ")]
    results = await run_batch(a2e, items, journal=tmp_path / "journal.sqlite", out=out)
    names = [path.name for result in results.values() if (path := result.path) is not None]
    left = [temporary_path(out / name) for name in [*names, names[0], "a2e"]]
    foreign = [out / name for name in ("b.mp4.0123456789ab.part", "a.mp4.part", "a.mp4.0123456789AB.part", "x.part")]
    for path in [*left, *foreign]:
        path.write_text("partial")
    await run_batch(a2e, [make_job("c")], journal=tmp_path / "other.sqlite", out=out)
    assert all(path.exists() for path in [*left, *foreign])
    await run_batch(a2e, items, journal=tmp_path / "journal.sqlite", out=out)
    assert {path.name for path in out.iterdir()} == {*names, "c.mp4", *(path.name for path in foreign)}
    assert count_starts(sandbox) == 4


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_foreign_file_is_kept_by_the_next_run(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path, *, overwrite: bool
) -> None:
    """A file that another program puts at the place of a video between two runs is replaced with ``overwrite`` only."""
    journal = tmp_path / "journal.sqlite"
    with sandbox.override("GET", CDN_PATH, web.Response(status=418)):
        await run_job(a2e, make_job("a"), journal=journal, out=out)
    (out / "a.mp4").write_text("my own cut")
    for _ in range(2):
        result = await run_job(a2e, make_job("a"), journal=journal, out=out, overwrite=overwrite)
    assert ((out / "a.mp4").read_bytes() == b"my own cut") is not overwrite
    assert isinstance(result.error, InvalidRequestError) is not overwrite
    assert [path.name for path in out.iterdir()] == ["a.mp4"]
    assert count_charges(sandbox) == {"a": 1}


async def test_a_lost_file_is_downloaded_again(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A finished job whose file is gone gets it again, free, while its link lives; others stay as they are."""
    options = {"journal": tmp_path / "journal.sqlite", "out": out}
    await run_batch(a2e, make_jobs(3), **options)
    (out / "k1.mp4").unlink()
    assert states_by_key(await run_batch(a2e, make_jobs(3), **options)) == {
        "k0": "skipped",
        "k1": "succeeded",
        "k2": "skipped",
    }
    assert (out / "k1.mp4").read_bytes()[4:8] == b"ftyp"
    assert count_charges(sandbox) == {"k0": 1, "k1": 1, "k2": 1}


async def test_a_lost_file_whose_link_has_expired(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A finished job whose file and link are both gone stays done: its file was moved, or it cannot be had any more."""
    options = {"journal": tmp_path / "journal.sqlite", "out": out}
    await run_job(a2e, make_job("a"), **options)
    (out / "a.mp4").rename(tmp_path / "moved.mp4")
    with sandbox.override("GET", CDN_PATH, web.Response(status=403)):
        result = await run_job(a2e, make_job("a"), **options)
    assert (result.state, result.error) == ("skipped", None)
    row = (await read_journal(options["journal"]))["a"]
    assert row.finished_at is not None
    row.finished_at -= 8 * 86400  # so old that the link is not even tried
    async with SqliteJournal(options["journal"], sandbox.url) as opened:
        await opened.save(row)
    sandbox.requests.clear()
    assert (await run_job(a2e, make_job("a"), **options)).state == "skipped"
    assert not sandbox.requests
    assert count_charges(sandbox) == {"a": 1}


# failed downloads


@pytest.mark.parametrize("tag", ["#html-result", "#expired"])
async def test_a_failed_download_is_no_failed_job(
    sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path, tag: str
) -> None:
    """A result that cannot be downloaded leaves a success without a file, with an error, and no partial file."""
    journal = tmp_path / "journal.sqlite"
    async with make_client(sandbox, retry=RetryPolicy(max_attempts=2, base=0.01)) as a2e:
        batch = a2e.image_to_video.batch([make_job("a", f"#fast {tag}"), make_job("b")], journal=journal, out=out)
        results = await collect_results(batch)
    a = results["a"]
    assert (a.state, a.path, a.coins, a.starts, a.ok) == ("succeeded", None, PRICE, 1, False)
    assert isinstance(a.error, TransferError)
    assert a.error.task_id == a.task_id
    assert a.record is not None
    assert a.record.result_url
    assert results["b"].ok
    assert batch.progress.succeeded == 2
    assert [path.name for path in out.iterdir()] == ["b.mp4"]
    row = (await read_journal(journal))["a"]
    assert (row.state, row.path) == ("succeeded", None)
    assert row.error is not None
    assert row.error["type"] == "TransferError"


async def test_a_short_download_is_completed(a2e: A2EClient, out: pathlib.Path) -> None:
    """A connection that breaks during a download costs another request, but neither coins nor the file."""
    result = await run_job(a2e, make_job("a", "#fast #short"), out=out)
    assert (result.state, result.coins) == ("succeeded", PRICE)
    assert result.path is not None
    complete = await run_job(a2e, make_job("b"), out=out)
    assert complete.path is not None
    assert result.path.read_bytes() == complete.path.read_bytes()


@pytest.mark.parametrize("fault", [Fault("html"), Fault("status", status=403), Fault("drop"), Fault("short")])
async def test_the_next_run_downloads_only_the_file(
    sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path, fault: Fault
) -> None:
    """After a failed download, the next run downloads the file and sends no other request; the one after that sends none."""
    options = {"journal": tmp_path / "journal.sqlite", "out": out}
    async with make_client(sandbox, retry=RetryPolicy(max_attempts=1)) as a2e:
        sandbox.faults = FaultPlan(script={"cdn": [fault] * 6})
        first = await run_batch(a2e, make_jobs(3), **options)
        assert {(result.state, result.path) for result in first.values()} == {("succeeded", None)}
        sandbox.faults = None
        sandbox.requests.clear()
        second = await run_batch(a2e, make_jobs(3), **options)
        assert {(result.state, result.error) for result in second.values()} == {("succeeded", None)}
        assert {result.path for result in second.values()} == {out / f"k{n}.mp4" for n in range(3)}
        assert len(sandbox.requests) == count_downloads(sandbox) == 3
        third = await run_batch(a2e, make_jobs(3), **options)
        assert set(states_by_key(third).values()) == {"skipped"}
    assert len(sandbox.requests) == 3
    assert count_charges(sandbox) == dict.fromkeys(first, 1)
    assert (await read_journal(options["journal"]))["k0"].error is None


async def test_an_expired_link_is_replaced(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """If the link in the journal has expired, and A2E shows another one, that one is used."""
    journal = tmp_path / "journal.sqlite"
    await run_job(a2e, make_job("a"), journal=journal)
    row = (await read_journal(journal))["a"]
    assert row.record is not None
    row.record["result_url"] = f"{row.record['result_url']}-which-has-ended"
    async with SqliteJournal(journal, sandbox.url) as opened:
        await opened.save(row)
    result = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert (result.state, result.path) == ("succeeded", out / "a.mp4")


async def test_without_a_folder_nothing_is_downloaded(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A batch without `out` succeeds with the links in the records."""
    results = await run_batch(a2e, make_jobs(3))
    assert {(result.state, result.path, result.error) for result in results.values()} == {("succeeded", None, None)}
    assert all(result.record is not None and result.record.result_url for result in results.values())
    assert count_downloads(sandbox) == 0


async def test_a_failed_task_is_not_downloaded(a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path) -> None:
    """A failed task has no result to download."""
    result = await run_job(a2e, make_job("a", "#fast #fail"), out=out)
    assert isinstance(result.error, TaskFailedError)
    assert result.path is None
    assert count_downloads(sandbox) == 0
