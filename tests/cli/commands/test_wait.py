"""`a2e image-to-video wait`: one wait for many tasks, with one line for each."""

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


def test_wait_prints_a_line_for_each(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout has one line for each task, and the command ends with 0 after all of them."""
    ids = {start_task("x") for _ in range(3)}
    assert wait(*ids) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert {line[0] for line in lines} == ids
    assert {(line[1], line[5]) for line in lines} == {("succeeded", "")}
    assert all(task_id in err for task_id in ids)  # the changes


def test_wait_polls_in_batches(
    service: Sandbox, start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten tasks are polled in batches. At most the last unfinished task is polled on its own."""
    ids = [start_task("x") for _ in range(10)]
    before = len(service.requests)
    assert wait(*ids) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
    paths = [seen.path for seen in list(service.requests)[before:]]
    assert paths[0].endswith("batchDetail")
    single = {task_id for task_id in ids if any(path.endswith(task_id) for path in paths)}
    assert len(single) <= 1, paths


def test_wait_downloads(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """With --download-to, each video is in the folder, named after its id, and its path is the last column."""
    ids = [start_task("#fast"), start_task("#fast")]
    assert wait(*ids, ids[0], "--download-to", "videos") == 0
    paths = sorted(line.split("\t")[5] for line in capsys.readouterr().out.splitlines())
    assert paths == sorted(f"videos/{task_id}.mp4" for task_id in ids)
    assert all(pathlib.Path(path).read_bytes()[4:8] == b"ftyp" for path in paths)


def test_wait_checks_the_files_first(
    service: Sandbox, start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """If a video already exists, the command fails before the wait, unless --overwrite is given."""
    task_id = start_task("#fast")
    pathlib.Path("videos").mkdir()
    pathlib.Path("videos", f"{task_id}.mp4").write_text("mine")
    before = len(service.requests)
    assert wait(task_id, "--download-to", "videos") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert len(service.requests) == before
    assert wait(task_id, "--download-to", "videos", "--overwrite") == 0


def test_wait_with_a_failure(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """A failed task is reported on stderr with its reason. The others are printed, and the exit code is 1."""
    bad, good = start_task("#fail"), start_task("x")
    assert wait(bad, good, "--json") == 1
    out, err = capsys.readouterr()
    records = {record["id"]: record for record in map(json.loads, out.splitlines())}
    assert (records[good]["status"], records[good]["error"]) == ("succeeded", None)
    assert records[bad]["status"] == "failed"
    assert "could not be generated" in records[bad]["error"]
    assert f"a2e: {records[bad]['error']}" in err.splitlines()


def test_wait_with_an_expired_result(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """If the download fails, the exit code is 1, although the task has succeeded."""
    task_id = start_task("#fast #expired")
    assert wait(task_id, "--download-to", "videos", "--json") == 1
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["status"], record["path"]) == ("succeeded", None)
    assert record["error"]
    assert task_id in err


def test_wait_with_a_timeout(start_task: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    """After a timeout, the status of the task and the command that resumes the wait are printed."""
    task_id = start_task("#stuck")
    assert wait(task_id, "--timeout", "0.5") == 1
    out, err = capsys.readouterr()
    assert out.split("\t")[:2] in ([task_id, "queued"], [task_id, "running"])
    assert err.splitlines()[-1].endswith(f"a2e image-to-video wait {task_id}")


@pytest.mark.parametrize("arguments", [["67d2", "--timeout", "nan"], [""], []], ids=["timeout", "empty id", "no id"])
def test_wait_with_wrong_arguments(service: Sandbox, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments end the command with 2, and nothing is sent."""
    assert wait(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not service.requests


@pytest.mark.realtime("a signal to a process, whose output is a pipe")
def test_interrupted_wait(service: Sandbox, start_task: Callable[[str], str]) -> None:
    """After Ctrl-C, the exit code is 130, and one line has the unfinished tasks. Earlier results were printed."""
    ids = [start_task("#fast"), start_task("#stuck"), start_task("#stuck")]
    command = [sys.executable, "-m", "a2e_async", "image-to-video", "wait", *ids]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        late = threading.Timer(45, process.kill)
        late.start()
        first = process.stdout.readline()  # printed at once, also into a pipe
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        late.cancel()
        late.join()
    assert first.startswith(ids[0])
    assert process.returncode == 130
    assert err.splitlines()[-1].endswith(f"a2e image-to-video wait {ids[1]} {ids[2]}")
    assert "Traceback" not in err
