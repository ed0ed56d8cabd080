"""The limits that a2e-async has to keep while it waits, as rows of a report."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks._report import Row

    from .trial import Measurement
else:  # the script that imports this package is in the same folder
    from _report import Row

__all__ = ["BY_HAND", "US", "WEBHOOKS", "comparisons", "limits"]

US, BY_HAND, WEBHOOKS = "a2e-async", "by-hand", "webhooks"
# ^ keys of clients

_NOISE = 1.1  # factor for the noise of the machine


def limits(measurements: Sequence[Measurement]) -> Iterator[Row]:
    """Yield the limits of the measured clients."""
    ours = {it.plan.count: it for it in measurements if it.client.key == US}
    for it in measurements:
        if it.client.key in {US, WEBHOOKS}:
            yield Row(
                name=f"{it.client.title}, {it.plan.count:,} tasks, lost waits",
                value=it.plan.count - len(it.delays),
                bound=0,
            )
    if 1000 in ours:
        yield from _thousand(ours[1000])
    if 10000 in ours:
        yield Row(name="10,000 tasks, KiB for each", value=(ours[10000].growth or math.inf) / 10000 / 1024, bound=8)
    if {1000, 10000} <= ours.keys() and ours[1000].cpu:
        yield Row(name="CPU at 10,000 tasks / at 1,000", value=ours[10000].cpu / ours[1000].cpu, bound=10 * _NOISE)
    for it in measurements:
        if it.client.key == WEBHOOKS:
            yield Row(name=f"webhooks, {it.plan.count:,} tasks, mean delay s", value=it.mean, bound=0.1)


def _thousand(it: Measurement) -> Iterator[Row]:
    yield Row(name="1,000 tasks, status requests", value=it.requests, bound=250)
    yield Row(name="1,000 tasks, CPU s", value=it.cpu, bound=0.5)
    yield Row(name="1,000 tasks, mean delay s", value=it.mean, bound=1.3)


def comparisons(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Yield the cost of a2e-async relative to a simple loop."""
    ours, by_hand = ({it.plan.count: it for it in measurements if it.client.key == key} for key in (US, BY_HAND))
    for count in sorted(ours.keys() & by_hand.keys()):
        mine, theirs = ours[count], by_hand[count]
        if mine.delays and theirs.delays:
            requests, cpu, delay = mine.requests / theirs.requests, mine.cpu / theirs.cpu, mine.mean / theirs.mean
            yield f"{count:,} tasks: {requests:.3f} of the requests, {cpu:.2f} of the CPU and {delay:.2f} of the delay by hand"
