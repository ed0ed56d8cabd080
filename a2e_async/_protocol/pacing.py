"""How long to hold a request back. `_transport/pacing.py` waits."""

from __future__ import annotations

import attrs

__all__ = ["Beat"]


@attrs.define
class Beat:
    """An even beat: `per_second` requests in a second, and never a burst to catch up."""

    per_second: float
    _next: float = 0.0

    def take(self, now: float) -> float:
        """Take the next place and return the seconds until it comes."""
        begins = max(now, self._next)
        self._next = begins + 1.0 / self.per_second
        return begins - now
