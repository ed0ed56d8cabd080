"""Reading of A2E's lists, page by page."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.pagination import MAX_PAGE_SIZE, PageReader
from a2e_async._protocol.responses import id_of

_PATH = "/api/v1/userImage2Video/allRecords"


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a page."""
    return [{"_id": str(number)} for number in range(first, first + count)]


def ids(records: list[dict[str, Any]]) -> list[str]:
    """Return the ids of records."""
    return [id_of(record) for record in records]


def read_page(pages: PageReader, data: object) -> list[str]:
    """Request a page, read it, and return the ids of its new records."""
    pages.next_request()
    return ids(pages.read(Envelope(data=data)))


# requests


def test_page_numbers() -> None:
    """Pages are counted from 1, with the parameters of style P1 as text."""
    pages = PageReader(_PATH, 50)
    requests = [pages.next_request() for _ in range(3)]
    assert {(request.method, request.path) for request in requests} == {("GET", _PATH)}
    assert [request.params for request in requests] == [
        {"pageNum": number, "pageSize": "50"} for number in ("1", "2", "3")
    ]
    assert pages.number == 3


def test_pages_are_as_large_as_a2e_allows() -> None:
    """By default a page has 100 records, A2E's maximum."""
    assert MAX_PAGE_SIZE == 100
    assert PageReader(_PATH).next_request().params == {"pageNum": "1", "pageSize": "100"}


def test_page_request_is_repeatable() -> None:
    """The request for a page is free and may be retried, with the usual timeout."""
    request = PageReader(_PATH).next_request()
    assert request.repeatable
    assert not request.paid
    assert request.timeout is None


def test_fresh_list_has_not_ended() -> None:
    """Before its first page a list has not ended."""
    pages = PageReader(_PATH)
    assert (pages.number, pages.ended, pages.shrank) == (0, False, False)


def test_readers_are_independent() -> None:
    """A second reader of the same list returns every record again."""
    assert [read_page(PageReader(_PATH, 2), rows(2)) for _ in range(2)] == [["0", "1"], ["0", "1"]]


# end of a list


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rows(10), id="array"),
        pytest.param({"rows": rows(10), "count": 10}, id="rows, with any total"),
        pytest.param({"list": rows(10)}, id="list"),
        pytest.param({"data": rows(10), "current": 1, "total": 10}, id="data.data, with any total"),
        pytest.param([*rows(9), {"id": "no id"}], id="row without an id"),
        pytest.param([*rows(9), None], id="row that is null"),
        pytest.param([{"_id": "a"}] * 10, id="the same row"),
        pytest.param({str(number): row for number, row in enumerate(rows(10))}, id="numeric keys"),
        pytest.param(rows(11), id="more than asked for"),
    ],
)
def test_full_page_is_not_the_last(data: object) -> None:
    """A full page does not end the list, in every shape and with every total."""
    pages = PageReader(_PATH, 10)
    read_page(pages, data)
    assert not pages.ended


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rows(9), id="short array"),
        pytest.param([], id="empty array"),
        pytest.param({"rows": rows(9)}, id="short rows"),
        pytest.param({"rows": rows(9), "count": 9}, id="short rows that are all"),
        pytest.param({"rows": rows(9), "count": 3}, id="short rows with too small a total"),
        pytest.param({"rows": rows(9), "count": "9"}, id="short rows with a total in digits"),
        pytest.param({"rows": rows(9), "count": True}, id="short rows with a total that is none"),
        pytest.param({"rows": []}, id="empty rows"),
        pytest.param({"rows": [], "count": 1000}, id="empty rows, with any total"),
        pytest.param({}, id="empty object"),
        pytest.param(None, id="null"),
        pytest.param("text", id="text"),
        pytest.param({"_id": "a"}, id="one record"),
    ],
)
def test_short_page_is_the_last(data: object) -> None:
    """A short page without a larger total, an empty page, or a response without a list ends the list."""
    pages = PageReader(_PATH, 10)
    read_page(pages, data)
    assert pages.ended


@pytest.mark.parametrize("total", [{"count": 25}, {"total": 25}, {"count": "25"}], ids=str)
def test_short_page_with_a_larger_total(total: dict[str, object]) -> None:
    """A short page does not end the list while the total says that there are more records."""
    pages, ended = PageReader(_PATH, 100), []
    for first, count in ((0, 10), (10, 10), (20, 5)):
        assert read_page(pages, {"rows": rows(count, first), **total}) == ids(rows(count, first))
        ended.append(pages.ended)
    assert ended == [False, False, True]


def test_total_counts_the_records_of_all_pages() -> None:
    """A short page ends the list when the records of all pages reach the total."""
    pages = PageReader(_PATH, 10)
    read_page(pages, {"rows": rows(10), "count": 12})
    assert not pages.ended
    read_page(pages, {"rows": rows(2, 10), "count": 12})
    assert pages.ended


def test_total_that_is_never_reached() -> None:
    """A total that is too large costs one more request, and the list still ends."""
    pages = PageReader(_PATH, 10)
    read_page(pages, {"rows": rows(9), "count": 1000})
    assert not pages.ended
    read_page(pages, {"rows": [], "count": 1000})
    assert pages.ended


@pytest.mark.parametrize(("count", "last"), [(MAX_PAGE_SIZE - 1, True), (MAX_PAGE_SIZE, False)])
def test_page_of_the_usual_size(count: int, last: bool) -> None:  # noqa: FBT001  a column of the table
    """By default a page is full with the maximum number of records."""
    pages = PageReader(_PATH)
    read_page(pages, rows(count))
    assert pages.ended is last


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rows(10), id="full page"),
        pytest.param([None] * 10, id="full page without records"),
        pytest.param({"rows": rows(3), "count": 1000}, id="short page that speaks of more"),
    ],
)
def test_page_that_is_repeated_forever_ends_the_list(data: object) -> None:
    """Three pages in a row without a new record end the list."""
    pages = PageReader(_PATH, 10)
    read_page(pages, rows(10))
    assert [read_page(pages, data) for _ in range(9) if not pages.ended][-3:] == [[], [], []]
    assert pages.ended
    assert pages.number <= 5


def test_third_stale_page_ends_the_list() -> None:
    """Two full pages in a row without a new record do not end the list."""
    pages, ended = PageReader(_PATH, 10), []
    for _ in range(4):
        read_page(pages, rows(10))
        ended.append(pages.ended)
    assert ended == [False, False, False, True]


def test_stale_pages_count_in_a_row() -> None:
    """A page with a new record resets the count of stale pages."""
    pages = PageReader(_PATH, 10)
    for data in (rows(10), rows(10), rows(10), rows(10, 1), rows(10), rows(10)):
        read_page(pages, data)
        assert not pages.ended
    read_page(pages, rows(10))
    assert pages.ended


# new records


def test_record_comes_once() -> None:
    """A record that moves to a later page is returned only once."""
    pages = PageReader(_PATH, 3)
    assert read_page(pages, rows(3)) == ["0", "1", "2"]
    assert read_page(pages, rows(3, 2)) == ["3", "4"]


def test_record_comes_once_in_a_page() -> None:
    """A record that is twice in one page is returned once, in its first form."""
    pages = PageReader(_PATH, 3)
    pages.next_request()
    first, second = {"_id": "a", "name": "first"}, {"_id": "a", "name": "second"}
    assert pages.read(Envelope(data=[first, second])) == [first]


def test_records_are_unchanged() -> None:
    """Records keep their order and all fields; rows without an id are left out."""
    pages, shown = PageReader(_PATH), [{"_id": "b", "x": 1}, {"_id": 7}, {"_id": "a", "x": None}]
    pages.next_request()
    assert pages.read(Envelope(data={"rows": [*shown, None, {"id": "c"}], "count": 3})) == shown


# a list from which records are deleted meanwhile


@pytest.mark.parametrize(
    ("totals", "shrank"),
    [
        pytest.param([30, 30, 30], [False, False, False], id="the same"),
        pytest.param([30, 31, 33], [False, False, False], id="growing"),
        pytest.param([30, 29, 29], [False, True, True], id="one was deleted"),
        pytest.param([30, 29, 31], [False, True, True], id="a lost record does not come back"),
        pytest.param([30, 31, 30], [False, False, True], id="smaller than the page before"),
        pytest.param([None, None, None], [False, False, False], id="no total"),
        pytest.param([None, 30, 29], [False, False, True], id="no total at first"),
        pytest.param([30, None, 29], [False, False, True], id="no total in between"),
        pytest.param(["30", "29", 28], [False, True, True], id="in digits"),
    ],
)
def test_list_that_shrinks(totals: list[object], shrank: list[bool]) -> None:
    """A total that becomes smaller is remembered, since records may have moved to a page that was read before."""
    pages, seen = PageReader(_PATH, 10), []
    for number, total in enumerate(totals):
        read_page(pages, {"rows": rows(10, 10 * number), "count": total})
        seen.append(pages.shrank)
    assert seen == shrank


# any list


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 12), st.sampled_from(["array", "rows", "counted"]))
def test_every_record_of_a_list_comes_once(count: int, asked: int, largest: int, packing: str) -> None:
    """Every list is read to its end, each record once, also if A2E's pages are smaller than requested."""
    size = min(asked, largest) if packing == "counted" else asked
    pages, found = PageReader(_PATH, asked), []
    for number in itertools.count():
        page = rows(count)[size * number :][:size]
        data: object = page if packing == "array" else {"rows": page}
        found += read_page(pages, {"rows": page, "count": count} if packing == "counted" else data)
        if pages.ended:
            break
    assert found == ids(rows(count))
    assert pages.number <= count // size + 2
    assert not pages.shrank


# a list of rows that may have no id


def test_rows_without_an_id() -> None:
    """Rows without an id are returned on request, also equal ones, and count for the total."""
    pages, row = PageReader(_PATH, 2, needs_ids=False), {"coins": 1}
    pages.next_request()
    assert pages.read(Envelope(data={"rows": [row, row], "count": 5})) == [row, row]
    assert pages.read(Envelope(data={"rows": [row, {"coins": 2}], "count": 5})) == [row, {"coins": 2}]
    assert pages.read(Envelope(data={"rows": [row], "count": 5})) == [row]
    assert pages.ended


def test_row_with_an_id_comes_once_beside_rows_without() -> None:
    """An id is recognised on a later page, also among rows without an id."""
    pages = PageReader(_PATH, 2, needs_ids=False)
    assert pages.read(Envelope(data=[{"_id": "a"}, {"coins": 1}])) == [{"_id": "a"}, {"coins": 1}]
    assert pages.read(Envelope(data=[{"coins": 2}, {"_id": "a"}])) == [{"coins": 2}]


def test_page_without_ids_that_is_repeated_forever() -> None:
    """Three repetitions of a page in a row end the list, also if its rows have no ids, and none of them comes twice."""
    pages, page, found = PageReader(_PATH, 2, needs_ids=False), [{"coins": 1}, {"coins": 2}], []
    while not pages.ended:
        pages.next_request()
        found += pages.read(Envelope(data=page))
    assert (found, pages.number) == (page, 4)


# a list that must have been read whole


@pytest.mark.parametrize(
    "data",
    [rows(9), {"rows": rows(9)}, {"list": rows(9), "count": True}, {"rows": rows(9), "count": 0}],
    ids=["array", "rows", "total that is none", "total that is too small"],
)
def test_short_page_without_a_total_is_not_certain_to_be_the_last(data: object) -> None:
    """A thorough reader goes on after a short page without a total, up to an empty one."""
    pages = PageReader(_PATH, 10, thorough=True)
    assert read_page(pages, data) == ids(rows(9))
    assert (pages.ended, pages.is_gapless) == (False, False)
    read_page(pages, [])
    assert pages.ended


def test_thorough_reader_believes_a_total() -> None:
    """With a total, a thorough reader needs no more requests than others."""
    pages = PageReader(_PATH, 10, thorough=True)
    read_page(pages, {"rows": rows(9), "count": 9})
    assert (pages.ended, pages.is_gapless, pages.missing) == (True, True, 0)


def test_list_without_pages_is_whole() -> None:
    """A list that has no pages ends with its only response, also for a thorough reader."""
    pages = PageReader(_PATH, 10, None, thorough=True)
    read_page(pages, rows(9))
    assert (pages.ended, pages.is_gapless) == (True, True)


@pytest.mark.parametrize(
    ("totals", "read", "missing"),
    [
        ([12, 12], 12, 0),
        ([12, 12], 11, 1),
        ([12, 13], 12, 0),  # one was added on the first page, after it was read
        ([None, 12], 11, 1),
        ([12, None], 11, 1),
        ([None, None], 11, 0),
        ([9, 12], 12, 0),
    ],
)
def test_missing_records(totals: list[int | None], read: int, missing: int) -> None:
    """Records are missing if fewer have come than there were at the first page with a total."""
    pages = PageReader(_PATH, 10, thorough=True)
    for first, total in zip((0, 10), totals, strict=True):
        read_page(pages, {"rows": rows(min(10, read - first), first), **({} if total is None else {"count": total})})
    assert (pages.missing, pages.ids) == (missing, set(ids(rows(read))))


@pytest.mark.parametrize(
    ("page", "count"),
    [
        (rows(3), 0),
        ([*rows(3), {"name": "Ada"}], 1),
        ([*rows(3), None, {"_id": ""}, {"_id": True}], 3),
        ([*rows(3), *rows(3)], 0),
        ([*rows(3), *rows(2), {"name": "Ada"}], 1),
        ({"rows": [{"name": "Ada"}], "count": 1}, 1),
        ({"_id": "a"}, 0),
        ({"0": {"_id": "a"}, "1": {"name": "Ada"}}, 1),
    ],
    ids=str,
)
def test_rows_that_cannot_be_identified(page: object, count: int) -> None:
    """Rows without an id are counted, and equal records are not."""
    pages = PageReader(_PATH)
    read_page(pages, page)
    assert pages.unidentified == count


def test_gap_within_a_list() -> None:
    """A short page that is not the last one may lack rows."""
    pages = PageReader(_PATH, 10)
    for first, count, is_gapless in ((0, 10, True), (10, 9, False), (20, 10, False)):
        read_page(pages, {"rows": rows(count, first), "count": 40})
        assert pages.is_gapless is is_gapless
