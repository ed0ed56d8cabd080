"""Many videos in one call: `ImageToVideo.batch` returns a `Batch`, which yields a `JobResult` for each `Job`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from a2e_async.batch.jobs import Job
from a2e_async.batch.results import ActiveJob, JobResult, JobState, Progress, Stage
from a2e_async.batch.rules import EntryState, JournalEntry
from a2e_async.batch.runner import Batch

if TYPE_CHECKING:
    from a2e_async.batch.journal_reader import JournalInfo, JournalReader

__all__ = [
    "ActiveJob",
    "Batch",
    "EntryState",
    "Job",
    "JobResult",
    "JobState",
    "JournalEntry",
    "JournalInfo",
    "JournalReader",
    "Progress",
    "Stage",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  the type depends on the name
    """Import the classes that need aiosqlite at their first use."""
    if name in {"JournalInfo", "JournalReader"}:
        from a2e_async.batch import journal_reader  # noqa: PLC0415  see above

        return getattr(journal_reader, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
