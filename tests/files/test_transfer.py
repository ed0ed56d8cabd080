"""What is known about bytes: images, results and names, and where a file that was cut off goes on."""

from __future__ import annotations

import pytest

from a2e_async._protocol.failures import is_passing
from a2e_async._protocol.messages import Response
from a2e_async.errors import NetworkError, ServerError, TransferError
from a2e_async.files.download_state import Arrival, check_status
from a2e_async.files.media_types import Kind, kind_of, looks_like_no_result, name_from, storage_key

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_BITMAP = b"BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00"


@pytest.mark.parametrize(
    ("head", "content_type", "extension"),
    [
        pytest.param(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png", ".png", id="PNG"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg", ".jpg", id="JPEG (JFIF)"),
        pytest.param(b"\xff\xd8\xff\xe1\x00\x10Exif", "image/jpeg", ".jpg", id="JPEG (Exif)"),
        pytest.param(b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp", ".webp", id="WebP"),
        pytest.param(b"GIF87a\x01\x00", "image/gif", ".gif", id="GIF 87"),
        pytest.param(b"GIF89a\x01\x00", "image/gif", ".gif", id="GIF 89"),
        pytest.param(_BITMAP, "image/bmp", ".bmp", id="BMP"),
        pytest.param(b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav", ".wav", id="WAV"),
        pytest.param(b"ID3\x04\x00\x00", "audio/mpeg", ".mp3", id="MP3 with a tag"),
        pytest.param(b"\xff\xfb\x90\x64", "audio/mpeg", ".mp3", id="MP3 (MPEG 1)"),
        pytest.param(b"\xff\xf3\x40\xc4", "audio/mpeg", ".mp3", id="MP3 (MPEG 2)"),
        pytest.param(b"\x00\x00\x00\x1cftypM4A \x00", "audio/mp4", ".m4a", id="M4A"),
        pytest.param(b"OggS\x00\x02", "audio/ogg", ".ogg", id="OGG"),
        pytest.param(b"fLaC\x00\x00", "audio/flac", ".flac", id="FLAC"),
        pytest.param(b"\x00\x00\x00\x20ftypisom\x00", "video/mp4", ".mp4", id="MP4"),
        pytest.param(b"\x00\x00\x00\x14ftypqt  \x00", "video/quicktime", ".mov", id="MOV"),
        pytest.param(b"RIFF\x24\x00\x00\x00AVI LIST", "video/x-msvideo", ".avi", id="AVI"),
        pytest.param(b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video/webm", ".webm", id="WebM"),
        pytest.param(b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska", "video/x-matroska", ".mkv", id="MKV"),
    ],
)
def test_files_are_known_by_their_first_bytes(head: bytes, content_type: str, extension: str) -> None:
    """Each kind that A2E takes is recognised, with the type and extension for its upload."""
    kind = kind_of(head)
    assert kind == Kind(content_type, extension)
    assert kind.medium == content_type.split("/", maxsplit=1)[0]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x89PN", id="cut PNG"),
        pytest.param(b"\x89PNG\n\x1a\n", id="PNG damaged by a text-mode transfer"),
        pytest.param(b"%PDF-1.7", id="PDF"),
        pytest.param(b"\xff\xf1\x50\x80", id="AAC without a container"),
        pytest.param(b"\xff\xfb", id="cut MP3"),
        pytest.param(b"\xff\xfb\xf0\x00", id="a frame of a bit rate that does not exist"),
        pytest.param(b"<svg xmlns='x'>", id="SVG"),
        pytest.param(b"\x00\x00\x00\x20ftypheic", id="HEIC"),
        pytest.param(b"\x00\x00\x00\x20ftypavif", id="AVIF"),
        pytest.param(b"II*\x00", id="TIFF"),
        pytest.param(b"RIFF\x24\x00", id="cut RIFF"),
        pytest.param(b"GIF90a", id="no version of GIF"),
        pytest.param(b"BMW is a maker of cars", id="text that begins with BM"),
        pytest.param(_BITMAP[:13], id="BMP without its header"),
        pytest.param(b"data:image/png;base64,iVBO", id="data: URL"),
    ],
)
def test_other_bytes_are_no_picture(head: bytes) -> None:
    """What A2E would reject is not taken for an image."""
    assert kind_of(head) is None


def test_storage_key_is_unique_and_has_the_extension() -> None:
    """An upload's key is the unique part and the extension of what the bytes are."""
    assert storage_key("4f2c", Kind("image/webp", ".webp")) == "4f2c.webp"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ada.png", "ada"),
        ("/home/ada/pictures/ada.tar.gz", "ada.tar"),
        ("C:\\pictures\\ada.png", "ada"),
        ("https://example.com/a/ada%20smiles.png?x=1/2#y", "ada smiles"),
        ("https://example.com/a/", "a"),
        ("https://example.com", ""),
        ("https://example.com/%F0%9F%8E%AC.mp4", "\U0001f3ac"),
        ("folder/", "folder"),
        ("", ""),
        ("/", ""),
        ("bell\x07\u202eback.png", "bellback"),
        ("  ada  .png", "ada"),
    ],
    ids=ascii,
)
def test_name_comes_from_the_last_part(source: str, name: str) -> None:
    """A task is named after its image, so that a list tells which is which."""
    assert name_from(source) == name


def test_name_is_short() -> None:
    """A very long file name does not become a very long display name."""
    assert len(name_from("a" * 5000 + ".png")) <= 80


@pytest.mark.parametrize(
    "source", ["http://[bad", "https://[::1", "https://example.com]/ada.png", "http://a\u2100.com/x"], ids=ascii
)
def test_name_of_a_broken_url(source: str) -> None:
    """A URL that cannot be split still gives a name or none; the link's own check says what is wrong with it."""
    assert isinstance(name_from(source), str)


@pytest.mark.parametrize(
    ("content_type", "head"),
    [
        pytest.param("text/html; charset=utf-8", b"\x00\x00\x00\x18ftypmp42", id="type says HTML"),
        pytest.param("TEXT/HTML", b"", id="type in capitals"),
        pytest.param("application/json", b"\x00", id="type says JSON"),
        pytest.param("application/xml", b"\x00", id="type says XML"),
        pytest.param("application/octet-stream", b"<!DOCTYPE html>", id="doctype"),
        pytest.param("video/mp4", b"  \r\n<HTML>", id="page behind white space"),
        pytest.param("video/mp4", b'\xef\xbb\xbf<?xml version="1.0"?>', id="XML behind a byte order mark"),
        pytest.param("", b"<Error><Code>AccessDenied</Code>", id="storage error"),
        pytest.param("binary/octet-stream", b'{"code":1001}', id="JSON"),
        pytest.param("binary/octet-stream", b'{ "code": 1001 }', id="spaced JSON"),
        pytest.param("binary/octet-stream", b'{\n  "code": 1001\n}', id="indented JSON"),
        pytest.param("binary/octet-stream", b'{\r\n\t"code": 1001\r\n}', id="indented JSON of Windows"),
        pytest.param("binary/octet-stream", b'[{"code":1001}]', id="JSON array"),
    ],
)
def test_pages_and_error_texts_are_no_results(content_type: str, head: bytes) -> None:
    """A page that comes instead of the video is not saved as the video."""
    assert looks_like_no_result(content_type, head)


@pytest.mark.parametrize(
    ("content_type", "head"),
    [
        pytest.param("video/mp4", b"\x00\x00\x00\x18ftypmp42", id="MP4"),
        pytest.param("application/octet-stream", b"\x00\x00\x00\x18ftypisom", id="MP4 without a type"),
        pytest.param("", b"\xff\xd8\xff\xe0", id="JPEG without a type"),
        pytest.param("image/png", b"\xff\xd8\xff\xe0", id="JPEG called PNG"),
        pytest.param("audio/mpeg", b"ID3\x04", id="MP3"),
        pytest.param("video/webm", b"\x1a\x45\xdf\xa3", id="WebM"),
        pytest.param("video/mp4", b"", id="nothing yet"),
    ],
)
def test_results_are_results(content_type: str, head: bytes) -> None:
    """A paid result is never refused for an odd type or extension."""
    assert not looks_like_no_result(content_type, head)


VERSION = '"v1"'
"""A strong ETag."""


def begun(have: int = 40, headers: dict[str, str] | None = None) -> Arrival:
    """Return a file of 100 bytes of which some have arrived, after a first answer with these headers besides."""
    arrival = Arrival()
    arrival.meet(Response(status=200, headers=named({"content_length": "100"} | (headers or {}))))
    arrival.take(bytes(have))
    return arrival


def named(headers: dict[str, str]) -> dict[str, str]:
    """Return headers as they are called; an empty one was not sent."""
    return {name.replace("_", "-"): text for name, text in headers.items() if text}


def rest(content_range: str = "bytes 40-99/100", **headers: str) -> Response:
    """Return an answer to who asked for a range."""
    return Response(status=206, headers={"content-range": content_range} | named(headers))


def test_request_is_for_all_of_it_as_long_as_nothing_is_there() -> None:
    """Nothing is there, so no range is asked for; and the bytes are wanted as they are."""
    for arrival in (Arrival(), begun(have=0, headers={"etag": VERSION})):
        assert arrival.ask() == {"Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        pytest.param({"etag": VERSION}, {"Range": "bytes=40-", "If-Range": VERSION}, id="strong ETag"),
        pytest.param(
            {"etag": VERSION, "content_length": ""}, {"Range": "bytes=40-", "If-Range": VERSION}, id="ETag, no length"
        ),
        pytest.param({"etag": 'W/"v1"'}, {"Range": "bytes=40-"}, id="weak ETag: only the length speaks for it"),
        pytest.param({}, {"Range": "bytes=40-"}, id="length only"),
        pytest.param({"last_modified": "Thu, 13 Mar 2025 07:58:27 GMT"}, {"Range": "bytes=40-"}, id="a date is weak"),
        pytest.param({"content_length": ""}, {}, id="nothing to tell the rest by"),
        pytest.param({"content_length": "", "etag": 'W/"v1"'}, {}, id="weak ETag, no length"),
        pytest.param({"content_encoding": "gzip", "etag": VERSION}, {}, id="the range would be of other bytes"),
        pytest.param({"content_encoding": "IDENTITY"}, {"Range": "bytes=40-"}, id="no encoding at all"),
        pytest.param({"content_length": "1e2"}, {}, id="a length that is no number"),
    ],
)
def test_rest_is_asked_for(headers: dict[str, str], asked: dict[str, str]) -> None:
    """The rest is asked for only where it can be told from the rest of another file."""
    assert begun(headers=headers).ask() == {"Accept-Encoding": "identity"} | asked


@pytest.mark.parametrize(
    ("known", "answer"),
    [
        pytest.param({"etag": VERSION}, rest(etag=VERSION), id="same ETag"),
        pytest.param({"etag": VERSION}, rest(), id="If-Range was obeyed without a word"),
        pytest.param(
            {"etag": VERSION, "last_modified": "a"}, rest(etag=VERSION, last_modified="b"), id="the ETag decides"
        ),
        pytest.param({"etag": 'W/"v1"'}, rest(etag='W/"v1"'), id="same weak ETag and length"),
        pytest.param({"last_modified": "a"}, rest(last_modified="a"), id="same date and length"),
        pytest.param({"last_modified": "a"}, rest(), id="same length, no date"),
        pytest.param({}, rest(last_modified="a"), id="same length, a date"),
        pytest.param({}, rest("BYTES 40-99/100"), id="the unit in capitals"),
        pytest.param({}, rest("bytes 40-49/100"), id="a part of the rest"),
        pytest.param({}, rest(content_length="60"), id="with its length"),
    ],
)
def test_rest_goes_on(known: dict[str, str], answer: Response) -> None:
    """An answer that begins where the file ends, and belongs to it, goes on."""
    arrival = begun(headers=known)
    arrival.meet(answer)
    assert (arrival.have, arrival.total) == (40, 100)


def test_rest_tells_the_length() -> None:
    """A file of unknown length has the one that the answer with its rest tells."""
    arrival = begun(headers={"content_length": "", "etag": VERSION})
    arrival.meet(rest(etag=VERSION))
    assert (arrival.have, arrival.total) == (40, 100)


@pytest.mark.parametrize(
    ("known", "answer"),
    [
        pytest.param({"etag": VERSION}, rest(etag='"v2"'), id="other ETag"),
        pytest.param({"etag": VERSION}, rest(etag='W/"v1"'), id="the same one, grown weak"),
        pytest.param({"last_modified": "a"}, rest(last_modified="b"), id="other date"),
        pytest.param({"etag": VERSION, "last_modified": "a"}, rest(last_modified="b"), id="no ETag, other date"),
        pytest.param({}, rest("bytes 40-199/200"), id="other length"),
        pytest.param({"etag": VERSION}, rest("bytes 40-199/200", etag=VERSION), id="other length of the same ETag"),
        pytest.param({}, rest("bytes 39-99/100"), id="begins too early"),
        pytest.param({}, rest("bytes 41-99/100"), id="begins too late"),
        pytest.param({}, rest("bytes 0-99/100"), id="all of it"),
        pytest.param({}, rest("bytes 40-39/100"), id="ends before it begins"),
        pytest.param({}, rest("bytes 40-100/100"), id="ends behind the end"),
        pytest.param({}, rest("bytes 40-99/*"), id="no length"),
        pytest.param({}, rest("bytes */100"), id="no range"),
        pytest.param({}, rest("items 40-99/100"), id="other unit"),
        pytest.param({}, rest("bytes 40-99/100, 0-1/100"), id="more than one"),
        pytest.param({}, rest(f"bytes 40-99/{'9' * 5000}"), id="a number without end"),
        pytest.param({}, rest("bytes \u0664\u0660-99/100"), id="digits of another script"),
        pytest.param({}, rest(content_length="59"), id="shorter than its range"),
        pytest.param({}, rest(content_encoding="gzip"), id="packed"),
        pytest.param({}, Response(status=206), id="without a word"),
        pytest.param({}, Response(status=416, headers={"content-range": "bytes */40"}), id="nothing is left"),
    ],
)
def test_rest_of_something_else(known: dict[str, str], answer: Response) -> None:
    """What is not the rest is not appended: the file begins anew, and the next request is for all of it."""
    arrival = begun(headers=known)
    with pytest.raises(ServerError, match="something else") as caught:
        arrival.meet(answer)
    assert (caught.value.status, arrival.have) == (answer.status, 0)
    assert is_passing(caught.value)
    assert "Range" not in arrival.ask()


def test_whole_answer_begins_anew() -> None:
    """An answer with all of the file replaces what is there, and what was known about it."""
    arrival = begun(headers={"etag": VERSION})
    arrival.meet(Response(status=200, headers={"content-length": "7", "etag": '"v2"'}))
    assert (arrival.have, arrival.total) == (0, 7)
    arrival.take(b"1234")
    assert arrival.ask()["If-Range"] == '"v2"'


@pytest.mark.parametrize("status", [206, 416])
def test_range_that_nobody_asked_for(status: int) -> None:
    """A part of the file, or a complaint about one, is refused if the whole file was asked for."""
    with pytest.raises(TransferError, match=f"HTTP {status}") as caught:
        Arrival().meet(Response(status=status, headers={"content-range": "bytes 0-99/100"}))
    assert caught.value.status == status


def test_trouble_in_between_forgets_nothing() -> None:
    """A storage that is in trouble for a moment, or refuses, says nothing about what is there."""
    arrival = begun(headers={"etag": VERSION})
    for status in (503, 404):
        with pytest.raises((ServerError, TransferError)):
            arrival.meet(Response(status=status))
    assert arrival.ask()["Range"] == "bytes=40-"


@pytest.mark.parametrize("status", [408, 429, 500, 503, 599])
def test_storage_in_trouble(status: int) -> None:
    """Trouble of the storage can pass, and a Retry-After is kept."""
    answer = Response(status=status, headers={"retry-after": "7"})
    with pytest.raises(ServerError, match="The upload") as caught:
        check_status(answer, {200}, "The upload", "whatever")
    assert (caught.value.status, caught.value.retry_after) == (status, 7.0)


@pytest.mark.parametrize("status", [204, 302, 400, 403, 404, 410])
def test_storage_that_refuses(status: int) -> None:
    """A refusal is final, says why it may be, and keeps its status."""
    with pytest.raises(TransferError, match="links die") as caught:
        check_status(Response(status=status), {200}, "The download", "links die")
    assert caught.value.status == status


def test_good_status_is_good() -> None:
    """Any status of those that are good passes."""
    check_status(Response(status=204), range(200, 300), "The upload", "whatever")


def test_page_is_known_however_small_its_pieces_are() -> None:
    """A page that comes byte by byte is known as one, before its pieces are written."""
    arrival = Arrival()
    arrival.meet(Response(status=200, headers={"content-type": "video/mp4"}))
    with pytest.raises(TransferError, match=r"video/mp4.* instead of a result"):
        for byte in b"  <html><body>Please wait":
            arrival.take(bytes([byte]))
    assert arrival.have < 10


def test_video_may_hold_anything_further_on() -> None:
    """Only the beginning is looked at: behind it there may be what looks like a page."""
    arrival = begun(have=60)
    arrival.take(b"<html>")
    arrival.meet(rest("bytes 66-99/100"))
    arrival.take(b"<html>")
    assert arrival.have == 72


def test_only_the_beginning_is_kept() -> None:
    """What is kept to judge by stays small, however large the file is."""
    arrival = Arrival()
    arrival.meet(Response(status=200))
    for _ in range(3):
        arrival.take(bytes(1_000_000))
    assert len(arrival._head) <= 512


def test_whole_file() -> None:
    """A file of the length that was told is whole."""
    arrival = begun()
    arrival.meet(rest())
    arrival.take(bytes(60))
    arrival.check_whole()


def test_file_of_unknown_length_is_whole_at_its_end() -> None:
    """Where no length was told, the end of the answer is the end of the file."""
    begun(headers={"content_length": ""}).check_whole()


@pytest.mark.parametrize(
    ("have", "headers", "words"),
    [
        pytest.param(40, {}, "40 of 100 bytes", id="some are missing"),
        pytest.param(0, {}, "0 of 100 bytes", id="all are missing"),
        pytest.param(0, {"content_length": "0"}, "0 of 0 bytes", id="an empty file"),
        pytest.param(0, {"content_length": ""}, "0 of some bytes", id="an empty file of unknown length"),
    ],
)
def test_cut_file(have: int, headers: dict[str, str], words: str) -> None:
    """A file that is not whole, or empty, is trouble that can pass; what is there is kept."""
    arrival = begun(have, headers)
    with pytest.raises(NetworkError, match=words) as caught:
        arrival.check_whole()
    assert is_passing(caught.value)
    assert arrival.have == have


def test_too_much() -> None:
    """More than there can be means that the parts do not fit: the file begins anew."""
    arrival = begun()
    arrival.meet(rest())
    with pytest.raises(ServerError, match="more than"):
        arrival.take(bytes(61))
    assert arrival.have == 0
    assert not arrival.has_advanced


def test_patience_is_renewed_by_progress_only() -> None:
    """Patience is renewed when more is there than ever before, once for the same bytes."""
    arrival = begun()
    assert arrival.has_advanced
    assert arrival.renew()
    assert not arrival.has_advanced
    assert not arrival.renew()
    arrival.meet(rest())
    arrival.take(b"1")
    assert arrival.renew()


def test_beginning_anew_is_no_progress() -> None:
    """Who begins anew again and again, and comes no further than before, gets no more patience."""
    arrival = begun(have=40)
    assert arrival.renew()
    for have in (1, 39, 40):
        arrival.meet(Response(status=200))
        arrival.take(bytes(have))
        assert not arrival.renew()
    arrival.take(b"1")
    assert arrival.renew()
