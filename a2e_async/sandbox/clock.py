"""The clocks of the sandbox. They look `time` up at each call, so that tests can put virtual time in its place."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)


def monotonic() -> float:
    """Return seconds that never go back."""
    return time.monotonic()
