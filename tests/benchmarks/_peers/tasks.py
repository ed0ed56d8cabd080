"""A job at the server, and how far it is. Only values."""

from __future__ import annotations

import enum
from typing import Any

import attrs

__all__ = ["Phase", "Task"]


class Phase(enum.Enum):
    """How far a task is."""

    NEW = enum.auto()
    RUNNING = enum.auto()
    DONE = enum.auto()


@attrs.frozen(kw_only=True)
class Task:
    """What a dialect can speak about.

    Attributes:
        id: Unique; it is in the link to the result, so that a client can prove whose result it got.
        fields: What was sent to start it.
        origin: Under which URL the server was reached, without a slash at the end.
        began: Unix time of the acceptance, in seconds.
    """

    id: str
    fields: dict[str, Any]
    origin: str
    began: float
