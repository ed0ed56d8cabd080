"""A2E's status words (reference 1.12)."""

from __future__ import annotations

import pytest

from a2e_async._protocol.converter import to_record
from a2e_async._protocol.families import IMAGE_TO_VIDEO, is_queued
from a2e_async.models import ImageToVideoRecord, TaskStatus


def status_for(word: str, *, failed_code: str = "", has_result: bool = False) -> TaskStatus:
    """Return the status of a record of the family Image to Video."""
    link = "https://cdn.example/x.mp4" if has_result else ""
    raw = {"_id": "t1", "current_status": word, "failed_code": failed_code, "result_url": link}
    return to_record(ImageToVideoRecord, raw, IMAGE_TO_VIDEO).status


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
    """Every word of this family has the status of the reference."""
    assert status_for(word) is status


@pytest.mark.parametrize("word", ["", "copy", "pendding", "error", "cancelled", "timeout", "succeeded", "warming up"])
def test_unknown_word_is_running(word: str) -> None:
    """An unknown or missing word means running."""
    assert status_for(word) is TaskStatus.RUNNING


@pytest.mark.parametrize("word", ["", "warming up", "ready"])
def test_result_settles_an_unknown_word(word: str) -> None:
    """An unknown word with a result means success."""
    assert status_for(word, has_result=True) is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("word", ["pending", "sent", "failed"])
def test_result_does_not_overrule_a_known_word(word: str) -> None:
    """A known word wins over a result."""
    assert status_for(word, has_result=True) is IMAGE_TO_VIDEO.status_words[word]


@pytest.mark.parametrize("word", ["nsfw", "nfsw", "rejected_nsfw", "nfsw detected"])
def test_nsfw_is_a_failure(word: str) -> None:
    """Every form of nsfw is a failure, even with a result."""
    assert status_for(word, has_result=True) is TaskStatus.FAILED


@pytest.mark.parametrize("word", ["", "sent", "processing", "completed", "anything"])
def test_failed_code_is_a_failure(word: str) -> None:
    """A failure code is a failure with every word."""
    assert status_for(word, failed_code="generation_error", has_result=True) is TaskStatus.FAILED


@pytest.mark.parametrize("status", TaskStatus)
def test_final_statuses(status: TaskStatus) -> None:
    """Only success and failure are final."""
    assert status.is_final == (status in {TaskStatus.SUCCEEDED, TaskStatus.FAILED})


@pytest.mark.parametrize("word", ["initialized", "sent", "pending", "processing", "completed", "failed", "", "other"])
def test_only_an_initialized_task_is_queued(word: str) -> None:
    """A task is queued only with the word "initialized": deleting it then returns the coins."""
    assert is_queued(ImageToVideoRecord(id="t1", current_status=word)) is (word == "initialized")
