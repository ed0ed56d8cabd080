"""Many videos in one call: `ImageToVideo.batch` returns a `Batch`, which yields a `JobResult` for each `Job`."""

from a2e_async.batch.jobs import Job
from a2e_async.batch.journal_file import JournalInfo
from a2e_async.batch.journal_reader import JournalReader
from a2e_async.batch.results import ActiveJob, JobResult, JobState, Progress, Stage
from a2e_async.batch.rules import EntryState, JournalEntry
from a2e_async.batch.runner import Batch

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
