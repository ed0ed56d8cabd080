"""When tasks are likely to end, learned from those that have ended. Pure: no I/O, no clock."""

# How it works: tasks of one kind take similar times, so polls gather where they are likely to end. A wrong guess must
# not be worse than the usual schedule (`schedule.next_poll`), neither in delay nor in requests:
#
# - Quiet: no task is likely to end before the next usual poll. If one request cannot read all tasks that are due, they
#   take turns, and skip their other polls. If one of them has ended all the same, the poller polls all others at once,
#   as the usual schedule would have.
# - Likely: the task wants to be polled earlier than usual. It gets a free place in a request for other tasks, which
#   costs nothing. Or the poller sends one request more, if skipped polls have saved it, or ends have earned it: a task
#   that ends when it was likely to may have cost 20 polls, 0.2 requests. A wrong guess earns nothing.
# - Unknown: too few tasks have ended, or the task has outlived all of them. It is polled as usual.

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import NamedTuple

import attrs

from a2e_async._polling.schedule import BATCH_SIZE

_MIN_ENDS = 20  # fewer tell nothing
_MAX_ENDS = 256  # each further one replaces another: durations change from day to day
_ENDS_OF_CROWD = 64  # of many tasks that wait together: the short ones, which end first, must not replace all others
_MAX_SECONDS = 86400.0  # a longer duration is that of a wrong clock

_MAX_TURNS = 10  # usual polls from one quiet poll of a task to the next, at most

# Seconds of delay for which one more poll of one task is sent: 1.4 s for a request of 100 tasks.
_WORTH = 0.014

_SHORT_POLLS = 20

_GOLDEN_RATIO = 0.618034  # its multiples spread evenly between 0 and 1


class Plan(NamedTuple):
    """When to poll a task again.

    Attributes:
        at: The time at the latest.
        early: The time from which it wants a place in a request, or None.
        is_likely: The task is likely to end until then.
        skipped: The usual polls that are left out until then.
        turns: A quiet task is polled once in so many usual polls; 0 if it is not quiet.
    """

    at: float
    early: float | None = None
    is_likely: bool = False
    skipped: tuple[float, ...] = ()
    turns: int = 0


@attrs.define(eq=False, repr=False)
class Durations:
    """Durations for the tasks of one kind, such as those of one family and price.

    Attributes:
        ends: Ages at which tasks have ended, in seconds, in ascending order.
        waiting: Number of its tasks that are polled.
        quiet: Ids of the quiet tasks -> their plans.
    """

    ends: list[float] = attrs.field(factory=list)
    waiting: int = 0
    quiet: dict[str, Plan] = attrs.field(factory=dict)
    _peak: int = 0  # most tasks that have waited at the same time, since none was waiting
    _turn: int = 0
    _seen: int = 0

    def join(self) -> None:
        """Record that a task is polled."""
        self.waiting += 1
        self._peak = max(self._peak, self.waiting)

    def leave(self) -> None:
        """Record that a task is no longer polled."""
        self.waiting -= 1
        self._peak = self._peak if self.waiting else 0

    def on_end(self, after: float, until: float) -> bool:
        """Record that a task has ended between two ages, and return whether none was known to end between them.

        Args:
            after: Its age when it was last seen to run.
            until: Its age when it was first seen to have ended.
        """
        if not 0.0 <= after <= until <= _MAX_SECONDS:
            return False
        ends = self.ends
        is_new = len(ends) >= _MIN_ENDS and bisect.bisect(ends, after) == bisect.bisect(ends, until)
        self._seen += 1
        if self._seen % math.ceil(self._peak / _ENDS_OF_CROWD) == 0:
            if len(ends) >= _MAX_ENDS:
                del ends[int(self._seen * _GOLDEN_RATIO % 1 * len(ends))]
            bisect.insort(ends, (after + until) / 2)
        return is_new

    def best_pause(self, age: float, usual: float) -> float | None:
        """Return the best time until the next poll, in seconds; None if unknown.

        It is longer than the usual time if no task is likely to end before.
        """
        ends, count = self.ends, len(self.ends)
        first = bisect.bisect(ends, age)
        if count < _MIN_ENDS or first == count:
            return None
        near = math.isqrt(count)  # ends that are enough to measure how dense they are
        gap, spread = ends[first] - age, ends[-1] - ends[0]
        if first == 0:
            gap -= spread / count  # the next tasks may end a bit earlier than all the others
        if gap > (usual if first == 0 else max(usual, spread / near)):
            return gap
        # The chance to end within a second, of the tasks that have not ended at this age. With it, the mean delay is
        # half of the pause, and each poll costs `_WORTH`. The sum is least at the square root.
        last = min(first + near, count) - 1
        seconds, share = max(ends[last] - age, 1e-3), (last + 1 - first) / (count - first)
        return min(usual, math.sqrt(2.0 * _WORTH * seconds / share))

    def plan(
        self, usual: float, *, tick: float, age: float, due: int, turns: int, after: Callable[[float], float]
    ) -> Plan:
        """Return when to poll a task again.

        Args:
            usual: The time by the usual schedule.
            tick: The tick of the last poll.
            age: The age of the task then.
            due: How many tasks were due at that tick.
            turns: Those of the last plan.
            after: Returns the usual poll after another one.
        """
        # Case 1: unknown, or the usual poll comes at once, since the last one was sent late.
        pause = self.best_pause(age, usual - tick) if usual > tick else None
        if pause is None:
            return Plan(usual)
        # Case 2: likely. The time is divided evenly, since the usual poll comes in any case.
        if pause <= usual - tick:
            parts = round((usual - tick) / pause)
            early = tick + (usual - tick) / parts if parts > 1 else None
            return Plan(usual, early, is_likely=True)
        # Case 3: quiet. The first turn is any of them, and the next ones are as far apart as there are turns.
        is_first, turns = not turns, turns or min(_MAX_TURNS, math.ceil(due / BATCH_SIZE))
        if turns <= 1:
            return Plan(usual)
        self._turn += 1
        skips = self._turn % turns if is_first else turns - 1
        skipped: list[float] = []
        while len(skipped) < skips and (later := after(usual)) <= tick + pause:
            skipped.append(usual)
            usual = later
        return Plan(usual, skipped=tuple(skipped), turns=turns)

    @staticmethod
    def earned(usual_polls: int) -> float:
        """Return the requests that a task has earned which has ended as expected after so many usual polls."""
        return max(0, _SHORT_POLLS - usual_polls) / BATCH_SIZE
