"""Values of cells and of JSON lines, without files."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from a2e_async.batch import Job
from a2e_async.batch.jobs import JOB_FIELDS
from a2e_async.cli.batch.job_file import parse_cells, parse_header, parse_json_line
from a2e_async.errors import InvalidRequestError


def test_columns_are_the_fields_of_a_job() -> None:
    """There is a column for each field of a job, and no other."""
    assert parse_header(JOB_FIELDS) == [field.name for field in attrs.fields(Job)]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (["key", "image"], ["key", "image"]),
        ([" Key ", "VIDEO TIME", "negative-prompt"], ["key", "video_time", "negative_prompt"]),
        (["", "image", " ", ""], ["", "image", "", ""]),
        (["Unnamed: 0", "image", "Unnamed: 12"], ["", "image", ""]),
    ],
    ids=["plain", "capitals and spaces", "without names", "names of pandas"],
)
def test_header(header: list[str], columns: list[str]) -> None:
    """A header may be written with capitals, spaces and hyphens."""
    assert parse_header(header) == columns


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        (["image", "promt"], ["unknown column 'promt'. Did you mean 'prompt'?", "skip_face_enhance"]),
        (["image", "colour of the hat"], ["unknown column 'colour of the hat'. Valid names: key, image"]),
        (["prompt", "Prompt"], ["column 'prompt' appears twice"]),
    ],
    ids=["nearly", "far", "twice"],
)
def test_wrong_header(header: list[str], texts: list[str]) -> None:
    """An unknown column is rejected, with a suggestion and the valid names."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_header(header)
    assert all(text in str(caught.value) for text in texts)


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("prompt", " she smiles ", "she smiles"),
        ("prompt", "5", "5"),
        ("key", "007", "007"),
        ("video_time", "10", 10),
        ("video_time", "5.0", 5),
        ("video_time", "7", 7),  # the check of the job rejects it
        ("extend_prompt", "TRUE", True),
        ("extend_prompt", "yes", True),
        ("extend_prompt", "1", True),
        ("skip_face_enhance", "False", False),
        ("skip_face_enhance", "no", False),
        ("skip_face_enhance", "0", False),
    ],
)
def test_cell(column: str, text: str, value: object) -> None:
    """Numbers and booleans are parsed in their columns, and other columns stay texts."""
    assert parse_cells([column], [text]) == {column: value}
    assert type(parse_cells([column], [text])[column]) is type(value)


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("video_time", "five", "video_time must be an integer, not 'five'"),
        ("video_time", "5.5", "video_time must be an integer, not '5.5'"),
        ("video_time", "inf", "video_time must be an integer, not 'inf'"),
        ("video_time", "nan", "video_time must be an integer, not 'nan'"),
        ("extend_prompt", "maybe", "extend_prompt must be true or false, not 'maybe'"),
    ],
)
def test_wrong_cell(column: str, text: str, message: str) -> None:
    """A cell that is not a number or boolean is rejected in the columns of numbers and booleans."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_cells([column], [text])
    assert str(caught.value) == message


@pytest.mark.parametrize("index", ["0", "17", ""])
def test_columns_without_names(index: str) -> None:
    """Columns without a name may be empty, and the first one may have the numbers of a data frame's rows."""
    assert parse_cells(["", "image", "", ""], [index, "a.png", "", " "]) == {"image": "a.png"}


@pytest.mark.parametrize(
    ("columns", "cells", "number"),
    [
        (["image", ""], ["a.png", "she smiles"], 2),
        (["image", ""], ["a.png", "7"], 2),
        (["", "image"], ["order-17", "a.png"], 1),
    ],
)
def test_cell_without_a_column(columns: list[str], cells: list[str], number: int) -> None:
    """A cell in a column without a name is rejected: a prompt or a key would be lost."""
    with pytest.raises(InvalidRequestError, match=f"column {number} has no name: name it, or remove it"):
        parse_cells(columns, cells)


def test_empty_and_missing_cells_are_not_set() -> None:
    """Empty, blank and missing cells are not set."""
    assert parse_cells(["key", "image", "prompt", "lora"], ["a", "", "  "]) == {"key": "a"}


def test_too_many_cells() -> None:
    """A row with too many cells is rejected, unless the extra cells are empty."""
    with pytest.raises(InvalidRequestError, match="3 cells for 2 columns"):
        parse_cells(["image", "prompt"], ["a.png", "she smiles", " gently"])
    assert parse_cells(["image"], ["a.png", "", " "]) == {"image": "a.png"}


@pytest.mark.parametrize(
    ("line", "fields"),
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
def test_json_line(line: bytes, fields: dict[str, Any]) -> None:
    """The values of a JSON line keep their types, and null means not set."""
    assert parse_json_line(line) == fields


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"image": "a.png"', "not valid JSON: Expecting ',' delimiter (column 18)"),
        (b'["a.png"]', 'a line must be a JSON object such as {"image": "ada.png"}, not a list'),
        (b'{"prompt": "\xe4"}', "not valid UTF-8"),
        (b'{"video_time": ' + b"1" * 5000 + b"}", "not valid JSON: too large or too deeply nested"),
        (b"[" * 100_000, "not valid JSON: too large or too deeply nested"),
        (b'{"colour": "red"}', "unknown field 'colour'"),
        (b'{"promt": "x"}', "Did you mean 'prompt'?"),
    ],
    ids=["cut", "list", "bytes", "number", "deep", "field", "nearly"],
)
def test_wrong_json_line(line: bytes, message: str) -> None:
    """An invalid line raises an `InvalidRequestError` with the reason, and no other error."""
    with pytest.raises(InvalidRequestError) as caught:
        parse_json_line(line)
    assert message in str(caught.value)
