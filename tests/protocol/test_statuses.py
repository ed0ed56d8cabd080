"""A2E's status words (reference 1.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from a2e_async import _learning
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.families import FAMILIES, IMAGE_TO_VIDEO, Family, is_queued
from a2e_async.models import ImageToVideoRecord, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_word_was_logged() -> Iterator[None]:
    """Forget which words were logged before."""
    _learning.forget()  # the words are kept for the life of a process
    yield
    _learning.forget()


def status_for(word: str, *, failed_code: str = "", has_result: bool = False) -> TaskStatus:
    """Return the status of a record of the family Image to Video."""
    link = "https://cdn.example/x.mp4" if has_result else ""
    raw = {"_id": "t1", "current_status": word, "failed_code": failed_code, "result_url": link}
    status: TaskStatus = to_record(raw, IMAGE_TO_VIDEO).status
    return status


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


@pytest.mark.parametrize("word", ["", "copy", "pendding", "cancelled", "timeout", "succeeded", "warming up"])
def test_unknown_word_is_running(word: str) -> None:
    """An unknown or missing word means running."""
    assert status_for(word) is TaskStatus.RUNNING


every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


@every_family
@pytest.mark.parametrize("field", ["", "status", "state"])
@pytest.mark.parametrize(
    ("words", "status"),
    [(("completed", "success", " Success "), TaskStatus.SUCCEEDED), (("failed", "fail", "error"), TaskStatus.FAILED)],
    ids=["good", "bad"],
)
def test_words_for_the_end(family: Family, field: str, words: tuple[str, ...], status: TaskStatus) -> None:
    """They mean the same in every family, also in ``status`` and ``state`` of a record without the family's field."""
    for word in words:
        raw = {"_id": "t1", field or family.status_field: word}
        record = to_record(raw, family)
        assert (record.status, record.current_status) == (status, word.strip().lower())


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ({"current_status": "processing", "status": "failed", "state": "failed"}, "processing"),
        ({"current_status": "", "status": "sent", "state": "failed"}, "sent"),
        ({"current_status": None, "status": " ", "state": "failed"}, "failed"),
        ({"status": 1, "state": True}, ""),
        ({"status": ["failed"], "state": {"failed": 1}}, ""),
    ],
    ids=str,
)
def test_fields_with_the_word(raw: dict[str, Any], word: str) -> None:
    """The family's field wins, then `status`, then `state`; what is no text there is no word."""
    record = to_record({"_id": "t1", **raw}, IMAGE_TO_VIDEO)
    assert record.current_status == word
    assert record.extra == {name: value for name, value in raw.items() if name != "current_status"}


def test_unknown_word_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log says once for each family what is assumed."""
    for has_result in (False, False, True):
        status_for("warming up", has_result=has_result)
    to_record({"_id": "t2", "current_status": "warming up"}, FAMILIES["talkingPhoto"])
    assert [record.getMessage() for record in caplog.records] == [
        f"A task of {title} has an unknown status 'warming up': it counts as running until there is a result"
        for title in ("Image to Video", "Talking Photo")
    ]


@every_family
def test_known_words_are_not_logged(family: Family, caplog: pytest.LogCaptureFixture) -> None:
    """A word of the table, a missing word, and a mark for flagged content are nothing to tell."""
    for word in [*family.status_words, "", "nsfw"]:
        to_record({"_id": "t1", family.status_field: word}, family)
    assert not caplog.records


@pytest.mark.parametrize("word", ["https://cdn.example/secret.mp4", "a\nline", "x" * 41])
def test_text_that_is_no_word_is_not_logged(word: str, caplog: pytest.LogCaptureFixture) -> None:
    """It could be a link or a prompt."""
    assert status_for(word) is TaskStatus.RUNNING
    (record,) = caplog.records
    assert word not in record.getMessage()


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
