"""The rules that tell what a reading of A2E's list proves about a start. Pure: no I/O, no clock."""

# How it works: if the list shows no task, a start may be sent again, and is paid again. So "not found" counts only if
# the list was read whole, does not come from a cache, and is newer than the start:
#
# - `ListReading` takes the pages of one reading, and says what is wrong with it.
# - `judge` compares a good reading with the time of the start. All times are in A2E's clock (`Date`, `createdAt`).
#
# A start that is under way can be accepted late: A2E works on some for two minutes. So the list has to be newer than
# the latest moment at which A2E can have accepted the start, not only newer than the moment at which it was sent.

import enum
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from a2e_async._protocol import responses
from a2e_async._protocol.converter import parse_time
from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.pagination import PageReader
from a2e_async._protocol.server_clock import SERVER_SKEW, is_cached, parse_http_date

# An accepted task stays in A2E's list for at least this many seconds. Lists show tasks that have not expired; links
# live for about 3 days.
LISTED_UNTIL = 2.5 * 86400.0


class Verdict(enum.Enum):
    """What is known about the task of a start."""

    FOUND = "found"
    ABSENT = "surely not there"
    UNKNOWN = "not known yet"


class ListState(NamedTuple):
    """How new a complete reading of A2E's list is.

    Attributes:
        read_at: When it began, in A2E's clock; minus infinity if A2E sent no ``Date``.
        newest: When the newest record in it was created; minus infinity if no record has a time.
    """

    read_at: float = -math.inf
    newest: float = -math.inf


def judge(
    state: ListState | None,
    *,
    found: bool,
    sent_at: float | None,
    waited: float = 0.0,
    accept_time: float,
    settle_time: float,
) -> Verdict:
    """Return what is known about the task of a start after a reading of A2E's list.

    Args:
        state: How new the list is; None if it could not be read whole.
        found: Whether the list shows the task.
        sent_at: The latest time at which the start can have been sent, in A2E's clock. Infinite if that is unknown;
            None if it is a first start, so that nothing was sent before.
        waited: Seconds that have certainly passed since then, by the monotonic clock of this machine.
        accept_time: The most seconds that A2E takes to accept a start.
        settle_time: Seconds after which an accepted start is certainly listed, `accept_time` included.
    """
    # Case 1: found. A reading that is not whole proves this as well.
    if found:
        return Verdict.FOUND
    # Case 2: an unread list may hold the task.
    if state is None:
        return Verdict.UNKNOWN
    # Case 3: nothing was sent that the list could show.
    if sent_at is None:
        return Verdict.ABSENT
    # Case 4: the list shows a record that was created when A2E must have accepted the start, or never will. This is
    # the proof that the list is newer than the start. Without a ``Date``, `sent_at` is by another clock.
    if state.read_at > -math.inf and state.newest - SERVER_SKEW > sent_at + accept_time:
        return Verdict.ABSENT
    # Case 5: no such record, but enough time has passed.
    return Verdict.ABSENT if certain_age(state, sent_at, waited) >= settle_time else Verdict.UNKNOWN


def certain_age(state: ListState, sent_at: float, waited: float) -> float:
    """Return the seconds that have certainly passed since a start was sent. The arguments are those of `judge`."""
    # The larger of two ages, since neither can be too large. If `sent_at` is wrong, such as a time in the future, the
    # other one counts: the whole time has to be waited for.
    return max(waited, state.read_at - SERVER_SKEW - sent_at)


def created_at(record: Mapping[str, Any]) -> float | None:
    """Return when A2E created a record, None if it does not tell."""
    parsed = parse_time(record.get("createdAt"))
    return None if parsed is None else parsed.timestamp()


def ends_before(records: Sequence[Mapping[str, Any]], since: float) -> bool:
    """Tell whether a page ends before `since`, so that the pages after it need not be read."""
    times = [created_at(record) for record in records]
    known = [time for time in times if time is not None]
    # "newest first" is A2E's usual order and not a promise (trap 59): in any other order, or if one time is missing,
    # a later page may still hold the task
    newest_first = len(known) == len(times) and known == sorted(known, reverse=True)
    return newest_first and bool(known) and known[-1] < since


class ListReading:
    """One reading of A2E's list, page by page.

    Attributes:
        pages: The pages.
        since: How far back the list has to be read, in A2E's clock.
        made_after: A2E's clock before the reading: an older page comes from a cache. None if unknown.
        earlier: The ids of the reading before, which was not whole. All of them have to come again.
    """

    def __init__(
        self,
        pages: PageReader,
        since: float = -math.inf,
        made_after: float | None = None,
        earlier: AbstractSet[str] = frozenset(),
    ) -> None:
        self.pages, self.since, self.made_after, self.earlier = pages, since, made_after, earlier
        self._read_at = self._newest = -math.inf
        self._reaches_since = False
        self._cached_pages = 0

    @property
    def ended(self) -> bool:
        """Whether no more pages are needed."""
        # A page that is shorter than asked for may lack rows: then only the total at the end of the list can tell.
        is_enough = self._reaches_since and self.pages.is_gapless and self.earlier <= self.pages.ids
        return self.pages.ended or is_enough

    def next_request(self) -> Request:
        """Return the request for the next page."""
        return self.pages.next_request()

    def read(self, envelope: Envelope) -> list[dict[str, Any]]:
        """Read a page, and return the records that were on no page before."""
        date = parse_http_date(envelope.headers.get("date", ""))
        is_old = date is not None and self.made_after is not None and date < self.made_after - SERVER_SKEW
        self._cached_pages += is_old or is_cached(envelope.headers)
        fresh = self.pages.read(envelope)
        if self.pages.number == 1 and date is not None:
            self._read_at = date
        # a time in the future proves nothing
        limit = math.inf if date is None else date + SERVER_SKEW
        times = [time for record in fresh if (time := created_at(record)) is not None and time <= limit]
        self._newest = max([self._newest, *times])
        shown = responses.records(envelope.data)
        self._reaches_since = self._reaches_since or ends_before(shown, self.since - SERVER_SKEW)
        return fresh

    @property
    def problem(self) -> str:
        """Why this reading does not prove that a task is not in the list; empty if it does."""
        pages = self.pages
        if self._cached_pages:
            return "comes from a cache between A2E and this machine"
        # Case 1: a deleted record moves all records behind it forward by one. The first record of the next page is then
        # on the page that was read already.
        # Case 2: a list without a total can do the same unnoticed. If a second reading shows all records of the first
        # one, none was deleted during the first one, so that it was whole.
        is_proven = pages.number <= 1 or pages.total is not None or (self.earlier and self.earlier <= pages.ids)
        if pages.shrank or not is_proven:
            return "became shorter while it was read, or does not tell its length"
        if pages.unidentified:
            return "has rows without an id"
        # Case 3: fewer rows than its total: an empty or short page is a failure of A2E's database.
        if pages.ended and pages.missing:
            return f"states a total of {pages.total}, but {pages.missing} of these records are missing"
        return ""

    @property
    def state(self) -> ListState:
        """How new the list is."""
        return ListState(self._read_at, self._newest)
