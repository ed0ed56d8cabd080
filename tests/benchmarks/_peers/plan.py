"""Which tasks there are and how long they take: the same for everybody who is measured."""

from __future__ import annotations

import random

import attrs

__all__ = ["Plan"]

_SEED = 20


@attrs.frozen(kw_only=True)
class Plan:
    """Tasks whose durations are spread evenly, in an order that says nothing.

    Attributes:
        count: Number of tasks.
        shortest: Seconds that the shortest takes.
        longest: Seconds that the longest takes.
        deadline: Seconds from the beginning after which nobody waits any more.
    """

    count: int
    shortest: float = 8.0
    longest: float = 40.0
    deadline: float = 120.0

    @property
    def settled(self) -> float:
        """Seconds after which all waits are in place and none is over."""
        return self.shortest / 2

    def durations(self) -> dict[str, float]:
        """Return the seconds that each task takes, by its id."""
        step = (self.longest - self.shortest) / max(1, self.count - 1)
        spread = [self.shortest + step * number for number in range(self.count)]
        random.Random(_SEED).shuffle(spread)
        return {f"{number:024x}": seconds for number, seconds in enumerate(spread, start=1)}
