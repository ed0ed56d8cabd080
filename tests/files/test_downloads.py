"""Downloads over bad connections and from odd storages: resumed, complete, and never a mixture of two files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import gzip
import os
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import attrs
import paid_starts
import pytest
import quick
import whole_files
from aiohttp import web
from conditions import wait_until

from a2e_async import A2EClient, A2EError, ConfigurationError, InvalidRequestError, TransferError
from a2e_async._aio import run_in_thread, wait_for_background
from a2e_async.files import partial_file
from a2e_async.files.partial_file import PartialFile
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from a2e_async import TaskHandle
    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Sandbox

MIB = 1024 * 1024
VIDEO = quick.MP4 + os.urandom(MIB - len(quick.MP4))
OTHER = quick.MP4 + os.urandom(MIB - len(quick.MP4))
CUT_AFTER = 100_000
"""Bytes after which a bad connection is cut."""


@attrs.define
class Cdn:
    """Fake CDN with one video; each field is something that some CDNs do.

    Attributes:
        video: The content.
        etag: Its ETag, empty if it has none.
        cut: Bytes after which the connection is closed.
        ranges: Whether ranges are supported.
        obeys_if_range: Whether If-Range is obeyed.
        sends_length: Whether the length is sent.
        after: Called when an response was cut.
        requested: Range and If-Range of each request.
    """

    video: bytes = VIDEO
    etag: str = '"v1"'
    cut: int | None = None
    ranges: bool = True
    obeys_if_range: bool = True
    sends_length: bool = True
    after: Callable[[Cdn], None] = lambda _: None
    requested: list[tuple[str, str]] = attrs.field(factory=list)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        self.requested.append((request.headers.get("Range", ""), request.headers.get("If-Range", "")))
        first = self._first(request)
        response = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        if first:
            response.set_status(206)
            response.headers["Content-Range"] = self._range(first)
        if self.etag:
            response.headers["ETag"] = self.etag
        if self.sends_length:
            response.content_length = len(self.video) - first
        return await self._send(request, response, self.video[first:])

    def _first(self, request: web.Request) -> int:
        range_header = request.headers.get("Range", "")
        outdated = self.obeys_if_range and request.headers.get("If-Range", self.etag) != self.etag
        return 0 if outdated or not self.ranges else int(range_header.removeprefix("bytes=").removesuffix("-") or 0)

    def _range(self, first: int) -> str:
        return f"bytes {first}-{len(self.video) - 1}/{len(self.video)}"

    async def _send(self, request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
        await response.prepare(request)
        await response.write(body[: self.cut])
        if self.cut is not None and self.cut < len(body):
            self.after(self)
            assert request.transport is not None
            request.transport.close()
        return response

    @property
    def firsts(self) -> list[int]:
        """First bytes of the requested ranges."""
        return [int(range_header.removeprefix("bytes=").removesuffix("-") or 0) for range_header, _ in self.requested]


@pytest.fixture
def target(tmp_path: pathlib.Path) -> pathlib.Path:
    """Target of a download, alone in its folder."""
    return tmp_path / "x.mp4"


def names(target: pathlib.Path) -> list[str]:
    """List the folder of a target."""
    return sorted(item.name for item in target.parent.iterdir())


async def download_from(a2e: A2EClient, sandbox: Sandbox, cdn: Any, target: pathlib.Path) -> bytes:
    """Download from a CDN and return the content."""
    with sandbox.override("GET", "/videos", cdn):
        await a2e.download(f"{sandbox.url}/videos/x.mp4", target)
    assert names(target) == [target.name]
    return target.read_bytes()


# resumed


async def test_cut_download_is_resumed(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """After a cut the download requests the rest, on condition that the file is still the same."""
    cdn = Cdn(cut=CUT_AFTER, after=lambda cdn: setattr(cdn, "cut", None))
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    first, rest = cdn.requested
    assert first == ("", "")
    assert 0 < cdn.firsts[1] <= CUT_AFTER
    assert rest == (f"bytes={cdn.firsts[1]}-", '"v1"')


async def test_connection_that_is_always_cut(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """While each attempt makes progress, there is no limit on attempts."""
    cdn = Cdn(cut=CUT_AFTER)
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    assert len(cdn.requested) >= MIB // CUT_AFTER > quick.CONFIG.retry.max_attempts
    assert cdn.firsts == sorted(set(cdn.firsts))


async def test_attempts_without_progress_count(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """Without progress the download fails after as many attempts as the policy allows."""
    cdn = Cdn(cut=CUT_AFTER, after=lambda cdn: setattr(cdn, "cut", 0))
    with pytest.raises(TransferError, match="cut off"):
        await download_from(a2e, sandbox, cdn, target)
    assert len(cdn.requested) == quick.CONFIG.retry.max_attempts
    assert not names(target)


async def test_starting_again_forever_fails(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """With a storage without ranges that always stops at the same byte, the download fails: that is no progress."""
    cdn = Cdn(cut=CUT_AFTER, ranges=False)
    with pytest.raises(TransferError, match="cut off"):
        await download_from(a2e, sandbox, cdn, target)
    assert len(cdn.requested) <= 2 * quick.CONFIG.retry.max_attempts
    assert not names(target)


async def test_single_attempt_is_a_single_attempt(sandbox: Sandbox, target: pathlib.Path) -> None:
    """With max_attempts=1 there is one attempt, also if it made progress."""
    cdn = Cdn(cut=CUT_AFTER)
    async with paid_starts.make_client(sandbox, retry=attrs.evolve(quick.CONFIG.retry, max_attempts=1)) as a2e:
        with pytest.raises(TransferError, match="cut off"):
            await download_from(a2e, sandbox, cdn, target)
    assert len(cdn.requested) == 1


async def test_download_that_stalls(sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that stalls is resumed over another connection."""
    cdn, ended = Cdn(), asyncio.Event()

    async def stall(request: web.Request) -> web.StreamResponse:
        if cdn.requested:
            ended.set()
            return await cdn(request)
        cdn.requested.append(("", ""))
        response = web.StreamResponse(headers={"ETag": cdn.etag, "Content-Length": str(MIB)})
        await response.prepare(request)
        await response.write(VIDEO[:CUT_AFTER])
        await ended.wait()
        return response

    async with paid_starts.make_client(sandbox, transfer_timeout=1.0) as a2e:
        assert await download_from(a2e, sandbox, stall, target) == VIDEO
    assert cdn.requested[1] == (f"bytes={CUT_AFTER}-", '"v1"')


async def test_few_bytes_with_each_request(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """With a storage that cuts each response after a few bytes the download ends: that is no progress."""
    cdn = Cdn(cut=100)
    with pytest.raises(TransferError, match="cut off"):
        await download_from(a2e, sandbox, cdn, target)
    assert len(cdn.requested) == quick.CONFIG.retry.max_attempts
    assert not names(target)


async def test_download_that_drips(sandbox: Sandbox, target: pathlib.Path) -> None:
    """A host that sends a byte now and then, so that it never is silent, does not keep a download at work forever."""
    requests = 0

    async def drip(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        response = web.StreamResponse(headers={"Content-Length": str(MIB), "ETag": '"v1"'})
        await response.prepare(request)
        for number in range(MIB):
            if request.transport is None:
                break
            await response.write(VIDEO[number : number + 1])
            await asyncio.sleep(0.1)
        return response

    retry = attrs.evolve(quick.CONFIG.retry, max_attempts=2)
    async with paid_starts.make_client(sandbox, transfer_timeout=0.5, retry=retry) as a2e:
        with pytest.raises(TransferError, match=r"sent only \d bytes in 0\.5 s"):
            await download_from(a2e, sandbox, drip, target)
    assert requests == 2
    assert not names(target)


async def test_headers_that_drip(sandbox: Sandbox, target: pathlib.Path) -> None:
    """A host that never ends its headers, and sends some now and then, does not either."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"x: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    retry = attrs.evolve(quick.CONFIG.retry, max_attempts=1)
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with paid_starts.make_client(sandbox, connect_timeout=0.2, transfer_timeout=0.3, retry=retry) as a2e:
        with pytest.raises(TransferError, match="timed out"):
            await a2e.download(f"http://127.0.0.1:{port}/x.mp4", target)
    server.close()
    await ended.wait()
    await run_loop(2)


async def test_faults_at_the_cdn(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download survives all transient faults, and requests only the rest."""
    image = quick.PNG + VIDEO
    url = await a2e.upload(image)
    sandbox.faults = FaultPlan(
        script={"cdn": [Fault("short"), Fault("drop"), Fault("status", status=503), Fault("short"), Fault("429")]}
    )
    target = await a2e.download(url, target.with_suffix(".png"))
    assert target.read_bytes() == image
    assert [seen.status for seen in sandbox.requests][-6:] == [200, 0, 503, 206, 429, 206]


async def test_result_that_breaks_off(a2e: A2EClient, target: pathlib.Path) -> None:
    """A result of which only the rest can still be had arrives complete."""
    task = await paid_starts.start_video(a2e, prompt="#fast #short")
    await task.wait_until_done(10)
    assert (await task.download(target)).stat().st_size > 1000


# what else can come instead of the rest


async def test_file_that_has_changed(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A file that is another one after the cut is taken from its beginning."""

    def change(cdn: Cdn) -> None:
        cdn.video, cdn.etag, cdn.cut = OTHER, '"v2"', None

    cdn = Cdn(cut=CUT_AFTER, after=change)
    assert await download_from(a2e, sandbox, cdn, target) == OTHER
    assert len(cdn.requested) == 2


async def test_changed_file_of_a_careless_storage(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """The rest of another file is not appended, even if a storage does not mind If-Range."""

    def change(cdn: Cdn) -> None:
        cdn.video, cdn.etag, cdn.cut = OTHER, '"v2"', None

    cdn = Cdn(cut=CUT_AFTER, obeys_if_range=False, after=change)
    assert await download_from(a2e, sandbox, cdn, target) == OTHER
    assert cdn.firsts[2:] == [0]


async def test_shorter_file_after_the_cut(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A shorter file that replaces a longer one during the download has no bytes of the longer one."""

    def change(cdn: Cdn) -> None:
        cdn.video, cdn.etag, cdn.cut = OTHER[:1000], '"v2"', None

    two_writes = quick.MP4 + os.urandom(3 * MIB)
    cdn = Cdn(video=two_writes, cut=len(two_writes) - CUT_AFTER, after=change)
    assert await download_from(a2e, sandbox, cdn, target) == OTHER[:1000]


@pytest.mark.parametrize("etag", ["", 'W/"v1"'], ids=["no ETag", "weak ETag"])
async def test_length_counts_without_a_strong_etag(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, etag: str
) -> None:
    """Without a strong ETag the rest is requested without a condition, and the length must be the same."""
    cdn = Cdn(etag=etag, cut=CUT_AFTER, after=lambda cdn: setattr(cdn, "cut", None))
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    assert cdn.requested[1][0].startswith("bytes=")
    assert cdn.requested[1][1] == ""


async def test_unknown_length_and_no_etag(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """Without length and ETag the rest cannot be identified, so the file is downloaded again."""
    cdn = Cdn(etag="", sends_length=False, cut=CUT_AFTER, after=lambda cdn: setattr(cdn, "cut", None))
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    assert cdn.requested == [("", ""), ("", "")]


async def test_unknown_length_with_an_etag(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A file of unknown length is resumed if its ETag is known."""
    cdn = Cdn(sends_length=False, cut=CUT_AFTER)
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    assert all(firsts > 0 for firsts in cdn.firsts[1:])


@attrs.define
class OddCdn(Cdn):
    """Fake CDN with an odd response to the first request for a range."""

    odd: Callable[[int], web.Response] = lambda _: web.Response()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        first = self._first(request)
        if first and self.cut is not None:
            self.requested.append((request.headers["Range"], ""))
            self.cut = None
            return self.odd(first)
        return await Cdn.__call__(self, request)


def part_of(content_range: str, body: bytes) -> web.Response:
    """Return an response with a partial of a file."""
    return web.Response(status=206, headers={"Content-Range": content_range, "ETag": '"v1"'}, body=body)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda n: part_of(f"bytes {n + 1}-{MIB - 1}/{MIB}", VIDEO[n + 1 :]), id="begins too late"),
        pytest.param(lambda n: part_of(f"bytes 0-{MIB - 1}/{MIB}", VIDEO), id="begins too early"),
        pytest.param(lambda n: part_of(f"bytes {n}-{MIB}/{MIB + 1}", VIDEO[n:] + b"x"), id="another length"),
        pytest.param(lambda n: part_of("bytes */*", VIDEO[n:]), id="no range"),
        pytest.param(lambda n: part_of(f"bytes {n}-{MIB - 1}/{MIB}", VIDEO[n:-1]), id="shorter than its range"),
        pytest.param(lambda n: web.Response(status=206, body=VIDEO[n:]), id="no Content-Range"),
        pytest.param(lambda n: web.Response(status=416, headers={"Content-Range": f"bytes */{n}"}), id="416"),
    ],
)
async def test_odd_answer_to_a_range(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, odd: Callable[[int], web.Response]
) -> None:
    """An response that is not the rest is not appended: the file is downloaded again."""
    cdn = OddCdn(cut=CUT_AFTER, odd=odd)
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    assert cdn.firsts[0] == cdn.firsts[2] == 0


async def test_part_of_the_rest(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A storage that sends the rest in parts is requested for all of them."""

    class PartsCdn(Cdn):
        def _range(self, first: int) -> str:
            return f"bytes {first}-{min(first + CUT_AFTER, MIB) - 1}/{MIB}"

        async def _send(self, request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
            if response.status == 206:
                body = body[:CUT_AFTER]
                response.content_length = len(body)
            else:
                self.after = lambda cdn: setattr(cdn, "cut", None)
            return await super()._send(request, response, body)

    cdn = PartsCdn(cut=CUT_AFTER)
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    assert len(cdn.requested) >= MIB // CUT_AFTER


async def test_more_than_the_rest(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """After a body longer than announced, the file is downloaded again."""

    class TooLongCdn(Cdn):
        async def _send(self, request: web.Request, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
            if response.status == 206:
                response.headers.popall("Content-Length")
                body += b"and more"
            return await super()._send(request, response, body)

    cdn = TooLongCdn(cut=CUT_AFTER, after=lambda cdn: setattr(cdn, "cut", None))
    assert await download_from(a2e, sandbox, cdn, target) == VIDEO
    assert cdn.firsts[2:] == [0]


async def test_compressed_answer(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A compressed response, with the length of the compressed bytes, still gives the complete video."""
    encodings: list[str | None] = []

    async def compressed(request: web.Request) -> web.Response:
        encodings.append(request.headers.get("Accept-Encoding"))
        return web.Response(body=gzip.compress(VIDEO), headers={"Content-Encoding": "gzip", "ETag": '"v1"'})

    assert await download_from(a2e, sandbox, compressed, target) == VIDEO
    assert encodings == ["identity"]


async def test_page_instead_of_the_rest(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A web page instead of the rest is an error, and no partial file is left."""
    cdn = OddCdn(cut=CUT_AFTER, odd=lambda _: web.Response(text="<html>Please wait", content_type="text/html"))
    with pytest.raises(TransferError, match="instead of a video"):
        await download_from(a2e, sandbox, cdn, target)
    assert not names(target)


async def test_status_of_a_storage_that_is_not_available(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path
) -> None:
    """The error has the status of the storage."""
    with pytest.raises(TransferError, match="not available") as caught:
        await download_from(a2e, sandbox, lambda _: web.Response(status=503), target)
    assert caught.value.status == 503


# links that have expired


async def finished(a2e: A2EClient) -> TaskHandle[ImageToVideoRecord]:
    """Return a task with a result."""
    task = await paid_starts.start_video(a2e, prompt="#fast")
    await task.wait_until_done(10)
    return task


def path_of(sandbox: Sandbox, link: str) -> str:
    """Return the path of a link of the sandbox."""
    return link.removeprefix(sandbox.url)


def count_polls(sandbox: Sandbox, task: TaskHandle[ImageToVideoRecord]) -> int:
    """Count the polls of this task alone."""
    return paid_starts.count_requests(sandbox, f"{quick.FAMILY_PATH}/{task.id}")


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_expired_link_is_replaced(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, status: int) -> None:
    """If the link has expired, the record is polled, and its new link is used."""
    task = await finished(a2e)
    old = task.record.result_url
    sandbox.tasks[task.id].result_url = f"{sandbox.url}/videos/fresh.mp4"
    before = count_polls(sandbox, task)
    with (
        sandbox.override("GET", path_of(sandbox, old), web.Response(status=status)),
        sandbox.override("GET", "/videos/fresh.mp4", Cdn()),
    ):
        await task.download(target)
    assert target.read_bytes() == VIDEO
    assert task.record.result_url.endswith("fresh.mp4")
    assert count_polls(sandbox, task) == before + 1


async def test_expired_link_without_a_fresh_one(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """If A2E has no other link, the download's error is raised, after one poll and one attempt."""
    task = await finished(a2e)
    link, before = path_of(sandbox, task.record.result_url), count_polls(sandbox, task)
    with (
        sandbox.override("GET", link, lambda _: web.Response(status=410)),
        pytest.raises(TransferError, match="410") as caught,
    ):
        await task.download(target)
    assert (caught.value.status, caught.value.task_id) == (410, task.id)
    assert count_polls(sandbox, task) == before + 1
    assert paid_starts.count_requests(sandbox, link) == 1


async def test_link_that_has_vanished_from_the_record(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A record without a link does not hide the error of the old link."""
    task = await finished(a2e)
    link = path_of(sandbox, task.record.result_url)
    sandbox.tasks[task.id].result_url = ""
    with sandbox.override("GET", link, web.Response(status=404)), pytest.raises(TransferError, match="404"):
        await task.download(target)


async def test_fresh_link_that_has_expired_as_well(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """The record is polled once; the error is that of the second link, with the id of the task."""
    task = await finished(a2e)
    old, before = path_of(sandbox, task.record.result_url), count_polls(sandbox, task)
    sandbox.tasks[task.id].result_url = f"{sandbox.url}/videos/fresh.mp4"
    with (
        sandbox.override("GET", old, web.Response(status=403)),
        sandbox.override("GET", "/videos/fresh.mp4", web.Response(status=404)),
        pytest.raises(TransferError, match="404") as caught,
    ):
        await task.download(target)
    assert (caught.value.status, caught.value.task_id) == (404, task.id)
    assert count_polls(sandbox, task) == before + 1


async def test_poll_for_a_new_link_that_fails(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """If the poll fails, the download's error is raised."""
    task = await finished(a2e)
    link = path_of(sandbox, task.record.result_url)
    with (
        sandbox.override("GET", link, web.Response(status=403)),
        sandbox.override("GET", quick.FAMILY_PATH, lambda _: web.Response(status=400)),
        pytest.raises(TransferError, match="403") as caught,
    ):
        await task.download(target)
    assert caught.value.task_id == task.id


async def test_other_errors_do_not_poll(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that fails for another reason does not poll the record."""
    task = await finished(a2e)
    link, before = path_of(sandbox, task.record.result_url), count_polls(sandbox, task)
    with sandbox.override("GET", link, web.Response(status=401)), pytest.raises(TransferError, match="401"):
        await task.download(target)
    assert count_polls(sandbox, task) == before


async def test_link_that_expires_during_the_download(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A link that expires before the rest is downloaded is replaced too, and the two files are not mixed."""
    task = await finished(a2e)
    old = path_of(sandbox, task.record.result_url)
    sandbox.tasks[task.id].result_url = f"{sandbox.url}/videos/fresh.mp4"
    dying = OddCdn(video=OTHER, cut=CUT_AFTER, odd=lambda _: web.Response(status=403))
    with sandbox.override("GET", old, dying), sandbox.override("GET", "/videos/fresh.mp4", Cdn()):
        await task.download(target)
    assert target.read_bytes() == VIDEO
    assert names(target) == ["x.mp4"]


# concurrency


@attrs.define
class ConcurrencyCounter:
    """Handler that counts concurrent requests, and answers each only when released.

    Attributes:
        paths: The requested paths, in order.
        most: The largest number of concurrent requests.
    """

    paths: list[str] = attrs.field(factory=list)
    most: int = 0
    _now: int = 0
    _places: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer when released."""
        self.paths.append(request.path)
        self._now += 1
        self.most = max(self.most, self._now)
        await self._places.acquire()
        self._now -= 1
        return web.Response(body=quick.MP4 + b"video")

    def release(self, count: int = 1) -> None:
        """Let some requests be answered."""
        for _ in range(count):
            self._places.release()


async def test_concurrent_downloads_are_limited(sandbox: Sandbox, target: pathlib.Path) -> None:
    """At most `max_downloads` downloads run at the same time; the others follow."""
    counter = ConcurrencyCounter()
    async with paid_starts.make_client(sandbox, max_downloads=2) as a2e, asyncio.TaskGroup() as group:
        with sandbox.override("GET", "/videos", counter):
            tasks = [
                group.create_task(a2e.download(f"{sandbox.url}/videos/{number}", target.with_name(str(number))))
                for number in range(6)
            ]
            await wait_until(lambda: len(counter.paths) == 2)
            counter.release(6)
            await asyncio.wait(tasks)
    assert counter.most == 2
    assert names(target) == [str(number) for number in range(6)]


async def test_cancelled_download_frees_its_slot(sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that is cancelled, running or waiting, gives its slot to the next one."""
    counter = ConcurrencyCounter()
    async with paid_starts.make_client(sandbox, max_downloads=1) as a2e:
        with sandbox.override("GET", "/videos", counter):
            tasks = {
                f"/videos/{number}": asyncio.create_task(
                    a2e.download(f"{sandbox.url}/videos/{number}", target.with_name(str(number)))
                )
                for number in range(4)
            }
            await wait_until(lambda: len(counter.paths) == 1)
            running = tasks.pop(counter.paths[0])
            _, waiting = tasks.popitem()
            for task in (running, waiting):
                task.cancel()
            await wait_until(lambda: len(counter.paths) == 2)
            counter.release(3)
            done = await asyncio.gather(*tasks.values())
            await asyncio.wait([running, waiting])
    assert running.cancelled()
    assert waiting.cancelled()
    assert names(target) == sorted(path.name for path in done)


async def test_concurrent_uploads_are_limited(sandbox: Sandbox) -> None:
    """At most `max_uploads` uploads run at the same time, including the request for a link."""
    counter = ConcurrencyCounter()

    async def block(request: web.Request) -> None:
        await counter(request)

    async with paid_starts.make_client(sandbox, max_uploads=2) as a2e, asyncio.TaskGroup() as group:
        with sandbox.override("POST", paid_starts.PRESIGN_PATH, block):
            uploads = [group.create_task(a2e.upload(quick.PNG)) for _ in range(5)]
            await wait_until(lambda: len(counter.paths) == 2)
            counter.release(5)
            await asyncio.wait(uploads)
    assert counter.most == 2
    assert paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH) == 5


@pytest.mark.parametrize("name", ["max_downloads", "max_uploads", "max_upload_bytes"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "8"])
def test_limits_are_positive_integers(name: str, value: Any) -> None:
    """A limit that is not a positive integer raises ConfigurationError when the client is made."""
    with pytest.raises(ConfigurationError, match=f"Config.{name}"):
        A2EClient("sk_x", config=attrs.evolve(quick.CONFIG, **{name: value}))


# threads and clean-up


class Barrier:
    """Blocks a disk step in its thread until it is opened. No virtual time passes meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._entered, self._opened = asyncio.Event(), threading.Event()
        real, loop = getattr(partial_file, name), asyncio.get_running_loop()

        def blocked(*args: Any, **options: Any) -> Any:
            loop.call_soon_threadsafe(self._entered.set)
            assert self._opened.wait(30)
            return real(*args, **options)

        monkeypatch.setattr(partial_file, name, blocked)

    async def reached(self) -> None:
        """Wait until a thread is blocked."""
        await self._entered.wait()

    def open(self) -> None:
        """Unblock the thread."""
        self._opened.set()


async def run_loop(count: int) -> None:
    """Let the event loop run some iterations, with the callbacks of threads and sockets."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def no_open_files() -> Iterator[None]:
    """Fail a test that leaves an open file to the garbage collector, which warns of it."""
    yield
    gc.collect()


@pytest.mark.usefixtures("no_open_files")
@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("step", ["open_partial", "append", "truncate", "rename", "discard"])
async def test_cancelled_during_a_step_of_a_thread(  # noqa: PLR0917  two parameters, and the fixtures
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch, step: str, times: int
) -> None:
    """A download cancelled twice ends when its thread is done, and cancelled again at once: no partial or open file."""
    barrier = Barrier(monkeypatch, step)
    video = quick.MP4 + os.urandom(3 * MIB)
    cdn = Cdn(video=video, cut=len(video) - 1 if step in {"truncate", "discard"} else None, ranges=False)
    with sandbox.override("GET", "/videos", cdn):
        download = asyncio.create_task(a2e.download(f"{sandbox.url}/videos/x.mp4", target))
        await barrier.reached()
        for _ in range(times):
            download.cancel()
            await asyncio.sleep(0)
        await run_loop(3)
        assert download.done() is (times > 2 or step == "discard")  # the file is removed after a first cancellation
        barrier.open()
        with pytest.raises(asyncio.CancelledError):
            await download
        await wait_for_background()
    assert names(target) == (["x.mp4"] if step == "rename" else [])


async def test_failed_step_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio does not log the exception of a step whose download was given up."""

    def fail() -> None:
        msg = "No space left on device"
        raise TransferError(msg)

    async def wait() -> None:
        await asyncio.shield(run_in_thread(fail))

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.to_thread(list)  # the thread has ended the step before this one
    await run_loop(3)
    gc.collect()
    assert not caplog.records


@pytest.mark.usefixtures("no_open_files")
@pytest.mark.parametrize("pause", [None, 0, 5], ids=["once", "twice at once", "twice"])
async def test_cancelled_at_any_time(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, pause: int | None) -> None:
    """A download cancelled at any moment, once or twice, leaves the complete file or nothing."""
    video = quick.MP4 + os.urandom(4 * MIB)

    def begin_download() -> asyncio.Task[pathlib.Path]:
        return asyncio.create_task(a2e.download(f"{sandbox.url}/videos/x.mp4", target, if_exists="overwrite"))

    with sandbox.override("GET", "/videos", lambda _: web.Response(body=video)):
        complete, turns = begin_download(), 0
        while not complete.done():
            await asyncio.sleep(0)
            turns += 1
        assert (await complete).read_bytes() == video
        target.unlink()
        for moment in range(40):
            download = begin_download()
            await run_loop(turns * moment // 35)
            download.cancel()
            if pause is not None:
                await run_loop(pause)
                download.cancel()
            await asyncio.wait([download])
            left = names(target)
            assert left in ([], ["x.mp4"])
            assert not left or target.read_bytes() == video


@pytest.mark.usefixtures("no_open_files")
async def test_upload_cancelled_while_its_file_is_opened(
    a2e: A2EClient, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that is cancelled twice while a thread opens the image leaves no open file."""
    target.write_bytes(whole_files.IMAGES["gif"] + bytes(1024 * 1024))  # large, and of a type without metadata
    barrier = Barrier(monkeypatch, "open_checked")
    upload = asyncio.create_task(a2e.upload(target))
    await barrier.reached()
    for _ in range(2):
        upload.cancel()
        await asyncio.sleep(0)
    assert not upload.done()
    barrier.open()
    with pytest.raises(asyncio.CancelledError):
        await upload


@pytest.mark.usefixtures("no_open_files")
async def test_client_closed_during_downloads(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """Closing the client ends all downloads, running or waiting, with an A2EError, and leaves no file."""
    counter = ConcurrencyCounter()
    with sandbox.override("GET", "/videos", counter):
        tasks = [
            asyncio.create_task(a2e.download(f"{sandbox.url}/videos/{number}", target.with_name(str(number))))
            for number in range(12)
        ]
        await wait_until(lambda: len(counter.paths) == quick.CONFIG.max_downloads)
        await a2e.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        counter.release(len(counter.paths))
    assert all(isinstance(result, A2EError) for result in results)
    assert not names(target)


async def test_disk_slower_than_the_network(target: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Received bytes are buffered up to a limit; then the download waits for the disk."""
    barrier = Barrier(monkeypatch, "append")
    chunk = bytes(partial_file._MIN_WRITE)
    async with PartialFile(target) as partial:
        await partial.write(chunk)
        await barrier.reached()
        for _ in range(partial_file._MAX_BUFFERED // len(chunk) - 1):
            await partial.write(chunk)
        one_more = asyncio.create_task(partial.write(chunk))
        await run_loop(20)
        assert not one_more.done()
        barrier.open()
        await one_more
        size = len(chunk) * (partial_file._MAX_BUFFERED // len(chunk) + 1)
        await partial.commit(size=size, overwrite=False)
    assert names(target) == ["x.mp4"]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be told to begin")
@pytest.mark.parametrize("works", [True, False])
async def test_disk_begins_during_the_download(
    target: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, works: bool
) -> None:
    """The disk begins with each part of a large file while the next one arrives, as far as it can."""
    parts: list[tuple[int, int]] = []

    def begin(_: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        parts.append((offset, offset + length))
        if not works:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "posix_fadvise", begin)
    async with PartialFile(target) as partial:
        await partial.write(VIDEO)
        await partial.truncate()
        for _ in range(20):
            await partial.write(VIDEO)
        await partial.commit(size=20 * MIB, overwrite=False)
    assert target.read_bytes() == VIDEO * 20
    assert [begin for begin, _ in parts] == [0, *(end for _, end in parts[:-1])]
    assert parts[-1][1] > 20 * MIB - partial_file._MAX_UNSYNCED


async def test_disk_error_is_raised_by_the_next_write(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends the download at the next write, without a retry."""
    writes = 0

    def full(*_: object) -> None:
        nonlocal writes
        writes += 1
        msg = "No space left on device"
        raise TransferError(msg)

    monkeypatch.setattr(partial_file, "append", full)
    cdn = Cdn(video=quick.MP4 + os.urandom(8 * MIB))
    with pytest.raises(TransferError, match="No space left"):
        await download_from(a2e, sandbox, cdn, target)
    assert writes == len(cdn.requested) == 1
    assert not names(target)


async def test_partial_file_written_by_another_program(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A partial file that another program changes does not become the final file."""

    async def meddle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(2 * MIB)})
        await response.prepare(request)
        await response.write(VIDEO)
        await wait_until(lambda: names(target))
        with target.with_name(names(target)[0]).open("ab") as file:
            file.truncate(5 * MIB)
        await response.write(VIDEO)
        return response

    with pytest.raises(TransferError, match="another program"):
        await download_from(a2e, sandbox, meddle, target)
    assert not names(target)


async def test_one_file_by_two_paths(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download of another link to the same file is rejected, also with another path to it."""
    (target.parent / "folder").mkdir()
    same = target.parent / "folder" / ".." / "x.mp4"
    with sandbox.override("GET", "/videos", Cdn()):
        downloads = (a2e.download(f"{sandbox.url}/videos/{path.parent.name}.mp4", path) for path in (target, same))
        results = await asyncio.gather(*downloads, return_exceptions=True)
    (rejected,) = (result for result in results if isinstance(result, InvalidRequestError))
    assert "another download" in str(rejected)
    assert target.read_bytes() == VIDEO


@pytest.mark.parametrize("cut", [None, CUT_AFTER], ids=["succeeds", "fails"])
async def test_partial_file_of_another_program_is_kept(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, cut: int | None
) -> None:
    """A download, good or failed, touches neither a file `x.mp4.part` nor the file behind a link of that name."""
    precious = target.with_name("precious.txt")
    precious.write_text("mine")
    for name in ("x.mp4.part", "link.mp4.part"):
        target.with_name(name).write_text("mine") if name[0] == "x" else target.with_name(name).symlink_to(precious)
    cdn = Cdn(cut=cut, after=lambda cdn: setattr(cdn, "cut", 0))
    with sandbox.override("GET", "/videos", cdn):
        for name in ("x.mp4", "link.mp4"):
            cdn.cut = cut
            done = asyncio.gather(
                a2e.download(f"{sandbox.url}/videos/x.mp4", target.with_name(name)), return_exceptions=True
            )
            (result,) = await done
            assert isinstance(result, TransferError) is (cut is not None)
    assert precious.read_text() == target.with_name("x.mp4.part").read_text() == "mine"
    made = [] if cut else ["link.mp4", "x.mp4"]
    assert names(target) == sorted(["link.mp4.part", "precious.txt", "x.mp4.part", *made])


async def test_complete_download_removes_nothing(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the rename nothing is removed."""
    removed: list[object] = []
    monkeypatch.setattr(partial_file, "discard", removed.append)
    await download_from(a2e, sandbox, Cdn(), target)
    assert not removed


async def test_memory_stays_flat(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download of 80 MiB needs less than 12 MiB of memory."""

    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(80 * MIB), "Content-Type": "text/plain"})
        await response.prepare(request)
        for _ in range(80):
            await response.write(VIDEO)
        return response

    with sandbox.override("GET", "/videos", large):
        tracemalloc.start()
        try:
            await a2e.download(f"{sandbox.url}/videos/x.mp4", target)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert target.stat().st_size == 80 * MIB
    assert peak < 12 * MIB
