"""What a reading of A2E's list proves about a start: found, surely not there, or not known yet."""

from __future__ import annotations

import datetime as dt
import math
from email.utils import format_datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.pagination import PageReader
from a2e_async._protocol.server_clock import SERVER_SKEW
from a2e_async._submission.evidence import (
    ListReading,
    ListState,
    Verdict,
    certain_age,
    ends_before,
    judge,
)

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

ACCEPT, SETTLE = 120.0, 180.0
NOW = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC).timestamp()


def verdict(
    state: ListState | None, *, found: bool = False, sent_at: float | None = NOW, waited: float = 0.0
) -> Verdict:
    """Return the verdict with the usual times."""
    return judge(state, found=found, sent_at=sent_at, waited=waited, accept_time=ACCEPT, settle_time=SETTLE)


# the verdict


@pytest.mark.parametrize("state", [None, ListState(), ListState(NOW + 1e6, NOW + 1e6)], ids=str)
@pytest.mark.parametrize("sent_at", [None, NOW, math.inf])
def test_found_is_found(state: ListState | None, sent_at: float | None) -> None:
    """A task that is shown exists, although the list may lack others."""
    assert verdict(state, found=True, sent_at=sent_at) is Verdict.FOUND


@pytest.mark.parametrize("sent_at", [None, -math.inf, NOW, math.inf])
def test_unread_list_proves_nothing(sent_at: float | None) -> None:
    """If the list could not be read whole, no time makes a missing task an absent one."""
    assert verdict(None, sent_at=sent_at, waited=1e9) is Verdict.UNKNOWN


@pytest.mark.parametrize("state", [ListState(), ListState(NOW, NOW)], ids=str)
def test_first_start(state: ListState) -> None:
    """If nothing was sent before, a whole list without the task proves that there is none."""
    assert verdict(state, sent_at=None) is Verdict.ABSENT


@pytest.mark.parametrize(
    ("state", "waited", "known"),
    [
        pytest.param(ListState(NOW, NOW), 0.0, False, id="just sent"),
        pytest.param(ListState(NOW + 130, NOW + 100), 0.0, False, id="a newer record, but A2E may still accept it"),
        pytest.param(ListState(NOW + 200, NOW + ACCEPT + SERVER_SKEW), 0.0, False, id="a record of the last moment"),
        pytest.param(ListState(NOW + 200, NOW + ACCEPT + SERVER_SKEW + 1), 0.0, True, id="a record that is newer"),
        pytest.param(ListState(NOW + SETTLE + SERVER_SKEW - 1, NOW), 0.0, False, id="no newer record, almost late"),
        pytest.param(ListState(NOW + SETTLE + SERVER_SKEW, NOW), 0.0, True, id="no newer record, late enough"),
        pytest.param(ListState(newest=NOW + 3600), SETTLE - 1, False, id="a newer record, by an unknown clock"),
        pytest.param(ListState(), SETTLE - 1, False, id="no clock, waited almost long enough"),
        pytest.param(ListState(), SETTLE, True, id="no clock, waited long enough"),
        pytest.param(ListState(NOW - 3600, -math.inf), 0.0, False, id="sent in the future"),
        pytest.param(ListState(NOW - 3600, NOW - 3600), SETTLE - 1, False, id="sent in the future, waited almost"),
        pytest.param(ListState(NOW - 3600, NOW - 3600), SETTLE, True, id="sent in the future, waited the whole time"),
    ],
)
def test_earlier_start(state: ListState, *, waited: float, known: bool) -> None:
    """A start is absent if the list is newer than its acceptance, or if A2E has had time to accept and to list it."""
    assert verdict(state, waited=waited) is (Verdict.ABSENT if known else Verdict.UNKNOWN)


def test_start_of_unknown_time() -> None:
    """If it is unknown when a start was sent, only waiting helps."""
    assert verdict(ListState(NOW, NOW), sent_at=math.inf) is Verdict.UNKNOWN
    assert verdict(ListState(NOW, NOW), sent_at=math.inf, waited=SETTLE) is Verdict.ABSENT


def test_larger_age_counts() -> None:
    """Of two ages that cannot be too large, the larger one counts."""
    state = ListState(read_at=NOW + 100.0 + SERVER_SKEW)
    assert certain_age(state, NOW, 30.0) == 100.0
    assert certain_age(state, NOW, 130.0) == 130.0


@given(
    sent=st.floats(0, 1000),
    accepted_after=st.floats(0, ACCEPT),
    lag=st.floats(0, SETTLE - ACCEPT),
    others=st.lists(st.floats(0, 5000), max_size=6),
    read=st.floats(0, 5000),
    waited=st.floats(0, 5000),
    date=st.floats(-1.0, 1.0),
    clock=st.floats(0, 5000),
    skew=st.sampled_from([-30.0, 0.0, 30.0]),
)
def test_no_accepted_start_is_ever_absent(
    *,
    sent: float,
    accepted_after: float,
    lag: float,
    others: list[float],
    read: float,
    waited: float,
    date: float,
    clock: float,
    skew: float,
) -> None:
    """Whenever the list is read, an accepted start is listed or not yet known: it is never called absent."""
    accepted = sent + accepted_after
    read = max(read, sent)
    if accepted + lag <= read:
        return  # it is listed
    listed = [other + skew for other in others if other + lag <= read]  # the clock of another machine of A2E
    state = ListState(read_at=read + date * SERVER_SKEW / 2, newest=max(listed, default=-math.inf))
    # `sent_at` may be too late by any amount, and the clock of this machine may count too little
    known = judge(
        state,
        found=False,
        sent_at=sent + SERVER_SKEW / 2 + clock,
        waited=min(waited, read - sent),
        accept_time=ACCEPT,
        settle_time=SETTLE,
    )
    assert known is Verdict.UNKNOWN


# the end of a page


def created(*times: str | None) -> list[dict[str, Any]]:
    """Return records with these creation times; None for a record without one."""
    return [{"_id": str(number)} | ({} if time is None else {"createdAt": time}) for number, time in enumerate(times)]


_SINCE = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(created("2026-08-01T12:05:00Z", "2026-08-01T11:59:59Z"), id="newest first"),
        pytest.param(created("2026-08-01T11:00:00Z", "2026-08-01T10:00:00Z"), id="all of them older"),
        pytest.param(created("2026-08-01T11:00:00Z"), id="one"),
        pytest.param(created("2026-08-01T11:00:00Z", "2026-08-01T11:00:00Z"), id="at one time"),
        pytest.param(created("2026-08-01T14:05:00+02:00", "2026-08-01T11:59:59"), id="in several time zones"),
    ],
)
def test_page_that_ends_in_the_past(records: list[dict[str, Any]]) -> None:
    """After a page that is sorted newest first and ends before the cutoff, no page is needed."""
    assert ends_before(records, _SINCE)


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([], id="empty"),
        pytest.param(created("2026-08-01T12:05:00Z", "2026-08-01T12:01:00Z"), id="all of them newer"),
        pytest.param(created("2026-08-01T12:00:00Z"), id="exactly the cutoff"),
        pytest.param(created("2026-08-01T11:00:00Z", "2026-08-01T12:05:00Z"), id="oldest first"),
        pytest.param(created("2026-08-01T12:05:00Z", "2026-08-01T10:00:00Z", "2026-08-01T11:00:00Z"), id="mixed"),
        pytest.param(created("2026-08-01T12:05:00Z", None, "2026-08-01T11:00:00Z"), id="one without a time"),
        pytest.param(created(None, None), id="without times"),
        pytest.param(created("2026-08-01T12:05:00Z", "yesterday"), id="one that cannot be read"),
        pytest.param(created("2026-08-01T12:05:00Z", ""), id="one that is empty"),
    ],
)
def test_page_that_does_not_end_the_scan(records: list[dict[str, Any]]) -> None:
    """A page in another order, without times, or with new records only does not end the scan."""
    assert not ends_before(records, _SINCE)


def test_no_page_ends_before_no_cutoff() -> None:
    """Without a cutoff every page is read."""
    assert not ends_before(created("1970-01-01T00:00:00Z"), -math.inf)


# one reading of the list


def iso(time: float) -> str:
    """Return a time as A2E writes it."""
    return dt.datetime.fromtimestamp(time, dt.UTC).isoformat().replace("+00:00", "Z")


def rows(count: int, first: int = 0, newest: float = NOW) -> list[dict[str, Any]]:
    """Return rows of a page, one second apart, the newest first."""
    return [{"_id": str(number), "createdAt": iso(newest - number)} for number in range(first, first + count)]


def page(data: object, date: float | None = NOW, headers: dict[str, str] | None = None) -> Envelope:
    """Return a page with the time of A2E's clock."""
    shown = {} if date is None else {"date": format_datetime(dt.datetime.fromtimestamp(date, dt.UTC), usegmt=True)}
    return Envelope(data=data, headers=shown | (headers or {}))


def read(*pages: Envelope, size: int = 10, **options: Any) -> ListReading:
    """Read pages, all of which have to be needed."""
    reading = ListReading(PageReader("/api/v1/x", size, thorough=True), **options)
    for one in pages:
        assert not reading.ended
        reading.next_request()
        reading.read(one)
    return reading


def test_whole_list() -> None:
    """A list that shows as many records as it counts was read whole, and tells how new it is."""
    reading = read(page({"rows": rows(10), "count": 12}), page({"rows": rows(2, 10), "count": 12}, NOW + 5))
    assert reading.ended
    assert reading.problem == ""
    assert reading.state == ListState(read_at=NOW, newest=NOW)


def test_empty_list() -> None:
    """An empty list that counts nothing was read whole."""
    reading = read(page({"rows": [], "count": 0}))
    assert (reading.ended, reading.problem) == (True, "")
    assert reading.state == ListState(read_at=NOW)


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([page({"rows": [], "count": 1})], id="empty, counts 1"),
        pytest.param([page({"data": [], "total": 1, "success": True})], id="empty, total 1"),
        pytest.param([page({"rows": rows(10), "count": 25}), page({"rows": [], "count": 25})], id="second is empty"),
        pytest.param(
            [page({"rows": rows(5, first), "count": 25}) for first in (0, 10, 20)] + [page({"rows": [], "count": 25})],
            id="every page is half",
        ),
        pytest.param([page({"rows": [*rows(2), {"name": "Ada"}], "count": 2})], id="a row without an id"),
        pytest.param([page({"rows": [*rows(2), None], "count": 2})], id="a row that is null"),
        pytest.param([page({"rows": rows(10), "count": 12}), page({"rows": rows(1, 10), "count": 11})], id="shrinks"),
        pytest.param([page(rows(10)), page(rows(2, 10)), page([])], id="several pages without a total"),
        pytest.param([page({"rows": [], "count": 0}, headers={"age": "300"})], id="Age"),
        pytest.param([page({"rows": [], "count": 0}, headers={"x-cache": "HIT"})], id="a hit of a cache"),
        pytest.param([page({"rows": rows(10), "count": 11}), page({"rows": rows(1, 10), "count": 11}, headers={"age": "1"})], id="Age of a later page"),
    ],
)  # fmt: skip
def test_list_that_is_not_what_it_seems(pages: list[Envelope]) -> None:
    """A list with gaps, or of another time, was not read whole."""
    reading = read(*pages)
    assert reading.ended
    assert reading.problem


@pytest.mark.parametrize(("date", "is_old"), [(NOW - 300, True), (NOW - SERVER_SKEW - 1, True), (NOW - 59, False)])
def test_page_of_a_time_before_the_request(date: float, is_old: bool) -> None:  # noqa: FBT001  a column of the table
    """A page that A2E made before it was asked for comes from a cache, also without a header that says so."""
    reading = read(page({"rows": [], "count": 0}, date), made_after=NOW)
    assert bool(reading.problem) is is_old


def test_smaller_pages_than_asked_for() -> None:
    """Pages that are all small are read to the end, with a total and without one."""
    counted = read(*[page({"rows": rows(5, first), "count": 15}) for first in (0, 5, 10)])
    assert (counted.ended, counted.problem) == (True, "")
    first = read(*[page(rows(5, first)) for first in (0, 5, 10)], page([]))
    again = read(*[page(rows(5, first)) for first in (0, 5, 10)], page([]), earlier=frozenset(first.pages.ids))
    assert (again.ended, again.problem) == (True, "")


def test_records_that_were_added_meanwhile() -> None:
    """Records that are added during the reading are no gap, although the total grows."""
    reading = read(page({"rows": rows(10), "count": 12}), page({"rows": rows(4, 9), "count": 13}))
    assert (reading.ended, reading.problem) == (True, "")


def test_reading_ends_at_the_time_of_the_start() -> None:
    """A reading that needs only the newest records ends early, though not at once: A2E's clocks differ."""
    pages = [page({"rows": rows(40, first), "count": 1000}) for first in (0, 40)]
    reading = read(*pages, size=40, since=NOW - 10)
    assert (reading.ended, reading.problem) == (True, "")


def test_short_page_does_not_end_a_reading_early() -> None:
    """A page that lacks rows may lack the wanted one, so that the reading goes on to the end, where the total tells."""
    short = page({"rows": [*rows(3), *rows(5, 900)], "count": 11})
    reading = read(short, page({"rows": rows(1, 1000), "count": 11}), page({"rows": [], "count": 11}), since=NOW - 10)
    assert reading.ended
    assert reading.problem


def test_second_reading_without_a_total() -> None:
    """Without a total, a second reading that shows all records again proves that none was skipped."""
    first = read(page(rows(10)), page(rows(2, 10)), page([]))
    assert first.problem
    again = read(page(rows(10)), page(rows(2, 10)), page([]), earlier=frozenset(first.pages.ids))
    assert (again.ended, again.problem) == (True, "")
    lacks_one = read(page(rows(10, 1)), page(rows(1, 11)), page([]), earlier=frozenset(first.pages.ids))
    assert lacks_one.problem


def test_second_reading_goes_as_far_back_as_the_first() -> None:
    """New records move old ones to a page that the second reading would not need: it reads that page as well."""
    first = read(page(rows(40)), page(rows(40, 40)), size=40, since=NOW - 10)
    assert (first.ended, bool(first.problem)) == (True, True)
    new = [{"_id": f"new {number}", "createdAt": iso(NOW + 5)} for number in range(5)]
    pages = [page([*new, *rows(35)]), page(rows(40, 35)), page(rows(40, 75))]
    again = read(*pages, size=40, since=NOW - 10, earlier=frozenset(first.pages.ids))
    assert (again.ended, again.problem) == (True, "")


@pytest.mark.parametrize("date", [NOW, None])
def test_time_of_a_list(date: float | None) -> None:
    """The newest record counts, in any order, unless its time is in the future of A2E's clock."""
    shown = [*rows(2, 30), *rows(1, 5), {"_id": "x"}, {"_id": "f", "createdAt": iso(NOW + 3600)}]
    reading = read(page({"rows": shown, "count": 5}, date))
    newest = NOW + 3600 if date is None else NOW - 5
    assert reading.state == ListState(-math.inf if date is None else NOW, newest)


# any list


@attrs.define
class ChangingList:
    """A2E's list of numbers, newest first, while other clients add and delete records, and while its database fails."""

    records: list[int]
    wanted: int
    counted: bool
    next_id: int = 1000

    def change(self, change: str, where: int) -> None:
        """Let another client add or delete a record."""
        if change == "add":
            self.records.insert(0, self.next_id)
            self.next_id += 1
        elif change == "delete" and self.records:
            other = self.records[where % len(self.records)]
            if other != self.wanted:
                self.records.remove(other)

    def page(self, number: int, size: int, lost: set[int]) -> Envelope:
        """Return a page, without the rows that the database did not find in time."""
        shown = self.records[(number - 1) * size : number * size]
        found = [{"_id": str(record), "createdAt": iso(NOW + record)} for record in shown if record not in lost]
        return page({"rows": found, "count": len(self.records)} if self.counted else found, None)


changes = st.tuples(st.sampled_from(["", "", "", "add", "delete"]), st.integers(0, 30))


@given(data=st.data(), count=st.integers(1, 25), size=st.integers(2, 5), counted=st.booleans(), newest=st.booleans())
def test_wanted_record_is_never_missed(
    *, data: st.DataObject, count: int, size: int, counted: bool, newest: bool
) -> None:
    """If a reading has no problem, it has shown a record that was in the list all the time."""
    wanted = data.draw(st.integers(0, count - 1))
    a2e = ChangingList(list(range(count))[::-1], wanted, counted)
    since = NOW + wanted if newest else -math.inf
    earlier: frozenset[str] = frozenset()
    for _ in range(3):
        # without a total, lost rows cannot be told from a shorter list
        lost = set(data.draw(st.lists(st.integers(0, count - 1), max_size=3))) if counted else set()
        reading = ListReading(PageReader("/x", size, thorough=True), since, earlier=earlier)
        while not reading.ended:
            a2e.change(*data.draw(changes))
            params = reading.next_request().params or {}
            reading.read(a2e.page(int(params["pageNum"]), size, lost))
        if not reading.problem:
            assert str(wanted) in reading.pages.ids
            return
        earlier = frozenset() if counted else frozenset(reading.pages.ids)


@given(count=st.integers(0, 40), size=st.integers(1, 9), counted=st.booleans())
def test_quiet_list_has_no_problem(*, count: int, size: int, counted: bool) -> None:
    """A list that does not change is read whole, at the latest in the second reading."""
    a2e = ChangingList(list(range(count))[::-1], -1, counted)
    earlier: frozenset[str] = frozenset()
    problems = []
    for _ in range(2):
        reading = ListReading(PageReader("/x", size, thorough=True), earlier=earlier)
        while not reading.ended:
            reading.read(a2e.page(int((reading.next_request().params or {})["pageNum"]), size, set()))
        problems.append(reading.problem)
        earlier = frozenset(reading.pages.ids)
    assert problems[1] == ""
    assert not counted or problems[0] == ""
