"""Results that are read while they arrive, shared transfers, file objects, and what happens to existing files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import tempfile
import weakref
from typing import TYPE_CHECKING, Any

import paid_starts
import pytest
import quick
from aiohttp import web
from conditions import wait_until

from a2e_async import (
    A2EClient,
    A2EError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    NotFoundError,
    TaskFailedError,
    TaskNotFinishedError,
    TransferError,
)
from a2e_async.files.result_stream import ByteRange

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Awaitable

    from a2e_async import TaskHandle
    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Sandbox

VIDEO = quick.MP4 + os.urandom(300_000 - len(quick.MP4))
PAGE = b"<!doctype html><title>Log in</title>".ljust(2000)
PATH = "/videos/result.mp4"


class Storage:
    """Storage of one file.

    Attributes:
        content: The file.
        etag: Its ETag, or empty.
        ranges: Whether ranges are supported.
        cuts: How many of the next answers are cut after `kept` bytes.
        requested: The header Range of each request.
    """

    def __init__(self, content: bytes = VIDEO, *, etag: str = '"v1"', ranges: bool = True, length: bool = True) -> None:
        self.content, self.etag, self.ranges, self.length = content, etag, ranges, length
        self.cuts, self.kept = 0, 50_000
        self.requested: list[str] = []
        self.held = asyncio.Event()
        self.held.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        asked = request.headers.get("Range", "")
        self.requested.append(asked)
        is_current = request.headers.get("If-Range", self.etag) == self.etag
        response = web.StreamResponse(headers={"Content-Type": "text/html", "ETag": self.etag})
        body = self.content
        if asked and self.ranges and is_current:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or len(body) - 1) + 1, len(body))
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(body)}"
            body = body[begin:end]
        if self.length:
            response.content_length = len(body)
        await response.prepare(request)
        await self.held.wait()
        if self.cuts and len(body) > self.kept:
            self.cuts -= 1
            await response.write(body[: self.kept])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(body)
        return response


@pytest.fixture
def storage(sandbox: Sandbox) -> Any:
    """Replace the storage of the sandbox."""
    with sandbox.override("GET", "/videos", storage := Storage()):
        yield storage


@pytest.fixture
async def task(a2e: A2EClient, sandbox: Sandbox) -> TaskHandle[ImageToVideoRecord]:
    """Return a handle that was made from the id of a finished task."""
    started = await paid_starts.start_video(a2e, prompt="#fast")
    await started.wait_until_done(10)
    sandbox.tasks[started.id].result_url = f"{sandbox.url}{PATH}"
    return a2e.image_to_video.task(started.id)


def count_polls(sandbox: Sandbox, task: Any) -> int:
    """Count the polls of this task alone."""
    return paid_starts.count_requests(sandbox, f"{quick.FAMILY_PATH}/{task.id}")


async def read(task: Any, **options: Any) -> tuple[Any, bytes]:
    """Read a stream to its end."""
    async with task.stream(**options) as stream:
        return stream, b"".join([chunk async for chunk in stream])


# a handle made from an id


async def test_download_by_id_polls_once(task: Any, sandbox: Sandbox, storage: Storage, tmp_path: pathlib.Path) -> None:
    """The handle of a finished task that was made from its id polls once, and downloads."""
    before = count_polls(sandbox, task)
    assert (await task.download(tmp_path / "a.mp4")).read_bytes() == VIDEO
    await task.download(tmp_path / "b.mp4")
    assert count_polls(sandbox, task) == before + 1
    assert task.record.coins


@pytest.mark.parametrize("way", ["download", "stream"])
async def test_no_result(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, way: str) -> None:
    """A task by id that is running, has failed, or is not known has no result, and the error says which task it was."""

    async def fetch(task_id: str) -> None:
        task = a2e.image_to_video.task(task_id)
        await (task.download(tmp_path / "a.mp4") if way == "download" else read(task))

    running, failed = [await paid_starts.start_video(a2e, prompt=prompt) for prompt in ("#stuck", "#fail")]
    await failed.wait_until_done(raise_on_failure=False)
    for task_id, error in [
        (running.id, TaskNotFinishedError),
        (failed.id, TaskFailedError),
        ("6927f1e7a1c5e4e0b5f0a3d2", NotFoundError),
    ]:
        with pytest.raises(A2EError) as caught:
            await fetch(task_id)
        assert type(caught.value) is error
        assert caught.value.task_id == task_id
    assert not list(tmp_path.iterdir())


# streams


async def test_stream(task: Any, storage: Storage) -> None:
    """A stream has all bytes, their number and their type, which is not that of the storage; and no link."""
    stream, content = await read(task)
    assert content == VIDEO
    assert (stream.size, stream.content_type, stream.status) == (len(VIDEO), "video/mp4", 200)
    assert stream.headers["ETag"] == '"v1"'
    assert "http" not in str(stream.headers) + repr(stream)
    assert storage.requested == [""]


async def test_closed_stream_is_not_read(task: Any, storage: Storage) -> None:
    """A stream that is read after its `async with` raises an error, and never hangs."""
    async with asyncio.timeout(5):
        async with task.stream() as stream:
            await anext(stream)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="async with"):
                await anext(stream)


@pytest.mark.parametrize("length", [True, False])
async def test_cut_stream_is_resumed(task: Any, storage: Storage, *, length: bool) -> None:
    """A stream that is cut requests the rest, and its reader sees nothing of that."""
    storage.cuts, storage.length = 2, length
    stream, content = await read(task)
    assert content == VIDEO
    assert stream.size == (len(VIDEO) if length else None)
    assert len(storage.requested) == 3


@pytest.mark.parametrize("change", ["content", "ranges"])
async def test_stream_that_cannot_be_resumed(task: Any, storage: Storage, change: str) -> None:
    """If the rest cannot be had, the reader gets an error and no bytes of another file."""
    storage.cuts = 1
    received = b""
    with pytest.raises(TransferError, match="start again") as caught:
        async with task.stream() as stream:
            if change == "content":
                storage.content, storage.etag = quick.MP4.ljust(300_000), '"v2"'
            storage.ranges = change == "content"
            async for chunk in stream:
                received += chunk
    assert caught.value.task_id == task.id
    assert VIDEO.startswith(received)
    assert len(received) < len(VIDEO)


@pytest.mark.parametrize("content", [PAGE, b"no video", b""], ids=["page", "short text", "empty"])
@pytest.mark.parametrize("byte_range", [None, "bytes=700-", "bytes=1-2"])
async def test_stream_of_something_else(task: Any, storage: Storage, content: bytes, byte_range: str | None) -> None:
    """What is no result raises an error when the stream is opened, also if only its middle is asked for."""
    storage.content = content
    storage.ranges = bool(content)
    with pytest.raises(TransferError):
        async with task.stream(byte_range=byte_range):
            pytest.fail("it was opened")


async def test_expired_link_of_a_stream(task: Any, sandbox: Sandbox) -> None:
    """A link that expires, also while a slow reader reads, is replaced by one poll; the signature may differ."""
    url = f"{sandbox.url}{PATH}"
    sandbox.tasks[task.id].result_url = f"{url}?signature=1"
    inner, valid = Storage(), "1"

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.query["signature"] != valid:
            return web.Response(status=403)
        return await inner(request)

    with sandbox.override("GET", "/videos", answer):
        await task.refresh()
        sandbox.tasks[task.id].result_url, valid = f"{url}?signature=2", "2"
        assert (await read(task))[1] == VIDEO
        inner.cuts, received = 1, b""
        async with task.stream() as stream:
            sandbox.tasks[task.id].result_url, valid = f"{url}?signature=3", "3"
            async for chunk in stream:
                received += chunk
        assert received == VIDEO


async def test_stream_continues_with_no_other_file(task: Any, sandbox: Sandbox) -> None:
    """If the new link leads to another file, a stream that has begun ends with an error."""
    dying = Storage()
    dying.cuts = 1

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=410) if dying.requested else await dying(request)

    with (
        sandbox.override("GET", PATH, answer),
        sandbox.override("GET", "/videos/other.mp4", Storage(quick.MP4 * 9000)),
        pytest.raises(TransferError, match="410"),
    ):
        async with task.stream() as stream:
            sandbox.tasks[task.id].result_url = f"{sandbox.url}/videos/other.mp4"
            async for _ in stream:
                pass


async def test_reader_that_leaves(task: Any, storage: Storage) -> None:
    """A reader that leaves early ends the transfer; tasks are not left behind (see the fixture)."""
    async with task.stream() as stream:
        await anext(stream)
    storage.held.clear()
    opening = asyncio.create_task(read(task))
    await wait_until(lambda: len(storage.requested) == 2)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    storage.held.set()


async def test_end_of_a_stream_is_repeated(task: Any, storage: Storage) -> None:
    """A stream that has ended stays ended."""
    async with task.stream() as stream:
        assert b"".join([chunk async for chunk in stream]) == VIDEO
        assert [chunk async for chunk in stream] == []


async def test_streams_end_with_the_waits(a2e: A2EClient, task: Any, storage: Storage) -> None:
    """`end_waits` ends open streams, those that are being opened, and later ones; downloads go on."""
    async with task.stream() as stream:
        storage.held.clear()
        opening = asyncio.create_task(read(task))
        await wait_until(lambda: len(storage.requested) == 2)
        await a2e.end_waits()
        await stream.wait_until_ended()
        with pytest.raises(ClientClosedError):
            await anext(stream)
        for late in (opening, read(task)):
            with pytest.raises(ClientClosedError):
                await late
    storage.held.set()
    assert (await task.download(io.BytesIO())).getvalue() == VIDEO


async def test_client_closed_during_a_stream(sandbox: Sandbox, task: Any, storage: Storage) -> None:
    """A stream ends with an error of this package if the client is closed."""
    async with paid_starts.make_client(sandbox) as other, other.image_to_video.task(task.id).stream() as stream:
        await other.aclose()
        with contextlib.suppress(TransferError, ClientClosedError):
            assert b"".join([chunk async for chunk in stream]) == VIDEO


async def test_streams_do_not_take_the_slots_of_downloads(
    sandbox: Sandbox, task: Any, storage: Storage, tmp_path: pathlib.Path
) -> None:
    """A paused video does not keep downloads waiting."""
    async with paid_starts.make_client(sandbox, max_downloads=1) as a2e:
        paused = a2e.image_to_video.task(task.id)
        async with paused.stream(), paused.stream():
            assert (await paused.download(tmp_path / "a.mp4")).read_bytes() == VIDEO


# ranges


@pytest.mark.parametrize(
    ("header", "first", "end"),
    [
        ("bytes=0-", 0, 300_000),
        ("bytes=0-1", 0, 2),
        ("bytes=1000-1999", 1000, 2000),
        ("Bytes = 299999 -", 299_999, 300_000),
        ("bytes=5-900000", 5, 300_000),
        ("bytes=-500", 299_500, 300_000),
        ("bytes=-900000", 0, 300_000),
    ],
)
@pytest.mark.parametrize("etag", ['"v1"', ""])
async def test_range(  # noqa: PLR0917  parameters and fixtures
    task: Any, storage: Storage, header: str, first: int, end: int, etag: str
) -> None:
    """A range has its bytes, and the headers of a response; only it and the first bytes are requested."""
    storage.etag = etag
    stream, content = await read(task, byte_range=header)
    assert content == VIDEO[first:end]
    assert (stream.status, stream.size, stream.content_type) == (206, end - first, "video/mp4")
    assert stream.headers["Content-Range"] == f"bytes {first}-{end - 1}/300000"
    assert stream.headers["Content-Length"] == str(end - first)
    assert storage.requested == ([""] if header == "bytes=0-" else ["bytes=0-511", f"bytes={first}-{end - 1}"])


@pytest.mark.parametrize(
    "header", ["bytes=", "bytes=-", "bytes=5-4", "bytes=0-1,5-9", "items=0-1", "bytes=a-b", "bytes=²-", "x" * 999, ""]
)
async def test_range_that_is_ignored(task: Any, storage: Storage, header: str) -> None:
    """The whole is sent if a range is not valid, or there are several."""
    stream, content = await read(task, byte_range=header)
    assert (stream.status, content) == (200, VIDEO)
    assert "Content-Range" not in stream.headers


@pytest.mark.parametrize("header", ["bytes=300000-", "bytes=999999-1000000", "bytes=-0"])
async def test_range_after_the_end(task: Any, storage: Storage, header: str) -> None:
    """A range after the end has no bytes, and the status 416 with the true length."""
    stream, content = await read(task, byte_range=header)
    assert (stream.status, stream.size, content) == (416, 0, b"")
    assert stream.headers["Content-Range"] == "bytes */300000"


async def test_cut_range_is_resumed(task: Any, storage: Storage) -> None:
    """A range that is cut requests only what is missing of it."""
    storage.cuts = 1
    _, content = await read(task, byte_range="bytes=1000-199999")
    assert content == VIDEO[1000:200_000]
    assert storage.requested[-1].endswith("-199999")
    assert 1000 < int(storage.requested[-1][6:].partition("-")[0]) <= 51_000


@pytest.mark.parametrize("length", [True, False])
async def test_storage_without_ranges(task: Any, storage: Storage, *, length: bool) -> None:
    """If the storage has no ranges, the whole is sent."""
    storage.ranges, storage.length = False, length
    stream, content = await read(task, byte_range="bytes=1000-1999")
    assert (stream.status, content) == (200, VIDEO)


@pytest.mark.parametrize(
    ("if_range", "etag", "status"),
    [
        ('"v1"', '"v1"', 206),
        ('"v0"', '"v1"', 200),
        ('W/"v1"', 'W/"v1"', 200),
        ("Thu, 13 Mar 2025 07:58:27 GMT", "", 200),
    ],
)
@pytest.mark.parametrize("header", ["bytes=0-", "bytes=1000-"])
async def test_if_range(  # noqa: PLR0917  parameters and fixtures
    task: Any, storage: Storage, if_range: str, etag: str, status: int, header: str
) -> None:
    """A visitor with a part of another version gets the whole."""
    storage.etag = etag
    stream, content = await read(task, byte_range=header, if_range=if_range)
    assert stream.status == status
    assert content == (VIDEO if status == 200 else VIDEO[int(header[6:-1]) :])


async def test_range_of_a_very_short_file(task: Any, storage: Storage) -> None:
    """A range of a file that is shorter than the bytes that are looked at."""
    storage.content = VIDEO[:100]
    assert (await read(task, byte_range="bytes=10-20"))[1] == VIDEO[10:21]


async def test_storage_that_loses_its_ranges(task: Any, sandbox: Sandbox) -> None:
    """If the storage sends the whole instead of the range, nothing of it is passed on."""
    storage = Storage()

    async def answer(request: web.Request) -> web.StreamResponse:
        storage.ranges = not storage.requested
        return await storage(request)

    with sandbox.override("GET", "/videos", answer), pytest.raises(TransferError):
        await read(task, byte_range="bytes=0-99")


async def test_range_must_be_a_text(task: Any, storage: Storage) -> None:
    """Another type is an error, and nothing is requested."""
    wrong: Any = 5
    with pytest.raises(InvalidRequestError, match="byte_range"):
        await read(task, byte_range=wrong)
    assert not storage.requested


def test_range_is_parsed() -> None:
    """The first range decides; a suffix has no first byte."""
    assert ByteRange.parse("bytes=-5") == ByteRange(None, 5)
    assert ByteRange.parse(None) is None


# shared transfers


async def all_at_once(storage: Storage, *downloads: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
    """Run downloads, all of which have begun before the storage answers."""
    storage.held.clear()
    running = asyncio.gather(*downloads, return_exceptions=return_exceptions)
    await asyncio.sleep(1)
    storage.held.set()
    return await running


async def test_two_downloads_share_a_transfer(
    a2e: A2EClient, sandbox: Sandbox, task: Any, storage: Storage, tmp_path: pathlib.Path
) -> None:
    """Downloads of one task to one path at the same time, also by other handles and paths, share poll and transfer."""
    (tmp_path / "x").mkdir()
    before = count_polls(sandbox, task)
    handles = [task, a2e.image_to_video.task(task.id), a2e.image_to_video.task(task.id)]
    paths = [tmp_path / "a.mp4", tmp_path / "x" / ".." / "a.mp4", str(tmp_path / "a.mp4")]
    downloads = (handle.download(path) for handle, path in zip(handles, paths, strict=True))
    results = await all_at_once(storage, *downloads)
    assert [str(each) for each in results] == [str(path) for path in paths]
    assert results[0].read_bytes() == VIDEO
    assert storage.requested == [""]
    assert count_polls(sandbox, task) == before + 1


async def test_client_downloads_share_a_transfer(
    a2e: A2EClient, sandbox: Sandbox, storage: Storage, tmp_path: pathlib.Path
) -> None:
    """Downloads of one link by the client share a transfer as well."""
    await all_at_once(storage, *(a2e.download(f"{sandbox.url}{PATH}", tmp_path / "a.mp4") for _ in range(3)))
    assert storage.requested == [""]


async def test_shared_transfer_fails_for_all(task: Any, storage: Storage, tmp_path: pathlib.Path) -> None:
    """The error of a shared transfer reaches all of its downloads; a later download begins again."""
    storage.content = PAGE
    downloads = (task.download(tmp_path / "a.mp4") for _ in range(3))
    results = await all_at_once(storage, *downloads, return_exceptions=True)
    assert all(isinstance(each, TransferError) for each in results)
    assert len(storage.requested) == 1
    storage.content = VIDEO
    assert (await task.download(tmp_path / "a.mp4")).read_bytes() == VIDEO


@pytest.mark.parametrize("leaver", [0, 1])
async def test_one_of_two_downloads_is_cancelled(
    task: Any, storage: Storage, tmp_path: pathlib.Path, leaver: int
) -> None:
    """The transfer goes on for the one that is left."""
    storage.held.clear()
    both = [asyncio.create_task(task.download(tmp_path / "a.mp4")) for _ in range(2)]
    await wait_until(lambda: storage.requested)
    both[leaver].cancel()
    with pytest.raises(asyncio.CancelledError):
        await both[leaver]
    storage.held.set()
    assert (await both[1 - leaver]).read_bytes() == VIDEO
    assert storage.requested == [""]


async def test_all_downloads_are_cancelled(task: Any, storage: Storage, tmp_path: pathlib.Path) -> None:
    """The transfer ends with the last one, leaves no file, and a download in that moment begins a new one."""
    storage.cuts, storage.kept = 0, 0
    storage.held.clear()
    both = [asyncio.create_task(task.download(tmp_path / "a.mp4")) for _ in range(2)]
    await wait_until(lambda: storage.requested)
    for each in both:
        each.cancel()
    await asyncio.sleep(0)
    storage.held.set()
    assert (await task.download(tmp_path / "a.mp4")).read_bytes() == VIDEO
    results = await asyncio.gather(*both, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in results)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert storage.requested == ["", ""]


async def test_other_task_to_the_same_path(a2e: A2EClient, task: Any, storage: Storage, tmp_path: pathlib.Path) -> None:
    """A download of another task to a path that is being written is rejected."""
    other = await paid_starts.start_video(a2e, prompt="#fast")
    await other.wait_until_done(10)
    storage.held.clear()
    first = asyncio.create_task(task.download(tmp_path / "a.mp4"))
    await wait_until(lambda: storage.requested)
    with pytest.raises(InvalidRequestError, match="another download"):
        await other.download(tmp_path / "a.mp4")
    storage.held.set()
    await first


@pytest.mark.parametrize("way", ["download", "open", "read"])
async def test_errors_are_freed(task: Any, storage: Storage, tmp_path: pathlib.Path, way: str) -> None:
    """An error of a download or stream is freed with its last reference, without the garbage collector."""
    storage.content, storage.ranges, storage.cuts = (VIDEO, False, 1) if way == "read" else (PAGE, True, 0)

    async def fail() -> weakref.ref[TransferError]:
        try:
            await (task.download(tmp_path / "a.mp4") if way == "download" else read(task))
        except TransferError as error:
            return weakref.ref(error)
        pytest.fail("it did not fail")

    gc.disable()
    try:
        freed = await fail()
        await asyncio.sleep(0.01)
        assert freed() is None
    finally:
        gc.enable()


# existing files


async def test_existing_file(
    a2e: A2EClient, sandbox: Sandbox, task: Any, storage: Storage, tmp_path: pathlib.Path
) -> None:
    """An existing file is an error, is kept without any request, or is replaced."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    before = len(sandbox.requests)
    with pytest.raises(InvalidRequestError, match='if_exists="overwrite"'):
        await task.download(path)
    assert await task.download(path, if_exists="keep") == path
    assert path.read_bytes() == b"old"
    assert len(sandbox.requests) == before
    assert (await task.download(path, if_exists="overwrite")).read_bytes() == VIDEO
    assert (await task.download(path, overwrite=True)).read_bytes() == VIDEO


async def test_keep_downloads_what_is_missing(task: Any, storage: Storage, tmp_path: pathlib.Path) -> None:
    """With "keep", a missing file is downloaded, once for many; one that another program makes meanwhile is kept."""
    path = tmp_path / "a.mp4"
    for _ in range(2):
        await asyncio.gather(*(task.download(path, if_exists="keep") for _ in range(5)))
    assert path.read_bytes() == VIDEO
    assert storage.requested == [""]
    path.unlink()
    storage.held.clear()
    download = asyncio.create_task(task.download(path, if_exists="keep"))
    await wait_until(lambda: len(storage.requested) == 2)
    path.write_bytes(b"of another process")
    storage.held.set()
    assert await download == path
    assert path.read_bytes() == b"of another process"
    assert [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and symbolic links")
async def test_keep_rejects_what_is_no_file(task: Any, storage: Storage, tmp_path: pathlib.Path) -> None:
    """With "keep", a folder or a pipe is no file to keep."""
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "nowhere.mp4").symlink_to(tmp_path / "missing")
    for path in (tmp_path, tmp_path / "pipe.mp4", tmp_path / "nowhere.mp4"):
        with pytest.raises(InvalidRequestError):
            await task.download(path, if_exists="keep")
    assert not storage.requested


async def test_different_rules_for_one_path(task: Any, storage: Storage, tmp_path: pathlib.Path) -> None:
    """Downloads with different rules run one after the other, and each one follows its own."""
    path = tmp_path / "a.mp4"
    first = asyncio.create_task(task.download(path))
    await wait_until(lambda: storage.requested)
    assert await task.download(path, if_exists="keep") == path
    assert storage.requested == [""]
    await first
    storage.held.clear()
    again = asyncio.create_task(task.download(path, if_exists="overwrite"))
    await wait_until(lambda: len(storage.requested) == 2)
    rejected = asyncio.create_task(task.download(path))
    storage.held.set()
    await again
    with pytest.raises(InvalidRequestError, match="exists"):
        await rejected


@pytest.mark.parametrize("value", ["replace", True, None, [], {}])
async def test_unknown_rule(task: Any, tmp_path: pathlib.Path, value: Any) -> None:
    """Any other rule is an error that lists those that exist."""
    with pytest.raises(InvalidRequestError, match="'error', 'keep', 'overwrite'"):
        await task.download(tmp_path / "a.mp4", if_exists=value)


# file objects


class AsyncBuffer:
    """A file whose `write` is a coroutine."""

    def __init__(self) -> None:
        self.content = b""

    async def write(self, data: bytes, /) -> int:
        """Take some of the bytes."""
        part = data[:10_000]
        self.content += part
        return len(part)


async def test_file_objects(task: Any, storage: Storage, tmp_path: pathlib.Path) -> None:
    """A file object gets all bytes behind what it has, also if it is async, unbuffered, or takes a part of them."""
    buffer = io.BytesIO(b"before")
    buffer.seek(0, io.SEEK_END)
    assert await task.download(buffer) is buffer
    assert buffer.getvalue() == b"before" + VIDEO
    assert (await task.download(AsyncBuffer())).content == VIDEO
    for buffering in (-1, 0):
        with (tmp_path / "a.mp4").open("wb", buffering=buffering) as file:
            await task.download(file)
        assert (tmp_path / "a.mp4").read_bytes() == VIDEO
    with tempfile.SpooledTemporaryFile(max_size=1000) as spooled:
        storage.cuts = 1
        await task.download(spooled)
        spooled.seek(0)
        assert spooled.read() == VIDEO


async def test_file_object_gets_no_page(task: Any, storage: Storage) -> None:
    """Nothing is written if the link leads to something else than a result."""
    storage.content = PAGE
    buffer = io.BytesIO()
    with pytest.raises(TransferError):
        await task.download(buffer)
    assert not buffer.getvalue()


@pytest.mark.parametrize("wrong", ["text", "temporary text", "reading", "closed", "object", "pathless"])
async def test_wrong_file_objects(task: Any, storage: Storage, tmp_path: pathlib.Path, wrong: str) -> None:
    """A file that is not open for writing bytes is an error of this package."""
    (tmp_path / "a").write_bytes(b"")
    with contextlib.ExitStack() as stack:
        closed = (tmp_path / "b").open("wb")
        closed.close()
        file: Any = {
            "text": stack.enter_context((tmp_path / "a").open("w")),
            "temporary text": stack.enter_context(tempfile.NamedTemporaryFile("w")),
            "reading": stack.enter_context((tmp_path / "a").open("rb")),
            "closed": closed,
            "object": object(),
            "pathless": b"a.mp4",
        }[wrong]
        with pytest.raises(TransferError if wrong == "closed" else InvalidRequestError):
            await task.download(file)


async def test_full_disk_behind_a_file_object(task: Any, storage: Storage) -> None:
    """An error of the object's write is a `TransferError`."""

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(TransferError, match="No space left"):
        await task.download(Full())
