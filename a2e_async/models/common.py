"""What the records of all families share. Models are inert: only a `TaskHandle` can act."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["TaskRecord", "TaskStatus"]


class TaskStatus(enum.StrEnum):
    """Where a task stands, in one vocabulary for all families. A2E's own word is in `TaskRecord.current_status`."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Tell whether the status can no longer change."""
        return self in {TaskStatus.SUCCEEDED, TaskStatus.FAILED}


@attrs.frozen(kw_only=True)
class TaskRecord:
    """What A2E said about a task, the last time that it was asked.

    Attributes:
        id: A2E's id, an opaque string.
        name: The name given at the start. Not unique.
        status: Where it stands.
        current_status: A2E's raw word, trimmed and in lower case; empty if it said none.
        failed_code: Empty while healthy.
        failed_message: Empty while healthy, and sometimes when not.
        coins: The price in coins, or None if A2E did not say.
        created_at: When it was accepted (UTC), or None.
        result_url: Where the result can be downloaded, for about 3 days; empty before. Confidential: it needs no token.
        trace_id: A2E's name for the exchange that this was read from.
        extra: Fields of the answer that this version does not know, as they came.
    """

    id: str
    name: str = ""
    status: TaskStatus = TaskStatus.RUNNING
    current_status: str = ""
    failed_code: str = ""
    failed_message: str = ""
    coins: float | None = None
    created_at: dt.datetime | None = None
    result_url: str = attrs.field(default="", repr=False)
    trace_id: str = attrs.field(default="", eq=False, repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)
