"""Asking about several tasks at once: whatever A2E does to some of them, the others are answered, and at little cost."""

from __future__ import annotations

import asyncio
import logging
import random
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pytest
from scripted_a2e import ScriptedA2E, fetch, fetch_due, record_of, succeed, summarize
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
from a2e_async._polling.fetcher import Questions
from a2e_async._polling.poller import Poller
from a2e_async._polling.queue import Waiter
from a2e_async._protocol.families import IMAGE_TO_VIDEO, Family
from a2e_async._protocol.messages import Envelope
from a2e_async.resources import base

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine

    from a2e_async._polling.fetcher import Answer, Inquiry

T = TypeVar("T")

PAGE = UnexpectedResponseError("a page", status=200, body=b"<html>")
DOWN = ServerError("down", status=500)
CUT = NetworkError("cut")
SLOWER = RateLimitError("slow down", status=429)
REFUSED = BadRequestError("ids", status=400)
NO_SUCH = NotFoundError("no such operation", status=404)

PASSING: list[A2EError] = [CUT, DOWN, UnexpectedResponseError("cut", status=200, body=b'{"data":[')]
"""Trouble that passes and does not ask to slow down."""

TURNED_AWAY: list[A2EError] = [
    SLOWER,
    BusyError("occupied", status=200),
    ServerError("down", status=503, retry_after=1),
]


def named(value: object) -> str | None:
    """Name an error in a table."""
    return type(value).__name__ if isinstance(value, A2EError) else None


def ids(count: int) -> list[str]:
    """Return the ids of some tasks, the newest first."""
    return [f"t{number}" for number in range(count)]


def always(error: A2EError) -> Callable[[object], A2EError]:
    """Let every call fail."""
    return lambda _: error


def about(poison: Collection[str], error: A2EError) -> Callable[[list[str] | str], A2EError | None]:
    """Let a call fail that is about one of these tasks."""
    return lambda asked: error if not set(poison).isdisjoint([asked] if isinstance(asked, str) else asked) else None


def more_than(most: int, error: A2EError) -> Callable[[list[str]], A2EError | None]:
    """Let a call fail that is about too many tasks."""
    return lambda asked: error if len(asked) > most else None


def words(told: dict[str, Answer]) -> Counter[str]:
    """Count what was told: "running", the name of an error, or nothing."""
    return Counter(summarize(told).values())


async def looks(inquiry: Inquiry[TaskRecord], due: Collection[str], count: int) -> list[Counter[str]]:
    """Look several times, 2 s apart, and count what was told each time."""
    found = []
    for _ in range(count):
        found.append(words(await fetch_due(inquiry, due)))
        await asyncio.sleep(2)
    return found


# what is asked together


async def test_batches_of_a_hundred() -> None:
    """Everybody who is due is asked about, a hundred with each request."""
    a2e = ScriptedA2E(ids(250))
    told = await look_at(a2e)
    assert words(told) == {"running": 250}
    assert (a2e.batch_sizes, a2e.detail_ids, a2e.page_numbers) == ([100, 100, 50], [], [])


async def look_at(a2e: ScriptedA2E, *, several: bool = True, page: bool = True) -> dict[str, Answer]:
    """Look at all tasks once."""
    return await fetch_due(a2e.fetcher(several=several, page=page), a2e.tasks)


async def test_order_of_those_who_are_due_is_kept() -> None:
    """Who is due first is asked about first."""
    assert ScriptedA2E([]).fetcher().choose(iter(ids(250))) == ids(100)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("page", [False, True])
async def test_only_one_is_asked_about_by_its_detail(several: bool, page: bool) -> None:  # noqa: FBT001  parameters of the test
    """A task that is due alone costs one request of the smallest kind."""
    a2e = ScriptedA2E(ids(1))
    assert words(await look_at(a2e, several=several, page=page)) == {"running": 1}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], ids(1), [])


async def test_family_without_batch_detail_is_read_from_the_list() -> None:
    """Where there is no batchDetail, one reading of the list tells of all who are due."""
    a2e = ScriptedA2E(ids(250))
    assert words(await look_at(a2e, several=False)) == {"running": 250}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], [], [1, 2, 3])


async def test_list_is_read_no_further_than_needed() -> None:
    """The pages behind the last of those who are due are not read."""
    a2e = ScriptedA2E(ids(1000))

    assert words(await fetch_due(a2e.fetcher(several=False), ids(100))) == {"running": 100}
    assert a2e.page_numbers == [1]


async def test_who_is_not_on_the_list_is_asked_about_alone_at_once() -> None:
    """A task that has slipped off the pages that are read is answered in the same look."""
    a2e = ScriptedA2E(ids(250), unlisted={"t3", "t77"})
    assert words(await look_at(a2e, several=False)) == {"running": 250}
    assert sorted(a2e.detail_ids) == ["t3", "t77"]


async def test_list_with_many_others_is_not_read_to_its_end() -> None:
    """Old tasks behind thousands of others are asked about one by one, and the list is given up after a few pages."""
    a2e = ScriptedA2E([*ids(5000), *(f"old{number}" for number in range(50))])
    due = a2e.tasks[-50:]

    assert words(await fetch_due(a2e.fetcher(several=False), due)) == {"running": 50}
    assert len(a2e.page_numbers) <= 2
    assert sorted(a2e.detail_ids) == sorted(due)


async def test_few_are_not_looked_for_in_the_list() -> None:
    """Two tasks are asked about one by one rather than by two pages of a hundred records."""
    a2e = ScriptedA2E(ids(2))
    assert words(await look_at(a2e, several=False)) == {"running": 2}
    assert (a2e.detail_ids, a2e.page_numbers) == (ids(2), [])


async def test_family_without_any_list_is_asked_about_one_by_one() -> None:
    """Where there is neither batchDetail nor a list, each task has its own request."""
    a2e = ScriptedA2E(ids(30))
    assert words(await look_at(a2e, several=False, page=False)) == {"running": 30}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], ids(30), [])


async def test_never_more_than_a_hundred_in_a_batch() -> None:
    """Tasks chosen for a reading of the list are not put into one batch, if batchDetail may be tried again meanwhile."""
    a2e = ScriptedA2E(ids(500), on_batch_detail=always(NO_SUCH))

    inquiry = a2e.fetcher()
    await fetch_due(inquiry, a2e.tasks)
    await asyncio.sleep(59.9)
    chosen = inquiry.choose(a2e.tasks)
    await asyncio.sleep(0.1)
    await fetch(inquiry, chosen)
    assert max(a2e.batch_sizes) <= 100


# what is missing from an answer


async def test_missing_id_is_asked_again_and_then_alone() -> None:
    """Nothing is told of a task that two answers miss; after the third, it is asked about alone at once."""
    a2e = ScriptedA2E(ids(50), hidden={"t7"})

    inquiry = a2e.fetcher()
    for _ in range(2):
        assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 49, "": 1}
        assert a2e.detail_ids == []
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 50}
    assert a2e.detail_ids == ["t7"]
    assert a2e.batch_sizes == [50, 50, 50]


async def test_third_miss_is_returned_by_ask_and_then_chosen_alone() -> None:
    """`ask` returns a task that has to be asked about alone, and `choose` then keeps it apart from all others."""
    a2e = ScriptedA2E(ids(3), hidden={"t0"})

    inquiry = a2e.fetcher()
    talks = [await fetch(inquiry, a2e.tasks) for _ in range(3)]
    assert [talk.single for talk in talks] == [[], [], ["t0"]]
    assert inquiry.choose(["t0", "t1", "t2"]) == ["t0"]
    assert inquiry.choose(["t1", "t0", "t2"]) == ["t1", "t2"]


async def test_missing_id_is_back_in_the_crowd_afterwards() -> None:
    """A task that was asked about alone shares a request again, and is asked about alone only if it is missing there."""
    a2e = ScriptedA2E(ids(50), hidden={"t7"})

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 3)
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, a2e.detail_ids) == ([50], ["t7"])
    a2e.hidden.clear()
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, a2e.detail_ids) == ([50], [])


async def test_misses_are_forgotten_when_a_task_is_shown() -> None:
    """Misses count in a row: a task that is missing now and then is never asked about alone."""
    a2e = ScriptedA2E(ids(50))

    inquiry = a2e.fetcher()
    for number in range(30):
        a2e.hidden = set() if number % 3 == 2 else {"t7"}
        await fetch_due(inquiry, a2e.tasks)
    assert not inquiry._misses
    assert a2e.detail_ids == []


async def test_missing_id_that_nobody_knows_is_told_as_trouble() -> None:
    """What A2E says to the question about one task alone is told, and the task is asked about alone each time."""
    a2e = ScriptedA2E(ids(50), hidden={"t7"}, on_detail=always(NotFoundError("no such task", status=404)))

    inquiry = a2e.fetcher()
    told = await looks(inquiry, a2e.tasks, 5)
    assert told[2:] == [{"running": 49, "NotFoundError": 1}] * 3
    assert a2e.detail_ids == ["t7"] * 3


@pytest.mark.parametrize("foreign", [{}, {"x": record_of("x")}], ids=["empty", "foreign"])
async def test_operation_that_never_tells_anything_is_given_up(foreign: dict[str, TaskRecord]) -> None:
    """If batchDetail answers nothing, or foreign ids only, for three times, the list is used, and nobody minds."""
    a2e = ScriptedA2E(ids(300), hidden=set(ids(300)), unrequested=foreign)

    inquiry = a2e.fetcher()
    told = await looks(inquiry, a2e.tasks, 3)
    assert told == [{"": 300}, {"": 300}, {"running": 300}]
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 300}
    assert (a2e.batches, a2e.detail_ids) == ([], [])


async def test_empty_answer_to_one_slice_concerns_that_slice() -> None:
    """If one slice comes back empty, the others are answered, and it is asked about alone after three times."""
    a2e = ScriptedA2E(ids(200), hidden=set(ids(200)[100:]))

    inquiry = a2e.fetcher()
    told = await looks(inquiry, a2e.tasks, 3)
    assert told == [{"running": 100, "": 100}, {"running": 100, "": 100}, {"running": 200}]


async def test_foreign_records_are_told_to_nobody() -> None:
    """Records that were not asked for change nothing for those that were."""
    a2e = ScriptedA2E(ids(30), unrequested={name: record_of(name, TaskStatus.SUCCEEDED) for name in ("x", "y")})
    assert summarize(await look_at(a2e)) == dict.fromkeys(ids(30), "running")


# a number that A2E does not like


async def test_number_that_a2e_allows_is_found_in_the_same_ask() -> None:
    """If 37 ids are too many to ask about, the halves are asked about until A2E answers, and everybody hears."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=more_than(37, REFUSED))
    assert words(await look_at(a2e)) == {"running": 100}
    assert a2e.batch_sizes == [100, 50, 25, 25, 50, 25, 25]


async def test_number_is_remembered_and_tried_again_after_ten_minutes() -> None:
    """Nothing is refused for ten minutes; then a full batch is tried again."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=more_than(37, REFUSED))

    inquiry = a2e.fetcher()
    await fetch_due(inquiry, a2e.tasks)
    a2e.clear_calls()
    await asyncio.sleep(599.9)
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    assert a2e.batch_sizes == [25] * 4
    await asyncio.sleep(0.1)
    a2e.clear_calls()
    a2e.on_batch_detail = succeed
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    assert a2e.batch_sizes == [100]
    assert a2e.detail_ids == []


async def test_slices_that_are_refused_together_learn_the_same() -> None:
    """Five slices that are asked about side by side find the number, and none finds a larger one than it is."""
    a2e = ScriptedA2E(ids(500), on_batch_detail=more_than(37, REFUSED))

    inquiry = a2e.fetcher()
    assert await looks(inquiry, a2e.tasks, 1) == [{"running": 500}]
    a2e.clear_calls()
    assert await looks(inquiry, a2e.tasks, 1) == [{"running": 500}]
    assert a2e.batch_sizes == [25] * 20


# one task that spoils a batch


@pytest.mark.parametrize("poison", ["t0", "t1", "t50", "t74", "t99"])
async def test_one_poisoned_id_spoils_nothing_for_the_others(poison: str) -> None:
    """If A2E refuses every batch with one of the ids in it, all tasks are answered in the same look nevertheless."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=about([poison], REFUSED))
    assert words(await look_at(a2e)) == {"running": 100}
    assert len(a2e.batches) < 20


@pytest.mark.parametrize("poison", ["t0", "t50", "t99"])
async def test_poisoned_id_is_asked_about_alone_from_then_on(poison: str) -> None:
    """The id that was found out is in no batch any more, so that no further batch is refused, and none is smaller."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=about([poison], REFUSED))

    inquiry = a2e.fetcher()
    await fetch_due(inquiry, a2e.tasks)
    a2e.clear_calls()
    assert await looks(inquiry, a2e.tasks, 100) == [{"running": 300}] * 100
    assert not [batch for batch in a2e.batches if poison in batch]
    assert len(a2e.batches) == 300
    assert a2e.detail_ids.count(poison) == 100


@pytest.mark.parametrize("poison", ["t0", "t50", "t99"])
async def test_poison_and_a_number_are_told_apart(poison: str) -> None:
    """If A2E refuses both a number and an id, it learns of both, and everybody is answered in the same look."""
    spoilt, many = about([poison], REFUSED), more_than(37, REFUSED)
    a2e = ScriptedA2E(ids(100), on_batch_detail=lambda asked: spoilt(asked) or many(asked))

    inquiry = a2e.fetcher()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    assert len(a2e.batches) == 4
    assert a2e.detail_ids.count(poison) == 1


@pytest.mark.parametrize("poison", ["t0", "t1", "t50"])
async def test_neighbours_of_a_poisoned_id_stay_in_the_crowd(poison: str) -> None:
    """Only the id that A2E refuses is asked about alone."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=about([poison], REFUSED))

    inquiry = a2e.fetcher()
    await fetch_due(inquiry, a2e.tasks)
    a2e.clear_calls()
    await fetch_due(inquiry, a2e.tasks)
    assert a2e.detail_ids == [poison]


BY_DETAIL = {"detail works": 1, "detail fails": 0}


@pytest.mark.parametrize("works", BY_DETAIL.values(), ids=BY_DETAIL)
@pytest.mark.parametrize("poison", ["t0", "t50", "t150", "t299"])
async def test_trouble_with_one_slice_is_isolated(poison: str, works: int) -> None:
    """If A2E breaks on every batch with one of the ids in it, all others are answered at the third try, by batches."""
    one = succeed if works else about([poison], DOWN)
    a2e = ScriptedA2E(ids(300), on_batch_detail=about([poison], DOWN), on_detail=one)

    inquiry = a2e.fetcher()
    told = [summarize(await fetch_due(inquiry, a2e.tasks)) for _ in range(10)]
    assert set(told[0].values()) == {"running", "ServerError"}
    for late in told[2:]:
        assert {task_id for task_id, word in late.items() if word != "running"} == ({poison} if not works else set())
    assert a2e.page_numbers == []


@pytest.mark.parametrize("poison", ["t0", "t1", "t50", "t99"])
async def test_one_broken_task_in_the_only_slice_hangs_nobody(poison: str) -> None:
    """One broken task, whose detail is broken too, keeps the 99 others waiting only for a while."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=about([poison], DOWN), on_detail=about([poison], DOWN))

    inquiry, heard = a2e.fetcher(), set[str]()
    for _ in range(60):
        heard |= {
            task_id for task_id, word in summarize(await fetch_due(inquiry, a2e.tasks)).items() if word == "running"
        }
        await asyncio.sleep(2)
    assert heard >= set(ids(100)) - {poison}


@pytest.mark.parametrize("count", [100, 300])
@pytest.mark.parametrize("broken", [10, 25, 50])
async def test_many_broken_neighbours_hang_nobody(broken: int, count: int) -> None:
    """Some broken tasks in a row, whose details are broken too, keep the others waiting only for a while."""
    poison = ids(broken)
    a2e = ScriptedA2E(ids(count), on_batch_detail=about(poison, DOWN), on_detail=about(poison, DOWN))

    inquiry, heard = a2e.fetcher(), set[str]()
    for _ in range(30):
        heard |= {
            task_id for task_id, word in summarize(await fetch_due(inquiry, a2e.tasks)).items() if word == "running"
        }
        await asyncio.sleep(2)
    assert heard >= set(ids(count)[broken:])


async def test_operation_that_refuses_everything_is_given_up() -> None:
    """If A2E refuses each batch, whatever is in it, the list is used; only a few were taken for the reason."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(REFUSED))

    inquiry = a2e.fetcher()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 300}
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 300}
    assert a2e.call_count < 15


async def test_refusals_of_a_moment_are_forgotten_in_time() -> None:
    """An hour after a gateway has refused everything for ten seconds, tasks share their requests again."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(REFUSED))

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 5)
    a2e.on_batch_detail = succeed
    await asyncio.sleep(3600)
    await looks(inquiry, a2e.tasks, 3)
    a2e.clear_calls()
    await fetch_due(inquiry, a2e.tasks)
    assert a2e.call_count < 10


# an operation that is not there

GONE = [
    NO_SUCH,
    PAGE,
    UnexpectedResponseError("wrong route", status=404, body=b"<html>"),
    UnexpectedResponseError("wrong route", status=405, body=b"<html>"),
    UnexpectedResponseError("redirect", status=302),
    BadRequestError("Method Not Allowed", status=405),
]


@pytest.mark.parametrize("error", GONE, ids=named)
async def test_operation_that_is_not_there_is_replaced_by_the_list_at_once(error: A2EError) -> None:
    """If batchDetail is not there, the list answers everybody in the same look, and nobody hears of trouble."""
    a2e = ScriptedA2E(ids(250), on_batch_detail=always(error))

    inquiry = a2e.fetcher()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 250}
    assert len(a2e.batches) == 3  # the slices that were under way side by side
    assert a2e.detail_ids == []
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 250}
    assert (a2e.batches, a2e.detail_ids, a2e.page_numbers) == ([], [], [1, 2, 3])


async def test_operation_that_is_not_there_is_tried_again_now_and_then() -> None:
    """The operation is tried again after 60 s, then after 120 s and so on, and nobody hears of trouble."""
    a2e = ScriptedA2E(ids(50), on_batch_detail=always(NO_SUCH))
    tried: list[float] = []

    inquiry = a2e.fetcher()
    while now() < 1000:
        a2e.clear_calls()
        assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 50}
        tried.extend(now() for _ in a2e.batches)
        await asyncio.sleep(2)
    assert tried == [0, 60, 180, 420, 900]


async def test_operation_that_is_back_is_used_again() -> None:
    """When the minute is over, one slice tries batchDetail, and the others read the list; if it works, all use it."""
    a2e = ScriptedA2E(ids(250), on_batch_detail=always(PAGE))

    inquiry = a2e.fetcher()
    await fetch_due(inquiry, a2e.tasks)
    a2e.on_batch_detail = succeed
    await asyncio.sleep(60)
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 250}
    assert a2e.batch_sizes == [100]
    assert a2e.page_numbers
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 250}
    assert (a2e.batch_sizes, a2e.page_numbers) == ([100, 100, 50], [])


async def test_neither_batch_detail_nor_list() -> None:
    """If batchDetail is not there and the family has no list, each task is asked about alone, at once and later."""
    a2e = ScriptedA2E(ids(50), on_batch_detail=always(NO_SUCH))

    inquiry = a2e.fetcher(page=False)
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, len(a2e.detail_ids)) == ([50], 50)
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 50}
    assert (a2e.batch_sizes, len(a2e.detail_ids)) == ([], 50)


# the list


@pytest.mark.parametrize("error", [NO_SUCH, PAGE, REFUSED], ids=named)
async def test_list_that_is_no_good_is_passed_over(error: A2EError) -> None:
    """If the list is not there or refuses to be read, each task is asked about alone, and nobody hears of trouble."""
    a2e = ScriptedA2E(ids(250), on_list=always(error))

    assert await looks(a2e.fetcher(several=False), a2e.tasks, 2) == [{"running": 250}] * 2
    assert a2e.page_numbers == [1, 1]


@pytest.mark.parametrize("error", [*PASSING, *TURNED_AWAY, AuthenticationError("token", status=401)], ids=named)
async def test_trouble_with_the_list_is_told_and_makes_no_burst(error: A2EError) -> None:
    """If reading the list meets trouble that may pass, or a wrong token, everybody hears, and nobody is asked alone."""
    a2e = ScriptedA2E(ids(250), on_list=always(error))
    assert words(await look_at(a2e, several=False)) == {type(error).__name__: 250}
    assert (a2e.detail_ids, a2e.page_numbers) == ([], [1])


async def test_trouble_with_a_later_page_concerns_those_behind() -> None:
    """Who was on the pages before has been answered; only the others hear of the trouble."""
    a2e = ScriptedA2E(ids(250), on_list=lambda number: DOWN if number == 2 else None)
    told = summarize(await look_at(a2e, several=False))
    assert Counter(told.values()) == {"running": 100, "ServerError": 150}
    assert all(told[task_id] == "running" for task_id in ids(100))


@pytest.mark.parametrize("several", [False, True])
async def test_list_that_always_breaks_hangs_nobody(several: bool) -> None:  # noqa: FBT001  a parameter of the test
    """If the list never works (nor batchDetail), but the detail does, everybody is heard of within a few looks."""
    a2e = ScriptedA2E(ids(250), on_list=always(DOWN), on_batch_detail=always(DOWN))

    inquiry, heard = a2e.fetcher(several=several), set[str]()
    for _ in range(60):
        heard |= {
            task_id for task_id, word in summarize(await fetch_due(inquiry, a2e.tasks)).items() if word == "running"
        }
        await asyncio.sleep(2)
    assert heard == set(ids(250))


# trouble that passes, or does not


@pytest.mark.parametrize("error", [*PASSING, *TURNED_AWAY], ids=named)
async def test_trouble_with_one_slice_is_told_to_nobody_else(error: A2EError) -> None:
    """If one slice meets trouble, those in it hear of it, the others are answered, and nothing more is asked."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=about(["t150"], error))
    told = summarize(await look_at(a2e))
    assert {task_id for task_id, word in told.items() if word != "running"} == set(ids(200)[100:])
    assert Counter(told.values()) == {"running": 200, type(error).__name__: 100}
    assert a2e.call_count == 3


@pytest.mark.parametrize("error", PASSING, ids=named)
async def test_operation_that_always_breaks_is_replaced_by_the_list(error: A2EError) -> None:
    """If every batch fails while details work, one task is asked about alone at the third time, and then the list."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(error))

    inquiry = a2e.fetcher()
    told = await looks(inquiry, a2e.tasks, 4)
    assert told[:2] == [{type(error).__name__: 300}] * 2
    assert told[3] == {"running": 300}
    assert len(a2e.batches) <= 10
    assert len(a2e.detail_ids) == 1


async def test_outage_that_ends_in_the_middle_of_a_look() -> None:
    """If A2E is back when one task is asked about alone to find that out, batchDetail is used on, and not the list."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(CUT), on_detail=always(CUT), on_list=always(CUT))

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 2)

    def back(_: str) -> None:
        a2e.on_detail = a2e.on_batch_detail = a2e.on_list = succeed

    a2e.on_detail = back
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    assert (a2e.batch_sizes, a2e.page_numbers) == ([100], [])


async def test_trying_a_broken_operation_again_costs_little() -> None:
    """When a minute is over and batchDetail still breaks, that costs a request or two for each slice, no burst."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(DOWN))

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 4)
    for _ in range(60):
        a2e.clear_calls()
        await fetch_due(inquiry, a2e.tasks)
        assert a2e.call_count <= 10
        await asyncio.sleep(2)


@pytest.mark.parametrize("side_by_side", [1, 3, 10])
async def test_outage_makes_no_burst(side_by_side: int) -> None:
    """As long as nothing can be reached, there is about one request for each slice and look, and everybody hears."""
    out = always(CUT)
    a2e = ScriptedA2E(ids(100 * side_by_side), on_detail=out, on_batch_detail=out, on_list=out)

    inquiry = a2e.fetcher()
    for _ in range(100):
        a2e.clear_calls()
        assert words(await fetch_due(inquiry, a2e.tasks)) == {"NetworkError": 100 * side_by_side}
        assert side_by_side <= a2e.call_count <= side_by_side + 1
        await asyncio.sleep(2)


async def test_outage_leaves_nothing_behind() -> None:
    """After an outage of some minutes, all are answered at once by full batches, and no trouble is remembered."""
    out = always(CUT)
    a2e = ScriptedA2E(ids(300), on_detail=out, on_batch_detail=out, on_list=out)

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 100)
    a2e.on_detail = a2e.on_batch_detail = a2e.on_list = succeed
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 300}
    assert (a2e.batch_sizes, a2e.call_count) == ([100, 100, 100], 3)
    assert not inquiry._misses


async def test_outage_while_the_list_is_used() -> None:
    """An outage that comes when batchDetail is given up costs one page for each reading, and no burst."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(NO_SUCH))

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 1)
    a2e.on_detail = a2e.on_batch_detail = a2e.on_list = always(CUT)
    for _ in range(100):
        a2e.clear_calls()
        assert words(await fetch_due(inquiry, a2e.tasks)) == {"NetworkError": 300}
        assert a2e.call_count <= 4
        await asyncio.sleep(2)


@pytest.mark.parametrize("error", TURNED_AWAY, ids=named)
async def test_being_turned_away_is_no_reason_to_ask_more(error: A2EError) -> None:
    """However often A2E asks to slow down, there is one request for each slice and look, and nothing is learned."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(error))

    inquiry = a2e.fetcher()
    for _ in range(10):
        a2e.clear_calls()
        assert words(await fetch_due(inquiry, a2e.tasks)) == {type(error).__name__: 300}
        assert a2e.call_count == 3
        await asyncio.sleep(2)


@pytest.mark.parametrize("error", TURNED_AWAY, ids=named)
async def test_operation_that_always_turns_away_is_replaced_in_the_end(error: A2EError) -> None:
    """If A2E turns every batch away for minutes while details work, the others hear by the list, and without a burst."""
    a2e = ScriptedA2E(ids(300), on_batch_detail=always(error))

    inquiry = a2e.fetcher()
    for _ in range(60):
        a2e.clear_calls()
        await fetch_due(inquiry, a2e.tasks)
        assert a2e.call_count <= 10
        await asyncio.sleep(2)
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 300}


@pytest.mark.parametrize("error", [*TURNED_AWAY, *PASSING], ids=named)
async def test_trouble_in_the_middle_of_halving_is_told(error: A2EError) -> None:
    """If A2E refuses a number, and then meets trouble or asks to slow down, that is told, and batchDetail not given up."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=lambda asked: REFUSED if len(asked) > 50 else error)

    inquiry = a2e.fetcher()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {type(error).__name__: 100}
    assert (a2e.batch_sizes, a2e.page_numbers, a2e.detail_ids) == ([100, 50], [], [])
    a2e.on_batch_detail = succeed
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    assert a2e.page_numbers == []


@pytest.mark.parametrize("error", [AuthenticationError("token", status=401), ClientClosedError("closed")], ids=named)
async def test_what_will_not_be_otherwise_reaches_all(error: A2EError) -> None:
    """A wrong token, or a closed client, is told to everybody in the slice at once, and nothing more is asked."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(error))

    assert (await fetch(a2e.fetcher(), a2e.tasks)).results == dict.fromkeys(ids(100), error)
    assert a2e.call_count == 1


async def test_cancelled_question_is_asked_again_as_if_nothing_had_been() -> None:
    """A question that is taken away in the middle of halving leaves nothing that hinders the next one."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=about(["t20"], REFUSED))

    inquiry = a2e.fetcher()
    first = asyncio.create_task(fetch(inquiry, a2e.tasks))
    for _ in range(12):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    assert len(a2e.batches) > 3
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}


# memory


def remembered(inquiry: Inquiry[TaskRecord]) -> set[str]:
    """Return the ids in all that an inquiry keeps."""
    kept = (getattr(inquiry, field.name) for field in attrs.fields(type(inquiry)))
    return {task_id for memory in kept if isinstance(memory, dict | set) for task_id in memory}


@pytest.mark.parametrize(
    "fault",
    [
        about(["t20"], REFUSED),
        about(["t20"], DOWN),
        more_than(37, REFUSED),
        always(REFUSED),
        always(DOWN),
        always(CUT),
        always(SLOWER),
        always(NO_SUCH),
    ],
    ids=["poison", "broken id", "number", "400", "500", "network", "429", "404"],
)
async def test_forgetting_leaves_nothing(fault: Callable[[list[str]], A2EError | None]) -> None:
    """Whatever went wrong with tasks, nothing is left of them when nobody waits for them any more."""
    a2e = ScriptedA2E(ids(250), on_batch_detail=fault, hidden={"t100"}, unlisted={"t200"})

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 5)
    for task_id in a2e.tasks:
        inquiry.forget(task_id)
    assert not remembered(inquiry)


async def test_nothing_is_remembered_of_those_without_trouble() -> None:
    """Thousands of tasks that all go well take no memory of the inquiry."""
    a2e = ScriptedA2E(ids(5000))

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 3)
    assert not remembered(inquiry)


async def test_forgotten_task_begins_anew() -> None:
    """A poisoned id that nobody waits for any more is no more set apart when somebody waits for it again."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=about(["t20"], REFUSED))

    inquiry = a2e.fetcher()
    await fetch_due(inquiry, a2e.tasks)
    assert inquiry.choose(["t20", "t1"]) == ["t20"]
    inquiry.forget("t20")
    assert inquiry.choose(["t20", "t1"]) == ["t20", "t1"]


# everything at once


@attrs.define(eq=False)
class Storm:
    """An A2E that does everything it ever did wrong, by chance."""

    chance: random.Random
    bad: float
    a2e: ScriptedA2E
    refused: set[str]
    broken: set[str]
    lost: set[str]

    @classmethod
    def of(cls, seed: int, bad: float) -> Storm:
        """Make one with 300 tasks, some of which spoil their batches, or are never shown in a batch or a list."""
        chance = random.Random(seed)
        tasks = ids(300)
        odd = chance.sample(tasks, 18)
        storm = cls(chance, bad, ScriptedA2E(tasks), set(odd[:4]), set(odd[4:8]), set(odd[8:13]))
        storm.a2e.unlisted = set(odd[10:])
        storm.a2e.on_detail, storm.a2e.on_batch_detail, storm.a2e.on_list = storm.one, storm.several, storm.page
        return storm

    def _fault(self, *faults: A2EError) -> A2EError | None:
        return self.chance.choice(faults) if self.chance.random() < self.bad else None

    def one(self, task_id: str) -> A2EError | None:
        """Let some of the details fail."""
        return self._fault(CUT, DOWN, SLOWER, PAGE, NotFoundError("no such task", status=404), REFUSED)

    def several(self, asked: list[str]) -> A2EError | None:
        """Let some of the batches fail, be empty, miss tasks, or hold others."""
        lost = set() if self.chance.random() >= self.bad else set(self.chance.sample(asked, len(asked) // 3))
        self.a2e.hidden = set(asked) if self.chance.random() < self.bad / 5 else self.lost | lost
        self.a2e.unrequested = {"x": record_of("x", TaskStatus.SUCCEEDED)} if self.chance.random() < 0.5 else {}
        if not self.refused.isdisjoint(asked):
            return REFUSED
        return (
            DOWN if not self.broken.isdisjoint(asked) else self._fault(*PASSING, *TURNED_AWAY, NO_SUCH, PAGE, REFUSED)
        )

    def page(self, number: int) -> A2EError | None:
        """Let some of the pages fail."""
        return self._fault(*PASSING, SLOWER, NO_SUCH, PAGE, REFUSED)


@pytest.mark.parametrize("bad", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 8))])
async def test_everybody_is_heard_of_in_any_storm(seed: int, bad: float) -> None:
    """Whatever fails by chance, every task's end is heard of, no other end is, and nothing is left in memory."""
    storm = Storm.of(seed, bad)
    a2e = storm.a2e
    ends = {task_id: storm.chance.uniform(0.0, 60.0) for task_id in a2e.tasks}

    inquiry = a2e.fetcher()
    waiting = dict.fromkeys(a2e.tasks)
    while waiting:
        assert now() < 1000.0, sorted(waiting)
        a2e.done = {task_id for task_id, end in ends.items() if end <= now()}
        due = storm.chance.sample([*waiting], max(1, len(waiting) * 2 // 3))
        for task_id, word in summarize(await fetch_due(inquiry, due)).items():
            if word == "succeeded":
                assert task_id in a2e.done
                del waiting[task_id]
                inquiry.forget(task_id)
        await asyncio.sleep(2)
    assert not remembered(inquiry)


# by way of the poller


def waiter(*, hooked: bool = False) -> Waiter:
    """Make a waiter that minds nothing but the end."""
    return Waiter(on_record=lambda _: None, on_trouble=lambda _: None, hooked=hooked)


async def ends(a2e: ScriptedA2E, waits: Collection[str], policy: PollPolicy, within: float) -> dict[str, float]:
    """Wait for tasks, and return when each wait ended, however that was; those that did not are missing."""
    poller, found = Poller(policy), dict[str, float]()

    async def wait(task_id: str) -> None:
        mine = waiter()
        leave = poller.join("family", task_id, a2e.status_api, mine)
        try:
            await asyncio.wait([mine.done], timeout=within)
        finally:
            leave()
        if mine.done.done():
            found[task_id] = now()

    await asyncio.gather(*(wait(task_id) for task_id in waits))
    await poller.aclose()
    return found


@pytest.mark.parametrize(
    "error", [*PASSING, *TURNED_AWAY, NO_SUCH, PAGE, REFUSED, AuthenticationError("token", status=401)], ids=named
)
@pytest.mark.parametrize("poison", ["t0", "t150", "t299"])
async def test_any_fault_of_one_slice_delays_no_other(error: A2EError, poison: str) -> None:
    """If every question with one of the ids meets any fault there is, all waits in other slices end as they would."""
    a2e = ScriptedA2E(
        ids(300), on_batch_detail=about([poison], error), on_detail=about([poison], error), done=set(ids(300))
    )
    slice_of = int(poison[1:]) // 100 * 100
    mine = set(ids(300)[slice_of : slice_of + 100])
    found = await ends(a2e, a2e.tasks, PollPolicy(), within=30.0)
    assert {task_id: found.get(task_id) for task_id in a2e.tasks if task_id not in mine} == dict.fromkeys(
        (task_id for task_id in a2e.tasks if task_id not in mine), min(found.values())
    )
    assert min(found.values()) <= 3.0


async def test_slice_that_never_answers_delays_no_other() -> None:
    """While one question hangs, all waits in other slices end as they would."""
    a2e = ScriptedA2E(ids(300), done=set(ids(300)))
    family = a2e.status_api()

    async def hang(asked: list[str]) -> dict[str, TaskRecord]:
        if "t150" in asked:
            await asyncio.sleep(1e6)
        assert family.several is not None
        return dict(await family.several(asked))

    poller, waits = Poller(PollPolicy()), {task_id: waiter() for task_id in a2e.tasks}
    for task_id, mine in waits.items():
        poller.join("family", task_id, lambda: Questions(one=family.one, several=hang, page=family.page), mine)
    await asyncio.sleep(3.1)
    ended = {task_id for task_id, mine in waits.items() if mine.done.done()}
    await poller.aclose()
    assert ended == set(ids(100)) | set(ids(300)[200:])


async def test_odd_retry_after_hangs_nobody() -> None:
    """A header of absurd size delays a wait, and neither hangs nor ends it."""
    odd = RateLimitError("slow down", status=429, retry_after=1.7e308)
    a2e = ScriptedA2E(ids(3), on_batch_detail=always(odd), done=set(ids(3)))

    asyncio.get_running_loop().call_later(1.5, setattr, a2e, "on_batch_detail", succeed)
    found = await ends(a2e, a2e.tasks, PollPolicy(initial=1.0, steps=((0.0, 1.0),)), within=100_000.0)
    assert {end // 43_200.0 for end in found.values()} == {2.0}


async def test_question_taken_away_before_it_began_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question whose task somebody cancels at once is asked again."""
    a2e, taken = ScriptedA2E(ids(3), done=set(ids(3))), list[str]()
    real = asyncio.create_task

    def create(work: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:
        task = real(work, **options)
        if options.get("name") == "a2e-ask" and not taken:
            taken.append(task.get_name())
            task.cancel()
        return task

    monkeypatch.setattr(asyncio, "create_task", create)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the coroutine that never ran
        found = await ends(a2e, a2e.tasks, PollPolicy(), within=100.0)
    assert taken
    assert set(found) == set(a2e.tasks)


async def test_nudge_of_all_counts_for_those_being_asked_about() -> None:
    """News that come while a question is under way make that it is asked again at once."""
    asked: list[float] = []

    async def one(task_id: str) -> TaskRecord:
        asked.append(now())
        await asyncio.sleep(1.0)
        return record_of(task_id, TaskStatus.SUCCEEDED if len(asked) == 2 else TaskStatus.RUNNING)

    poller, mine = Poller(PollPolicy()), waiter(hooked=True)
    poller.join("family", "a", lambda: Questions(one=one), mine)
    while not asked:
        await asyncio.sleep(0.1)
    poller.nudge(None)
    await mine.done
    await poller.aclose()
    assert asked[1] - asked[0] < 2.0


async def test_slices_that_have_become_small_share_a_question() -> None:
    """When most of 500 tasks are done, the rest is asked about with one request, also if A2E takes 3 s to answer."""
    a2e, chance = ScriptedA2E(ids(500)), random.Random(1)
    a2e.done = set(chance.sample(a2e.tasks, 480))
    family = a2e.status_api()

    async def slow(asked: list[str]) -> dict[str, TaskRecord]:
        await asyncio.sleep(chance.uniform(2.5, 3.5))
        assert family.several is not None
        return dict(await family.several(asked))

    poller = Poller(PollPolicy(steps=((0.0, 2.0),)))
    for task_id in a2e.tasks:
        poller.join("family", task_id, lambda: Questions(one=family.one, several=slow), waiter())
    await asyncio.sleep(20)
    a2e.clear_calls()
    await asyncio.sleep(60)
    await poller.aclose()
    assert len(a2e.batches) <= 40


async def test_listener_that_raises_concerns_its_own_wait() -> None:
    """A bug in what listens to one task ends the wait for that task with the error, and touches no other."""
    a2e = ScriptedA2E(ids(3), done=set(ids(3)))

    def bug(_: object) -> None:
        msg = "a bug"
        raise RuntimeError(msg)

    poller, waits = Poller(PollPolicy()), [waiter() for _ in a2e.tasks]
    waits[1].on_record = bug
    for task_id, mine in zip(a2e.tasks, waits, strict=True):
        poller.join("family", task_id, a2e.status_api, mine)
    await asyncio.wait([mine.done for mine in waits], timeout=100.0)
    ended = [mine.done.done() and (mine.done.exception() or mine.done.result().status) for mine in waits]
    await poller.aclose()
    first, second, third = ended
    assert (first, third) == (TaskStatus.SUCCEEDED, TaskStatus.SUCCEEDED)
    assert isinstance(second, A2EError)
    assert isinstance(second.__cause__, RuntimeError)


# records


def test_one_record_that_cannot_be_read_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A record on which decoding breaks is left out and logged; all others of the same answer are read."""
    real: Callable[..., ImageToVideoRecord] = vars(base)["to_record"]

    def to_record(
        model: type[ImageToVideoRecord], raw: dict[str, Any], family: Family, *, trace_id: str
    ) -> ImageToVideoRecord:
        if raw["_id"] == "b":
            msg = "a bug"
            raise KeyError(msg)
        return real(model, raw, family, trace_id=trace_id)

    monkeypatch.setattr(base, "to_record", to_record)
    rows = [{"_id": task_id, "current_status": "completed"} for task_id in "abc"]
    with caplog.at_level(logging.ERROR, "a2e_async"):
        found = base.to_records(ImageToVideoRecord, Envelope(data=rows, trace_id="trace-1"), IMAGE_TO_VIDEO)
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
def test_records_of_any_answer(data: object, found: list[str]) -> None:
    """Whatever an answer holds, its records are found, each once, and nothing else."""
    records = base.to_records(ImageToVideoRecord, Envelope(data=data), IMAGE_TO_VIDEO)
    assert [(task_id, record.id) for task_id, record in records.items()] == [(task_id, task_id) for task_id in found]


@pytest.mark.parametrize("error", TURNED_AWAY, ids=named)
async def test_being_turned_away_after_a_probe_closes_nothing(error: A2EError) -> None:
    """If a probe finds A2E there, and the next question is turned away, that is told, and batches go on afterwards."""
    a2e = ScriptedA2E(ids(100), on_batch_detail=always(DOWN))

    inquiry = a2e.fetcher()
    await looks(inquiry, a2e.tasks, 2)
    tries = iter([DOWN, error])
    a2e.on_batch_detail = lambda _: next(tries, None)
    told = words(await fetch_due(inquiry, a2e.tasks))
    assert told == {"running": 1, type(error).__name__: 99}
    await asyncio.sleep(2)
    a2e.clear_calls()
    assert words(await fetch_due(inquiry, a2e.tasks)) == {"running": 100}
    assert (a2e.batch_sizes, a2e.page_numbers) == ([100], [])
