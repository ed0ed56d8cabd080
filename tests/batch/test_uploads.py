"""The images of a batch: recognised by their content, and each of them uploaded once."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick

from a2e_async.batch import Job
from a2e_async.batch.rules import NoJournal
from a2e_async.batch.uploads import Links, describe, identity, recall, with_files_read
from a2e_async.errors import InvalidRequestError, TransferError
from a2e_async.files.local_files import LocalFile, open_picture

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("no_leaked_tasks")

LINK = "https://example.com/private/ada.png"
OTHER = quick.PNG + b"another one"


def digest(content: bytes) -> str:
    """Return what a content is known by."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def ada(tmp_path: pathlib.Path) -> pathlib.Path:
    """Make an image."""
    path = tmp_path / "ada.png"
    path.write_bytes(quick.PNG)
    return path


async def seen(image: Any) -> dict[str, Any]:
    """Describe a local image."""
    described = await describe(await open_picture("image", image))
    assert described is not None
    return described


# described


@pytest.mark.parametrize(("picture", "described"), [(None, None), (LINK, {"url": LINK})], ids=["none", "link"])
async def test_what_is_not_here_is_not_read(picture: str | None, described: object) -> None:
    """A link is its address; no image is nothing."""
    assert await describe(picture) == described


async def test_bytes_are_their_content() -> None:
    """Bytes are known by what they are."""
    assert await seen(quick.PNG) == {"sha256": digest(quick.PNG), "size": len(quick.PNG)}


async def test_file_is_its_content_and_what_tells_that_it_has_changed(ada: pathlib.Path) -> None:
    """A file is known by its content, and it is remembered where, how large and how old it is."""
    assert await seen(ada) == {
        "sha256": digest(quick.PNG),
        "size": len(quick.PNG),
        "path": str(ada),
        "mtime": ada.stat().st_mtime_ns,
    }


async def test_file_that_has_gone_meanwhile(ada: pathlib.Path) -> None:
    """A file that disappears after it was checked is the job's error, with its name."""
    picture = await open_picture("image", ada)
    ada.unlink()
    with pytest.raises(InvalidRequestError, match=r"ada\.png' cannot be read: No such file"):
        await describe(picture)


# recalled


@pytest.mark.parametrize(
    ("image", "url", "described"),
    [
        pytest.param(None, None, None, id="no image"),
        pytest.param(None, LINK, {"url": LINK}, id="link"),
        pytest.param(LINK, None, {"url": LINK}, id="link given as an image"),
        pytest.param(quick.PNG, None, {"sha256": digest(quick.PNG), "size": 72}, id="bytes"),
        pytest.param(bytearray(quick.PNG), None, {"sha256": digest(quick.PNG), "size": 72}, id="bytearray"),
    ],
)
async def test_recall_without_a_file(image: Any, url: str | None, described: object) -> None:
    """Links and bytes are described as they are when they are first seen, whatever was there before."""
    for old in (None, {"url": "https://example.com/old.png"}, {"sha256": "0", "path": "old.png"}):
        assert await recall("image", image, url, old) == described


async def test_recall_of_an_open_file() -> None:
    """A file that was opened is read to its end."""
    assert await recall("image", io.BytesIO(quick.PNG), None, None) == {"sha256": digest(quick.PNG), "size": 72}


@pytest.mark.parametrize("as_text", [True, False])
async def test_file_that_looks_the_same_is_not_read(ada: pathlib.Path, *, as_text: bool) -> None:
    """A million known images are not read again: same place, size and time are enough."""
    old = {**await seen(ada), "sha256": "what it was"}
    assert await recall("image", str(ada) if as_text else ada, None, old) == old


async def test_file_that_is_known_without_a_description(ada: pathlib.Path) -> None:
    """A file is described as if it were new where there was no image, or a link, before."""
    for old in (None, {"url": LINK}):
        assert await recall("image", ada, None, old) == await seen(ada)


async def test_file_that_is_gone_is_the_old_one(ada: pathlib.Path) -> None:
    """Inputs may be tidied away once they are started: the same path stands for the same image."""
    old = await seen(ada)
    ada.unlink()
    assert await recall("image", ada, None, old) == old


async def test_other_file_that_is_gone_is_another_one(ada: pathlib.Path) -> None:
    """A path that was never seen, and where nothing is, is no image that is known."""
    old = await seen(ada)
    missing = ada.with_name("missing.png")
    for known in (old, None, {"url": LINK}):
        assert identity(await recall("image", missing, None, known)) != identity(known)


async def test_path_that_is_none(ada: pathlib.Path) -> None:
    """A path that no file can have is not known either."""
    old = await seen(ada)
    assert identity(await recall("image", "null\0byte.png", None, old)) != identity(old)


async def test_file_of_the_same_content_is_the_same(ada: pathlib.Path) -> None:
    """An image that was copied, moved or touched is the same image, and is remembered where it is now."""
    old = await seen(ada)
    os.utime(ada, ns=(0, 0))
    touched = await recall("image", ada, None, old)
    assert touched is not None
    assert (touched["mtime"], identity(touched)) == (0, identity(old))
    moved = ada.rename(ada.with_name("moved.png"))
    recalled = await recall("image", moved, None, old)
    assert recalled is not None
    assert (recalled["path"], identity(recalled)) == (str(moved), identity(old))
    assert identity(await recall("image", quick.PNG, None, old)) == identity(old)


async def test_file_of_another_content_is_another_one(ada: pathlib.Path) -> None:
    """An image that was replaced is noticed by its size or its time."""
    old = await seen(ada)
    ada.write_bytes(OTHER)
    os.utime(ada, ns=(old["mtime"], old["mtime"]))
    assert identity(await recall("image", ada, None, old)) == digest(OTHER)
    same_size = quick.PNG[:-1] + b"x"
    ada.write_bytes(same_size)
    os.utime(ada, ns=(0, 0))
    assert identity(await recall("image", ada, None, old)) == digest(same_size)


async def test_file_that_is_no_picture_any_more(ada: pathlib.Path) -> None:
    """A file that was replaced by something else is the job's error."""
    old = await seen(ada)
    ada.write_bytes(b"a text that is no image")
    with pytest.raises(InvalidRequestError, match=r"ada\.png"):
        await recall("image", ada, None, old)


# open files


async def test_open_files_are_read_once() -> None:
    """Both images of a job can be looked at again and again, also if they came as open files."""
    job = Job(key="k", image=io.BytesIO(quick.PNG), end_image=io.BytesIO(OTHER), prompt="she smiles")
    assert await with_files_read(job) == attrs.evolve(job, image=quick.PNG, end_image=OTHER)


@pytest.mark.parametrize("image", [None, LINK, "ada.png", PurePath("ada.png"), quick.PNG, bytearray(b"x")], ids=repr)
async def test_what_can_be_read_again_is_left_alone(image: Any) -> None:
    """Paths, links and bytes are what they are, and are not even looked at."""
    job = Job(key="k", image=image, end_image=image)
    assert await with_files_read(job) is job


async def test_open_file_that_is_no_picture() -> None:
    """What is no image is the job's error, before anything is sent."""
    with pytest.raises(InvalidRequestError, match="end_image"):
        await with_files_read(Job(key="k", image=quick.PNG, end_image=io.BytesIO(b"a text")))


# the same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(None, None, True, id="none"),
        pytest.param({"url": LINK}, {"url": LINK}, True, id="link"),
        pytest.param({"url": LINK}, {"url": f"{LINK}?x"}, False, id="another link"),
        pytest.param({"url": LINK}, None, False, id="none any more"),
        pytest.param({"sha256": "a", "size": 1}, {"sha256": "a", "path": "x", "mtime": 2}, True, id="content"),
        pytest.param({"sha256": "a", "path": "x"}, {"sha256": "b", "path": "x"}, False, id="another content"),
        pytest.param({"sha256": "a"}, {"url": LINK}, False, id="a link instead"),
        pytest.param({"sha256": "a", "path": "x"}, {"path": "x"}, False, id="content that is not known"),
    ],
)
def test_identity(one: dict[str, Any] | None, other: dict[str, Any] | None, *, same: bool) -> None:
    """An image is its content, or its address; where its file lies, and how old it is, does not matter."""
    assert (identity(one) == identity(other)) is same


# uploaded


@attrs.define
class Uploads:
    """Takes a moment for each upload, and notes how many there are at once."""

    fails: int = 0
    done: list[bytes] = attrs.field(factory=list)
    now: int = 0
    most: int = 0

    async def __call__(self, picture: LocalFile) -> str:
        """Upload an image."""
        assert isinstance(picture.content, bytes)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.005)
            if self.fails:
                self.fails -= 1
                msg = "no"
                raise TransferError(msg)
            self.done.append(picture.content)
            return f"https://cdn.example/{len(self.done)}.png"
        finally:
            self.now -= 1


@attrs.define(eq=False)
class Journal(NoJournal):
    """Remembers links, with their time."""

    kept: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    clock: Callable[[], float] = time.time

    async def link(self, digest: str, since: float) -> str | None:
        """Return a link that is young enough."""
        link, at = self.kept.get(digest, (None, 0.0))
        return link if at >= since else None

    def keep_link(self, digest: str, link: str) -> None:
        """Keep a link."""
        self.kept[digest] = link, self.clock()


def make(slots: int = 4, **options: Any) -> tuple[Links, Uploads, Journal]:
    """Make links, with what they upload by, and what remembers them."""
    uploads, journal = Uploads(**options), Journal()
    return Links(uploads, journal, asyncio.Semaphore(slots)), uploads, journal


async def link(links: Links, content: bytes) -> str:
    """Ask for the link of an image."""
    return await links.link(await open_picture("image", content), digest(content))


async def test_picture_is_uploaded_once() -> None:
    """A hundred jobs with the same image, at once and one after the other, share one upload."""
    links, uploads, journal = make()
    first = await asyncio.gather(*(link(links, quick.PNG) for _ in range(100)))
    assert {*first, await link(links, quick.PNG)} == {"https://cdn.example/1.png"}
    assert uploads.done == [quick.PNG]
    assert journal.kept[digest(quick.PNG)][0] == "https://cdn.example/1.png"


async def test_each_picture_has_its_own_link() -> None:
    """Images of different content are not mistaken for each other."""
    links, uploads, _ = make()
    contents = [quick.PNG + bytes([number]) for number in range(20)]
    found = await asyncio.gather(*(link(links, content) for content in contents))
    assert [uploads.done[int(name.rpartition("/")[2].removesuffix(".png")) - 1] for name in found] == contents


@pytest.mark.parametrize("slots", [1, 3])
async def test_no_more_uploads_at_once_than_allowed(slots: int) -> None:
    """The places for uploads are used, and there are no others."""
    links, uploads, _ = make(slots)
    await asyncio.gather(*(link(links, quick.PNG + bytes([number])) for number in range(12)))
    assert uploads.most == slots


async def test_who_waits_for_the_same_picture_holds_no_place() -> None:
    """Jobs that wait for an upload that is under way do not keep other images from being uploaded."""
    links, uploads, _ = make(slots=2)
    await asyncio.gather(*(link(links, quick.PNG) for _ in range(5)), link(links, OTHER))
    assert uploads.most == 2


async def test_link_of_an_earlier_run_is_used() -> None:
    """What the journal remembers need not be uploaded again."""
    links, uploads, journal = make()
    journal.keep_link(digest(quick.PNG), LINK)
    assert await link(links, quick.PNG) == LINK
    assert uploads.done == []


async def test_old_link_of_an_earlier_run_is_not_used() -> None:
    """A link that may have expired before the task reads it is replaced."""
    links, uploads, journal = make()
    journal.kept[digest(quick.PNG)] = LINK, time.time() - 86400 - 60
    assert await link(links, quick.PNG) == "https://cdn.example/1.png"
    assert uploads.done == [quick.PNG]


async def test_old_link_of_this_run_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch of several days an image is uploaded again when its link has become old."""
    links, uploads, journal = make()
    await link(links, quick.PNG)
    now, today = time.monotonic(), time.time()
    for hours, count in ((23, 1), (25, 2), (47, 2), (50, 3)):
        clock = SimpleNamespace(
            monotonic=lambda hours=hours: now + hours * 3600, time=lambda hours=hours: today + hours * 3600
        )
        monkeypatch.setattr("a2e_async.batch.uploads.time", clock)
        journal.clock = clock.time
        await link(links, quick.PNG)
        assert len(uploads.done) == count
    assert journal.kept[digest(quick.PNG)][0] == "https://cdn.example/3.png"


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many images the last ones are kept in memory, and the others are found in the journal."""
    monkeypatch.setattr("a2e_async.batch.uploads._REMEMBERED", 3)
    links, uploads, _ = make()
    contents = [quick.PNG + bytes([number]) for number in range(10)]
    for content in contents:
        await link(links, content)
    assert len(links._known) == 3
    for content in contents:
        await link(links, content)
    assert uploads.done == contents
    assert not links._locks


async def test_forgotten_link_is_uploaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a journal, an image that came too long ago is uploaded once more; one that just came is not."""
    monkeypatch.setattr("a2e_async.batch.uploads._REMEMBERED", 1)
    uploads = Uploads()
    links = Links(uploads, NoJournal(), asyncio.Semaphore(1))
    for content in (quick.PNG, quick.PNG, OTHER, OTHER, quick.PNG):
        await link(links, content)
    assert uploads.done == [quick.PNG, OTHER, quick.PNG]


async def test_failed_upload_is_its_jobs_error() -> None:
    """An upload that fails fails for the job whose turn it was; the next one tries, and the rest share its link."""
    links, uploads, journal = make(fails=1)
    answers = await asyncio.gather(*(link(links, quick.PNG) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [TransferError, str, str, str, str]
    assert uploads.done == [quick.PNG]
    assert len(journal.kept) == 1


async def test_cancelled_upload_is_taken_over() -> None:
    """When the job that uploads is cancelled, another one of the same image does it."""
    links, uploads, _ = make(slots=1)
    first, second = (asyncio.create_task(link(links, quick.PNG)) for _ in range(2))
    while not uploads.now:
        await asyncio.sleep(0)
    first.cancel()
    assert await second == "https://cdn.example/1.png"
    assert first.cancelled()
    assert uploads.done == [quick.PNG]
