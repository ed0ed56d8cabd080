"""The files of a batch: their names, what is in their way, and downloads that fail while their jobs have succeeded."""

from __future__ import annotations

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
from a2e_async.batch.journal import SqliteJournal
from a2e_async.errors import InvalidRequestError, TaskFailedError, TransferError
from a2e_async.sandbox import Fault, Sandbox, Weather

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
    """Name a folder for the videos."""
    return tmp_path / "videos"


# names


async def test_plain_keys_are_names(a2e: A2EClient, out: pathlib.Path) -> None:
    """A key that can be a file name is one."""
    keys = ["order-17", "a b", "Ada_1.2", "x" * 100, "7"]
    outcomes = await run_batch(a2e, [make_job(key) for key in keys], out=out)
    assert {key: outcome.path for key, outcome in outcomes.items()} == {key: out / f"{key}.mp4" for key in keys}


async def test_no_key_leaves_the_folder(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """Whatever the keys are, each gets a file of its own, right in the folder, with a harmless name."""
    outcomes = await run_batch(a2e, [make_job(key) for key in ODD], out=out)
    assert states_by_key(outcomes) == dict.fromkeys(ODD, "succeeded")
    paths = [outcome.path for outcome in outcomes.values() if outcome.path is not None]
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
    """The name of an odd key does not change between runs, so that what waits for the file finds it."""
    first = await run_batch(a2e, [make_job(key) for key in ODD], out=out / "one")
    second = await run_batch(a2e, [make_job(key) for key in ODD], out=out / "two")
    for key in ODD:
        one, two = first[key].path, second[key].path
        assert one is not None
        assert two is not None
        assert one.name == two.name


# what is in the way


async def test_an_existing_file_fails_before_anything_is_paid(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A job whose file exists already fails without a request, and the file is untouched; the others succeed."""
    out.mkdir()
    (out / "k1.mp4").write_text("mine")
    outcomes = await run_batch(a2e, make_jobs(3, image=write_image(tmp_path)), out=out)
    assert states_by_key(outcomes) == {"k0": "succeeded", "k1": "failed", "k2": "succeeded"}
    assert isinstance(outcomes["k1"].error, InvalidRequestError)
    assert "k1.mp4" in str(outcomes["k1"].error)
    assert (out / "k1.mp4").read_text() == "mine"
    assert count_charges(sandbox) == {"k0": 1, "k2": 1}
    assert count_uploads(sandbox) == 1


async def test_an_existing_file_is_replaced_if_asked(a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path) -> None:
    """With overwrite=True the video takes the place of what was there."""
    out.mkdir()
    (out / "a.mp4").write_text("old")
    assert (await run_job(a2e, make_job("a"), out=out, overwrite=True)).path == out / "a.mp4"
    assert (out / "a.mp4").read_bytes()[4:8] == b"ftyp"
    assert count_charges(sandbox) == {"a": 1}


@pytest.mark.parametrize("obstacle", ["folder", "file as a folder"])
async def test_a_folder_in_the_way_fails_before_anything_is_paid(
    a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path, obstacle: str
) -> None:
    """A file that cannot be made, since a folder has its name or a file the folder's, costs nothing."""
    if obstacle == "folder":
        (out / "a.mp4").mkdir(parents=True)
    else:
        out.write_text("no folder")
    outcome = await run_job(a2e, make_job("a"), out=out, overwrite=True)
    assert (outcome.state, outcome.coins) == ("failed", 0)
    assert isinstance(outcome.error, InvalidRequestError | TransferError)
    assert count_starts(sandbox) == 0


async def test_a_file_that_came_meanwhile_is_kept(a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path) -> None:
    """A file that somebody makes while the task runs is not replaced: the job has succeeded, and says why it has no file."""

    def somebody(_: Any) -> None:
        out.mkdir(exist_ok=True)
        (out / "a.mp4").write_text("mine")

    with sandbox.override("GET", "/api/v1/userImage2Video", somebody):
        outcome = await run_job(a2e, make_job("a"), out=out)
    assert (outcome.state, outcome.path, outcome.coins) == ("succeeded", None, PRICE)
    assert isinstance(outcome.error, InvalidRequestError)
    assert (out / "a.mp4").read_text() == "mine"


async def test_a_file_of_somebody_else_is_not_taken_for_that_of_an_earlier_run(
    a2e: A2EClient, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A job that was done without a folder does not replace a file that is there when a folder is given."""
    journal = tmp_path / "journal.sqlite"
    await run_job(a2e, make_job("a"), journal=journal)
    out.mkdir()
    (out / "a.mp4").write_text("mine")
    outcome = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert (out / "a.mp4").read_bytes() == b"mine"
    assert (outcome.state, outcome.path) == ("succeeded", None)


async def test_a_file_that_a_crash_has_left_whole_is_no_obstacle(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """A file that an earlier run has finished, and had no time to write down, is fetched once more, and not paid again."""
    journal = tmp_path / "journal.sqlite"
    with sandbox.override("GET", CDN_PATH, web.Response(status=418)):
        first = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert first.path is None
    (out / "a.mp4").write_text("whole, but nobody knows")
    outcome = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert (outcome.state, outcome.path) == ("succeeded", out / "a.mp4")
    assert (out / "a.mp4").read_bytes()[4:8] == b"ftyp"
    assert count_charges(sandbox) == {"a": 1}


# downloads that fail


@pytest.mark.parametrize("tag", ["#html-result", "#expired"])
async def test_a_failed_download_is_no_failed_job(
    sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path, tag: str
) -> None:
    """A result that cannot be fetched leaves a success without a file, with an error, and no half of a file."""
    journal = tmp_path / "journal.sqlite"
    async with make_client(sandbox, retry=RetryPolicy(max_attempts=2, base=0.01)) as a2e:
        batch = a2e.image_to_video.batch([make_job("a", f"#fast {tag}"), make_job("b")], journal=journal, out=out)
        outcomes = await collect_results(batch)
    a = outcomes["a"]
    assert (a.state, a.path, a.coins, a.purchases, a.ok) == ("succeeded", None, PRICE, 1, False)
    assert isinstance(a.error, TransferError)
    assert a.error.task_id == a.task_id
    assert a.record is not None
    assert a.record.result_url
    assert outcomes["b"].ok
    assert batch.progress.succeeded == 2
    assert [path.name for path in out.iterdir()] == ["b.mp4"]
    row = (await read_journal(journal))["a"]
    assert (row.state, row.path) == ("succeeded", None)
    assert row.error is not None
    assert row.error["type"] == "TransferError"


async def test_a_short_download_is_completed(a2e: A2EClient, out: pathlib.Path) -> None:
    """A connection that breaks in the middle of a result costs another request, and neither coins nor the file."""
    outcome = await run_job(a2e, make_job("a", "#fast #short"), out=out)
    assert (outcome.state, outcome.coins) == ("succeeded", PRICE)
    assert outcome.path is not None
    whole = await run_job(a2e, make_job("b"), out=out)
    assert whole.path is not None
    assert outcome.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize("fault", [Fault("html"), Fault("status", status=403), Fault("drop"), Fault("short")])
async def test_the_next_run_fetches_only_the_file(
    sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path, fault: Fault
) -> None:
    """After a download that failed, the next run fetches the file and asks for nothing else; the one after that nothing."""
    options = {"journal": tmp_path / "journal.sqlite", "out": out}
    async with make_client(sandbox, retry=RetryPolicy(max_attempts=1)) as a2e:
        sandbox.weather = Weather(script={"cdn": [fault] * 6})
        first = await run_batch(a2e, make_jobs(3), **options)
        assert {(outcome.state, outcome.path) for outcome in first.values()} == {("succeeded", None)}
        sandbox.weather = None
        sandbox.requests.clear()
        second = await run_batch(a2e, make_jobs(3), **options)
        assert {(outcome.state, outcome.error) for outcome in second.values()} == {("succeeded", None)}
        assert {outcome.path for outcome in second.values()} == {out / f"k{n}.mp4" for n in range(3)}
        assert len(sandbox.requests) == count_downloads(sandbox) == 3
        third = await run_batch(a2e, make_jobs(3), **options)
        assert set(states_by_key(third).values()) == {"skipped"}
    assert len(sandbox.requests) == 3
    assert count_charges(sandbox) == dict.fromkeys(first, 1)
    assert (await read_journal(options["journal"]))["k0"].error is None


async def test_a_link_that_has_expired_is_asked_for_anew(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, out: pathlib.Path
) -> None:
    """If the link that the journal remembers has ended, and A2E shows another one, that one is used."""
    journal = tmp_path / "journal.sqlite"
    await run_job(a2e, make_job("a"), journal=journal)
    row = (await read_journal(journal))["a"]
    assert row.record is not None
    row.record["result_url"] = f"{row.record['result_url']}-which-has-ended"
    async with SqliteJournal(journal, sandbox.url) as opened:
        await opened.save(row)
    outcome = await run_job(a2e, make_job("a"), journal=journal, out=out)
    assert (outcome.state, outcome.path) == ("succeeded", out / "a.mp4")


async def test_without_a_folder_nothing_is_fetched(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A batch without `out` succeeds with the links in the records."""
    outcomes = await run_batch(a2e, make_jobs(3))
    assert {(outcome.state, outcome.path, outcome.error) for outcome in outcomes.values()} == {
        ("succeeded", None, None)
    }
    assert all(outcome.record is not None and outcome.record.result_url for outcome in outcomes.values())
    assert count_downloads(sandbox) == 0


async def test_a_failed_task_is_not_fetched(a2e: A2EClient, sandbox: Sandbox, out: pathlib.Path) -> None:
    """There is nothing to fetch of a task that failed."""
    outcome = await run_job(a2e, make_job("a", "#fast #fail"), out=out)
    assert isinstance(outcome.error, TaskFailedError)
    assert outcome.path is None
    assert count_downloads(sandbox) == 0
