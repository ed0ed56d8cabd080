"""Fetching the records of several tasks: faults of some tasks do not affect the others, at a low cost."""

from __future__ import annotations

import asyncio
import logging
import random
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pytest
from scripted_a2e import ScriptedA2E, ScriptedReader, fetch, fetch_due, record_of, succeed, summarize
from virtual_clock import now

from a2e_async import (
    A2EError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    ClientClosedError,
    ImageToVideoRecord,
    NetworkError,
    NotFoundError,
    PollPolicy,
    RateLimitError,
    ServerError,
    TaskRecord,
    TaskStatus,
    UnexpectedResponseError,
)
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter
from a2e_async._protocol import converter
from a2e_async._protocol.families import IMAGE_TO_VIDEO, Family
from a2e_async._protocol.messages import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from a2e_async._polling.fetcher import PollResult, StatusFetcher

T = TypeVar("T")

PAGE = UnexpectedResponseError("a page", status=200, body=b"<html>")
SERVER_DOWN = ServerError("down", status=500)
CUT = NetworkError("cut")
SLOW_DOWN = RateLimitError("slow down", status=429)
REJECTED = BadRequestError("ids", status=400)
NOT_FOUND = NotFoundError("no such operation", status=404)

# Transient errors without throttling.
TRANSIENT: list[A2EError] = [CUT, SERVER_DOWN, UnexpectedResponseError("cut", status=200, body=b'{"data":[')]

THROTTLED: list[A2EError] = [
    SLOW_DOWN,
    BusyError("busy", status=200),
    ServerError("down", status=503, retry_after=1),
]


def describe(value: object) -> str | None:
    """Return the name of an error for a test id."""
    return type(value).__name__ if isinstance(value, A2EError) else None


def ids(count: int) -> list[str]:
    """Return the ids of some tasks, the newest first."""
    return [f"t{number}" for number in range(count)]


def always(error: A2EError) -> Callable[[object], A2EError]:
    """Return a script that fails every call."""
    return lambda _: error


def involving(bad_id: Collection[str], error: A2EError) -> Callable[[list[str] | str], A2EError | None]:
    """Return a script that fails each call with one of these tasks."""
    return lambda requested: (
        error if not set(bad_id).isdisjoint([requested] if isinstance(requested, str) else requested) else None
    )


def more_than(most: int, error: A2EError) -> Callable[[list[str]], A2EError | None]:
    """Return a script that fails each call with too many tasks."""
    return lambda requested: error if len(requested) > most else None


def count_results(results: dict[str, PollResult]) -> Counter[str]:
    """Count the results: "running", the name of an error, or an empty string."""
    return Counter(summarize(results).values())


async def poll_rounds(fetcher: StatusFetcher, due: Collection[str], count: int) -> list[Counter[str]]:
    """Fetch the tasks several times, 2 s apart, and count the results of each time."""
    found = []
    for _ in range(count):
        found.append(count_results(await fetch_due(fetcher, due)))
        await asyncio.sleep(2)
    return found


# Batches


async def test_batches_of_a_hundred() -> None:
    """All due tasks are fetched, a hundred with each request."""
    a2e = ScriptedA2E(ids(250))
    results = await fetch_all(a2e)
    assert count_results(results) == {"running": 250}
    assert (a2e.batch_sizes, a2e.detail_ids, a2e.page_numbers) == ([100, 100, 50], [], [])


async def fetch_all(a2e: ScriptedA2E, *, has_batches: bool = True, has_list: bool = True) -> dict[str, PollResult]:
    """Fetch all tasks once."""
    return await fetch_due(a2e.fetcher(has_batches=has_batches, has_list=has_list), a2e.tasks)


async def test_batch_keeps_the_order_of_the_due_tasks() -> None:
    """The tasks that are due first are in the first batch."""
    assert ScriptedA2E([]).fetcher().next_batch(iter(ids(250))) == ids(100)


@pytest.mark.parametrize("has_batches", [False, True])
@pytest.mark.parametrize("has_list", [False, True])
async def test_single_task_uses_the_detail_operation(
    has_batches: bool,  # noqa: FBT001  a parameter of the test
    has_list: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    """A single due task costs one request of the detail operation."""
    a2e = ScriptedA2E(ids(1))
    assert count_results(await fetch_all(a2e, has_batches=has_batches, has_list=has_list)) == {"running": 1}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], ids(1), [])


async def test_family_without_batch_detail_is_read_from_the_list() -> None:
    """Without batchDetail, one pass over the list reads all due tasks."""
    a2e = ScriptedA2E(ids(250))
    assert count_results(await fetch_all(a2e, has_batches=False)) == {"running": 250}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], [], [1, 2, 3])


async def test_pages_after_the_last_due_task_are_not_read() -> None:
    """Pages after the last of the due tasks are not read."""
    a2e = ScriptedA2E(ids(1000))

    assert count_results(await fetch_due(a2e.fetcher(has_batches=False), ids(100))) == {"running": 100}
    assert a2e.page_numbers == [1]


async def test_task_missing_from_the_list_is_fetched_alone_at_once() -> None:
    """A task that is not on the pages of the list has a result in the same round."""
    a2e = ScriptedA2E(ids(250), unlisted={"t3", "t77"})
    assert count_results(await fetch_all(a2e, has_batches=False)) == {"running": 250}
    assert sorted(a2e.detail_ids) == ["t3", "t77"]


async def test_long_list_is_not_read_to_its_end() -> None:
    """Old tasks behind thousands of others are fetched one by one after a few pages."""
    a2e = ScriptedA2E([*ids(5000), *(f"old{number}" for number in range(50))])
    due = a2e.tasks[-50:]

    assert count_results(await fetch_due(a2e.fetcher(has_batches=False), due)) == {"running": 50}
    assert len(a2e.page_numbers) <= 2
    assert sorted(a2e.detail_ids) == sorted(due)


async def test_few_tasks_are_not_read_from_the_list() -> None:
    """Two tasks are fetched with two requests, and not with two pages of a hundred records."""
    a2e = ScriptedA2E(ids(2))
    assert count_results(await fetch_all(a2e, has_batches=False)) == {"running": 2}
    assert (a2e.detail_ids, a2e.page_numbers) == (ids(2), [])


async def test_family_without_batches_and_list_is_fetched_one_by_one() -> None:
    """Without batchDetail and a list, each task has its own request."""
    a2e = ScriptedA2E(ids(30))
    assert count_results(await fetch_all(a2e, has_batches=False, has_list=False)) == {"running": 30}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], ids(30), [])


async def test_never_more_than_a_hundred_in_a_batch() -> None:
    """Tasks chosen for the list are not sent in one batch, even if batchDetail becomes available meanwhile."""
    a2e = ScriptedA2E(ids(500), on_batch_detail=always(NOT_FOUND))

    fetcher = a2e.fetcher()
    await fetch_due(fetcher, a2e.tasks)
    await asyncio.sleep(59.9)
    chosen = fetcher.next_batch(a2e.tasks)
    await asyncio.sleep(0.1)
    await fetch(fetcher, chosen)
    assert max(a2e.batch_sizes) <= 100


# Missing tasks


async def test_missing_task_is_fetched_alone_after_three_misses() -> None:
    """A task that is missing from a response has no result; after the third miss, it is fetched alone at once."""
    a2e = ScriptedA2E(ids(50), hidden={"t7"})

    fetcher = a2e.fetcher()
    for _ in range(2):
        assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 49, "": 1}
        assert a2e.detail_ids == []
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
    assert a2e.detail_ids == ["t7"]
    assert a2e.batch_sizes == [50, 50, 50]


async def test_task_with_three_misses_is_a_batch_of_its_own() -> None:
    """`fetch` returns a task with three misses, and `next_batch` then keeps it apart from all others."""
    a2e = ScriptedA2E(ids(3), hidden={"t0"})

    fetcher = a2e.fetcher()
    rounds = [await fetch(fetcher, a2e.tasks) for _ in range(3)]
    assert [one_round.single for one_round in rounds] == [[], [], ["t0"]]
    assert fetcher.next_batch(["t0", "t1", "t2"]) == ["t0"]
    assert fetcher.next_batch(["t1", "t0", "t2"]) == ["t1", "t2"]


async def test_missing_task_goes_back_to_the_batches() -> None:
    """A task that was fetched alone is in a batch again, and is fetched alone only if it is missing there."""
    a2e = ScriptedA2E(ids(50), hidden={"t7"})

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 3)
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, a2e.detail_ids) == ([50], ["t7"])
    a2e.hidden.clear()
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, a2e.detail_ids) == ([50], [])


async def test_task_that_was_alone_for_another_reason_has_no_misses() -> None:
    """A task that was fetched alone because the list lacks it has three misses left, once batchDetail works again."""
    a2e = ScriptedA2E(ids(50), on_batch_detail=always(NOT_FOUND), unlisted={"t7"}, hidden={"t7"})

    fetcher = a2e.fetcher()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
    assert a2e.detail_ids == ["t7"]
    a2e.on_batch_detail = succeed
    await asyncio.sleep(3600)
    a2e.clear_calls()
    for _ in range(2):
        assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 49, "": 1}
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, a2e.detail_ids) == ([50, 50, 50], ["t7"])


async def test_record_resets_the_misses() -> None:
    """Misses count in a row: a task that is missing now and then is never fetched alone."""
    a2e = ScriptedA2E(ids(50))

    fetcher = a2e.fetcher()
    for number in range(30):
        a2e.hidden = set() if number % 3 == 2 else {"t7"}
        await fetch_due(fetcher, a2e.tasks)
    assert not fetcher._misses
    assert a2e.detail_ids == []


async def test_unknown_task_has_the_error_of_its_detail() -> None:
    """The error of the detail operation is the result of an unknown task, which is then fetched alone each time."""
    a2e = ScriptedA2E(ids(50), hidden={"t7"}, on_detail=always(NotFoundError("no such task", status=404)))

    fetcher = a2e.fetcher()
    results = await poll_rounds(fetcher, a2e.tasks, 5)
    assert results[2:] == [{"running": 49, "NotFoundError": 1}] * 3
    assert a2e.detail_ids == ["t7"] * 3


@pytest.mark.parametrize("unrequested", [{}, {"x": record_of("x")}], ids=["empty", "other tasks"])
async def test_operation_without_records_is_replaced(unrequested: dict[str, TaskRecord]) -> None:
    """If batchDetail returns no record of the tasks for three times, the list takes its place without an error."""
    a2e = ScriptedA2E(ids(300), hidden=set(ids(300)), unrequested=unrequested)

    fetcher = a2e.fetcher()
    results = await poll_rounds(fetcher, a2e.tasks, 3)
    assert results == [{"": 300}, {"": 300}, {"running": 300}]
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 300}
    assert (a2e.batches, a2e.detail_ids) == ([], [])


async def test_empty_response_affects_one_batch() -> None:
    """If one response is empty, the other batches have results, and its tasks are fetched alone after three times."""
    a2e = ScriptedA2E(ids(200), hidden=set(ids(200)[100:]))

    fetcher = a2e.fetcher()
    results = await poll_rounds(fetcher, a2e.tasks, 3)
    assert results == [{"running": 100, "": 100}, {"running": 100, "": 100}, {"running": 200}]


async def test_records_without_a_request_are_ignored() -> None:
    """Records of tasks that were not in the request change no result."""
    a2e = ScriptedA2E(ids(30), unrequested={name: record_of(name, TaskStatus.SUCCEEDED) for name in ("x", "y")})
    assert summarize(await fetch_all(a2e)) == dict.fromkeys(ids(30), "running")


# Rejected sizes


async def test_accepted_size_is_found_in_the_same_fetch() -> None:
    """If only 37 ids are accepted, the batch is halved until A2E accepts the parts, and all tasks have a result."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=more_than(37, REJECTED))
    assert count_results(await fetch_all(a2e)) == {"running": 100}
    assert a2e.batch_sizes == [100, 50, 25, 25, 50, 25, 25]


async def test_accepted_size_is_kept_for_ten_minutes() -> None:
    """No batch is rejected for ten minutes; then a full batch is tried again."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=more_than(37, REJECTED))

    fetcher = a2e.fetcher()
    await fetch_due(fetcher, a2e.tasks)
    a2e.clear_calls()
    await asyncio.sleep(599.9)
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    assert a2e.batch_sizes == [25] * 4
    await asyncio.sleep(0.1)
    a2e.clear_calls()
    a2e.on_batch_detail = succeed
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    assert a2e.batch_sizes == [100]
    assert a2e.detail_ids == []


async def test_batches_side_by_side_find_one_size() -> None:
    """Five batches in flight together find the accepted size, and none of them sets a larger one."""
    a2e = ScriptedA2E(ids(500), on_batch_detail=more_than(37, REJECTED))

    fetcher = a2e.fetcher()
    assert await poll_rounds(fetcher, a2e.tasks, 1) == [{"running": 500}]
    a2e.clear_calls()
    assert await poll_rounds(fetcher, a2e.tasks, 1) == [{"running": 500}]
    assert a2e.batch_sizes == [25] * 20


# Bad ids


@pytest.mark.parametrize("bad_id", ["t0", "t1", "t50", "t74", "t99"])
async def test_one_bad_id_does_not_affect_others(bad_id: str) -> None:
    """If A2E rejects every batch with one of the ids, all tasks have a result in the same round."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=involving([bad_id], REJECTED))
    assert count_results(await fetch_all(a2e)) == {"running": 100}
    assert len(a2e.batches) < 20


@pytest.mark.parametrize("bad_id", ["t0", "t50", "t99"])
async def test_bad_id_is_fetched_alone_from_then_on(bad_id: str) -> None:
    """A bad id is in no batch any more, so that no further batch is rejected, and none is smaller."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=involving([bad_id], REJECTED))

    fetcher = a2e.fetcher()
    await fetch_due(fetcher, a2e.tasks)
    a2e.clear_calls()
    assert await poll_rounds(fetcher, a2e.tasks, 100) == [{"running": 300}] * 100
    assert not [batch for batch in a2e.batches if bad_id in batch]
    assert len(a2e.batches) == 300
    assert a2e.detail_ids.count(bad_id) == 100


@pytest.mark.parametrize("bad_id", ["t0", "t50", "t99"])
async def test_bad_id_and_size_are_both_found(bad_id: str) -> None:
    """If A2E rejects both a size and an id, both are found in one round, and all tasks have a result."""
    has_bad_id, is_large = involving([bad_id], REJECTED), more_than(37, REJECTED)
    a2e = ScriptedA2E(ids(100), on_batch_detail=lambda requested: has_bad_id(requested) or is_large(requested))

    fetcher = a2e.fetcher()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    assert len(a2e.batches) == 4
    assert a2e.detail_ids.count(bad_id) == 1


@pytest.mark.parametrize("bad_id", ["t0", "t1", "t50"])
async def test_neighbours_of_a_bad_id_stay_in_batches(bad_id: str) -> None:
    """Only the id that A2E rejects is fetched alone."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=involving([bad_id], REJECTED))

    fetcher = a2e.fetcher()
    await fetch_due(fetcher, a2e.tasks)
    a2e.clear_calls()
    await fetch_due(fetcher, a2e.tasks)
    assert a2e.detail_ids == [bad_id]


BY_DETAIL = {"detail works": 1, "detail fails": 0}


@pytest.mark.parametrize("detail_works", BY_DETAIL.values(), ids=BY_DETAIL)
@pytest.mark.parametrize("bad_id", ["t0", "t50", "t150", "t299"])
async def test_server_error_of_one_task_is_isolated(bad_id: str, detail_works: int) -> None:
    """If every batch with one of the tasks fails, all other tasks have results from batches in the third round."""
    on_detail = succeed if detail_works else involving([bad_id], SERVER_DOWN)
    a2e = ScriptedA2E(ids(300), on_batch_detail=involving([bad_id], SERVER_DOWN), on_detail=on_detail)

    fetcher = a2e.fetcher()
    results = [summarize(await fetch_due(fetcher, a2e.tasks)) for _ in range(10)]
    assert set(results[0].values()) == {"running", "ServerError"}
    for late in results[2:]:
        assert {task_id for task_id, word in late.items() if word != "running"} == (
            {bad_id} if not detail_works else set()
        )
    assert a2e.page_numbers == []


@pytest.mark.parametrize("bad_id", ["t0", "t1", "t50", "t99"])
async def test_broken_task_in_the_only_batch_delays_others_for_a_while(bad_id: str) -> None:
    """One broken task, whose detail fails too, delays the 99 others only for a while."""
    a2e = ScriptedA2E(
        ids(100), on_batch_detail=involving([bad_id], SERVER_DOWN), on_detail=involving([bad_id], SERVER_DOWN)
    )

    fetcher, fetched = a2e.fetcher(), set[str]()
    for _ in range(60):
        fetched |= {
            task_id for task_id, word in summarize(await fetch_due(fetcher, a2e.tasks)).items() if word == "running"
        }
        await asyncio.sleep(2)
    assert fetched >= set(ids(100)) - {bad_id}


@pytest.mark.parametrize("count", [100, 300])
@pytest.mark.parametrize("broken", [10, 25, 50])
async def test_broken_neighbours_delay_others_for_a_while(broken: int, count: int) -> None:
    """Several broken tasks in a row, whose details fail too, delay the others only for a while."""
    bad_id = ids(broken)
    a2e = ScriptedA2E(
        ids(count), on_batch_detail=involving(bad_id, SERVER_DOWN), on_detail=involving(bad_id, SERVER_DOWN)
    )

    fetcher, fetched = a2e.fetcher(), set[str]()
    for _ in range(30):
        fetched |= {
            task_id for task_id, word in summarize(await fetch_due(fetcher, a2e.tasks)).items() if word == "running"
        }
        await asyncio.sleep(2)
    assert fetched >= set(ids(count)[broken:])


async def test_operation_that_rejects_everything_is_replaced() -> None:
    """If A2E rejects every batch, the list takes its place, and only a few ids count as bad."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(REJECTED))

    fetcher = a2e.fetcher()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 300}
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 300}
    assert a2e.call_count < 15


async def test_short_rejection_of_everything_has_no_lasting_effect() -> None:
    """An hour after a gateway rejected everything for ten seconds, tasks share batches again."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(REJECTED))

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 5)
    a2e.on_batch_detail = succeed
    await asyncio.sleep(3600)
    await poll_rounds(fetcher, a2e.tasks, 3)
    a2e.clear_calls()
    await fetch_due(fetcher, a2e.tasks)
    assert a2e.call_count < 10


# Unsupported operations

UNSUPPORTED = [
    NOT_FOUND,
    PAGE,
    UnexpectedResponseError("wrong route", status=404, body=b"<html>"),
    UnexpectedResponseError("wrong route", status=405, body=b"<html>"),
    UnexpectedResponseError("redirect", status=302),
    BadRequestError("Method Not Allowed", status=405),
]


@pytest.mark.parametrize("error", UNSUPPORTED, ids=describe)
async def test_unsupported_operation_is_replaced_at_once(error: A2EError) -> None:
    """If batchDetail does not exist, the list reads all tasks in the same round, without an error."""
    a2e = ScriptedA2E(ids(250), on_batch_detail=always(error))

    fetcher = a2e.fetcher()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 250}
    assert len(a2e.batches) == 3  # the batches that were in flight together
    assert a2e.detail_ids == []
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 250}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], [], [1, 2, 3])


async def test_unsupported_operation_is_tried_again() -> None:
    """The operation batchDetail is tried again after 60 s, then after 120 s and so on, without an error."""
    a2e = ScriptedA2E(ids(50), on_batch_detail=always(NOT_FOUND))
    tried: list[float] = []

    fetcher = a2e.fetcher()
    while now() < 1000:
        a2e.clear_calls()
        assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
        tried.extend(now() for _ in a2e.batches)
        await asyncio.sleep(2)
    assert tried == [0, 60, 180, 420, 900]


async def test_restored_operation_is_used_again() -> None:
    """After a minute one batch tries batchDetail, and the others read the list; if it works, all batches use it."""
    a2e = ScriptedA2E(ids(250), on_batch_detail=always(PAGE))

    fetcher = a2e.fetcher()
    await fetch_due(fetcher, a2e.tasks)
    a2e.on_batch_detail = succeed
    await asyncio.sleep(60)
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 250}
    assert a2e.batch_sizes == [100]
    assert a2e.page_numbers
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 250}
    assert (a2e.batch_sizes, a2e.page_numbers) == ([100, 100, 50], [])


async def test_unsupported_operation_without_a_list() -> None:
    """If batchDetail does not exist and the family has no list, each task is fetched alone, now and later."""
    a2e = ScriptedA2E(ids(50), on_batch_detail=always(NOT_FOUND))

    fetcher = a2e.fetcher(has_list=False)
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, len(a2e.detail_ids)) == ([50], 50)
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, len(a2e.detail_ids)) == ([], 50)


# The list


@pytest.mark.parametrize("error", [NOT_FOUND, PAGE, REJECTED], ids=describe)
async def test_unusable_list_is_skipped(error: A2EError) -> None:
    """If the list does not exist or rejects the request, each task is fetched alone, without an error."""
    a2e = ScriptedA2E(ids(250), on_list=always(error))

    assert await poll_rounds(a2e.fetcher(has_batches=False), a2e.tasks, 2) == [{"running": 250}] * 2
    assert a2e.page_numbers == [1, 1]


@pytest.mark.parametrize("error", [*TRANSIENT, *THROTTLED, AuthenticationError("token", status=401)], ids=describe)
async def test_transient_error_of_the_list_causes_no_burst(error: A2EError) -> None:
    """A transient or permanent error of the list is the result of all tasks, and none is fetched alone."""
    a2e = ScriptedA2E(ids(250), on_list=always(error))
    assert count_results(await fetch_all(a2e, has_batches=False)) == {type(error).__name__: 250}
    assert (a2e.detail_ids, a2e.page_numbers) == ([], [1])


async def test_error_of_a_later_page_affects_the_tasks_after_it() -> None:
    """Tasks on earlier pages have records; only the others have the error."""
    a2e = ScriptedA2E(ids(250), on_list=lambda number: SERVER_DOWN if number == 2 else None)
    results = summarize(await fetch_all(a2e, has_batches=False))
    assert Counter(results.values()) == {"running": 100, "ServerError": 150}
    assert all(results[task_id] == "running" for task_id in ids(100))


@pytest.mark.parametrize("has_batches", [False, True])
async def test_list_that_always_fails_is_replaced(has_batches: bool) -> None:  # noqa: FBT001  a parameter of the test
    """If the list and batchDetail always fail but the detail works, all tasks have a record within a few rounds."""
    a2e = ScriptedA2E(ids(250), on_list=always(SERVER_DOWN), on_batch_detail=always(SERVER_DOWN))

    fetcher, fetched = a2e.fetcher(has_batches=has_batches), set[str]()
    for _ in range(60):
        fetched |= {
            task_id for task_id, word in summarize(await fetch_due(fetcher, a2e.tasks)).items() if word == "running"
        }
        await asyncio.sleep(2)
    assert fetched == set(ids(250))


# Transient errors and outages


@pytest.mark.parametrize("error", [*TRANSIENT, *THROTTLED], ids=describe)
async def test_error_of_one_batch_is_the_result_of_its_tasks(error: A2EError) -> None:
    """If one batch fails, its tasks have the error, other tasks have records, and nothing more is requested."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=involving(["t150"], error))
    results = summarize(await fetch_all(a2e))
    assert {task_id for task_id, word in results.items() if word != "running"} == set(ids(200)[100:])
    assert Counter(results.values()) == {"running": 200, type(error).__name__: 100}
    assert a2e.call_count == 3


@pytest.mark.parametrize("error", TRANSIENT, ids=describe)
async def test_operation_that_always_fails_is_replaced(error: A2EError) -> None:
    """If every batch fails while the detail works, the third round sends one probe, and then the list is used."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(error))

    fetcher = a2e.fetcher()
    results = await poll_rounds(fetcher, a2e.tasks, 4)
    assert results[:2] == [{type(error).__name__: 300}] * 2
    assert results[3] == {"running": 300}
    assert len(a2e.batches) <= 10
    assert len(a2e.detail_ids) == 1


async def test_outage_that_ends_with_the_probe() -> None:
    """If A2E is back when the probe is sent, batchDetail stays in use, and not the list."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(CUT), on_detail=always(CUT), on_list=always(CUT))

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 2)

    def back(_: str) -> None:
        a2e.on_detail = a2e.on_batch_detail = a2e.on_list = succeed

    a2e.on_detail = back
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    assert (a2e.batch_sizes, a2e.page_numbers) == ([100], [])


async def test_trying_a_broken_operation_again_costs_little() -> None:
    """If batchDetail still fails after a minute, that costs a request or two for each batch, and no burst."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(SERVER_DOWN))

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 4)
    for _ in range(60):
        a2e.clear_calls()
        await fetch_due(fetcher, a2e.tasks)
        assert a2e.call_count <= 10
        await asyncio.sleep(2)


@pytest.mark.parametrize("side_by_side", [1, 3, 10])
async def test_outage_causes_no_burst(side_by_side: int) -> None:
    """In an outage there is about one request for each batch and round, and each task has the error."""
    out = always(CUT)
    a2e = ScriptedA2E(ids(100 * side_by_side), on_detail=out, on_batch_detail=out, on_list=out)

    fetcher = a2e.fetcher()
    for _ in range(100):
        a2e.clear_calls()
        assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"NetworkError": 100 * side_by_side}
        assert side_by_side <= a2e.call_count <= side_by_side + 1
        await asyncio.sleep(2)


async def test_outage_leaves_nothing_behind() -> None:
    """After an outage of some minutes, full batches read all tasks at once, and no misses are kept."""
    out = always(CUT)
    a2e = ScriptedA2E(ids(300), on_detail=out, on_batch_detail=out, on_list=out)

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 100)
    a2e.on_detail = a2e.on_batch_detail = a2e.on_list = succeed
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 300}
    assert (a2e.batch_sizes, a2e.call_count) == ([100, 100, 100], 3)
    assert not fetcher._misses


async def test_outage_while_the_list_is_used() -> None:
    """An outage while batchDetail is replaced costs one page for each pass over the list, and no burst."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(NOT_FOUND))

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 1)
    a2e.on_detail = a2e.on_batch_detail = a2e.on_list = always(CUT)
    for _ in range(100):
        a2e.clear_calls()
        assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"NetworkError": 300}
        assert a2e.call_count <= 4
        await asyncio.sleep(2)


@pytest.mark.parametrize("error", THROTTLED, ids=describe)
async def test_throttling_causes_no_more_requests(error: A2EError) -> None:
    """Whenever A2E throttles, there is one request for each batch and round, and the batches stay as they are."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(error))

    fetcher = a2e.fetcher()
    for _ in range(10):
        a2e.clear_calls()
        assert count_results(await fetch_due(fetcher, a2e.tasks)) == {type(error).__name__: 300}
        assert a2e.call_count == 3
        await asyncio.sleep(2)


@pytest.mark.parametrize("error", THROTTLED, ids=describe)
async def test_operation_that_always_throttles_is_replaced(error: A2EError) -> None:
    """If A2E throttles every batch for minutes while the detail works, the list takes over, without a burst."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(error))

    fetcher = a2e.fetcher()
    for _ in range(60):
        a2e.clear_calls()
        await fetch_due(fetcher, a2e.tasks)
        assert a2e.call_count <= 10
        await asyncio.sleep(2)
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 300}


@pytest.mark.parametrize("error", [*THROTTLED, *TRANSIENT], ids=describe)
async def test_other_error_during_the_bisection(error: A2EError) -> None:
    """If another error comes during a bisection, the remaining tasks have it, and batchDetail stays in use."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=lambda requested: REJECTED if len(requested) > 50 else error)

    fetcher = a2e.fetcher()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {type(error).__name__: 100}
    assert (a2e.batch_sizes, a2e.page_numbers, a2e.detail_ids) == ([100, 50], [], [])
    a2e.on_batch_detail = succeed
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    assert a2e.page_numbers == []


@pytest.mark.parametrize("error", [AuthenticationError("token", status=401), ClientClosedError("closed")], ids=describe)
async def test_permanent_error_is_the_result_of_all_tasks(error: A2EError) -> None:
    """A wrong token, or a closed client, is the result of all tasks of the batch at once, with one request."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(error))

    assert (await fetch(a2e.fetcher(), a2e.tasks)).results == dict.fromkeys(ids(100), error)
    assert a2e.call_count == 1


async def test_cancelled_bisection_has_no_effect() -> None:
    """A request that is cancelled during a bisection does not affect the next one."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=involving(["t20"], REJECTED))

    fetcher = a2e.fetcher()
    first = asyncio.create_task(fetch(fetcher, a2e.tasks))
    for _ in range(12):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert len(a2e.batches) > 3
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}


# State


def stored_ids(fetcher: StatusFetcher) -> set[str]:
    """Return all ids in the state of a fetcher."""
    kept = vars(fetcher).values()
    return {task_id for memory in kept if isinstance(memory, dict | set) for task_id in memory}


@pytest.mark.parametrize(
    "fault",
    [
        involving(["t20"], REJECTED),
        involving(["t20"], SERVER_DOWN),
        more_than(37, REJECTED),
        always(REJECTED),
        always(SERVER_DOWN),
        always(CUT),
        always(SLOW_DOWN),
        always(NOT_FOUND),
    ],
    ids=["bad id", "broken task", "size", "400", "500", "network", "429", "404"],
)
async def test_forget_drops_all_state(fault: Callable[[list[str]], A2EError | None]) -> None:
    """After any error, the state of a task is dropped when it is no longer polled."""
    a2e = ScriptedA2E(ids(250), on_batch_detail=fault, hidden={"t100"}, unlisted={"t200"})

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 5)
    for task_id in a2e.tasks:
        fetcher.forget(task_id)
    assert not stored_ids(fetcher)


async def test_tasks_without_errors_have_no_state() -> None:
    """Thousands of tasks without errors take no memory in the fetcher."""
    a2e = ScriptedA2E(ids(5000))

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 3)
    assert not stored_ids(fetcher)


async def test_forgotten_task_has_a_clean_state() -> None:
    """A bad id that is dropped and polled again is in the batches again."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=involving(["t20"], REJECTED))

    fetcher = a2e.fetcher()
    await fetch_due(fetcher, a2e.tasks)
    assert fetcher.next_batch(["t20", "t1"]) == ["t20"]
    fetcher.forget("t20")
    assert fetcher.next_batch(["t20", "t1"]) == ["t20", "t1"]


# Random faults


@attrs.define(eq=False)
class RandomFaults:
    """A2E with all kinds of faults at random."""

    chance: random.Random
    bad: float
    a2e: ScriptedA2E
    rejected_ids: set[str]
    broken_ids: set[str]
    hidden_ids: set[str]

    @classmethod
    def of(cls, seed: int, bad: float) -> RandomFaults:
        """Make one with 300 tasks. Some of them fail their batches, or are missing from batches or the list."""
        chance = random.Random(seed)
        tasks = ids(300)
        faulty = chance.sample(tasks, 18)
        faults = cls(chance, bad, ScriptedA2E(tasks), set(faulty[:4]), set(faulty[4:8]), set(faulty[8:13]))
        faults.a2e.unlisted = set(faulty[10:])
        faults.a2e.on_detail, faults.a2e.on_batch_detail, faults.a2e.on_list = (
            faults.on_detail,
            faults.on_batch_detail,
            faults.on_list,
        )
        return faults

    def _fault(self, *faults: A2EError) -> A2EError | None:
        return self.chance.choice(faults) if self.chance.random() < self.bad else None

    def on_detail(self, task_id: str) -> A2EError | None:
        """Fail some calls of the detail operation."""
        return self._fault(CUT, SERVER_DOWN, SLOW_DOWN, PAGE, NotFoundError("no such task", status=404), REJECTED)

    def on_batch_detail(self, requested: list[str]) -> A2EError | None:
        """Fail some batches, return none or not all of their tasks, or others."""
        missing = set() if self.chance.random() >= self.bad else set(self.chance.sample(requested, len(requested) // 3))
        self.a2e.hidden = set(requested) if self.chance.random() < self.bad / 5 else self.hidden_ids | missing
        self.a2e.unrequested = {"x": record_of("x", TaskStatus.SUCCEEDED)} if self.chance.random() < 0.5 else {}
        if not self.rejected_ids.isdisjoint(requested):
            return REJECTED
        return (
            SERVER_DOWN
            if not self.broken_ids.isdisjoint(requested)
            else self._fault(*TRANSIENT, *THROTTLED, NOT_FOUND, PAGE, REJECTED)
        )

    def on_list(self, number: int) -> A2EError | None:
        """Fail some pages of the list."""
        return self._fault(*TRANSIENT, SLOW_DOWN, NOT_FOUND, PAGE, REJECTED)


@pytest.mark.parametrize("bad", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 8))])
async def test_every_task_ends_with_random_faults(seed: int, bad: float) -> None:
    """With random faults, the fetcher returns the end of every task, no end that did not happen, and keeps no state."""
    faults = RandomFaults.of(seed, bad)
    a2e = faults.a2e
    end_times = {task_id: faults.chance.uniform(0.0, 60.0) for task_id in a2e.tasks}

    fetcher = a2e.fetcher()
    waiting = dict.fromkeys(a2e.tasks)
    while waiting:
        assert now() < 1000.0, sorted(waiting)
        a2e.done = {task_id for task_id, end in end_times.items() if end <= now()}
        due = faults.chance.sample([*waiting], max(1, len(waiting) * 2 // 3))
        for task_id, word in summarize(await fetch_due(fetcher, due)).items():
            if word == "succeeded":
                assert task_id in a2e.done
                del waiting[task_id]
                fetcher.forget(task_id)
        await asyncio.sleep(2)
    assert not stored_ids(fetcher)


# With the poller


def make_waiter(*, has_webhook: bool = False) -> Waiter:
    """Return a waiter that ignores records and errors."""
    return Waiter(has_webhook=has_webhook)


async def end_times(a2e: ScriptedA2E, waits: Collection[str], policy: PollPolicy, within: float) -> dict[str, float]:
    """Wait for tasks, and return when each wait ended, with or without an error. A wait that did not end is missing."""
    poller, found = Poller(policy), dict[str, float]()

    async def wait(task_id: str) -> None:
        waiter = make_waiter()
        unsubscribe = poller.subscribe("family", task_id, a2e.reader, waiter)
        try:
            await asyncio.wait([waiter.done], timeout=within)
        finally:
            unsubscribe()
        if waiter.done.done():
            found[task_id] = now()

    await asyncio.gather(*(wait(task_id) for task_id in waits))
    await poller.aclose()
    return found


@pytest.mark.parametrize(
    "error", [*TRANSIENT, *THROTTLED, NOT_FOUND, PAGE, REJECTED, AuthenticationError("token", status=401)], ids=describe
)
@pytest.mark.parametrize("bad_id", ["t0", "t150", "t299"])
async def test_fault_of_one_task_delays_no_other_batch(error: A2EError, bad_id: str) -> None:
    """If every request with one of the tasks fails with any error, all waits in other batches end in time."""
    a2e = ScriptedA2E(
        ids(300), on_batch_detail=involving([bad_id], error), on_detail=involving([bad_id], error), done=set(ids(300))
    )
    first_of_batch = int(bad_id[1:]) // 100 * 100
    waiter = set(ids(300)[first_of_batch : first_of_batch + 100])
    found = await end_times(a2e, a2e.tasks, PollPolicy(), within=30.0)
    assert {task_id: found.get(task_id) for task_id in a2e.tasks if task_id not in waiter} == dict.fromkeys(
        (task_id for task_id in a2e.tasks if task_id not in waiter), min(found.values())
    )
    assert min(found.values()) <= 3.0


async def test_request_that_hangs_delays_no_other_batch() -> None:
    """While one request hangs, all waits in other batches end in time."""
    a2e = ScriptedA2E(ids(300), done=set(ids(300)))
    family = a2e.reader()

    async def hang(requested: list[str]) -> dict[str, TaskRecord]:
        if "t150" in requested:
            await asyncio.sleep(1e6)
        return dict(await family.get_many(requested))

    poller, waits = Poller(PollPolicy()), {task_id: make_waiter() for task_id in a2e.tasks}
    for task_id, waiter in waits.items():
        poller.subscribe(
            "family", task_id, lambda: ScriptedReader(get=family.get, get_many=hang, list_page=family.list_page), waiter
        )
    await asyncio.sleep(3.1)
    ended = {task_id for task_id, waiter in waits.items() if waiter.done.done()}
    await poller.aclose()
    assert ended == set(ids(100)) | set(ids(300)[200:])


async def test_absurd_retry_after_ends_no_wait() -> None:
    """An absurd Retry-After delays a wait by a day, and does not end it."""
    absurd = RateLimitError("slow down", status=429, retry_after=1.7e308)
    a2e = ScriptedA2E(ids(3), on_batch_detail=always(absurd), done=set(ids(3)))

    asyncio.get_running_loop().call_later(1.5, setattr, a2e, "on_batch_detail", succeed)
    found = await end_times(a2e, a2e.tasks, PollPolicy(initial=1.0, steps=((0.0, 1.0),)), within=100_000.0)
    assert {end // 43_200.0 for end in found.values()} == {2.0}


async def test_request_cancelled_before_it_began_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose asyncio task is cancelled at once is sent again."""
    a2e, taken = ScriptedA2E(ids(3), done=set(ids(3))), list[str]()
    real = asyncio.create_task

    def create(work: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        task = real(work, **options)
        if options.get("name") == "a2e-poll" and not taken:
            taken.append(task.get_name())
            task.cancel()
        return task

    monkeypatch.setattr(asyncio, "create_task", create)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the coroutine that never ran
        found = await end_times(a2e, a2e.tasks, PollPolicy(), within=100.0)
    assert taken
    assert set(found) == set(a2e.tasks)


async def test_poll_now_includes_requests_in_flight() -> None:
    """`poll_now` during a request makes it be sent again at once."""
    times: list[float] = []

    async def get(task_id: str) -> TaskRecord:
        times.append(now())
        await asyncio.sleep(1.0)
        return record_of(task_id, TaskStatus.SUCCEEDED if len(times) == 2 else TaskStatus.RUNNING)

    poller, waiter = Poller(PollPolicy()), make_waiter(has_webhook=True)
    poller.subscribe("family", "a", lambda: ScriptedReader(get=get), waiter)
    while not times:
        await asyncio.sleep(0.1)
    poller.poll_now(None)
    await waiter.done
    await poller.aclose()
    assert times[1] - times[0] < 2.0


async def test_small_batches_are_merged() -> None:
    """When most of 500 tasks are done, the others share one request, also if A2E takes 3 s to respond."""
    a2e, chance = ScriptedA2E(ids(500)), random.Random(1)
    a2e.done = set(chance.sample(a2e.tasks, 480))
    family = a2e.reader()

    async def slow(requested: list[str]) -> dict[str, TaskRecord]:
        await asyncio.sleep(chance.uniform(2.5, 3.5))
        return dict(await family.get_many(requested))

    poller = Poller(PollPolicy(steps=((0.0, 2.0),)))
    for task_id in a2e.tasks:
        poller.subscribe("family", task_id, lambda: ScriptedReader(get=family.get, get_many=slow), make_waiter())
    await asyncio.sleep(20)
    a2e.clear_calls()
    await asyncio.sleep(60)
    await poller.aclose()
    assert len(a2e.batches) <= 40


async def test_callback_that_raises_ends_its_own_wait() -> None:
    """A bug in a callback ends the waits for its task with the error, and no other wait."""
    a2e = ScriptedA2E(ids(3), done=set(ids(3)))

    class Failing(Waiter):
        def on_record(self, record: Any) -> Any:
            msg = "a bug"
            raise RuntimeError(msg)

    poller, waits = Poller(PollPolicy()), [make_waiter(), Failing(), make_waiter()]
    for task_id, waiter in zip(a2e.tasks, waits, strict=True):
        poller.subscribe("family", task_id, a2e.reader, waiter)
    await asyncio.wait([waiter.done for waiter in waits], timeout=100.0)
    ended = [waiter.done.done() and (waiter.done.exception() or waiter.done.result().status) for waiter in waits]
    await poller.aclose()
    first, second, third = ended
    assert (first, third) == (TaskStatus.SUCCEEDED, TaskStatus.SUCCEEDED)
    assert isinstance(second, A2EError)
    assert isinstance(second.__cause__, RuntimeError)


# Records


def test_unreadable_record_does_not_affect_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that cannot be decoded is left out and logged; all other records of the response are read."""
    real: Callable[..., ImageToVideoRecord] = vars(converter)["to_record"]

    def to_record(raw: dict[str, Any], family: Family, *, trace_id: str) -> ImageToVideoRecord:
        if raw["_id"] == "b":
            msg = "a bug"
            raise KeyError(msg)
        return real(raw, family, trace_id=trace_id)

    monkeypatch.setattr(converter, "to_record", to_record)
    rows = [{"_id": task_id, "current_status": "completed"} for task_id in "abc"]
    with caplog.at_level(logging.ERROR, "a2e_async"):
        found = converter.to_records(Envelope(data=rows, trace_id="trace-1"), IMAGE_TO_VIDEO)
    assert {task_id: (record.status, record.trace_id) for task_id, record in found.items()} == {
        "a": (TaskStatus.SUCCEEDED, "trace-1"),
        "c": (TaskStatus.SUCCEEDED, "trace-1"),
    }
    assert [record.getMessage() for record in caplog.records] == ["A record of task b could not be read: KeyError"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (None, []),
        ([], []),
        ({}, []),
        ("nothing", []),
        ({"rows": []}, []),
        ([None, 3, {"name": "no id"}, {"_id": ""}, {"_id": True}], []),
        ([{"_id": "a"}, {"_id": "a"}, {"_id": "b"}], ["a", "b"]),
        ({"0": {"_id": "a"}, "1": {"_id": "b"}}, ["a", "b"]),
        ({"_id": "a"}, ["a"]),
        ([{"_id": 7}], ["7"]),
    ],
    ids=str,
)
def test_records_of_a_response(data: object, found: list[str]) -> None:
    """All records of a response are found, each once, and nothing else."""
    records = converter.to_records(Envelope(data=data), IMAGE_TO_VIDEO)
    assert [(task_id, record.id) for task_id, record in records.items()] == [(task_id, task_id) for task_id in found]


@pytest.mark.parametrize("error", THROTTLED, ids=describe)
async def test_throttling_after_a_probe_does_not_trip(error: A2EError) -> None:
    """If the probe works and the next batch is throttled, that is the result, and batches go on afterwards."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(SERVER_DOWN))

    fetcher = a2e.fetcher()
    await poll_rounds(fetcher, a2e.tasks, 2)
    tries = iter([SERVER_DOWN, error])
    a2e.on_batch_detail = lambda _: next(tries, None)
    results = count_results(await fetch_due(fetcher, a2e.tasks))
    assert results == {"running": 1, type(error).__name__: 99}
    await asyncio.sleep(2)
    a2e.clear_calls()
    assert count_results(await fetch_due(fetcher, a2e.tasks)) == {"running": 100}
    assert (a2e.batch_sizes, a2e.page_numbers) == ([100], [])
