"""Files that are cut short or damaged are found before they are uploaded and paid for; complete ones never are."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import paid_starts
import pytest
import quick
import whole_files
from hypothesis import given
from hypothesis import strategies as st

from a2e_async import A2EClient, InvalidRequestError
from a2e_async.files.completeness import _crc8, find_damage
from a2e_async.files.media_types import HEAD, detect

if TYPE_CHECKING:
    import pathlib

    from a2e_async.sandbox import Sandbox

AVI = whole_files.OTHERS["avi"]
MP3 = whole_files.mp3(with_length=False)[138:]
FILES = {**whole_files.IMAGES, **whole_files.OTHERS}


def damage_of(content: bytes) -> str | None:
    """Return what is wrong with a file; one of no type counts as damaged."""
    media_type = detect(content[:HEAD])
    return "no type" if media_type is None else find_damage(media_type, io.BytesIO(content), len(content))


@pytest.mark.pure
@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_complete_file(content: bytes) -> None:
    """A complete file of each type has no damage."""
    assert damage_of(content) is None


@pytest.mark.pure
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "behind", [b"TAG" + bytes(125), b"motion photo \0\0\0\x18ftypmp42" + bytes(5000)], ids=["tag", "video"]
)
def test_bytes_behind_the_end(name: str, behind: bytes) -> None:
    """Bytes behind the end are allowed, as phones and taggers append them."""
    if name == "recorded webm":
        pytest.skip("it has no end of its own")
    assert damage_of(FILES[name] + behind) is None


@pytest.mark.pure
@pytest.mark.parametrize("name", FILES)
def test_cut_file(name: str) -> None:
    """An image that ends at any earlier byte is damaged, and so is a part of a video or audio file."""
    content = FILES[name]
    parts = [len(content) * percent // 100 for percent in (5, 25, 45)]
    for size in range(1, len(content)) if name in whole_files.IMAGES else parts:
        assert damage_of(content[:size]) is not None, size


@pytest.mark.pure
@pytest.mark.parametrize("name", ["png", "jpeg", "gif"])
def test_zeros_instead_of_the_end(name: str) -> None:
    """A file whose second half was never written, so that the disk shows zeros, is damaged."""
    content = FILES[name]
    assert damage_of(content[: len(content) // 2].ljust(len(content), b"\0")) is not None


@pytest.mark.pure
@pytest.mark.parametrize("size_code", ["1", "6", "7", "8"])
@pytest.mark.parametrize("rate_code", ["9", "c", "d"])
def test_frames_of_flac(size_code: str, rate_code: str) -> None:
    """The last frame is found with each form of its header, among bytes that look like one."""
    size = {"1": 192, "6": 0x34 + 1, "7": 0x3400 + 1, "8": 256}[size_code]
    extra = {"6": "34", "7": "3400"}.get(size_code, "") + {"c": "2c", "d": "ac44"}.get(rate_code, "")
    # of variable size (f9), with the number of the first sample in three bytes: 0x2345
    header = bytes.fromhex(f"fff9{size_code}{rate_code}08e28d85{extra}")
    header += bytes([_crc8(header)])
    decoys = bytes.fromhex("fff80000000000fff8c908ff0000fff8c90880000000fff8c9080000")
    info = (4096).to_bytes(2) * 2 + bytes(6) + (44100 << 44 | 0x2345 + size).to_bytes(8) + bytes(16)
    start = b"fLaC\x00" + len(info).to_bytes(3) + info + b"\x84\x00\x00\x04note"
    assert damage_of(start + decoys + header + bytes(50)) is None
    assert damage_of(start + decoys + header[:-1]) is not None


@pytest.mark.pure
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(whole_files.flac()[:18] + bytes(8) + whole_files.flac()[26:1000], id="FLAC of a stream"),
        pytest.param(whole_files.bmp_of_version_1(), id="first version of BMP"),
        pytest.param(b"ID3\x04" + bytes(6) + b"another kind of audio", id="tag before another kind of audio"),
        pytest.param(AVI[:4] + bytes(4) + AVI[8:], id="AVI of a stream"),
    ],
)
def test_unusual_complete_file(content: bytes) -> None:
    """A file whose format leaves its length open, or is unusual, is complete."""
    assert damage_of(content) is None


BMP = whole_files.IMAGES["bmp"]
WEBP = whole_files.IMAGES["webp"]
WAV = quick.silent_wav(0.1)


@pytest.mark.pure
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff\xd8\xff\xd9", id="JPEG without an image"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x01\xff\xd9", id="JPEG with an impossible segment"),
        pytest.param(
            b"\x89PNG\r\n\x1a\n" + quick.png_chunk(b"IHDR", bytes(13)) + quick.png_chunk(b"IEND", b""), id="PNG"
        ),
        pytest.param(b"GIF89a" + bytes(7) + b"\x3b", id="GIF without an image"),
        pytest.param(b"BM" + bytes(12), id="BM and zeros"),
        pytest.param(BMP[:2] + struct.pack("<I", len(BMP) + 1) + BMP[6:], id="BMP that says it is longer"),
        pytest.param(BMP[:2] + bytes(4) + BMP[6:], id="BMP that says it is empty"),
        pytest.param(BMP[:18] + struct.pack("<i", 70) + BMP[22:], id="BMP that is wider than its data"),
        pytest.param(WEBP[:4] + struct.pack("<I", len(WEBP)) + WEBP[8:], id="WebP that says it is longer"),
        pytest.param(WEBP[:4] + struct.pack("<I", 500) + WEBP[8:], id="WebP that says it is shorter than its data"),
        pytest.param(WEBP[:4] + struct.pack("<I", 4) + WEBP[8:], id="WebP that says it is empty"),
        pytest.param(
            whole_files.box(b"ftyp", b"isom") + whole_files.box(b"mdat", bytes(99)), id="MP4 without an index"
        ),
        pytest.param(whole_files.box(b"ftyp", b"isom") + whole_files.box(b"moov", bytes(99)), id="MP4 without data"),
        pytest.param(WAV[:44], id="WAV without data"),
        pytest.param(AVI[:4] + bytes(4) + AVI[8:-1], id="cut AVI of a stream"),
        pytest.param(whole_files.element("1a45dfa3", b"webm"), id="WebM without a segment"),
        pytest.param(b"fLaC\x80\x00\x00\x00", id="FLAC without a header"),
        pytest.param(b"ID3\x04" + bytes(6), id="tag without an MP3"),
        pytest.param(MP3[:36] + b"VBRI" + bytes(6) + struct.pack(">I", 11_000) + MP3[50:], id="cut MP3 with VBRI"),
    ],
)
def test_damaged_file(content: bytes) -> None:
    """A file whose parts contradict its header is damaged."""
    assert damage_of(content) is not None


@pytest.mark.pure
@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF])
def test_wav_that_was_written_as_a_stream(riff: int) -> None:
    """A WAV whose program did not know its length, and left it open, is complete."""
    assert damage_of(WAV[:4] + struct.pack("<I", riff) + WAV[8:40] + b"\xff" * 4 + WAV[44:]) is None


@given(st.sampled_from(list(FILES.values())), st.data())
def test_no_file_breaks_the_check(content: bytes, data: st.DataObject) -> None:
    """Any bytes give an answer, never an exception."""
    changed = bytearray(content[: data.draw(st.integers(1, len(content)))])
    for at in data.draw(st.lists(st.integers(0, min(300, len(changed) - 1)), max_size=8)):
        changed[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    damage_of(bytes(changed))


@pytest.mark.parametrize("source", ["path", "bytes", "file"])
async def test_half_an_image_costs_nothing(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, source: str
) -> None:
    """Half an image is rejected before anything is uploaded or paid, in each form of an input."""
    half = whole_files.IMAGES["jpeg"][:5000]
    (tmp_path / "half.jpg").write_bytes(half)
    images: dict[str, Any] = {"path": tmp_path / "half.jpg", "bytes": half, "file": io.BytesIO(half)}
    with pytest.raises(InvalidRequestError, match="cut short"):
        await a2e.image_to_video.start(image=images[source], **quick.PROMPTS)
    assert not sandbox.requests


async def test_half_a_video_costs_nothing(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A video or audio file that is cut short is rejected too."""
    with pytest.raises(InvalidRequestError, match="source is cut short"):
        await a2e.dubbing.start(source=whole_files.OTHERS["mp4"][:2000], target_lang="de")
    with pytest.raises(InvalidRequestError, match="cut short"):
        await a2e.storage.upload(whole_files.OTHERS["mp3"][:2000])
    assert not paid_starts.count_requests(sandbox, paid_starts.PRESIGN_PATH)
