"""The tasks of the benchmark `waiting` and their durations: the same for each client."""

from __future__ import annotations

import random

import attrs

__all__ = ["Plan"]

_SEED = 20


@attrs.frozen(kw_only=True)
class Plan:
    """Tasks with evenly spread durations, in a random order.

    Attributes:
        count: Number of tasks.
        min_duration: Seconds of the shortest task.
        max_duration: Seconds of the longest task.
        deadline: Seconds from the begin, after which the client is stopped.
    """

    count: int
    min_duration: float = 8.0
    max_duration: float = 40.0
    deadline: float = 120.0

    @property
    def settled(self) -> float:
        """Seconds after which all waits have started and none has ended."""
        return self.min_duration / 2

    def durations(self) -> dict[str, float]:
        """Return the seconds of each task by its id."""
        step = (self.max_duration - self.min_duration) / max(1, self.count - 1)
        spread = [self.min_duration + step * number for number in range(self.count)]
        random.Random(_SEED).shuffle(spread)
        return {f"{number:024x}": seconds for number, seconds in enumerate(spread, start=1)}
