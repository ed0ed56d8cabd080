"""Jobs of rows: keys, paths and the defaults of the command line."""

from __future__ import annotations

import pathlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from a2e_async.batch.automatic_keys import EarlierJobs
from a2e_async.cli.batch.job_file import InputRow, JobSource, read_jobs
from a2e_async.cli.options import NEGATIVE_PROMPT

if TYPE_CHECKING:
    from a2e_async.batch import Job

DEFAULTS = {"prompt": "she smiles", "negative_prompt": NEGATIVE_PROMPT, "video_time": 5, "model_version": "a2e"}


def read(*rows_fields: dict[str, Any], folder: str = "", **defaults: Any) -> list[InputRow]:
    """Return the jobs of rows with these fields."""
    rows = [InputRow(number=number, fields=fields) for number, fields in enumerate(rows_fields, 2)]
    source = JobSource(name="jobs.csv", file_name="jobs.csv", folder=pathlib.Path(folder), read=lambda: iter(rows))
    return list(read_jobs(source, DEFAULTS | defaults, EarlierJobs()))


def jobs(*rows_fields: dict[str, Any], **options: Any) -> list[Job]:
    """Return the jobs of valid rows."""
    found = read(*rows_fields, **options)
    assert not any(parsed.error for parsed in found)
    return [parsed.job for parsed in found if parsed.job is not None]


def keys(*rows_fields: dict[str, Any]) -> list[str]:
    """Return the keys of rows."""
    return [job.key for job in jobs(*rows_fields)]


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"image": "images/ada.png"}, "images/ada.png"),
        ({"image": "./images//ada.v2.png"}, "images/ada.v2.png"),
        ({"image_url": "https://example.com/a/ada.png#y"}, "example.com/a/ada.png"),
        ({"image": "https://example.com/a/ada%20b.png"}, "example.com/a/ada%20b.png"),
        ({"image": "ada.png", "key": "order-17"}, "order-17"),
        ({}, "#2"),
        ({"image": 7}, "#2"),
    ],
)
def test_key(fields: dict[str, Any], key: str) -> None:
    """The key is that of the row, or the path or link of its image; a row without an image is refused later."""
    assert keys(fields) == [key]


def test_repeated_images_have_different_keys() -> None:
    """The second row of an image gets a digest of its options, also if the options are the same."""
    first, second, third, other = keys(
        {"image": "ada.png"}, {"image": "ada.png", "prompt": "she waves"}, {"image": "ada.png"}, {"image": "eva.png"}
    )
    assert (first, other) == ("ada.png", "eva.png")
    assert re.fullmatch(r"ada\.png~[0-9a-f]{16}", second)
    assert re.fullmatch(r"ada\.png~[0-9a-f]{16}", third)
    assert second != third


def test_other_rows_change_no_key() -> None:
    """Rows of other images change no key, wherever they are added or removed."""
    rows = [{"image": "ada.png"}, {"image": "ada.png", "prompt": "x"}, {"key": "x", "image": "ada.png"}]
    more = [{"image": "ada.jpg"}, *rows, {"image": "b/ada.png"}]
    assert keys(*more)[1:4] == keys(*rows)


def test_invalid_rows_take_no_key() -> None:
    """An invalid row takes no key, so that fixing it changes no other key."""
    invalid, valid = read({"image": "ada.png", "key": 7}, {"image": "ada.png"})
    assert invalid.error == "key must be a string, not 7"
    assert valid.job is not None
    assert valid.job.key == "ada.png"


def test_repeated_key() -> None:
    """A repeated key is rejected with the row that has it, also if that key comes from an image."""
    first, second, third, fourth = read({"key": "a"}, {"key": "a"}, {"image": "b.png"}, {"key": "b.png"})
    assert not first.error
    assert second.error == "key 'a' is already used by row 2"
    assert not third.error
    assert fourth.error == "key 'b.png' is already used by row 4"
    assert fourth.job is None


@pytest.mark.timeout(20)
def test_many_images_with_one_name_are_quick() -> None:
    """The keys of thirty thousand images with one name take linear time."""
    assert len(set(keys(*({"image": "frame.png"} for _ in range(30_000))))) == 30_000


def test_defaults() -> None:
    """Fields that a row does not set come from the command line; fields that it sets stay."""
    plain, full = jobs(
        {"image": "a.png"}, {"image": "b.png", "prompt": "hi", "video_time": 10, "model_version": "a2e-v2"}
    )
    assert (plain.prompt, plain.negative_prompt, plain.video_time, plain.model_version) == tuple(DEFAULTS.values())
    assert (full.prompt, full.video_time, full.model_version) == ("hi", 10, "a2e-v2")


def test_lora_has_its_own_negative_prompt() -> None:
    """The default negative prompt does not replace that of a LoRA's preset; a given one does."""
    (plain,) = jobs({"image": "a.png", "lora": "l"})
    (option,) = jobs({"image": "a.png", "lora": "l"}, negative_prompt="hats")
    (column,) = jobs({"image": "a.png", "lora": "l", "negative_prompt": NEGATIVE_PROMPT})
    assert [job.negative_prompt for job in (plain, option, column)] == [None, "hats", NEGATIVE_PROMPT]


def test_paths_are_relative_to_the_input() -> None:
    """A relative path begins at the folder of the input; links and absolute paths do not change."""
    absolute = str(pathlib.Path("/images/c.png").absolute())
    fields = [{"image": "a.png", "end_image": "b.png"}, {"image": "https://example.com/a.png"}, {"image": absolute}]
    first, second, third = jobs(*fields, folder="orders")
    assert (first.image, first.end_image) == (
        str(pathlib.Path("orders", "a.png")),
        str(pathlib.Path("orders", "b.png")),
    )
    assert (second.image, third.image) == ("https://example.com/a.png", absolute)


def test_error_of_the_row() -> None:
    """A row that cannot be read keeps its place and its error."""
    rows = [InputRow(number=7, error="not valid JSON")]
    source = JobSource(name="jobs.jsonl", file_name="jobs.jsonl", folder=pathlib.Path(), read=lambda: iter(rows))
    assert list(read_jobs(source, {}, EarlierJobs())) == [
        InputRow(number=7, place="jobs.jsonl:7", error="not valid JSON")
    ]
