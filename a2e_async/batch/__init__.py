"""Very many videos in one call: `ImageToVideo.batch` makes a `Batch`, which yields an `Outcome` for each `Job`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from a2e_async.batch.jobs import Job
from a2e_async.batch.results import Doing, Outcome, Progress, Stage, State
from a2e_async.batch.rules import Row, RowState
from a2e_async.batch.runner import Batch

if TYPE_CHECKING:
    from a2e_async.batch.journal_reader import JournalInfo, JournalReader

__all__ = [
    "Batch",
    "Doing",
    "Job",
    "JournalInfo",
    "JournalReader",
    "Outcome",
    "Progress",
    "Row",
    "RowState",
    "Stage",
    "State",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever the name stands for
    """Import what needs aiosqlite when it is asked for."""
    if name in {"JournalInfo", "JournalReader"}:
        from a2e_async.batch import journal_reader  # noqa: PLC0415  see above

        return getattr(journal_reader, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
