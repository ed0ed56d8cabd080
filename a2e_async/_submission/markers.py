"""The rules that tell which task in A2E's list belongs to which start. Pure: no I/O, no clock."""

# How it works: A2E charges when it accepts a start, and it has no idempotency keys. So the submitter appends a marker
# to the name of each task (``Ada [a2e:7f3k2m9q4d]``). A start whose response is lost is found in A2E's list by that
# marker. No other field identifies a task: A2E may rewrite a prompt (reference 1.6), and the newest record may belong
# to another program (trap 48). The same marker tells whether a response belongs to the start that it answers.

import hashlib
import math
import re
from typing import Any

from a2e_async._protocol.converter import parse_time
from a2e_async._protocol.responses import id_of
from a2e_async._protocol.schema import check_text

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base32: without i, l, o and u, which are easily misread
_DIGIT_OF_BYTE = _DIGITS.encode() * 8

_MARKER = r"[0-9a-hjkmnp-tv-z]{10}"
# "[a2e:7f3k2m9q4d]", or "[a2e:7f3k2m9q4d*3]" for a start that makes three tasks: A2E gives all of them the same name
_TAG = rf"\[a2e:({_MARKER})(?:\*([2-9]))?\]"
# the rest of a tag at the end of a name that A2E has cut
_CUT_TAG = r"\[a2e:([0-9a-hjkmnp-tv-z]{1,10})(?:\*[2-9]?)?[.… ]*$"

# Characters of a name, with its marker, from which on the marker comes first. A2E does not publish how long a name can
# be; 40 is the only limit that it states for any family (reference 4.1), and a shorter name is not cut.
_MAX_TRAILING = 40


def make_marker(noise: bytes) -> str:
    """Return the marker made from ten random bytes."""
    return noise.translate(_DIGIT_OF_BYTE).decode()


def marker_for_key(key: str) -> str:
    """Return the marker of an idempotency key. It never changes, so that another process finds the task as well."""
    return make_marker(hashlib.sha256(key.encode()).digest()[:10])


def mark_name(name: str, marker: str, count: int = 1, max_length: int | None = None, *, in_front: bool = False) -> str:
    """Return the name to send: the caller's name with the marker at its end, or at the front of a long name.

    A marker left over from an earlier task is removed. A2E can cut the end of a long name, and the marker with it. So
    the name is cut here if A2E states a limit, and else it comes behind the marker.

    Args:
        name: The caller's name.
        marker: The marker.
        count: Number of tasks that the start makes.
        max_length: The most characters of a name, if A2E states a limit.
        in_front: Whether A2E is known to cut names, so that the marker comes first in any case.
    """
    while re.search(_TAG, name):  # a loop: removing one marker can join the two halves of another
        name = re.sub(_TAG, "", name).strip() or "again"
    tag = f"[a2e:{marker}]" if count == 1 else f"[a2e:{marker}*{count}]"
    length = len(name) + 1 + len(tag)
    if max_length is not None and length > max_length:
        name = f"{name[: max_length - len(tag) - 2].rstrip()}…"
    is_long = max_length is None and length > _MAX_TRAILING
    return f"{tag} {name}" if in_front or is_long else f"{name} {tag}"


def keep_marker(old: str, new: str, max_length: int | None = None) -> str:
    """Return a new name for a task, with the marker of its old name, by which the task is found again."""
    tag = re.search(_TAG, old)
    return new if tag is None else mark_name(new, tag[1], int(tag[2] or 1), max_length)


def marker_in(name: object) -> str:
    """Return the marker in the name of a record, an empty text if it has none."""
    tag = re.search(_TAG, name) if isinstance(name, str) else None
    return "" if tag is None else tag[1]


def is_same_name(sent: str, shown: str) -> bool:
    """Tell whether a record can show a name that was sent: cut, or without some of its punctuation."""
    sent, shown = (re.sub(r"[\W_]+", "", name).casefold() for name in (sent, shown))
    return shown in sent or sent in shown


def markers_for(marker_or_key: str) -> frozenset[str]:
    """Return the possible markers of a text: a marker, a name that holds one, or an idempotency key."""
    check_text("marker_or_key", marker_or_key)
    tag = re.search(_TAG, marker_or_key)
    if tag is not None:
        return frozenset({tag[1]})
    text = marker_or_key.strip().lower()
    # ten base32 digits can be a marker or a key; one scan of the list finds both
    return frozenset({marker_for_key(marker_or_key), *([text] if re.fullmatch(_MARKER, text) else [])})


class Search:
    """Search for the tasks with a marker.

    Attributes:
        markers: The markers to find; a task with any of them matches.
        since: The earliest time at which such a task can have been created, in A2E's clock.
        found: Task id -> the record from A2E's list, or None if only the id is known. The oldest first.
        cut: Ids of the tasks whose names A2E has cut, and which may have one of the markers.
    """

    def __init__(self, markers: frozenset[str], since: float = -math.inf) -> None:
        self.markers, self.since = markers, since
        self.found: dict[str, dict[str, Any] | None] = {}
        self.cut: set[str] = set()


class MarkerIndex:
    """Index of one family: which tasks carry which marker, as far as A2E has listed them.

    Attributes:
        complete_since: The index lacks no task that was listed before this time: when the newest record of the last
            full scan was created, in A2E's clock. Minus infinity before the first full scan.
        name: The field of a record that holds the task's name.
    """

    def __init__(self, name: str = "name") -> None:
        self.complete_since = -math.inf
        self.name = name
        self._ids: dict[str, tuple[str, ...]] = {}  # marker -> task ids
        self._seen: dict[str, tuple[str, float, Any]] = {}  # task id -> marker, last seen at, createdAt
        self._searches: dict[str, list[Search]] = {}  # marker -> the open searches

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
        return min((search.since for search in self.searches()), default=math.inf)

    def searches(self) -> list[Search]:
        """Return the open searches."""
        return [search for searches in self._searches.values() for search in searches]

    def add_record(self, record: dict[str, Any], now: float) -> tuple[str, ...]:
        """Add a record that A2E listed at `now`, if its name holds a marker.

        Returns:
            The ids of all tasks with this marker, if this task is new and exceeds the number that the start was to
            make; else an empty tuple.
        """
        name = record.get(self.name)
        tag = re.search(_TAG, name) if isinstance(name, str) else None
        if tag is None:
            self._note_cut(record, name)
            return ()
        return self.add(tag[1], record, now, count=int(tag[2] or 1))

    def add(self, marker: str, record: dict[str, Any], now: float, *, count: int = 1) -> tuple[str, ...]:
        """Add a record whose marker is known; see `add_record`."""
        task_id, ids = id_of(record), self._ids.get(marker, ())
        is_new = task_id not in ids
        if is_new:
            ids = self._ids[marker] = (*ids, task_id)
        self._seen[task_id] = marker, now, record.get("createdAt")
        for search in self._searches.get(marker, ()):
            search.found = self._oldest_first({**search.found, task_id: record})
        return tuple(self._oldest_first(dict.fromkeys(ids))) if is_new and len(ids) > count else ()

    def _note_cut(self, record: dict[str, Any], name: object) -> None:
        """Tell the searches about a record whose name ends within a tag, which may be theirs."""
        if isinstance(name, str) and (cut := re.search(_CUT_TAG, name)) is not None:
            for marker, searches in self._searches.items():
                if marker.startswith(cut[1]):
                    for search in searches:
                        search.cut.add(id_of(record))

    def add_known(self, marker: str, task_id: str, seen_at: float) -> None:
        """Add a task that another process has started at `seen_at`, if A2E has not shown it yet."""
        if task_id not in self._seen:
            self._ids[marker] = (*self._ids.get(marker, ()), task_id)
            self._seen[task_id] = marker, seen_at, None
            for search in self._searches.get(marker, ()):
                search.found.setdefault(task_id, None)

    def marker_of(self, task_id: str) -> str:
        """Return the marker of a task, an empty text if it is not known."""
        return self._seen.get(task_id, ("",))[0]

    def last_seen_at(self, task_id: str) -> float:
        """Return when A2E last showed a task; minus infinity if it never did."""
        return self._seen.get(task_id, ("", -math.inf, None))[1]

    def forget(self, task_id: str) -> None:
        """Remove a task that A2E no longer has, so that its idempotency key can be used again."""
        marker, *_ = self._seen.pop(task_id, ("",))
        if marker:
            others = tuple(other for other in self._ids.pop(marker) if other != task_id)
            if others:
                self._ids[marker] = others

    def _oldest_first(self, found: dict[str, dict[str, Any] | None]) -> dict[str, dict[str, Any] | None]:
        return dict(sorted(found.items(), key=lambda item: self._created(item[0])))

    def _created(self, task_id: str) -> float:
        created = parse_time(self._seen.get(task_id, ("", 0.0, None))[2])
        return math.inf if created is None else created.timestamp()
