"""Paints a picture of a text: colours and circles that depend on it, and its first words. Needs Pillow."""

import hashlib
import random
import textwrap
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

_CIRCLES: Final = 12
_WORDS: Final = 90  # characters that are drawn


def paint(text: str, size: tuple[int, int], path: Path) -> None:
    """Paint a picture of `text`, as PNG. The same text makes the same picture."""
    dice = random.Random(hashlib.sha256(text.encode(errors="replace")).digest())  # noqa: S311  (no secret)
    top, bottom = _colour(dice), _colour(dice)
    mask = Image.linear_gradient("L").resize(size)
    image = Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), mask)
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(_CIRCLES):
        radius = dice.randint(min(size) // 16, min(size) // 4)
        x, y = dice.randint(0, size[0]), dice.randint(0, size[1])
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*_colour(dice), 110))
    _write(draw, text, size)
    image.save(path, "PNG", compress_level=3)


def _colour(dice: random.Random) -> tuple[int, int, int]:
    return dice.randint(40, 235), dice.randint(40, 235), dice.randint(40, 235)


def _write(draw: ImageDraw.ImageDraw, text: str, size: tuple[int, int]) -> None:
    """Draw the first words in the middle, dark on a light band."""
    points = max(10, min(size) // 18)
    words = "".join(char if char.isprintable() else " " for char in text)[:_WORDS]
    lines = "\n".join(textwrap.wrap(words, max(8, size[0] * 7 // (points * 4))) or [""])
    font = ImageFont.load_default(points)
    left, upper, right, lower = draw.multiline_textbbox((size[0] / 2, size[1] / 2), lines, font, "mm", align="center")
    draw.rectangle((left - points, upper - points, right + points, lower + points), fill=(255, 255, 255, 200))
    draw.multiline_text((size[0] / 2, size[1] / 2), lines, (20, 20, 30), font, "mm", align="center")
