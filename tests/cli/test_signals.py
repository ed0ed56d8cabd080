"""SIGTERM and SIGHUP: from `docker stop`, a service manager, a CI system or a closed terminal. They work as Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import batch_command
import pages
import pytest
import quick
from batch_command import BatchCommand, write
from conditions import block_until

from a2e_async import A2EClient
from a2e_async.cli import main
from a2e_async.cli.signals import stop_signals
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async.sandbox import Sandbox

a2e_batch = batch_command.a2e_batch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")

KINDS = [signal.SIGTERM, signal.SIGHUP] if sys.platform != "win32" else []
RUN = ("run", "jobs.csv", "--journal", "jobs.sqlite")


@contextlib.contextmanager
def handlers(**wanted: Any) -> Iterator[None]:
    """Set handlers of signals for the block, by their names."""
    before = {name: signal.signal(getattr(signal, name), handler) for name, handler in wanted.items()}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@pytest.fixture(autouse=True)
def _usual_handlers() -> Iterator[None]:
    """Set the handlers of a usual process, also for child processes."""
    with handlers(SIGINT=signal.default_int_handler, SIGTERM=signal.SIG_DFL, SIGHUP=signal.SIG_DFL):
        yield


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "a2e_async", *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for the end of a process, and return its output."""
    out, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    return out, err


# batches


@pytest.mark.realtime("a signal to a process")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_batch_stops(a2e_batch: BatchCommand, kind: signal.Signals) -> None:
    """The batch starts nothing more, and the command that resumes it is printed."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{number},ada.png,#stuck\n" for number in range(9)))
    with a2e_batch.start_process(*RUN, "--max-running", "2") as process:
        block_until(lambda: a2e_batch.charges == 2)
        time.sleep(0.3)
        process.send_signal(kind)
        _, err = end(process)
    assert process.returncode == 130
    assert a2e_batch.charges == 2
    assert "a2e: interrupted; 2 tasks continue at A2E. To resume:\n  a2e batch run jobs.csv" in err


@pytest.mark.realtime("signals to a process")
def test_second_signal_exits_at_once(a2e_batch: BatchCommand) -> None:
    """While the batch waits for the answer to a start, a second signal ends it, and the resuming command is printed."""
    write("jobs.csv", "key,image,prompt\nk0,ada.png,#fast\n")
    a2e_batch.sandbox.faults = FaultPlan(script={"start": [Fault("delay", after=True, seconds=3600)]})
    with a2e_batch.start_process(*RUN) as process:
        block_until(lambda: a2e_batch.charges == 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = end(process)
    assert process.returncode == 130
    assert "unknown outcome of 1 start" in err


def _can_unshare() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "true"]
    return (
        shutil.which("unshare") is not None and not subprocess.run(command, check=False, capture_output=True).returncode
    )


@pytest.mark.realtime("signals to the first process of a container")
@pytest.mark.skipif(sys.platform != "linux" or not _can_unshare(), reason="cannot make a namespace of processes")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_first_process_of_a_container_stops(a2e_batch: BatchCommand, kind: signal.Signals) -> None:
    """As process 1, which ignores signals without a handler, the batch stops in the middle, and starts nothing more."""
    write("jobs.csv", "key,image,prompt\n" + "".join(f"k{number},ada.png,#fast\n" for number in range(40)))
    arguments = [sys.executable, "-m", "a2e_async", "batch", *RUN, "--max-running", "2", "--json"]
    # the shell ends with `exec`, so that the command itself is process 1
    script = f"test $$ = 1 && echo $$ >&2 && exec {shlex.join(arguments)}"
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "sh", "-c", script]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        block_until(lambda: a2e_batch.charges >= 3)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
        os.kill(int(children), kind)
        _, err = end(process)
    paid = a2e_batch.charges
    assert process.returncode == 130
    assert 3 <= paid < 40
    assert err.startswith("1\n")
    assert "To resume:\n  a2e batch run jobs.csv" in err
    rows = a2e_batch("export", "jobs.sqlite", "--format", "jsonl").objects
    assert {row["task_id"] for row in rows if row["task_id"]} == set(a2e_batch.sandbox.tasks)
    time.sleep(1)
    assert a2e_batch.charges == paid


# one video


def wait_for_task(process: subprocess.Popen[str]) -> None:
    """Wait until a process has printed that its task exists."""
    assert process.stderr is not None
    line = "uploading"
    while "uploading" in line:
        line = process.stderr.readline()
    assert "ada.png: " in line, line


@contextlib.contextmanager
def start_run(service: Sandbox, *more: str, **options: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `image-to-video run`, wait until its task runs, and give the process and the id of the task."""
    with start("image-to-video", "run", "ada.png", "--prompt", "#stuck", *more, **options) as process:
        try:
            wait_for_task(process)
            (task_id,) = service.tasks
            yield process, task_id
        finally:
            process.kill()  # unless it has ended


@pytest.mark.process("a signal to a process")
@pytest.mark.parametrize("kind", [signal.SIGINT, *KINDS], ids=lambda kind: kind.name)
def test_printed_command_makes_the_video(service: Sandbox, image: str, kind: signal.Signals) -> None:
    """The id of the paid task is printed, and the command that makes the file which the user wanted."""
    name = "my  first video.mp4"
    with start_run(service, "--out", name) as (process, task_id):
        process.send_signal(kind)
        out, err = end(process)
    assert (process.returncode, out) == (130, "")
    message, command = err.splitlines()[-2:]
    assert message == "a2e: interrupted; the task continues at A2E and is paid. To wait for its video:"
    assert shlex.split(command) == ["a2e", "image-to-video", "wait", task_id, "--out", name]
    pages.finish_in_background(service, task_id)
    assert main(shlex.split(command)[1:]) == 0
    assert pathlib.Path(name).read_bytes()[4:8] == b"ftyp"
    assert len(service.tasks) == 1


@pytest.mark.process("a signal to a process")
def test_stopped_run_prints_json(service: Sandbox, image: str) -> None:
    """With --json, the task is printed as JSON, with its id and without a file."""
    options = ("--out", "x.mp4", "--json", "--overwrite", "--base-url", service.url)
    with start_run(service, *options) as (process, task_id):
        process.send_signal(signal.SIGTERM)
        out, err = end(process)
    assert process.returncode == 130
    found = json.loads(out)
    assert (found["id"], found["path"]) == (task_id, None)
    end_of_command = ["--out", "x.mp4", "--overwrite", "--base-url", service.url, "--json"]
    assert shlex.split(err.splitlines()[-1]) == ["a2e", "image-to-video", "wait", task_id, *end_of_command]


@pytest.mark.process("a signal to a process")
def test_id_comes_before_the_clean_up(service: Sandbox, image: str) -> None:
    """The id is printed first: the process can be killed while it closes its connections."""
    code = (
        "import asyncio, signal, sys\n"
        "from a2e_async import A2EClient\n"
        "from a2e_async.cli import main\n"
        "close = A2EClient.aclose\n"
        "async def slow(self):\n"
        "    print('closing', file=sys.stderr)\n"
        "    await close(self)\n"
        "A2EClient.aclose = slow\n"
        "sys.exit(main(['image-to-video', 'run', 'ada.png', '--prompt', '#stuck', '--out', 'x.mp4']))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], text=True, stderr=subprocess.PIPE) as process:
        wait_for_task(process)
        process.send_signal(signal.SIGTERM)
        _, err = end(process)
    (task_id,) = service.tasks
    assert err.index(task_id) < err.index("closing")


@pytest.mark.realtime("a signal to a process")
def test_reader_that_has_ended(service: Sandbox, image: str) -> None:
    """If the reader of the JSON has ended by the same signal, stderr still has the id of the paid task."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "a2e_async", "image-to-video", "run", image, "--prompt", "#stuck", "--json"]
    with subprocess.Popen([*command, "--out", "x.mp4"], text=True, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        wait_for_task(process)
        os.close(reading)
        process.send_signal(signal.SIGTERM)
        _, err = end(process)
    (task_id,) = service.tasks
    assert f"a2e image-to-video wait {task_id} --out x.mp4 --json" in err


def test_wait_for_one_file(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`wait --out` writes the video of one task to a file; several tasks, a folder or standard output are refused."""
    assert main(["image-to-video", "start", image, "--prompt", "#fast"]) == 0
    task_id = capsys.readouterr().out.strip()
    for wrong in (["b", "--out", "x.mp4"], ["--out", "x.mp4", "--download-to", "videos"]):
        assert main(["image-to-video", "wait", task_id, *wrong]) == 2
        assert "--out is a file for the video of one task" in capsys.readouterr().err
    assert main(["image-to-video", "wait", task_id, "--out", "-"]) == 2
    assert "use a2e image-to-video download" in capsys.readouterr().err
    assert main(["image-to-video", "wait", task_id, "--out", "x.mp4"]) == 0
    assert pathlib.Path("x.mp4").stat().st_size


def test_wait_that_ends_early(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If `run` ends by its time-out, the command that makes the file is printed as well."""
    name = "{id} x.mp4"
    assert main(["image-to-video", "run", image, "--prompt", "#stuck", "--out", name, "--timeout", "1"]) == 1
    (task_id,) = service.tasks
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f". Wait for it with a2e image-to-video wait {task_id} --out '{name}'")


@pytest.mark.process("a signal to a process")
def test_video_for_standard_output(service: Sandbox, image: str) -> None:
    """For a video to standard output, two commands are printed, and no temporary file stays."""
    environ = {**os.environ, "TMPDIR": str(pathlib.Path().absolute())}
    before = set(pathlib.Path().iterdir())
    with start_run(service, "--out", "-", env=environ) as (process, task_id):
        process.send_signal(signal.SIGTERM)
        out, err = end(process)
    wait = f"a2e image-to-video wait {task_id} && a2e image-to-video download {task_id} --out -"
    assert (out, err.splitlines()[-1].strip()) == ("", wait)
    assert set(pathlib.Path().iterdir()) == before


@pytest.mark.process("a process that serves, and a signal to it")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_sandbox_removes_its_folder(tmp_path: pathlib.Path, kind: signal.Signals) -> None:
    """`a2e sandbox` ends without an error, and leaves no temporary folder."""
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with start("sandbox", "--port", "0", "--render", "tiny", env=environ) as process:
        assert process.stdout is not None
        lines = (re.search(r'A2EClient\("(.*)", base_url="(.*)"\)', line) for line in process.stdout)
        found = next(filter(None, lines))
        async with A2EClient(found[1], base_url=found[2]) as a2e:
            await a2e.upload(quick.PNG)
        assert list(tmp_path.glob("a2e-sandbox-*"))
        process.send_signal(kind)
        _, err = end(process)
    assert (process.returncode, err) == (0, "")
    assert list(tmp_path.iterdir()) == []


# the handlers


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_signal_is_a_ctrl_c(kind: signal.Signals) -> None:
    """A signal raises what Ctrl-C raises, and the handlers are those from before at the end."""
    with stop_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(kind)
    assert signal.getsignal(kind) is signal.SIG_DFL
    with stop_signals(), handlers(SIGINT=signal.SIG_IGN):
        signal.raise_signal(kind)  # ignored together with Ctrl-C, as while ids are printed


def test_ignored_signals_stay_ignored() -> None:
    """In a background job of a shell Ctrl-C stays ignored, and under nohup SIGHUP; SIGTERM works in both."""
    with handlers(SIGINT=signal.SIG_IGN, SIGHUP=signal.SIG_IGN):
        with stop_signals():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_handlers_of_a_program_stay() -> None:
    """A program that calls `main` keeps its own handlers, and in another thread nothing is changed."""
    called: list[int] = []
    with handlers(SIGTERM=lambda number, _: called.append(number)), stop_signals():
        signal.raise_signal(signal.SIGTERM)
    assert called == [signal.SIGTERM]

    def enter() -> None:
        with stop_signals():
            called.append(0)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert called == [signal.SIGTERM, 0]
