"""How the camera moves over a picture: decided by the prompt alone, so that the same prompt moves the same way."""

import hashlib
import math
import re
from typing import Final, TypeAlias

from attrs import frozen

# left, upper, right, lower edge, each as a part of the canvas from 0 to 1
Box: TypeAlias = tuple[float, float, float, float]

# The closest view shows this part of the canvas's width; the canvas is drawn large enough to stay sharp at it.
CLOSEST: Final = 0.8
_NEAR: Final = 0.86


@frozen
class View:
    """What the camera sees: `size` is the part of the canvas; `x` and `y` go from -1 (left, top) to 1."""

    size: float
    x: float = 0.0
    y: float = 0.0


@frozen
class Move:
    """A camera move from one view to another."""

    start: View
    end: View

    def box(self, progress: float) -> Box:
        """Return the view at `progress` (0 to 1), eased at both ends."""
        eased = (1.0 - math.cos(math.pi * progress)) / 2.0
        size = _between(self.start.size, self.end.size, eased)
        slack = (1.0 - size) / 2.0
        left = slack * (1.0 + _between(self.start.x, self.end.x, eased))
        top = slack * (1.0 + _between(self.start.y, self.end.y, eased))
        return left, top, min(1.0, left + size), min(1.0, top + size)


def _between(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


_ZOOMS: Final = (
    (re.compile(r"\b(zoom(s|ing)? in|push(es|ing)? in|dolly in|closer)\b"), (1.0, CLOSEST)),
    (re.compile(r"\b(zoom(s|ing)? out|pull(s|ing)? back|dolly out|further away)\b"), (CLOSEST, 1.0)),
)
_WAYS: Final = (
    (re.compile(r"\bleft(wards?)?\b"), (-1.0, 0.0)),
    (re.compile(r"\bright(wards?)?\b"), (1.0, 0.0)),
    (re.compile(r"\b(up(wards?)?|rising)\b"), (0.0, -1.0)),
    (re.compile(r"\b(down(wards?)?|falling)\b"), (0.0, 1.0)),
)
# For prompts that name no move: zooms that also drift a little.
_UNNAMED: Final = tuple(
    Move(View(start), View(end, x, y))
    for start, end in ((1.0, CLOSEST), (0.96, CLOSEST), (CLOSEST, 1.0))
    for x, y in ((0.0, -0.3), (-0.6, -0.2), (0.6, -0.2), (0.0, 0.4))
)


def move_for(prompt: str) -> Move:
    """Choose the move: the words of the prompt decide, otherwise its hash."""
    words = prompt.lower()
    zoom = next((sizes for pattern, sizes in _ZOOMS if pattern.search(words)), None)
    way = next((way for pattern, way in _WAYS if pattern.search(words)), None)
    if zoom is not None:
        x, y = way or (0.0, 0.0)
        return Move(View(zoom[0], -x, -y), View(zoom[1], x, y))
    if way is not None:
        x, y = way
        return Move(View(_NEAR, -x, -y), View(_NEAR, x, y))
    return _UNNAMED[hashlib.sha256(prompt.encode()).digest()[0] % len(_UNNAMED)]
