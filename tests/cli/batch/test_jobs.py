"""Rows become jobs: keys, paths and what the command line says for all of them."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import pytest

from a2e_async.cli.batch.job_file import Entry, Row, Source, entries
from a2e_async.cli.flow import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from a2e_async.batch import Job

DEFAULTS = {"prompt": "she smiles", "negative_prompt": NEGATIVE_PROMPT, "video_time": 5, "model_version": "a2e"}


def read(*words: dict[str, Any], folder: str = "", **defaults: Any) -> list[Entry]:
    """Make jobs of rows."""
    rows = [Row(number=number, words=word) for number, word in enumerate(words, 2)]
    source = Source(name="jobs.csv", file_name="jobs.csv", folder=pathlib.Path(folder), read=lambda: iter(rows))
    return list(entries(source, DEFAULTS | defaults))


def jobs(*words: dict[str, Any], **options: Any) -> list[Job]:
    """Make jobs of good rows."""
    found = read(*words, **options)
    assert not any(entry.error for entry in found)
    return [entry.job for entry in found if entry.job is not None]


def keys(*words: dict[str, Any]) -> list[str]:
    """Return the keys of rows."""
    return [job.key for job in jobs(*words)]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ({"image": "pictures/ada.png"}, "ada"),
        ({"image": "pictures\\ada.v2.png"}, "ada.v2"),
        ({"image_url": "https://example.com/a/ada.png?signature=x#y"}, "ada"),
        ({"image": "https://example.com/a/ada%20b.png"}, "ada b"),
        ({"image": "ada.png", "key": "order-17"}, "order-17"),
        ({"image_url": "https://example.com/"}, "job"),
        ({}, "job"),
        ({"image": 7}, "job"),
    ],
)
def test_key(words: dict[str, Any], key: str) -> None:
    """A job is called as its row says, or after its image, without what could be secret in a link."""
    assert keys(words) == [key]


def test_names_that_come_again_are_numbered() -> None:
    """Images of one name are numbered in their order, past names that look the same."""
    names = ["a/ada.png", "b/ada.png", "ada.jpg", "ada-2.png", "eva.png", "ada.png"]
    assert keys(*({"image": name} for name in names)) == ["ada", "ada-2", "ada-3", "ada-2-2", "eva", "ada-4"]


def test_rows_at_the_end_change_no_key() -> None:
    """Whatever is added at the end of an input, the keys before it stay as they are."""
    rows = [{"image": "ada.png"}, {"image": "ada.png"}, {"key": "x", "image": "ada.png"}]
    assert keys(*rows, {"image": "ada.png"}, {"image": "ada-2.png"})[:3] == keys(*rows)


def test_wrong_rows_keep_their_key() -> None:
    """A row that is wrong gives its name to nobody: mending it changes no other key."""
    wrong, good = read({"image": "ada.png", "key": 7}, {"image": "ada.png"})
    assert wrong.error == "key must be a text, not 7"
    assert good.job is not None
    assert good.job.key == "ada"


def test_key_that_comes_twice() -> None:
    """A key that is taken is refused with the row that has it, be it given or made."""
    first, second, third, fourth = read({"key": "a"}, {"key": "a"}, {"image": "b.png"}, {"key": "b"})
    assert not first.error
    assert second.error == "key 'a' is that of row 2 already"
    assert not third.error
    assert fourth.error == "key 'b' is that of row 4 already"
    assert fourth.job is None


@pytest.mark.timeout(20)
def test_many_pictures_of_one_name_are_quick() -> None:
    """Thirty thousand images of one name take no search among thirty thousand keys each."""
    assert keys(*({"image": "frame.png"} for _ in range(30_000)))[-1] == "frame-30000"


def test_defaults() -> None:
    """What a row does not say comes from the command line; what it says stays."""
    silent, outspoken = jobs(
        {"image": "a.png"}, {"image": "b.png", "prompt": "hi", "video_time": 10, "model_version": "a2e-v2"}
    )
    assert (silent.prompt, silent.negative_prompt, silent.video_time, silent.model_version) == tuple(DEFAULTS.values())
    assert (outspoken.prompt, outspoken.video_time, outspoken.model_version) == ("hi", 10, "a2e-v2")


def test_lora_has_its_own_negative_prompt() -> None:
    """The preset of a LoRA is not spoilt by a default that nobody has asked for."""
    (plain,) = jobs({"image": "a.png", "lora": "l"})
    (asked,) = jobs({"image": "a.png", "lora": "l"}, negative_prompt="hats")
    (said,) = jobs({"image": "a.png", "lora": "l", "negative_prompt": NEGATIVE_PROMPT})
    assert [job.negative_prompt for job in (plain, asked, said)] == [None, "hats", NEGATIVE_PROMPT]


def test_paths_are_relative_to_the_input() -> None:
    """A relative path begins at the file's folder; links and absolute paths are left alone."""
    absolute = str(pathlib.Path("/pictures/c.png").absolute())
    words = [{"image": "a.png", "end_image": "b.png"}, {"image": "https://example.com/a.png"}, {"image": absolute}]
    first, second, third = jobs(*words, folder="orders")
    assert (first.image, first.end_image) == (
        str(pathlib.Path("orders", "a.png")),
        str(pathlib.Path("orders", "b.png")),
    )
    assert (second.image, third.image) == ("https://example.com/a.png", absolute)


def test_error_of_the_row_comes_first() -> None:
    """A row that could not be read is passed on with its place and its reason."""
    rows = [Row(number=7, error="this is no JSON")]
    source = Source(name="jobs.jsonl", file_name="jobs.jsonl", folder=pathlib.Path(), read=lambda: iter(rows))
    assert list(entries(source, {})) == [Entry(number=7, place="jobs.jsonl:7", error="this is no JSON")]
