"""Whether to try something again, and after how long. `_transport/retry.py` sleeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from a2e_async.errors import APIError, BusyError, NetworkError, RateLimitError, ServerError, UnexpectedResponseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.config import RetryPolicy
    from a2e_async.errors import A2EError

__all__ = ["Attempts", "is_passing"]

_TURNED_AWAY = (BusyError, RateLimitError)
_PASSING = (*_TURNED_AWAY, NetworkError, ServerError)


def is_passing(error: A2EError) -> bool:
    """Tell whether the trouble can pass by itself, so that asking again makes sense.

    Of the answers that make no sense, a redirect or a 4xx page will come again; a page or a cut body that came with
    another status is a gateway's trouble.
    """
    if isinstance(error, UnexpectedResponseError):
        return not 300 <= error.status < 500
    return isinstance(error, _PASSING)


@attrs.define
class Attempts:
    """The tries of one thing.

    Attributes:
        policy: How often, and for how long.
        worth_it: Tells whether an error is worth another try.
        began: When the first try failed; the time before was no trouble, however long it was.
        failed: How many tries have failed.
    """

    policy: RetryPolicy
    worth_it: Callable[[A2EError], bool]
    began: float
    failed: int = 0

    def after(self, error: A2EError, *, now: float, chance: float) -> float | None:
        """Return how many seconds to wait before the next try, or None if there shall be none.

        Args:
            error: Why the try failed.
            now: Seconds on the clock that also gave `began`.
            chance: Evenly random, from 0 to 1: full jitter.
        """
        self.failed += 1
        if not self.worth_it(error) or self.failed >= self.policy.max_attempts:
            return None
        asked = error.retry_after if isinstance(error, APIError) else None
        pause = chance * self._longest() if asked is None else asked
        # whoever was turned away stands in line with all the others; how long that takes is not A2E's trouble
        spent = 0.0 if isinstance(error, _TURNED_AWAY) else now - self.began
        return pause if spent + pause <= self.policy.max_time else None

    def _longest(self) -> float:
        # the exponent is bounded, since 2.0 ** 1100 is an OverflowError
        return min(self.policy.max_delay, self.policy.base * 2.0 ** min(self.failed - 1, 64))
