"""Fetcher of the records of one family. A fault of one task does not affect the others.

How it works:

The poller passes the due tasks to `next_batch`, and the batch to `fetch`, which reports one result for each task:

1. Normally one batchDetail request reads up to 100 tasks. The detail operation reads a single task. A2E's list reads
   many tasks while batchDetail is not available. All three operations are free.
2. A task that is missing from three responses leaves the batch and is fetched alone.
3. A rejected batch is bisected. Either its size was rejected: then batches become smaller. Or single ids were: then
   these are quarantined, that is, fetched alone for ten minutes.
4. A batch that keeps failing while other batches work is bisected as well, since one of its tasks must be the cause.
5. When no batch works, a probe fetches one task alone. If the probe fails too, A2E is down, and all tasks get the
   error. If it works, batchDetail itself is broken: `BatchSupport` is tripped, and the list or single requests take its
   place for a while.

`schedule.classify` decides which case an error is. The poller decides when to poll, and what a result means for a wait.
"""

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

import attrs

from a2e_async._polling.bisection import Bisection
from a2e_async._polling.schedule import BATCH_SIZE, BatchFailure, BatchSupport, classify
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord

R = TypeVar("R", bound=TaskRecord)

# The record of a task, the error of its poll, or None if the response of A2E did not contain the task.
PollResult: TypeAlias = "TaskRecord | A2EError | None"

# Called with the id of a task and the result of its poll.
OnResult: TypeAlias = "Callable[[str, PollResult], None]"

# Misses of a task (in a response, or because of an error) after which it is fetched in another way.
_MAX_MISSES = 3

# The weight of a throttled request, compared with a miss: tasks are hardly ever the cause of it.
_THROTTLED_WEIGHT = 0.3

_QUARANTINE = 600.0  # seconds

_PROBE_INTERVAL = 10.0  # seconds

# The distance between the tasks of two probes, as a fraction of the batch. Broken tasks can be neighbours, and steps of
# the golden ratio spread evenly over any number of tasks.
_GOLDEN_RATIO = 0.618034

_LIST_SIZE = 5000  # tasks to look for in one pass over the list


@attrs.define(eq=False, repr=False)
class StatusApi(Generic[R]):
    """The operations of one family that read records.

    Attributes:
        get: Returns the record of a task.
        get_many: Returns the records of several tasks by their ids, with one request. A task that A2E does not return
            is missing. None if the family has no such operation.
        list_page: Returns the records of a page of the list, by their ids. Pages count from 1 and have `BATCH_SIZE`
            records; the page after the last one is empty. None if the family has no list.
    """

    get: Callable[[str], Awaitable[R]]
    get_many: Callable[[list[str]], Awaitable[Mapping[str, R]]] | None = None
    list_page: Callable[[int], Awaitable[Mapping[str, R]]] | None = None


@attrs.define(eq=False, repr=False)
class _Fetch:
    """One call of `StatusFetcher.fetch`.

    Attributes:
        on_result: Receives the results.
        max_pages: Pages of the list on which the tasks can be.
        single: Tasks without a result, to be fetched alone next.
        requeued: Tasks without a result, to be fetched with others by another operation.
    """

    on_result: OnResult
    max_pages: int
    single: list[str] = attrs.field(factory=list)
    requeued: list[str] = attrs.field(factory=list)

    def fail(self, ids: Iterable[str], error: A2EError) -> None:
        """Report an error for several tasks."""
        for task_id in ids:
            self.on_result(task_id, error)


@attrs.define(eq=False, repr=False)
class StatusFetcher(Generic[R]):
    """Fetcher of the records of one family. It keeps state only about tasks with faults."""

    api: StatusApi[R]
    _batches: BatchSupport = attrs.field(factory=BatchSupport)
    _misses: dict[str, float] = attrs.field(factory=dict)
    _single: set[str] = attrs.field(factory=set)
    _quarantined: dict[str, float] = attrs.field(factory=dict)  # until when
    _probed_at: float = -math.inf
    _probes: int = 0
    _clock: Callable[[], float] = attrs.field(factory=lambda: asyncio.get_running_loop().time)

    def next_batch(self, due: Iterable[str]) -> list[str]:
        """Return which of the due tasks (at least one) to `fetch` next."""
        due = iter(due)
        first = next(due)
        if self._is_single(first):
            return [first]
        together = due if not (self._single or self._quarantined) else itertools.filterfalse(self._is_single, due)
        size_without_batches = 1 if self.api.list_page is None else _LIST_SIZE
        size = self._batches.size if self._can_batch else size_without_batches
        return [first, *itertools.islice(together, size - 1)]

    def _is_single(self, task_id: str) -> bool:
        if self._clock() >= self._quarantined.get(task_id, math.inf):
            del self._quarantined[task_id]
        return task_id in self._single or task_id in self._quarantined

    @property
    def _can_batch(self) -> bool:
        return self.api.get_many is not None and self._batches.is_available(self._clock())

    async def fetch(self, ids: list[str], on_result: OnResult, *, waiting: int = 0) -> list[str]:
        """Fetch the records of tasks, and report the result of each.

        Args:
            ids: The tasks, as returned by `next_batch`.
            on_result: Called once for each task with a result.
            waiting: Number of all tasks that are polled, which limits how far back in A2E's list these can be.

        Returns:
            The tasks without a result. They have to be fetched in another way, at once.
        """
        ids = [*ids]
        current = _Fetch(on_result, math.ceil(max(waiting, len(ids)) / BATCH_SIZE) + 1)
        if len(ids) == 1:
            on_result(ids[0], await self._fetch_single(ids[0]))
        elif self._can_batch and len(ids) <= self._batches.size:
            await self._fetch_batch(ids, current)
        else:
            await self._fetch_list(ids, current)
        self._single.update(current.single)
        return current.single + current.requeued

    def forget(self, task_id: str) -> None:
        """Drop the state of a task that is no longer polled."""
        if self._misses or self._single or self._quarantined:
            self._misses.pop(task_id, None)
            self._single.discard(task_id)
            self._quarantined.pop(task_id, None)

    # One task

    async def _fetch_single(self, task_id: str) -> R | A2EError:
        was_missing = task_id in self._single and self._misses.get(task_id, 0.0) >= _MAX_MISSES
        self._single.discard(task_id)
        result = await self._get(task_id)
        if was_missing and isinstance(result, TaskRecord):
            # The task exists, and batchDetail did not return it. It goes back to the batches; one more miss there, and
            # it is fetched alone again.
            self._misses[task_id] = _MAX_MISSES - 1
            if self._batches.is_suspect:  # batchDetail has not returned any other task either
                self._batches.trip(self._clock())
        return result

    async def _get(self, task_id: str) -> R | A2EError:
        try:
            return await self.api.get(task_id)
        except A2EError as error:
            return error

    async def _probe(self, ids: list[str], current: _Fetch) -> bool:
        """Fetch one of the tasks alone, and return whether A2E sent its record. It is then removed from `ids`.

        Each probe takes another task, since the one may be broken. Within 10 seconds of the last probe, none is sent.
        """
        if self._clock() < self._probed_at + _PROBE_INTERVAL:
            return False
        self._probed_at, self._probes = self._clock(), self._probes + 1
        task_id = ids[int(self._probes * _GOLDEN_RATIO % 1 * len(ids))]
        result = await self._get(task_id)
        if not isinstance(result, TaskRecord):
            return False
        ids.remove(task_id)
        current.on_result(task_id, result)
        return True

    # Several tasks by batchDetail

    async def _fetch_batch(self, ids: list[str], current: _Fetch) -> None:
        try:
            records = await self._get_many(ids)
        except A2EError as error:
            await self._handle_error(error, ids, current)
        else:
            self._apply_results(records, ids, current)

    async def _get_many(self, ids: list[str]) -> Mapping[str, R]:
        assert self.api.get_many is not None  # noqa: S101  for mypy: else there are no batches
        self._batches.on_request()
        try:
            return await self.api.get_many(ids)
        finally:
            self._batches.on_end()

    def _apply_results(self, records: Mapping[str, R], ids: list[str], current: _Fetch) -> None:
        if records.keys().isdisjoint(ids):
            self._batches.on_miss()
        else:
            self._batches.on_hit()
        for task_id in ids:
            record = records.get(task_id)
            if record is not None:
                self._report(task_id, record, current)
            elif self._count_misses([task_id]):
                current.single.append(task_id)
            else:
                current.on_result(task_id, None)

    def _report(self, task_id: str, record: R, current: _Fetch) -> None:
        if self._misses:
            self._misses.pop(task_id, None)
        current.on_result(task_id, record)

    def _count_misses(self, ids: list[str], weight: float = 1.0) -> bool:
        """Count a miss for each task, and return whether any of them has reached the limit."""
        for task_id in ids:
            self._misses[task_id] = self._misses.get(task_id, 0.0) + weight
        return self._has_missed_often(ids)

    def _has_missed_often(self, ids: list[str]) -> bool:
        return any(self._misses.get(task_id, 0.0) >= _MAX_MISSES for task_id in ids)

    async def _handle_error(self, error: A2EError, ids: list[str], current: _Fetch) -> None:
        failure = classify(error)
        # Case 1: no later request would succeed. The error goes to the waits.
        if failure is BatchFailure.PERMANENT:
            current.fail(ids, error)
        # Case 2: the family has no batchDetail, or the single trial after a pause failed again.
        elif failure is BatchFailure.UNSUPPORTED or (failure is BatchFailure.TRANSIENT and self._batches.is_half_open):
            self._switch_operation(ids, current)
        # Case 3: A2E rejected the number of ids, or one of the ids.
        elif failure is BatchFailure.REJECTED:
            await self._bisect(error, ids, current)
        else:
            await self._handle_transient(error, ids, current)

    async def _handle_transient(self, error: A2EError, ids: list[str], current: _Fetch) -> None:
        self._batches.on_miss()
        weight = _THROTTLED_WEIGHT if classify(error) is BatchFailure.THROTTLED else 1.0
        # Case 4: this batch fails again and again while others work, so that some of its tasks are the cause.
        if self._count_misses(ids, weight) and not self._batches.is_suspect:
            await self._bisect(error, ids, current)
        else:
            await self._diagnose(error, ids, current)

    async def _diagnose(self, error: A2EError, ids: list[str], current: _Fetch) -> None:
        """Handle an error that may be the fault of A2E as a whole, or of the operation."""
        # Case 5: a first error, or A2E does not answer the probe either: an outage. The tasks are polled again later.
        if not self._has_missed_often(ids) or not await self._probe(ids, current):
            current.fail(ids, error)
            return
        if not ids:  # the probe fetched the only task
            return
        # Case 6: A2E works. The outage can have ended just now, so batchDetail gets one more try.
        try:
            records = await self._get_many(ids)
        except A2EError as again:
            failure = classify(again)
            if failure in {BatchFailure.THROTTLED, BatchFailure.PERMANENT} and failure is not classify(error):
                current.fail(ids, again)  # a new reason, which says nothing about batchDetail
            else:
                self._switch_operation(ids, current)
        else:
            self._apply_results(records, ids, current)

    async def _bisect(self, error: A2EError, ids: list[str], current: _Fetch) -> None:
        """Fetch smaller and smaller parts, until the size or the bad ids are known."""
        failure = classify(error)
        bisection = Bisection.of(ids, self._batches.size)
        while part := bisection.next_part():
            try:
                records = await self._get_many(part)
            except A2EError as again:
                error = again
                if classify(error) is not failure:
                    break
                bisection.reject()
            else:
                self._apply_results(records, part, current)
                size = bisection.accept()
                if size is not None and failure is BatchFailure.REJECTED:
                    self._batches.shrink(size, self._clock())
        if not bisection.is_hopeless:
            self._quarantined.update(dict.fromkeys(bisection.bad_ids, self._clock() + _QUARANTINE))
            current.single += bisection.bad_ids
        ids = bisection.remaining()
        if not ids:
            return
        # Tasks remain, because everything was rejected, or because another error came in between.
        failure = classify(error)
        if failure in {BatchFailure.UNSUPPORTED, BatchFailure.REJECTED}:
            self._switch_operation(ids, current)
        elif failure is BatchFailure.TRANSIENT:
            await self._diagnose(error, ids, current)
        else:
            current.fail(ids, error)

    # Several tasks without batchDetail

    def _switch_operation(self, ids: list[str], current: _Fetch) -> None:
        """Do without batchDetail for a while.

        The tasks go back to the queue, so that one pass over the list serves them together with all other due tasks.
        """
        self._batches.trip(self._clock())
        current.requeued += ids

    async def _fetch_list(self, ids: list[str], current: _Fetch) -> None:
        """Look for the tasks in A2E's list, the newest first. Tasks that are not there are fetched alone."""
        list_page, missing = self.api.list_page, dict.fromkeys(ids)
        if list_page is None or len(ids) <= current.max_pages:  # single requests are fewer than pages
            current.single += ids
            return
        for number in range(1, current.max_pages + 1):
            try:
                records = await list_page(number)
            except A2EError as error:
                await self._handle_list_error(error, [*missing], current)
                return
            for task_id in records.keys() & missing.keys():
                del missing[task_id]
                self._report(task_id, records[task_id], current)
            if not missing or not records:
                break
        current.single += missing

    async def _handle_list_error(self, error: A2EError, ids: list[str], current: _Fetch) -> None:
        failure = classify(error)
        # Case 7: no request would succeed now.
        if failure in {BatchFailure.PERMANENT, BatchFailure.THROTTLED}:
            current.fail(ids, error)
        # Case 8: the list cannot be used, or it keeps failing although A2E answers a probe.
        elif failure is not BatchFailure.TRANSIENT or (self._count_misses(ids) and await self._probe(ids, current)):
            current.single += ids
        # Case 9: a first error, or an outage.
        else:
            current.fail(ids, error)
