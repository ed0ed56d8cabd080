"""`a2e image-to-video get`, `list`, `find`, `download` and `delete`: output and exit codes."""

from __future__ import annotations

import io
import json
import pathlib
import sys
from typing import TYPE_CHECKING

import pytest

from a2e_async.cli import main
from a2e_async.cli.tasks import result_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

UNKNOWN = "0123456789abcdef01234567"


def i2v(*words: str) -> int:
    """Run a subcommand of `a2e image-to-video`."""
    return main(["image-to-video", *words])


def rows(text: str) -> list[list[str]]:
    """Split tab-separated lines."""
    return [line.split("\t") for line in text.splitlines()]


def test_get_prints_columns(
    service: Sandbox, start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a pipe, `get` prints id, status, coins, time, name, link and reason, separated by tabs."""
    good, bad = start_task("#fast"), start_task("#fast #fail")
    assert i2v("get", good, bad) == 0
    first, second = rows(capsys.readouterr().out)
    task = service.tasks[good]
    assert (first[:3], first[4:]) == ([good, "succeeded", "30"], [task.name, task.result_url, ""])
    assert (second[:3], second[5]) == ([bad, "failed", "30"], "")
    assert "could not be generated" in second[6]


def test_get_as_json(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, each task is one object with the fields of its record, in the order of the ids."""
    ids = [start_task("#fast"), start_task("#fast #fail"), start_task("#stuck")]
    assert i2v("get", *ids, "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["id"] for record in records] == ids
    assert [record["status"] for record in records[:2]] == ["succeeded", "failed"]
    assert records[2]["status"] in {"queued", "running"}
    assert [record["failed_code"] for record in records] == ["", "generation_error", ""]
    assert records[0]["result_url"].endswith(".mp4")
    assert records[0]["prompt"] == "#fast"


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "among others"])
def test_get_without_a_task(start_task: Callable[[str], str], others: int, capsys: pytest.CaptureFixture[str]) -> None:
    """For a task that A2E does not show, stderr has one line and the exit code is 1; the others are printed."""
    ids = [start_task("#fast") for _ in range(others)]
    assert i2v("get", UNKNOWN, *ids) == 1
    out, err = capsys.readouterr()
    assert [row[0] for row in rows(out)] == ids
    assert err.startswith(f"a2e: A2E does not show task {UNKNOWN}")
    assert err.count("\n") == 1


def test_list_prints_the_newest_first(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """`list` prints a line of five columns for each task, without links, and at most --limit lines."""
    ids = [start_task("#stuck") for _ in range(3)]
    assert i2v("list") == 0
    listed = rows(capsys.readouterr().out)
    assert [row[0] for row in listed] == ids[::-1]
    assert {len(row) for row in listed} == {5}
    assert i2v("list", "--limit", "2") == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == ids[:0:-1]
    assert i2v("list", "-n", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == ids[-1]


def test_empty_list(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Without tasks, nothing is printed, and the exit code is 0."""
    assert i2v("list") == 0
    assert capsys.readouterr() == ("", "")


def test_limit_below_one(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit below 1 is wrong usage, and nothing is sent."""
    assert i2v("list", "--limit", "0") == 2
    assert "--limit" in capsys.readouterr().err
    assert not service.requests


def test_a_name_cannot_break_a_line(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In columns, a space replaces each tab, line break and control character. JSON keeps them."""
    name = "Ada\tin\nthe \x1b[31mgarden \x9b"
    assert i2v("start", image, "--prompt", "#fast", "--name", name) == 0
    capsys.readouterr()
    assert i2v("list") == 0
    (row,) = rows(capsys.readouterr().out)
    assert row[4].endswith("] Ada in the  [31mgarden  ")  # behind the marker: the name is long
    assert i2v("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"].endswith(f"] {name}")


def test_find_shows_the_task(
    service: Sandbox, start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`find` finds a task by its marker, and prints the columns of `get`."""
    task = service.tasks[start_task("#fast")]
    assert i2v("find", task.name[-11:-1]) == 0
    found = capsys.readouterr().out
    assert i2v("get", task.id) == 0
    assert found == capsys.readouterr().out


def test_find_by_key(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`find` finds a task by its idempotency key."""
    assert i2v("start", image, "--prompt", "x", "--idempotency-key", "order-17") == 0
    task_id = capsys.readouterr().out.strip()
    assert i2v("find", "order-17", "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == task_id


def test_find_without_a_task(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """If no task has the marker (yet), the exit code is 1, and one line says so."""
    assert i2v("find", "7f3k2m9q4d") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "7f3k2m9q4d" in err


@pytest.mark.parametrize("options", [[], ["--out", "made/ada.mp4"]], ids=["default", "named"])
def test_download(start_task: Callable[[str], str], options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The video is downloaded to --out, or to a file named after the id, and its path is printed."""
    task_id = start_task("#fast")
    path = options[1] if options else f"{task_id}.mp4"
    assert i2v("download", task_id, *options) == 0
    assert capsys.readouterr() == (f"{path}\n", "")
    assert pathlib.Path(path).read_bytes()[4:8] == b"ftyp"


def test_download_keeps_an_existing_file(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is rejected, with the option to add, unless --overwrite is given."""
    task_id = start_task("#fast")
    pathlib.Path("ada.mp4").write_text("mine")
    assert i2v("download", task_id, "-o", "ada.mp4") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert i2v("download", task_id, "-o", "ada.mp4", "--overwrite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["path"] == "ada.mp4"
    assert pathlib.Path("ada.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize(("prompt", "text"), [("#stuck", "a2e image-to-video wait"), ("#fast #fail", "failed:")])
def test_download_without_a_result(
    start_task: Callable[[str], str], prompt: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For an unfinished or failed task, one line has the next command or the reason, and the exit code is 1."""
    task_id = start_task(prompt)
    assert i2v("download", task_id) == 1
    out, err = capsys.readouterr()
    assert not out
    assert text in err
    assert task_id in err
    assert err.count("\n") == 1


def test_an_id_cannot_leave_the_folder() -> None:
    """The default name of a video has no path separators, for any id."""
    assert result_name("../../etc/x:y", ".mp4") == "______etc_x_y.mp4"


class Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        """Return True: this is a terminal."""
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_delete_asks_for_confirmation(
    start_task: Callable[[str], str],
    answer: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal, a task is deleted only after a confirmation. The question is on stderr."""
    task_id = start_task("#fast")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert i2v("delete", task_id) == code
    out, err = capsys.readouterr()
    assert f"Delete task {task_id} at A2E" in err
    assert out == (f"{task_id}\n" if code == 0 else "")
    assert i2v("get", task_id) == 1 - code


def test_delete_without_a_terminal(
    start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal and without --yes, nothing is deleted, and the exit code is 2."""
    task_id = start_task("#fast")
    for stdin in (io.StringIO("y\n"), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert i2v("delete", task_id) == 2
        assert "--yes" in capsys.readouterr().err
    assert i2v("get", task_id) == 0
    assert i2v("delete", task_id, "--yes") == 0
    assert i2v("get", task_id) == 1


def test_delete_continues_after_an_error(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """If a task cannot be deleted, the error has its id, the others are deleted, and the exit code is 1."""
    good, gone = start_task("#fast"), start_task("#fast")
    assert i2v("delete", "--yes", gone) == 0
    capsys.readouterr()
    assert i2v("delete", "--yes", "--json", gone, good, good) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"id": good, "deleted": True}]
    assert gone in err
    assert err.count("\n") == 1
