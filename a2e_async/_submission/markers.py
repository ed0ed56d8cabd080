"""The rules that tell which task in A2E's list belongs to which start. Pure: no I/O, no clock."""

# How it works: A2E charges when it accepts a start, and it has no idempotency keys. So the submitter appends a marker
# to the name of each task (``Ada [a2e:7f3k2m9q4d]``). A start whose response is lost is found in A2E's list by that
# marker. No other field identifies a task: A2E may rewrite a prompt (reference 1.6), and the newest record may belong
# to another program (trap 48).

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from a2e_async._protocol.converter import parse_time
from a2e_async._protocol.error_mapping import parse_http_date
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.responses import id_of
from a2e_async._protocol.schema import check_text

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: without i, l, o and u, which are easily misread
_DIGIT_OF_BYTE = _DIGITS.encode() * 8

_MARKER = re.compile(r"[0-9a-hjkmnp-tv-z]{10}")
# "[a2e:7f3k2m9q4d]", or "[a2e:7f3k2m9q4d*3]" for a start that makes three tasks: A2E gives all of them the same name
_TAG = re.compile(rf"\[a2e:({_MARKER.pattern})(?:\*([2-9]))?\]")

_SERVER_SKEW = 60.0  # seconds by which the clocks of A2E's own machines may differ
_LOCAL_SKEW = 900.0  # seconds by which this machine's clock may differ from A2E's; used if a response has no Date


def make_marker(noise: bytes) -> str:
    """Return the marker made from ten random bytes."""
    return noise.translate(_DIGIT_OF_BYTE).decode()


def marker_for_key(key: str) -> str:
    """Return the marker of an idempotency key. It never changes, so that another process finds the task as well."""
    return make_marker(hashlib.sha256(key.encode()).digest()[:10])


def mark_name(name: str, marker: str, count: int = 1, max_length: int | None = None) -> str:
    """Return the name to send: the caller's name with the marker at its end.

    A marker left over from an earlier task is removed. A name that is too long is cut before the marker, since A2E
    would otherwise cut the marker.
    """
    while _TAG.search(name):  # a loop: removing one marker can join the two halves of another
        name = _TAG.sub("", name).strip() or "again"
    tag = f" [a2e:{marker}]" if count == 1 else f" [a2e:{marker}*{count}]"
    if max_length is not None and len(name) + len(tag) > max_length:
        name = f"{name[: max_length - len(tag) - 1].rstrip()}…"
    return f"{name}{tag}"


def markers_for(marker_or_key: str) -> frozenset[str]:
    """Return the possible markers of a text: a marker, a name that ends with one, or an idempotency key."""
    check_text("marker_or_key", marker_or_key)
    tag = _TAG.search(marker_or_key)
    if tag is not None:
        return frozenset({tag[1]})
    text = marker_or_key.strip().lower()
    # ten base32 digits can be a marker or a key; one scan of the list finds both
    return frozenset({marker_for_key(marker_or_key), *([text] if _MARKER.fullmatch(text) else [])})


def cutoff_time(envelope: Envelope, *, age: float, wall: float) -> float:
    """Return the time before which no record of a list page is relevant, in seconds since the epoch.

    Args:
        envelope: The page.
        age: Seconds since the earliest start that is searched for; infinite for all records.
        wall: Seconds since the epoch by this machine's clock.
    """
    # A2E's own clock, since it also wrote `createdAt`. The local clock may be wrong by any amount: the age is a
    # difference on the monotonic clock, and the wall clock is used only without a Date, with a wide margin.
    server_time = parse_http_date(envelope.headers.get("date", ""))
    return wall - age - _LOCAL_SKEW if server_time is None else server_time - age - _SERVER_SKEW


def ends_before(records: Sequence[Mapping[str, Any]], since: float) -> bool:
    """Tell whether a page ends before `since`, so that the pages after it need not be read."""
    parsed = [parse_time(record.get("createdAt")) for record in records]
    times = [time.timestamp() for time in parsed if time is not None]
    # "newest first" is A2E's usual order and not a promise (trap 59): in any other order, or if one time is missing,
    # a later page may still hold the task
    newest_first = len(times) == len(parsed) and times == sorted(times, reverse=True)
    return newest_first and bool(times) and times[-1] < since


@attrs.define(eq=False, repr=False)
class Search:
    """Search for the tasks with a marker.

    Attributes:
        markers: The markers to find; a task with any of them matches.
        since: The earliest time at which such a task can have been created, in seconds on the event loop's clock.
        found: Task id -> the record from A2E's list, or None if only the id is known. The oldest first.
    """

    markers: frozenset[str]
    since: float = -math.inf
    found: dict[str, dict[str, Any] | None] = attrs.field(factory=dict)


@attrs.define(eq=False, repr=False)
class MarkerIndex:
    """Index of one family: which tasks carry which marker, as far as A2E has listed them.

    Attributes:
        complete_since: The index lacks no task that was listed before this time, the start of the last full scan. In
            seconds on the event loop's clock; minus infinity before the first full scan.
        name: The field of a record that holds the task's name.
    """

    complete_since: float = -math.inf
    name: str = "name"
    _ids: dict[str, set[str]] = attrs.field(factory=dict)  # marker -> task ids
    _seen: dict[str, tuple[str, float, float]] = attrs.field(factory=dict)  # task id -> marker, last seen at, created
    _searches: dict[str, list[Search]] = attrs.field(factory=dict)  # marker -> the open searches

    def open(self, search: Search) -> None:
        """Begin a search, with the tasks that the index already holds."""
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
        """Return how far back the list has to be read to serve all open searches."""
        return min((search.since for searches in self._searches.values() for search in searches), default=math.inf)

    def add_record(self, record: dict[str, Any], now: float) -> tuple[str, ...]:
        """Add a record that A2E listed at `now`, if its name ends with a marker.

        Returns:
            The ids of all tasks with this marker, if this task is new and exceeds the number that the start was to
            make; else an empty tuple.
        """
        name = record.get(self.name)
        tag = _TAG.search(name) if isinstance(name, str) else None
        if tag is None:
            return ()
        return self.add(tag[1], record, now, count=int(tag[2] or 1))

    def add(self, marker: str, record: dict[str, Any], now: float, *, count: int = 1) -> tuple[str, ...]:
        """Add a record whose marker is known; see `add_record`."""
        task_id, ids = id_of(record), self._ids.setdefault(marker, set())
        is_new = task_id not in ids
        ids.add(task_id)
        created = parse_time(record.get("createdAt"))
        self._seen[task_id] = marker, now, math.inf if created is None else created.timestamp()
        for search in self._searches.get(marker, ()):
            search.found = self._oldest_first({**search.found, task_id: record})
        return tuple(self._oldest_first(dict.fromkeys(ids))) if is_new and len(ids) > count else ()

    def last_seen_at(self, task_id: str) -> float:
        """Return when A2E last showed a task; minus infinity if it never did."""
        return self._seen.get(task_id, ("", -math.inf, 0.0))[1]

    def forget(self, task_id: str) -> None:
        """Remove a task that A2E no longer has, so that its idempotency key can be used again."""
        marker, *_ = self._seen.pop(task_id, ("",))
        if marker:
            self._ids[marker].discard(task_id)
            if not self._ids[marker]:
                del self._ids[marker]

    def _oldest_first(self, found: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        return dict(sorted(found.items(), key=lambda item: self._seen.get(item[0], ("", 0.0, math.inf))[2]))
