"""How A2E's lists are gone through, page by page."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.pagination import LARGEST, Pages
from a2e_async._protocol.responses import id_of

_PATH = "/api/v1/userImage2Video/allRecords"


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return the rows of a page."""
    return [{"_id": str(number)} for number in range(first, first + count)]


def ids(records: list[dict[str, Any]]) -> list[str]:
    """Return the ids of records."""
    return [id_of(record) for record in records]


def taken(pages: Pages, data: object) -> list[str]:
    """Ask for a page, take it, and return the ids of what was new."""
    pages.next()
    return ids(pages.take(Envelope(data=data)))


# what is asked


def test_pages_are_asked_for_as_a2e_numbers_them() -> None:
    """Pages are counted from 1, by the parameters of style P1, written as text."""
    pages = Pages(_PATH, 50)
    requests = [pages.next() for _ in range(3)]
    assert {(request.method, request.path) for request in requests} == {("GET", _PATH)}
    assert [request.params for request in requests] == [
        {"pageNum": number, "pageSize": "50"} for number in ("1", "2", "3")
    ]
    assert pages.number == 3


def test_pages_are_as_large_as_a2e_allows() -> None:
    """Unless asked otherwise, a page holds the 100 records that are stated as the most."""
    assert LARGEST == 100
    assert Pages(_PATH).next().params == {"pageNum": "1", "pageSize": "100"}


def test_page_may_be_asked_for_again() -> None:
    """Reading a page is free and may be repeated, within the usual time."""
    request = Pages(_PATH).next()
    assert request.repeatable
    assert not request.paid
    assert request.within is None


def test_fresh_list_has_not_ended() -> None:
    """Before the first page nothing is known of a list."""
    pages = Pages(_PATH)
    assert (pages.number, pages.ended, pages.shrank) == (0, False, False)


def test_readings_know_nothing_of_each_other() -> None:
    """A second reading of the same list brings every record again."""
    assert [taken(Pages(_PATH, 2), rows(2)) for _ in range(2)] == [["0", "1"], ["0", "1"]]


# what ends a list


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rows(10), id="array"),
        pytest.param({"rows": rows(10), "count": 10}, id="rows, whatever the total"),
        pytest.param({"list": rows(10)}, id="list"),
        pytest.param({"data": rows(10), "current": 1, "total": 10}, id="data.data, whatever the total"),
        pytest.param([*rows(9), {"id": "no id"}], id="row without an id"),
        pytest.param([*rows(9), None], id="row that is null"),
        pytest.param([{"_id": "a"}] * 10, id="the same row"),
        pytest.param({str(number): row for number, row in enumerate(rows(10))}, id="numeric keys"),
        pytest.param(rows(11), id="more than asked for"),
    ],
)
def test_full_page_is_not_the_last(data: object) -> None:
    """After a full page another one is asked for, however A2E packs it and whatever total it names."""
    pages = Pages(_PATH, 10)
    taken(pages, data)
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
        pytest.param({"rows": [], "count": 1000}, id="empty rows, whatever the total"),
        pytest.param({}, id="empty object"),
        pytest.param(None, id="null"),
        pytest.param("text", id="text"),
        pytest.param({"_id": "a"}, id="one record"),
    ],
)
def test_short_page_is_the_last(data: object) -> None:
    """A short page that does not speak of more, an empty one, or an answer without a list ends the list."""
    pages = Pages(_PATH, 10)
    taken(pages, data)
    assert pages.ended


@pytest.mark.parametrize("total", [{"count": 25}, {"total": 25}, {"count": "25"}], ids=str)
def test_short_page_that_speaks_of_more(total: dict[str, object]) -> None:
    """Where A2E gives less than was asked for and says that there are more, its list is read to the end."""
    pages, ended = Pages(_PATH, 100), []
    for first, count in ((0, 10), (10, 10), (20, 5)):
        assert taken(pages, {"rows": rows(count, first), **total}) == ids(rows(count, first))
        ended.append(pages.ended)
    assert ended == [False, False, True]


def test_total_counts_what_came_on_all_pages() -> None:
    """A short page after full ones ends the list when all that A2E has was shown."""
    pages = Pages(_PATH, 10)
    taken(pages, {"rows": rows(10), "count": 12})
    assert not pages.ended
    taken(pages, {"rows": rows(2, 10), "count": 12})
    assert pages.ended


def test_total_that_is_never_reached() -> None:
    """A total that counts what A2E does not show costs one more page, and no endless reading."""
    pages = Pages(_PATH, 10)
    taken(pages, {"rows": rows(9), "count": 1000})
    assert not pages.ended
    taken(pages, {"rows": [], "count": 1000})
    assert pages.ended


@pytest.mark.parametrize(("count", "last"), [(LARGEST - 1, True), (LARGEST, False)])
def test_page_of_the_usual_size(count: int, last: bool) -> None:  # noqa: FBT001  a column of the table
    """Unless said otherwise, a page is full with the largest number of records."""
    pages = Pages(_PATH)
    taken(pages, rows(count))
    assert pages.ended is last


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(rows(10), id="full page"),
        pytest.param([None] * 10, id="full page without records"),
        pytest.param({"rows": rows(3), "count": 1000}, id="short page that speaks of more"),
    ],
)
def test_page_that_comes_for_ever_ends_the_list(data: object) -> None:
    """A server that answers its last page for ever is asked no more after three pages without anything new."""
    pages = Pages(_PATH, 10)
    taken(pages, rows(10))
    assert [taken(pages, data) for _ in range(9) if not pages.ended][-3:] == [[], [], []]
    assert pages.ended
    assert pages.number <= 5


def test_third_stale_page_ends_the_list() -> None:
    """Two full pages without anything new end nothing: the list may have grown at its top meanwhile."""
    pages, ended = Pages(_PATH, 10), []
    for _ in range(4):
        taken(pages, rows(10))
        ended.append(pages.ended)
    assert ended == [False, False, False, True]


def test_stale_pages_count_in_a_row() -> None:
    """After a page with something new, three more stale ones are needed."""
    pages = Pages(_PATH, 10)
    for data in (rows(10), rows(10), rows(10), rows(10, 1), rows(10), rows(10)):
        taken(pages, data)
        assert not pages.ended
    taken(pages, rows(10))
    assert pages.ended


# what is new


def test_record_comes_once() -> None:
    """A record that slips to a later page, since others were added meanwhile, comes only once."""
    pages = Pages(_PATH, 3)
    assert taken(pages, rows(3)) == ["0", "1", "2"]
    assert taken(pages, rows(3, 2)) == ["3", "4"]


def test_record_comes_once_of_a_page() -> None:
    """A record that is twice in one page comes once, as it was first shown."""
    pages = Pages(_PATH, 3)
    pages.next()
    first, second = {"_id": "a", "name": "first"}, {"_id": "a", "name": "second"}
    assert pages.take(Envelope(data=[first, second])) == [first]


def test_records_are_given_as_a2e_showed_them() -> None:
    """Records keep their order and all of their fields; strangers are left out."""
    pages, shown = Pages(_PATH), [{"_id": "b", "x": 1}, {"_id": 7}, {"_id": "a", "x": None}]
    pages.next()
    assert pages.take(Envelope(data={"rows": [*shown, None, {"id": "c"}], "count": 3})) == shown


# a list that others delete from


@pytest.mark.parametrize(
    ("totals", "shrank"),
    [
        pytest.param([30, 30, 30], [False, False, False], id="the same"),
        pytest.param([30, 31, 33], [False, False, False], id="growing"),
        pytest.param([30, 29, 29], [False, True, True], id="one was deleted"),
        pytest.param([30, 29, 31], [False, True, True], id="what slipped away does not come back"),
        pytest.param([30, 31, 30], [False, False, True], id="smaller than the page before"),
        pytest.param([None, None, None], [False, False, False], id="no total"),
        pytest.param([None, 30, 29], [False, False, True], id="no total at first"),
        pytest.param([30, None, 29], [False, False, True], id="no total in between"),
        pytest.param(["30", "29", 28], [False, True, True], id="in digits"),
    ],
)
def test_list_that_shrinks(totals: list[object], shrank: list[bool]) -> None:
    """Once A2E's total became smaller, records may have slipped to a page that was read before."""
    pages, seen = Pages(_PATH, 10), []
    for number, total in enumerate(totals):
        taken(pages, {"rows": rows(10, 10 * number), "count": total})
        seen.append(pages.shrank)
    assert seen == shrank


# any list


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 12), st.sampled_from(["array", "rows", "counted"]))
def test_every_record_of_a_list_comes_once(count: int, asked: int, largest: int, packing: str) -> None:
    """Any list is read to its end, each record once, also where A2E gives smaller pages and says how many there are."""
    size = min(asked, largest) if packing == "counted" else asked
    pages, found = Pages(_PATH, asked), []
    for number in itertools.count():
        page = rows(count)[size * number :][:size]
        data: object = page if packing == "array" else {"rows": page}
        found += taken(pages, {"rows": page, "count": count} if packing == "counted" else data)
        if pages.ended:
            break
    assert found == ids(rows(count))
    assert pages.number <= count // size + 2
    assert not pages.shrank
