"""Tables of A2E's status words (reference 1.12)."""

from collections.abc import Mapping

from a2e_async.models.common import TaskRecord, TaskStatus

# Nearly all families use these words.
USUAL: Mapping[str, TaskStatus] = {
    "initialized": TaskStatus.QUEUED,
    "sent": TaskStatus.QUEUED,
    "pending": TaskStatus.QUEUED,
    "processing": TaskStatus.RUNNING,
    "completed": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
}

IMAGE_TO_VIDEO: Mapping[str, TaskStatus] = {
    **USUAL,
    "pending": TaskStatus.RUNNING,  # in this family the model is at work; in all others the task is in the queue
}

VOICE: Mapping[str, TaskStatus] = {**USUAL, "pendding": TaskStatus.QUEUED}  # A2E's spelling (trap 5)

TWIN: Mapping[str, TaskStatus] = {
    **USUAL,
    **dict.fromkeys(("ready", "trained", "succeeded"), TaskStatus.SUCCEEDED),  # grade D
}

AVATAR_VIDEO: Mapping[str, TaskStatus] = {
    "init": TaskStatus.QUEUED,
    "start": TaskStatus.QUEUED,
    "pending": TaskStatus.QUEUED,
    "process": TaskStatus.RUNNING,
    "copy": TaskStatus.RUNNING,
    "success": TaskStatus.SUCCEEDED,
    "fail": TaskStatus.FAILED,
}


def status_of(words: Mapping[str, TaskStatus], word: str, *, failed_code: str, has_result: bool) -> TaskStatus:
    """Return the status of a record. An unknown word without a result means RUNNING.

    Args:
        words: The table of the task's family.
        word: A2E's word, trimmed and in lower case; empty if the record has none.
        failed_code: As in the record; empty or "0" means no failure.
        has_result: Whether the family's own result field is filled in.
    """
    # A2E marks flagged content in the status word, in two spellings, and the tables do not list these words.
    if failed_code or "nsfw" in word or "nfsw" in word:
        return TaskStatus.FAILED
    if word in words:
        return words[word]
    return TaskStatus.SUCCEEDED if has_result else TaskStatus.RUNNING


def is_queued(record: TaskRecord) -> bool:
    """Tell whether A2E has not begun the task yet, so that deleting the task returns the coins (reference 9.4)."""
    return record.current_status == "initialized"
