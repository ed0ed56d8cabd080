"""The records inside of good answers, wherever A2E put them (reference 1.3 S4 to S6, and 1.7)."""

from __future__ import annotations

import math
from typing import Any

from a2e_async._protocol.error_mapping import refused_content
from a2e_async._protocol.messages import Envelope
from a2e_async.errors import ContentRejectedError, NotFoundError, UnexpectedResponseError

__all__ = ["check_list", "count_rows", "detail", "id_of", "quoted", "records", "rows", "started", "total_of"]

_LISTS = ("rows", "list", "data", "records")

_PRICES = ("coins", "credits", "cost", "price", "total", "amount")
"""Where a quote may stand: the field is not published."""


def records(data: object) -> list[dict[str, Any]]:
    """Return every object with an ``_id``, once: of an object, an array, a numeric-key object or a list container."""
    if isinstance(data, dict):
        if id_of(data):
            return [data]  # nearly always
        data = _contained(data)
    items = data if isinstance(data, list) else []
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        if isinstance(item, dict) and id_of(item):
            found.setdefault(id_of(item), item)
    return list(found.values())


def rows(data: object) -> list[dict[str, Any]]:
    """Return every object of a list, also those without an ``_id``."""
    items = _contained(data) if isinstance(data, dict) else data
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def count_rows(data: object) -> int:
    """Return how many rows a page has, those without an ``_id`` included."""
    rows = _contained(data) if isinstance(data, dict) and not id_of(data) else data
    return len(rows) if isinstance(rows, list) else 1


def total_of(data: object) -> int | None:
    """Return how many records a list says that it has on all its pages, None if it does not say."""
    if isinstance(data, dict):
        for key in ("count", "total"):
            value = data.get(key)
            if isinstance(value, str) and value.isdecimal() and len(value) < 9:
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def check_list(envelope: Envelope, name: str | None = None) -> None:
    """Check that a page is a list, even if an empty one, where "nothing there" would make us start.

    Args:
        envelope: The page.
        name: The field that holds the names, if it is not known that A2E repeats them.

    Raises:
        UnexpectedResponseError: It is something else, or has no names to look at.
    """
    data = envelope.data
    found = records(data)
    if not (isinstance(data, list) or found or (isinstance(data, dict) and _is_empty(data))):
        msg = "A2E's list holds no list"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
    if name is not None and found and not any(record.get(name) for record in found):
        msg = f"A2E's list shows no {name!r}, so that it cannot tell what was started"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


def _contained(data: dict[str, Any]) -> list[Any]:
    for key in _LISTS:
        if isinstance(data.get(key), list):
            return list(data[key])
    return [value for key, value in data.items() if key.isdecimal()]


def _is_empty(data: object) -> bool:
    return isinstance(data, dict) and any(data.get(key) == [] for key in _LISTS)


def id_of(record: dict[str, Any]) -> str:
    """Return the ``_id`` as text (some families count with integers), or an empty string."""
    value = record.get("_id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)


def detail(envelope: Envelope, task_id: str) -> dict[str, Any]:
    """Return the record that was asked for.

    Raises:
        NotFoundError: The answer is empty (E7): unknown, or not visible yet.
        UnexpectedResponseError: The answer holds something else.
    """
    data = envelope.data
    if isinstance(data, dict) and data.get("_id") == task_id:  # nearly always
        return data
    for record in records(data):
        if id_of(record) == task_id:
            return record
    if not data or _is_empty(data):
        msg = "A2E shows no task with this id"
        raise NotFoundError(msg, status=envelope.status, trace_id=envelope.trace_id, task_id=task_id)
    msg = "A2E's answer holds another thing than the task that was asked for"
    raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body, task_id=task_id)


def started(envelope: Envelope) -> list[dict[str, Any]]:
    """Return the records of the tasks that a start made: at least one.

    Raises:
        ContentRejectedError: The answer reports flagged content instead of a task (E8).
        UnexpectedResponseError: The answer holds no task id. It may have been paid.
    """
    found = records(envelope.data)
    if found:
        return found
    refused = refused_content(envelope.data)
    if refused:
        raise ContentRejectedError(refused, status=envelope.status, trace_id=envelope.trace_id)
    msg = "A2E answered the start without naming a task"
    raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


def quoted(envelope: Envelope) -> float | None:
    """Return the coins that a quote names, None if it names none that we understand."""
    data = envelope.data
    values = [data.get(name) for name in _PRICES] if isinstance(data, dict) else [data]
    return next((value for value in values if _is_price(value)), None)


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
