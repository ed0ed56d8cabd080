"""Images of a batch: recognised by their content, and uploaded once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import quick

from a2e_async.batch import Job
from a2e_async.batch.circuit_breaker import CircuitBreaker, StoppedError
from a2e_async.batch.journal import Journal
from a2e_async.batch.rules import image_identity
from a2e_async.batch.uploads import UploadCache, fingerprint, fingerprint_again, with_files_read
from a2e_async.errors import A2EError, InvalidRequestError, TransferError
from a2e_async.files.local_files import LocalFile, open_image

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from a2e_async.batch.jobs import BatchApi

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

LINK = "https://example.com/private/ada.png"
OTHER = quick.PNG + b"another one"


def digest(content: bytes) -> str:
    """Return the SHA-256 of a content."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def ada(tmp_path: pathlib.Path) -> pathlib.Path:
    """Make an image."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG)
    return path


async def make_fingerprint(image: Any) -> dict[str, Any]:
    """Return the fingerprint of a local image."""
    found = fingerprint(await open_image("image", image))
    assert found is not None
    return found


# fingerprints


@pytest.mark.parametrize(("image", "found"), [(None, None), (LINK, {"url": LINK})], ids=["none", "link"])
async def test_fingerprint_of_a_link(image: str | None, found: object) -> None:
    """The fingerprint of a link is its URL; without an image there is none."""
    assert fingerprint(image) == found


async def test_fingerprint_of_bytes() -> None:
    """The fingerprint of bytes is their SHA-256 and size."""
    assert await make_fingerprint(quick.PNG) == {"sha256": digest(quick.PNG), "size": len(quick.PNG)}


async def test_fingerprint_of_a_file(ada: pathlib.Path) -> None:
    """The fingerprint of a file is its SHA-256, with the path, size and time that show a change."""
    assert await make_fingerprint(ada) == {
        "sha256": digest(quick.PNG),
        "size": len(quick.PNG),
        "path": str(ada),
        "mtime": ada.stat().st_mtime_ns,
    }


async def test_file_that_was_removed_after_its_check(ada: pathlib.Path) -> None:
    """A file that disappears after its check is an error of the job, with the name of the file."""
    image = await open_image("image", ada)
    ada.unlink()
    with pytest.raises(InvalidRequestError, match=r"ada\.png' cannot be read: No such file"):
        fingerprint(image)


# fingerprints of known jobs


@pytest.mark.parametrize(
    ("image", "url", "found"),
    [
        pytest.param(None, None, None, id="no image"),
        pytest.param(None, LINK, {"url": LINK}, id="link"),
        pytest.param(LINK, None, {"url": LINK}, id="link given as an image"),
        pytest.param(quick.PNG, None, {"sha256": digest(quick.PNG), "size": 72}, id="bytes"),
        pytest.param(bytearray(quick.PNG), None, {"sha256": digest(quick.PNG), "size": 72}, id="bytearray"),
    ],
)
async def test_fingerprint_again_without_a_file(image: Any, url: str | None, found: object) -> None:
    """Links and bytes get their usual fingerprint, for any content of the journal."""
    for old in (None, {"url": "https://example.com/old.png"}, {"sha256": "0", "path": "old.png"}):
        assert await fingerprint_again("image", image, url, old) == found


async def test_fingerprint_again_of_an_open_file() -> None:
    """An open file is read to its end."""
    assert await fingerprint_again("image", io.BytesIO(quick.PNG), None, None) == {
        "sha256": digest(quick.PNG),
        "size": 72,
    }


@pytest.mark.parametrize("as_text", [True, False])
async def test_unchanged_file_is_not_read_again(ada: pathlib.Path, *, as_text: bool) -> None:
    """A file with the same path, size and time as in the journal is not read again."""
    old = {**await make_fingerprint(ada), "sha256": "old digest"}
    assert await fingerprint_again("image", str(ada) if as_text else ada, None, old) == old


async def test_file_without_an_earlier_fingerprint(ada: pathlib.Path) -> None:
    """A file gets a new fingerprint if the job had no image, or a link, before."""
    for old in (None, {"url": LINK}):
        assert await fingerprint_again("image", ada, None, old) == await make_fingerprint(ada)


async def test_removed_file_counts_as_unchanged(ada: pathlib.Path) -> None:
    """An image may be removed once it is started: the same path counts as the same image."""
    old = await make_fingerprint(ada)
    ada.unlink()
    assert await fingerprint_again("image", ada, None, old) == old


async def test_unknown_missing_file_is_another_image(ada: pathlib.Path) -> None:
    """A path that is not in the journal, and has no file, is another image."""
    old = await make_fingerprint(ada)
    missing = ada.with_name("missing.png")
    for known in (old, None, {"url": LINK}):
        assert image_identity(await fingerprint_again("image", missing, None, known)) != image_identity(known)


async def test_impossible_path_is_another_image(ada: pathlib.Path) -> None:
    """A path that no file can have is another image."""
    old = await make_fingerprint(ada)
    assert image_identity(await fingerprint_again("image", "null\0byte.png", None, old)) != image_identity(old)


async def test_file_of_the_same_content_is_the_same_image(ada: pathlib.Path) -> None:
    """An image that was copied, moved or touched is the same image, and its fingerprint has the new path and time."""
    old = await make_fingerprint(ada)
    os.utime(ada, ns=(0, 0))
    touched = await fingerprint_again("image", ada, None, old)
    assert touched is not None
    assert (touched["mtime"], image_identity(touched)) == (0, image_identity(old))
    moved = ada.rename(ada.with_name("moved.png"))
    again = await fingerprint_again("image", moved, None, old)
    assert again is not None
    assert (again["path"], image_identity(again)) == (str(moved), image_identity(old))
    assert image_identity(await fingerprint_again("image", quick.PNG, None, old)) == image_identity(old)


async def test_file_of_another_content_is_another_image(ada: pathlib.Path) -> None:
    """An image that was replaced is detected by its size or its time."""
    old = await make_fingerprint(ada)
    ada.write_bytes(OTHER)
    os.utime(ada, ns=(old["mtime"], old["mtime"]))
    assert image_identity(await fingerprint_again("image", ada, None, old)) == digest(OTHER)
    same_size = quick.PNG[:-1] + b"x"
    ada.write_bytes(same_size)
    os.utime(ada, ns=(0, 0))
    assert image_identity(await fingerprint_again("image", ada, None, old)) == digest(same_size)


async def test_file_that_is_not_an_image_any_more(ada: pathlib.Path) -> None:
    """A file that was replaced by another kind of file is an error of the job."""
    old = await make_fingerprint(ada)
    ada.write_bytes(b"a text, not an image")
    with pytest.raises(InvalidRequestError, match=r"ada\.png"):
        await fingerprint_again("image", ada, None, old)


# open files


async def test_open_files_are_read_once() -> None:
    """Both images of a job can be read several times, also if they came as open files."""
    job = Job(key="k", image=io.BytesIO(quick.PNG), end_image=io.BytesIO(OTHER), prompt="she smiles")
    assert await with_files_read(job) == Job(key="k", image=quick.PNG, end_image=OTHER, prompt="she smiles")


@pytest.mark.parametrize("image", [None, LINK, "ada.png", PurePath("ada.png"), quick.PNG, bytearray(b"x")], ids=repr)
async def test_paths_links_and_bytes_are_not_read(image: Any) -> None:
    """Paths, links and bytes stay as they are, and are not read."""
    job = Job(key="k", image=image, end_image=image)
    assert await with_files_read(job) is job


async def test_open_file_that_is_not_an_image() -> None:
    """An open file that is not an image is an error of the job, before anything is sent."""
    with pytest.raises(InvalidRequestError, match="end_image"):
        await with_files_read(Job(key="k", image=quick.PNG, end_image=io.BytesIO(b"a text")))


# identity


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(None, None, True, id="none"),
        pytest.param({"url": LINK}, {"url": LINK}, True, id="link"),
        pytest.param({"url": LINK}, {"url": f"{LINK}?x"}, False, id="another link"),
        pytest.param({"url": LINK}, None, False, id="no image any more"),
        pytest.param({"sha256": "a", "size": 1}, {"sha256": "a", "path": "x", "mtime": 2}, True, id="content"),
        pytest.param({"sha256": "a", "path": "x"}, {"sha256": "b", "path": "x"}, False, id="another content"),
        pytest.param({"sha256": "a"}, {"url": LINK}, False, id="a link instead"),
        pytest.param({"sha256": "a", "path": "x"}, {"path": "x"}, False, id="unknown content"),
    ],
)
def test_identity(one: dict[str, Any] | None, other: dict[str, Any] | None, *, same: bool) -> None:
    """Content or URL identify an image; the path and the time of its file do not."""
    assert (image_identity(one) == image_identity(other)) is same


# uploads


@attrs.define
class Uploads:
    """Uploads that take a moment each, with a count of those at the same time."""

    fails: int = 0
    done: list[bytes] = attrs.field(factory=list)
    now: int = 0
    most: int = 0

    async def upload(self, image: LocalFile) -> str:
        """Upload an image."""
        assert isinstance(image.content, bytes)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.005)
            if self.fails:
                self.fails -= 1
                msg = "no"
                raise TransferError(msg)
            self.done.append(image.content)
            return f"https://cdn.example/{len(self.done)}.png"
        finally:
            self.now -= 1


@attrs.define(eq=False)
class LinkJournal(Journal):
    """Journal that stores links with their time."""

    stored: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    clock: Callable[[], float] = time.time

    async def load_link(self, digest: str, since: float) -> str | None:
        """Return a link that is new enough."""
        link, at = self.stored.get(digest, (None, 0.0))
        return link if at >= since else None

    def write_link_soon(self, digest: str, link: str) -> None:
        """Store a link."""
        self.stored[digest] = link, self.clock()


def make(slots: int = 4, **options: Any) -> tuple[UploadCache, Uploads, LinkJournal]:
    """Return a cache, with its uploads and its journal."""
    uploads, journal = Uploads(**options), LinkJournal()
    return make_cache(uploads, journal, slots), uploads, journal


def make_cache(uploads: Uploads, journal: Journal, slots: int) -> UploadCache:
    """Return a cache."""
    return UploadCache(cast("BatchApi[Any]", uploads), journal, CircuitBreaker(), asyncio.Semaphore(slots))


async def link(cache: UploadCache, content: bytes) -> str:
    """Return the link of an image from the cache."""
    return await cache.get(await open_image("image", content), digest(content), lambda _: None)


async def test_image_is_uploaded_once() -> None:
    """A hundred jobs with the same image, at once and one after the other, share one upload."""
    cache, uploads, journal = make()
    first = await asyncio.gather(*(link(cache, quick.PNG) for _ in range(100)))
    assert {*first, await link(cache, quick.PNG)} == {"https://cdn.example/1.png"}
    assert uploads.done == [quick.PNG]
    assert journal.stored[digest(quick.PNG)][0] == "https://cdn.example/1.png"


async def test_each_image_has_its_own_link() -> None:
    """Images of different content get different links."""
    cache, uploads, _ = make()
    contents = [quick.PNG + bytes([number]) for number in range(20)]
    found = await asyncio.gather(*(link(cache, content) for content in contents))
    assert [uploads.done[int(name.rpartition("/")[2].removesuffix(".png")) - 1] for name in found] == contents


@pytest.mark.parametrize("slots", [1, 3])
async def test_uploads_at_the_same_time_are_limited(slots: int) -> None:
    """All upload slots are used, and no more uploads run at the same time."""
    cache, uploads, _ = make(slots)
    await asyncio.gather(*(link(cache, quick.PNG + bytes([number])) for number in range(12)))
    assert uploads.most == slots


async def test_job_that_waits_for_the_same_image_holds_no_slot() -> None:
    """Jobs that wait for an upload under way do not keep other images from being uploaded."""
    cache, uploads, _ = make(slots=2)
    await asyncio.gather(*(link(cache, quick.PNG) for _ in range(5)), link(cache, OTHER))
    assert uploads.most == 2


async def test_link_of_an_earlier_run_is_used() -> None:
    """An image whose link is in the journal is not uploaded again."""
    cache, uploads, journal = make()
    journal.is_new = False
    journal.write_link_soon(digest(quick.PNG), LINK)
    assert await link(cache, quick.PNG) == LINK
    assert uploads.done == []


async def test_old_link_of_an_earlier_run_is_not_used() -> None:
    """A link that may have expired before the task reads it is replaced."""
    cache, uploads, journal = make()
    journal.stored[digest(quick.PNG)] = LINK, time.time() - 86400 - 60
    assert await link(cache, quick.PNG) == "https://cdn.example/1.png"
    assert uploads.done == [quick.PNG]


async def test_old_link_of_this_run_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch of several days an image is uploaded again when its link is too old."""
    cache, uploads, journal = make()
    await link(cache, quick.PNG)
    now, today = time.monotonic(), time.time()
    for hours, count in ((23, 1), (25, 2), (47, 2), (50, 3)):
        clock = SimpleNamespace(
            monotonic=lambda hours=hours: now + hours * 3600, time=lambda hours=hours: today + hours * 3600
        )
        monkeypatch.setattr("a2e_async.batch.uploads.time", clock)
        journal.clock = clock.time
        await link(cache, quick.PNG)
        assert len(uploads.done) == count
    assert journal.stored[digest(quick.PNG)][0] == "https://cdn.example/3.png"


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last links are kept in memory, and the others are read from the journal."""
    monkeypatch.setattr("a2e_async.batch.uploads._MAX_CACHED", 3)
    cache, uploads, _ = make()
    contents = [quick.PNG + bytes([number]) for number in range(10)]
    for content in contents:
        await link(cache, content)
    assert len(cache._links) == 3
    for content in contents:
        await link(cache, content)
    assert uploads.done == contents
    assert not cache._locks


async def test_forgotten_link_is_uploaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a journal, an image whose link has left the memory is uploaded again."""
    monkeypatch.setattr("a2e_async.batch.uploads._MAX_CACHED", 1)
    uploads = Uploads()
    cache = make_cache(uploads, Journal(), 1)
    for content in (quick.PNG, quick.PNG, OTHER, OTHER, quick.PNG):
        await link(cache, content)
    assert uploads.done == [quick.PNG, OTHER, quick.PNG]


async def test_failed_upload_is_an_error_of_one_job() -> None:
    """A failed upload is an error of one job; the next job uploads the image, and the rest share its link."""
    cache, uploads, journal = make(fails=1)
    first = asyncio.create_task(link(cache, quick.PNG))
    while not uploads.now:
        await asyncio.sleep(0)
    answers = await asyncio.gather(first, *(link(cache, quick.PNG) for _ in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [TransferError, str, str, str, str]
    assert uploads.done == [quick.PNG]
    assert len(journal.stored) == 1


async def test_cancelled_upload_is_repeated() -> None:
    """If the job that uploads an image is cancelled, another job with the same image uploads it."""
    cache, uploads, _ = make(slots=1)
    first, second = (asyncio.create_task(link(cache, quick.PNG)) for _ in range(2))
    while not uploads.now:
        await asyncio.sleep(0)
    first.cancel()
    assert await second == "https://cdn.example/1.png"
    assert first.cancelled()
    assert uploads.done == [quick.PNG]


async def test_nothing_is_uploaded_after_the_batch_has_stopped() -> None:
    """A job that waits for an upload slot while the batch stops uploads nothing."""
    cache, uploads, _ = make(slots=1)
    first = asyncio.create_task(link(cache, quick.PNG))
    while not uploads.now:
        await asyncio.sleep(0)
    second = asyncio.create_task(link(cache, OTHER))
    cache.breaker.stop(A2EError("wrong token"))
    assert await first == "https://cdn.example/1.png"
    with pytest.raises(StoppedError):
        await second
    assert uploads.done == [quick.PNG]
