"""Mapping from A2E's error responses to error classes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from a2e_async._protocol.error_mapping import content_rejection, retry_after, to_api_error
from a2e_async._protocol.messages import Response
from a2e_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    ContentRejectedError,
    InsufficientCreditsError,
    NotFoundError,
    PlanError,
    RateLimitError,
    ServerError,
)


def mapped(status: int, **body: Any) -> APIError:
    """Return the error of an error response."""
    return to_api_error(body, Response(status=status))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, InsufficientCreditsError),
        (403, APIError),
        (404, NotFoundError),
        (409, BadRequestError),
        (422, BadRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
        (599, ServerError),
        (200, APIError),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["HTTP", "inside of a 200"])
def test_by_status(status: int, kind: type[APIError], inside: bool) -> None:  # noqa: FBT001  a column of the table
    """Without known words the status decides, and an inner code means the same as that HTTP status."""
    error = mapped(200, code=status, msg="no") if inside else mapped(status, msg="no")
    assert type(error) is kind


@pytest.mark.parametrize("status", [200, 400, 403, 500])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1001, BusyError),
        (1003, ContentRejectedError),
        (1004, ContentRejectedError),
        (30005, BadRequestError),
        ("1003", ContentRejectedError),
    ],
    ids=repr,
)
def test_by_code(status: int, code: int | str, kind: type[APIError]) -> None:
    """A2E's own code wins over the status and the words."""
    assert type(mapped(status, code=code, msg="unauthorized, insufficient coins")) is kind


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "insufficient balance", InsufficientCreditsError),
        (400, "Not enough coins", InsufficientCreditsError),
        (400, "You need 30 more credits", InsufficientCreditsError),
        (400, "image contains sensitive content", ContentRejectedError),
        (400, "Rate limit reached", RateLimitError),
        (400, "the task is running", BadRequestError),
        (400, "prompt is required", BadRequestError),
        (400, "malformed id", BadRequestError),
        (400, "coincidence", BadRequestError),
        (403, "Free user can not use the API, please upgrade to Pro or Max", PlanError),
        (403, "API token is not available on the Free plan", PlanError),
        (403, "Voice clone limit reached", PlanError),
        (403, "The image shows a public figure", ContentRejectedError),
        (403, "violates our content policy", ContentRejectedError),
        (403, "copyright", ContentRejectedError),
        (403, "NSFW", ContentRejectedError),
        (403, "suspected minor in the image", ContentRejectedError),
        (403, "Insufficient credits", InsufficientCreditsError),
        (403, "Too many requests", RateLimitError),
        (403, "Unauthorized", AuthenticationError),
        (403, "invalid token", AuthenticationError),
        (403, "no", APIError),
        (403, "the process maximum", APIError),
        (200, "all hosts are occupied", BusyError),
        (200, "insufficient coins", InsufficientCreditsError),
        (200, "Unauthorised", AuthenticationError),
        (200, "too many requests", RateLimitError),
        (200, "likeness", ContentRejectedError),
        (200, "Request failed", APIError),
        (500, "no credits", ServerError),
        (500, "unauthorized", ServerError),
        (404, "unauthorized", NotFoundError),
    ],
)
def test_by_words(status: int, text: str, kind: type[APIError]) -> None:
    """The words decide for a status with several meanings, and not for a status with one meaning."""
    assert type(mapped(status, code=-1, msg=text)) is kind


CHINESE = [
    ("积分不足", InsufficientCreditsError),
    ("您的余额已不足 请充值", InsufficientCreditsError),
    ("不足的点数", InsufficientCreditsError),
    ("餘額不足 請稍後再試", InsufficientCreditsError),
    ("积分不足 无法排队", InsufficientCreditsError),
    ("该功能仅限会员使用", PlanError),
    ("免费用户不能使用 API", PlanError),
    ("请升级套餐", PlanError),
    ("請升級後再試", PlanError),
    ("请稍后再试", BusyError),
    ("服务器繁忙 请稍后", BusyError),
    ("任务正在排队", BusyError),
]
WAITING = [
    "Too many concurrent tasks",
    "Concurrency limit reached",
    "The queue is full",
    "Something went wrong, please try again later",
]


@pytest.mark.parametrize("status", [200, 400, 403])
@pytest.mark.parametrize(("text", "kind"), CHINESE)
def test_by_chinese_words(status: int, text: str, kind: type[APIError]) -> None:
    """Chinese texts are sorted as English ones (reference 14b), with each status of several meanings."""
    assert type(mapped(status, code=-1, msg=text)) is kind


@pytest.mark.parametrize("status", [200, 400, 403])
@pytest.mark.parametrize("text", WAITING)
def test_words_for_waiting(status: int, text: str) -> None:
    """A full queue or too many tasks at once passes by itself."""
    assert type(mapped(status, code=-1, msg=text)) is BusyError


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Insufficient credits, please try again later", InsufficientCreditsError),
        ("Flagged as sensitive, please try again later with another image", ContentRejectedError),
        ("Too many requests, try again later", RateLimitError),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403])
def test_try_again_later_counts_last(status: int, text: str, kind: type[APIError]) -> None:
    """A text that names the reason is not "busy" because of its last words."""
    assert type(mapped(status, code=-1, msg=text)) is kind


@pytest.mark.parametrize("text", ["积分不足", "会员", "请稍后再试", "The queue is full"])
def test_no_words_decide_for_a_server_error(text: str) -> None:
    """A start that gets a 5xx may have been accepted, in spite of the text."""
    assert type(mapped(502, code=-1, msg=text)) is ServerError


@pytest.mark.parametrize(
    ("code", "kind"), [(401, AuthenticationError), (429, RateLimitError), (402, InsufficientCreditsError)]
)
def test_forbidden_with_a_known_code(code: int, kind: type[APIError]) -> None:
    """A 403 is of by its code and text, not by the status (reference 1.5)."""
    assert type(mapped(403, code=code, msg="no")) is kind


def test_inner_403_is_mapped_by_its_words() -> None:
    """Code 403 in a response with status 200 is of by its words like a 403."""
    assert type(mapped(200, code=403, msg="free user")) is PlanError


@pytest.mark.parametrize("code", ["403", 403])
def test_code_is_unchanged(code: int | str) -> None:
    """The error has A2E's code in its original type."""
    assert mapped(200, code=code).code == code


@pytest.mark.parametrize("code", [True, 1.5, [1], {}, None], ids=repr)
def test_code_of_a_wrong_type(code: object) -> None:
    """A code that is neither an integer nor text is None."""
    assert mapped(400, code=code, msg="no").code is None


@pytest.mark.parametrize(
    "code", ["9" * 5000, "²", "-1", "1001x", 10**1000], ids=["long", "superscript", "negative", "suffix", "huge"]
)
def test_odd_codes(code: int | str) -> None:
    """An unknown code is kept, and does not decide the class."""
    error = mapped(200, code=code, msg="no")
    assert (type(error), error.code) == (APIError, code)


_PLACES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("errors", {"errors": ["text of errors"]}),
    ("msg", {"msg": "text of msg"}),
    ("message", {"message": "text of message"}),
    ("error", {"error": "text of error"}),
    ("err_message", {"err_message": "text of err_message"}),
    ("data.failed_message", {"data": {"failed_message": "text of data.failed_message"}}),
    ("data.message", {"data": {"message": "text of data.message"}}),
    ("data.msg", {"data": {"msg": "text of data.msg"}}),
    ("data.fail_reason", {"data": {"fail_reason": "text of data.fail_reason"}}),
)


@pytest.mark.parametrize("first", range(len(_PLACES)), ids=[place for place, _ in _PLACES])
def test_order_of_the_texts(first: int) -> None:
    """The text is taken from the first place of reference 1.4 that has one."""
    body: dict[str, Any] = {}
    for _, part in reversed(_PLACES[first:]):
        body |= {"data": {**body.get("data", {}), **part["data"]}} if "data" in part else part
    assert mapped(400, **body).message == f"text of {_PLACES[first][0]}"


def test_text_as_data() -> None:
    """If `data` is text, it is the message."""
    assert mapped(200, code=1, data="no such voice").message == "no such voice"


@pytest.mark.parametrize("nothing", ["", "  ", None, [], {}, 0], ids=repr)
@pytest.mark.parametrize("place", ["msg", "errors", "message"])
def test_empty_places_are_passed_over(place: str, nothing: object) -> None:
    """A place without text does not hide the text of the next place."""
    assert mapped(400, **{place: nothing, "error": "the text"}).message == "the text"


@pytest.mark.parametrize("errors", [[""], ["", ""], [" ", ""]], ids=repr)
def test_empty_details_are_passed_over(errors: list[str]) -> None:
    """Empty details do not hide the text."""
    assert mapped(400, errors=errors, msg="the text").message == "the text"


@pytest.mark.parametrize(("status", "reason"), [(400, "Bad Request"), (403, "Forbidden"), (299, "A2E gave no reason")])
def test_error_without_any_text(status: int, reason: str) -> None:
    """The message of an error response without text is the name of the status, if it has one."""
    assert mapped(status).message == reason


@pytest.mark.parametrize(
    ("errors", "rendered"),
    [
        pytest.param(["a", "b"], ("a", "b"), id="texts"),
        pytest.param([{"msg": "is required", "path": "name"}], ("name: is required",), id="msg and path"),
        pytest.param([{"message": "is required", "field": "name"}], ("name: is required",), id="message and field"),
        pytest.param([{"error": "is required", "param": "name"}], ("name: is required",), id="error and param"),
        pytest.param([{"msg": "is required"}], ("is required",), id="no place"),
        pytest.param([{"msg": 7, "path": "name"}], ('{"msg": 7, "path": "name"}',), id="no text"),
        pytest.param([{"code": "ä"}], ('{"code": "ä"}',), id="unknown object"),
        pytest.param([7, None], ("7", "null"), id="neither text nor object"),
        pytest.param(
            {"name": "is required", "prompt": ["too long", "rude"]},
            ("name: is required", 'prompt: ["too long", "rude"]'),
            id="object",
        ),
        pytest.param({"name": {"msg": "is required"}}, ("name: is required",), id="object of objects"),
        pytest.param("is required", ("is required",), id="text"),
        pytest.param("", (), id="empty text"),
        pytest.param([], (), id="empty array"),
        pytest.param({}, (), id="empty object"),
        pytest.param(7, (), id="number"),
        pytest.param(None, (), id="null"),
    ],
)
def test_details(errors: object, rendered: tuple[str, ...]) -> None:
    """The details of a failed validation (E4) become readable text, in every shape."""
    assert mapped(400, errors=errors).errors == rendered


@pytest.mark.parametrize(
    "body",
    [{"msg": "x" * 10_000}, {"errors": ["x" * 10_000]}, {"errors": {"x" * 10_000: 1}}],
    ids=["msg", "array", "object"],
)
def test_long_texts_are_shortened(body: dict[str, Any]) -> None:
    """A long text of an error is shortened and ends with an ellipsis."""
    error = mapped(400, **body)
    assert max(map(len, (error.message, *error.errors))) <= 500
    assert error.message.endswith("…")


def test_text_of_the_maximum_length_is_not_cut() -> None:
    """A text of the maximum length is kept whole."""
    assert mapped(400, msg="x" * 500).message == "x" * 500


@pytest.mark.parametrize(("trace_id", "kept"), [("abc", "abc"), (None, ""), (7, ""), ([], "")], ids=repr)
def test_trace_id(trace_id: object, kept: str) -> None:
    """A trace id is text or empty."""
    assert mapped(400, msg="no", trace_id=trace_id).trace_id == kept


def test_no_trace_id() -> None:
    """An envelope without a trace id has an empty one."""
    assert mapped(400, msg="no").trace_id == ""


@pytest.mark.parametrize("data", [None, {}, [], "", 0, {"ok": True}, "done", {"reason": "later"}], ids=repr)
def test_no_content_was_rejected(data: object) -> None:
    """Data without a word of moderation are not a rejection."""
    assert content_rejection(data) == ""


@pytest.mark.parametrize("key", ["_id", "id", "ID", "taskId", "task_id", "TASKID", "uuid"])
@pytest.mark.parametrize("value", ["a", 7, None], ids=repr)
def test_data_with_an_id_are_no_rejection(key: str, value: object) -> None:
    """Words of moderation beside a possible task id are not a rejection: the task may cost coins."""
    assert content_rejection({"flagged": True, "reason": "nsfw", key: value}) == ""


@pytest.mark.parametrize("key", ["identity", "id_card", "idea", "ids"])
def test_only_the_end_of_a_key_makes_an_id(key: str) -> None:
    """A key that only begins like an id is not an id."""
    assert "nsfw" in content_rejection({"reason": "nsfw", key: "x"})


@pytest.mark.parametrize(
    "data",
    [{"flagged": True}, {"reason": "nsfw"}, {"why": "copyright"}, "Refused by content policy", ["a minor"]],
    ids=repr,
)
def test_rejected_content(data: object) -> None:
    """Data without an id but with words of moderation are a rejection, and the text is kept."""
    assert content_rejection(data)


def test_rejection_too_deep_to_be_written() -> None:
    """Data that are nested too deeply to be written are not a rejection and raise nothing."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert content_rejection({"flagged": deep}) == ""


@pytest.mark.parametrize(("others", "is_read"), [(999, True), (1000, False)])
def test_only_the_first_thousand_texts_are_read(others: int, *, is_read: bool) -> None:
    """Of a response with very many texts, a thousand are searched for words of moderation, from the end."""
    assert bool(content_rejection(["nsfw", *["x"] * others])) is is_read


def test_rejection_is_shortened() -> None:
    """A long rejection is shortened like every other text."""
    assert len(content_rejection({"flagged": True, "why": "x" * 5000})) <= 500


def retry_after_of(value: str, date: str | None = None, received_at: float = 0.0) -> float | None:
    """Return the seconds of a ``Retry-After`` header."""
    headers = {"retry-after": value} | ({} if date is None else {"date": date})
    return retry_after(Response(status=429, headers=headers, received_at=received_at))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("7", 7.0), (" 120 ", 120.0), ("1.5", 1.5), ("3600", 3600.0), ("0.0", 0.0)],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    """Seconds are returned unchanged."""
    assert retry_after_of(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-1", "nan", "inf", "-inf", "1e999", "7 s", "7,5", "Wed, 99 Oct 2015 07:28:00 GMT", "\ud800"],
    ids=ascii,
)
def test_invalid_retry_after(value: str) -> None:
    """A header that is neither seconds nor a date gives None."""
    assert retry_after_of(value) is None


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("3601", None),
        ("120000", None),
        ("1796000000", None),
        ("Wed, 21 Oct 2015 09:00:00 GMT", "Wed, 21 Oct 2015 07:27:15 GMT"),
    ],
    ids=["above an hour", "milliseconds", "timestamp", "date"],
)
def test_retry_after_above_an_hour_is_nonsense(value: str, date: str | None) -> None:
    """More than an hour is a timestamp or a number of milliseconds, and counts as no header."""
    assert retry_after_of(value, date) is None


def test_no_retry_after() -> None:
    """A response without the header gives None."""
    assert retry_after(Response(status=429)) is None


def test_retry_after_as_a_date() -> None:
    """A date is compared with the response's own date, so that a wrong clock of this machine does no harm."""
    assert retry_after_of("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:27:15 GMT", received_at=1e9) == 45.0


@pytest.mark.parametrize("date", [None, "", "today"], ids=repr)
def test_retry_after_as_a_date_without_a_date(date: str | None) -> None:
    """Without a usable ``Date`` header, the time when the response arrived counts."""
    assert retry_after_of("Wed, 21 Oct 2015 07:28:00 GMT", date, received_at=1445412480.0 - 45) == 45.0


def test_retry_after_in_the_past() -> None:
    """A date in the past gives 0 seconds."""
    assert retry_after_of("Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 09:00:00 GMT") == 0.0


@pytest.mark.parametrize(
    "value",
    [
        "Wednesday, 21-Oct-15 07:28:00 GMT",
        "Wed Oct 21 07:28:00 2015",
        "Wed, 21 Oct 2015 07:28:00 -0000",
        "Wed, 21 Oct 2015 09:28:00 +0200",
    ],
)
def test_formats_of_dates(value: str) -> None:
    """All formats of RFC 9110 and of mail give the same time in UTC."""
    assert retry_after_of(value, "Wed, 21 Oct 2015 07:27:00 GMT") == 60.0


def test_retry_after_reaches_the_error() -> None:
    """Every error class has the seconds of the header."""
    error = to_api_error({"msg": "no"}, Response(status=503, headers={"retry-after": "3"}))
    assert error.retry_after == 3.0


def test_error_can_be_written_as_json() -> None:
    """The attributes of an error are numbers and text."""
    error = mapped(400, code=17, errors=[{"a": [1]}], trace_id="t")
    assert json.dumps([error.message, error.code, error.errors, error.trace_id, error.status, error.retry_after])
