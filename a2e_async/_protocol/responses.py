"""Responses of A2E: status and bytes become the `data` of a success or the right error, and `data` becomes records.

Reference 1.3 lists the envelopes of successful responses (S1 to S8), 1.4 those of errors (E1 to E8), 1.7 the lists.

How `decode` works:

0. The challenge of a firewall has not come from A2E at all.
1. A redirect is an error: following it would take the token to another host.
2. A 2xx status with an empty body is a success without data (S8).
3. A 2xx status with a stream of server-sent events (S7) has its result in the last event. The methods of this package
   never request a stream; `A2EClient.request` can.
4. Everything else must be JSON. A body that is not JSON is a gateway's error or a web page.
5. A JSON object is a success if HTTP says 2xx **and** its ``code`` is 0. Without a ``code``, ``success`` must not be
   false. Every other object is an error of A2E, and `error_mapping` chooses the class.
6. A JSON array with a 2xx status is a success as a whole (S6).
"""

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Never
from urllib.parse import urlsplit

import attrs

from a2e_async import _learning
from a2e_async._protocol.error_mapping import content_rejection, is_unknown, to_api_error
from a2e_async._protocol.messages import Envelope, Response
from a2e_async.errors import ContentRejectedError, NetworkError, NotFoundError, UnexpectedResponseError

# Nesting of JSON up to which Python can compare and write it.
_MAX_DEPTH = 510

# A text in JSON, or a bracket outside of a text.
_NESTING = r'(?s)"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]'

# Bytes of a body that is not JSON that become the text of an error (reference 1.4).
_MAX_TEXT = 200

_BOM = b"\xef\xbb\xbf"

_ENVELOPE_KEYS = frozenset({"code", "msg", "message", "trace_id", "success", "timestamp"})

# Fields in which the container of a list can report that it could not be read, and words for that in its status.
_ERROR_FIELDS = ("error", "errors", "err_message", "failed_message")
_FAILURES = frozenset({"error", "fail", "failed", "failure"})

# The names of a total, of an object beside the rows that can hold it, and of a flag that more rows follow.
_TOTALS = ("count", "total", "totalCount", "total_count")
_PAGING = ("pagination", "paging", "page", "pageInfo", "page_info", "meta")
_MORE = ("hasMore", "has_more", "hasNext", "has_next", "hasNextPage", "has_next_page")

_LIST_FIELDS = ("rows", "list", "data", "records")

# A2E does not publish the name of the field that holds a quote.
_PRICE_FIELDS = ("coins", "credits", "cost", "price", "total", "amount")


def decode(response: Response, operation: str = "") -> Envelope:  # noqa: C901  a branch for each case
    """Unwrap a response of the API, and note what is unknown about it.

    Args:
        response: The response.
        operation: `Request.operation`.

    Raises:
        APIError: A2E reports an error; the subclass says which.
        NetworkError: The response is that of a firewall, and the request did not reach A2E.
        UnexpectedResponseError: The response is a redirect, is not valid JSON, or is JSON of an unknown shape.
    """
    status, headers, content = response.status, response.headers, response.body
    for name in filter(_learning.is_limit_header, headers):
        _learning.note("rate header", "responses", content={name.lower(): headers[name]})
    # Case 0: a firewall. Cloudflare marks its challenges by this header, and passes nothing on.
    if headers.get("cf-mitigated", "").strip().lower() == "challenge":
        msg = (
            f"A firewall (Cloudflare) in front of A2E asked for a check by a browser (HTTP {status}, cf-mitigated: "
            "challenge). The request did not reach A2E. Try again later, or from another network"
        )
        raise NetworkError(msg, request_sent=False)
    # Case 1: redirect.
    if 300 <= status < 400:
        _raise_redirect(response, operation)
    good = 200 <= status < 300
    # Case 2: success without data. Many delete operations send no body at all.
    if good and (not content or content.isspace()):
        return Envelope(data=None, status=status, operation=operation)
    # Case 3: stream of events.
    if good and headers.get("content-type", "").lower().startswith("text/event-stream") and content[:1] != b"{":
        return _decode_stream(response, operation)
    # Case 4: the body is not JSON.
    try:
        is_flat = content.count(b"[") + content.count(b"{") <= _MAX_DEPTH
        body = json.loads(content) if is_flat else _parse_nested(content)
    except ValueError as error:  # also bad UTF-8 and integers with too many digits
        _raise_not_json(response, error, operation)
    # Case 5: an envelope.
    if isinstance(body, dict):
        code, success, trace_id = body.get("code"), body.get("success"), body.get("trace_id")
        is_zero = code == "0" or (code == 0 and not isinstance(code, bool))
        if not good or not (is_zero if code is not None else success is not False and success != "false"):
            _raise_api_error(body, response, operation)
        data = body.get("data", body)
        if data is body:
            data = {key: value for key, value in body.items() if key not in _ENVELOPE_KEYS} or None
        return Envelope(
            data=data,
            status=status,
            trace_id=trace_id if isinstance(trace_id, str) else "",
            body=content,
            headers=headers,
            operation=operation,
        )
    # Case 6: a bare array.
    if not good:
        _raise_api_error({"message": body if isinstance(body, str) else ""}, response, operation)
    if not isinstance(body, list):
        _raise_unexpected("A2E's response is JSON, but neither an object nor an array", response, operation)
    return Envelope(data=body, status=status, body=content, headers=headers, operation=operation)


def _raise_unexpected(message: str, response: Response, operation: str, cause: Exception | None = None) -> Never:
    if response.status != 404:  # E6, the web page for a wrong path
        _learning.note(f"response with HTTP {response.status}", operation, content=response.body)
    raise UnexpectedResponseError(message, status=response.status, body=response.body) from cause


def _parse_nested(content: bytes) -> Any:  # noqa: ANN401  any JSON
    """Parse JSON. A value that is nested more than `_MAX_DEPTH` deep is emptied, so that the rest can be used."""
    try:
        value = json.loads(content)
    except RecursionError:
        value = json.loads(_cut(content.decode(json.detect_encoding(content), "surrogatepass")))
    layer = [value]
    for _ in range(_MAX_DEPTH):
        parts = (part.values() if isinstance(part, dict) else part for part in layer if isinstance(part, dict | list))
        layer = [child for children in parts for child in children if isinstance(child, dict | list)]
        if not layer:
            return value
    for part in layer:
        part.clear()
    return value


def _cut(text: str) -> str:
    """Replace what is nested more than `_MAX_DEPTH` deep by null, in JSON that Python's parser cannot read."""
    kept, depth, begin = [], 0, 0
    for token in re.finditer(_NESTING, text):
        if token[0] in {"[", "{"}:
            depth += 1
            if depth > _MAX_DEPTH and begin < len(text):
                kept += [text[begin : token.start()], "null"]
                begin = len(text)
        elif token[0] in {"]", "}"}:
            if depth == _MAX_DEPTH + 1:
                begin = token.end()
            depth -= 1
    return "".join([*kept, text[begin:]])


def _decode_stream(response: Response, operation: str) -> Envelope:
    """Return the data of the last ``result`` event of a stream; its ``error`` event is an error of A2E."""
    result: Envelope | None = None
    for block in response.body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n"):
        event, lines = "", []
        for line in block.split("\n"):
            # The standard allows one space after the colon, which is not part of the value, and several data lines.
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                lines.append(value)
        if event not in {"result", "error"}:
            continue
        data: Any = "\n".join(lines)
        with contextlib.suppress(ValueError, RecursionError):  # data that is not JSON stays text
            data = json.loads(data)
        if event == "error":
            _raise_api_error(data if isinstance(data, dict) else {"message": data}, response, operation)
        result = Envelope(data=data, status=response.status, body=response.body, operation=operation)
    if result is None:
        _raise_unexpected("A2E's stream ended without a result", response, operation)
    return result


def _raise_not_json(response: Response, error: Exception, operation: str) -> Never:
    content_type = response.headers.get("content-type", "no content type")
    is_html = "html" in content_type.lower() or response.body.removeprefix(_BOM).lstrip().startswith(b"<")
    # 401, 429 and 5xx mean the same with every body. A 4xx web page means a wrong path, not an error of A2E (E6).
    if response.status in {401, 429} or response.status >= 500 or (response.status >= 400 and not is_html):
        text = "" if is_html else response.body[:_MAX_TEXT].decode("utf-8", "replace")
        _raise_api_error({"message": text}, response, operation, cause=error)
    msg = f"A2E's response is not valid JSON ({content_type})"
    if response.status == 404:  # E6: for a wrong path A2E sends a web page, for a missing task JSON
        msg = "A2E has no such operation (the response is a web page): check the path and the base URL"
    _raise_unexpected(msg, response, operation, error)


def _raise_redirect(response: Response, operation: str) -> Never:
    try:
        host = urlsplit(response.headers.get("location", "")).hostname
    except ValueError:  # a location such as "http://[" is not a URL
        host = None
    target = f"to {host}" if host else "to another page"
    msg = f"A2E redirected the request {target}. The redirect was not followed, to protect the token: check base_url"
    _raise_unexpected(msg, response, operation)


def _raise_api_error(
    body: dict[str, Any], response: Response, operation: str, cause: BaseException | None = None
) -> Never:
    if body.get("code") in (200, "200") and response.status < 400:  # never seen as a success (reference 1.3)
        _raise_unexpected("A2E's response has code 200, which is not known to mean success", response, operation)
    error = to_api_error(body, response)
    if is_unknown(error):
        kind, word = f"error with HTTP {error.status}", "" if error.code is None else error.code
        _learning.note(kind, operation, word=word, content=response.body)
    raise error from cause


# Records in `data`


@attrs.define(eq=False, repr=False)
class AcceptedTask:
    """A task that A2E has accepted, and charged.

    Attributes:
        id: A2E's id.
        raw: The record as A2E sent it, or None if it could not be read.
        trace_id: A2E's id of the exchange.
        adopted: The task was found in A2E's list; this call did not start it.
    """

    id: str
    raw: dict[str, Any] | None = attrs.field(default=None, repr=False)
    trace_id: str = ""
    adopted: bool = False


def records(data: object, *, known_only: bool = False, operation: str = "") -> list[dict[str, Any]]:
    """Return every object with an ``_id``, once: of an object, an array, a numeric-key object or a list container.

    Args:
        data: The content of an envelope.
        known_only: Read only the containers of reference 1.7. Elsewhere an id could belong to anything.
        operation: That of the envelope, for what is unknown about the list.

    Raises:
        UnexpectedResponseError: There is no list, although a total says that there are records.
    """
    if isinstance(data, dict):
        if id_of(data):
            return [data]  # the usual case
        data = _known_items_of(data) if known_only else _items_of(data, operation)
    items = data if isinstance(data, list) else []
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        if isinstance(item, dict) and id_of(item):
            found.setdefault(id_of(item), item)
    return list(found.values())


def rows(data: object) -> list[dict[str, Any]]:
    """Return every object of a list, also those without an ``_id``.

    Raises:
        UnexpectedResponseError: As in `records`.
    """
    items = _items_of(data) if isinstance(data, dict) else data
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def count_rows(data: object) -> int:
    """Return the number of rows of a page, those without an ``_id`` included.

    Raises:
        UnexpectedResponseError: As in `records`.
    """
    rows = _items_of(data) if isinstance(data, dict) and not id_of(data) else data
    return len(rows) if isinstance(rows, list) else 1


def total_of(data: object) -> int | None:
    """Return the total that a list states for all its pages, None if it states none."""
    if not isinstance(data, dict):
        return None
    parts = [data, _container_in(data), *map(data.get, _PAGING)]
    return next((total for part in parts if (total := _stated_total(part)) is not None), None)


def _stated_total(data: object) -> int | None:
    if not isinstance(data, dict):
        return None
    for key in _TOTALS:
        value = data.get(key)
        # Longer numbers are no totals, and Python refuses to convert a number of thousands of digits.
        if isinstance(value, str) and value.isdecimal() and len(value) < 9:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def check_list(envelope: Envelope, name: str | None = None) -> None:
    """Check that a page is a list, even if an empty one.

    A caller that finds no task in the list may send a start again. Therefore a response of another shape, or a list
    without names, must not pass for a list without the task.

    Args:
        envelope: The page.
        name: The field that holds the names, if it is not known that A2E repeats them in the list.

    Raises:
        UnexpectedResponseError: The page is not a list, has no names, or reports a failure itself.
    """
    data = envelope.data
    # an empty list beside a failure is not an empty list: A2E's database did not answer
    if isinstance(data, dict) and not id_of(data) and (failure := _failure_in(data)):
        msg = f"A2E's list of tasks reports a failure: {failure}"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
    found = records(data, known_only=True)
    if not found and (failure := _failure_beside(envelope)):
        msg = f"A2E's list of tasks is empty, and its response contradicts that: {failure}"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
    if not (isinstance(data, list) or found or (isinstance(data, dict) and _is_empty(data))):
        _learning.note("list", envelope.operation, content=data)
        msg = "A2E's list of tasks has an unknown shape"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
    if name is not None and found and not any(record.get(name) for record in found):
        msg = f"A2E's list of tasks has no field {name!r}: a task cannot be found by its name there"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


def _failure_in(data: dict[str, Any]) -> str:
    """Return the failure that the container of a list reports, an empty text for none."""
    if data.get("success", True) not in (True, 1, "true"):
        return f"success is {data['success']!r}"
    if data.get("code", 0) not in (None, 0, "0", 200, "200"):
        return f"code is {data['code']!r}"
    if data.get("ok", True) in (False, "false") or str(data.get("status")).lower() in _FAILURES:
        return f"its status is {data.get('status', False)!r}"
    return next((f"{name} is {data[name]!r}"[:_MAX_TEXT] for name in _ERROR_FIELDS if data.get(name)), "")


def _failure_beside(envelope: Envelope) -> str:
    """Return what speaks against an empty list: a failure in the envelope around it, or rows that follow."""
    body: object = None
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(envelope.body or b"null")
    around = {name: value for name, value in body.items() if name != "data"} if isinstance(body, dict) else {}
    data = envelope.data if isinstance(envelope.data, dict) else {}
    parts = [part for part in (data, *map(data.get, _PAGING)) if isinstance(part, dict)]
    more = (f"{name} is true" for part in parts for name in _MORE if part.get(name) in (True, "true"))
    return _failure_in(around) or next(more, "")


def _items_of(data: dict[str, Any], operation: str = "") -> list[Any]:
    container = _container_in(data)
    if container is not None:
        return _list_in(container) or []
    parts = [data, *(part for part in data.values() if isinstance(part, dict))]
    totals = [total for part in parts if (total := _stated_total(part))]
    if totals or any(map(_lists_of_objects, parts)):
        _learning.note("list", operation, content=data)
        fields = ", ".join(repr(str(name)[:40]) for name in list(data)[:10])
        count = f", although it counts {max(totals)}" if totals else ""
        msg = f"A2E's list has an unknown shape{count}: none of its fields is known to hold the records: {fields}"
        raise UnexpectedResponseError(msg, status=200)
    return []


def _container_in(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return the object that holds the list: `data` itself, or the only one in it that holds a list."""
    if _list_in(data) is not None:
        return data
    parts = [part for part in data.values() if isinstance(part, dict) and not id_of(part)]
    containers = [part for part in parts if _list_in(part) is not None]
    return containers[0] if len(containers) == 1 else None


def _list_in(data: dict[str, Any]) -> list[Any] | None:
    """Return the list of an object: the one in a known field, else its only list of objects."""
    known = _known_items_of(data)
    lists = _lists_of_objects(data) if known is None else [known]
    return lists[0] if len(lists) == 1 else None


def _lists_of_objects(data: dict[str, Any]) -> list[list[Any]]:
    lists = (part for part in data.values() if isinstance(part, list))
    return [part for part in lists if any(isinstance(item, dict) for item in part)]


def _known_items_of(data: dict[str, Any]) -> list[Any] | None:
    for key in _LIST_FIELDS:
        if isinstance(data.get(key), list):
            return list(data[key])
    # S5: some operations write an array as an object with the keys "0", "1", …
    return [value for key, value in data.items() if key.isdecimal()] or None


def _is_empty(data: object) -> bool:
    return isinstance(data, dict) and any(data.get(key) == [] for key in _LIST_FIELDS)


def id_of(record: dict[str, Any]) -> str:
    """Return the ``_id`` as text (some families count with integers), or an empty string."""
    value = record.get("_id")
    if isinstance(value, dict):
        value = value.get("$oid")  # as MongoDB writes it
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)


def detail(envelope: Envelope, task_id: str) -> dict[str, Any]:
    """Return the requested record from the response to a detail request.

    Raises:
        NotFoundError: The response is empty (E7): the task is unknown, or not visible yet.
        UnexpectedResponseError: The response holds something else.
    """
    data = envelope.data
    if isinstance(data, dict) and data.get("_id") == task_id:  # the usual case
        return data
    for record in records(data, operation=envelope.operation):
        if id_of(record) == task_id:
            return record
    if not data or _is_empty(data):
        msg = "A2E shows no task with this id"
        raise NotFoundError(msg, status=envelope.status, trace_id=envelope.trace_id, task_id=task_id)
    _learning.note("record", envelope.operation, content=data)
    msg = "A2E's response does not contain the requested task"
    raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body, task_id=task_id)


def accepted_tasks(envelope: Envelope) -> list[AcceptedTask]:
    """Return the tasks that a start created: at least one.

    Raises:
        ContentRejectedError: The response reports flagged content instead of a task (E8).
        UnexpectedResponseError: The response contains no task id. The start may have cost coins.
    """
    found = records(envelope.data, known_only=True)
    if found:
        return [AcceptedTask(id_of(raw), raw, envelope.trace_id) for raw in found]
    rejection = content_rejection(envelope.data)
    if rejection:
        raise ContentRejectedError(rejection, status=envelope.status, trace_id=envelope.trace_id)
    _learning.note("response to a start", envelope.operation, content=envelope.data)
    msg = "A2E's response to the start contains no task id"
    raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


def quoted_coins(envelope: Envelope) -> float | None:
    """Return the price in coins that a quote states, None if no known field holds a price."""
    return next((amount for amount in _amounts_in(envelope.data) if amount >= 0), None)


def spendings(envelope: Envelope) -> tuple[tuple[str, float], ...]:
    """Return the transactions that cost coins of a page of the history: each with its JSON, and how much it cost."""
    found = [(json.dumps(row, sort_keys=True), next(_amounts_in(row), 0)) for row in rows(envelope.data)]
    return tuple((row, -amount) for row, amount in found if amount < 0)


def _amounts_in(data: object) -> Iterator[float]:
    """Yield the numbers of coins in the fields that can hold a price, or the number that the data are."""
    values = [data.get(name) for name in _PRICE_FIELDS] if isinstance(data, dict) else [data]
    for value in values:
        # a number that no float can hold, such as 10**400, cannot be counted
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            yield value
