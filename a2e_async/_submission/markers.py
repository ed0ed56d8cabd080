"""A paid start: was it not sent, rejected, or is that unknown; and which task is ours. `_submission/submitter.py` acts.

A2E charges when it accepts a start and knows no idempotency keys. So the name that is sent ends with a marker, and a
start whose answer got lost is looked for in A2E's list. Nothing else identifies a task: prompts can come back
rewritten (reference 1.6), and the newest record may be another program's (trap 48).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from a2e_async._protocol.converter import moment
from a2e_async._protocol.error_mapping import epoch
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.responses import id_of
from a2e_async._protocol.validation import check_text

__all__ = ["Register", "Search", "horizon", "is_past", "mark", "marker_of", "marker_of_key", "markers_asked"]

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32: no i, l, o or u, which are misread."""

_DIGIT_OF_BYTE = _DIGITS.encode() * 8

_MARKER = re.compile(r"[0-9a-hjkmnp-tv-z]{10}")
_TAG = re.compile(rf"\[a2e:({_MARKER.pattern})(?:\*([2-9]))?\]")
"""``[a2e:7f3k2m9q4d]``, or ``[a2e:7f3k2m9q4d*3]`` for three videos of one start, which share their name."""

_SKEW = 60.0
"""Seconds by which the clocks of A2E's machines may differ."""

_SKEW_HERE = 900.0
"""Seconds by which this machine's clock may differ from A2E's, if an answer has no ``Date``."""


def marker_of(noise: bytes) -> str:
    """Return the marker that ten random bytes make."""
    return noise.translate(_DIGIT_OF_BYTE).decode()


def marker_of_key(key: str) -> str:
    """Return the marker of an idempotency key: the same for ever, so that another process finds it again."""
    return marker_of(hashlib.sha256(key.encode()).digest()[:10])


def mark(name: str, marker: str, count: int = 1, longest: int | None = None) -> str:
    """Return the name to be sent.

    A marker that the name brings from an earlier task is taken off. What is too long is cut before the marker, since a
    marker that A2E cuts is lost.
    """
    while _TAG.search(name):  # one can hide inside of another
        name = _TAG.sub("", name).strip() or "again"
    tag = f" [a2e:{marker}]" if count == 1 else f" [a2e:{marker}*{count}]"
    if longest is not None and len(name) + len(tag) > longest:
        name = f"{name[: longest - len(tag) - 1].rstrip()}…"
    return f"{name}{tag}"


def markers_asked(marker_or_key: str) -> frozenset[str]:
    """Return the markers that somebody can mean: a marker, a name that ends with one, or an idempotency key."""
    check_text("marker_or_key", marker_or_key)
    tag = _TAG.search(marker_or_key)
    if tag is not None:
        return frozenset({tag[1]})
    text = marker_or_key.strip().lower()
    # ten digits can be both, and looking for both costs nothing
    return frozenset({marker_of_key(marker_or_key), *([text] if _MARKER.fullmatch(text) else [])})


def horizon(envelope: Envelope, *, age: float, wall: float) -> float:
    """Return the moment before which nothing in this page of a list is of interest, in seconds since the epoch.

    Args:
        envelope: The page. Its ``Date`` is A2E's own clock, which also wrote ``createdAt``.
        age: Seconds that have passed since whatever is of interest; infinite for everything.
        wall: Seconds since the epoch by this machine's clock.
    """
    there = epoch(envelope.headers.get("date", ""))
    return wall - age - _SKEW_HERE if there is None else there - age - _SKEW


def is_past(records: Sequence[Mapping[str, Any]], since: float) -> bool:
    """Tell whether this page ends before `since`, so that the pages after it hold nothing of interest.

    "Newest first" is usual and not promised (trap 59): a page in another order, or without times, ends nothing.
    """
    moments = [moment(record.get("createdAt")) for record in records]
    times = [time.timestamp() for time in moments if time is not None]
    newest_first = len(times) == len(moments) and times == sorted(times, reverse=True)
    return newest_first and bool(times) and times[-1] < since


@attrs.define(eq=False)
class Search:
    """Somebody looks for tasks with a marker.

    Attributes:
        markers: Any of them will do.
        since: When the earliest of them can have been made, in seconds on the caller's clock.
        found: Id -> the record as A2E showed it, or None if only the id is known. The oldest first.
    """

    markers: frozenset[str]
    since: float = -math.inf
    found: dict[str, dict[str, Any] | None] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Register:
    """Which tasks carry which marker, as far as A2E has shown them. One for each family of tasks.

    Attributes:
        complete_since: When the list was begun to be read, of which nothing from before is missing here; in seconds
            on the caller's clock, minus infinity if it never was.
        name: The field of a record that holds its name.
    """

    complete_since: float = -math.inf
    name: str = "name"
    _ids: dict[str, set[str]] = attrs.field(factory=dict)
    _shown: dict[str, tuple[str, float, float]] = attrs.field(factory=dict)
    _searches: dict[str, list[Search]] = attrs.field(factory=dict)

    def open(self, search: Search) -> None:
        """Begin a search, with what is known already."""
        for marker in search.markers:
            self._searches.setdefault(marker, []).append(search)
            search.found = self._oldest_first(search.found | dict.fromkeys(self._ids.get(marker, ())))

    def close(self, search: Search) -> None:
        """End a search."""
        for marker in search.markers:
            self._searches[marker].remove(search)
            if not self._searches[marker]:
                del self._searches[marker]

    def earliest(self) -> float:
        """Return how far back the list has to be read for all who search."""
        return min((search.since for searches in self._searches.values() for search in searches), default=math.inf)

    def note(self, record: dict[str, Any], now: float) -> tuple[str, ...]:
        """Take note of a record that A2E showed at `now`.

        Returns:
            The ids of the tasks that share its marker, if this one is new and one too many; else nothing.
        """
        name = record.get(self.name)
        tag = _TAG.search(name) if isinstance(name, str) else None
        if tag is None:
            return ()
        return self.add(tag[1], record, now, count=int(tag[2] or 1))

    def add(self, marker: str, record: dict[str, Any], now: float, *, count: int = 1) -> tuple[str, ...]:
        """Take note of a record that surely has this marker; see `note`."""
        task_id, ids = id_of(record), self._ids.setdefault(marker, set())
        is_new = task_id not in ids
        ids.add(task_id)
        created = moment(record.get("createdAt"))
        self._shown[task_id] = marker, now, math.inf if created is None else created.timestamp()
        for search in self._searches.get(marker, ()):
            search.found = self._oldest_first({**search.found, task_id: record})
        return tuple(self._oldest_first(dict.fromkeys(ids))) if is_new and len(ids) > count else ()

    def shown_at(self, task_id: str) -> float:
        """Return when A2E has shown a task the last time; minus infinity if it never did."""
        return self._shown.get(task_id, ("", -math.inf, 0.0))[1]

    def forget(self, task_id: str) -> None:
        """Take no longer note of a task that is gone, so that its key is free again."""
        marker, *_ = self._shown.pop(task_id, ("",))
        if marker:
            self._ids[marker].discard(task_id)
            if not self._ids[marker]:
                del self._ids[marker]

    def _oldest_first(self, found: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        return dict(sorted(found.items(), key=lambda item: self._shown.get(item[0], ("", 0.0, math.inf))[2]))
