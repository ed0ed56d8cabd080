"""Tests of ``a2e cluster`` with a PostgreSQL, and a local A2E in a thread."""

from __future__ import annotations

import csv
import io
import pathlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pages
import pytest
import quick
from batch_command import CommandResult, write
from conditions import block_until

from a2e_async.cli import main
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_postgres import LocalPostgres

    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.process("PostgreSQL is a process, which has no virtual time")

COMMAND = [sys.executable, "-m", "a2e_async", "cluster"]

JOBS = "key,image,prompt\n" + "".join(f"job-{number},ada.png,she smiles #fast\n" for number in range(3))


@attrs.frozen
class ClusterCommand:
    """The command `a2e cluster` in this process, with a database and a sandbox."""

    sandbox: Sandbox
    url: str
    _capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> CommandResult:
        """Run ``a2e cluster ...``."""
        self._capsys.readouterr()
        code = main(["cluster", *arguments])
        return CommandResult(code, *self._capsys.readouterr())

    @property
    def charges(self) -> int:
        """How many tasks were charged."""
        return sum(entry.reason == "image-to-video" for entry in self.sandbox.ledger)


@pytest.fixture
def a2e_cluster(
    ready_database: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Iterator[ClusterCommand]:
    """Return the command, in a folder with an image and a table of three jobs."""
    monkeypatch.chdir(tmp_path)
    for name in ("A2E_API_KEY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("A2E_DATABASE_URL", ready_database)
    write("ada.png", quick.PNG)
    write("jobs.csv", JOBS)
    with pages.sandbox_for(request) as sandbox:
        monkeypatch.setenv("A2E_BASE_URL", sandbox.url)
        monkeypatch.setenv("A2E_API_TOKEN", sandbox.token)
        yield ClusterCommand(sandbox, ready_database, capsys)


def test_init(postgres: LocalPostgres, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A database without tables is an error that names `init`, which can run twice."""
    assert main(["cluster", "status", "--database", database]) == 1
    assert "a2e cluster init" in capsys.readouterr().err
    assert [main(["cluster", "init", "--database", database]) for _ in range(2)] == [0, 0]
    assert main(["cluster", "status", "--database", database]) == 0
    assert capsys.readouterr().err == ""
    assert postgres.execute("SELECT count(*) FROM a2e_jobs", database) == [(0,)]


def test_the_password_is_never_shown(postgres: LocalPostgres, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that rejects the role, or that is not there, is an error without the password. An argument is a warning."""
    address = postgres.url.partition("?")[2]
    for url in (f"postgresql://stranger:hunter2@/postgres?{address}", "postgresql://a2e:hunter2@127.0.0.1:1/videos"):
        for command in (["status"], ["init"], ["pause"]):
            assert main(["cluster", *command, "--database", url]) == 1
            out, err = capsys.readouterr()
            assert "hunter2" not in out + err
            assert "other users of this machine can see --database" in err


def test_enqueue(a2e_cluster: ClusterCommand) -> None:
    """Jobs are queued once. A known key with another input is refused, by its line, and nothing is queued."""
    assert a2e_cluster("enqueue", "jobs.csv", "--dry-run").out == "3 jobs can be queued.\n"
    assert a2e_cluster("enqueue", "jobs.csv").out == "3 jobs queued.\n"
    write("jobs.csv", f"{JOBS}job-3,ada.png,she smiles\n")
    assert a2e_cluster("enqueue", "jobs.csv", "--json").objects == [{"added": 1, "known": 3, "invalid": 0}]
    write(
        "jobs.csv",
        JOBS.replace("job-1,ada.png,she smiles", "job-1,ada.png,she cries") + "job-4,no.png,x\nnew,ada.png,x\n",
    )
    result = a2e_cluster("enqueue", "jobs.csv")
    assert (result.code, result.out) == (2, "")
    first, second, last = result.err.splitlines()
    assert first.startswith("jobs.csv:3: ")
    assert "job-1" in first
    assert second.startswith("jobs.csv:5: Job 'job-4': image 'no.png' cannot be read")
    assert last == "a2e: 2 of 5 rows are invalid, and nothing was queued: fix them, or skip them with --skip-invalid"
    skipping = a2e_cluster("enqueue", "jobs.csv", "--skip-invalid", "--json")
    assert (skipping.code, skipping.objects) == (0, [{"added": 1, "known": 2, "invalid": 2}])
    assert a2e_cluster.sandbox.requests == a2e_cluster.sandbox.requests.__class__()


def test_a_folder_that_is_uploaded_at_once(a2e_cluster: ClusterCommand) -> None:
    """Images of a folder are uploaded by `enqueue`, once for each content; no task is started."""
    for name in ("one", "two"):
        write(f"images/{name}.png", quick.PNG + name.encode())
    queued = a2e_cluster("enqueue", "images", "--prompt", "she smiles", "--upload-at", "enqueue")
    assert (queued.code, queued.out) == (0, "2 jobs queued.\n")
    assert [entry.reason for entry in a2e_cluster.sandbox.ledger] == ["presigned-upload"] * 2
    assert [job["key"] for job in a2e_cluster("export", "--format", "jsonl").objects] == ["one.png", "two.png"]


def test_a_cluster_from_the_queue_to_the_report(a2e_cluster: ClusterCommand) -> None:
    """A worker makes all videos and ends; status and export tell about them; a failed job can be tried again."""
    write("jobs.csv", f"{JOBS}fails,ada.png,a private prompt #fast #fail\n")
    assert a2e_cluster("enqueue", "jobs.csv").code == 0
    worker = a2e_cluster("worker", "--until-idle", "--name", "first", "--max-coins", "500")
    assert (worker.code, worker.out) == (0, "")
    assert worker.err.startswith("Worker first takes jobs from local/")
    assert sorted(path.name for path in pathlib.Path("videos").iterdir()) == [
        f"job-{number}.mp4" for number in range(3)
    ]

    status = a2e_cluster("status")
    assert "4/4 100%" in status.out
    assert "120 of 500 coins" in status.out
    assert "✓ 3 succeeded   ✗ 1 failed" in status.out
    assert "✗ fails: failed: The video could not be generated" in status.out
    assert "private" not in status.out
    (found,) = a2e_cluster("status", "--json").objects
    assert (found["done"], found["open"], found["max_coins"], found["coins"]) == (4, 0, 500, 120)

    rows = list(csv.DictReader(io.StringIO(a2e_cluster("export").out)))
    assert [row["key"] for row in rows] == ["job-0", "job-1", "job-2", "fails"]
    assert rows[0]["output"] == str(pathlib.Path("videos/job-0.mp4").absolute())
    assert {"request.prompt", "record.coins", "error.message"} < rows[0].keys()
    (failed,) = a2e_cluster("export", "--state", "failed", "--format", "jsonl").objects
    assert (failed["key"], failed["error.type"]) == ("fails", "TaskFailedError")
    assert a2e_cluster("export", "--out", "report.csv").code == 0
    assert a2e_cluster("export", "--out", "report.csv").code == 2

    assert "add --yes" in a2e_cluster("retry").err
    assert a2e_cluster("retry", "job-0").out == "0 jobs queued again.\n"
    assert a2e_cluster("retry", "--yes").out == "1 job queued again.\n"
    assert a2e_cluster.charges == 4


def test_pause_and_resume(a2e_cluster: ClusterCommand) -> None:
    """A pause with its reason is in the status until it is resumed; limits that are not given stay as they are."""
    assert a2e_cluster("pause", "--reason", "wrong prompt").code == 0
    assert a2e_cluster("status", "--json").objects[0]["paused"] == "wrong prompt"
    assert a2e_cluster("resume", "--max-coins", "500", "--max-running", "7").code == 0
    assert a2e_cluster("resume", "--max-coins", "900").code == 0
    (found,) = a2e_cluster("status", "--json").objects
    assert (found["paused"], found["max_coins"], found["max_running"]) == ("", 900, 7)


def test_a_worker_without_jobs(a2e_cluster: ClusterCommand) -> None:
    """It ends at once with --until-idle, and does not show the password of its target."""
    result = a2e_cluster("worker", "--until-idle", "--name", "idle", "--out", "memory://user:hunter2@videos?key=secret")
    assert result.code == 0
    assert result.err.startswith("Worker idle takes jobs from local/")
    assert "Videos go to memory://videos.\n" in result.err
    assert "0/0: no jobs" in result.err


def test_a_worker_that_is_stopped(a2e_cluster: ClusterCommand) -> None:
    """SIGTERM ends a worker within five seconds. Its task is handed back, and another worker pays nothing for it."""
    write("jobs.csv", "key,image,prompt\nslow,ada.png,she smiles #slow\n")
    assert a2e_cluster("enqueue", "jobs.csv").code == 0
    with subprocess.Popen([*COMMAND, "worker", "--name", "first"], stderr=subprocess.PIPE, text=True) as process:
        block_until(lambda: a2e_cluster.charges)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert err.splitlines()[-1] == (
        "a2e: interrupted; the jobs of this worker are handed back, and other workers continue them"
    )
    (job,) = a2e_cluster("export", "--format", "jsonl").objects
    assert (job["state"], job["worker"]) == ("running", None)
    (task_id,) = a2e_cluster.sandbox.tasks
    assert job["task_id"] == task_id
    pages.finish_in_background(a2e_cluster.sandbox, task_id)
    assert a2e_cluster("worker", "--until-idle").code == 0
    assert a2e_cluster.charges == 1
    assert pathlib.Path("videos/slow.mp4").stat().st_size


def test_a_worker_that_is_stopped_during_a_start(a2e_cluster: ClusterCommand) -> None:
    """A start whose answer is a minute late does not hold a worker that is stopped. The database has its intent."""
    a2e_cluster.sandbox.faults = FaultPlan(script={"start": [Fault("delay", after=True, seconds=60)]})
    write("jobs.csv", "key,image_url,prompt\nlate,https://example.com/ada.png,she smiles #slow\n")
    assert a2e_cluster("enqueue", "jobs.csv").code == 0
    with subprocess.Popen([*COMMAND, "worker"], stderr=subprocess.PIPE, text=True) as process:
        block_until(lambda: a2e_cluster.charges)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert "another worker settles the start that is under way" in err
    (job,) = a2e_cluster("export", "--format", "jsonl").objects
    assert (job["state"], job["worker"], job["task_id"]) == ("starting", None, None)
    assert job["marker"] in next(iter(a2e_cluster.sandbox.tasks.values())).name


def test_a_live_status(a2e_cluster: ClusterCommand) -> None:
    """`status --watch` prints the changes until Ctrl-C, which ends it with 130, and no worker."""
    with subprocess.Popen(
        [*COMMAND, "status", "--watch", "--interval", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "0/0: no jobs; 0 coins; 0 workers" in process.stdout.readline()
        assert a2e_cluster("enqueue", "jobs.csv").code == 0
        assert "0/3: 3 queued; 0 coins; 0 workers" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith("a2e: interrupted\n")


@pytest.mark.soak
@pytest.mark.usefixtures("postgres")
def test_demo(tmp_path: pathlib.Path) -> None:
    """The demo kills a worker; all videos are whole, and each key is charged once."""
    done = subprocess.run(
        [*COMMAND, "demo", "-o", "out"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was killed while it had" in done.stdout
    assert "60 of 60 videos whole" in done.stdout
    assert "60 of 60 keys charged exactly once" in done.stdout
    assert len(list((tmp_path / "out").iterdir())) == 60
