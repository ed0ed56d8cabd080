"""Downloads over bad lines and from odd storages: gone on with where they were cut off, whole, and never a mixture."""

from __future__ import annotations

import asyncio
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
from aiohttp import web
from conditions import wait_until

from a2e_async import A2EClient, A2EError, ConfigurationError, InvalidRequestError, TransferError
from a2e_async._aio import begin, outlast
from a2e_async.files import partial_file
from a2e_async.files import partial_file as part_module
from a2e_async.files.partial_file import Part
from a2e_async.sandbox import Fault, Weather

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from a2e_async import TaskHandle
    from a2e_async.models import ImageToVideoRecord
    from a2e_async.sandbox import Sandbox

MIB = 1024 * 1024
FILM = os.urandom(MIB)
OTHER = os.urandom(MIB)
PIECE = 100_000
"""Bytes after which a bad line is cut."""


@attrs.define
class Cdn:
    """Serves a video as CDNs do; each field is something that goes wrong at some of them.

    Attributes:
        video: What there is.
        etag: Its version, empty if it has none.
        cut: Bytes after which the connection is closed.
        ranges: Whether ranges are served.
        minds: Whether If-Range is obeyed.
        told: Whether the length is told.
        after: Is called when an answer was cut off.
        asked: Range and If-Range of each request.
    """

    film: bytes = FILM
    etag: str = '"v1"'
    cut: int | None = None
    ranges: bool = True
    minds: bool = True
    told: bool = True
    after: Callable[[Cdn], None] = lambda _: None
    asked: list[tuple[str, str]] = attrs.field(factory=list)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        self.asked.append((request.headers.get("Range", ""), request.headers.get("If-Range", "")))
        first = self._first(request)
        answer = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        if first:
            answer.set_status(206)
            answer.headers["Content-Range"] = self._range(first)
        if self.etag:
            answer.headers["ETag"] = self.etag
        if self.told:
            answer.content_length = len(self.film) - first
        return await self._send(request, answer, self.film[first:])

    def _first(self, request: web.Request) -> int:
        wanted = request.headers.get("Range", "")
        outdated = self.minds and request.headers.get("If-Range", self.etag) != self.etag
        return 0 if outdated or not self.ranges else int(wanted.removeprefix("bytes=").removesuffix("-") or 0)

    def _range(self, first: int) -> str:
        return f"bytes {first}-{len(self.film) - 1}/{len(self.film)}"

    async def _send(self, request: web.Request, answer: web.StreamResponse, body: bytes) -> web.StreamResponse:
        await answer.prepare(request)
        await answer.write(body[: self.cut])
        if self.cut is not None and self.cut < len(body):
            self.after(self)
            assert request.transport is not None
            request.transport.close()
        return answer

    @property
    def firsts(self) -> list[int]:
        """Where the ranges that were asked for begin."""
        return [int(wanted.removeprefix("bytes=").removesuffix("-") or 0) for wanted, _ in self.asked]


@pytest.fixture
def target(tmp_path: pathlib.Path) -> pathlib.Path:
    """Say where to download to: a folder of which all is seen."""
    return tmp_path / "x.mp4"


def names(target: pathlib.Path) -> list[str]:
    """List what there is beside a target."""
    return sorted(item.name for item in target.parent.iterdir())


async def fetch(a2e: A2EClient, sandbox: Sandbox, cdn: Any, target: pathlib.Path) -> bytes:
    """Download from a CDN and return what has arrived."""
    with sandbox.override("GET", "/films", cdn):
        await a2e.download(f"{sandbox.url}/films/x.mp4", target)
    assert names(target) == [target.name]
    return target.read_bytes()


# cut off


async def test_cut_download_goes_on(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that was cut asks for the rest, provided that the file is still the same one."""
    cdn = Cdn(cut=PIECE, after=lambda cdn: setattr(cdn, "cut", None))
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    first, rest = cdn.asked
    assert first == ("", "")
    assert 0 < cdn.firsts[1] <= PIECE
    assert rest == (f"bytes={cdn.firsts[1]}-", '"v1"')


async def test_line_that_is_cut_all_the_time(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """As long as each attempt brings something, there may be any number of them."""
    cdn = Cdn(cut=PIECE)
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    assert len(cdn.asked) >= MIB // PIECE > quick.CONFIG.retry.max_attempts
    assert cdn.firsts == sorted(set(cdn.firsts))


async def test_attempts_that_bring_nothing_count(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A line that is dead from some byte on is given up after as many attempts as the policy allows."""
    cdn = Cdn(cut=PIECE, after=lambda cdn: setattr(cdn, "cut", 0))
    with pytest.raises(TransferError, match="cut off"):
        await fetch(a2e, sandbox, cdn, target)
    assert len(cdn.asked) == quick.CONFIG.retry.max_attempts
    assert not names(target)


async def test_beginning_anew_without_end_is_given_up(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A storage without ranges that always stops at the same byte is given up: the same bytes again are no progress."""
    cdn = Cdn(cut=PIECE, ranges=False)
    with pytest.raises(TransferError, match="cut off"):
        await fetch(a2e, sandbox, cdn, target)
    assert len(cdn.asked) <= 2 * quick.CONFIG.retry.max_attempts
    assert not names(target)


async def test_single_attempt_is_a_single_attempt(sandbox: Sandbox, target: pathlib.Path) -> None:
    """Who wants no second attempt gets none, whatever the first one has brought."""
    cdn = Cdn(cut=PIECE)
    async with paid_starts.make_client(sandbox, retry=attrs.evolve(quick.CONFIG.retry, max_attempts=1)) as a2e:
        with pytest.raises(TransferError, match="cut off"):
            await fetch(a2e, sandbox, cdn, target)
    assert len(cdn.asked) == 1


async def test_silence_in_the_middle(sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that falls silent in its middle goes on there over another connection."""
    cdn, ended = Cdn(), asyncio.Event()

    async def falter(request: web.Request) -> web.StreamResponse:
        if cdn.asked:
            ended.set()
            return await cdn(request)
        cdn.asked.append(("", ""))
        answer = web.StreamResponse(headers={"ETag": cdn.etag, "Content-Length": str(MIB)})
        await answer.prepare(request)
        await answer.write(FILM[:PIECE])
        await ended.wait()
        return answer

    async with paid_starts.make_client(sandbox, transfer_timeout=1.0) as a2e:
        assert await fetch(a2e, sandbox, falter, target) == FILM
    assert cdn.asked[1] == (f"bytes={PIECE}-", '"v1"')


async def test_bad_weather_at_the_cdn(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download comes through everything that can pass, and asks for the rest of what it has."""
    picture = quick.PNG + FILM
    url = await a2e.upload(picture)
    sandbox.weather = Weather(
        script={"cdn": [Fault("short"), Fault("drop"), Fault("status", status=503), Fault("short"), Fault("429")]}
    )
    await a2e.download(url, target)
    assert target.read_bytes() == picture
    assert [seen.status for seen in sandbox.requests][-6:] == [200, 0, 503, 206, 429, 206]


async def test_result_that_breaks_off(a2e: A2EClient, target: pathlib.Path) -> None:
    """A result of which only the rest can still be had arrives whole."""
    task = await paid_starts.start_video(a2e, prompt="#fast #short")
    await task.wait_until_done(10)
    assert (await task.download(target)).stat().st_size > 1000


# what else can come instead of the rest


async def test_file_that_has_changed(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A file that is another one after the cut is taken from its beginning."""

    def change(cdn: Cdn) -> None:
        cdn.film, cdn.etag, cdn.cut = OTHER, '"v2"', None

    cdn = Cdn(cut=PIECE, after=change)
    assert await fetch(a2e, sandbox, cdn, target) == OTHER
    assert len(cdn.asked) == 2


async def test_changed_file_of_a_careless_storage(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """The rest of another file is not appended, even if a storage does not mind If-Range."""

    def change(cdn: Cdn) -> None:
        cdn.film, cdn.etag, cdn.cut = OTHER, '"v2"', None

    cdn = Cdn(cut=PIECE, minds=False, after=change)
    assert await fetch(a2e, sandbox, cdn, target) == OTHER
    assert cdn.firsts[2:] == [0]


async def test_shorter_file_after_the_cut(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """Nothing of a longer file that was begun is left behind the end of a shorter one."""

    def change(cdn: Cdn) -> None:
        cdn.film, cdn.etag, cdn.cut = OTHER[:1000], '"v2"', None

    two_writes = os.urandom(3 * MIB)
    cdn = Cdn(film=two_writes, cut=len(two_writes) - PIECE, after=change)
    assert await fetch(a2e, sandbox, cdn, target) == OTHER[:1000]


@pytest.mark.parametrize("etag", ["", 'W/"v1"'], ids=["no ETag", "weak ETag"])
async def test_length_speaks_where_no_version_is_told(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, etag: str
) -> None:
    """Without a strong ETag the rest is asked for as well, without a condition: the length has to be the same."""
    cdn = Cdn(etag=etag, cut=PIECE, after=lambda cdn: setattr(cdn, "cut", None))
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    assert cdn.asked[1][0].startswith("bytes=")
    assert cdn.asked[1][1] == ""


async def test_unknown_length_and_no_version(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """Where nothing tells the rest of a file from that of another one, the file is taken from its beginning."""
    cdn = Cdn(etag="", told=False, cut=PIECE, after=lambda cdn: setattr(cdn, "cut", None))
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    assert cdn.asked == [("", ""), ("", "")]


async def test_unknown_length_with_a_version(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A file of unknown length goes on if its version is known."""
    cdn = Cdn(told=False, cut=PIECE)
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    assert all(firsts > 0 for firsts in cdn.firsts[1:])


@attrs.define
class OddCdn(Cdn):
    """Answers the first request for a range with an odd answer."""

    odd: Callable[[int], web.Response] = lambda _: web.Response()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        first = self._first(request)
        if first and self.cut is not None:
            self.asked.append((request.headers["Range"], ""))
            self.cut = None
            return self.odd(first)
        return await Cdn.__call__(self, request)


def part_of(content_range: str, body: bytes) -> web.Response:
    """Make an answer with a part of something."""
    return web.Response(status=206, headers={"Content-Range": content_range, "ETag": '"v1"'}, body=body)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda n: part_of(f"bytes {n + 1}-{MIB - 1}/{MIB}", FILM[n + 1 :]), id="begins too late"),
        pytest.param(lambda n: part_of(f"bytes 0-{MIB - 1}/{MIB}", FILM), id="begins too early"),
        pytest.param(lambda n: part_of(f"bytes {n}-{MIB}/{MIB + 1}", FILM[n:] + b"x"), id="another length"),
        pytest.param(lambda n: part_of("bytes */*", FILM[n:]), id="no range"),
        pytest.param(lambda n: part_of(f"bytes {n}-{MIB - 1}/{MIB}", FILM[n:-1]), id="shorter than its range"),
        pytest.param(lambda n: web.Response(status=206, body=FILM[n:]), id="no Content-Range"),
        pytest.param(lambda n: web.Response(status=416, headers={"Content-Range": f"bytes */{n}"}), id="416"),
    ],
)
async def test_odd_answer_to_a_range(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, odd: Callable[[int], web.Response]
) -> None:
    """An answer that is not the rest is not appended: the file is taken from its beginning."""
    cdn = OddCdn(cut=PIECE, odd=odd)
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    assert cdn.firsts[0] == cdn.firsts[2] == 0


async def test_part_of_the_rest(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A storage that hands out the rest in parts is asked until all of them are there."""

    class Miser(Cdn):
        def _range(self, first: int) -> str:
            return f"bytes {first}-{min(first + PIECE, MIB) - 1}/{MIB}"

        async def _send(self, request: web.Request, answer: web.StreamResponse, body: bytes) -> web.StreamResponse:
            if answer.status == 206:
                body = body[:PIECE]
                answer.content_length = len(body)
            else:
                self.after = lambda cdn: setattr(cdn, "cut", None)
            return await super()._send(request, answer, body)

    cdn = Miser(cut=PIECE)
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    assert len(cdn.asked) >= MIB // PIECE


async def test_more_than_the_rest(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A storage that sends more than it has announced is not believed."""

    class Talker(Cdn):
        async def _send(self, request: web.Request, answer: web.StreamResponse, body: bytes) -> web.StreamResponse:
            if answer.status == 206:
                answer.headers.popall("Content-Length")
                body += b"and more"
            return await super()._send(request, answer, body)

    cdn = Talker(cut=PIECE, after=lambda cdn: setattr(cdn, "cut", None))
    assert await fetch(a2e, sandbox, cdn, target) == FILM
    assert cdn.firsts[2:] == [0]


async def test_packed_answer(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A storage that packs what it was asked not to pack has the length of the packed bytes; the video is whole."""
    seen: list[str | None] = []

    async def packed(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Accept-Encoding"))
        return web.Response(body=gzip.compress(FILM), headers={"Content-Encoding": "gzip", "ETag": '"v1"'})

    assert await fetch(a2e, sandbox, packed, target) == FILM
    assert seen == ["identity"]


async def test_page_in_the_place_of_the_rest(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A page that comes after a cut is no result, and nothing of what was there stays."""
    cdn = OddCdn(cut=PIECE, odd=lambda _: web.Response(text="<html>Please wait", content_type="text/html"))
    with pytest.raises(TransferError, match="instead of a result"):
        await fetch(a2e, sandbox, cdn, target)
    assert not names(target)


async def test_status_of_a_storage_that_stays_broken(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """The error tells the status of the storage as a number."""
    with pytest.raises(TransferError, match="storage in trouble") as caught:
        await fetch(a2e, sandbox, lambda _: web.Response(status=503), target)
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


def questions(sandbox: Sandbox, task: TaskHandle[ImageToVideoRecord]) -> int:
    """Count how often the task was asked about by itself."""
    return paid_starts.count_requests(sandbox, f"{quick.FAMILY_PATH}/{task.id}")


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_fresh_link_in_the_place_of_an_expired_one(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, status: int
) -> None:
    """If the link has expired, A2E is asked for the record, and its new link is taken."""
    task = await finished(a2e)
    old = task.record.result_url
    sandbox.tasks[task.id].result_url = f"{sandbox.url}/films/fresh.mp4"
    before = questions(sandbox, task)
    with (
        sandbox.override("GET", path_of(sandbox, old), web.Response(status=status)),
        sandbox.override("GET", "/films/fresh.mp4", Cdn()),
    ):
        await task.download(target)
    assert target.read_bytes() == FILM
    assert task.record.result_url.endswith("fresh.mp4")
    assert questions(sandbox, task) == before + 1


async def test_expired_link_without_a_fresh_one(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """If A2E has no other link, the error is that of the download; A2E is asked once and the link tried once."""
    task = await finished(a2e)
    link, before = path_of(sandbox, task.record.result_url), questions(sandbox, task)
    with (
        sandbox.override("GET", link, lambda _: web.Response(status=410)),
        pytest.raises(TransferError, match="410") as caught,
    ):
        await task.download(target)
    assert (caught.value.status, caught.value.task_id) == (410, task.id)
    assert questions(sandbox, task) == before + 1
    assert paid_starts.count_requests(sandbox, link) == 1


async def test_link_that_has_vanished_from_the_record(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A record without a link does not hide why the old one did not work."""
    task = await finished(a2e)
    link = path_of(sandbox, task.record.result_url)
    sandbox.tasks[task.id].result_url = ""
    with sandbox.override("GET", link, web.Response(status=404)), pytest.raises(TransferError, match="404"):
        await task.download(target)


async def test_fresh_link_that_has_expired_as_well(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A2E is asked once only; the error is that of the second link, with the id of the task."""
    task = await finished(a2e)
    old, before = path_of(sandbox, task.record.result_url), questions(sandbox, task)
    sandbox.tasks[task.id].result_url = f"{sandbox.url}/films/fresh.mp4"
    with (
        sandbox.override("GET", old, web.Response(status=403)),
        sandbox.override("GET", "/films/fresh.mp4", web.Response(status=404)),
        pytest.raises(TransferError, match="404") as caught,
    ):
        await task.download(target)
    assert (caught.value.status, caught.value.task_id) == (404, task.id)
    assert questions(sandbox, task) == before + 1


async def test_question_for_a_fresh_link_that_fails(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """If A2E cannot be asked, the error is still that of the download."""
    task = await finished(a2e)
    link = path_of(sandbox, task.record.result_url)
    with (
        sandbox.override("GET", link, web.Response(status=403)),
        sandbox.override("GET", quick.FAMILY_PATH, lambda _: web.Response(status=400)),
        pytest.raises(TransferError, match="403") as caught,
    ):
        await task.download(target)
    assert caught.value.task_id == task.id


async def test_other_trouble_asks_for_no_link(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that failed for another reason is not A2E's business."""
    task = await finished(a2e)
    link, before = path_of(sandbox, task.record.result_url), questions(sandbox, task)
    with sandbox.override("GET", link, web.Response(status=401)), pytest.raises(TransferError, match="401"):
        await task.download(target)
    assert questions(sandbox, task) == before


async def test_link_that_expires_in_the_middle(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A link that expires while a cut download goes on is replaced too, and nothing of the two is mixed."""
    task = await finished(a2e)
    old = path_of(sandbox, task.record.result_url)
    sandbox.tasks[task.id].result_url = f"{sandbox.url}/films/fresh.mp4"
    dying = OddCdn(film=OTHER, cut=PIECE, odd=lambda _: web.Response(status=403))
    with sandbox.override("GET", old, dying), sandbox.override("GET", "/films/fresh.mp4", Cdn()):
        await task.download(target)
    assert target.read_bytes() == FILM
    assert names(target) == ["x.mp4"]


# how many at once


@attrs.define
class Crowd:
    """Counts who is served at the same time. Everybody is served only when released.

    Attributes:
        paths: The paths that were asked for, in order.
        most: The largest number at the same time.
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
        return web.Response(body=b"film")

    def release(self, count: int = 1) -> None:
        """Let some be served."""
        for _ in range(count):
            self._places.release()


async def test_downloads_stand_in_line(sandbox: Sandbox, target: pathlib.Path) -> None:
    """No more downloads than `max_downloads` run at the same time; the others follow."""
    crowd = Crowd()
    async with paid_starts.make_client(sandbox, max_downloads=2) as a2e, asyncio.TaskGroup() as group:
        with sandbox.override("GET", "/films", crowd):
            tasks = [
                group.create_task(a2e.download(f"{sandbox.url}/films/{number}", target.with_name(str(number))))
                for number in range(6)
            ]
            await wait_until(lambda: len(crowd.paths) == 2)
            crowd.release(6)
            await asyncio.wait(tasks)
    assert crowd.most == 2
    assert names(target) == [str(number) for number in range(6)]


async def test_who_leaves_the_line_holds_up_nobody(sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that is cancelled, running or waiting, gives its place to the next one."""
    crowd = Crowd()
    async with paid_starts.make_client(sandbox, max_downloads=1) as a2e:
        with sandbox.override("GET", "/films", crowd):
            tasks = {
                f"/films/{number}": asyncio.create_task(
                    a2e.download(f"{sandbox.url}/films/{number}", target.with_name(str(number)))
                )
                for number in range(4)
            }
            await wait_until(lambda: len(crowd.paths) == 1)
            running = tasks.pop(crowd.paths[0])
            _, waiting = tasks.popitem()
            for task in (running, waiting):
                task.cancel()
            await wait_until(lambda: len(crowd.paths) == 2)
            crowd.release(3)
            done = await asyncio.gather(*tasks.values())
            await asyncio.wait([running, waiting])
    assert running.cancelled()
    assert waiting.cancelled()
    assert names(target) == sorted(path.name for path in done)


async def test_uploads_stand_in_line(sandbox: Sandbox) -> None:
    """No more uploads than `max_uploads` run at the same time, from the asking for a link on."""
    crowd = Crowd()

    async def wait(request: web.Request) -> None:
        await crowd(request)

    async with paid_starts.make_client(sandbox, max_uploads=2) as a2e, asyncio.TaskGroup() as group:
        with sandbox.override("POST", paid_starts.PRESIGN_PATH, wait):
            uploads = [group.create_task(a2e.upload(quick.PNG)) for _ in range(5)]
            await wait_until(lambda: len(crowd.paths) == 2)
            crowd.release(5)
            await asyncio.wait(uploads)
    assert crowd.most == 2
    assert paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH) == 5


@pytest.mark.parametrize("name", ["max_downloads", "max_uploads", "max_upload_bytes"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, None, "8"])
def test_limits_are_whole_numbers(name: str, value: Any) -> None:
    """A limit that is no whole number above 0 is refused when the client is made."""
    with pytest.raises(ConfigurationError, match=f"Config.{name}"):
        A2EClient("sk_x", config=attrs.evolve(quick.CONFIG, **{name: value}))


# threads, and what is left behind


class Gate:
    """Holds up a step that a thread does at the disk, until it is opened. No virtual time passes meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._entered, self._opened = asyncio.Event(), threading.Event()
        real, loop = getattr(partial_file, name), asyncio.get_running_loop()

        def held(*args: Any, **options: Any) -> Any:
            loop.call_soon_threadsafe(self._entered.set)
            assert self._opened.wait(30)
            return real(*args, **options)

        monkeypatch.setattr(partial_file, name, held)

    async def reached(self) -> None:
        """Wait until a thread stands before it."""
        await self._entered.wait()

    def open(self) -> None:
        """Let it pass."""
        self._opened.set()


async def passes(count: int) -> None:
    """Let the event loop turn some times, with whatever threads and sockets have for it."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def no_open_files() -> Iterator[None]:
    """Fail a test that leaves an open file to the garbage collector, which warns of it."""
    yield
    gc.collect()


@pytest.mark.usefixtures("no_open_files")
@pytest.mark.parametrize("step", ["open_part", "append", "truncate", "finish", "discard"])
async def test_cancelled_while_a_thread_is_at_work(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """However often a download is cancelled, it ends when its thread is done, and leaves no part and no open file."""
    gate = Gate(monkeypatch, step)
    film = os.urandom(3 * MIB)
    cdn = Cdn(film=film, cut=len(film) - 1 if step in {"truncate", "discard"} else None, ranges=False)
    with sandbox.override("GET", "/films", cdn):
        download = asyncio.create_task(a2e.download(f"{sandbox.url}/films/x.mp4", target))
        await gate.reached()
        for _ in range(3):
            download.cancel()
            await asyncio.sleep(0)
        assert not download.done()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await download
    assert names(target) == (["x.mp4"] if step == "finish" else [])


async def test_failure_of_a_thread_that_nobody_asks_about(caplog: pytest.LogCaptureFixture) -> None:
    """A step that fails while its download is given up anyway is no news: asyncio does not complain."""

    def refuse() -> None:
        msg = "No space left on device"
        raise TransferError(msg)

    work = begin(refuse)
    await outlast(work)
    del work
    gc.collect()
    assert not caplog.records


@pytest.mark.usefixtures("no_open_files")
@pytest.mark.parametrize("pause", [None, 0, 5], ids=["once", "at once", "a little later"])
async def test_cancelled_at_any_time(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, pause: int | None) -> None:
    """Wherever a download is cancelled, once or twice, the file is there whole or there is nothing."""
    film = os.urandom(4 * MIB)

    def begin_download() -> asyncio.Task[pathlib.Path]:
        return asyncio.create_task(a2e.download(f"{sandbox.url}/films/x.mp4", target, overwrite=True))

    with sandbox.override("GET", "/films", lambda _: web.Response(body=film)):
        whole, turns = begin_download(), 0
        while not whole.done():
            await asyncio.sleep(0)
            turns += 1
        assert (await whole).read_bytes() == film
        target.unlink()
        for moment in range(40):
            download = begin_download()
            await passes(turns * moment // 35)
            download.cancel()
            if pause is not None:
                await passes(pause)
                download.cancel()
            await asyncio.wait([download])
            left = names(target)
            assert left in ([], ["x.mp4"])
            assert not left or target.read_bytes() == film


@pytest.mark.usefixtures("no_open_files")
async def test_upload_cancelled_while_its_file_is_opened(
    a2e: A2EClient, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that is cancelled twice while a thread opens the image leaves no open file."""
    target.write_bytes(quick.PNG)
    gate = Gate(monkeypatch, "open_picture")
    upload = asyncio.create_task(a2e.upload(target))
    await gate.reached()
    for _ in range(2):
        upload.cancel()
        await asyncio.sleep(0)
    assert not upload.done()
    gate.open()
    with pytest.raises(asyncio.CancelledError):
        await upload


@pytest.mark.usefixtures("no_open_files")
async def test_client_that_is_closed_meanwhile(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """Closing the client ends its downloads, those in line too, with errors of ours, and nothing stays behind."""
    crowd = Crowd()
    with sandbox.override("GET", "/films", crowd):
        tasks = [
            asyncio.create_task(a2e.download(f"{sandbox.url}/films/{number}", target.with_name(str(number))))
            for number in range(12)
        ]
        await wait_until(lambda: len(crowd.paths) == quick.CONFIG.max_downloads)
        await a2e.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        crowd.release(len(crowd.paths))
    assert all(isinstance(result, A2EError) for result in results)
    assert not names(target)


async def test_disk_that_is_slower_than_the_line(target: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has arrived waits in memory up to a limit; then the line has to wait for the disk."""
    gate = Gate(monkeypatch, "append")
    piece = bytes(part_module._WORTH_IT)
    async with Part(target) as part:
        await part.add(piece)
        await gate.reached()
        for _ in range(part_module._LIMIT // len(piece) - 1):
            await part.add(piece)
        one_more = asyncio.create_task(part.add(piece))
        await passes(20)
        assert not one_more.done()
        gate.open()
        await one_more
        size = len(piece) * (part_module._LIMIT // len(piece) + 1)
        await part.become(target.with_name("whole"), size=size, overwrite=False)
    assert names(target) == ["whole"]


async def test_trouble_of_the_disk_is_told_by_the_next_piece(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full in the middle ends the download there, and is not asked again."""
    asked = 0

    def full(*_: object) -> None:
        nonlocal asked
        asked += 1
        msg = "No space left on device"
        raise TransferError(msg)

    monkeypatch.setattr(partial_file, "append", full)
    cdn = Cdn(film=os.urandom(8 * MIB))
    with pytest.raises(TransferError, match="No space left"):
        await fetch(a2e, sandbox, cdn, target)
    assert asked == len(cdn.asked) == 1
    assert not names(target)


async def test_another_program_at_the_same_part(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A part that somebody else writes to does not become the file."""
    part = target.with_name("x.mp4.part")

    async def meddle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(2 * MIB)})
        await answer.prepare(request)
        await answer.write(FILM)
        await wait_until(part.exists)
        with part.open("ab") as file:
            file.truncate(5 * MIB)
        await answer.write(FILM)
        return answer

    with pytest.raises(TransferError, match="another program"):
        await fetch(a2e, sandbox, meddle, target)
    assert not names(target)


async def test_one_file_by_two_ways(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A file that is arriving is refused to a second download under another spelling, too."""
    (target.parent / "folder").mkdir()
    same = target.parent / "folder" / ".." / "x.mp4"
    with sandbox.override("GET", "/films", Cdn()):
        downloads = (a2e.download(f"{sandbox.url}/films/x.mp4", path) for path in (target, same))
        results = await asyncio.gather(*downloads, return_exceptions=True)
    (refused,) = (result for result in results if isinstance(result, InvalidRequestError))
    assert "under way" in str(refused)
    assert target.read_bytes() == FILM


async def test_part_of_another_program_is_left_alone(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A download that has written nothing removes nothing."""
    target.with_name("x.mp4.part").write_text("somebody else's")
    with pytest.raises(TransferError, match="404"):
        await fetch(a2e, sandbox, lambda _: web.Response(status=404), target)
    assert names(target) == ["x.mp4.part"]


async def test_whole_download_removes_nothing(
    a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a file has its name, the name of its part can be another download's already, and is left alone."""
    removed: list[object] = []
    monkeypatch.setattr(partial_file, "discard", removed.append)
    await fetch(a2e, sandbox, Cdn(), target)
    assert not removed


async def test_memory_stays_flat(a2e: A2EClient, sandbox: Sandbox, target: pathlib.Path) -> None:
    """A file of 80 MiB takes a few MiB of memory."""

    async def large(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(80 * MIB), "Content-Type": "video/mp4"})
        await answer.prepare(request)
        for _ in range(80):
            await answer.write(FILM)
        return answer

    with sandbox.override("GET", "/films", large):
        tracemalloc.start()
        try:
            await a2e.download(f"{sandbox.url}/films/x.mp4", target)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert target.stat().st_size == 80 * MIB
    assert peak < 12 * MIB
