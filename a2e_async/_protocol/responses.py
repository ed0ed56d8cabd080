"""Records in successful responses, wherever A2E puts them (reference 1.3 S4 to S6, and 1.7)."""

import math
from typing import Any

from a2e_async._protocol.error_mapping import content_rejection
from a2e_async._protocol.messages import Envelope
from a2e_async.errors import ContentRejectedError, NotFoundError, UnexpectedResponseError

_LIST_FIELDS = ("rows", "list", "data", "records")

# A2E does not publish the name of the field that holds a quote.
_PRICE_FIELDS = ("coins", "credits", "cost", "price", "total", "amount")


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


def started_records(envelope: Envelope) -> list[dict[str, Any]]:
    """Return the records of the tasks that a start created: at least one.

    Raises:
        ContentRejectedError: The response reports flagged content instead of a task (E8).
        UnexpectedResponseError: The response contains no task id. The start may have cost coins.
    """
    found = records(envelope.data)
    if found:
        return found
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
