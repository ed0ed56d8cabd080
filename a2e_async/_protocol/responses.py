"""Responses of A2E: status and bytes become the `data` of a success or the right error, and `data` becomes records.

Reference 1.3 lists the envelopes of successful responses (S1 to S8), 1.4 those of errors (E1 to E8), 1.7 the lists.

How `decode` works:

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
import math
from typing import Any, Never
from urllib.parse import urlsplit

import attrs

from a2e_async._protocol.error_mapping import content_rejection, to_api_error
from a2e_async._protocol.messages import Envelope, Response
from a2e_async.errors import ContentRejectedError, NotFoundError, UnexpectedResponseError

# Bytes of a body that is not JSON that become the text of an error (reference 1.4).
_MAX_TEXT = 200

_BOM = b"\xef\xbb\xbf"

_ENVELOPE_KEYS = frozenset({"code", "msg", "message", "trace_id", "success", "timestamp"})

_LIST_FIELDS = ("rows", "list", "data", "records")

# A2E does not publish the name of the field that holds a quote.
_PRICE_FIELDS = ("coins", "credits", "cost", "price", "total", "amount")


def decode(response: Response) -> Envelope:
    """Unwrap a response of the API.

    Raises:
        APIError: A2E reports an error; the subclass says which.
        UnexpectedResponseError: The response is a redirect, is not valid JSON, or is JSON of an unknown shape.
    """
    status, content = response.status, response.body
    # Case 1: redirect.
    if 300 <= status < 400:
        _raise_redirect(response)
    good = 200 <= status < 300
    # Case 2: success without data. Many delete operations send no body at all.
    if good and (not content or content.isspace()):
        return Envelope(data=None, status=status)
    # Case 3: stream of events.
    content_type = response.headers.get("content-type", "").lower()
    if good and content_type.startswith("text/event-stream") and not content.startswith(b"{"):
        return _decode_stream(response)
    # Case 4: the body is not JSON.
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError: also bad UTF-8 and integers with too many digits
        _raise_not_json(response, error)
    # Case 5: an envelope.
    if isinstance(body, dict):
        code, success, trace_id = body.get("code"), body.get("success"), body.get("trace_id")
        is_zero = code == "0" or (code == 0 and not isinstance(code, bool))
        if not good or not (is_zero if code is not None else success is not False and success != "false"):
            _raise_api_error(body, response)
        rest = {key: value for key, value in body.items() if key not in _ENVELOPE_KEYS}
        data = rest.get("data", rest or None)
        return Envelope(
            data=data,
            status=status,
            trace_id=trace_id if isinstance(trace_id, str) else "",
            body=content,
            headers=response.headers,
        )
    # Case 6: a bare array.
    if good and isinstance(body, list):
        return Envelope(data=body, status=status, body=content, headers=response.headers)
    if not good:
        _raise_api_error({"message": body if isinstance(body, str) else ""}, response)
    msg = "A2E's response is JSON, but neither an object nor an array"
    raise UnexpectedResponseError(msg, status=status, body=content)


def _decode_stream(response: Response) -> Envelope:
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
            _raise_api_error(data if isinstance(data, dict) else {"message": data}, response)
        result = Envelope(data=data, status=response.status, body=response.body)
    if result is None:
        msg = "A2E's stream ended without a result"
        raise UnexpectedResponseError(msg, status=response.status, body=response.body)
    return result


def _raise_not_json(response: Response, error: Exception) -> Never:
    content_type = response.headers.get("content-type", "no content type")
    is_html = "html" in content_type.lower() or response.body.removeprefix(_BOM).lstrip().startswith(b"<")
    # 401, 429 and 5xx mean the same with every body. A 4xx web page means a wrong path, not an error of A2E (E6).
    if response.status in {401, 429} or response.status >= 500 or (response.status >= 400 and not is_html):
        text = "" if is_html else response.body[:_MAX_TEXT].decode("utf-8", "replace")
        _raise_api_error({"message": text}, response, cause=error)
    msg = f"A2E's response is not valid JSON ({content_type})"
    if response.status == 404:  # E6: for a wrong path A2E sends a web page, for a missing task JSON
        msg = "A2E has no such operation (the response is a web page): check the path and the base URL"
    raise UnexpectedResponseError(msg, status=response.status, body=response.body) from error


def _raise_redirect(response: Response) -> Never:
    try:
        host = urlsplit(response.headers.get("location", "")).hostname
    except ValueError:  # a location such as "http://[" is not a URL
        host = None
    target = f"to {host}" if host else "to another page"
    msg = f"A2E redirected the request {target}. The redirect was not followed, to protect the token: check base_url"
    raise UnexpectedResponseError(msg, status=response.status, body=response.body)


def _raise_api_error(body: dict[str, Any], response: Response, cause: BaseException | None = None) -> Never:
    if body.get("code") in (200, "200") and response.status < 400:  # never seen as a success (reference 1.3)
        msg = "A2E's response has code 200, which is not known to mean success"
        raise UnexpectedResponseError(msg, status=response.status, body=response.body)
    raise to_api_error(body, response) from cause


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


def records(data: object) -> list[dict[str, Any]]:
    """Return every object with an ``_id``, once: of an object, an array, a numeric-key object or a list container."""
    if isinstance(data, dict):
        if id_of(data):
            return [data]  # the usual case
        data = _items_of(data)
    items = data if isinstance(data, list) else []
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        if isinstance(item, dict) and id_of(item):
            found.setdefault(id_of(item), item)
    return list(found.values())


def rows(data: object) -> list[dict[str, Any]]:
    """Return every object of a list, also those without an ``_id``."""
    items = _items_of(data) if isinstance(data, dict) else data
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def count_rows(data: object) -> int:
    """Return the number of rows of a page, those without an ``_id`` included."""
    rows = _items_of(data) if isinstance(data, dict) and not id_of(data) else data
    return len(rows) if isinstance(rows, list) else 1


def total_of(data: object) -> int | None:
    """Return the total that a list states for all its pages, None if it states none."""
    if isinstance(data, dict):
        for key in ("count", "total"):
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
        UnexpectedResponseError: The page is not a list, or has no names.
    """
    data = envelope.data
    found = records(data)
    if not (isinstance(data, list) or found or (isinstance(data, dict) and _is_empty(data))):
        msg = "A2E's list of tasks has an unknown shape"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
    if name is not None and found and not any(record.get(name) for record in found):
        msg = f"A2E's list of tasks has no field {name!r}: a task cannot be found by its name there"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


def _items_of(data: dict[str, Any]) -> list[Any]:
    for key in _LIST_FIELDS:
        if isinstance(data.get(key), list):
            return list(data[key])
    # S5: some operations write an array as an object with the keys "0", "1", …
    return [value for key, value in data.items() if key.isdecimal()]


def _is_empty(data: object) -> bool:
    return isinstance(data, dict) and any(data.get(key) == [] for key in _LIST_FIELDS)


def id_of(record: dict[str, Any]) -> str:
    """Return the ``_id`` as text (some families count with integers), or an empty string."""
    value = record.get("_id")
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
    for record in records(data):
        if id_of(record) == task_id:
            return record
    if not data or _is_empty(data):
        msg = "A2E shows no task with this id"
        raise NotFoundError(msg, status=envelope.status, trace_id=envelope.trace_id, task_id=task_id)
    msg = "A2E's response does not contain the requested task"
    raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body, task_id=task_id)


def accepted_tasks(envelope: Envelope) -> list[AcceptedTask]:
    """Return the tasks that a start created: at least one.

    Raises:
        ContentRejectedError: The response reports flagged content instead of a task (E8).
        UnexpectedResponseError: The response contains no task id. The start may have cost coins.
    """
    found = records(envelope.data)
    if found:
        return [AcceptedTask(id_of(raw), raw, envelope.trace_id) for raw in found]
    rejection = content_rejection(envelope.data)
    if rejection:
        raise ContentRejectedError(rejection, status=envelope.status, trace_id=envelope.trace_id)
    msg = "A2E's response to the start contains no task id"
    raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


def quoted_coins(envelope: Envelope) -> float | None:
    """Return the price in coins that a quote states, None if no known field holds a price."""
    data = envelope.data
    values = [data.get(name) for name in _PRICE_FIELDS] if isinstance(data, dict) else [data]
    return next((value for value in values if _is_price(value)), None)


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
