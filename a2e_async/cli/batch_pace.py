"""How fast a batch is, and what numbers look like to a person. No clock: it is told the time."""

from __future__ import annotations

import collections

import attrs

__all__ = ["Pace", "coins_text", "duration_text", "rate_text"]

_WINDOW = 600.0
"""Seconds that are looked back: videos take minutes, and a batch can become slower."""

_STEP = 1.0
"""Seconds between two samples."""


@attrs.define(eq=False)
class Pace:
    """Jobs a second, over the last ten minutes."""

    _samples: collections.deque[tuple[float, int]] = attrs.field(factory=collections.deque)
    _last: tuple[float, int] | None = None

    def note(self, now: float, done: int) -> None:
        """Take note of how many jobs were worked off at a time."""
        self._last = now, done
        if not self._samples or now - self._samples[-1][0] >= _STEP:
            self._samples.append(self._last)
        while len(self._samples) > 1 and now - self._samples[1][0] >= _WINDOW:
            self._samples.popleft()

    @property
    def a_second(self) -> float:
        """Jobs a second, 0 if nobody knows yet."""
        if self._last is None:
            return 0.0
        (then, before), (now, done) = self._samples[0], self._last
        return (done - before) / (now - then) if now > then else 0.0

    def left(self, jobs: int) -> float | None:
        """Return the seconds that so many jobs will take, None if nobody knows yet."""
        return jobs / self.a_second if self.a_second else None


def duration_text(seconds: float) -> str:
    """Write a time with its two largest units at most: ``45 s``, ``12 min``, ``3 h 20 min``, ``2 d 5 h``."""
    minutes, whole = round(seconds / 60), round(seconds)
    if whole < 100:
        return f"{whole} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def rate_text(a_second: float) -> str:
    """Write a rate by the unit that suits it."""
    if a_second >= 1:
        return f"{a_second:.1f} a second"
    a_minute = a_second * 60
    return f"{a_minute:.1f} a minute" if a_minute >= 1 else f"{a_minute * 60:.1f} an hour"


def coins_text(coins: float) -> str:
    """Write an amount, rounded to hundredths."""
    return f"{round(coins, 2):.12g}"
