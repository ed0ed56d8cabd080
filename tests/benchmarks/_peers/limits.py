"""The limits that a2e-async has to keep while it waits, each with its measured value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .trial import Measurement

__all__ = ["BY_HAND", "US", "WEBHOOKS", "Limit", "comparisons", "limits"]

US, BY_HAND, WEBHOOKS = "a2e-async", "by-hand", "webhooks"
# ^ keys of clients

_NOISE = 1.1  # factor for the noise of the machine


@attrs.frozen
class Limit:
    """A limit and the measured value."""

    name: str
    measured: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the value is within the limit."""
        return self.measured <= self.limit

    def __str__(self) -> str:
        word = "ok" if self.holds else "NO"
        return f"{word}  {self.name}: {self.measured:,.3f}, limit {self.limit:,g}"


def limits(measurements: Sequence[Measurement]) -> Iterator[Limit]:
    """Yield the limits of the measured clients."""
    ours = {it.plan.count: it for it in measurements if it.client.key == US}
    for it in measurements:
        if it.client.key in {US, WEBHOOKS}:
            yield Limit(f"{it.client.title}, {it.plan.count:,} tasks, lost waits", it.plan.count - len(it.delays), 0)
    if 1000 in ours:
        yield from _thousand(ours[1000])
    if 10000 in ours:
        yield Limit("10,000 tasks, KiB for each", (ours[10000].growth or math.inf) / 10000 / 1024, 8)
    if {1000, 10000} <= ours.keys() and ours[1000].cpu:
        yield Limit("CPU at 10,000 tasks / at 1,000", ours[10000].cpu / ours[1000].cpu, 10 * _NOISE)
    for it in measurements:
        if it.client.key == WEBHOOKS:
            yield Limit(f"webhooks, {it.plan.count:,} tasks, mean delay s", it.mean, 0.1)


def _thousand(it: Measurement) -> Iterator[Limit]:
    yield Limit("1,000 tasks, status requests", it.requests, 250)
    yield Limit("1,000 tasks, CPU s", it.cpu, 0.5)
    yield Limit("1,000 tasks, mean delay s", it.mean, 1.3)


def comparisons(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Yield the cost of a2e-async relative to a simple loop."""
    ours, by_hand = ({it.plan.count: it for it in measurements if it.client.key == key} for key in (US, BY_HAND))
    for count in sorted(ours.keys() & by_hand.keys()):
        mine, theirs = ours[count], by_hand[count]
        if mine.delays and theirs.delays:
            requests, cpu, delay = mine.requests / theirs.requests, mine.cpu / theirs.cpu, mine.mean / theirs.mean
            yield f"{count:,} tasks: {requests:.3f} of the requests, {cpu:.2f} of the CPU and {delay:.2f} of the delay by hand"
