"""A paid start: was it not sent, rejected, or is that unknown; and which task is ours."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async import errors
from a2e_async._protocol.decoding import decode
from a2e_async._protocol.failures import Outcome, may_send_again, outcome
from a2e_async._protocol.messages import Envelope, Response
from a2e_async._submission.markers import (
    Register,
    Search,
    horizon,
    is_past,
    mark,
    marker_of,
    marker_of_key,
    markers_asked,
)
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BudgetError,
    BusyError,
    ClientClosedError,
    ConfigurationError,
    ContentRejectedError,
    EndpointNotAvailableError,
    InsufficientCreditsError,
    InvalidRequestError,
    JournalError,
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

# whether it was accepted


_REFUSALS: tuple[type[APIError], ...] = (
    APIError,
    BadRequestError,
    AuthenticationError,
    PlanError,
    InsufficientCreditsError,
    ContentRejectedError,
    NotFoundError,
    TaskNotFoundError,
)
_TURNED_AWAY: tuple[type[APIError], ...] = (RateLimitError, BusyError)
_OF_TASKS: tuple[type[A2EError], ...] = (TaskError, TaskFailedError, WaitError, WaitTimeoutError, OutageError)
_OF_OURS: tuple[type[A2EError], ...] = (
    BudgetError,
    ConfigurationError,
    InvalidRequestError,
    ClientClosedError,
    MissingExtraError,
    TransferError,
)
_CASES: list[tuple[A2EError, Outcome, bool]] = [
    (NetworkError("refused", request_sent=False), Outcome.NOT_SENT, True),
    (NetworkError("cut"), Outcome.UNKNOWN, False),
    *((kind("here"), Outcome.NOT_SENT, False) for kind in _OF_OURS),
    *((kind("no", status=status), Outcome.REJECTED, False) for kind in _REFUSALS for status in (200, 400, 403, 499)),
    *((kind("no", status=status), Outcome.UNKNOWN, False) for kind in _REFUSALS for status in (408, 500, 502, 599)),
    *((kind("later", status=status), Outcome.REJECTED, True) for kind in _TURNED_AWAY for status in (200, 400, 429)),
    *((kind("later", status=status), Outcome.UNKNOWN, False) for kind in _TURNED_AWAY for status in (408, 500, 503)),
    *((ServerError("down", status=status), Outcome.UNKNOWN, False) for status in (200, 400, 408, 500, 502, 503, 504)),
    (ServerError("down", status=503, retry_after=1.0), Outcome.UNKNOWN, False),
    *(
        (UnexpectedResponseError("odd", status=status), Outcome.UNKNOWN, False)
        for status in (0, 200, 202, 302, 400, 404, 502)
    ),
    (SubmissionUncertainError("?", marker=_M), Outcome.UNKNOWN, False),
    *((kind("paid", task_id="t1"), Outcome.UNKNOWN, False) for kind in _OF_TASKS),
    (JournalError("the disk is full"), Outcome.UNKNOWN, False),
    (EndpointNotAvailableError("no such path"), Outcome.UNKNOWN, False),
    (A2EError("?"), Outcome.UNKNOWN, False),
]


def named(case: object) -> str:
    """Name a cell of the table."""
    if isinstance(case, NetworkError):
        return f"NetworkError-{'' if case.request_sent else 'not '}sent"
    return f"{type(case).__name__}-{getattr(case, 'status', '')}" if isinstance(case, A2EError) else ""


def test_table_is_complete() -> None:
    """The table below speaks of every exception that the package promises."""
    names = {name for name in errors.__all__ if not name.endswith("Warning")}
    assert {type(error).__name__ for error, _, _ in _CASES} == names


@pytest.mark.parametrize(("error", "known"), [case[:2] for case in _CASES], ids=named)
def test_outcome(error: A2EError, known: Outcome) -> None:
    """Only what surely was not accepted counts as not sent or rejected."""
    assert outcome(error) is known


@pytest.mark.parametrize(("error", "again"), [(case[0], case[2]) for case in _CASES], ids=named)
def test_may_send_again(error: A2EError, again: bool) -> None:  # noqa: FBT001  a column of the table
    """A paid request is sent again only if it never left, or if A2E turned it away for now."""
    assert may_send_again(error) is again


class _TomorrowsError(A2EError):
    """What nobody has thought of yet."""


class _RefusedHereError(InvalidRequestError):
    """A kind of what is refused before anything is sent."""


def test_unheard_of_error_tells_nothing() -> None:
    """A new kind of error leaves it open whether the start was accepted, until somebody says otherwise."""
    assert outcome(_TomorrowsError("?")) is Outcome.UNKNOWN
    assert not may_send_again(_TomorrowsError("?"))


def test_kinds_of_local_errors_are_local_errors() -> None:
    """What is derived from an error of ours is known to be one."""
    assert outcome(_RefusedHereError("?")) is Outcome.NOT_SENT


def error_of(status: int, body: bytes, **headers: str) -> A2EError:
    """Return the error that an answer brings."""
    with pytest.raises(A2EError) as caught:
        decode(Response(status=status, body=body, headers=headers))
    return caught.value


_SAYS_NO = [
    pytest.param({"code": 17, "msg": "no"}, id="E1"),
    pytest.param({"code": -1, "message": "Request failed"}, id="E2"),
    pytest.param({"success": False, "error": "no", "code": "E_X"}, id="E3"),
    pytest.param({"msg": "Bad", "errors": [{"path": "name", "msg": "is required"}]}, id="E4"),
    pytest.param({"code": 17, "data": {"failed_message": "no face"}}, id="E5"),
    pytest.param({"code": 1001, "msg": "hosts are occupied"}, id="busy"),
    pytest.param({"code": 1003, "msg": "a minor"}, id="moderation"),
    pytest.param({"code": 429, "msg": "too many requests"}, id="too many"),
]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 409, 413, 422, 429, 451, 499])
@pytest.mark.parametrize("body", _SAYS_NO)
def test_refusal_that_can_be_read_is_a_rejection(status: int, body: dict[str, Any]) -> None:
    """A decoded error of A2E's (E1 to E5) with a 4xx says for sure that nothing was accepted."""
    assert outcome(error_of(status, json.dumps(body).encode())) is Outcome.REJECTED


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 520, 524, 599])
@pytest.mark.parametrize("body", _SAYS_NO)
def test_server_error_tells_nothing(status: int, body: dict[str, Any]) -> None:
    """Behind a 5xx the start may have been accepted, whatever its body says and asks for: it is not sent again."""
    error = error_of(status, json.dumps(body).encode(), **{"retry-after": "1"})
    assert outcome(error) is Outcome.UNKNOWN
    assert not may_send_again(error)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"code":-1,"message":"Request failed"}', b"Request Timeout"])
def test_timeout_at_a_gateway_tells_nothing(body: bytes) -> None:
    """A 408 is a gateway that lost patience with a start that may be accepted behind it."""
    error = error_of(408, body, **{"retry-after": "1"})
    assert outcome(error) is Outcome.UNKNOWN
    assert not may_send_again(error)


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
        pytest.param(503, b"", id="nothing of a gateway"),
    ],
)
def test_answer_that_cannot_be_read_tells_nothing(status: int, body: bytes) -> None:
    """What is no answer of A2E's, or not a whole one, leaves it open whether the start was accepted."""
    error = error_of(status, body)
    assert outcome(error) is Outcome.UNKNOWN
    assert not may_send_again(error)


# markers


def test_marker_of_a_key_for_ever() -> None:
    """The marker of a key never changes: a job of an earlier version of this package is found by its key."""
    assert marker_of_key("order-17") == "j9e3tbxgvy"


@pytest.mark.parametrize("key", ["order-17", "", "ä", "\U0001f3ac", "x" * 10_000], ids=lambda key: ascii(key[:9]))
def test_marker_of_a_key_is_its_hash(key: str) -> None:
    """A marker is 50 bits of the key's SHA-256, five of each of its first ten bytes."""
    digest = hashlib.sha256(key.encode()).digest()
    assert marker_of_key(key) == "".join(_CROCKFORD[byte % 32] for byte in digest[:10])


@given(st.binary(min_size=10, max_size=10))
def test_marker_has_ten_digits_that_are_not_misread(noise: bytes) -> None:
    """Any ten bytes make ten digits without i, l, o and u."""
    marker = marker_of(noise)
    assert len(marker) == 10
    assert set(marker) <= set(_CROCKFORD)


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_markers_keep_their_bits(one: bytes, other: bytes) -> None:
    """Two markers are the same only if the lower five bits of all bytes are."""
    same = [byte % 32 for byte in one] == [byte % 32 for byte in other]
    assert (marker_of(one) == marker_of(other)) is same


def test_every_digit_is_as_likely() -> None:
    """All bytes together make every digit eight times."""
    digits = marker_of(bytes(range(256)))
    assert {digit: digits.count(digit) for digit in digits} == dict.fromkeys(_CROCKFORD, 8)


@pytest.mark.parametrize("key", ["order-17 ", "Order-17", "order-18", "order\u201117"], ids=ascii)
def test_other_keys_have_other_markers(key: str) -> None:
    """Keys are told apart by every character, white space and case included."""
    assert marker_of_key(key) != marker_of_key("order-17")


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
def test_name_that_is_sent(name: str, sent: str) -> None:
    """A name ends with its own marker, and brings none of an earlier task along."""
    assert mark(name, _M) == sent


@given(st.lists(st.sampled_from([f"[a2e:{_OTHER}]", f"[a2e:{_M}*2]", " ", "\n"]), max_size=4).map("".join))
def test_name_of_markers_only_still_names_something(name: str) -> None:
    """Somebody who copies nothing but a marker gets a name that can be read, and not an empty one."""
    if name.strip():
        assert mark(name, _M) == f"again [a2e:{_M}]"


@pytest.mark.parametrize("count", range(2, 9))
def test_name_of_several_videos(count: int) -> None:
    """Several videos of one start share a name that says how many they are."""
    assert mark("Ada", _M, count) == f"Ada [a2e:{_M}*{count}]"


def test_name_can_be_sent_again_and_again() -> None:
    """A name that went through many starts does not grow."""
    name = "Ada"
    for number in range(50):
        name = mark(name, marker_of_key(str(number)), 1 + number % 8)
    assert len(name) <= len(f"Ada [a2e:{_M}*8]")


_NAME_PARTS = st.sampled_from(["Ada", " ", "[a2e:", "[a2", "e:", _OTHER, "*3", "]", f"[a2e:{_OTHER}]", f"[a2e:{_M}*2]"])
names = st.text(max_size=20) | st.lists(_NAME_PARTS, max_size=6).map("".join)


@given(names, st.binary(min_size=10, max_size=10).map(marker_of), st.integers(1, 8))
def test_any_name_carries_its_own_marker_only(name: str, marker: str, count: int) -> None:
    """Whatever a name holds, the task that gets it is found by its own marker, and by no other."""
    register = Register()
    register.note({"_id": "t1", "name": mark(name, marker, count)}, _NOW)
    assert found(register, marker) == ["t1"]
    assert marker == _OTHER or found(register, _OTHER) == []


def test_name_with_a_marker_inside_of_a_marker() -> None:
    """A name that shows another marker once the first one is taken off carries only its own marker as well."""
    register = Register()
    register.note({"_id": "t1", "name": mark(f"Ada [a2[a2e:{_OTHER}]e:{_OTHER}]", _M)}, _NOW)
    assert (found(register, _M), found(register, _OTHER)) == (["t1"], [])


def found(register: Register, *markers: str) -> list[str]:
    """Return the ids that a register knows of these markers."""
    search = Search(frozenset(markers))
    register.open(search)
    register.close(search)
    return list(search.found)


# what somebody can mean


@pytest.mark.parametrize(
    ("text", "markers"),
    [
        pytest.param("order-17", {"j9e3tbxgvy"}, id="key"),
        pytest.param(" order-17", {marker_of_key(" order-17")}, id="key with a space"),
        pytest.param(f"Ada [a2e:{_M}]", {_M}, id="whole name"),
        pytest.param(f"Ada [a2e:{_M}*3]", {_M}, id="whole name of one of three"),
        pytest.param(f"[a2e:{_M}]", {_M}, id="the end of a name"),
        pytest.param(_M, {_M, marker_of_key(_M)}, id="ten digits, which can be both"),
        pytest.param(_M.upper(), {_M, marker_of_key(_M.upper())}, id="ten digits in capitals"),
        pytest.param(f" {_M}\n", {_M, marker_of_key(f" {_M}\n")}, id="ten digits with white space"),
        pytest.param("1234567890", {"1234567890", marker_of_key("1234567890")}, id="number of an order"),
        pytest.param(_M + "0", {marker_of_key(_M + "0")}, id="eleven digits"),
        pytest.param(_M[:-1], {marker_of_key(_M[:-1])}, id="nine digits"),
        pytest.param("7f3k2m9q4i", {marker_of_key("7f3k2m9q4i")}, id="a digit that is none"),
        pytest.param("Ada [a2e:short]", {marker_of_key("Ada [a2e:short]")}, id="a name without a marker"),
    ],
)
def test_markers_asked(text: str, markers: set[str]) -> None:
    """A marker, a name that ends with one, and a key all lead to the tasks that are meant."""
    assert markers_asked(text) == markers


@pytest.mark.parametrize("text", ["", " ", "\n", None, 17, b"order-17", "a\ud800"], ids=ascii)
def test_nothing_asked(text: Any) -> None:
    """What can be neither a marker nor a key is refused."""
    with pytest.raises(InvalidRequestError, match="marker_or_key"):
        markers_asked(text)


@given(st.text(min_size=1, max_size=20).filter(str.strip))
def test_any_key_is_found_by_itself(key: str) -> None:
    """Whoever starts with a key and asks for it means the same task, unless the key is a marked name itself."""
    if not re.search(r"\[a2e:", key) and key.isprintable():
        assert marker_of_key(key) in markers_asked(key)


@given(names, st.binary(min_size=10, max_size=10).map(marker_of))
def test_any_sent_name_is_found_by_itself(name: str, marker: str) -> None:
    """Whoever asks with the name as A2E shows it means this task."""
    assert marker in markers_asked(mark(name, marker))


# how far back to read


_DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
_EPOCH = 1445412480.0


def test_horizon_by_a2es_own_clock() -> None:
    """With a ``Date``, A2E's clock counts, a minute of doubt included, and ours does not matter."""
    assert horizon(Envelope(data=[], headers={"date": _DATE}), age=100.0, wall=0.0) == _EPOCH - 100.0 - 60.0


@pytest.mark.parametrize("headers", [{}, {"date": ""}, {"date": "today"}], ids=repr)
def test_horizon_by_our_clock(headers: dict[str, str]) -> None:
    """Without a ``Date`` our clock counts, a quarter of an hour of doubt included."""
    assert horizon(Envelope(data=[], headers=headers), age=100.0, wall=_EPOCH) == _EPOCH - 100.0 - 900.0


@pytest.mark.parametrize("headers", [{}, {"date": _DATE}], ids=repr)
def test_no_horizon(headers: dict[str, str]) -> None:
    """If everything is of interest, nothing is too old."""
    assert horizon(Envelope(data=[], headers=headers), age=math.inf, wall=_EPOCH) == -math.inf


def created(*moments: str | None) -> list[dict[str, Any]]:
    """Return records of these times, None for none."""
    return [
        {"_id": str(number)} | ({} if moment is None else {"createdAt": moment})
        for number, moment in enumerate(moments)
    ]


_SINCE = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(created("2026-08-01T12:05:00Z", "2026-08-01T11:59:59Z"), id="newest first"),
        pytest.param(created("2026-08-01T11:00:00Z", "2026-08-01T10:00:00Z"), id="all of them older"),
        pytest.param(created("2026-08-01T11:00:00Z"), id="one"),
        pytest.param(created("2026-08-01T11:00:00Z", "2026-08-01T11:00:00Z"), id="of one moment"),
        pytest.param(created("2026-08-01T14:05:00+02:00", "2026-08-01T11:59:59"), id="of several zones"),
    ],
)
def test_page_that_ends_in_the_past(records: list[dict[str, Any]]) -> None:
    """After a page that goes newest first into the past, nothing of interest comes."""
    assert is_past(records, _SINCE)


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([], id="empty"),
        pytest.param(created("2026-08-01T12:05:00Z", "2026-08-01T12:01:00Z"), id="all of them newer"),
        pytest.param(created("2026-08-01T12:00:00Z"), id="just the moment"),
        pytest.param(created("2026-08-01T11:00:00Z", "2026-08-01T12:05:00Z"), id="oldest first"),
        pytest.param(created("2026-08-01T12:05:00Z", "2026-08-01T10:00:00Z", "2026-08-01T11:00:00Z"), id="mixed"),
        pytest.param(created("2026-08-01T12:05:00Z", None, "2026-08-01T11:00:00Z"), id="one without a time"),
        pytest.param(created(None, None), id="without times"),
        pytest.param(created("2026-08-01T12:05:00Z", "yesterday"), id="one that cannot be read"),
        pytest.param(created("2026-08-01T12:05:00Z", ""), id="one that is empty"),
    ],
)
def test_page_that_ends_nothing(records: list[dict[str, Any]]) -> None:
    """A page in another order, without times, or of new records only does not end the search."""
    assert not is_past(records, _SINCE)


def test_nothing_is_past_without_a_horizon() -> None:
    """If everything is of interest, every page is read."""
    assert not is_past(created("1970-01-01T00:00:00Z"), -math.inf)


# which task is ours


def record(task_id: str, marker: str = _M, second: int | None = 0, count: int = 1) -> dict[str, Any]:
    """Return a record with a marked name, made at a second of a minute."""
    time = {} if second is None else {"createdAt": f"2026-08-01T12:00:{second:02}Z"}
    return {"_id": task_id, "name": mark("Ada", marker, count), **time}


def opened(register: Register, *markers: str, since: float = -math.inf) -> Search:
    """Return a search that has begun."""
    search = Search(frozenset(markers), since)
    register.open(search)
    return search


def test_nothing_is_known_at_first() -> None:
    """A fresh register finds nothing, and has read nothing."""
    register = Register()
    assert found(register, _M) == []
    assert register.complete_since == -math.inf


def test_search_finds_what_is_shown_later() -> None:
    """A task that A2E shows while somebody looks for it is found, with its record."""
    register = Register()
    search = opened(register, _M)
    register.note(record("t1"), _NOW)
    assert search.found == {"t1": record("t1")}


def test_search_finds_what_was_shown_before() -> None:
    """A task that was shown before the search began is found by its id; its record is not kept."""
    register = Register()
    register.note(record("t1"), _NOW)
    assert opened(register, _M).found == {"t1": None}


def test_record_fills_in_what_is_known() -> None:
    """A known task that is shown again during the search comes with its record."""
    register = Register()
    register.note(record("t1"), _NOW)
    search = opened(register, _M)
    register.note(record("t1"), _NOW)
    assert search.found == {"t1": record("t1")}


def test_latest_record_counts() -> None:
    """Of two records of one task, the later one is kept."""
    register = Register()
    search = opened(register, _M)
    register.note(record("t1"), _NOW)
    register.note({**record("t1"), "current_status": "completed"}, _NOW)
    assert search.found == {"t1": {**record("t1"), "current_status": "completed"}}


@pytest.mark.parametrize(
    "strange",
    [
        {"_id": "t1", "name": mark("Ada", _OTHER)},
        {"_id": "t1", "name": "Ada"},
        {"_id": "t1", "name": _M},
        {"_id": "t1", "name": f"[a2e:{_M}"},
        {"_id": "t1", "name": f"[a2e:{_M}*1]"},
        {"_id": "t1", "name": f"[a2e:{_M}*0]"},
        {"_id": "t1", "name": f"[a2e:{_M.upper()}]"},
        {"_id": "t1", "name": None},
        {"_id": "t1", "name": 7},
        {"_id": "t1", "name": [mark("Ada", _M)]},
        {"_id": "t1", "prompt": mark("Ada", _M)},
        {"_id": "t1"},
    ],
    ids=str,
)
def test_stranger_is_not_found(strange: dict[str, Any]) -> None:
    """A task that does not carry the marker in its name, exactly as we write it, is never ours."""
    register = Register()
    search = opened(register, _M)
    assert register.note(strange, _NOW) == ()
    assert search.found == {}


def test_several_searches_for_one_marker() -> None:
    """Everybody who looks for a marker finds its task."""
    register = Register()
    searches = [opened(register, _M), opened(register, _M), opened(register, _OTHER)]
    register.note(record("t1"), _NOW)
    assert [list(search.found) for search in searches] == [["t1"], ["t1"], []]


def test_search_for_several_markers() -> None:
    """Who means a marker or a key finds the tasks of both."""
    register = Register()
    search = opened(register, _M, _OTHER)
    register.note(record("t1"), _NOW)
    register.note(record("t2", _OTHER, 1), _NOW)
    assert set(search.found) == {"t1", "t2"}


def test_end_of_a_search() -> None:
    """What is shown after a search has ended does not change what it has found."""
    register = Register()
    search = opened(register, _M)
    register.close(search)
    register.note(record("t1"), _NOW)
    assert search.found == {}


def test_end_of_one_of_two_searches() -> None:
    """When one of two who look for the same marker gives up, the other one goes on."""
    register = Register()
    first, second = opened(register, _M), opened(register, _M)
    register.close(first)
    register.note(record("t1"), _NOW)
    assert (list(first.found), list(second.found)) == ([], ["t1"])


def test_nobody_searches() -> None:
    """If nobody searches, nothing has to be read."""
    assert Register().earliest() == math.inf


def test_earliest_search_decides() -> None:
    """The list is read as far back as any of those who search needs it."""
    register = Register()
    searches = [
        opened(register, _M, since=5.0),
        opened(register, _M, _OTHER, since=3.0),
        opened(register, _OTHER, since=9.0),
    ]
    assert register.earliest() == 3.0
    register.close(searches[1])
    assert register.earliest() == 5.0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_oldest_first(order: tuple[int, ...]) -> None:
    """Of several tasks with one marker, the oldest comes first, in whatever order A2E shows them."""
    register = Register()
    search = opened(register, _M)
    for second in order:
        register.note(record(f"t{second}", second=second), _NOW)
    assert list(search.found) == ["t0", "t1", "t2"]


def test_oldest_first_of_what_is_known() -> None:
    """What was known before the search began comes the oldest first as well, although A2E shows the newest first."""
    register = Register()
    for second in (2, 1, 0):
        register.note(record(f"t{second}", second=second), _NOW)
    assert list(opened(register, _M).found) == ["t0", "t1", "t2"]


def test_oldest_first_of_several_markers() -> None:
    """The oldest comes first also where the tasks carry different markers that were meant."""
    register = Register()
    search = opened(register, _M, _OTHER)
    register.note(record("t0", second=0), _NOW)
    register.note(record("t1", _OTHER, second=1), _NOW)
    assert list(search.found) == ["t0", "t1"]


def test_oldest_first_of_what_is_known_of_several_markers() -> None:
    """What was known before comes the oldest first over all markers that are meant, whichever is opened first."""
    register = Register()
    for second, marker in ((3, _M), (2, _OTHER), (1, _M), (0, _OTHER)):
        register.note(record(f"t{second}", marker, second), _NOW)
    assert list(opened(register, _M, _OTHER).found) == ["t0", "t1", "t2", "t3"]


def test_opening_keeps_what_is_found() -> None:
    """A search that already has something keeps it, and puts it among the rest by its age."""
    register = Register()
    register.note(record("t1", second=1), _NOW)
    register.note(record("t0", second=0), _NOW)
    search = Search(frozenset({_M}), found={"t1": record("t1", second=1)})
    register.open(search)
    assert list(search.found) == ["t0", "t1"]


def test_task_without_a_time_comes_last() -> None:
    """A task of which A2E does not say when it was made is not taken for the oldest."""
    register = Register()
    search = opened(register, _M)
    register.note(record("t1", second=None), _NOW)
    register.note(record("t0", second=30), _NOW)
    assert list(search.found) == ["t0", "t1"]


def test_two_tasks_of_one_start_are_noticed() -> None:
    """A second task with the marker of a single start is one too many; both are named, the oldest first."""
    register = Register()
    assert register.note(record("t1", second=1), _NOW) == ()
    assert register.note(record("t0", second=0), _NOW) == ("t0", "t1")


def test_two_tasks_are_noticed_once() -> None:
    """However often A2E shows them, the same duplicates are not reported again."""
    register = Register()
    register.note(record("t0"), _NOW)
    register.note(record("t1", second=1), _NOW)
    assert [register.note(record("t0"), _NOW), register.note(record("t1", second=1), _NOW)] == [(), ()]


def test_third_task_is_noticed_too() -> None:
    """Each further one is reported, with all of them."""
    register = Register()
    register.note(record("t0"), _NOW)
    register.note(record("t1", second=1), _NOW)
    assert register.note(record("t2", second=2), _NOW) == ("t0", "t1", "t2")


def test_same_task_is_no_duplicate() -> None:
    """A task that is shown again and again is one task."""
    register = Register()
    assert [register.note(record("t0"), _NOW) for _ in range(5)] == [()] * 5


def test_duplicates_are_noticed_without_a_search() -> None:
    """Also where nobody looks for them, what may be paid twice is noticed."""
    register = Register()
    register.note(record("t0", _OTHER), _NOW)
    assert register.note(record("t1", _OTHER, 1), _NOW) == ("t0", "t1")


def test_tasks_of_different_markers_are_no_duplicates() -> None:
    """Two starts are two tasks."""
    register = Register()
    assert [register.note(record("t0"), _NOW), register.note(record("t1", _OTHER), _NOW)] == [(), ()]


@pytest.mark.parametrize("count", range(2, 9))
def test_videos_of_one_start_are_no_duplicates(count: int) -> None:
    """As many tasks as one start has ordered are not too many; one more is."""
    register = Register()
    noted = [register.note(record(f"t{number}", second=number, count=count), _NOW) for number in range(count + 1)]
    assert noted[:-1] == [()] * count
    assert noted[-1] == tuple(f"t{number}" for number in range(count + 1))


def test_counted_id() -> None:
    """A task whose id is a number is found by its text."""
    register = Register()
    register.note({**record("?"), "_id": 42}, _NOW)
    assert found(register, _M) == ["42"]


def test_deleted_task_is_forgotten() -> None:
    """A task that was deleted is not found any more, so that its key can be used again."""
    register = Register()
    register.note(record("t1"), _NOW)
    register.forget("t1")
    assert found(register, _M) == []


def test_others_are_not_forgotten() -> None:
    """Deleting one of two tasks leaves the other one known."""
    register = Register()
    register.note(record("t0"), _NOW)
    register.note(record("t1", second=1), _NOW)
    register.forget("t1")
    assert found(register, _M) == ["t0"]


def test_forgotten_task_counts_no_more() -> None:
    """A task that is started anew after the first one was deleted is no duplicate."""
    register = Register()
    register.note(record("t0"), _NOW)
    register.forget("t0")
    assert register.note(record("t1", second=1), _NOW) == ()


@pytest.mark.parametrize("task_id", ["unknown", ""])
def test_forgetting_the_unknown(task_id: str) -> None:
    """Deleting a task that carries no marker, or that was never shown, changes nothing."""
    register = Register()
    register.note(record("t0"), _NOW)
    register.forget(task_id)
    assert found(register, _M) == ["t0"]


def test_forgetting_twice() -> None:
    """A task that is deleted twice is gone once."""
    register = Register()
    register.note(record("t0"), _NOW)
    register.forget("t0")
    register.forget("t0")
    assert found(register, _M) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([_M, _OTHER])), max_size=12), st.integers(0, 12))
def test_every_search_finds_the_same(shown: list[tuple[int, str]], opened_after: int) -> None:
    """Whenever a search begins, it has found the same tasks in the end, each by its own marker."""
    register, markers = Register(), (_M, _OTHER)
    early = {marker: opened(register, marker) for marker in markers}
    late: dict[str, Search] = {}
    for number, (second, marker) in enumerate(shown):
        if number == opened_after:
            late = {each: opened(register, each) for each in markers}
        register.note(record(f"{marker}-{second}", marker, second), _NOW)
    for marker in markers:
        ids = sorted({f"{marker}-{second}" for second, each in shown if each == marker})
        assert list(early[marker].found) == ids
        assert not late or sorted(late[marker].found) == ids


def test_task_that_was_bought_is_known_by_its_marker() -> None:
    """A task whose marker is known from its start is found by it, also if A2E shows another name."""
    register = Register()
    search = opened(register, _M)
    bought = {"_id": "t1", "name": "Ada"}
    assert register.add(_M, bought, 5.0) == ()
    assert search.found == {"t1": bought}
    assert found(register, _M) == ["t1"]


def test_duplicate_of_a_bought_task_is_noticed() -> None:
    """A task that A2E shows besides the one that was started is one too many."""
    register = Register()
    register.add(_M, record("t0"), 5.0)
    assert register.note(record("t1", second=1), 6.0) == ("t0", "t1")


@pytest.mark.parametrize("count", [2, 8])
def test_videos_that_were_bought_together_are_no_duplicates(count: int) -> None:
    """As many tasks as were ordered are not too many; one more is."""
    register = Register()
    noted = [register.add(_M, record(f"t{number}", second=number), 5.0, count=count) for number in range(count + 1)]
    assert noted[:-1] == [()] * count
    assert len(noted[-1]) == count + 1


def test_when_a_task_was_shown() -> None:
    """It is known when A2E has shown a task the last time."""
    register = Register()
    register.note(record("t1"), 5.0)
    register.note(record("t1"), 9.0)
    assert register.shown_at("t1") == 9.0


@pytest.mark.parametrize("name", ["Ada", None], ids=repr)
def test_task_that_was_never_shown(name: str | None) -> None:
    """A task without a marker, or one that A2E never showed, was shown at no time."""
    register = Register()
    register.note({"_id": "t1", "name": name}, 5.0)
    assert (register.shown_at("t1"), register.shown_at("t2")) == (-math.inf, -math.inf)


def test_forgotten_task_was_never_shown() -> None:
    """Of a task that is gone nothing is kept."""
    register = Register()
    register.note(record("t1"), 5.0)
    register.forget("t1")
    assert register.shown_at("t1") == -math.inf


def test_bought_and_then_shown_is_one_task() -> None:
    """A task that was started and is shown later is no duplicate, and is shown when A2E showed it."""
    register = Register()
    register.add(_M, record("t1"), 5.0)
    assert register.note(record("t1"), 9.0) == ()
    assert register.shown_at("t1") == 9.0


def test_bought_task_is_found_by_its_marker_only() -> None:
    """Nobody else's search finds what was started."""
    register = Register()
    search = opened(register, _OTHER)
    register.add(_M, record("t1"), 5.0)
    assert search.found == {}
    assert found(register, _OTHER) == []


def test_nothing_is_left_of_what_is_forgotten() -> None:
    """A client that starts and deletes for years does not grow."""
    register, fresh = Register(), Register()
    for number in range(10):
        register.note(record(f"t{number}", marker_of_key(str(number))), _NOW)
        register.add(_M, record(f"u{number}"), _NOW, count=8)
    for number in range(10):
        register.forget(f"t{number}")
        register.forget(f"u{number}")
    assert attrs.asdict(register) == attrs.asdict(fresh)
