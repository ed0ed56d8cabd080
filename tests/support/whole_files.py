"""Small complete files of the types that A2E takes, put together by hand: no library and no file on the disk is needed."""

from __future__ import annotations

import struct

import quick


def _jpeg() -> bytes:
    preview = b"\xff\xd8\xff\xda\x00\x04\x01\x00preview\xff\xd9"  # has an end mark of its own
    exif = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    scan = b"\xff\xda\x00\x04\x01\x00" + b"\x12\xff\x00\x34\xff\xd0" * 2000  # with stuffed bytes and restart marks
    return b"\xff\xd8" + exif + scan + b"\xff\xff\xd9"


def _gif() -> bytes:
    image = b"\x2c" + bytes(8) + b"\x00" + b"\x02" + (b"\xff" + bytes(255)) * 3 + b"\x00"
    return b"GIF89a" + bytes(4) + b"\x81" + bytes(2) + bytes(12) + b"\x21\xf9\x04\x00\x00\x00\x00\x00" + image + b"\x3b"


def _webp() -> bytes:
    chunk = b"VP8 " + struct.pack("<I", 1001) + bytes(1002)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _bmp(width: int = 7, height: int = -20, bits: int = 24) -> bytes:
    rows = bytes((width * bits + 31) // 32 * 4 * abs(height))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def bmp_of_version_1() -> bytes:
    """Return a BMP with the header of OS/2 and Windows 2."""
    rows = bytes(20 * 8)
    return b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + struct.pack("<IHHHH", 12, 6, 8, 1, 24) + rows


def box(kind: bytes, data: bytes = b"") -> bytes:
    """Return a box of an MP4."""
    return struct.pack(">I", 8 + len(data)) + kind + data


def _mp4(brand: bytes = b"isom") -> bytes:
    # the length of the data has 64 bits, and the index comes last
    data = struct.pack(">I", 1) + b"mdat" + struct.pack(">Q", 16 + 3000) + bytes(3000)
    return box(b"ftyp", brand + bytes(4)) + box(b"free") + data + box(b"moov", bytes(500))


def element(kind: str, data: bytes, *, is_open: bool = False) -> bytes:
    """Return an element of a WebM or MKV file, with its length or without one."""
    length = b"\x01" + b"\xff" * 7 if is_open else (1 << 56 | len(data)).to_bytes(8)
    return bytes.fromhex(kind) + length + data


def webm(*, is_open: bool = False) -> bytes:
    """Return a WebM file; with `is_open` as a browser records it, without the length of the whole."""
    blocks = element("1f43b675", element("a3", bytes(2000)), is_open=is_open)
    head = element("1a45dfa3", element("4282", b"webm"))
    return head + element("18538067", element("1549a966", bytes(50)) + blocks, is_open=is_open)


def _avi() -> bytes:
    lists = (
        b"LIST"
        + struct.pack("<I", 104)
        + b"hdrl"
        + bytes(100)
        + b"LIST"
        + struct.pack("<I", 2004)
        + b"movi"
        + bytes(2000)
    )
    return b"RIFF" + struct.pack("<I", 4 + len(lists)) + b"AVI " + lists


def _ogg() -> bytes:
    def page(flags: int, count: int) -> bytes:
        return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([count]) + b"\xc8" * count + bytes(200 * count)

    return page(2, 1) + page(0, 9) + page(4, 3)


def mp3(*, with_length: bool = True) -> bytes:
    """Return an MP3 with a tag; with or without the length of the whole in its first frame."""
    frame = b"\xff\xfb\x90\x64".ljust(417, b"\0")
    count = 20
    first = frame
    if with_length:
        info = b"Info" + struct.pack(">III", 3, count, count * len(frame))
        first = frame[:36] + info + frame[36 + len(info) :]
    return b"ID3\x04\0\0" + bytes([0, 0, 1, 0]) + bytes(128) + first + frame * (count - 1)


def flac() -> bytes:
    """Return a FLAC file: two frames of 4,096 samples."""
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + (44100 << 44 | 15 << 36 | 8192).to_bytes(8) + bytes(16)
    frames = (bytes.fromhex(header) + bytes(3000) for header in ("fff8c9080095", "fff8c9080192"))
    return b"fLaC" + b"\x80" + len(info).to_bytes(3) + info + b"".join(frames)


IMAGES = {"png": quick.PNG, "jpeg": _jpeg(), "gif": _gif(), "webp": _webp(), "bmp": _bmp()}
"""Images, by the name of their type."""

OTHERS = {
    "mp4": _mp4(),
    "mov": _mp4(b"qt  "),
    "m4a": _mp4(b"M4A "),
    "fragmented mp4": box(b"ftyp", b"isom" + bytes(4))
    + box(b"moov", bytes(99))
    + box(b"moof", bytes(99))
    + box(b"mdat", bytes(999)),
    "webm": webm(),
    "recorded webm": webm(is_open=True),
    "avi": _avi(),
    "wav": quick.silent_wav(0.1),
    "ogg": _ogg(),
    "mp3": mp3(),
    "mp3 without a length": mp3(with_length=False),
    "flac": flac(),
}
"""Videos and audio, in the same way."""
