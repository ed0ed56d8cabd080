"""Random input from the network and from users ends in a value or an A2EError, and in nothing else."""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import json
import math
from typing import Any
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol import (
    converter,
    endpoints,
    error_mapping,
    families,
    links,
    pagination,
    responses,
    settings,
    validation,
)
from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._protocol.messages import Envelope, Response
from a2e_async._protocol.responses import decode
from a2e_async._protocol.schema import check_link, name_from
from a2e_async._submission import evidence, markers
from a2e_async._submission.markers import MarkerIndex, Search
from a2e_async._transport.throttle import Throttle
from a2e_async.config import Pacing
from a2e_async.errors import (
    A2EError,
    APIError,
    BusyError,
    ConfigurationError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
    UnexpectedResponseError,
)
from a2e_async.files import media_types
from a2e_async.models import TaskStatus

_READ = {"_id", "createdAt", "name", "current_status", "failed_code", "failed_message", "coins", "result_url"}
_READ |= {"image_url", "prompt", "negative_prompt"}
"""The fields of an image-to-video record that this version knows, as A2E spells them."""

_KEYS = [
    "_id",
    "id",
    "code",
    "success",
    "data",
    "msg",
    "message",
    "error",
    "err_message",
    "errors",
    "trace_id",
    "timestamp",
    "rows",
    "list",
    "records",
    "count",
    "0",
    "1",
    "name",
    "prompt",
    "current_status",
    "status",
    "failed_code",
    "failed_message",
    "coins",
    "createdAt",
    "created_at",
    "result_url",
    "extra",
    "path",
    "field",
    "param",
]
_WORDS = ["", "0", "completed", "failed", "sent", "nsfw", "flagged", "30", "nan", "2025-03-13T07:58:27.863Z", "t1"]
_LONGEST_INTEGER = 10**4299  # longer ones are refused by Python's JSON parser

texts = st.text(st.characters(), max_size=20)  # also halves of surrogate pairs, which JSON can hold
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 200, 403, 1001, 1003, _LONGEST_INTEGER, -_LONGEST_INTEGER, 10**400])
    | st.floats()
    | st.sampled_from(_WORDS)
    | texts
)
keys = st.sampled_from(_KEYS) | texts
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=6
)
objects = st.dictionaries(keys, json_values, max_size=6)
statuses = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 429, 500, 503]) | st.integers(100, 999)
http_dates = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(9999, 12, 31)).map(  # noqa: DTZ001  a moment of the header's own zone
    lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
)
header_texts = (
    texts
    | http_dates
    | st.floats().map(str)
    | st.integers().map(str)
    | st.from_regex(r"\A(Mon, )?[0-9]{1,6} (Oct|Foo) [0-9]{1,9} [0-9:]{1,12} ?([A-Z]{1,4}|[+-][0-9]{1,12})?\Z")
)
headers = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "date", "location"]), header_texts | st.just("http://[")
)


def to_json(value: object) -> bytes:
    """Return a value as the bytes of JSON."""
    return json.dumps(value).encode()


def decode_or_error(body: bytes, status: int, named: dict[str, str]) -> Envelope | A2EError:
    """Return the envelope or the A2EError of a response; every other exception fails the test."""
    try:
        return decode(Response(status=status, headers=named, body=body))
    except A2EError as error:
        return error


@given(st.binary(max_size=200) | json_values.map(to_json) | objects.map(to_json), statuses, headers)
def test_any_response_is_a_value_or_an_error(body: bytes, status: int, named: dict[str, str]) -> None:
    """Random bytes, status and headers give an Envelope or an A2EError that can be shown."""
    result = decode_or_error(body, status, named)
    assert isinstance(result, Envelope) or str(result)


any_text = st.text(max_size=40) | texts
any_headers = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": any_text | header_texts,
        "date": any_text | header_texts,
        "content-type": any_text
        | st.sampled_from(["text/event-stream", "TEXT/EVENT-STREAM; x", "text/html", "application/json"]),
        "location": any_text | st.sampled_from(["http://[", "//", "https://[::1", "http://\u2100/", "//a@b:x/"]),
    },
)
truncated = st.tuples(json_values.map(to_json), st.integers(1, 50)).map(lambda cut: cut[0][: -cut[1]])
damaged = st.tuples(
    st.sampled_from([b"", b" ", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"event: result\ndata: ", b"<"]),
    json_values.map(to_json) | truncated,
    st.sampled_from([b"", b" ", b"\n\n", b"\x00", b"\xff", b"{}", b"]"]),
).map(b"".join)
encoded = st.tuples(json_values, st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])).map(
    lambda drawn: json.dumps(drawn[0]).encode(drawn[1])
)
any_body = st.binary(max_size=200) | truncated | damaged | encoded | json_values.map(to_json) | objects.map(to_json)


@given(any_body, statuses, any_headers)
def test_any_body_and_headers(body: bytes, status: int, named: dict[str, str]) -> None:
    """A cut, damaged or encoded body with random headers gives an Envelope or an A2EError that can be shown."""
    result = decode_or_error(body, status, named)
    assert isinstance(result, Envelope) or str(result)
    if isinstance(result, APIError) and result.retry_after is not None:
        assert math.isfinite(result.retry_after)
        assert result.retry_after >= 0


@given(any_body, statuses, any_headers)
def test_any_response_to_a_start_has_an_outcome(body: bytes, status: int, named: dict[str, str]) -> None:
    """A start is never sent again after a 5xx, nor after a 2xx unless A2E itself says "busy" or "too many"."""
    try:
        assert responses.accepted_tasks(decode(Response(status=status, headers=named, body=body)))
    except A2EError as error:
        known, again = failure_of(error).outcome, failure_of(error).may_send_again
        assert known is not StartOutcome.NOT_SENT
        assert not again or isinstance(error, BusyError | RateLimitError)  # noqa: PT017  as above
        assert (status < 500 and known is StartOutcome.REJECTED) or not again


@given(any_body, any_headers, st.floats(0, 1e12) | st.just(-math.inf), st.none() | st.floats(0, 1e12))
def test_any_page_of_a_list(body: bytes, named: dict[str, str], since: float, made_after: float | None) -> None:
    """Every page of a list gives records, an end, and a problem or the time at which it was read."""
    envelope = decode_or_error(body, 200, named)
    if not isinstance(envelope, Envelope):
        return
    try:
        records = responses.records(envelope.data)
    except UnexpectedResponseError:
        return
    reading = evidence.ListReading(pagination.PageReader("/api/v1/x", thorough=True), since, made_after)
    reading.next_request()
    assert reading.read(envelope) == records
    assert reading.ended in {True, False}
    assert isinstance(reading.problem, str)
    assert not math.isnan(reading.state.read_at)
    assert not math.isnan(reading.state.newest)


@given(st.lists(json_values, min_size=1, max_size=5), st.integers(1, 4))
def test_any_list_ends(answered: list[Any], size: int) -> None:
    """Every list ends, also if its last page is repeated forever, and no record comes twice."""
    pages, seen = pagination.PageReader("/api/v1/x", size), list[str]()
    for number in range(len(answered) + 4):
        assert pages.next_request().params == {"pageNum": str(number + 1), "pageSize": str(size)}
        seen += [
            responses.id_of(record) for record in pages.read(Envelope(data=answered[min(number, len(answered) - 1)]))
        ]
        if pages.ended:
            break
    assert pages.ended
    assert len(seen) == len(set(seen))


@given(json_values | objects)
def test_any_json_is_a_list_or_not(data: object) -> None:
    """Random JSON passes as a list or raises an A2EError, and its total is an integer or unknown."""
    total = responses.total_of(data)
    assert total is None or type(total) is int
    try:
        responses.check_list(Envelope(data=data))
    except A2EError as error:
        assert str(error)  # noqa: PT017  one of two good ends
    else:
        assert isinstance(data, list | dict)


@given(json_values | objects)
def test_records_of_any_json(data: object) -> None:
    """Random JSON has records with ids, or raises an A2EError; the known containers have no records beside these."""
    try:
        found = responses.records(data)
    except A2EError as error:
        assert str(error)  # noqa: PT017  one of two good ends
    else:
        assert all(map(responses.id_of, found))
        assert all(record in found for record in responses.records(data, known_only=True))


@given(objects, statuses)
def test_rule_of_success(body: dict[str, Any], status: int) -> None:
    """An object is a success exactly if HTTP says 2xx and its code is 0, or it has no code and success is not false."""
    code = body.get("code")
    good_code = type(code) in {int, float} and code == 0
    says_good = good_code or code == "0" or (code is None and body.get("success") is not False)
    result = decode_or_error(to_json(body), status, {})
    assert isinstance(result, Envelope) == (200 <= status < 300 and says_good)


@given(objects, st.integers(400, 599))
def test_any_error_has_a_message(body: dict[str, Any], status: int) -> None:
    """Every error has a message, the HTTP status and only texts as details."""
    result = decode_or_error(to_json(body), status, {})
    assert isinstance(result, APIError)
    assert result.message.strip()
    assert result.status == status
    assert all(isinstance(detail, str) for detail in result.errors)


@given(json_values)
def test_any_json_gives_records_with_ids(data: object) -> None:
    """All records of random JSON are objects with an id."""
    assert all(isinstance(record, dict) and responses.id_of(record) for record in responses.records(data))


@given(json_values, st.sampled_from(["t1", "0", "1"]) | texts)
def test_any_json_as_detail(data: object, task_id: str) -> None:
    """The response to a detail request is this task, or an error with its id."""
    try:
        record = responses.detail(Envelope(data=data), task_id)
    except A2EError as error:
        assert error.task_id == task_id  # noqa: PT017  one of two good ends
    else:
        assert responses.id_of(record) == task_id


@given(json_values)
def test_any_json_as_start(data: object) -> None:
    """The response to a start contains a task id, or is an error."""
    try:
        started = responses.accepted_tasks(Envelope(data=data))
    except A2EError as error:
        assert str(error)  # noqa: PT017  one of two good ends
    else:
        assert started
        assert all(task.id for task in started)


ids = st.integers() | st.sampled_from([_LONGEST_INTEGER, -_LONGEST_INTEGER]) | texts.filter(bool)


@given(ids, objects)
def test_any_object_with_an_id_is_a_record(task_id: int | str, fields: dict[str, Any]) -> None:
    """Every object with an id is read as a record, and every attribute has its type."""
    record = converter.to_record({**fields, "_id": task_id}, families.IMAGE_TO_VIDEO)
    assert record.id == str(task_id)
    assert isinstance(record.status, TaskStatus)
    for name in ("name", "current_status", "failed_code", "failed_message", "result_url", "image_url", "prompt"):
        assert isinstance(getattr(record, name), str)
    assert record.coins is None or type(record.coins) is int or math.isfinite(record.coins)
    assert record.created_at is None or record.created_at.tzinfo is dt.UTC


@given(ids, objects)
def test_any_unknown_field_is_kept(task_id: int | str, fields: dict[str, Any]) -> None:
    """No unknown field is lost."""
    extra = converter.to_record({**fields, "_id": task_id}, families.IMAGE_TO_VIDEO).extra
    assert {key for key in fields if key not in _READ} == set(extra)


@given(header_texts, st.none() | header_texts, st.floats(0, 1e12))
def test_any_retry_after_is_a_time_or_nothing(value: str, date: str | None, received_at: float) -> None:
    """Random text in the header gives None or a finite number of seconds."""
    named = {"retry-after": value} | ({} if date is None else {"date": date})
    seconds = error_mapping.retry_after(Response(status=429, headers=named, received_at=received_at))
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


@given(st.integers(0, 3600) | st.integers(0, 10**15))
def test_any_number_of_seconds_is_unchanged(seconds: int) -> None:
    """A ``Retry-After`` in seconds is neither rounded nor shortened; above an hour it counts as no header."""
    expected = seconds if seconds <= 3600 else None
    assert error_mapping.retry_after(Response(status=429, headers={"retry-after": str(seconds)})) == expected


schemes = st.sampled_from(["https://", "http://", "HTTP://", "https:", "ftp://", ""])
users = st.sampled_from(["", "", "", "ada@", "ada:pw@", "@"])
hosts = st.lists(
    st.sampled_from(["localhost", "127.0.0.1", "[::1]", "[::2]", "video.a2e.ai", "api.a2e.ai", ".", "\\", "\u2100"])
    | texts,
    min_size=1,
    max_size=2,
).map("".join)
ports = st.sampled_from(["", "", ":443", ":8000", ":99999", ":x", ":"])
ends = st.lists(st.sampled_from(["/", "/api/v1", "/a2e", "/..", "?", "#", " ", "'", "\n"]) | texts, max_size=3).map(
    "".join
)
urls = texts | st.tuples(schemes, users, hosts, ports, ends).map("".join)
wrappings = st.text(" \"'`\u201c\n\u00a0", max_size=4)
tokens = texts | st.tuples(wrappings, texts | st.sampled_from(["sk_x", "sk x", ""]), wrappings).map("".join)


@given(tokens)
def test_any_token_is_clean_or_rejected(token: str) -> None:
    """A token that passes is valid in a header and has no quotes or white space around it."""
    try:
        found = settings.resolve(token, None, None, {}).token
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017  one of two good ends
        return
    assert found in token
    assert found == found.strip().strip("\"'`")
    assert found
    assert found.isascii()
    assert found.isprintable()


@given(
    st.none() | tokens,
    st.none() | urls,
    st.dictionaries(st.sampled_from(["A2E_API_TOKEN", "A2E_API_KEY", "A2E_BASE_URL"]), urls),
)
def test_any_settings_work_or_say_why_not(token: str | None, base_url: str | None, environ: dict[str, str]) -> None:
    """Random text gives valid settings or a ConfigurationError."""
    try:
        found = settings.resolve(token, base_url, None, environ)
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017  one of two good ends
        return
    assert found.base_url.startswith(("https://", "http://localhost", "http://127.", "http://[::1]")) or (
        ".localhost" in found.base_url
    )
    assert not set("?#@ \n") & set(found.base_url)
    assert not found.base_url.endswith("/")


@given(urls)
def test_any_link_passes_or_is_rejected(url: str) -> None:
    """Random text passes as a link or raises an InvalidRequestError."""
    try:
        check_link("image_url", url)
    except InvalidRequestError:
        return
    assert url.lower().startswith(("http://", "https://"))
    assert not any(char.isspace() for char in url)


segments = st.sampled_from(["api", "v1", "user", ".", "..", "%2e", "%2E%2e", "", "a%2Fb", "...", "%", "%25"])
paths = texts | st.lists(segments | texts, max_size=6).map("/".join) | st.text("./%2eEapi", max_size=12)


@given(paths)
def test_any_path_stays_below_the_api(path: str) -> None:
    """A path stays below ``/api/``, also on a server that decodes it first."""
    try:
        full = validation.api_path(path)
    except InvalidRequestError:
        return
    assert full.startswith("/api/")
    assert not set("?#\\ ") & set(full)
    assert not {"", ".", ".."} & {unquote(segment) for segment in full[1:].split("/")}


@given(st.text("./%2eE?#\\ ", max_size=8) | st.text(max_size=20))
def test_any_id_is_one_segment(task_id: str) -> None:
    """An id becomes one segment that means this id, or raises an InvalidRequestError."""
    try:
        quoted = endpoints.quote_id(task_id)
    except InvalidRequestError:
        return
    assert not set("/?#\\ ") & set(quoted)
    assert unquote(quoted) == task_id
    assert task_id not in {".", ".."}


@given(texts)
def test_any_id_can_be_sent(task_id: str) -> None:
    """An id with half a surrogate pair raises no other error."""
    try:
        assert endpoints.quote_id(task_id).isascii()
    except InvalidRequestError:
        assert not task_id.strip(". \t\r\n") or not task_id.strip()


@given(
    st.binary(max_size=64)
    | st.sampled_from([b"RIFF", b"BM", b"GIF89a"]).flatmap(lambda head: st.binary(max_size=20).map(head.__add__))
)
def test_any_bytes_have_a_media_type_or_none(head: bytes) -> None:
    """Random bytes have a media type or None; an empty file has none."""
    kind = media_types.detect(head)
    assert kind is None or (kind.medium in {"image", "video", "audio"} and len(head) >= 3)


@given(st.sampled_from([".mp4", ".png", ".mp3", ""]), st.binary(max_size=64))
def test_any_download_is_checked(extension: str, head: bytes) -> None:
    """Random bytes of a download raise no foreign error."""
    mismatch = media_types.find_mismatch(head, extension)
    assert mismatch is None or "instead of" in mismatch


@given(urls, texts)
def test_any_link_is_usable_or_not(url: str, text: str) -> None:
    """A check of links raises no foreign error, for any link and any query."""
    for link in (url, f"https://example.com/a.png?{text}"):
        with contextlib.suppress(InvalidRequestError):
            links.check_usable({"image_url": link, "text": text}, 1_800_000_000.0)


@given(urls | paths)
def test_any_source_has_a_name_or_none(source: str) -> None:
    """The name of a source is short and printable."""
    name = name_from(source)
    assert len(name) <= 80
    assert name.isprintable()


marker = st.sampled_from(["0000000000", "7f3k2m9q4d", "zzzzzzzzzz"])
tags = st.tuples(st.just("[a2e:"), marker | texts, st.sampled_from(["", "*1", "*2", "*8", "*9", "*²"]), st.just("]"))
marked_names = st.lists(tags.map("".join) | texts, max_size=3).map("".join)
times = st.datetimes().map(lambda moment: f"{moment.isoformat()}Z") | texts
any_records = st.tuples(objects, ids, marked_names | json_values, times | json_values).map(
    lambda drawn: {**drawn[0], "_id": drawn[1], "name": drawn[2], "createdAt": drawn[3]}
)


@given(st.lists(any_records, max_size=8), st.integers(0, 8))
def test_any_records_can_be_indexed(shown: list[dict[str, Any]], opened_after: int) -> None:
    """Every search finds only ids that were shown, and duplicates are really several tasks."""
    register, search = MarkerIndex(), Search(frozenset({"0000000000", "7f3k2m9q4d"}))
    shown_ids = {responses.id_of(record) for record in shown}
    for number, record in enumerate(shown):
        if number == opened_after:
            register.open(search)
        too_many = register.add_record(record, float(number))
        assert not too_many or (len(too_many) == len(set(too_many)) > 1 and responses.id_of(record) in too_many)
        assert set(too_many) <= shown_ids
    assert set(search.found) <= shown_ids
    for task_id in shown_ids:
        register.forget(task_id)


@given(st.text(max_size=30) | marked_names)
def test_any_search_for_a_task_has_markers(asked: str) -> None:
    """A search key is rejected, or leads to one or two markers of ten digits."""
    try:
        found = markers.markers_for(asked)
    except InvalidRequestError:
        return
    assert 1 <= len(found) <= 2
    assert all(len(each) == 10 and each.isascii() and each.isalnum() for each in found)


policies = st.builds(
    Pacing,
    max_in_flight=st.integers(1, 50),
    per_second=st.none() | st.floats(0.01, 1e4),
    pause=st.floats(0.001, 1e3),
    max_pause=st.floats(0.001, 1e3),
)
pauses = st.none() | st.floats(0.0, 1e6) | st.sampled_from([0.0, 1.0, 1e300])
refusals = (
    st.builds(RateLimitError, st.just("slow down"), retry_after=pauses)
    | st.builds(BusyError, st.just("occupied"), retry_after=pauses)
    | st.builds(ServerError, st.just("down"), retry_after=st.floats(0.0, 100.0))
)
steps = st.tuples(
    st.floats(0.0, 5.0) | st.sampled_from([0.0, 0.001, 61.0, 1e5]),
    st.sampled_from(["begin", "begin", "accepted", "ends"]) | refusals,
    st.integers(0, 50),
    st.floats(0.0, 1.0),
)


@given(policies, st.lists(steps, max_size=40), st.floats(0.0, 1e6))
def test_any_history_of_a_throttle(policy: Pacing, history: list[tuple[float, Any, int, float]], now: float) -> None:
    """In a random history the limits hold, no request waits forever, and A2E's pauses are kept."""
    throttle, under_way = Throttle(policy), list[float]()
    for passed, step, pick, jitter in history:
        now += passed
        if step == "begin":
            if throttle.try_begin(now) == 0.0:
                under_way.append(now)
        elif under_way:
            began = under_way.pop(pick % len(under_way))
            throttle.in_flight -= 1
            if step == "accepted":
                throttle.on_accepted(now, began)
            elif step != "ends":
                check_pause(throttle, step, now, began, jitter)
        check_limits(throttle, now, len(under_way))


def check_pause(throttle: Throttle, error: APIError, now: float, began: float, jitter: float) -> None:
    """Send a 429, and check the pause of all requests: at most one day, if A2E asks for it."""
    before = throttle.paused_until
    throttle.pause(error, now, began=began, jitter=jitter)
    asked = None if error.retry_after is None else min(error.retry_after, 86400.0)
    most = max(throttle.policy.max_pause, asked or 0.0)
    assert throttle.paused_until >= max(before, now + (asked or 0.0))
    assert throttle.paused_until <= max(before, (now + most * 1.1) * (1 + 1e-12))


def check_limits(throttle: Throttle, now: float, under_way: int) -> None:
    """Check the limits, which hold at any time."""
    assert throttle.in_flight == under_way
    assert 1 <= throttle.allowed_in_flight <= throttle.policy.max_in_flight
    assert throttle.learned_rate is None or (throttle.learned_rate >= 1.0 and math.isfinite(throttle.learned_rate))
    delay = copy.copy(throttle).try_begin(now)
    if delay is None:
        assert under_way > 0
    else:
        assert math.isfinite(delay)
        assert delay >= max(0.0, throttle.paused_until - now)
