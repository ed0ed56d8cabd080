"""What is wanted of a2e-async while it waits, each with the number that was measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .trial import Outcome

__all__ = ["BY_HAND", "US", "WEBHOOKS", "Wish", "comparisons", "wishes"]

US, BY_HAND, WEBHOOKS = "a2e-async", "by-hand", "webhooks"
"""The keys of the clients that anything is said about here."""

_NO_FASTER = 1.1
"""How much faster than the number of tasks the CPU may grow, for the noise of the machine."""


@attrs.frozen
class Wish:
    """A bound and what was measured."""

    what: str
    measured: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether it came true."""
        return self.measured <= self.bound

    def __str__(self) -> str:
        word = "ok" if self.holds else "NO"
        return f"{word}  {self.what}: {self.measured:,.3f}, wanted at most {self.bound:,g}"


def wishes(outcomes: Sequence[Outcome]) -> Iterator[Wish]:
    """Yield what is wanted of those that were measured."""
    ours = {it.plan.count: it for it in outcomes if it.client.key == US}
    for it in outcomes:
        if it.client.key in {US, WEBHOOKS}:
            yield Wish(f"{it.client.title}, {it.plan.count:,} tasks, lost waits", it.plan.count - len(it.delays), 0)
    if 1000 in ours:
        yield from _thousand(ours[1000])
    if 10000 in ours:
        yield Wish("10,000 tasks, KiB for each", (ours[10000].growth or math.inf) / 10000 / 1024, 8)
    if {1000, 10000} <= ours.keys() and ours[1000].cpu:
        yield Wish("CPU at 10,000 tasks / at 1,000", ours[10000].cpu / ours[1000].cpu, 10 * _NO_FASTER)
    for it in outcomes:
        if it.client.key == WEBHOOKS:
            yield Wish(f"webhooks, {it.plan.count:,} tasks, mean delay s", it.mean, 0.1)


def _thousand(it: Outcome) -> Iterator[Wish]:
    yield Wish("1,000 tasks, status requests", it.asked, 250)
    yield Wish("1,000 tasks, CPU s", it.cpu, 0.5)
    yield Wish("1,000 tasks, mean delay s", it.mean, 1.3)


def comparisons(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield what a2e-async costs next to the code that most people write."""
    ours, by_hand = ({it.plan.count: it for it in outcomes if it.client.key == key} for key in (US, BY_HAND))
    for count in sorted(ours.keys() & by_hand.keys()):
        mine, theirs = ours[count], by_hand[count]
        if mine.delays and theirs.delays:
            requests, cpu, delay = mine.asked / theirs.asked, mine.cpu / theirs.cpu, mine.mean / theirs.mean
            yield f"{count:,} tasks: {requests:.3f} of the requests, {cpu:.2f} of the CPU and {delay:.2f} of the delay by hand"
