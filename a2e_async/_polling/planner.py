"""Plans the next poll of each task: by the policy, and by the durations of tasks like it."""

import functools
import math
import time
from collections.abc import Iterator

from a2e_async._polling.durations import Durations
from a2e_async._polling.fetcher import PollResult
from a2e_async._polling.queue import FamilyQueue, Watch
from a2e_async._polling.schedule import BATCH_SIZE, LATE, TickGrid, count_polls, next_poll
from a2e_async.config import PollPolicy
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord

_MAX_KINDS = 64  # of a family: a server that invents prices does not fill the memory


def _choose_durations(watch: Watch, record: TaskRecord, now: float) -> None:
    """Choose the durations of a task with its first record, which tells its price and when A2E has accepted it."""
    kinds, price = watch.queue.kinds, record.coins
    if price not in kinds and len(kinds) >= _MAX_KINDS:
        for unused in [each for each, durations in kinds.items() if not durations.waiting]:
            del kinds[unused]
    if price in kinds or len(kinds) < _MAX_KINDS:
        watch.durations = kinds.setdefault(price, Durations())
        watch.durations.join()
    # If this machine's clock is wrong, the ages that are learned are wrong by as much.
    age = None if record.created_at is None else time.time() - record.created_at.timestamp()
    watch.born = watch.began if age is None else now - age


def plan_poll(
    watch: Watch, policy: PollPolicy, ticks: TickGrid, *, sent: float, now: float, result: PollResult
) -> tuple[float, float | None]:
    """Plan the poll of a task after a result that was not final.

    Returns:
        The tick at which it is due, and the earlier one from which on it wants a place in a request, if there is one.
    """
    error, usual = result if isinstance(result, A2EError) else None, watch.usual
    # Case 1: the last poll was a usual one, or it failed. Otherwise the usual poll is still to come.
    if usual is None or usual <= now or error is not None:
        usual = next_poll(
            policy, ticks, began=watch.began, sent=sent, now=now, has_webhook=watch.has_webhook, error=error
        )
    watch.is_likely, turns, watch.turns = False, watch.turns, 0
    if watch.durations is None and isinstance(result, TaskRecord):
        _choose_durations(watch, result, now)
    # Case 2: nothing is known about tasks like it.
    durations = watch.durations
    if durations is None or not durations.ends or watch.has_webhook or not isinstance(result, TaskRecord):
        return usual, None
    tick, after = ticks.next(sent, late=LATE), functools.partial(_usual_after, policy, ticks, watch.began)
    due = watch.queue.due
    plan = durations.plan(usual, tick=tick, age=tick - watch.born, due=due, turns=turns, after=after)
    # Case 3: it is likely to end before the usual poll.
    if plan.is_likely:
        watch.is_likely, early = True, math.inf
        if plan.early is not None:
            early = ticks.next(max(tick + ticks.length, plan.early - ticks.length / 2))
        return usual, early if early < usual else None
    # Case 4: it is not likely to, and no wait needs its progress.
    if plan.turns and not any(waiter.wants_changes for waiter in watch.waiters):
        usual, watch.turns, durations.quiet[watch.task_id] = plan.at, plan.turns, plan
        for at in plan.skipped:
            watch.queue.skipped[at] = watch.queue.skipped.get(at, 0) + 1
    return usual, None


def _usual_after(policy: PollPolicy, ticks: TickGrid, began: float, at: float) -> float:
    return next_poll(policy, ticks, began=began, sent=at, now=at)


def learn(watch: Watch, policy: PollPolicy, sent: float) -> Durations | None:
    """Learn from the end of a task. Return the durations if that is a surprise: its quiet tasks may have ended too."""
    durations = watch.durations
    if durations is None or watch.record is None:  # it has ended before the first poll
        return None
    if watch.is_likely:
        watch.queue.saved += durations.earned(count_polls(policy, sent - watch.began))
    is_new = durations.on_end(watch.polled_at - watch.born, sent - watch.born)
    return durations if durations.quiet and (is_new or watch.turns) else None


def wake_quiet(queue: FamilyQueue, durations: Durations, now: float) -> Iterator[tuple[Watch, float, bool]]:
    """Yield the quiet tasks, which are no longer quiet: each with its next usual poll, and whether it has left out one.

    What these have left out is polled now, and so not saved.
    """
    queue.skipped.clear()
    plans, late = durations.quiet, 0
    durations.quiet = {}
    for task_id, plan in plans.items():
        watch, is_late = queue.watches[task_id], bool(plan.skipped) and plan.skipped[0] <= now
        watch.turns, late = 0, late + is_late
        yield watch, next((at for at in plan.skipped if at > now), plan.at), is_late
    queue.saved = max(0.0, queue.saved - math.ceil(late / BATCH_SIZE))
