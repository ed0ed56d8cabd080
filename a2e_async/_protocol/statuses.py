"""What A2E's status words mean. The table is reference 1.12; an unknown word is RUNNING, never a crash."""

from __future__ import annotations

from collections.abc import Mapping

from a2e_async.models.common import TaskRecord, TaskStatus

__all__ = ["AVATAR_VIDEO", "IMAGE_TO_VIDEO", "TWIN", "USUAL", "VOICE", "is_unbegun", "status_of"]

USUAL: Mapping[str, TaskStatus] = {
    "initialized": TaskStatus.QUEUED,
    "sent": TaskStatus.QUEUED,
    "pending": TaskStatus.QUEUED,
    "processing": TaskStatus.RUNNING,
    "completed": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
}
"""Of nearly all families."""

IMAGE_TO_VIDEO: Mapping[str, TaskStatus] = {
    **USUAL,
    "pending": TaskStatus.RUNNING,  # here: the AI works; elsewhere the same word means waiting
}

VOICE: Mapping[str, TaskStatus] = {**USUAL, "pendding": TaskStatus.QUEUED}  # so spelt by A2E (trap 5)

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
    """Judge a record.

    Args:
        words: The table of the task's family.
        word: A2E's word, trimmed and in lower case; empty if there was none.
        failed_code: As in the record; anything but empty and "0" is a failure.
        has_result: Whether the family's own result field is filled in, which settles an unknown word.
    """
    if failed_code or "nsfw" in word or "nfsw" in word:
        return TaskStatus.FAILED
    if word in words:
        return words[word]
    return TaskStatus.SUCCEEDED if has_result else TaskStatus.RUNNING


def is_unbegun(record: TaskRecord) -> bool:
    """Tell whether nobody at A2E has begun the task, so that deleting it gives the coins back (reference 9.4)."""
    return record.current_status == "initialized"
