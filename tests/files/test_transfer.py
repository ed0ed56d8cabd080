"""Media types, display names, and the state of a download."""

from __future__ import annotations

import pytest

from a2e_async._protocol.failures import failure_of
from a2e_async._protocol.messages import Response
from a2e_async._protocol.schema import name_from
from a2e_async.errors import NetworkError, ServerError, TransferError
from a2e_async.files.download_state import MIN_SPEED, DownloadState, SpeedCheck, check_status
from a2e_async.files.media_types import HEAD, MediaType, content_type_of, detect, find_mismatch, storage_key

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
def test_media_type_is_detected_from_the_first_bytes(head: bytes, content_type: str, extension: str) -> None:
    """Each media type that A2E accepts is detected, with the type and extension for its upload."""
    media_type = detect(head)
    assert media_type == MediaType(content_type, extension)
    assert media_type.medium == content_type.split("/", maxsplit=1)[0]


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
        pytest.param(b"GIF90a", id="unknown version of GIF"),
        pytest.param(b"BMW is a maker of cars", id="text that begins with BM"),
        pytest.param(_BITMAP[:13], id="BMP without its header"),
        pytest.param(b"data:image/png;base64,iVBO", id="data: URL"),
    ],
)
def test_unsupported_files_are_not_detected(head: bytes) -> None:
    """A file that A2E would reject has no media type."""
    assert detect(head) is None


def test_storage_key_is_unique_and_has_the_extension() -> None:
    """The key of an upload is the unique part and the extension of its media type."""
    assert storage_key("4f2c", MediaType("image/webp", ".webp")) == "4f2c.webp"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ada.png", "ada"),
        ("/home/ada/images/ada.tar.gz", "ada.tar"),
        ("C:\\images\\ada.png", "ada"),
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
    """The display name is the last part of a path or URL, without the extension."""
    assert name_from(source) == name


def test_name_is_short() -> None:
    """A very long file name does not become a very long display name."""
    assert len(name_from("a" * 5000 + ".png")) <= 80


@pytest.mark.parametrize(
    "source", ["http://[bad", "https://[::1", "https://example.com]/ada.png", "http://a\u2100.com/x"], ids=ascii
)
def test_name_of_a_broken_url(source: str) -> None:
    """A URL that cannot be parsed gives a name or none, not an exception."""
    assert isinstance(name_from(source), str)


MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(500)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\n", id="one byte"),
        pytest.param(b"Error 1010: the owner of this site has banned you", id="text"),
        pytest.param("Fehler: gelöscht".encode(), id="UTF-8"),
        pytest.param("<html>expired</html>".encode("utf-16"), id="UTF-16"),
        pytest.param("<html>expired</html>".encode("utf-16-be"), id="UTF-16 without its mark"),
        pytest.param(b"<!DOCTYPE html>", id="doctype"),
        pytest.param(b"<!-- gateway -->\n<html>", id="page behind a comment"),
        pytest.param(b"  \r\n<HTML>", id="page behind white space"),
        pytest.param(b'\xef\xbb\xbf<?xml version="1.0"?>', id="XML behind a byte order mark"),
        pytest.param(b"<Error><Code>AccessDenied</Code>", id="storage error"),
        pytest.param(b"{}", id="empty JSON object"),
        pytest.param(b'{"code":1001}', id="JSON"),
        pytest.param(b"null", id="JSON null"),
        pytest.param(b"#EXTM3U\n#EXT-X-VERSION:3\nvideo.ts\n", id="playlist"),
        pytest.param(bytes(HEAD), id="zeros"),
        pytest.param(b"Get free stuff here. " * 30, id="text with the name of a box of MOV"),
        pytest.param(b"G" * HEAD, id="text with the mark of a transport stream"),
        pytest.param(b"\x1f\x8b\x08" + bytes(500), id="gzip"),
        pytest.param(b"PK\x03\x04" + bytes(500), id="zip"),
        pytest.param(b"%PDF-1.7", id="PDF"),
        pytest.param(MP4[:24], id="MP4 that ends behind its first box"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(500), id="image"),
        pytest.param(b"\x00\x00\x00\x20ftypavif" + bytes(500), id="image in the container of MP4"),
        pytest.param(b"ID3\x04\x00\x00" + bytes(500), id="audio"),
        pytest.param(b"ID3 tags of the song", id="text that begins with the mark of an MP3"),
    ],
)
def test_no_video(head: bytes) -> None:
    """Bytes that are not a video are no result for a file `.mp4`."""
    mismatch = find_mismatch(head, ".mp4")
    assert mismatch is not None
    assert mismatch.endswith("instead of a video")


@pytest.mark.parametrize(
    ("head", "extension"),
    [
        pytest.param(MP4, ".mp4", id="MP4"),
        pytest.param(MP4, ".MP4", id="extension in capitals"),
        pytest.param(MP4, "", id="no extension"),
        pytest.param(MP4, ".part", id="unknown extension"),
        pytest.param(MP4, ".m4a", id="audio in the container of a video"),
        pytest.param(b"\x1a\x45\xdf\xa3" + bytes(500), ".mp4", id="WebM under another name"),
        pytest.param(b"\x00\x00\x00\x08wide\x00\x00\x00\x00mdat", ".mov", id="old MOV"),
        pytest.param((b"G" + bytes(187)) * 3, ".mp4", id="transport stream"),
        pytest.param(b"\xff\xd8\xff\xe0", ".png", id="JPEG called PNG"),
        pytest.param(b"\x00\x00\x00\x20ftypavif" + bytes(500), ".webp", id="AVIF"),
        pytest.param(b"ID3\x04", ".mp3", id="MP3"),
        pytest.param(b"RIFF\x24\x00\x00\x00WAVEfmt ", ".wav", id="WAV"),
        pytest.param(b"\xff\xf1\x50\x80", ".aac", id="AAC"),
    ],
)
def test_results(head: bytes, extension: str) -> None:
    """A video, an image or audio is a result for a file of any type of the same medium, and for one of no type."""
    assert find_mismatch(head, extension) is None


def test_labels_do_not_count() -> None:
    """A video that the storage calls a text is a result."""
    for label in ("text/plain", "text/html", "application/json", ""):
        state = DownloadState(".mp4")
        state.on_response(Response(status=200, headers={"content-type": label}))
        state.on_chunk(MP4)
        state.check_complete()


VERSION = '"v1"'
"""A strong ETag."""


def started(received: int = 40, headers: dict[str, str] | None = None) -> DownloadState:
    """Return the state of a file of 100 bytes, after some bytes of a first response with these headers."""
    state = DownloadState()
    state.on_response(Response(status=200, headers=named({"content_length": "100"} | (headers or {}))))
    state.on_chunk(MP4[:received])
    return state


def named(headers: dict[str, str]) -> dict[str, str]:
    """Return headers under their names on the wire, without the empty ones."""
    return {name.replace("_", "-"): text for name, text in headers.items() if text}


def rest(content_range: str = "bytes 40-99/100", **headers: str) -> Response:
    """Return an response to a request for a range."""
    return Response(status=206, headers={"content-range": content_range} | named(headers))


def test_first_request_is_for_the_whole_file() -> None:
    """Without received bytes the request has no range, and accepts no encoding."""
    for state in (DownloadState(), started(received=0, headers={"etag": VERSION})):
        assert state.request_headers() == {"Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"etag": VERSION}, {"Range": "bytes=40-", "If-Range": VERSION}, id="strong ETag"),
        pytest.param(
            {"etag": VERSION, "content_length": ""}, {"Range": "bytes=40-", "If-Range": VERSION}, id="ETag, no length"
        ),
        pytest.param({"etag": 'W/"v1"'}, {"Range": "bytes=40-"}, id="weak ETag: only the length counts"),
        pytest.param({}, {"Range": "bytes=40-"}, id="length only"),
        pytest.param({"last_modified": "Thu, 13 Mar 2025 07:58:27 GMT"}, {"Range": "bytes=40-"}, id="a date is weak"),
        pytest.param({"content_length": ""}, {}, id="nothing to identify the rest"),
        pytest.param({"content_length": "", "etag": 'W/"v1"'}, {}, id="weak ETag, no length"),
        pytest.param({"content_encoding": "gzip", "etag": VERSION}, {}, id="the range would be of other bytes"),
        pytest.param({"content_encoding": "IDENTITY"}, {"Range": "bytes=40-"}, id="no encoding at all"),
        pytest.param({"content_length": "1e2"}, {}, id="a length that is not a number"),
    ],
)
def test_request_for_the_rest(headers: dict[str, str], expected: dict[str, str]) -> None:
    """The rest is requested only if it can be distinguished from the rest of another file."""
    assert started(headers=headers).request_headers() == {"Accept-Encoding": "identity"} | expected


@pytest.mark.parametrize(
    ("known", "response"),
    [
        pytest.param({"etag": VERSION}, rest(etag=VERSION), id="same ETag"),
        pytest.param({"etag": VERSION}, rest(), id="If-Range was obeyed, without an ETag"),
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
def test_rest_continues_the_file(known: dict[str, str], response: Response) -> None:
    """An response with the requested rest of the same file continues it."""
    state = started(headers=known)
    state.on_response(response)
    assert (state.received, state.total) == (40, 100)


def test_rest_gives_the_length() -> None:
    """The length of a file is taken from the response with its rest, if it was unknown."""
    state = started(headers={"content_length": "", "etag": VERSION})
    state.on_response(rest(etag=VERSION))
    assert (state.received, state.total) == (40, 100)


@pytest.mark.parametrize(
    ("known", "response"),
    [
        pytest.param({"etag": VERSION}, rest(etag='"v2"'), id="other ETag"),
        pytest.param({"etag": VERSION}, rest(etag='W/"v1"'), id="the same one, now weak"),
        pytest.param({"last_modified": "a"}, rest(last_modified="b"), id="other date"),
        pytest.param({"etag": VERSION, "last_modified": "a"}, rest(last_modified="b"), id="no ETag, other date"),
        pytest.param({}, rest("bytes 40-199/200"), id="other length"),
        pytest.param({"etag": VERSION}, rest("bytes 40-199/200", etag=VERSION), id="other length of the same ETag"),
        pytest.param({}, rest("bytes 39-99/100"), id="begins too early"),
        pytest.param({}, rest("bytes 41-99/100"), id="begins too late"),
        pytest.param({}, rest("bytes 0-99/100"), id="the whole file"),
        pytest.param({}, rest("bytes 40-39/100"), id="ends before it begins"),
        pytest.param({}, rest("bytes 40-100/100"), id="ends after the end"),
        pytest.param({}, rest("bytes 40-99/*"), id="no length"),
        pytest.param({}, rest("bytes */100"), id="no range"),
        pytest.param({}, rest("items 40-99/100"), id="other unit"),
        pytest.param({}, rest("bytes 40-99/100, 0-1/100"), id="more than one"),
        pytest.param({}, rest(f"bytes 40-99/{'9' * 5000}"), id="a number of 5000 digits"),
        pytest.param({}, rest("bytes \u0664\u0660-99/100"), id="digits of another script"),
        pytest.param({}, rest(content_length="59"), id="shorter than its range"),
        pytest.param({}, rest(content_encoding="gzip"), id="encoded"),
        pytest.param({}, Response(status=206), id="no Content-Range"),
        pytest.param({}, Response(status=416, headers={"content-range": "bytes */40"}), id="nothing is left"),
    ],
)
def test_rest_of_something_else(known: dict[str, str], response: Response) -> None:
    """Another response than the rest is not appended: the next request is for the whole file."""
    state = started(headers=known)
    with pytest.raises(ServerError, match="did not send the rest") as caught:
        state.on_response(response)
    assert (caught.value.status, state.received) == (response.status, 0)
    assert failure_of(caught.value).transient
    assert "Range" not in state.request_headers()


def test_whole_file_starts_again() -> None:
    """An response with the whole file replaces the received bytes, the length and the ETag."""
    state = started(headers={"etag": VERSION})
    state.on_response(Response(status=200, headers={"content-length": "7", "etag": '"v2"'}))
    assert (state.received, state.total) == (0, 7)
    state.on_chunk(b"1234")
    assert state.request_headers()["If-Range"] == '"v2"'


@pytest.mark.parametrize("status", [206, 416])
def test_range_without_a_request_for_one(status: int) -> None:
    """A 206 or 416 is an error if the whole file was requested."""
    with pytest.raises(TransferError, match=f"HTTP {status}") as caught:
        DownloadState().on_response(Response(status=status, headers={"content-range": "bytes 0-99/100"}))
    assert caught.value.status == status


def test_failed_request_keeps_the_state() -> None:
    """After an error of the storage the received bytes still count."""
    state = started(headers={"etag": VERSION})
    for status in (503, 404):
        with pytest.raises((ServerError, TransferError)):
            state.on_response(Response(status=status))
    assert state.request_headers()["Range"] == "bytes=40-"


@pytest.mark.parametrize("status", [408, 429, 500, 503, 599])
def test_storage_that_is_not_available(status: int) -> None:
    """A 408, 429 or 5xx is a ServerError, with the Retry-After."""
    response = Response(status=status, headers={"retry-after": "7"})
    with pytest.raises(ServerError, match=f"HTTP {status}") as caught:
        check_status(response, {200}, "The upload", "a hint")
    assert (caught.value.status, caught.value.retry_after) == (status, 7.0)


@pytest.mark.parametrize("status", [204, 302, 400, 403, 404, 410])
def test_storage_that_rejects(status: int) -> None:
    """Any other status is a TransferError, with the hint and the status."""
    with pytest.raises(TransferError, match="links expire") as caught:
        check_status(Response(status=status), {200}, "The download", "links expire")
    assert caught.value.status == status


def test_firewall_of_a_storage() -> None:
    """The challenge of a firewall is named, instead of a hint that does not apply."""
    response = Response(status=403, headers={"cf-mitigated": "challenge"})
    with pytest.raises(TransferError, match=r"HTTP 403\): a firewall \(Cloudflare\)"):
        check_status(response, {200}, "The download", "links expire")


def test_good_status_is_good() -> None:
    """Each of the good statuses passes."""
    check_status(Response(status=204), range(200, 300), "The upload", "a hint")


@pytest.mark.parametrize("size", [30, 600])
def test_page_in_small_chunks(size: int) -> None:
    """A web page that arrives byte by byte is detected at its end, or after 512 bytes."""
    state = DownloadState(".mp4")
    state.on_response(Response(status=200, headers={"content-type": "video/mp4"}))
    with pytest.raises(TransferError, match="a text or a web page instead of a video"):
        for byte in b"  <html><body>Please wait".ljust(size):
            state.on_chunk(bytes([byte]))
        state.check_complete()
    assert state.received <= HEAD


def test_half_a_page_can_become_a_video() -> None:
    """A connection that is cut after a few bytes is no reason to give up: the type is not known yet."""
    state = started(received=2)
    with pytest.raises(NetworkError, match="incomplete"):
        state.check_complete()


def test_only_the_beginning_is_checked() -> None:
    """Bytes like those of a page are allowed after the beginning of a file."""
    state = DownloadState(".mp4")
    state.on_response(Response(status=200, headers={"content-length": "1000"}))
    state.on_chunk(MP4)
    state.on_chunk(b"<html>")
    state.on_response(rest(f"bytes {state.received}-999/1000"))
    state.on_chunk(b"<html>")
    assert state.received == len(MP4) + 12


def test_only_the_beginning_is_stored() -> None:
    """The state stores at most 512 bytes of a file of any size."""
    state = DownloadState()
    state.on_response(Response(status=200))
    for _ in range(3):
        state.on_chunk(MP4 + bytes(1_000_000))
    assert len(state.head) <= 512


@pytest.mark.parametrize(
    ("head", "content_type"),
    [(MP4, "video/mp4"), (b"FLV\x01", "application/octet-stream"), (b"<html>", "application/octet-stream")],
)
def test_content_type_of_a_result(head: bytes, content_type: str) -> None:
    """Only a type that is known from the first bytes is named."""
    assert content_type_of(head) == content_type


def part(state: DownloadState, content_range: str, **headers: str) -> Response:
    """Return an answer with a part, and check that it was requested."""
    assert state.request_headers()["Range"] == f"bytes={state.received}-{state.end and state.end - 1}"
    return Response(status=206, headers={"content-range": content_range} | named(headers))


def test_first_bytes_and_then_a_part() -> None:
    """The first bytes are requested with their end, and then the part; both are complete when they have it."""
    state = DownloadState(end=40)
    state.on_response(part(state, "bytes 0-39/1000", etag=VERSION, last_modified="a"))
    state.on_chunk(MP4[:40])
    state.check_complete()
    assert (state.sends_ranges, state.total, state.etag, state.modified) == (True, 1000, VERSION, "a")
    state.pin(700, 800)
    state.on_response(part(state, "bytes 700-799/1000", etag=VERSION))
    state.on_chunk(bytes(60))
    with pytest.raises(NetworkError, match="760 of 800"):
        state.check_complete()
    state.on_response(part(state, "bytes 760-799/1000", etag=VERSION))
    state.on_chunk(bytes(40))
    state.check_complete()
    assert state.head == MP4[:40]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Response(status=200, headers={"content-length": "1000"}), id="the whole"),
        pytest.param(Response(status=206, headers={"content-range": "bytes 700-999/1000"}), id="more than the part"),
        pytest.param(Response(status=206, headers={"content-range": "bytes 700-799/2000"}), id="of another file"),
        pytest.param(Response(status=416), id="nothing"),
    ],
)
def test_part_that_cannot_be_continued(answer: Response) -> None:
    """Once bytes are passed on, an answer that does not continue them is final."""
    state = DownloadState(end=40)
    state.on_response(part(state, "bytes 0-39/1000"))
    state.on_chunk(MP4[:40])
    state.pin(700, 800)
    with pytest.raises(TransferError, match="start again"):
        state.on_response(answer)


def test_longer_body_than_the_part() -> None:
    """A body with more bytes than its head says is an error, and not passed on."""
    state = DownloadState(end=40)
    state.on_response(part(state, "bytes 0-39/1000"))
    state.on_chunk(MP4[:40])
    state.pin(700, 800)
    state.on_response(part(state, "bytes 700-799/1000"))
    with pytest.raises(TransferError, match="start again"):
        state.on_chunk(bytes(101))


def test_forgotten_file_is_another_one() -> None:
    """With a new link, nothing of the old file is known."""
    state = started(headers={"etag": VERSION})
    state.forget()
    assert (state.received, state.total, state.etag, state.head) == (0, None, "", b"")
    assert "Range" not in state.request_headers()


def test_complete_file() -> None:
    """A file of the announced length is complete."""
    state = started()
    state.on_response(rest())
    state.on_chunk(bytes(60))
    state.check_complete()


def test_file_of_unknown_length_is_complete_at_its_end() -> None:
    """Without a length, the end of the response is the end of the file."""
    started(headers={"content_length": ""}).check_complete()


@pytest.mark.parametrize(
    ("received", "headers", "text"),
    [
        pytest.param(40, {}, "40 of 100 bytes", id="some are missing"),
        pytest.param(0, {}, "0 of 100 bytes", id="all are missing"),
        pytest.param(0, {"content_length": "0"}, "0 of 0 bytes", id="an empty file"),
        pytest.param(
            0, {"content_length": ""}, "0 of an unknown number of bytes", id="an empty file of unknown length"
        ),
    ],
)
def test_incomplete_file(received: int, headers: dict[str, str], text: str) -> None:
    """An incomplete or empty file is a transient error; the received bytes are kept."""
    state = started(received, headers)
    with pytest.raises(NetworkError, match=text) as caught:
        state.check_complete()
    assert failure_of(caught.value).transient
    assert state.received == received


def test_body_longer_than_the_file() -> None:
    """A body longer than the file is an error, and the file starts again."""
    state = started()
    state.on_response(rest())
    with pytest.raises(ServerError, match="more than"):
        state.on_chunk(bytes(61))
    assert state.received == 0
    assert not state.made_progress(0)


MIB = 1024 * 1024


def test_progress_counts_once() -> None:
    """Progress means more bytes than ever before, and counts once for the same bytes."""
    state = DownloadState()
    for _ in range(2):
        state.on_response(Response(status=200))
        state.on_chunk(MP4 + bytes(MIB))
        assert state.made_progress(1)
        assert not state.made_progress(1)
        state.on_chunk(bytes(MIB))
        assert state.made_progress(1)
        state._furthest = 0


@pytest.mark.parametrize(
    ("received", "seconds"), [(1, 0), (16_000, 0), (MIB, 1100)], ids=["one byte", "few bytes", "slow"]
)
def test_crumbs_are_no_progress(received: int, seconds: float) -> None:
    """An attempt that gets a few bytes, or needs very long for them, does not begin a fresh count of attempts."""
    state = DownloadState()
    state.on_response(Response(status=200))
    state.on_chunk((MP4 + bytes(MIB))[:received])
    assert not state.made_progress(seconds)


def test_starting_again_is_no_progress() -> None:
    """A download that starts again and gets no further than before makes no progress."""
    state = DownloadState()
    state.on_response(Response(status=200))
    state.on_chunk(MP4 + bytes(MIB))
    assert state.made_progress(1)
    state.on_response(Response(status=200))
    state.on_chunk(MP4 + bytes(MIB))
    assert not state.made_progress(1)


def test_file_that_is_too_large() -> None:
    """A file over the limit is given up: by its announced length, or when it gets too long."""
    state = DownloadState(".mp4", 1000)
    with pytest.raises(TransferError, match=r"max_download_bytes.*1,000"):
        state.on_response(Response(status=200, headers={"content-length": "1001"}))
    state.on_response(Response(status=200))
    state.on_chunk(MP4)
    with pytest.raises(TransferError, match="max_download_bytes"):
        state.on_chunk(bytes(600))


def test_speed_of_a_download() -> None:
    """In each window the least number of bytes must arrive; a burst begins the next window."""
    check = SpeedCheck(60, since=0)
    check.on_chunk(MIN_SPEED * 60, now=59)
    for now in range(60, 119):
        check.on_chunk(1, now=now)
    with pytest.raises(NetworkError, match="only 60 bytes in 60 s") as caught:
        check.on_chunk(1, now=119.5)
    assert failure_of(caught.value).transient


def test_slow_disk_is_no_slow_host() -> None:
    """Time that the disk took does not count for the speed."""
    check = SpeedCheck(60, since=0)
    check.on_chunk(1000, now=1)
    check.since += 500
    check.on_chunk(1000, now=502)
