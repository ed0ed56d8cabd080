"""What the records of all families share. Models are inert: only a `TaskHandle` can act."""

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["Item", "TaskRecord", "TaskStatus", "TaskUpdate"]


@attrs.frozen(kw_only=True)
class Item:
    """Something that A2E shows and that is no task.

    Attributes:
        extra: Fields of the answer that this version does not know, as they came.
    """

    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


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
        progress: Per cent of the work, 0 to 100, in the families whose records say so (A2E's ``process``), else None.
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
    progress: float | None = None
    result_url: str = attrs.field(default="", repr=False)
    trace_id: str = attrs.field(default="", eq=False, repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


R = TypeVar("R", bound=TaskRecord)


@attrs.frozen(kw_only=True)
class TaskUpdate(Generic[R]):
    """One change of a task, as far as A2E was asked meanwhile: a short status can be passed over.

    Attributes:
        task_id: A2E's id of the task.
        old: The status before, or None if it was not known.
        new: The status now.
        current_status: A2E's raw word now, as in the record.
        progress: Per cent, 0 to 100, where A2E gives it, else None.
        seen_at: When the answer that showed it came (UTC, by this machine's clock).
        record: All that A2E said.
    """

    task_id: str
    old: TaskStatus | None
    new: TaskStatus
    current_status: str
    progress: float | None
    seen_at: dt.datetime
    record: R = attrs.field(repr=False)
