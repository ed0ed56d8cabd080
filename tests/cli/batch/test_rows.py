"""Tables, JSON Lines and folders, row by row."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import pytest

from a2e_async.cli.batch.job_file import Row, csv_rows, folder_rows, json_rows, open_source
from a2e_async.errors import InvalidRequestError


def table(text: str | bytes) -> list[Row]:
    """Read a table."""
    content = text.encode() if isinstance(text, str) else text
    return list(csv_rows(content.splitlines(keepends=True)))


def said(text: str | bytes) -> list[tuple[int, dict[str, Any]]]:
    """Read a table of good rows."""
    rows = table(text)
    assert not any(row.error for row in rows)
    return [(row.number, row.words) for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        "image,prompt\na.png,hi\nb.png,ho\n",
        "\ufeffimage,prompt\na.png,hi\nb.png,ho",
        "image,prompt\r\na.png,hi\r\nb.png,ho\r\n",
        "image;prompt\na.png;hi\nb.png;ho\n",
        "image\tprompt\na.png\thi\nb.png\tho\n",
        '"image","prompt"\n"a.png","hi"\n"b.png","ho"\n',
    ],
    ids=["plain", "BOM", "Windows", "semicolons", "tabs", "quoted"],
)
def test_table(text: str) -> None:
    """A table is read however a spreadsheet has saved it."""
    assert said(text) == [(2, {"image": "a.png", "prompt": "hi"}), (3, {"image": "b.png", "prompt": "ho"})]


def test_rows_have_the_line_that_they_begin_with() -> None:
    """Blank lines, rows without content and texts of several lines are counted as an editor counts them."""
    text = '\n\nimage,prompt\na.png,"one\ntwo\nthree"\n\n,\nb.png,"ho, ho"\n'
    assert said(text) == [
        (4, {"image": "a.png", "prompt": "one\ntwo\nthree"}),
        (9, {"image": "b.png", "prompt": "ho, ho"}),
    ]


def test_wrong_row_hides_no_other() -> None:
    """A row that cannot be read is told with its line, and the next one is read."""
    wrong, good = table("image,video_time\na.png,five\nb.png,5\n")
    assert (wrong.number, wrong.error) == (2, "video_time must be a whole number, not 'five'")
    assert (good.number, good.words) == (3, {"image": "b.png", "video_time": 5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"image,promt\na.png,hi\n", "1: there is no column 'promt'"),
        (b"\n\nimage,promt\n", "3: there is no column 'promt'"),
        (
            b'image,prompt\na.png,hi\nb.png,"ho\nc.png,he\n',
            "3: a double quote in the row that begins here is never closed",
        ),
        (b'image,prompt\na.png,"hi" ho\n', "2: ',' expected after '\"'"),
        (b"image,prompt\na.png,hi\nb.png,sie l\xe4chelt\n", "3: this is no UTF-8 text"),
        ("image,prompt\n".encode("utf-16"), "1: this is no UTF-8 text"),
    ],
    ids=["column", "column below", "quote", "quote inside", "Latin-1", "UTF-16"],
)
def test_wrong_table(text: bytes, message: str) -> None:
    """What is wrong with a table as a whole ends the reading, with the line, before a wrong job comes of it."""
    with pytest.raises(InvalidRequestError) as caught:
        table(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["", "\n\n", "image,prompt\n"], ids=["empty", "blank", "header"])
def test_table_without_rows(text: str) -> None:
    """A table without rows is no error of the table."""
    assert table(text) == []


def test_rows_are_read_as_they_are_asked_for() -> None:
    """An endless table is no problem: nothing is read ahead of need."""
    lines = itertools.chain([b"image\n"], (f"{number}.png\n".encode() for number in itertools.count()))
    assert [row.words["image"] for row in itertools.islice(csv_rows(lines), 3)] == ["0.png", "1.png", "2.png"]


def test_json_lines() -> None:
    """Blank lines and a BOM are passed over; a wrong line is told and hides no other."""
    text = b'\xef\xbb\xbf{"image": "a.png"}\n\n  \nnonsense\n{"image": "b.png"}'
    first, wrong, last = json_rows(text.splitlines(keepends=True))
    assert (first.number, first.words) == (1, {"image": "a.png"})
    assert (wrong.number, wrong.error[:15]) == (4, "this is no JSON")
    assert (last.number, last.words) == (5, {"image": "b.png"})


def test_folder(tmp_path: pathlib.Path) -> None:
    """A folder gives its images by their suffix, in the order of their names, and nothing from below it."""
    for name in ("b.JPG", "a.png", "c.webp", "d.gif", "e.bmp", "f.jpeg", "note.txt", "._a.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    with open_source(str(tmp_path)) as source:
        rows = list(source.rows())
    assert [row.words["image"] for row in rows] == ["a.png", "b.JPG", "c.webp", "d.gif", "e.bmp", "f.jpeg"]
    assert source.place(rows[0]) == str(tmp_path / "a.png")
    assert list(folder_rows([])) == []


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.tsv", "jobs.jsonl", "JOBS.NDJSON"])
def test_file_is_known_by_its_suffix(tmp_path: pathlib.Path, name: str) -> None:
    """Tables and JSON Lines are told apart by their suffix, and can be read more than once."""
    content = '{"image": "a.png"}\n' if "j" in pathlib.Path(name).suffix.lower() else "image\na.png\n"
    (tmp_path / name).write_text(content)
    with open_source(str(tmp_path / name)) as source:
        for _ in range(2):
            (row,) = source.rows()
            assert row.words == {"image": "a.png"}
            assert source.place(row) == f"{tmp_path / name}:{row.number}"


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.csv", "neither a file nor a folder"), ("notes.txt", "of no kind that is known"), ("--out", "neither")],
)
def test_wrong_input(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    """What is no input is refused, with the kinds that there are."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("notes.txt").touch()
    with pytest.raises(InvalidRequestError, match=message) as caught, open_source(name):
        pass
    assert "JSON Lines (.jsonl)" in str(caught.value)


def test_input_that_goes_away(tmp_path: pathlib.Path) -> None:
    """A file that cannot be read any more is told by its name."""
    path = tmp_path / "jobs.csv"
    path.write_text("image\n")
    with open_source(str(path)) as source:
        path.unlink()
        with pytest.raises(InvalidRequestError, match=r"jobs\.csv cannot be read: No such file"):
            list(source.rows())
