"""Records in successful responses, wherever A2E puts them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from a2e_async._protocol.messages import Envelope, Response
from a2e_async._protocol.responses import (
    accepted_tasks,
    check_list,
    count_rows,
    decode,
    detail,
    id_of,
    quoted_coins,
    records,
    rows,
    spendings,
    total_of,
)
from a2e_async.errors import ContentRejectedError, NotFoundError, UnexpectedResponseError

if TYPE_CHECKING:
    from collections.abc import Callable

_A, _B = {"_id": "a", "name": "first"}, {"_id": "b", "name": "second"}


def envelope(data: Any) -> Envelope:
    """Return an envelope with these data."""
    return Envelope(data=data, status=200, trace_id="trace-1", body=b"the raw body")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(_A, [_A], id="object"),
        pytest.param([_A, _B], [_A, _B], id="array (S4)"),
        pytest.param({"rows": [_A, _B], "count": 2}, [_A, _B], id="rows (S5)"),
        pytest.param({"list": [_A]}, [_A], id="list (S5)"),
        pytest.param({"data": [_A], "current": 1, "total": 1, "success": True}, [_A], id="data.data (S5)"),
        pytest.param({"records": [_A]}, [_A], id="records (S5)"),
        pytest.param({"0": _A, "1": _B}, [_A, _B], id="numeric keys (S6)"),
        pytest.param({"rows": [], "list": [_A]}, [], id="the first list counts, also when it is empty"),
        pytest.param({"rows": None, "list": [_A]}, [_A], id="null is no container"),
        pytest.param({"_id": "a", "rows": [_B]}, [{"_id": "a", "rows": [_B]}], id="a record with rows is a record"),
        pytest.param([_A, None, "x", 7, [], {}, {"_id": ""}, {"id": "c"}], [_A], id="rows without an id are left out"),
        pytest.param({"0": _A, "count": 1, "1": "x"}, [_A], id="rows without an id beside numeric keys"),
        pytest.param({"task": _A}, [], id="a record under an unknown key is none"),
        pytest.param({"items": [_A, _B], "total": 2}, [_A, _B], id="the only list of objects"),
        pytest.param({"tags": ["x"], "errors": [], "items": [None, _A]}, [_A], id="other lists beside it"),
        pytest.param({"result": {"rows": [_A]}, "ok": True}, [_A], id="container in an object"),
        pytest.param({"data": {"items": [_A], "total": 1}, "user": {"tags": []}}, [_A], id="unknown list in an object"),
        pytest.param({"items": []}, [], id="unknown container, empty"),
        pytest.param({"items": [], "total": 0}, [], id="unknown container, empty, with a total"),
        pytest.param({"message": "nothing here"}, [], id="object without a list"),
        pytest.param({}, [], id="empty object (S6)"),
        pytest.param([], [], id="empty array"),
        pytest.param(None, [], id="null (E7)"),
        pytest.param("text", [], id="text (S3)"),
        pytest.param(7, [], id="number"),
        pytest.param(False, [], id="false"),
    ],
)
def test_records(data: object, found: list[dict[str, Any]]) -> None:
    """Every container of reference 1.3 and 1.7 gives its records in order, and nothing else."""
    assert records(data) == found


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"count": 3}, id="no list"),
        pytest.param({"rows": None, "total": "3"}, id="null"),
        pytest.param({"items": [], "total": 3}, id="empty unknown list"),
        pytest.param({"page": {"total": 3}, "ids": ["a", "b", "c"]}, id="no objects, total inside"),
        pytest.param({"items": [_A], "others": [_B]}, id="two lists of objects"),
        pytest.param({"mine": {"rows": [_A]}, "others": {"rows": [_B]}}, id="two containers"),
    ],
)
@pytest.mark.parametrize("read", [records, rows, count_rows])
def test_list_that_cannot_be_found(data: object, read: Callable[[object], object]) -> None:
    """A response that has records somewhere is not taken for an empty list."""
    with pytest.raises(UnexpectedResponseError, match="unknown shape"):
        read(data)


@pytest.mark.parametrize(
    "data",
    [{"items": [_A]}, {"result": {"rows": [_A]}}, {"images": [_A], "taskId": "b"}],
    ids=["list", "inner", "other"],
)
def test_start_takes_no_id_from_an_unknown_container(data: object) -> None:
    """It could be the id of anything: the outcome stays unknown, and the task is searched for by its marker."""
    with pytest.raises(UnexpectedResponseError, match="no task id"):
        accepted_tasks(envelope(data))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        pytest.param(b'{"code":0,"data":[{"_id":"a"}]}', ["a"], id="data"),
        pytest.param(b'[{"_id":"a"},{"_id":"b"}]', ["a", "b"], id="bare array"),
        pytest.param(b'{"_id":"a","current_status":"sent"}', ["a"], id="record as body"),
        pytest.param(b'{"rows":[{"_id":"a"}],"count":1}', ["a"], id="container as body"),
        pytest.param(b'{"code":0,"rows":[{"_id":"a"}],"trace_id":"t"}', ["a"], id="container beside the code"),
    ],
)
def test_records_of_whole_responses(body: bytes, found: list[str]) -> None:
    """The records of a raw response are found, with and without an envelope."""
    assert [id_of(record) for record in records(decode(Response(status=200, body=body)).data)] == found


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        pytest.param([_A, _B], 2, id="array"),
        pytest.param([_A, _A], 2, id="a row that comes twice"),
        pytest.param([_A, None, {"id": "c"}], 3, id="rows without an id"),
        pytest.param({"rows": [_A], "count": 250}, 1, id="rows beside a total"),
        pytest.param({"rows": [], "list": [_A]}, 0, id="the first list"),
        pytest.param({"0": _A, "1": _B, "count": 2}, 2, id="numeric keys"),
        pytest.param({}, 0, id="empty object"),
        pytest.param([], 0, id="empty array"),
        pytest.param(_A, 1, id="record"),
        pytest.param({"_id": "a", "rows": [_A, _B]}, 1, id="record with rows"),
    ],
)
def test_count_rows(data: object, rows: int) -> None:
    """All rows of a page are counted, so that rows without an id do not make the page a short one."""
    assert count_rows(data) == rows


@pytest.mark.parametrize("data", [None, "text", 7, False], ids=repr)
def test_response_without_a_list_has_at_most_one_row(data: object) -> None:
    """A response without a list is never taken for a full page."""
    assert count_rows(data) <= 1


@pytest.mark.parametrize(
    ("data", "total"),
    [
        pytest.param({"rows": [_A], "count": 250}, 250, id="count"),
        pytest.param({"data": [_A], "total": 250}, 250, id="total"),
        pytest.param({"result": {"rows": [_A], "count": 7}}, 7, id="total beside a list inside"),
        pytest.param({"rows": [_A], "statistics": {"count": 7}}, None, id="total of something else"),
        pytest.param({"rows": [], "count": 0}, 0, id="nothing"),
        pytest.param({"rows": [_A], "count": "250"}, 250, id="in digits"),
        pytest.param({"rows": [_A], "count": 2, "total": 3}, 2, id="count comes first"),
        pytest.param({"rows": [_A], "count": None, "total": 3}, 3, id="total where count says nothing"),
        pytest.param({"rows": [_A], "count": True, "total": 3}, 3, id="total where count is a boolean"),
        pytest.param({"rows": [_A], "count": "many", "total": "3"}, 3, id="total where count is a word"),
        pytest.param({"rows": [_A]}, None, id="none"),
        pytest.param({"rows": [_A], "count": True}, None, id="boolean"),
        pytest.param({"rows": [_A], "count": 2.0}, None, id="fraction"),
        pytest.param({"rows": [_A], "count": "-1"}, None, id="less than nothing in digits"),
        pytest.param({"rows": [_A], "count": "\u00b2"}, None, id="digit that is no number"),
        pytest.param({"rows": [_A], "count": "9" * 9}, None, id="too many digits"),
        pytest.param({"rows": [_A], "count": [2]}, None, id="array"),
        pytest.param([_A], None, id="array of records"),
        pytest.param({}, None, id="empty object"),
        pytest.param(None, None, id="null"),
        pytest.param("12", None, id="text"),
        pytest.param(12, None, id="number"),
    ],
)
def test_total_of(data: object, total: int | None) -> None:
    """A total is an integer or unknown."""
    found = total_of(data)
    assert found == total
    assert type(found) is type(total)


_CONTAINERS = ("rows", "list", "data", "records")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([], id="empty array"),
        pytest.param([_A, _B], id="array"),
        pytest.param([{"id": "c"}], id="array of rows without an id"),
        pytest.param(_A, id="single record"),
        pytest.param({"0": _A, "1": _B}, id="numeric keys"),
        *(pytest.param({name: [_A]}, id=name) for name in _CONTAINERS),
        *(pytest.param({name: [], "count": 0}, id=f"empty {name}") for name in _CONTAINERS),
    ],
)
def test_page_that_is_a_list(data: object) -> None:
    """Every container that A2E is known to use for a list is one, also if it is empty."""
    check_list(envelope(data))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(None, id="null"),
        pytest.param({}, id="empty object"),
        pytest.param("", id="empty text"),
        pytest.param("no records", id="text"),
        pytest.param(0, id="number"),
        pytest.param(False, id="false"),
        pytest.param({"count": 0}, id="total without a list"),
        pytest.param({"items": [_A]}, id="unknown container"),
        pytest.param({"items": []}, id="empty unknown container"),
        pytest.param({"rows": None}, id="container of null"),
        pytest.param({"rows": {}}, id="container of an object"),
        pytest.param({"rows": ""}, id="container of a text"),
        pytest.param({"rows": [None]}, id="container of rows without an id"),
        pytest.param({"rows": [{"id": "c"}]}, id="container of records without an id"),
        pytest.param({"0": {"id": "c"}}, id="numeric keys of rows without an id"),
        pytest.param({"_id": "", "name": "x"}, id="record without an id"),
        pytest.param({"data": {"rows": []}}, id="container in a container"),
    ],
)
def test_page_that_is_no_list(data: object) -> None:
    """A page of another shape raises an error with the raw body, since it does not prove that a task is missing."""
    with pytest.raises(UnexpectedResponseError, match="has an unknown shape") as caught:
        check_list(envelope(data))
    assert (caught.value.body, caught.value.status) == (b"the raw body", 200)


@pytest.mark.parametrize(
    "part",
    [
        {"success": False},
        {"success": "false"},
        {"success": 0},
        {"success": None},
        {"code": -1},
        {"code": "E_TIMEOUT"},
        {"error": "db timeout"},
        {"errors": ["db timeout"]},
        {"err_message": "db timeout"},
        {"ok": False},
        {"status": "error"},
        {"status": "FAILED"},
    ],
    ids=str,
)
@pytest.mark.parametrize("found", [[], [_A]], ids=["empty", "with a record"])
def test_page_that_reports_a_failure(part: dict[str, Any], found: list[Any]) -> None:
    """A list whose container reports a failure may lack records, and is not taken for a list."""
    with pytest.raises(UnexpectedResponseError, match="reports a failure"):
        check_list(envelope({"rows": found, "count": len(found), **part}))


@pytest.mark.parametrize("around", [{"success": False}, {"error": "db timeout"}, {"status": "fail"}], ids=str)
def test_empty_list_in_a_response_that_reports_a_failure(around: dict[str, Any]) -> None:
    """An empty list beside a failure in the envelope proves nothing. A task that is listed there is found."""
    body = json.dumps({"code": 0, "data": {"rows": [], "count": 0}, **around}).encode()
    with pytest.raises(UnexpectedResponseError, match="contradicts"):
        check_list(Envelope(data={"rows": [], "count": 0}, status=200, body=body))
    check_list(Envelope(data={"rows": [_A], "count": 1}, status=200, body=body))


@pytest.mark.parametrize(
    "part", [{"hasMore": True}, {"has_next": "true"}, {"pagination": {"hasNextPage": True}}], ids=str
)
def test_empty_page_with_more_rows(part: dict[str, Any]) -> None:
    """A page without rows that announces more of them is a failure of A2E."""
    with pytest.raises(UnexpectedResponseError, match="is true"):
        check_list(envelope({"rows": [], **part}))
    check_list(envelope({"rows": [], "hasMore": False}))


@pytest.mark.parametrize(
    ("data", "total"),
    [
        ({"rows": [], "totalCount": 3}, 3),
        ({"list": [], "total_count": "4"}, 4),
        ({"rows": [], "pagination": {"total": 5}}, 5),
        ({"rows": [], "meta": {"count": 6}}, 6),
        ({"rows": [], "meta": 6}, None),
        ({"rows": [], "user": {"count": 6}}, None),
    ],
    ids=str,
)
def test_total_in_other_places(data: dict[str, Any], total: int | None) -> None:
    """A total has several names, and can be in an object for the paging."""
    assert total_of(data) == total


@pytest.mark.parametrize(
    "part", [{"success": True}, {"success": "true"}, {"code": 0}, {"code": "0"}, {"code": None}, {"error": ""}], ids=str
)
def test_page_that_reports_a_success(part: dict[str, Any]) -> None:
    """A list whose container reports a success is a list."""
    check_list(envelope({"data": [], "total": 0, **part}))


@pytest.mark.parametrize(
    "body",
    [b'{"code":0,"data":null}', b'{"code":0}', b'{"code":0,"data":{}}', b'{"code":0,"msg":"ok"}', b'{"success":true}'],
)
def test_response_without_a_list_from_its_bytes(body: bytes) -> None:
    """A successful response without a list is not taken for an empty list."""
    with pytest.raises(UnexpectedResponseError):
        check_list(decode(Response(status=200, body=body)))


@pytest.mark.parametrize(
    "body", [b'{"code":0,"data":[]}', b"[]", b'{"rows":[],"count":0}', b'{"code":0,"rows":[],"count":0}']
)
def test_empty_list_from_its_bytes(body: bytes) -> None:
    """An empty list passes, in every envelope."""
    check_list(decode(Response(status=200, body=body)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (42, "42"),
        (0, "0"),
        ("", ""),
        (None, ""),
        (True, ""),
        (1.5, ""),
        ([], ""),
        ({}, ""),
        ({"$oid": "a"}, "a"),
        ({"$oid": []}, ""),
        ({"id": "a"}, ""),
    ],
    ids=repr,
)
def test_id_of(value: object, text: str) -> None:
    """An id is text or an integer; any other value is none."""
    assert id_of({"_id": value}) == text


def test_no_id() -> None:
    """A record without an ``_id`` has an empty id."""
    assert id_of({"id": "a"}) == ""


@pytest.mark.parametrize(
    "data", [_B, [_A, _B], {"0": _A, "1": _B}, {"rows": [_B]}], ids=["object", "array", "keys", "rows"]
)
def test_detail(data: object) -> None:
    """The requested record is found among all records of the response."""
    assert detail(envelope(data), "b") == _B


def test_detail_of_a_numbered_task() -> None:
    """A task whose id is a number is found by its text."""
    assert detail(envelope({"_id": 42}), "42") == {"_id": 42}


@pytest.mark.parametrize("data", [None, {}, [], "", {"rows": []}], ids=repr)
def test_detail_of_an_unknown_task(data: object) -> None:
    """A successful response without content (E7) raises NotFoundError."""
    with pytest.raises(NotFoundError) as caught:
        detail(envelope(data), "b")
    assert (caught.value.task_id, caught.value.trace_id, caught.value.status) == ("b", "trace-1", 200)


def test_detail_of_an_unknown_task_from_its_bytes() -> None:
    """HTTP 200 with ``data: null`` (E7) raises NotFoundError."""
    answer = decode(Response(status=200, body=b'{"code":0,"data":null}'))
    with pytest.raises(NotFoundError):
        detail(answer, "b")


@pytest.mark.parametrize("data", [_A, [_A], "text", 7, {"rows": "none"}], ids=repr)
def test_detail_of_another_task(data: object) -> None:
    """A response about something else raises an error with the raw body."""
    with pytest.raises(UnexpectedResponseError) as caught:
        detail(envelope(data), "b")
    assert (caught.value.task_id, caught.value.body, caught.value.status) == ("b", b"the raw body", 200)


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        pytest.param(_A, ["a"], id="object"),
        pytest.param([_A, _B], ["a", "b"], id="array"),
        pytest.param({"0": _A, "1": _B}, ["a", "b"], id="numeric keys"),
    ],
)
def test_accepted_tasks(data: object, ids: list[str]) -> None:
    """Every task in the response to a start is found."""
    assert [task.id for task in accepted_tasks(envelope(data))] == ids


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"flagged": True, "reason": "Sensitive content"}, id="object"),
        pytest.param("Refused by content policy", id="text"),
        pytest.param([{"error": "NSFW"}], id="array"),
        pytest.param({"failed_message": "The image shows a public figure"}, id="failed_message"),
    ],
)
def test_start_that_reports_flagged_content(data: object) -> None:
    """HTTP 200 with flagged content instead of a task (E8) raises ContentRejectedError."""
    with pytest.raises(ContentRejectedError) as caught:
        accepted_tasks(envelope(data))
    assert (caught.value.status, caught.value.trace_id) == (200, "trace-1")


def test_flagged_content_says_why() -> None:
    """A2E's report about flagged content is in the error's text."""
    with pytest.raises(ContentRejectedError, match="public figure"):
        accepted_tasks(envelope({"flagged": True, "reason": "public figure"}))


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        "ok",
        7,
        {"id": "a"},
        {"taskId": "a", "current_status": "sent"},
        {"taskID": "a", "flagged": True, "reason": "nsfw"},
        {"0": {}},
    ],
    ids=repr,
)
def test_start_without_a_task(data: object) -> None:
    """A response to a start without a task id is an unknown outcome, not a rejection, and its raw body is kept."""
    with pytest.raises(UnexpectedResponseError, match="contains no task id") as caught:
        accepted_tasks(envelope(data))
    assert (caught.value.body, caught.value.status) == (b"the raw body", 200)


@pytest.mark.parametrize(
    "echo",
    [
        {"prompt": "a portrait of my sister"},
        {"negative_prompt": "nsfw"},
        {"name": "Portrait"},
        {"image_url": "https://x.y/portrait.png"},
    ],
    ids=lambda echo: next(iter(echo)),
)
def test_echoed_input_is_no_report(echo: dict[str, str]) -> None:
    """Words of the caller's own prompt in an unknown response do not make it a rejection."""
    with pytest.raises(UnexpectedResponseError):
        accepted_tasks(envelope({"taskId": "a", "current_status": "sent", **echo}))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([{"taskId": "a", "prompt": "a portrait"}], id="array"),
        pytest.param({"task": {"taskId": "a", "prompt": "a portrait"}}, id="object in an object"),
        pytest.param({"0": {"taskId": "a", "prompt": "a portrait"}}, id="numeric keys"),
        pytest.param({"rows": [{"task_id": 7, "name": "Portrait"}]}, id="container"),
        pytest.param({"task": {"status": "sent", "prompt": "a portrait"}}, id="echo without an id"),
    ],
)
def test_echoed_input_is_no_report_wherever_it_is(data: object) -> None:
    """The same holds if the task or the repeated prompt is nested."""
    with pytest.raises(UnexpectedResponseError):
        accepted_tasks(envelope(data))


def test_task_wins_over_words() -> None:
    """A response with a task is no rejection, also with words of moderation in its prompt."""
    assert accepted_tasks(envelope({"_id": "a", "prompt": "a portrait, nothing sensitive"}))


# quotes


@pytest.mark.parametrize("word", ["coins", "credits", "cost", "price", "total", "amount"])
def test_quote_under_any_name(word: str) -> None:
    """A price is found in every likely field, since the real name is not published."""
    assert quoted_coins(envelope({"endpoint": "/start", word: 30})) == 30


@pytest.mark.parametrize(
    ("data", "coins"),
    [
        pytest.param(30, 30, id="bare number"),
        pytest.param(7.5, 7.5, id="bare fraction"),
        pytest.param({"coins": 7.5}, 7.5, id="fraction"),
        pytest.param({"coins": 0}, 0, id="free"),
        pytest.param({"coins": 30, "total": 90}, 30, id="the first name counts"),
        pytest.param({"total": 90, "credits": 30}, 30, id="in our order, not in A2E's"),
        pytest.param({"coins": None, "cost": 30}, 30, id="a name without a number does not hide another"),
        pytest.param({"coins": -1, "cost": 30}, 30, id="less than nothing is no price"),
        pytest.param({"coins": -1}, None, id="less than nothing alone"),
        pytest.param({"coins": 10**400}, None, id="beyond all floats"),
        pytest.param({"coins": 10**400, "cost": 30}, 30, id="a number that cannot be counted does not hide another"),
        pytest.param({"coins": True}, None, id="boolean"),
        pytest.param(True, None, id="bare boolean"),
        pytest.param({"coins": "30"}, None, id="text"),
        pytest.param({"coins": [30]}, None, id="array"),
        pytest.param({"coins": {"amount": 30}}, None, id="object"),
        pytest.param({"coins": float("nan")}, None, id="NaN"),
        pytest.param({"coins": float("inf")}, None, id="Infinity"),
        pytest.param({"coins": float("-inf")}, None, id="minus Infinity"),
        pytest.param({"duration": 5}, None, id="other number"),
        pytest.param({}, None, id="empty object"),
        pytest.param([30], None, id="in an array"),
        pytest.param("30", None, id="bare text"),
        pytest.param(None, None, id="null"),
    ],
)
def test_quote(data: object, coins: float | None) -> None:
    """A quote is a finite number of coins or None."""
    assert quoted_coins(envelope(data)) == coins


def test_spendings() -> None:
    """Transactions that cost coins are read from the history; grants, and rows without an amount, are not."""
    rows: list[Any] = [
        {"_id": "a", "coins": -60},
        {"coins": 100},
        {"amount": -7.5},
        {"note": 1},
        7,
        {"coins": -(10**400)},
    ]
    data = {"rows": rows, "count": 6}
    assert [coins for _, coins in spendings(envelope(data))] == [60, 7.5]


def test_same_spending() -> None:
    """A transaction is the same one if only the order of its fields has changed between two pages."""
    assert spendings(envelope([{"_id": "a", "coins": -60}])) == spendings(envelope([{"coins": -60, "_id": "a"}]))
