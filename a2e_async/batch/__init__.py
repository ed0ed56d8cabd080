"""Many videos in one call: `ImageToVideo.batch` returns a `Batch`, which yields a `JobResult` for each `Job`."""

from typing import TYPE_CHECKING

from a2e_async._lazy import importer
from a2e_async.batch.iteration import Batch
from a2e_async.batch.jobs import Job
from a2e_async.batch.results import ActiveJob, JobResult, JobState, Progress, Stage

if TYPE_CHECKING:
    from a2e_async.batch.journal_file import JournalInfo
    from a2e_async.batch.journal_reader import JournalReader
    from a2e_async.batch.rules import EntryState, JournalEntry

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

# These are imported at their first use, since most programs have no journal.
_MODULES = {
    "EntryState": "rules",
    "JournalEntry": "rules",
    "JournalInfo": "journal_file",
    "JournalReader": "journal_reader",
}

if not TYPE_CHECKING:
    __getattr__ = importer(__name__, _MODULES)
