"""Check that a local image, video or audio file has its end: A2E takes half a file, and charges for it."""

# How it works: each format says by itself where it ends, with lengths of its parts or with a mark. The check follows
# the lengths and reads nothing else, except for JPEG, whose image data has no length. Bytes behind the end are allowed
# (a phone appends a video to a photo). Where a format may leave its length open, as streams do, the file counts as
# complete.

import re
from collections.abc import Callable, Mapping
from typing import IO

from a2e_async.files.media_types import MediaType

_BLOCK = 64 * 1024
_OPEN = frozenset({0, 0xFFFFFFFF})  # lengths of a RIFF file that was written as a stream


class _DamagedError(Exception):
    """The file cannot be used; the text says why."""


class _Reader:
    """Reader of a file that follows its lengths."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size, self.position = file, size, 0

    @property
    def rest(self) -> int:
        """Bytes that are left."""
        return self.size - self.position

    def read(self, count: int) -> bytes:
        """Return the next bytes."""
        data = self.file.read(count)
        self.position += len(data)
        if len(data) < count:
            self.fail()
        return data

    def number(self, count: int) -> int:
        """Return the next number, the highest byte first."""
        return int.from_bytes(self.read(count))

    def skip(self, count: int) -> None:
        """Go on behind the next bytes."""
        self.seek(self.position + count)

    def seek(self, position: int) -> None:
        """Go to a position in the file."""
        if position > self.size:
            self.fail()
        self.file.seek(position)
        self.position = position

    def fail(self) -> None:
        """End the check: the file is too short."""
        msg = "is cut short: its end is missing"
        raise _DamagedError(msg)


def find_damage(media_type: MediaType, file: IO[bytes], size: int) -> str | None:
    """Return what is wrong with a file, for a message ("is cut short: its end is missing"), or None if it is complete.

    Args:
        media_type: Its type, detected from its first bytes.
        file: The file. It is read from its beginning, by blocking calls.
        size: Its bytes.
    """
    try:
        file.seek(0)
        _CHECKS[media_type.extension](_Reader(file, size))
    except _DamagedError as error:
        return str(error)
    return None


def _require(condition: object, what: str) -> None:
    if not condition:
        msg = f"is damaged: {what}"
        raise _DamagedError(msg)


# images


def _check_png(reader: _Reader) -> None:
    reader.skip(8)
    kind, has_data = b"", False
    while kind != b"IEND":
        first, header = not kind, reader.read(8)
        length, kind = int.from_bytes(header[:4]), header[4:]
        _require(kind.isalpha() and first == (kind == b"IHDR"), "its chunks cannot be read")
        has_data = has_data or kind == b"IDAT"
        reader.skip(length + 4)  # with its checksum
    _require(has_data, "it has no image data")


# A marker, and neither a byte of image data (FF 00), nor a fill byte, nor one of the markers inside of image data.
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")


def _check_jpeg(reader: _Reader) -> None:
    # An embedded preview has an end mark of its own. It is in a segment, which is skipped with its length.
    reader.skip(2)
    has_data = False
    while (marker := _next_marker(reader)) != 0xD9:
        has_data = has_data or marker == 0xDA
        length = reader.number(2)
        _require(length >= 2, "its segments cannot be read")
        reader.skip(length - 2)
    _require(has_data, "it has no image data")


def _next_marker(reader: _Reader) -> int:
    while True:
        begin = reader.position
        block = reader.file.read(_BLOCK)
        if len(block) < 2:
            reader.fail()
        if found := JPEG_MARKER.search(block):
            reader.seek(begin + found.end())
            return block[found.end() - 1]
        reader.seek(begin + len(block) - 1)  # the first byte of a marker can be the last one of a block


def _check_gif(reader: _Reader) -> None:
    reader.skip(10)
    reader.skip(_color_bytes(reader.number(1)) + 2)
    has_data = False
    while (kind := reader.number(1)) != 0x3B:
        if kind == 0x21:
            reader.skip(1)
        elif kind == 0x2C:
            reader.skip(8)
            reader.skip(_color_bytes(reader.number(1)) + 1)
            has_data = True
        else:
            _require(kind == 0, "its blocks cannot be read")
            continue
        while length := reader.number(1):
            reader.skip(length)
    _require(has_data, "it has no image data")


def _color_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _check_webp(reader: _Reader) -> None:
    end = _little(reader.read(8)[4:]) + 8
    reader.skip(4)
    if end > reader.size:
        reader.fail()
    has_data = False
    while end - reader.position >= 8:
        kind, length = reader.read(4), _little(reader.read(4))
        has_data = has_data or kind in {b"VP8 ", b"VP8L", b"ANMF"}
        _require(length <= end - reader.position, "its lengths contradict each other")
        reader.seek(min(end, reader.position + length + length % 2))
    _require(has_data, "it has no image data")


def _check_bmp(reader: _Reader) -> None:
    header = reader.read(min(54, reader.size)).ljust(54, b"\0")
    length, offset, header_size = _little(header[2:6]), _little(header[10:14]), _little(header[14:18])
    if header_size == 12:  # the first version
        width, height, bits, packing, packed = _little(header[18:20]), _little(header[20:22]), header[24], 0, 0
    else:
        width, height = _signed(header[18:22]), _signed(header[22:26])
        bits, packing, packed = header[28], _little(header[30:34]), _little(header[34:38])
    _require(width > 0 and height and offset >= 14 + header_size > 14, "its header cannot be read")
    # rows are filled up to four bytes; run lengths (1, 2), JPEG and PNG inside (4, 5) have a length of their own
    data = packed if packing in {1, 2, 4, 5} else (width * bits + 31) // 32 * 4 * abs(height)
    if max(length, offset + data) > reader.size:
        reader.fail()
    _require(data and length >= offset, "its lengths contradict each other")


# videos and audio


def _check_mp4(reader: _Reader) -> None:
    seen = set[bytes]()
    while reader.rest >= 8:
        begin, length, kind = reader.position, reader.number(4), reader.read(4)
        length = reader.number(8) if length == 1 else length or reader.size - begin
        is_complete = {b"moov", b"mdat"} <= seen
        if length < 8 or not re.fullmatch(rb"[ -~\xa9]{4}", kind):
            _require(is_complete, "its boxes cannot be read")
            return  # something else behind the end
        if is_complete and begin + length > reader.size and kind not in {b"moof", b"mdat", b"moov"}:
            return  # likewise
        seen.add(kind)
        reader.seek(begin + length)
    if b"moov" not in seen:  # the index is often the last part
        reader.fail()
    _require(not seen.isdisjoint({b"mdat", b"moof"}), "it has no data")


def _check_matroska(reader: _Reader) -> None:
    has_segment = False
    while reader.rest:
        kind, length = _ebml_number(reader, keep_mark=True), _ebml_number(reader)
        if length is not None and length > reader.rest:
            reader.fail()
        is_segment = kind == 0x18538067  # it holds everything but the header
        has_segment = has_segment or is_segment
        if length is not None and is_segment:
            return
        reader.skip(length or 0)  # without a length, the next element is one inside of this one
    if not has_segment:
        reader.fail()


def _ebml_number(reader: _Reader, *, keep_mark: bool = False) -> int | None:
    """Return a number whose first byte says how long it is; None for a length that was left open."""
    first = reader.number(1)
    count = 9 - first.bit_length()
    _require(count <= 8, "its elements cannot be read")
    mark = 1 << 7 * count
    number = int.from_bytes(bytes([first]) + reader.read(count - 1))
    if keep_mark:
        return number
    return None if number - mark == mark - 1 else number - mark


def _check_avi(reader: _Reader) -> None:
    length = _little(reader.read(8)[4:])
    if length not in _OPEN and length + 8 > reader.size:
        reader.fail()
    reader.skip(4)
    while True:
        kind, size, name = reader.read(4), _little(reader.read(4)), reader.read(4)
        if kind == b"LIST" and name == b"movi":
            if size not in _OPEN and size - 4 > reader.rest:
                reader.fail()
            return
        reader.seek(max(reader.position, reader.position - 4 + size + size % 2))


def _check_wav(reader: _Reader) -> None:
    is_stream = _little(reader.read(8)[4:]) in _OPEN
    reader.skip(4)
    while True:
        kind, length = reader.read(4), _little(reader.read(4))
        if kind == b"data":
            # a stream has a length that no file has: all bits, or nearly all
            if length > reader.rest and not is_stream and length < 0x7FFFF000:
                reader.fail()
            _require(reader.rest, "it has no data")
            return
        reader.skip(length + length % 2)


def _check_ogg(reader: _Reader) -> None:
    while reader.rest >= 27:
        header = reader.read(27)
        if header[:4] != b"OggS":  # something else behind the end
            return
        reader.skip(sum(reader.read(header[26])))
    rest = reader.read(reader.rest)
    if rest and b"OggS".startswith(rest[:4]):
        reader.fail()


def _check_flac(reader: _Reader) -> None:
    reader.skip(4)
    last, info = False, b""
    while not last:
        flags, length = reader.number(1), reader.number(3)
        last = flags >= 0x80
        if not flags & 0x7F:
            info = reader.read(length)
        else:
            reader.skip(length)
    _require(len(info) >= 34, "its header cannot be read")
    samples = int.from_bytes(info[13:18]) & (1 << 36) - 1
    if not samples:
        return
    # The last frame says where it ends, in samples. It is near the end of the file.
    begin = max(reader.position, reader.size - _BLOCK - (int.from_bytes(info[7:10]) or 1024 * 1024))
    reader.seek(begin)
    tail, block_size = reader.read(reader.rest), int.from_bytes(info[2:4])
    candidates = (match.start() for match in re.finditer(rb"\xff[\xf8\xf9]", tail))
    if not any(_flac_frame_end(tail[at : at + 16], block_size) == samples for at in candidates):
        reader.fail()


def _flac_frame_end(header: bytes, block_size: int) -> int | None:
    """Return the number of the sample behind a frame; None if these bytes are no header of a frame."""
    header = header.ljust(16, b"\0")
    ones = 8 - (~header[4] & 0xFF).bit_length()  # leading ones: the length of the number, as in UTF-8
    count = max(1, ones)
    at, size_code, rate_code = 4 + count, header[2] >> 4, header[2] & 15
    if ones in {1, 8} or not size_code:
        return None
    number = header[4] & (0x7F >> ones)
    for byte in header[5 : 4 + count]:
        number = number << 6 | byte & 0x3F
    size = {1: 192, 6: header[at] + 1, 7: int.from_bytes(header[at : at + 2]) + 1}.get(size_code)
    if size is None:
        size = 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    at += {6: 1, 7: 2}.get(size_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if _crc8(header[:at]) != header[at]:
        return None
    return number + size if header[1] & 1 else number * block_size + size


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ 0x07 if value & 0x80 else value << 1) & 0xFF
    return value


# kbit/s of layer 3, by the code in the header of a frame: MPEG 1, and MPEG 2 and 2.5
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def _check_mp3(reader: _Reader) -> None:
    # An MP3 is a row of frames. Encoders put the length of the whole into the first one: Xing, Info or VBRI.
    head = reader.read(min(10, reader.size)).ljust(10, b"\0")
    tag = 0
    if head[:3] == b"ID3":
        tag = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    reader.seek(tag)
    first = reader.read(min(_BLOCK, reader.rest))
    found = re.search(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", first)  # layer 3
    if found is None:
        _require(first, "it has no data")
        return
    begin, first = tag + found.start(), first[found.start() :]
    length = 0
    if found := re.search(rb"Xing|Info", first[:64]):
        at = found.end() + 4
        flags = int.from_bytes(first[at - 4 : at])
        length = int.from_bytes(first[at + 4 * (flags & 1) :][:4]) if flags & 2 else 0
    elif first[36:40] == b"VBRI":
        length = int.from_bytes(first[46:50])
    # some encoders do not count the first frame, and some count the tag behind the last one
    if length > reader.size - begin + 2048:
        reader.fail()
    while reader.size - begin >= 4:
        reader.seek(begin)
        size = _mp3_frame_size(reader.read(4))
        if size is None:  # something else behind the end
            return
        begin += size
    if begin > reader.size:
        reader.fail()


def _mp3_frame_size(header: bytes) -> int | None:
    """Return the bytes of a frame of layer 3; None if these bytes are no header of one."""
    version, rate, sampling = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if header[0] != 0xFF or header[1] & 0xE6 != 0xE2 or version == 1 or rate in {0, 15} or sampling == 3:
        return None
    hertz = (44100, 48000, 32000)[sampling] >> {3: 0, 2: 1, 0: 2}[version]
    bits = 144 * _RATES_1[rate] if version == 3 else 72 * _RATES_2[rate]
    return bits * 1000 // hertz + (header[2] >> 1 & 1)


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


_CHECKS: Mapping[str, Callable[[_Reader], None]] = {
    ".png": _check_png,
    ".jpg": _check_jpeg,
    ".gif": _check_gif,
    ".webp": _check_webp,
    ".bmp": _check_bmp,
    ".mp4": _check_mp4,
    ".mov": _check_mp4,
    ".m4a": _check_mp4,
    ".webm": _check_matroska,
    ".mkv": _check_matroska,
    ".avi": _check_avi,
    ".wav": _check_wav,
    ".ogg": _check_ogg,
    ".flac": _check_flac,
    ".mp3": _check_mp3,
}
