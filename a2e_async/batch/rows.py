"""What a batch asks of its journal, what a row looks like in it, and the journal of a batch that keeps none."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Protocol, Self

import attrs

from a2e_async._protocol.batch import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COLUMNS", "Journal", "NoJournal", "to_row", "to_values"]

COLUMNS = (
    "key", "state", "request", "purchases", "marker", "task_id", "coins", "quoted", "record", "target", "path", "error",
    "created_at", "sent_at", "accepted_at", "finished_at",
)  # fmt: skip
"""Of the table `jobs`, in its order."""

_JSON = frozenset({"request", "record", "error"})
_COINS = frozenset({"coins", "quoted"})


class Journal(Protocol):
    """What a batch asks of its journal."""

    @property
    def id(self) -> str:
        """Random; another one in each journal."""
        ...

    @property
    def spent(self) -> float:
        """Coins that earlier runs have spent, or may have."""
        ...

    async def load(self, key: str) -> Row | None:
        """Return what is known of a job."""
        ...

    def note(self, row: Row) -> None:
        """Write a row down soon."""
        ...

    async def save(self, row: Row) -> None:
        """Write a row down, and return when it is safe.

        Raises:
            JournalError: It could not be written.
        """
        ...

    async def flush(self) -> None:
        """Return when all that was noted is safe.

        Raises:
            JournalError: It could not be written.
        """
        ...

    async def link(self, digest: str, since: float) -> str | None:
        """Return the link of a picture that was uploaded since then (seconds since the epoch)."""
        ...

    def keep_link(self, digest: str, link: str) -> None:
        """Write down soon where a picture was uploaded to."""
        ...


@attrs.define(eq=False)
class NoJournal:
    """For a batch that keeps none: it forgets everything at its end."""

    id: str = attrs.field(factory=lambda: secrets.token_hex(8))
    spent: float = 0.0

    async def load(self, key: str) -> Row | None:
        """Know nothing."""

    def note(self, row: Row) -> None:
        """Do nothing."""

    async def save(self, row: Row) -> None:
        """Do nothing."""

    async def flush(self) -> None:
        """Do nothing."""

    async def link(self, digest: str, since: float) -> str | None:
        """Know nothing."""

    def keep_link(self, digest: str, link: str) -> None:
        """Do nothing."""

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""


def to_values(row: Row) -> tuple[Any, ...]:
    """Return what is written of a row, as it is at this moment."""
    return tuple(_written(name, getattr(row, name)) for name in COLUMNS)


def _written(name: str, value: Any) -> Any:  # noqa: ANN401  whatever a row holds
    if value is None or name not in _JSON | _COINS:
        return value
    if name in _JSON:
        return json.dumps(value)
    try:
        return float(value)
    except OverflowError:  # a price of more digits than can be counted
        return None


def to_row(values: Sequence[Any]) -> Row:
    """Read a row."""
    fields = dict(zip(COLUMNS, values, strict=True))
    return Row(**{name: json.loads(value) if name in _JSON and value else value for name, value in fields.items()})
