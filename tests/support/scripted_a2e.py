"""An A2E with three scripted operations that records every call, for tests of `_polling/fetcher.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from a2e_async import A2EError, TaskRecord, TaskStatus
from a2e_async._polling.fetcher import StatusFetcher, StatusReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from a2e_async._polling.fetcher import PollResult

__all__ = ["FetchResult", "ScriptedA2E", "ScriptedReader", "fetch", "fetch_due", "record_of", "succeed", "summarize"]

PAGE_SIZE = 100
"""Records in a page of the list."""


def record_of(task_id: str, status: TaskStatus = TaskStatus.RUNNING) -> TaskRecord:
    """Return the record of a task."""
    return TaskRecord(id=task_id, status=status)


def succeed(_: Any) -> None:
    """Let a call succeed."""


class ScriptedReader(StatusReader):
    """Reader whose operations are functions of a test."""

    def __init__(
        self,
        get: Callable[[str], Awaitable[TaskRecord]],
        get_many: Callable[[list[str]], Awaitable[Mapping[str, TaskRecord]]] | None = None,
        list_page: Callable[[int], Awaitable[Mapping[str, TaskRecord]]] | None = None,
    ) -> None:
        """Remember the functions; None for an operation that the family does not have."""
        self._get, self._get_many, self._list_page = get, get_many, list_page

    @property
    def has_batches(self) -> bool:
        """Whether there is a function for several tasks."""
        return self._get_many is not None

    @property
    def has_list(self) -> bool:
        """Whether there is a function for the list."""
        return self._list_page is not None

    async def get(self, task_id: str) -> TaskRecord:
        """Call the function for one task."""
        return await self._get(task_id)

    async def get_many(self, ids: list[str]) -> Mapping[str, TaskRecord]:
        """Call the function for several tasks."""
        assert self._get_many is not None
        return await self._get_many(ids)

    async def list_page(self, number: int) -> Mapping[str, TaskRecord]:
        """Call the function for the list."""
        assert self._list_page is not None
        return await self._list_page(number)


@attrs.define(eq=False)
class ScriptedA2E:
    """Tasks, and a script for each operation. A script returns or raises the error of the call, or returns None.

    Attributes:
        tasks: Ids of all tasks, the newest first, as in the list.
        on_detail: Script of the detail operation, called with the id.
        on_batch_detail: Script of batchDetail, called with the ids.
        on_list: Script of the list, called with the number of the page.
        hidden: Ids that are missing from the responses of batchDetail.
        unlisted: Ids that are missing from the list.
        unrequested: Records that batchDetail returns without a request for them.
        done: Ids of the tasks that have succeeded.
        detail_ids: The id of each call of the detail operation.
        batches: The ids of each call of batchDetail.
        page_numbers: The number of each page that was requested.
    """

    tasks: list[str]
    on_detail: Callable[[str], A2EError | None] = succeed
    on_batch_detail: Callable[[list[str]], A2EError | None] = succeed
    on_list: Callable[[int], A2EError | None] = succeed
    hidden: set[str] = attrs.field(factory=set)
    unlisted: set[str] = attrs.field(factory=set)
    unrequested: dict[str, TaskRecord] = attrs.field(factory=dict)
    done: set[str] = attrs.field(factory=set)
    detail_ids: list[str] = attrs.field(factory=list)
    batches: list[list[str]] = attrs.field(factory=list)
    page_numbers: list[int] = attrs.field(factory=list)
    _known: set[str] = attrs.field(init=False, default=attrs.Factory(lambda self: set(self.tasks), takes_self=True))

    @property
    def call_count(self) -> int:
        """The number of calls."""
        return len(self.detail_ids) + len(self.batches) + len(self.page_numbers)

    @property
    def batch_sizes(self) -> list[int]:
        """The number of ids in each call of batchDetail."""
        return [len(ids) for ids in self.batches]

    def clear_calls(self) -> None:
        """Clear the record of calls."""
        self.detail_ids.clear()
        self.batches.clear()
        self.page_numbers.clear()

    def fetcher(self, *, has_batches: bool = True, has_list: bool = True) -> StatusFetcher:
        """Return a fetcher of a family with or without batchDetail, and with or without a list."""
        return StatusFetcher(self.reader(has_batches=has_batches, has_list=has_list))

    def reader(self, *, has_batches: bool = True, has_list: bool = True) -> ScriptedReader:
        """Return the reader of a family with or without batchDetail, and with or without a list."""
        return ScriptedReader(
            get=self._detail,
            get_many=self._batch_detail if has_batches else None,
            list_page=self._list if has_list else None,
        )

    def _records(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        return {
            task_id: record_of(task_id, TaskStatus.SUCCEEDED if task_id in self.done else TaskStatus.RUNNING)
            for task_id in ids
        }

    async def _detail(self, task_id: str) -> TaskRecord:
        self.detail_ids.append(task_id)
        await _run(self.on_detail, task_id)
        return self._records([task_id])[task_id]

    async def _batch_detail(self, ids: list[str]) -> dict[str, TaskRecord]:
        self.batches.append(list(ids))
        await _run(self.on_batch_detail, list(ids))
        known = self._records(task_id for task_id in ids if task_id in self._known and task_id not in self.hidden)
        return self.unrequested | known

    async def _list(self, number: int) -> dict[str, TaskRecord]:
        self.page_numbers.append(number)
        await _run(self.on_list, number)
        listed = [task_id for task_id in self.tasks if task_id not in self.unlisted]
        return self._records(listed[(number - 1) * PAGE_SIZE : number * PAGE_SIZE])


async def _run(script: Callable[[Any], A2EError | None], argument: object) -> None:
    await asyncio.sleep(0)  # other requests are sent while this one is in flight
    error = script(argument)
    if error is not None:
        raise error


@attrs.frozen
class FetchResult:
    """Results of one fetch by task, and the ids that must be fetched one by one."""

    results: dict[str, PollResult]
    single: list[str]


async def fetch(fetcher: StatusFetcher, ids: Iterable[str], *, waiting: int = 0) -> FetchResult:
    """Fetch once, and check that each task has exactly one result or must be fetched alone."""
    ids, results = list(ids), dict[str, "PollResult"]()

    def on_result(task_id: str, result: PollResult) -> None:
        assert task_id not in results, f"two results of {task_id}"
        results[task_id] = result

    single = await fetcher.fetch(ids, on_result, waiting=waiting)
    assert sorted([*results, *single]) == sorted(ids)
    return FetchResult(results, single)


async def fetch_due(fetcher: StatusFetcher, due: Iterable[str]) -> dict[str, PollResult]:
    """Fetch all due tasks as the poller does: batches side by side, and single tasks at once."""
    waiting = dict.fromkeys(due)
    count = len(waiting)
    results: dict[str, PollResult] = {}
    for _ in range(3):
        slices = _slices(fetcher, waiting)
        for fetched in await asyncio.gather(*(fetch(fetcher, ids, waiting=count) for ids in slices)):
            results |= fetched.results
            waiting |= dict.fromkeys(fetched.single)
        assert results.keys().isdisjoint(waiting)
    assert not waiting, "a task that is fetched alone has a result"
    return results


def _slices(fetcher: StatusFetcher, waiting: dict[str, None]) -> list[list[str]]:
    """Remove all ids from `waiting`, and return them as the batches of the fetcher."""
    slices = []
    while waiting:
        slices.append(fetcher.next_batch(waiting))
        for task_id in slices[-1]:
            del waiting[task_id]
    return slices


def summarize(results: dict[str, PollResult]) -> dict[str, str]:
    """Return one word for each task: its status, the name of an error, or an empty string."""
    return {
        task_id: result.status.value
        if isinstance(result, TaskRecord)
        else ""
        if result is None
        else type(result).__name__
        for task_id, result in results.items()
    }
