"""What cells and lines of JSON mean, without any file."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from a2e_async.batch import Job
from a2e_async.cli.batch.job_file import WORDS, columns_of, from_cells, from_json
from a2e_async.errors import InvalidRequestError


def test_columns_are_the_words_of_a_job() -> None:
    """There is a column for everything that a job can say, and no other."""
    assert list(WORDS) == [field.name for field in attrs.fields(Job)]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (["key", "image"], ["key", "image"]),
        ([" Key ", "VIDEO TIME", "negative-prompt"], ["key", "video_time", "negative_prompt"]),
    ],
    ids=["plain", "as people write it"],
)
def test_header(header: list[str], columns: list[str]) -> None:
    """A header may be written with capitals, spaces and hyphens."""
    assert columns_of(header) == columns


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (["image", "promt"], ["there is no column 'promt', did you mean 'prompt'?", "skip_face_enhance"]),
        (["image", "colour of the sky"], ["there is no column 'colour of the sky'; There are key, image"]),
        (["image", ""], ["column 2 has no name"]),
        (["prompt", "Prompt"], ["column 'prompt' comes twice"]),
    ],
    ids=["nearly", "far", "empty", "twice"],
)
def test_wrong_header(header: list[str], words: list[str]) -> None:
    """A column that nobody knows is refused, with the one that may be meant and those that there are."""
    with pytest.raises(InvalidRequestError) as caught:
        columns_of(header)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("prompt", " she smiles ", "she smiles"),
        ("prompt", "5", "5"),
        ("key", "007", "007"),
        ("video_time", "10", 10),
        ("video_time", "5.0", 5),
        ("video_time", "7", 7),  # for A2E's rules to refuse
        ("extend_prompt", "TRUE", True),
        ("extend_prompt", "yes", True),
        ("extend_prompt", "1", True),
        ("skip_face_enhance", "False", False),
        ("skip_face_enhance", "no", False),
        ("skip_face_enhance", "0", False),
    ],
)
def test_cell(column: str, text: str, value: object) -> None:
    """Numbers and booleans are read in the columns that hold them, and text stays text."""
    assert from_cells([column], [text]) == {column: value}
    assert type(from_cells([column], [text])[column]) is type(value)


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("video_time", "five", "video_time must be a whole number, not 'five'"),
        ("video_time", "5.5", "video_time must be a whole number, not '5.5'"),
        ("video_time", "inf", "video_time must be a whole number, not 'inf'"),
        ("video_time", "nan", "video_time must be a whole number, not 'nan'"),
        ("extend_prompt", "maybe", "extend_prompt must be true or false, not 'maybe'"),
    ],
)
def test_wrong_cell(column: str, text: str, message: str) -> None:
    """What is no number or boolean is refused where one is needed."""
    with pytest.raises(InvalidRequestError) as caught:
        from_cells([column], [text])
    assert str(caught.value) == message


def test_empty_and_missing_cells_are_not_set() -> None:
    """An empty cell, a blank one and one that is not there all mean: not set."""
    assert from_cells(["key", "image", "prompt", "lora"], ["a", "", "  "]) == {"key": "a"}


def test_too_many_cells() -> None:
    """A text with a comma that nobody has quoted is not taken apart silently; empty cells at the end do no harm."""
    with pytest.raises(InvalidRequestError, match="3 cells for 2 columns"):
        from_cells(["image", "prompt"], ["a.png", "she smiles", " gently"])
    assert from_cells(["image"], ["a.png", "", " "]) == {"image": "a.png"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            b'{"image": "a.png", "video_time": 10, "extend_prompt": false}',
            {"image": "a.png", "video_time": 10, "extend_prompt": False},
        ),
        (b'{"key": "a", "lora": null}\r\n', {"key": "a"}),
        ('{"prompt": "sie l\u00e4chelt \u2028"}'.encode(), {"prompt": "sie lächelt \u2028"}),
        (b"{}", {}),
    ],
    ids=["types", "null", "text", "empty"],
)
def test_json_line(line: bytes, words: dict[str, Any]) -> None:
    """A line of JSON keeps its types, and null means: not set."""
    assert from_json(line) == words


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"image": "a.png"', "this is no JSON: Expecting ',' delimiter (column 18)"),
        (b'["a.png"]', 'a line must be a JSON object such as {"image": "ada.png"}, not a list'),
        (b'{"prompt": "\xe4"}', "this is no UTF-8 text"),
        (b'{"video_time": ' + b"1" * 5000 + b"}", "this is no JSON that can be read"),
        (b"[" * 100_000, "this is no JSON that can be read"),
        (b'{"colour": "red"}', "there is no word 'colour'"),
        (b'{"promt": "x"}', "did you mean 'prompt'?"),
    ],
    ids=["cut", "list", "bytes", "number", "deep", "word", "nearly"],
)
def test_wrong_json_line(line: bytes, message: str) -> None:
    """Whatever a line holds, it ends in a message and in nothing else."""
    with pytest.raises(InvalidRequestError) as caught:
        from_json(line)
    assert message in str(caught.value)
