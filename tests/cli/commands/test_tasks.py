"""`a2e image-to-video get`, `list`, `find`, `download` and `delete`: what they print, and what they end with."""

from __future__ import annotations

import io
import json
import pathlib
import sys
from typing import TYPE_CHECKING

import pytest

from a2e_async.cli import main
from a2e_async.cli.commands.tasks import file_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox

UNKNOWN = "0123456789abcdef01234567"


def i2v(*words: str) -> int:
    """Run a command of the family."""
    return main(["image-to-video", *words])


def rows(text: str) -> list[list[str]]:
    """Split tab-separated lines."""
    return [line.split("\t") for line in text.splitlines()]


def test_get_prints_columns(
    service: Sandbox, started: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a pipe, `get` prints id, status, coins, time, name, link and reason, separated by tabs."""
    good, bad = started("#fast"), started("#fast #fail")
    assert i2v("get", good, bad) == 0
    first, second = rows(capsys.readouterr().out)
    task = service.tasks[good]
    assert (first[:3], first[4:]) == ([good, "succeeded", "30"], [task.name, task.result_url, ""])
    assert (second[:3], second[5]) == ([bad, "failed", "30"], "")
    assert "could not be generated" in second[6]


def test_get_as_json(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, each task is one object with A2E's record in our names, in the order asked for."""
    ids = [started("#fast"), started("#fast #fail"), started("#stuck")]
    assert i2v("get", *ids, "--json") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["id"] for record in records] == ids
    assert [record["status"] for record in records[:2]] == ["succeeded", "failed"]
    assert records[2]["status"] in {"queued", "running"}
    assert [record["failed_code"] for record in records] == ["", "generation_error", ""]
    assert records[0]["result_url"].endswith(".mp4")
    assert records[0]["prompt"] == "#fast"


@pytest.mark.parametrize("others", [0, 1], ids=["alone", "among others"])
def test_get_without_a_task(started: Callable[[str], str], others: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A task that A2E does not show is a line on stderr and exit code 1; the others are printed."""
    ids = [started("#fast") for _ in range(others)]
    assert i2v("get", UNKNOWN, *ids) == 1
    out, err = capsys.readouterr()
    assert [row[0] for row in rows(out)] == ids
    assert err.startswith(f"a2e: A2E shows no task {UNKNOWN}")
    assert err.count("\n") == 1


def test_list_prints_the_newest_first(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """`list` prints a line of five columns for each task, without links, and no more than asked for."""
    ids = [started("#stuck") for _ in range(3)]
    assert i2v("list") == 0
    listed = rows(capsys.readouterr().out)
    assert [row[0] for row in listed] == ids[::-1]
    assert {len(row) for row in listed} == {5}
    assert i2v("list", "--limit", "2") == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == ids[:0:-1]
    assert i2v("list", "-n", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == ids[-1]


def test_list_of_nothing(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """No tasks are no lines, and no failure."""
    assert i2v("list") == 0
    assert capsys.readouterr() == ("", "")


def test_list_with_a_senseless_limit(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit below 1 is wrong use, and nothing is asked."""
    assert i2v("list", "--limit", "0") == 2
    assert "--limit" in capsys.readouterr().err
    assert not service.requests


def test_a_name_cannot_break_a_line(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Tabs, line breaks and what steers a terminal are spaces in the columns; in JSON they are as they were."""
    name = "Ada\tin\nthe \x1b[31mgarden \x9b"
    assert i2v("start", picture, "--prompt", "#fast", "--name", name) == 0
    capsys.readouterr()
    assert i2v("list") == 0
    (row,) = rows(capsys.readouterr().out)
    assert row[4].startswith("Ada in the  [31mgarden   [a2e:")
    assert i2v("list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"].startswith(name)


def test_find_shows_the_task(
    service: Sandbox, started: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A task is found by its marker, with the columns of `get`."""
    task = service.tasks[started("#fast")]
    assert i2v("find", task.name[-11:-1]) == 0
    found = capsys.readouterr().out
    assert i2v("get", task.id) == 0
    assert found == capsys.readouterr().out


def test_find_by_key(service: Sandbox, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A task is found by its idempotency key."""
    assert i2v("start", picture, "--prompt", "x", "--idempotency-key", "order-17") == 0
    task_id = capsys.readouterr().out.strip()
    assert i2v("find", "order-17", "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == task_id


def test_find_without_a_task(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A marker that no task carries (yet) is the exit code 1, and a line that says so."""
    assert i2v("find", "7f3k2m9q4d") == 1
    out, err = capsys.readouterr()
    assert not out
    assert "7f3k2m9q4d" in err


@pytest.mark.parametrize("words", [[], ["--out", "clips/ada.mp4"]], ids=["default", "named"])
def test_download(started: Callable[[str], str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A video is downloaded to the file that is named, else to one that is called after the id, and its path printed."""
    task_id = started("#fast")
    path = words[1] if words else f"{task_id}.mp4"
    assert i2v("download", task_id, *words) == 0
    assert capsys.readouterr() == (f"{path}\n", "")
    assert pathlib.Path(path).read_bytes()[4:8] == b"ftyp"


def test_download_keeps_an_existing_file(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """An existing file is refused in words that can be typed, unless --overwrite is said."""
    task_id = started("#fast")
    pathlib.Path("ada.mp4").write_text("mine")
    assert i2v("download", task_id, "-o", "ada.mp4") == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert i2v("download", task_id, "-o", "ada.mp4", "--overwrite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["path"] == "ada.mp4"
    assert pathlib.Path("ada.mp4").read_bytes()[4:8] == b"ftyp"


@pytest.mark.parametrize(("prompt", "words"), [("#stuck", "a2e image-to-video wait"), ("#fast #fail", "failed:")])
def test_download_without_a_result(
    started: Callable[[str], str], prompt: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task that is not finished, or has failed, is one line with what to do or why, and exit code 1."""
    task_id = started(prompt)
    assert i2v("download", task_id) == 1
    out, err = capsys.readouterr()
    assert not out
    assert words in err
    assert task_id in err
    assert err.count("\n") == 1


def test_an_id_cannot_leave_the_folder() -> None:
    """The default name of a video is one name in this folder, whatever A2E calls an id."""
    assert file_of("../../etc/x:y") == "______etc_x_y.mp4"


class Terminal(io.StringIO):
    """A keyboard with somebody at it."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_delete_asks(
    started: Callable[[str], str],
    answer: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal, a task is deleted only if that is confirmed; the question is not on stdout."""
    task_id = started("#fast")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert i2v("delete", task_id) == code
    out, err = capsys.readouterr()
    assert f"Delete task {task_id} at A2E" in err
    assert out == (f"{task_id}\n" if code == 0 else "")
    assert i2v("get", task_id) == 1 - code


def test_delete_needs_yes_where_nobody_can_be_asked(
    started: Callable[[str], str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, --yes is needed: else nothing is deleted, and the exit code is 2."""
    task_id = started("#fast")
    for stdin in (io.StringIO("y\n"), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert i2v("delete", task_id) == 2
        assert "--yes" in capsys.readouterr().err
    assert i2v("get", task_id) == 0
    assert i2v("delete", task_id, "--yes") == 0
    assert i2v("get", task_id) == 1


def test_delete_goes_on(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """One that cannot be deleted does not keep the others, and is told with its id; the exit code is 1."""
    good, gone = started("#fast"), started("#fast")
    assert i2v("delete", "--yes", gone) == 0
    capsys.readouterr()
    assert i2v("delete", "--yes", "--json", gone, good, good) == 1
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"id": good, "deleted": True}]
    assert gone in err
    assert err.count("\n") == 1
