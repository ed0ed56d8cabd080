"""Rows of tables, JSON Lines and folders."""

from __future__ import annotations

import itertools
import os
import pathlib
from typing import Any

import pytest
import quick

from a2e_async.cli.batch.job_file import InputRow, open_source, read_csv, read_json_lines
from a2e_async.errors import InvalidRequestError


def table(text: str | bytes) -> list[InputRow]:
    """Read a table."""
    content = text.encode() if isinstance(text, str) else text
    return list(read_csv(content.splitlines(keepends=True)))


def valid_rows(text: str | bytes) -> list[tuple[int, dict[str, Any]]]:
    """Read a table of valid rows."""
    rows = table(text)
    assert not any(row.error for row in rows)
    return [(row.number, row.fields) for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        "image,prompt\na.png,hi\nb.png,ho\n",
        "\ufeffimage,prompt\na.png,hi\nb.png,ho",
        "image,prompt\r\na.png,hi\r\nb.png,ho\r\n",
        "image;prompt\na.png;hi\nb.png;ho\n",
        "image\tprompt\na.png\thi\nb.png\tho\n",
        '"image","prompt"\n"a.png","hi"\n"b.png","ho"\n',
        '\ufeff"image","prompt"\n"a.png","hi"\n"b.png","ho"\n',
        "image,prompt\ra.png,hi\rb.png,ho\r",
        "image,prompt,,\na.png,hi,,\nb.png,ho,,\n",
        ",image,prompt\n0,a.png,hi\n1,b.png,ho\n",
    ],
    ids=["plain", "BOM", "Windows", "semicolons", "tabs", "quoted", "BOM quoted", "old Mac", "empty columns", "index"],
)
def test_table(text: str) -> None:
    """Tables are read in all forms in which spreadsheets save them."""
    assert valid_rows(text) == [(2, {"image": "a.png", "prompt": "hi"}), (3, {"image": "b.png", "prompt": "ho"})]


def test_line_of_a_row() -> None:
    """The number of a row is its first line, also after blank lines, empty rows and texts of several lines."""
    text = '\n,,\nimage,prompt\na.png,"one\ntwo\nthree"\n\n,\nb.png,"ho, ho"\n'
    assert valid_rows(text) == [
        (4, {"image": "a.png", "prompt": "one\ntwo\nthree"}),
        (9, {"image": "b.png", "prompt": "ho, ho"}),
    ]


@pytest.mark.parametrize(
    ("line", "delimiter"), [("sep=;", ";"), ('"sep=;"', ";"), ("SEP=,", ","), ("\ufeffsep=\t", "\t"), ("sep=|", "|")]
)
def test_separator_line(line: str, delimiter: str) -> None:
    """The first line that tells Excel the separator is obeyed, and is not the header."""
    rows = [["image", "prompt"], ["a.png", "hi, she smiles"]]
    text = "\r\n".join([line, *(f"{delimiter}".join(f'"{cell}"' for cell in row) for row in rows)])
    assert valid_rows(text) == [(3, {"image": "a.png", "prompt": "hi, she smiles"})]


def test_line_ends_in_a_cell() -> None:
    """Line ends in quotes stay, of each kind, and lines are counted as an editor does."""
    text = 'image,prompt\r"a.png","one\rtwo"\rb.png,ho\r'
    assert valid_rows(text) == [
        (2, {"image": "a.png", "prompt": "one\rtwo"}),
        (4, {"image": "b.png", "prompt": "ho"}),
    ]


def test_invalid_row() -> None:
    """An invalid row has its line and an error, and the next row is read."""
    invalid, valid = table("image,video_time\na.png,five\nb.png,5\n")
    assert (invalid.number, invalid.error) == (2, "video_time must be an integer, not 'five'")
    assert (valid.number, valid.fields) == (3, {"image": "b.png", "video_time": 5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"image,promt\na.png,hi\n", "1: unknown column 'promt'"),
        (b"\n\nimage,promt\n", "3: unknown column 'promt'"),
        (
            b'image,prompt\na.png,hi\nb.png,"ho\nc.png,he\n',
            "3: a double quote in the row that begins here is never closed",
        ),
        (b'image,prompt\na.png,"hi" ho\n', "2: ',' expected after '\"'"),
        (b"image,prompt\na.png,hi\nb.png,sie l\xe4chelt\n", "3: not valid UTF-8"),
        ("image,prompt\n".encode("utf-16"), "1: not valid UTF-8"),
        ("image,prompt\n".encode("utf-16-le"), "1: not valid UTF-8: save the table as UTF-8"),
        (b"PK\x03\x04 a workbook", "1: the file is a spreadsheet: export it as CSV UTF-8"),
    ],
    ids=["column", "column below", "quote", "quote inside", "Latin-1", "UTF-16", "UTF-16 without a mark", "zip"],
)
def test_invalid_table(text: bytes, message: str) -> None:
    """An error of the whole table ends the reading with its line."""
    with pytest.raises(InvalidRequestError) as caught:
        table(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["", "\n\n", "image,prompt\n"], ids=["empty", "blank", "header"])
def test_table_without_rows(text: str) -> None:
    """A table without rows is valid."""
    assert table(text) == []


def test_rows_are_read_lazily() -> None:
    """Rows are read one by one, so that an endless table can be read."""
    lines = itertools.chain([b"image\n"], (f"{number}.png\n".encode() for number in itertools.count()))
    assert [row.fields["image"] for row in itertools.islice(read_csv(lines), 3)] == ["0.png", "1.png", "2.png"]


def test_json_lines() -> None:
    """Blank lines and a BOM are skipped. An invalid line has an error, and the next line is read."""
    text = b'\xef\xbb\xbf{"image": "a.png"}\n\n  \nnonsense\n{"image": "b.png"}'
    first, invalid, last = read_json_lines(text.splitlines(keepends=True))
    assert (first.number, first.fields) == (1, {"image": "a.png"})
    assert (invalid.number, invalid.error[:14]) == (4, "not valid JSON")
    assert (last.number, last.fields) == (5, {"image": "b.png"})


def test_folder(tmp_path: pathlib.Path) -> None:
    """The rows of a folder are its images, sorted by name, without subfolders and other files."""
    for name in ("b.JPG", "a.png", "c.webp", "d.gif", "e.bmp", "f.jpeg", "note.txt", "._a.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    with open_source(str(tmp_path)) as source:
        rows = list(source.rows())
    assert [row.fields["image"] for row in rows] == ["a.png", "b.JPG", "c.webp", "d.gif", "e.bmp", "f.jpeg"]
    assert rows[0].place == str(tmp_path / "a.png")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)


def fill(folder: pathlib.Path) -> None:
    """Write images and other files of all kinds."""
    (folder / "day 2" / "evening").mkdir(parents=True)
    for name in ("a.jfif", "b.jpe", "c", "d.png", "day 2/e.PNG", "day 2/evening/f", "no image.jpg"):
        (folder / name).write_bytes(quick.PNG)
    (folder / "no image.jpg").write_bytes(b"<html>")
    (folder / "g.HEIC").write_bytes(HEIC)
    (folder / "h.tiff").write_bytes(b"II*\0" + bytes(100))
    for number in range(5):
        (folder / f"note {number}.txt").write_text("a text")
    (folder / "video.mp4").write_bytes(quick.MP4)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._d.png", ".hidden"):
        (folder / name).write_bytes(quick.PNG)


def test_bytes_decide_in_a_folder(tmp_path: pathlib.Path) -> None:
    """Images without the usual ending are taken, and what is left out is named with the reason."""
    fill(tmp_path)
    with open_source(str(tmp_path)) as source:
        # The file with the name of an image is invalid, and not passed over.
        assert [row.fields["image"] for row in source.rows()] == ["a.jfif", "b.jpe", "c", "d.png", "no image.jpg"]
    assert source.left_out == (
        "day 2/ (a subfolder: --recursive takes it); g.HEIC (HEIC: convert it to JPEG); "
        "h.tiff (TIFF: convert it to JPEG); note 0.txt, note 1.txt, note 2.txt and 3 more (not an image)"
    )


def test_subfolders(tmp_path: pathlib.Path) -> None:
    """With `recursive` the images of subfolders are taken too, by their paths, and links to folders are not followed."""
    fill(tmp_path)
    (tmp_path / "day 2" / "again").symlink_to(tmp_path, target_is_directory=True)
    with open_source(str(tmp_path), recursive=True) as source:
        images = [row.fields["image"] for row in source.rows()]
    assert images == ["a.jfif", "b.jpe", "c", "d.png", "day 2/e.PNG", "day 2/evening/f", "no image.jpg"]
    assert "subfolder" not in source.left_out
    assert "day 2/again/ (a link to a folder)" in source.left_out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipe_in_a_folder(tmp_path: pathlib.Path) -> None:
    """A pipe is left out without being opened, which would block for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    with open_source(str(tmp_path)) as source:
        assert not list(source.rows())
    assert source.left_out == "pipe.png (not a regular file)"


@pytest.mark.parametrize("name", ["jobs.xlsx", "Jobs.XLS", "jobs.ods"])
def test_spreadsheet(tmp_path: pathlib.Path, name: str) -> None:
    """A spreadsheet is rejected with what to do."""
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with (
        pytest.raises(InvalidRequestError, match="is a spreadsheet: export it as CSV UTF-8"),
        open_source(str(tmp_path / name)),
    ):
        pass


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.tsv", "jobs.jsonl", "JOBS.NDJSON"])
def test_file_type_by_suffix(tmp_path: pathlib.Path, name: str) -> None:
    """The suffix decides between a table and JSON Lines, and a file can be read twice."""
    content = '{"image": "a.png"}\n' if "j" in pathlib.Path(name).suffix.lower() else "image\na.png\n"
    (tmp_path / name).write_text(content)
    with open_source(str(tmp_path / name)) as source:
        for _ in range(2):
            (row,) = source.rows()
            assert row.fields == {"image": "a.png"}
            assert row.place == f"{tmp_path / name}:{row.number}"


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.csv", "neither a file nor a folder"), ("notes.txt", "unsupported file type"), ("--out", "neither")],
)
def test_unsupported_input(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    """An unsupported input is rejected, with the supported types."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("notes.txt").touch()
    with pytest.raises(InvalidRequestError, match=message) as caught, open_source(name):
        pass
    assert "JSON Lines (.jsonl)" in str(caught.value)


def test_deleted_input(tmp_path: pathlib.Path) -> None:
    """The error of a file that cannot be read has its name."""
    path = tmp_path / "jobs.csv"
    path.write_text("image\n")
    with open_source(str(path)) as source:
        path.unlink()
        with pytest.raises(InvalidRequestError, match=r"cannot read .*jobs\.csv: No such file"):
            list(source.rows())
