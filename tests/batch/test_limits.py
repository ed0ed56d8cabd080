"""Limits of what happens at the same time, as the sandbox sees it, and one upload for equal images."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest
import quick
from batches import (
    CDN_PATH,
    STORAGE_PATH,
    ConcurrencyMeter,
    cancel_and_wait,
    count_charges,
    count_uploads,
    make_job,
    make_jobs,
    make_jobs_with_images,
    run_batch,
    states_by_key,
    write_image,
)
from conditions import wait_until
from paid_starts import PRESIGN_PATH, count_requests, make_client

from a2e_async import A2EClient, Pacing
from a2e_async.errors import TransferError
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from aiohttp import web

    from a2e_async.batch import Job


@pytest.fixture
async def unlimited(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client without limits of its own, so that only the batch limits."""
    async with make_client(sandbox, pacing=Pacing(max_in_flight=1000)) as a2e:
        yield a2e


# limits


@pytest.mark.parametrize("limit", [1, 3])
async def test_uploads_at_the_same_time(
    unlimited: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, limit: int
) -> None:
    """At most max_uploads images are uploaded at the same time, and not fewer if there are more."""
    meter = ConcurrencyMeter()
    with sandbox.override("PUT", STORAGE_PATH, meter.hold):
        results = await run_batch(unlimited, make_jobs_with_images(tmp_path, 12), max_uploads=limit)
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert (meter.peak, meter.total) == (limit, 12)


@pytest.mark.parametrize("limit", [1, 3])
async def test_starts_at_the_same_time(unlimited: A2EClient, sandbox: Sandbox, limit: int) -> None:
    """At most max_starts starts are sent at the same time, and not fewer if there are more."""
    meter = ConcurrencyMeter()
    with sandbox.override("POST", quick.START_PATH, meter.hold):
        await run_batch(unlimited, make_jobs(12), max_starts=limit, max_running=12)
    assert (meter.peak, meter.total) == (limit, 12)


@pytest.mark.parametrize("limit", [1, 3])
async def test_downloads_at_the_same_time(
    unlimited: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, limit: int
) -> None:
    """At most max_downloads results are downloaded at the same time, and not fewer if there are more."""
    meter = ConcurrencyMeter(0.1)
    with sandbox.override("GET", CDN_PATH, meter.hold):
        await run_batch(unlimited, make_jobs(12), out=tmp_path, max_downloads=limit, max_running=12)
    assert (meter.peak, meter.total) == (limit, 12)


@pytest.mark.parametrize("limit", [1, 4])
async def test_running_tasks_at_the_same_time(unlimited: A2EClient, sandbox: Sandbox, limit: int) -> None:
    """At most max_running tasks are alive at A2E at the same time, and not fewer if there are more."""
    most = 0

    def look(_: web.Request) -> None:
        nonlocal most
        most = max(most, 1 + sum(not task.done for task in sandbox.tasks.values()))

    with sandbox.override("POST", quick.START_PATH, look):
        results = await run_batch(unlimited, make_jobs(2 * limit, ""), max_running=limit, max_starts=1)
    assert most == limit
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_retries_and_old_tasks_need_slots_too(
    unlimited: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """New starts after failures, and tasks of an earlier run, count among the running ones."""
    first = unlimited.image_to_video.batch(make_jobs(3, "#stuck"), journal=tmp_path / "journal.sqlite", max_running=3)
    async with first:
        waiting = asyncio.ensure_future(anext(first))
        await wait_until(
            lambda: len(first.progress.active) == 3 and all(it.stage == "running" for it in first.progress.active)
        )
        await cancel_and_wait(waiting)
    items = [*make_jobs(3, "#stuck"), *[make_job(f"f{n}", "#fail") for n in range(4)]]
    second = unlimited.image_to_video.batch(items, journal=tmp_path / "journal.sqlite", max_running=5, retry_failed=1)
    most = 0

    def look(_: web.Request) -> None:
        nonlocal most
        most = max(most, 1 + sum(not task.done for task in sandbox.tasks.values()))

    async with second:
        with sandbox.override("POST", quick.START_PATH, look):
            for _ in range(4):
                assert (await anext(second)).state == "failed"
    assert most == 5
    assert count_charges(sandbox) == {
        **dict.fromkeys(("k0", "k1", "k2"), 1),
        **dict.fromkeys(("f0", "f1", "f2", "f3"), 2),
    }


async def test_a_waiting_job_holds_only_its_slot(
    unlimited: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """While tasks hang in all slots but one, the others are uploaded, started and downloaded through that one."""
    hanging = [make_job(f"hang{n}", "#stuck") for n in range(4)]
    batch = unlimited.image_to_video.batch(
        [*hanging, *make_jobs_with_images(tmp_path, 8)],
        out=tmp_path / "out",
        max_running=5,
        max_starts=1,
        max_uploads=1,
        max_downloads=1,
    )
    async with batch, asyncio.timeout(0.5):
        told = [await anext(batch) for _ in range(8)]
        assert {result.state for result in told} == {"succeeded"}
        assert all(result.path for result in told)
        assert {active.key for active in batch.progress.active} == {item.key for item in hanging}


async def test_uploads_and_downloads_continue_while_all_slots_are_used(
    unlimited: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """With a task in every slot, images for later are uploaded, and the result of an earlier run is downloaded."""
    done = make_job("done")
    await run_batch(unlimited, [done], journal=tmp_path / "journal.sqlite")

    async def source() -> AsyncIterator[Job]:
        yield make_job("hang0", "#stuck")
        yield make_job("hang1", "#stuck")
        await wait_until(lambda: len(sandbox.tasks) == 3)
        for item in [*make_jobs_with_images(tmp_path, 3), done]:
            yield item

    batch = unlimited.image_to_video.batch(
        source(), journal=tmp_path / "journal.sqlite", out=tmp_path / "out", max_running=2
    )
    async with batch, asyncio.timeout(0.5):
        result = await anext(batch)
        assert (result.key, result.path) == ("done", tmp_path / "out" / "done.mp4")
        await wait_until(lambda: count_uploads(sandbox) == 3)
        assert len(count_charges(sandbox)) == 3


async def test_uploads_continue_while_a_start_is_sent(
    unlimited: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Before a start is accepted, only the first job uploads its image; afterwards the others do not wait for starts."""
    answered = asyncio.Event()
    uploads: list[int] = []

    async def hold(_: web.Request) -> None:
        uploads.append(count_uploads(sandbox))
        if sandbox.tasks:
            await answered.wait()

    batch = unlimited.image_to_video.batch(make_jobs_with_images(tmp_path, 6), max_starts=1, max_uploads=2)
    with sandbox.override("POST", quick.START_PATH, hold):
        async with batch, asyncio.timeout(0.5):
            await anext(batch)
            await wait_until(lambda: count_uploads(sandbox) == 6)
            assert len(sandbox.tasks) == 1
            answered.set()
            assert sum([result.ok async for result in batch]) == 5
    assert uploads[0] == 1


async def test_a_download_holds_no_running_slot(unlimited: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """During a long download the next task runs in the free slot, and ends."""
    here = asyncio.Event()

    async def hold(request: web.Request) -> None:
        if request.path.endswith(f"{next(iter(sandbox.tasks))}.mp4"):
            await here.wait()

    batch = unlimited.image_to_video.batch([make_job("a"), make_job("b")], out=tmp_path, max_running=1, max_downloads=2)
    with sandbox.override("GET", CDN_PATH, hold):
        async with batch, asyncio.timeout(0.5):
            quick_one = await anext(batch)
            here.set()
            slow_one = await anext(batch)
    assert [slow_one.task_id, quick_one.task_id] == [*sandbox.tasks]


# one upload for each image


async def test_the_same_image_is_uploaded_once(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Fifty jobs with one image, by path, by another path and as bytes, at the same time, cost one upload."""
    path, copy = write_image(tmp_path), write_image(tmp_path, "copy.png")
    sources = [path, str(path), copy, path.read_bytes(), bytearray(path.read_bytes())]
    results = await run_batch(a2e, [make_job(f"k{n}", image=sources[n % 5]) for n in range(50)])
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert (count_uploads(sandbox), count_requests(sandbox, PRESIGN_PATH)) == (1, 1)
    assert len({task.image_url for task in sandbox.tasks.values()}) == 1


async def test_an_image_is_uploaded_once_also_as_end_image(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Start and end images share their uploads, and each gets its own link."""
    first, last = write_image(tmp_path, "first.png", b"1"), write_image(tmp_path, "last.png", b"2")
    await run_batch(a2e, [make_job("a", image=first, end_image=last), make_job("b", image=last, end_image=first)])
    assert count_uploads(sandbox) == 2
    forth, back = (task.start for task in sandbox.tasks.values())
    assert (forth.image_url, forth.end_image_url) == (back.end_image_url, back.image_url)
    assert forth.image_url != forth.end_image_url


async def test_images_of_the_same_name_are_not_confused(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Two files of one name and size and different content are two images, and each job gets its own."""
    paths = []
    for content in (b"one", b"two"):
        (tmp_path / content.decode()).mkdir()
        paths.append(write_image(tmp_path / content.decode(), content=content))
    await run_batch(a2e, [make_job(f"{path.parent.name}{n}", image=path) for path in paths for n in range(3)])
    assert count_uploads(sandbox) == 2
    links = {
        key: {task.image_url for task in sandbox.tasks.values() if f" of {key}" in task.prompt}
        for key in ("one", "two")
    }
    assert len(links["one"]) == len(links["two"]) == 1
    assert links["one"] != links["two"]
    (link,) = links["two"]
    assert (await _fetch(link)).endswith(b"two")


async def test_a_later_run_uses_the_upload_again(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """With the same journal an image of an earlier run is not uploaded again while its link works."""
    path = write_image(tmp_path)
    for key in ("a", "b"):
        await run_batch(a2e, [make_job(key, image=path)], journal=tmp_path / "journal.sqlite")
    assert count_uploads(sandbox) == 1
    assert len({task.image_url for task in sandbox.tasks.values()}) == 1


async def test_an_old_upload_is_not_used(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that may expire soon is not given to A2E: after a day the image is uploaded again."""
    path, clock = write_image(tmp_path), time.time
    await run_batch(a2e, [make_job("a", image=path)], journal=tmp_path / "journal.sqlite")
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: clock() + 86400 + 60)
        await run_batch(a2e, [make_job("b", image=path)], journal=tmp_path / "journal.sqlite")
    assert count_uploads(sandbox) == 2


async def test_an_upload_that_has_failed_is_tried_again(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """A job whose image could not be uploaded fails; the next job with the same image uploads it."""
    path = write_image(tmp_path)
    sandbox.faults = FaultPlan(script={"put": [Fault("status", status=403)]})
    results = await run_batch(a2e, [make_job(f"k{n}", image=path) for n in range(3)], max_uploads=1)
    assert sorted(states_by_key(results).values()) == ["failed", "succeeded", "succeeded"]
    (failed,) = (result for result in results.values() if result.state == "failed")
    assert isinstance(failed.error, TransferError)
    assert failed.coins == 0
    assert count_uploads(sandbox) == 2


async def _fetch(link: str) -> bytes:
    async with aiohttp.ClientSession() as session, session.get(link) as answer:
        return await answer.read()
