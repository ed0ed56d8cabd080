"""Draw the images of ``a2e demo``, of the sandbox's page and of the examples: ``python docs/demo_images.py``.

They are drawings of our own, so that they have no licence but that of the package.
"""

import itertools
import math
import pathlib
import random
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFilter

PACKAGE = pathlib.Path(__file__).parent.parent / "a2e_async"
SCALE = 2  # everything is drawn twice as large, so that its edges are smooth

Colour = tuple[int, int, int]
Stops = Sequence[tuple[float, Colour]]


def gradient(size: tuple[int, int], stops: Stops) -> Image.Image:
    """Return a vertical gradient; `stops` are parts of the height and their colours."""
    column = Image.new("RGB", (1, size[1]))
    for y in range(size[1]):
        part = y / size[1]
        (start, first), (end, last) = next(
            ((a, b) for a, b in itertools.pairwise(stops) if a[0] <= part <= b[0]), (stops[-2], stops[-1])
        )
        share = min(1.0, max(0.0, (part - start) / (end - start)))
        column.putpixel((0, y), tuple(round(f + (t - f) * share) for f, t in zip(first, last, strict=True)))
    return column.resize(size)


def soft(size: tuple[int, int], blur: float) -> tuple[Image.Image, ImageDraw.ImageDraw, float]:
    """Return an empty mask with something to draw on it, and the blur that it needs then."""
    mask = Image.new("L", size)
    return mask, ImageDraw.Draw(mask), blur


def lay(image: Image.Image, mask: Image.Image, colour: Colour, blur: float, strength: float = 1.0) -> None:
    """Lay a colour over an image, through a blurred mask."""
    small = mask.resize((mask.width // 4, mask.height // 4)).filter(ImageFilter.GaussianBlur(blur / 4))
    smooth = small.resize(mask.size, Image.Resampling.BICUBIC).point(lambda value: value * strength)
    image.paste(colour, (0, 0), smooth)


def lighthouse(width: int, height: int) -> Image.Image:
    """Return a lighthouse at dusk."""
    size = (width * SCALE, height * SCALE)
    u = size[1] / 600  # the drawing has 600 units in its height
    w, middle = size[0] / u, size[0] / u * 0.73
    image = gradient(
        size,
        [(0, (34, 36, 92)), (0.3, (112, 66, 130)), (0.45, (196, 98, 116)), (0.56, (244, 140, 98)),
         (0.67, (255, 212, 140)), (1, (255, 220, 150))],
    )  # fmt: skip
    sun_x, waterline = w * 0.29, 400
    for radius, strength in ((190, 0.25), (110, 0.35)):
        mask, pen, blur = soft(size, 40 * u)
        pen.ellipse(_box(sun_x, 380, radius, u), fill=255)
        lay(image, mask, (255, 210, 140), blur, strength)
    pen = ImageDraw.Draw(image)
    pen.ellipse(_box(sun_x, 380, 48, u), fill=(255, 245, 214))
    _sea(image, waterline, sun_x, u)
    for points, strength in (
        (((middle, 158), (0, 50), (0, 168)), 0.34),
        (((middle, 158), (w, 122), (w, 176)), 0.22),
    ):
        mask, beam, blur = soft(size, 5 * u)
        beam.polygon([(x * u, y * u) for x, y in points], fill=255)
        lay(image, mask, (255, 240, 190), blur, strength)
    _shore(image, w, middle, u)
    _tower(image, middle, u)
    for x, y in ((0.155, 145), (0.2, 172), (0.13, 192), (0.46, 116)):
        _bird(ImageDraw.Draw(image), w * x, y, 32 if y == 145 else 22, u)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _box(x: float, y: float, radius: float, u: float) -> tuple[float, float, float, float]:
    return (x - radius) * u, (y - radius) * u, (x + radius) * u, (y + radius) * u


def _sea(image: Image.Image, waterline: int, sun_x: float, u: float) -> None:
    top = round(waterline * u)
    water = gradient(
        (image.width, image.height - top), [(0, (206, 122, 108)), (0.5, (104, 78, 100)), (1, (60, 52, 84))]
    )
    image.paste(water, (0, top))
    pen, rng = ImageDraw.Draw(image), random.Random(4)  # noqa: S311  (a drawing)
    for _ in range(150):
        depth = rng.random() ** 0.8
        y = waterline + 3 + depth * 106
        x = sun_x + rng.gauss(0, 26 + 80 * depth)
        length = rng.uniform(4, 15 + 22 * depth)
        glint = ((x - length) * u, y * u, (x + length) * u, y * u)
        pen.line(glint, fill=(255, 208, 140), width=round((0.8 + 0.8 * depth) * u))


def _shore(image: Image.Image, w: float, middle: float, u: float) -> None:
    pen = ImageDraw.Draw(image)
    low = [(x, 510 - 10 * math.sin(x / w * 5) - 10 * x / w) for x in range(0, round(w) + 20, 10)]
    pen.polygon([(x * u, y * u) for x, y in [(0, 600), *low, (w + 20, 600)]], fill=(46, 36, 66))
    rock = [(middle - 175, 600), (middle - 108, 498), (middle - 56, 465), (middle + 36, 458), (middle + 120, 481),
            (middle + 190, 530), (w + 10, 562), (w + 10, 600)]  # fmt: skip
    pen.polygon([(x * u, y * u) for x, y in rock], fill=(37, 28, 52))


def _tower(image: Image.Image, x: float, u: float) -> None:
    pen = ImageDraw.Draw(image)

    def edge(y: float) -> float:
        return 20 + (y - 188) * 11 / 275

    for number in range(7):
        top, bottom = 188 + number * 39.3, 188 + (number + 1) * 39.3
        for share, colours in ((-1.0, ((197, 56, 60), (236, 228, 224))), (0.3, ((146, 38, 48), (198, 182, 190)))):
            points = [(each * edge(y), y) for each, y in ((share, top), (1, top), (1, bottom), (share, bottom))]
            pen.polygon([((x + dx) * u, y * u) for dx, y in points], fill=colours[number % 2])
    glow, light, blur = soft(image.size, 16 * u)
    light.ellipse(_box(x, 164, 32, u), fill=255)
    lay(image, glow, (255, 240, 190), blur, 0.75)
    pen = ImageDraw.Draw(image)
    pen.rectangle(((x - 17) * u, 146 * u, (x + 17) * u, 183 * u), fill=(255, 246, 206))
    for bar in (-17, -6, 6, 17):
        pen.line(((x + bar) * u, 146 * u, (x + bar) * u, 183 * u), fill=(70, 50, 66), width=round(2.4 * u))
    pen.rectangle(((x - 31) * u, 182 * u, (x + 31) * u, 190 * u), fill=(60, 46, 62))
    pen.polygon([((x - 25) * u, 147 * u), ((x + 25) * u, 147 * u), (x * u, 115 * u)], fill=(180, 56, 58))
    pen.line((x * u, 116 * u, x * u, 100 * u), fill=(46, 36, 60), width=round(2.2 * u))


def _bird(pen: ImageDraw.ImageDraw, x: float, y: float, span: float, u: float) -> None:
    for side in (-1, 1):
        left = x - span if side < 0 else x
        wing = (left * u, (y - span * 0.36) * u, (left + span) * u, (y + span * 0.5) * u)
        pen.arc(wing, 195, 345, fill=(34, 26, 54), width=round(2.6 * u))


def balloon(width: int, height: int) -> Image.Image:
    """Return a balloon over hills."""
    size = (width * SCALE, height * SCALE)
    u = size[1] / 800
    w = size[0] / u
    blue = [(0, (86, 160, 222)), (0.42, (168, 212, 240)), (0.57, (252, 232, 208)), (1, (250, 226, 200))]
    image = gradient(size, blue)
    for radius, strength in ((62, 0.5), (36, 0.9)):
        mask, pen, blur = soft(size, 14 * u)
        pen.ellipse(_box(w * 0.8, 125, radius, u), fill=255)
        lay(image, mask, (252, 246, 214), blur, strength)
    for x, y, scale in ((0.2, 165, 1.0), (0.83, 278, 0.72), (0.17, 440, 0.62)):
        _cloud(image, w * x, y, scale, u)
    _hills(image, w, u)
    _envelope(image, w / 2, u)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _cloud(image: Image.Image, x: float, y: float, scale: float, u: float) -> None:
    mask, pen, blur = soft(image.size, 3 * u)
    for dx, dy, radius in ((-55, 6, 26), (-18, -14, 36), (26, -4, 32), (58, 8, 24)):
        pen.ellipse(_box(x + dx * scale, y + dy * scale, radius * scale, u), fill=255)
    # A flat base.
    pen.rectangle((0, (y + 30 * scale) * u, image.width, image.height), fill=0)
    lay(image, mask, (250, 252, 255), blur, 0.95)


def _hills(image: Image.Image, w: float, u: float) -> None:
    pen, rng = ImageDraw.Draw(image), random.Random(11)  # noqa: S311  (a drawing)
    for base, height, length, shift, colour in (
        (625, 26, 0.012, 1.6, (140, 178, 160)),
        (662, 22, 0.011, 4.2, (104, 154, 112)),
        (722, 16, 0.014, 1.1, (62, 116, 80)),
    ):
        curve = [(x, base - height * math.sin(x * length + shift)) for x in range(0, round(w) + 12, 6)]
        pen.polygon([(x * u, y * u) for x, y in [(0, 800), *curve, (w + 12, 800)]], fill=colour)
    for _ in range(44):
        x, y, tall = rng.uniform(0, w), rng.uniform(715, 775), rng.uniform(22, 44)
        for part in range(3):
            half, top = tall * (0.22 + 0.09 * part), y - tall + part * tall * 0.26
            low = (top + tall * 0.48) * u
            pen.polygon([((x - half) * u, low), ((x + half) * u, low), (x * u, top * u)], fill=(38, 86, 66))


_GORES = ((1.0, (224, 78, 72)), (0.9, (250, 180, 74)), (0.62, (252, 240, 218)), (0.24, (70, 148, 170)))


def _envelope(image: Image.Image, x: float, u: float) -> None:
    def half(y: float) -> float:
        """Half of the width at a height from 0 (top) to 1 (mouth)."""
        if y < 0.45:  # the widest place
            return 150 * math.sqrt(max(0.0, 1 - (1 - y / 0.45) ** 2))
        return 150 * (0.2 + 0.8 * math.cos((y - 0.45) / 0.55 * 1.5))

    top, tall = 160, 345
    heights = [number / 80 for number in range(81)]
    outline: list[tuple[float, float]] = []
    for share, colour in _GORES:
        points = [(x + share * half(y), top + y * tall) for y in heights]
        points += [(2 * x - px, py) for px, py in reversed(points)]
        ImageDraw.Draw(image).polygon([(px * u, py * u) for px, py in points], fill=colour)
        outline = outline or [(px * u, py * u) for px, py in points]
    shape, shade = Image.new("L", image.size), Image.new("L", image.size)
    ImageDraw.Draw(shape).polygon(outline, fill=255)
    ImageDraw.Draw(shade).rectangle(((x + 70) * u, 0, image.width, image.height), fill=255)
    small = shade.resize((shade.width // 8, shade.height // 8)).filter(ImageFilter.GaussianBlur(6 * u))
    shade = small.resize(image.size)
    image.paste((60, 40, 50), (0, 0), ImageChops.multiply(shape, shade).point(lambda value: value * 0.28))
    pen = ImageDraw.Draw(image)
    for high, low in ((-30, -25), (0, 0), (30, 25)):
        rope = ((x + high) * u, (top + tall - 3) * u, (x + low) * u, 558 * u)
        pen.line(rope, fill=(70, 50, 44), width=round(2 * u))
    pen.rounded_rectangle(((x - 30) * u, 556 * u, (x + 30) * u, 602 * u), 5 * u, fill=(160, 106, 62))
    for y in range(570, 600, 8):
        pen.line(((x - 28) * u, y * u, (x + 28) * u, y * u), fill=(122, 78, 46), width=round(1.6 * u))
    pen.rectangle(((x - 33) * u, 554 * u, (x + 33) * u, 562 * u), fill=(108, 68, 42))


def ada(width: int, height: int) -> Image.Image:
    """Return the portrait of a woman."""
    size = (width * SCALE, height * SCALE)
    u = size[1] / 800
    x = size[0] / u / 2
    image = gradient(size, [(0, (44, 112, 122)), (1, (146, 196, 178))])
    mask, light, blur = soft(size, 60 * u)
    light.ellipse(_box(x + 120, 230, 240, u), fill=255)
    lay(image, mask, (244, 226, 178), blur, 0.5)
    pen = ImageDraw.Draw(image)
    hair, skin, shade, dress = (62, 38, 34), (238, 190, 158), (218, 160, 130), (150, 58, 78)
    pen.ellipse(_oval(x, 355, 205, 222, u), fill=hair)
    pen.rounded_rectangle(((x - 205) * u, 330 * u, (x + 205) * u, 620 * u), 70 * u, fill=hair)
    pen.ellipse(_oval(x, 830, 310, 215, u), fill=dress)
    pen.rounded_rectangle(((x - 58) * u, 480 * u, (x + 58) * u, 680 * u), 50 * u, fill=shade)
    pen.ellipse(_oval(x, 640, 92, 62, u), fill=shade)
    pen.ellipse(_oval(x, 382, 146, 186, u), fill=skin)
    pen.chord(_oval(x, 382, 149, 189, u), 192, 318, fill=hair)  # the hair above the forehead
    pen.chord(_oval(x, 382, 149, 189, u), 300, 352, fill=hair)
    for side in (-1, 1):
        cheek, blush, blur = soft(size, 16 * u)
        blush.ellipse(_oval(x + side * 86, 452, 34, 22, u), fill=255)
        lay(image, cheek, (226, 128, 116), blur, 0.55)
        pen = ImageDraw.Draw(image)
        pen.arc(_oval(x + side * 64, 342, 42, 22, u), 200, 340, fill=hair, width=round(7 * u))
        pen.ellipse(_oval(x + side * 62, 384, 31, 18, u), fill=(252, 250, 246))
        pen.ellipse(_box(x + side * 62, 384, 15, u), fill=(64, 104, 96))
        pen.ellipse(_box(x + side * 62, 384, 7, u), fill=(26, 24, 30))
        pen.ellipse(_box(x + side * 62 + 5, 379, 4, u), fill=(255, 255, 255))
        pen.arc(_oval(x + side * 62, 386, 33, 21, u), 190, 350, fill=hair, width=round(6 * u))
        pen.ellipse(_box(x + side * 148, 500, 11, u), fill=(244, 210, 110))
    pen.arc(_oval(x, 440, 18, 14, u), 20, 160, fill=(196, 132, 106), width=round(6 * u))
    pen.chord(_oval(x, 494, 50, 25, u), 10, 170, fill=(176, 64, 72))
    pen.chord(_oval(x, 496, 42, 11, u), 8, 172, fill=(250, 240, 236))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _oval(x: float, y: float, half_width: float, half_height: float, u: float) -> tuple[float, float, float, float]:
    return (x - half_width) * u, (y - half_height) * u, (x + half_width) * u, (y + half_height) * u


def garden(width: int, height: int) -> Image.Image:
    """Return a garden with flowers."""
    size = (width * SCALE, height * SCALE)
    u = size[1] / 800
    w = size[0] / u
    image = gradient(size, [(0, (120, 184, 230)), (0.5, (226, 238, 232)), (0.52, (120, 172, 96)), (1, (52, 116, 66))])
    for x, y, scale in ((0.2, 120, 1.1), (0.62, 190, 0.8), (0.88, 100, 0.9)):
        _cloud(image, w * x, y, scale, u)
    pen, rng = ImageDraw.Draw(image), random.Random(5)  # noqa: S311  (a drawing)
    for number in range(26):  # a hedge, and a fence in front of it
        pen.ellipse(_box(w * number / 25, 405 + rng.uniform(-18, 8), 58, u), fill=(58 + number % 3 * 8, 118, 74))
    for number in range(round(w / 44) + 1):
        left = number * 44
        post = [(left, 470), (left, 380), (left + 13, 362), (left + 26, 380), (left + 26, 470)]
        pen.polygon([(px * u, py * u) for px, py in post], fill=(248, 244, 234))
    for y in (398, 440):
        pen.rectangle((0, y * u, image.width, (y + 11) * u), fill=(232, 226, 212))
    for y in sorted(rng.uniform(500, 780) for _ in range(120)):
        size_of_flower = 5 + (y - 480) / 22
        x, colour = rng.uniform(0, w), rng.choice(((226, 74, 88), (250, 196, 72), (250, 250, 246), (180, 106, 190)))
        pen.line((x * u, y * u, x * u, (y + size_of_flower * 4) * u), fill=(40, 96, 56), width=round(2.5 * u))
        for petal in range(6):
            angle = petal * math.pi / 3
            place = x + math.cos(angle) * size_of_flower, y + math.sin(angle) * size_of_flower
            pen.ellipse(_box(*place, size_of_flower * 0.62, u), fill=colour)
        pen.ellipse(_box(x, y, size_of_flower * 0.5, u), fill=(120, 78, 40))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the images."""
    _write_samples(pathlib.Path(__file__).parent / "examples")
    folder = PACKAGE / "cli/commands/images"
    for image, path, quality in (
        (lighthouse(1600, 1000), folder / "lighthouse.jpg", 88),
        (balloon(1200, 1600), folder / "balloon.jpg", 88),
        (lighthouse(1280, 720), PACKAGE / "sandbox/page/sample.jpg", 70),
    ):
        image.save(path, "JPEG", quality=quality, optimize=True, progressive=True)
        print(f"{path.relative_to(PACKAGE.parent)}: {image.width} x {image.height}, {path.stat().st_size:,} bytes")  # noqa: T201


def _write_samples(folder: pathlib.Path) -> None:
    ada(1024, 1024).quantize(160).save(folder / "ada.png", optimize=True)
    garden(1280, 960).save(folder / "garden.jpg", "JPEG", quality=80, optimize=True, progressive=True)


if __name__ == "__main__":
    main()
