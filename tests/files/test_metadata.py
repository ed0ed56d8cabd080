"""Metadata of images: it is left out of what goes to A2E's public CDN, and the pixels stay as they are."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
import whole_files
from PIL import Image, ImageCms, PngImagePlugin

from a2e_async import A2EClient, ConfigurationError, TransferError
from a2e_async.files.local_files import LocalFile, open_image
from a2e_async.files.metadata import without_metadata

if TYPE_CHECKING:
    import pathlib

    from a2e_async.sandbox import Sandbox

SECRET = b"17 Rue de l'Exemple"
GPS = 0x8825
ORIENTATION = 0x0112
XMP = b'<x:xmpmeta exif:GPSLatitude="48,51.5N">' + SECRET + b"</x:xmpmeta>"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int | None = 6) -> Image.Exif:
    """Return an Exif block as a phone writes it, with the place."""
    block = Image.Exif()
    if orientation is not None:
        block[ORIENTATION] = orientation
    block[0x010E] = SECRET.decode()
    block[GPS] = {1: "N", 2: (48.0, 51.0, 29.6), 3: "E", 4: (2.0, 17.0, 40.2), 28: SECRET}
    return block


def photo(kind: str, orientation: int | None = 6, **options: Any) -> bytes:
    """Return an image of a kind, with metadata."""
    options = {"exif": exif(orientation), "xmp": XMP, "icc_profile": PROFILE, **options}
    if kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Comment", SECRET.decode())
        texts.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
        options["pnginfo"] = texts
        del options["xmp"]
    elif kind == "JPEG":
        options["comment"] = SECRET
    target = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(target, kind, **options)
    return target.getvalue()


def jpeg_of_a_phone() -> bytes:
    """Return a JPEG with all the places where phones and editors put metadata."""
    preview = Image.new("RGB", (16, 12), "red")
    made = photo("MPO", save_all=True, append_images=[preview], progressive=True)
    iptc = b"\xff\xed" + struct.pack(">H", 2 + 14 + len(SECRET)) + b"Photoshop 3.0\0" + SECRET
    assert b"MPF\0" in made  # an index of the images in the file
    return made[:2] + iptc + made[2:] + whole_files.OTHERS["mp4"] + SECRET


async def strip(content: bytes) -> bytes:
    """Return what is uploaded of an image."""
    stripped = without_metadata(await open_image("image", content))
    assert isinstance(stripped.content, bytes)
    assert stripped.size == len(stripped.content)
    await open_image("image", stripped.content)  # still complete
    return stripped.content


def decoded(content: bytes) -> tuple[bytes, Any]:
    """Return the pixels and the colour profile."""
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image.tobytes(), image.info.get("icc_profile")


PHOTOS = {
    "jpeg": photo("JPEG"),
    "jpeg of a phone": jpeg_of_a_phone(),
    "png": photo("PNG"),
    "webp": photo("WEBP"),
}


@pytest.mark.parametrize("name", PHOTOS)
async def test_the_place_is_not_uploaded(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, name: str) -> None:
    """The coordinates, texts and names of an image do not reach the CDN; its pixels, colours and orientation do."""
    path = tmp_path / "photo"
    path.write_bytes(PHOTOS[name])
    with Image.open(path) as before:
        assert before.getexif().get_ifd(GPS)[2] == (48.0, 51.0, 29.6)
    url = await a2e.upload(path)
    uploaded = (await a2e.download(url, tmp_path / "copy.png")).read_bytes()
    assert SECRET not in uploaded
    assert b"GPS" not in uploaded
    assert b"ftyp" not in uploaded
    assert b"MPF\0" not in uploaded
    with Image.open(io.BytesIO(uploaded)) as after:
        assert dict(after.getexif()) == {ORIENTATION: 6}
        assert not {"xmp", "comment", "Comment", "XML:com.adobe.xmp"} & after.info.keys()
    assert decoded(uploaded) == decoded(PHOTOS[name])
    assert path.read_bytes() == PHOTOS[name]
    announced = next(seen for seen in sandbox.requests if seen.method == "PUT")
    assert announced.status == 200


@pytest.mark.parametrize("name", PHOTOS)
async def test_setting_keeps_all(sandbox: Sandbox, tmp_path: pathlib.Path, name: str) -> None:
    """With `Config.keep_metadata` an image is uploaded byte for byte."""
    config = attrs.evolve(quick.CONFIG, keep_metadata=True)
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=config) as client:
        copy = await client.download(await client.upload(PHOTOS[name]), tmp_path / "copy.png")
    assert copy.read_bytes() == PHOTOS[name]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 8, 9])
async def test_orientation_is_all_that_stays(kind: str, orientation: int | None) -> None:
    """The orientation stays as it is. Without a valid one, no Exif block stays."""
    with Image.open(io.BytesIO(await strip(photo(kind, orientation)))) as image:
        assert dict(image.getexif()) == ({} if orientation in {None, 9} else {ORIENTATION: orientation})


@pytest.mark.pure
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "form"), [(3, "Hxx"), (4, "I")], ids=["short", "long"])
async def test_orientation_in_each_byte_order(order: str, kind: int, form: str) -> None:
    """The orientation is found in both byte orders and both types of numbers."""
    entries = struct.pack(f"{order}HHII", 0x010F, 2, 4, 0) + struct.pack(f"{order}HHI{form}", ORIENTATION, kind, 1, 8)
    tiff = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, 2) + entries + bytes(4)
    plain = whole_files.IMAGES["jpeg"]
    segment = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    with Image.open(
        io.BytesIO(await strip(photo("JPEG", exif=b"")[:2] + segment + photo("JPEG", exif=b"")[2:]))
    ) as image:
        assert dict(image.getexif()) == {ORIENTATION: 8}
    assert await strip(plain)


@pytest.mark.pure
@pytest.mark.parametrize(
    "tiff",
    [b"", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(40), b"text" * 20, bytes(65000)],
    ids=["empty", "cut", "far away", "too many", "text", "zeros"],
)
async def test_broken_exif_block(tiff: bytes) -> None:
    """A broken Exif block is left out."""
    made = photo("JPEG", exif=b"", xmp=b"", comment=b"")
    broken = made[:2] + b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff + made[2:]
    assert b"Exif" not in await strip(broken)


@pytest.mark.pure
@pytest.mark.parametrize("name", ["png", "webp", "gif", "bmp"])
async def test_image_without_metadata_is_not_read_into_memory(name: str, tmp_path: pathlib.Path) -> None:
    """An image without metadata is uploaded from its path, as it is."""
    path = tmp_path / "image"
    path.write_bytes(whole_files.IMAGES[name])
    file = await open_image("image", path)
    assert without_metadata(file) is file


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_file_that_changes_after_the_check(kind: str, tmp_path: pathlib.Path) -> None:
    """A file that is no complete image any more, but as long as before, is not uploaded."""
    made = photo(kind)
    changed = made[:30] + b"\xff" * (len(made) - 30)
    path = tmp_path / "image"
    path.write_bytes(changed)
    file = LocalFile((await open_image("image", made)).media_type, len(made), path)
    with pytest.raises(TransferError, match="has changed since it was checked"):
        without_metadata(file)


def test_setting_is_checked() -> None:
    """`Config.keep_metadata` must be a bool: a text such as "no" would be true."""
    wrong: Any = "no"
    with pytest.raises(ConfigurationError, match="keep_metadata"):
        A2EClient("sk_x", config=attrs.evolve(quick.CONFIG, keep_metadata=wrong))
