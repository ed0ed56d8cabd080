"""`a2e image-to-video wait`: many tasks, one wait, a line for each."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from a2e_async.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async.sandbox import Sandbox


def wait(*words: str) -> int:
    """Run the command."""
    return main(["image-to-video", "wait", *words])


def test_wait_prints_a_line_for_each(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each task is one line on stdout, and all of them are done when the command ends with 0."""
    ids = {started("x") for _ in range(3)}
    assert wait(*ids) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert {line[0] for line in lines} == ids
    assert {(line[1], line[5]) for line in lines} == {("succeeded", "")}
    assert all(task_id in err for task_id in ids)  # the changes


def test_wait_asks_about_all_at_once(
    service: Sandbox, started: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten tasks share one wait: they are asked about together, at most one that is left over is asked about alone."""
    ids = [started("x") for _ in range(10)]
    before = len(service.requests)
    assert wait(*ids) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
    paths = [seen.path for seen in list(service.requests)[before:]]
    assert paths[0].endswith("batchDetail")
    alone = {task_id for task_id in ids if any(path.endswith(task_id) for path in paths)}
    assert len(alone) <= 1, paths


def test_wait_downloads(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """With --download-to, each video is in the folder under its id, and its path is the last column."""
    ids = [started("#fast"), started("#fast")]
    assert wait(*ids, ids[0], "--download-to", "videos") == 0
    paths = sorted(line.split("\t")[5] for line in capsys.readouterr().out.splitlines())
    assert paths == sorted(f"videos/{task_id}.mp4" for task_id in ids)
    assert all(pathlib.Path(path).read_bytes()[4:8] == b"ftyp" for path in paths)


def test_wait_looks_at_the_files_first(
    service: Sandbox, started: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A video that exists already ends the command before it waits, unless --overwrite is said."""
    task_id = started("#fast")
    pathlib.Path("videos").mkdir()
    pathlib.Path("videos", f"{task_id}.mp4").write_text("mine")
    before = len(service.requests)
    assert wait(task_id, "--download-to", "videos") == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert len(service.requests) == before
    assert wait(task_id, "--download-to", "videos", "--overwrite") == 0


def test_wait_with_a_failure(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """A task that fails is told on stderr with its reason, hides no other one, and makes the exit code 1."""
    bad, good = started("#fail"), started("x")
    assert wait(bad, good, "--json") == 1
    out, err = capsys.readouterr()
    records = {record["id"]: record for record in map(json.loads, out.splitlines())}
    assert (records[good]["status"], records[good]["error"]) == ("succeeded", None)
    assert records[bad]["status"] == "failed"
    assert "could not be generated" in records[bad]["error"]
    assert f"a2e: {records[bad]['error']}" in err.splitlines()


def test_wait_with_a_result_that_is_gone(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """A download that does not work is a failure of this command, though the task has succeeded."""
    task_id = started("#fast #expired")
    assert wait(task_id, "--download-to", "videos", "--json") == 1
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["status"], record["path"]) == ("succeeded", None)
    assert record["error"]
    assert task_id in err


def test_wait_that_takes_too_long(started: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wait that ends too early says so with the command that goes on, and shows where the task stands."""
    task_id = started("#stuck")
    assert wait(task_id, "--timeout", "0.5") == 1
    out, err = capsys.readouterr()
    assert out.split("\t")[:2] in ([task_id, "queued"], [task_id, "running"])
    assert err.splitlines()[-1].endswith(f"wait on with a2e image-to-video wait {task_id}")


@pytest.mark.parametrize("words", [["67d2", "--timeout", "nan"], [""], []], ids=["timeout", "empty id", "no id"])
def test_wait_with_wrong_words(service: Sandbox, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be waited for is wrong use, and nothing is asked."""
    assert wait(*words) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not service.requests


@pytest.mark.realtime("a signal to a process, whose output is a pipe")
def test_interrupted_wait_tells_how_to_go_on(service: Sandbox, started: Callable[[str], str]) -> None:
    """Ctrl-C ends with 130 and one line with the tasks that have not ended; the results so far were printed."""
    ids = [started("#fast"), started("#stuck"), started("#stuck")]
    command = [sys.executable, "-m", "a2e_async", "image-to-video", "wait", *ids]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        late = threading.Timer(45, process.kill)
        late.start()
        first = process.stdout.readline()  # it is printed at once, also into a pipe
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        late.cancel()
        late.join()
    assert first.startswith(ids[0])
    assert process.returncode == 130
    assert err.splitlines()[-1].endswith(f"a2e image-to-video wait {ids[1]} {ids[2]}")
    assert "Traceback" not in err
