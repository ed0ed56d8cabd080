"""`a2e batch prune`: removes rows of finished jobs from a journal, after a question."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from a2e_async.batch import JournalReader
from a2e_async.errors import InvalidRequestError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Sequence

    from a2e_async._protocol.batch import RowState

__all__ = ["prune", "seconds_of"]

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds_of(age: str) -> float:
    """Read a time such as ``30d``.

    Raises:
        InvalidRequestError: It is none.
    """
    found = _AGE.fullmatch(age.strip().lower())
    if found is None:
        msg = f"{age!r} is no time: write 45s, 90m, 12h, 30d or 2w"
        raise InvalidRequestError(msg)
    return float(found[1]) * _SECONDS[found[2]]


async def prune(
    path: pathlib.Path, states: Sequence[RowState], older_than: float | None, agrees: Callable[[int], bool]
) -> int | None:
    """Remove rows, and return how many; None if somebody did not agree.

    Args:
        path: The journal.
        states: Which rows.
        older_than: Seconds since they were finished, None for all.
        agrees: Is asked with the number of rows.

    Raises:
        JournalError: The journal cannot be used, or a batch holds it.
    """
    async with JournalReader.open(path) as journal:
        until = time.time() - (older_than or 0)
        number = 0
        async for row in journal.rows(states=states):
            number += (row.finished_at or row.created_at) <= until
        if number and not agrees(number):
            return None
        return await journal.prune(states=states, older_than=older_than)
