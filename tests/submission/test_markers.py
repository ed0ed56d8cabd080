"""The outcome of a start (not sent, rejected or unknown), and the rules by which its task is identified."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async import errors
from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._protocol.messages import Response
from a2e_async._protocol.responses import decode
from a2e_async._submission.markers import (
    MarkerIndex,
    Search,
    keep_marker,
    make_marker,
    mark_name,
    marker_for_key,
    markers_for,
)
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BudgetError,
    BusyError,
    ClientClosedError,
    ClusterError,
    ConfigurationError,
    ContentRejectedError,
    EndpointNotAvailableError,
    InsufficientCreditsError,
    InvalidRequestError,
    JournalError,
    KeyStoreError,
    MissingExtraError,
    NetworkError,
    NotFoundError,
    OutageError,
    PlanError,
    RateLimitError,
    ServerError,
    SubmissionUncertainError,
    TaskError,
    TaskFailedError,
    TaskNotFinishedError,
    TaskNotFoundError,
    TransferError,
    UnexpectedResponseError,
    WaitError,
    WaitTimeoutError,
)

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_M = "7f3k2m9q4d"
_OTHER = "0000000000"
_NOW = 5.0

# whether a start was accepted

_REJECTIONS: tuple[type[APIError], ...] = (
    APIError,
    BadRequestError,
    AuthenticationError,
    PlanError,
    InsufficientCreditsError,
    ContentRejectedError,
    NotFoundError,
    TaskNotFoundError,
)
_THROTTLED: tuple[type[APIError], ...] = (RateLimitError, BusyError)
_TASK_ERRORS: tuple[type[A2EError], ...] = (
    TaskError,
    TaskFailedError,
    TaskNotFinishedError,
    WaitError,
    WaitTimeoutError,
    OutageError,
)
_LOCAL_ERRORS: tuple[type[A2EError], ...] = (
    BudgetError,
    ClusterError,
    ConfigurationError,
    KeyStoreError,
    InvalidRequestError,
    ClientClosedError,
    MissingExtraError,
    TransferError,
)
_CASES: list[tuple[A2EError, StartOutcome, bool]] = [
    (NetworkError("refused", request_sent=False), StartOutcome.NOT_SENT, True),
    (NetworkError("cut"), StartOutcome.UNKNOWN, False),
    *((error("here"), StartOutcome.NOT_SENT, False) for error in _LOCAL_ERRORS),
    *(
        (error("no", status=status), StartOutcome.REJECTED, False)
        for error in _REJECTIONS
        for status in (200, 400, 403, 451)
    ),
    *(
        (error("no", status=status), StartOutcome.UNKNOWN, False)
        for error in _REJECTIONS
        for status in (408, 421, 425, 499, 500, 502, 599)
    ),
    *(
        (error("later", status=status), StartOutcome.REJECTED, True)
        for error in _THROTTLED
        for status in (200, 400, 429)
    ),
    *(
        (error("later", status=status), StartOutcome.UNKNOWN, False)
        for error in _THROTTLED
        for status in (408, 500, 503)
    ),
    *(
        (ServerError("down", status=status), StartOutcome.UNKNOWN, False)
        for status in (200, 400, 408, 500, 502, 503, 504)
    ),
    (ServerError("down", status=503, retry_after=1.0), StartOutcome.UNKNOWN, False),
    *(
        (UnexpectedResponseError("odd", status=status), StartOutcome.UNKNOWN, False)
        for status in (0, 200, 202, 302, 400, 404, 502)
    ),
    (SubmissionUncertainError("?", marker=_M), StartOutcome.UNKNOWN, False),
    *((error("paid", task_id="t1"), StartOutcome.UNKNOWN, False) for error in _TASK_ERRORS),
    (JournalError("the disk is full"), StartOutcome.UNKNOWN, False),
    (EndpointNotAvailableError("no such path"), StartOutcome.UNKNOWN, False),
    (A2EError("?"), StartOutcome.UNKNOWN, False),
]


def case_id(case: object) -> str:
    """Return the id of a row of the table."""
    if isinstance(case, NetworkError):
        return f"NetworkError-{'' if case.request_sent else 'not '}sent"
    return f"{type(case).__name__}-{getattr(case, 'status', '')}" if isinstance(case, A2EError) else ""


def test_table_is_complete() -> None:
    """The table has a row for every public exception."""
    names = {name for name in errors.__all__ if not name.endswith("Warning")}
    assert {type(error).__name__ for error, _, _ in _CASES} == names


@pytest.mark.parametrize(("error", "known"), [case[:2] for case in _CASES], ids=case_id)
def test_outcome(error: A2EError, known: StartOutcome) -> None:
    """Only an error that proves that the start was not accepted counts as not sent or rejected."""
    assert failure_of(error).outcome is known


@pytest.mark.parametrize(("error", "again"), [(case[0], case[2]) for case in _CASES], ids=case_id)
def test_may_send_again(error: A2EError, again: bool) -> None:  # noqa: FBT001  a column of the table
    """A paid request is sent again only if it was not sent, or if A2E was busy or rate-limited it."""
    assert failure_of(error).may_send_again is again


class _NewError(A2EError):
    """Error class that the package does not know."""


class _NewLocalError(InvalidRequestError):
    """Subclass of an error that is raised before a request."""


def test_new_error_class_means_unknown() -> None:
    """A new class of error means an unknown outcome."""
    assert failure_of(_NewError("?")).outcome is StartOutcome.UNKNOWN
    assert not failure_of(_NewError("?")).may_send_again


def test_subclass_of_a_local_error_means_not_sent() -> None:
    """A subclass of a local error means that nothing was sent."""
    assert failure_of(_NewLocalError("?")).outcome is StartOutcome.NOT_SENT


def error_of(status: int, body: bytes, **headers: str) -> A2EError:
    """Return the error that a response raises."""
    with pytest.raises(A2EError) as caught:
        decode(Response(status=status, body=body, headers=headers))
    return caught.value


_ERROR_BODIES = [
    pytest.param({"code": 17, "msg": "no"}, id="E1"),
    pytest.param({"code": -1, "message": "Request failed"}, id="E2"),
    pytest.param({"success": False, "error": "no", "code": "E_X"}, id="E3"),
    pytest.param({"msg": "Bad", "errors": [{"path": "name", "msg": "is required"}]}, id="E4"),
    pytest.param({"code": 17, "data": {"failed_message": "no face"}}, id="E5"),
    pytest.param({"code": 1001, "msg": "hosts are occupied"}, id="busy"),
    pytest.param({"code": 1003, "msg": "a minor"}, id="moderation"),
    pytest.param({"code": 429, "msg": "too many requests"}, id="too many"),
]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 429, 451])
@pytest.mark.parametrize("body", _ERROR_BODIES)
def test_decoded_4xx_is_a_rejection(status: int, body: dict[str, Any]) -> None:
    """An error of A2E (E1 to E5) with a 4xx status means that nothing was accepted."""
    assert failure_of(error_of(status, json.dumps(body).encode())).outcome is StartOutcome.REJECTED


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 524, 599])
@pytest.mark.parametrize("body", _ERROR_BODIES)
def test_5xx_means_unknown(status: int, body: dict[str, Any]) -> None:
    """Behind a 5xx the start may have been accepted, with any body: it is not sent again."""
    error = error_of(status, json.dumps(body).encode(), **{"retry-after": "1"})
    assert failure_of(error).outcome is StartOutcome.UNKNOWN
    assert not failure_of(error).may_send_again


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code":-1,"message":"Request failed"}', b"Request Timeout"])
def test_408_means_unknown(body: bytes) -> None:
    """Behind a 408 of a gateway the start may have been accepted."""
    error = error_of(408, body, **{"retry-after": "1"})
    assert failure_of(error).outcome is StartOutcome.UNKNOWN
    assert not failure_of(error).may_send_again


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(200, b"<html>", id="page"),
        pytest.param(200, b'{"code":0,"data":{"_id":"a"', id="cut"),
        pytest.param(200, b"OK", id="text"),
        pytest.param(200, b'{"code":200,"data":{"_id":"a"}}', id="code 200"),
        pytest.param(200, b'{"code":500,"msg":"boom"}', id="inner 500"),
        pytest.param(302, b"", id="redirect"),
        pytest.param(404, b"<html>", id="page of a wrong route"),
        pytest.param(502, b"<html>", id="page of a gateway"),
        pytest.param(503, b"", id="empty response of a gateway"),
    ],
)
def test_unreadable_response_means_unknown(status: int, body: bytes) -> None:
    """A response that is not A2E's, or is incomplete, means an unknown outcome."""
    error = error_of(status, body)
    assert failure_of(error).outcome is StartOutcome.UNKNOWN
    assert not failure_of(error).may_send_again


# markers


def test_marker_of_a_key_never_changes() -> None:
    """A job that an earlier version of this package has started is found by its key."""
    assert marker_for_key("order-17") == "j9e3tbxgvy"


@pytest.mark.parametrize("key", ["order-17", "", "ä", "\U0001f3ac", "x" * 10_000], ids=lambda key: ascii(key[:9]))
def test_marker_of_a_key_is_its_hash(key: str) -> None:
    """A marker has 50 bits of the key's SHA-256, five of each of its first ten bytes."""
    digest = hashlib.sha256(key.encode()).digest()
    assert marker_for_key(key) == "".join(_CROCKFORD[byte % 32] for byte in digest[:10])


@given(st.binary(min_size=10, max_size=10))
def test_marker_has_ten_clear_digits(noise: bytes) -> None:
    """Any ten bytes make ten digits without i, l, o and u."""
    marker = make_marker(noise)
    assert len(marker) == 10
    assert set(marker) <= set(_CROCKFORD)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_markers_keep_their_bits(one: bytes, other: bytes) -> None:
    """Two markers are equal only if the lower five bits of all bytes are equal."""
    same = [byte % 32 for byte in one] == [byte % 32 for byte in other]
    assert (make_marker(one) == make_marker(other)) is same


def test_digits_are_equally_likely() -> None:
    """All 256 bytes together make every digit eight times."""
    digits = make_marker(bytes(range(256)))
    assert {digit: digits.count(digit) for digit in digits} == dict.fromkeys(_CROCKFORD, 8)


@pytest.mark.parametrize("key", ["order-17 ", "Order-17", "order-18", "order\u201117"], ids=ascii)
def test_other_keys_have_other_markers(key: str) -> None:
    """Keys are distinguished by every character, with white space and case."""
    assert marker_for_key(key) != marker_for_key("order-17")


# names


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("Ada", f"Ada [a2e:{_M}]"),
        ("Ada ", f"Ada  [a2e:{_M}]"),
        (f"Ada [a2e:{_OTHER}]", f"Ada [a2e:{_M}]"),
        (f"Ada [a2e:{_OTHER}*3]", f"Ada [a2e:{_M}]"),
        (f"Ada [a2e:{_OTHER}] [a2e:{_OTHER}]", f"Ada [a2e:{_M}]"),
        (f"[a2e:{_OTHER}] Ada", f"Ada [a2e:{_M}]"),
        (f"Ada [a2e:{_M}]", f"Ada [a2e:{_M}]"),
        (f"[a2e:{_OTHER}]", f"again [a2e:{_M}]"),
        (f" [a2e:{_OTHER}] [a2e:{_OTHER}*8] ", f"again [a2e:{_M}]"),
        (f"[a2[a2e:{_OTHER}]e:{_OTHER}]", f"again [a2e:{_M}]"),
        (f"Ada [a2[a2e:{_OTHER}]e:{_OTHER}]", f"Ada [a2e:{_M}]"),
        (f"A[a2e:{_OTHER}]da", f"Ada [a2e:{_M}]"),
        ("Ada [a2e:short]", f"Ada [a2e:short] [a2e:{_M}]"),
        ("Ada [A2E:0000000000]", f"Ada [A2E:0000000000] [a2e:{_M}]"),
        (f"Ada [a2e:{_OTHER}*1]", f"Ada [a2e:{_OTHER}*1] [a2e:{_M}]"),
    ],
)
def test_marked_name(name: str, sent: str) -> None:
    """A name ends with its own marker, without markers of earlier tasks."""
    assert mark_name(name, _M) == sent


@given(st.lists(st.sampled_from([f"[a2e:{_OTHER}]", f"[a2e:{_M}*2]", " ", "\n"]), max_size=4).map("".join))
def test_name_of_markers_only(name: str) -> None:
    """A name that consists of markers only gets a readable name."""
    if name.strip():
        assert mark_name(name, _M) == f"again [a2e:{_M}]"


@pytest.mark.parametrize("count", range(2, 9))
def test_name_of_several_videos(count: int) -> None:
    """The videos of one start share a name that holds their number."""
    assert mark_name("Ada", _M, count) == f"Ada [a2e:{_M}*{count}]"


def test_name_does_not_grow() -> None:
    """A name that is reused for many starts does not grow."""
    name = "Ada"
    for number in range(50):
        name = mark_name(name, marker_for_key(str(number)), 1 + number % 8)
    assert len(name) <= len(f"Ada [a2e:{_M}*8]")


_NAME_PARTS = st.sampled_from(["Ada", " ", "[a2e:", "[a2", "e:", _OTHER, "*3", "]", f"[a2e:{_OTHER}]", f"[a2e:{_M}*2]"])
names = st.text(max_size=20) | st.lists(_NAME_PARTS, max_size=6).map("".join)


@given(names, st.binary(min_size=10, max_size=10).map(make_marker), st.integers(1, 8))
def test_any_name_has_only_its_own_marker(name: str, marker: str, count: int) -> None:
    """With any name, a task is found by its own marker, and by no other."""
    index = MarkerIndex()
    index.add_record({"_id": "t1", "name": mark_name(name, marker, count)}, _NOW)
    assert found(index, marker) == ["t1"]
    assert marker == _OTHER or found(index, _OTHER) == []


def test_name_with_a_marker_inside_a_marker() -> None:
    """A name in which the removal of one marker leaves another one has only its own marker too."""
    index = MarkerIndex()
    index.add_record({"_id": "t1", "name": mark_name(f"Ada [a2[a2e:{_OTHER}]e:{_OTHER}]", _M)}, _NOW)
    assert (found(index, _M), found(index, _OTHER)) == (["t1"], [])


def found(index: MarkerIndex, *markers: str) -> list[str]:
    """Return the ids in an index with any of these markers."""
    search = Search(frozenset(markers))
    index.open(search)
    index.close(search)
    return list(search.found)


# searches


@pytest.mark.parametrize(
    ("text", "markers"),
    [
        pytest.param("order-17", {"j9e3tbxgvy"}, id="key"),
        pytest.param(" order-17", {marker_for_key(" order-17")}, id="key with a space"),
        pytest.param(f"Ada [a2e:{_M}]", {_M}, id="whole name"),
        pytest.param(f"Ada [a2e:{_M}*3]", {_M}, id="whole name of one of three"),
        pytest.param(f"[a2e:{_M}]", {_M}, id="marker of a name"),
        pytest.param(_M, {_M, marker_for_key(_M)}, id="ten digits: marker or key"),
        pytest.param(_M.upper(), {_M, marker_for_key(_M.upper())}, id="ten digits in capitals"),
        pytest.param(f" {_M}\n", {_M, marker_for_key(f" {_M}\n")}, id="ten digits with white space"),
        pytest.param("1234567890", {"1234567890", marker_for_key("1234567890")}, id="order number"),
        pytest.param(_M + "0", {marker_for_key(_M + "0")}, id="eleven digits"),
        pytest.param(_M[:-1], {marker_for_key(_M[:-1])}, id="nine digits"),
        pytest.param("7f3k2m9q4i", {marker_for_key("7f3k2m9q4i")}, id="an invalid digit"),
        pytest.param("Ada [a2e:short]", {marker_for_key("Ada [a2e:short]")}, id="a name without a marker"),
    ],
)
def test_markers_of_a_search(text: str, markers: set[str]) -> None:
    """A marker, a name that ends with one, and a key give the markers to search for."""
    assert markers_for(text) == markers


@pytest.mark.parametrize("text", ["", " ", "\n", None, 17, b"order-17", "a\ud800"], ids=ascii)
def test_invalid_search(text: Any) -> None:
    """A value that is neither a marker nor a key is rejected."""
    with pytest.raises(InvalidRequestError, match="marker_or_key"):
        markers_for(text)


@given(st.text(min_size=1, max_size=20).filter(str.strip))
def test_any_key_is_found_by_itself(key: str) -> None:
    """A search for any key finds its task, unless the key is a marked name itself."""
    if not re.search(r"\[a2e:", key) and key.isprintable():
        assert marker_for_key(key) in markers_for(key)


@given(names, st.binary(min_size=10, max_size=10).map(make_marker))
def test_any_sent_name_is_found_by_itself(name: str, marker: str) -> None:
    """A search for any sent name finds its task."""
    assert marker in markers_for(mark_name(name, marker))


# the index


def record(task_id: str, marker: str = _M, second: int | None = 0, count: int = 1) -> dict[str, Any]:
    """Return a record with a marked name, created at a second of one minute."""
    time = {} if second is None else {"createdAt": f"2026-08-01T12:00:{second:02}Z"}
    return {"_id": task_id, "name": mark_name("Ada", marker, count), **time}


def opened(index: MarkerIndex, *markers: str, since: float = -math.inf) -> Search:
    """Return an open search."""
    search = Search(frozenset(markers), since)
    index.open(search)
    return search


def test_new_index_is_empty() -> None:
    """A new index finds nothing, and has not been scanned."""
    index = MarkerIndex()
    assert found(index, _M) == []
    assert index.complete_since == -math.inf


def test_search_finds_a_task_that_is_listed_later() -> None:
    """A task that is listed during a search is found, with its record."""
    index = MarkerIndex()
    search = opened(index, _M)
    index.add_record(record("t1"), _NOW)
    assert search.found == {"t1": record("t1")}


def test_search_finds_a_task_that_was_listed_before() -> None:
    """A task that was listed before a search is found by its id; the index keeps no records."""
    index = MarkerIndex()
    index.add_record(record("t1"), _NOW)
    assert opened(index, _M).found == {"t1": None}


def test_record_of_an_indexed_task() -> None:
    """An indexed task that is listed again during the search gets its record."""
    index = MarkerIndex()
    index.add_record(record("t1"), _NOW)
    search = opened(index, _M)
    index.add_record(record("t1"), _NOW)
    assert search.found == {"t1": record("t1")}


def test_latest_record_counts() -> None:
    """Of two records of one task, the later one is kept."""
    index = MarkerIndex()
    search = opened(index, _M)
    index.add_record(record("t1"), _NOW)
    index.add_record({**record("t1"), "current_status": "completed"}, _NOW)
    assert search.found == {"t1": {**record("t1"), "current_status": "completed"}}


@pytest.mark.parametrize(
    "other",
    [
        {"_id": "t1", "name": mark_name("Ada", _OTHER)},
        {"_id": "t1", "name": "Ada"},
        {"_id": "t1", "name": _M},
        {"_id": "t1", "name": f"[a2e:{_M}"},
        {"_id": "t1", "name": f"[a2e:{_M}*1]"},
        {"_id": "t1", "name": f"[a2e:{_M}*0]"},
        {"_id": "t1", "name": f"[a2e:{_M.upper()}]"},
        {"_id": "t1", "name": None},
        {"_id": "t1", "name": 7},
        {"_id": "t1", "name": [mark_name("Ada", _M)]},
        {"_id": "t1", "prompt": mark_name("Ada", _M)},
        {"_id": "t1"},
    ],
    ids=str,
)
def test_other_task_is_not_found(other: dict[str, Any]) -> None:
    """A task is found only if its name has the marker in exactly the format of this package."""
    index = MarkerIndex()
    search = opened(index, _M)
    assert index.add_record(other, _NOW) == ()
    assert search.found == {}


def test_several_searches_for_one_marker() -> None:
    """All searches for one marker find its task."""
    index = MarkerIndex()
    searches = [opened(index, _M), opened(index, _M), opened(index, _OTHER)]
    index.add_record(record("t1"), _NOW)
    assert [list(search.found) for search in searches] == [["t1"], ["t1"], []]


def test_search_for_several_markers() -> None:
    """A search for two markers finds the tasks of both."""
    index = MarkerIndex()
    search = opened(index, _M, _OTHER)
    index.add_record(record("t1"), _NOW)
    index.add_record(record("t2", _OTHER, 1), _NOW)
    assert set(search.found) == {"t1", "t2"}


def test_end_of_a_search() -> None:
    """A record that is listed after the end of a search does not change its result."""
    index = MarkerIndex()
    search = opened(index, _M)
    index.close(search)
    index.add_record(record("t1"), _NOW)
    assert search.found == {}


def test_end_of_one_of_two_searches() -> None:
    """The end of one search does not end another one for the same marker."""
    index = MarkerIndex()
    first, second = opened(index, _M), opened(index, _M)
    index.close(first)
    index.add_record(record("t1"), _NOW)
    assert (list(first.found), list(second.found)) == ([], ["t1"])


def test_no_search() -> None:
    """Without a search, nothing has to be read."""
    assert MarkerIndex().earliest() == math.inf


def test_earliest_search_decides() -> None:
    """The list is read as far back as the earliest search needs."""
    index = MarkerIndex()
    searches = [
        opened(index, _M, since=5.0),
        opened(index, _M, _OTHER, since=3.0),
        opened(index, _OTHER, since=9.0),
    ]
    assert index.earliest() == 3.0
    index.close(searches[1])
    assert index.earliest() == 5.0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_oldest_first(order: tuple[int, ...]) -> None:
    """The oldest task with a marker is the first one, in any order of the list."""
    index = MarkerIndex()
    search = opened(index, _M)
    for second in order:
        index.add_record(record(f"t{second}", second=second), _NOW)
    assert list(search.found) == ["t0", "t1", "t2"]


def test_oldest_first_of_indexed_tasks() -> None:
    """Indexed tasks are returned oldest first, although A2E lists the newest first."""
    index = MarkerIndex()
    for second in (2, 1, 0):
        index.add_record(record(f"t{second}", second=second), _NOW)
    assert list(opened(index, _M).found) == ["t0", "t1", "t2"]


def test_oldest_first_of_several_markers() -> None:
    """The oldest task is the first one also with several markers."""
    index = MarkerIndex()
    search = opened(index, _M, _OTHER)
    index.add_record(record("t0", second=0), _NOW)
    index.add_record(record("t1", _OTHER, second=1), _NOW)
    assert list(search.found) == ["t0", "t1"]


def test_oldest_first_of_indexed_tasks_of_several_markers() -> None:
    """Indexed tasks of several markers are returned oldest first, in any order of the markers."""
    index = MarkerIndex()
    for second, marker in ((3, _M), (2, _OTHER), (1, _M), (0, _OTHER)):
        index.add_record(record(f"t{second}", marker, second), _NOW)
    assert list(opened(index, _M, _OTHER).found) == ["t0", "t1", "t2", "t3"]


def test_opening_keeps_found_tasks() -> None:
    """A search that already has tasks keeps them, sorted with the others by age."""
    index = MarkerIndex()
    index.add_record(record("t1", second=1), _NOW)
    index.add_record(record("t0", second=0), _NOW)
    search = Search(frozenset({_M}))
    search.found = {"t1": record("t1", second=1)}
    index.open(search)
    assert list(search.found) == ["t0", "t1"]


def test_task_without_a_time_comes_last() -> None:
    """A task without a creation time is not taken for the oldest."""
    index = MarkerIndex()
    search = opened(index, _M)
    index.add_record(record("t1", second=None), _NOW)
    index.add_record(record("t0", second=30), _NOW)
    assert list(search.found) == ["t0", "t1"]


def test_duplicate_is_reported() -> None:
    """A second task with the marker of a start of one is reported with both ids, the oldest first."""
    index = MarkerIndex()
    assert index.add_record(record("t1", second=1), _NOW) == ()
    assert index.add_record(record("t0", second=0), _NOW) == ("t0", "t1")


def test_duplicate_is_reported_once() -> None:
    """Duplicates that are listed again are not reported again."""
    index = MarkerIndex()
    index.add_record(record("t0"), _NOW)
    index.add_record(record("t1", second=1), _NOW)
    assert [index.add_record(record("t0"), _NOW), index.add_record(record("t1", second=1), _NOW)] == [(), ()]


def test_third_task_is_reported_too() -> None:
    """A third task is reported with all three ids."""
    index = MarkerIndex()
    index.add_record(record("t0"), _NOW)
    index.add_record(record("t1", second=1), _NOW)
    assert index.add_record(record("t2", second=2), _NOW) == ("t0", "t1", "t2")


def test_same_task_is_not_a_duplicate() -> None:
    """A task that is listed repeatedly is one task."""
    index = MarkerIndex()
    assert [index.add_record(record("t0"), _NOW) for _ in range(5)] == [()] * 5


def test_duplicate_is_reported_without_a_search() -> None:
    """Duplicates are reported although no search is open for their marker."""
    index = MarkerIndex()
    index.add_record(record("t0", _OTHER), _NOW)
    assert index.add_record(record("t1", _OTHER, 1), _NOW) == ("t0", "t1")


def test_tasks_of_different_markers_are_not_duplicates() -> None:
    """Tasks of two starts are not duplicates."""
    index = MarkerIndex()
    assert [index.add_record(record("t0"), _NOW), index.add_record(record("t1", _OTHER), _NOW)] == [(), ()]


@pytest.mark.parametrize("count", range(2, 9))
def test_videos_of_one_start_are_not_duplicates(count: int) -> None:
    """The tasks of one start for several are not duplicates; one more task is."""
    index = MarkerIndex()
    duplicates = [
        index.add_record(record(f"t{number}", second=number, count=count), _NOW) for number in range(count + 1)
    ]
    assert duplicates[:-1] == [()] * count
    assert duplicates[-1] == tuple(f"t{number}" for number in range(count + 1))


def test_numeric_id() -> None:
    """A task whose id is a number is found, with the id as text."""
    index = MarkerIndex()
    index.add_record({**record("?"), "_id": 42}, _NOW)
    assert found(index, _M) == ["42"]


def test_deleted_task_is_forgotten() -> None:
    """A deleted task is not found any more, so that its key can be used again."""
    index = MarkerIndex()
    index.add_record(record("t1"), _NOW)
    index.forget("t1")
    assert found(index, _M) == []


def test_others_are_not_forgotten() -> None:
    """The other task of a marker stays in the index."""
    index = MarkerIndex()
    index.add_record(record("t0"), _NOW)
    index.add_record(record("t1", second=1), _NOW)
    index.forget("t1")
    assert found(index, _M) == ["t0"]


def test_forgotten_task_is_not_a_duplicate() -> None:
    """A task that is started after the deletion of the first one is not a duplicate."""
    index = MarkerIndex()
    index.add_record(record("t0"), _NOW)
    index.forget("t0")
    assert index.add_record(record("t1", second=1), _NOW) == ()


@pytest.mark.parametrize("task_id", ["unknown", ""])
def test_forgetting_an_unknown_task(task_id: str) -> None:
    """Forgetting a task without a marker, or one that was never listed, changes nothing."""
    index = MarkerIndex()
    index.add_record(record("t0"), _NOW)
    index.forget(task_id)
    assert found(index, _M) == ["t0"]


def test_forgetting_twice() -> None:
    """A task can be forgotten twice."""
    index = MarkerIndex()
    index.add_record(record("t0"), _NOW)
    index.forget("t0")
    index.forget("t0")
    assert found(index, _M) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([_M, _OTHER])), max_size=12), st.integers(0, 12))
def test_every_search_finds_the_same(listed: list[tuple[int, str]], opened_after: int) -> None:
    """Searches that begin at different times find the same tasks in the end."""
    index, markers = MarkerIndex(), (_M, _OTHER)
    early = {marker: opened(index, marker) for marker in markers}
    late: dict[str, Search] = {}
    for number, (second, marker) in enumerate(listed):
        if number == opened_after:
            late = {each: opened(index, each) for each in markers}
        index.add_record(record(f"{marker}-{second}", marker, second), _NOW)
    for marker in markers:
        ids = sorted({f"{marker}-{second}" for second, each in listed if each == marker})
        assert list(early[marker].found) == ids
        assert not late or sorted(late[marker].found) == ids


def test_started_task_is_found_by_its_marker() -> None:
    """A task that was started with a marker is found by it, also if A2E's record has another name."""
    index = MarkerIndex()
    search = opened(index, _M)
    started = {"_id": "t1", "name": "Ada"}
    assert index.add(_M, started, 5.0) == ()
    assert search.found == {"t1": started}
    assert found(index, _M) == ["t1"]


def test_duplicate_of_a_started_task_is_reported() -> None:
    """A task that is listed in addition to the started one is a duplicate."""
    index = MarkerIndex()
    index.add(_M, record("t0"), 5.0)
    assert index.add_record(record("t1", second=1), 6.0) == ("t0", "t1")


@pytest.mark.parametrize("count", [2, 8])
def test_videos_that_were_started_together_are_not_duplicates(count: int) -> None:
    """The started tasks of one start for several are not duplicates; one more task is."""
    index = MarkerIndex()
    duplicates = [index.add(_M, record(f"t{number}", second=number), 5.0, count=count) for number in range(count + 1)]
    assert duplicates[:-1] == [()] * count
    assert len(duplicates[-1]) == count + 1


def test_last_seen_at() -> None:
    """The index knows when A2E last listed a task."""
    index = MarkerIndex()
    index.add_record(record("t1"), 5.0)
    index.add_record(record("t1"), 9.0)
    assert index.last_seen_at("t1") == 9.0


@pytest.mark.parametrize("name", ["Ada", None], ids=repr)
def test_task_that_was_never_seen(name: str | None) -> None:
    """A task without a marker, or one that was never listed, has no such time."""
    index = MarkerIndex()
    index.add_record({"_id": "t1", "name": name}, 5.0)
    assert (index.last_seen_at("t1"), index.last_seen_at("t2")) == (-math.inf, -math.inf)


def test_forgotten_task_was_never_seen() -> None:
    """The time of a forgotten task is removed."""
    index = MarkerIndex()
    index.add_record(record("t1"), 5.0)
    index.forget("t1")
    assert index.last_seen_at("t1") == -math.inf


def test_started_and_then_listed_is_one_task() -> None:
    """A started task that is listed later is not a duplicate, and its time is updated."""
    index = MarkerIndex()
    index.add(_M, record("t1"), 5.0)
    assert index.add_record(record("t1"), 9.0) == ()
    assert index.last_seen_at("t1") == 9.0


def test_started_task_is_found_by_its_marker_only() -> None:
    """A search for another marker does not find a started task."""
    index = MarkerIndex()
    search = opened(index, _OTHER)
    index.add(_M, record("t1"), 5.0)
    assert search.found == {}
    assert found(index, _OTHER) == []


def test_index_does_not_grow() -> None:
    """After all tasks are forgotten, the index is empty."""
    index, empty = MarkerIndex(), MarkerIndex()
    for number in range(10):
        index.add_record(record(f"t{number}", marker_for_key(str(number))), _NOW)
        index.add(_M, record(f"u{number}"), _NOW, count=8)
    for number in range(10):
        index.forget(f"t{number}")
        index.forget(f"u{number}")
    assert vars(index) == vars(empty)


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ("Ada", "Eva", "Eva"),
        ("Ada [a2e:7f3k2m9q4d]", "Eva", "Eva [a2e:7f3k2m9q4d]"),
        ("Ada [a2e:7f3k2m9q4d*3]", "Eva", "Eva [a2e:7f3k2m9q4d*3]"),
        ("Ada [a2e:7f3k2m9q4d]", "Eva [a2e:0000000000]", "Eva [a2e:7f3k2m9q4d]"),
    ],
)
def test_new_name_keeps_the_marker(old: str, new: str, kept: str) -> None:
    """A task that is renamed can still be found by its marker."""
    assert keep_marker(old, new) == kept
