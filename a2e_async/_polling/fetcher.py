"""Fetcher of the records of one family. A fault of one task does not affect the others."""

# How it works:
#
# The poller passes the due tasks to `next_batch`, and the batch to `fetch`, which reports one result for each task,
# or returns it to be fetched in another way:
#
# 1. Normally one batchDetail request reads up to 100 tasks. The detail operation reads a single task. A2E's list
#    reads many tasks while batchDetail is not available. All three operations are free.
# 2. A task that is missing from three responses leaves the batch and is fetched alone.
# 3. A rejected batch is bisected. Either its size was rejected: then batches become smaller. Or single ids were: then
#    these are quarantined, that is, fetched alone for ten minutes.
# 4. A batch that keeps failing while other batches work is bisected as well, since one of its tasks must be the
#    cause.
# 5. When no batch works, a probe fetches one task alone. If the probe fails too, A2E is down, and all tasks get the
#    error. If it works, batchDetail itself is broken: `BatchSupport` is tripped, and the list or single requests take
#    its place for a while.
#
# `_polling/schedule.py` decides which case an error is, and what the next step is. The poller decides when to poll,
# and what a result means for a wait.

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from a2e_async._polling.schedule import (
    BATCH_SIZE,
    BatchFailure,
    BatchSupport,
    Bisection,
    Step,
    after_batch,
    after_others,
    after_retry,
    classify,
    miss_weight,
)
from a2e_async._protocol.converter import to_record, to_records
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.families import Family
from a2e_async._protocol.pagination import page_request
from a2e_async._protocol.responses import detail
from a2e_async._transport.api import ApiTransport
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord

# The record of a task, the error of its poll, or None if the response of A2E did not contain the task.
PollResult: TypeAlias = "TaskRecord | A2EError | None"

# Called with the id of a task and the result of its poll.
OnResult: TypeAlias = "Callable[[str, PollResult], None]"

# Misses of a task (in a response, or because of an error) after which it is fetched in another way.
_MAX_MISSES = 3

_QUARANTINE = 600.0  # seconds

_PROBE_INTERVAL = 10.0  # seconds

# The distance between the tasks of two probes, as a fraction of the batch. Broken tasks can be neighbours, and steps of
# the golden ratio spread evenly over any number of tasks.
_GOLDEN_RATIO = 0.618034

_LIST_SIZE = 5000  # tasks to look for in one pass over the list


class StatusReader:
    """Reader of the records of one family. It retries nothing: the poller decides when to poll again.

    It holds the sender and nothing else of the client: the poller must not keep a client alive that the program has
    dropped without closing it.

    Attributes:
        api: Sends the requests.
        family: The family, with the paths of its operations.
        timeout: Seconds for each request.
    """

    def __init__(self, api: ApiTransport, family: Family, timeout: float) -> None:
        self.api, self.family, self.timeout = api, family, timeout
        self._turn = asyncio.Lock()

    @property
    def has_batches(self) -> bool:
        """Whether the family has an operation that reads several tasks by their ids."""
        return self.family.batch is not None

    @property
    def has_list(self) -> bool:
        """Whether the family has a list."""
        return self.family.list is not None

    async def get(self, task_id: str) -> TaskRecord:
        """Return the record of a task."""
        envelope = await self.api.call(self.family.detail, task_id, timeout=self.timeout)
        record: TaskRecord = to_record(detail(envelope, task_id), self.family, trace_id=envelope.trace_id)
        return record

    async def get_many(self, ids: list[str]) -> Mapping[str, TaskRecord]:
        """Return the records of tasks by their ids, with one request. A task that A2E does not return is missing."""
        assert self.family.batch is not None  # noqa: S101  for mypy: see `has_batches`
        return await self._read(self.family.batch, json={"ids": ids})

    async def list_page(self, number: int) -> Mapping[str, TaskRecord]:
        """Return the records of a page of the list, by their ids.

        Args:
            number: Pages count from 1 and have `BATCH_SIZE` records. The page after the last one is empty.
        """
        listing, paging = self.family.list, self.family.paging
        assert listing is not None  # noqa: S101  for mypy: see `has_list`
        if paging is None and number > 1:
            return {}
        params = page_request("", number, BATCH_SIZE, paging).params
        return await self._read(listing, params=params)

    async def _read(self, endpoint: Endpoint, **parts: Any) -> Mapping[str, TaskRecord]:  # noqa: ANN401  as in `call`
        try:
            envelope = await self.api.call(endpoint, timeout=self.timeout, **parts)
        except A2EError:
            await self._take_turn()
            raise
        await self._take_turn()
        return to_records(envelope, self.family)

    async def _take_turn(self) -> None:
        """Let one response or error pass in each pass of the event loop: the results of 1,000 tasks would block it."""
        await self._turn.acquire()
        asyncio.get_running_loop().call_soon(self._turn.release)


class _Fetch:
    """One call of `StatusFetcher.fetch`.

    Attributes:
        on_result: Receives the results.
        max_pages: Pages of the list on which the tasks can be.
        requeued: Tasks without a result, to be fetched in another way.
    """

    def __init__(self, on_result: OnResult, max_pages: int) -> None:
        self.on_result, self.max_pages = on_result, max_pages
        self.requeued: list[str] = []


class StatusFetcher:
    """Fetcher of the records of one family. It keeps state only about tasks with faults."""

    def __init__(self, reader: StatusReader) -> None:
        self.reader = reader
        self._batches = BatchSupport()
        self._misses: dict[str, float] = {}
        self._single: set[str] = set()
        self._quarantined: dict[str, float] = {}  # until when
        self._probed_at = -math.inf
        self._probes = 0
        self._clock = asyncio.get_running_loop().time

    def next_batch(self, due: Iterable[str]) -> list[str]:
        """Return which of the due tasks (at least one) to `fetch` next."""
        due = iter(due)
        first = next(due)
        if self._single or self._quarantined:
            if self._is_single(first):
                return [first]
            due = itertools.filterfalse(self._is_single, due)
        second = next(due, None)
        if second is None:
            return [first]
        size = 1 if not self.reader.has_list else _LIST_SIZE
        if self._can_batch:
            size = self._batches.size
        return [first, second, *itertools.islice(due, size - 2)] if size > 1 else [first]

    def _is_single(self, task_id: str) -> bool:
        if self._clock() >= self._quarantined.get(task_id, math.inf):
            del self._quarantined[task_id]
        return task_id in self._single or task_id in self._quarantined

    @property
    def _can_batch(self) -> bool:
        return self.reader.has_batches and self._batches.is_available(self._clock())

    async def fetch(self, ids: list[str], on_result: OnResult, *, waiting: int = 0) -> list[str]:
        """Fetch the records of tasks, and report the result of each.

        Args:
            ids: The tasks, as returned by `next_batch`.
            on_result: Called once for each task with a result.
            waiting: Number of all tasks that are polled, which limits how far back in A2E's list these can be.

        Returns:
            The tasks without a result. They have to be fetched in another way, at once.
        """
        if len(ids) == 1:
            (task_id,) = ids
            was_missing = task_id in self._single and self._misses.get(task_id, 0.0) >= _MAX_MISSES
            self._single.discard(task_id)
            try:
                result: PollResult = await self.reader.get(task_id)
            except A2EError as error:
                result = error
            else:
                if was_missing:
                    self._on_found(task_id)
            on_result(task_id, result)
            return []
        current = _Fetch(on_result, math.ceil(max(waiting, len(ids)) / BATCH_SIZE) + 1)
        if self._can_batch and len(ids) <= self._batches.size:
            await self._fetch_batch([*ids], current)
        else:
            await self._fetch_list([*ids], current)
        return current.requeued

    def forget(self, task_id: str) -> None:
        """Drop the state of a task that is no longer polled."""
        self._misses.pop(task_id, None)
        self._single.discard(task_id)
        self._quarantined.pop(task_id, None)

    def _on_found(self, task_id: str) -> None:
        """Record that a task exists that batchDetail did not return."""
        # It goes back to the batches; one more miss there, and it is fetched alone again.
        self._misses[task_id] = _MAX_MISSES - 1
        if self._batches.is_suspect:  # batchDetail has not returned any other task either
            self._batches.trip(self._clock())

    async def _probe(self, ids: list[str], current: _Fetch) -> bool:
        """Fetch one of the tasks alone, and return whether A2E sent its record. It is then removed from `ids`.

        Each probe takes another task, since the one may be broken. Within 10 seconds of the last probe, none is sent.
        """
        if self._clock() < self._probed_at + _PROBE_INTERVAL:
            return False
        self._probed_at, self._probes = self._clock(), self._probes + 1
        task_id = ids[int(self._probes * _GOLDEN_RATIO % 1 * len(ids))]
        results: list[PollResult] = []
        await self.fetch([task_id], lambda _, result: results.append(result))
        if isinstance(results[0], A2EError):
            return False
        ids.remove(task_id)
        current.on_result(task_id, results[0])
        return True

    # Several tasks

    async def _fetch_batch(self, ids: list[str], current: _Fetch) -> None:
        try:
            records = await self._get_many(ids)
        except A2EError as error:
            failure, batches = classify(error), self._batches
            weight = miss_weight(failure, is_half_open=batches.is_half_open)
            if weight:
                batches.on_miss()
                self._count_misses(ids, weight)
            often = self._has_missed_often(ids)
            step = after_batch(failure, is_half_open=batches.is_half_open, is_suspect=batches.is_suspect, often=often)
            await self._take(step, error, ids, current)
        else:
            self._apply_results(records, ids, current)

    async def _get_many(self, ids: list[str]) -> Mapping[str, TaskRecord]:
        self._batches.on_request()
        try:
            return await self.reader.get_many(ids)
        finally:
            self._batches.on_end()

    def _apply_results(self, records: Mapping[str, TaskRecord], ids: list[str], current: _Fetch) -> None:
        if records.keys().isdisjoint(ids):
            self._batches.on_miss()
        else:
            self._batches.on_hit()
        for task_id in ids:
            record = records.get(task_id)
            if record is not None:
                self._misses.pop(task_id, None)
                current.on_result(task_id, record)
                continue
            self._count_misses([task_id])
            if self._has_missed_often([task_id]):
                self._fetch_alone([task_id], current)
            else:
                current.on_result(task_id, None)

    def _count_misses(self, ids: Iterable[str], weight: float = 1.0) -> None:
        for task_id in ids:
            self._misses[task_id] = self._misses.get(task_id, 0.0) + weight

    def _has_missed_often(self, ids: Iterable[str]) -> bool:
        return any(self._misses.get(task_id, 0.0) >= _MAX_MISSES for task_id in ids)

    def _fetch_alone(self, ids: Iterable[str], current: _Fetch) -> None:
        self._single.update(ids)
        current.requeued += ids

    async def _fetch_list(self, ids: list[str], current: _Fetch) -> None:
        """Look for the tasks in A2E's list, the newest first. Tasks that are not there are fetched alone."""
        missing = dict.fromkeys(ids)
        if not self.reader.has_list or len(ids) <= current.max_pages:  # single requests are fewer than pages
            self._fetch_alone(ids, current)
            return
        for number in range(1, current.max_pages + 1):
            try:
                records = await self.reader.list_page(number)
            except A2EError as error:
                failure, ids = classify(error), [*missing]
                if failure is BatchFailure.TRANSIENT:
                    self._count_misses(ids)
                step = after_others(failure, often=self._has_missed_often(ids), instead=Step.SINGLE)
                if step is Step.PROBE:
                    step = Step.SINGLE if await self._probe(ids, current) else Step.FAIL
                await self._take(step, error, ids, current)
                return
            for task_id in records.keys() & missing.keys():
                del missing[task_id]
                self._misses.pop(task_id, None)
                current.on_result(task_id, records[task_id])
            if not missing or not records:
                break
        self._fetch_alone(missing, current)

    # Errors

    async def _take(self, step: Step, error: A2EError, ids: list[str], current: _Fetch) -> None:
        """Take a step with the tasks of a request that failed."""
        if step is Step.FAIL:
            for task_id in ids:
                current.on_result(task_id, error)
        elif step is Step.SINGLE:
            self._fetch_alone(ids, current)
        elif step is Step.BISECT:
            await self._bisect(error, ids, current)
        elif step is Step.PROBE:
            await self._diagnose(error, ids, current)
        else:
            # The tasks go back to the queue, so that one pass over the list serves them with all other due tasks.
            self._batches.trip(self._clock())
            current.requeued += ids

    async def _diagnose(self, error: A2EError, ids: list[str], current: _Fetch) -> None:
        """Tell an outage of A2E from a fault of batchDetail by a probe."""
        if not await self._probe(ids, current):
            await self._take(Step.FAIL, error, ids, current)
        elif ids:
            # A2E works. The outage can have ended just now, so batchDetail gets one more try.
            try:
                records = await self._get_many(ids)
            except A2EError as again:
                await self._take(after_retry(classify(error), classify(again)), again, ids, current)
            else:
                self._apply_results(records, ids, current)

    async def _bisect(self, error: A2EError, ids: list[str], current: _Fetch) -> None:
        """Fetch smaller and smaller parts, until the size or the bad ids are known."""
        failure = classify(error)
        bisection = Bisection(ids, self._batches.size)
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
                bisection.accept()
        if not bisection.is_hopeless:
            self._quarantined.update(dict.fromkeys(bisection.bad_ids, self._clock() + _QUARANTINE))
            self._fetch_alone(bisection.bad_ids, current)
        if failure is BatchFailure.REJECTED and bisection.accepted_size is not None:
            self._batches.shrink(bisection.accepted_size, self._clock())
        ids = bisection.remaining
        if ids:
            step = after_others(classify(error), often=self._has_missed_often(ids), instead=Step.SWITCH)
            await self._take(step, error, ids, current)
