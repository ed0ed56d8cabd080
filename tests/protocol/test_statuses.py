"""What A2E's status words mean (reference 1.12)."""

from __future__ import annotations

import pytest

from a2e_async._protocol.statuses import IMAGE_TO_VIDEO, is_unbegun, status_of
from a2e_async.models import ImageToVideoRecord, TaskStatus


def judged(word: str, *, failed_code: str = "", has_result: bool = False) -> TaskStatus:
    """Judge a record of the family Image to Video."""
    return status_of(IMAGE_TO_VIDEO, word, failed_code=failed_code, has_result=has_result)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("initialized", TaskStatus.QUEUED),
        ("sent", TaskStatus.QUEUED),
        ("pending", TaskStatus.RUNNING),
        ("processing", TaskStatus.RUNNING),
        ("completed", TaskStatus.SUCCEEDED),
        ("failed", TaskStatus.FAILED),
    ],
)
def test_words_of_image_to_video(word: str, status: TaskStatus) -> None:
    """Every word that A2E uses for this family means what the reference says."""
    assert judged(word) is status


@pytest.mark.parametrize("word", ["", "copy", "pendding", "error", "cancelled", "timeout", "succeeded", "warming up"])
def test_unknown_word_is_running(word: str) -> None:
    """A word that we do not know, or none, is never a failure and never an end."""
    assert judged(word) is TaskStatus.RUNNING


@pytest.mark.parametrize("word", ["", "warming up", "ready"])
def test_result_settles_an_unknown_word(word: str) -> None:
    """A task with a result is done, whatever A2E calls that."""
    assert judged(word, has_result=True) is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("word", ["pending", "sent", "failed"])
def test_result_does_not_overrule_a_known_word(word: str) -> None:
    """A result field that is filled in early ends nothing that A2E calls unfinished or failed."""
    assert judged(word, has_result=True) is IMAGE_TO_VIDEO[word]


@pytest.mark.parametrize("word", ["nsfw", "nfsw", "rejected_nsfw", "nfsw detected"])
def test_nsfw_is_a_failure(word: str) -> None:
    """Every spelling of a moderation's no is a failure, even with a result."""
    assert judged(word, has_result=True) is TaskStatus.FAILED


@pytest.mark.parametrize("word", ["", "sent", "processing", "completed", "anything"])
def test_failed_code_is_a_failure(word: str) -> None:
    """A record with a failure code has failed, whatever its word says."""
    assert judged(word, failed_code="generation_error", has_result=True) is TaskStatus.FAILED


@pytest.mark.parametrize("status", TaskStatus)
def test_final_statuses(status: TaskStatus) -> None:
    """Exactly success and failure end a task."""
    assert status.is_final == (status in {TaskStatus.SUCCEEDED, TaskStatus.FAILED})


@pytest.mark.parametrize("word", ["initialized", "sent", "pending", "processing", "completed", "failed", "", "other"])
def test_only_an_initialized_task_is_unbegun(word: str) -> None:
    """Deleting a task gives the coins back only while A2E calls it "initialized"; no other word promises that."""
    assert is_unbegun(ImageToVideoRecord(id="t1", current_status=word)) is (word == "initialized")
