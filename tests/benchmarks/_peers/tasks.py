"""A task at the server, and its state. Only values."""

from __future__ import annotations

import enum
from typing import Any

import attrs

__all__ = ["Phase", "Task"]


class Phase(enum.Enum):
    """State of a task."""

    NEW = enum.auto()
    RUNNING = enum.auto()
    DONE = enum.auto()


@attrs.frozen(kw_only=True)
class Task:
    """A task as the dialects need it."""

    id: str
    fields: dict[str, Any]
    origin: str
    began: float
