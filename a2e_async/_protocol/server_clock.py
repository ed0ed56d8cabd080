"""A2E's clock, as its responses tell it. Pure: the clocks of this machine are arguments.

Times that decide about a second charge are kept in A2E's clock. A clock of this machine may stand still (the monotonic
one while the machine is suspended) or be set (the wall clock), and another process has another one.
"""

import datetime as dt
import email.utils
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

SERVER_SKEW = 60.0  # seconds by which the clocks of A2E's own machines may differ

_TRUSTED_FOR = 600.0  # seconds after a Date in which an older one is not believed

# Headers with which caches report that an answer is a stored copy. ``Age`` is the standard one (RFC 9111).
_CACHE_HEADERS = ("x-cache", "x-cache-status", "x-proxy-cache", "cf-cache-status", "cache-status", "warning")

# "HIT", "TCP_MEM_HIT", "nginx; hit"; but not CloudFront's "RefreshHit", for which the cache has asked A2E.
_STORED = r"(?i)(?<![a-z])hit(?![a-z])|stale|updating"


class ServerTime(NamedTuple):
    """A moment in A2E's clock, in seconds since the epoch. It lies between two times; both are infinite if unknown."""

    earliest: float = -math.inf
    latest: float = math.inf


class ServerClock:
    """A2E's clock: the last ``Date``, and what has passed on the clocks of this machine since then.

    Attributes:
        date: The last ``Date``, in seconds since the epoch; None before the first one.
    """

    def __init__(self) -> None:
        self.date: float | None = None
        self._text = ""
        self._monotonic = self._wall = 0.0

    def observe(self, headers: Mapping[str, str], *, monotonic: float, wall: float) -> None:
        """Learn the time from the headers of a response that has just arrived."""
        text = headers.get("date", "")
        if text == self._text and monotonic - self._monotonic < 1.0:
            return  # many responses have the same Date, and it is known since the first one
        date = parse_http_date(text)
        if date is None or is_cached(headers):
            return
        # an older time is that of a cache, or A2E has set its clock back
        is_old = date < self.time(monotonic=monotonic, wall=wall).earliest - SERVER_SKEW
        if not is_old or monotonic - self._monotonic >= _TRUSTED_FOR:
            self.date, self._text, self._monotonic, self._wall = date, text, monotonic, wall

    def time(self, *, monotonic: float, wall: float) -> ServerTime:
        """Return the time of A2E's clock now.

        Args:
            monotonic: Now, in seconds of the monotonic clock.
            wall: Now, in seconds since the epoch by this machine's clock.
        """
        if self.date is None:
            return ServerTime()
        # The monotonic clock never counts too much, and too little if the machine was suspended. Then the wall clock
        # has counted on, unless it was set.
        passed = monotonic - self._monotonic
        # a Date has no fractions of a second
        return ServerTime(self.date + passed, self.date + 1.0 + max(passed, wall - self._wall))


def is_cached(headers: Mapping[str, str]) -> bool:
    """Tell whether a response is the stored copy of a cache, by its own headers."""
    if age := headers.get("age", "").partition(",")[0].strip():
        try:
            return float(age) > 0.0
        except ValueError:
            return True  # no server that makes an answer itself sends an Age
    return any(name in headers and re.search(_STORED, headers[name]) for name in _CACHE_HEADERS)


def parse_http_date(value: str) -> float | None:
    """Return the seconds since the epoch of a date in a header (RFC 9110), or None if the text is not a date."""
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:  # the zone "-0000" means UTC of unknown origin
            moment = moment.replace(tzinfo=dt.UTC)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
