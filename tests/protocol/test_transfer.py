"""What is known about bytes: pictures, results and names."""

from __future__ import annotations

import pytest

from a2e_async._protocol.transfer import Kind, looks_like_no_result, name_from, picture_kind, storage_key

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
    ],
)
def test_pictures_are_known_by_their_first_bytes(head: bytes, content_type: str, extension: str) -> None:
    """Each of the five kinds that A2E takes is recognised, with the type and extension for its upload."""
    assert picture_kind(head) == Kind(content_type, extension)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x89PN", id="cut PNG"),
        pytest.param(b"\x89PNG\n\x1a\n", id="PNG damaged by a text-mode transfer"),
        pytest.param(b"%PDF-1.7", id="PDF"),
        pytest.param(b"<svg xmlns='x'>", id="SVG"),
        pytest.param(b"\x00\x00\x00\x20ftypheic", id="HEIC"),
        pytest.param(b"\x00\x00\x00\x20ftypavif", id="AVIF"),
        pytest.param(b"II*\x00", id="TIFF"),
        pytest.param(b"RIFF\x24\x00\x00\x00WAVEfmt ", id="WAV, a RIFF too"),
        pytest.param(b"RIFF\x24\x00", id="cut RIFF"),
        pytest.param(b"GIF90a", id="no version of GIF"),
        pytest.param(b"BMW is a maker of cars", id="text that begins with BM"),
        pytest.param(_BITMAP[:13], id="BMP without its header"),
        pytest.param(b"data:image/png;base64,iVBO", id="data: URL"),
    ],
)
def test_other_bytes_are_no_picture(head: bytes) -> None:
    """What A2E would reject is not taken for a picture."""
    assert picture_kind(head) is None


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
    """A task is named after its picture, so that a list tells which is which."""
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
