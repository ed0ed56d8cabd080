"""`a2e batch` as it is typed: a folder with pictures, a local A2E, and what a command prints.

A module of tests needs one line: ``shell = batch_shell.shell``.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import pages
import pytest
import quick

from a2e_async.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from a2e_async.sandbox import Sandbox

__all__ = ["Said", "Shell", "shell", "write"]

PRICE = 30
"""Coins for 5 seconds of video."""


@attrs.frozen
class Said:
    """What came of a command: exit code and output."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The JSON Lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    def by_key(self) -> dict[str, dict[str, Any]]:
        """Return the JSON Lines on stdout by their key."""
        return {found["key"]: found for found in self.objects}


@attrs.frozen
class Shell:
    """Types commands."""

    sandbox: Sandbox
    _capsys: pytest.CaptureFixture[str]

    def __call__(self, *words: str) -> Said:
        """Run ``a2e batch ...`` in this process."""
        self._capsys.readouterr()
        code = main(["batch", *words])
        return Said(code, *self._capsys.readouterr())

    def start(self, *words: str, **streams: Any) -> subprocess.Popen[str]:
        """Start ``a2e batch ...`` in a process of its own."""
        command = [sys.executable, "-m", "a2e_async", "batch", *words]
        return subprocess.Popen(
            command, text=True, **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams)
        )

    @property
    def names(self) -> list[str]:
        """The names of the tasks that were made, without their marker."""
        return sorted(task.name.partition(" [")[0] for task in self.sandbox.tasks.values())

    @property
    def purchases(self) -> int:
        """How many tasks were paid for."""
        return sum(entry.what == "image-to-video" for entry in self.sandbox.ledger)


@pytest.fixture
def shell(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Iterator[Shell]:
    """Give a folder with three pictures and a local A2E."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("A2E_API_KEY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for number, name in enumerate(("ada", "bob", "eva")):
        write(f"{name}.png", quick.PNG + bytes([number]))
    with pages.sandbox_for(request) as sandbox:
        monkeypatch.setenv("A2E_BASE_URL", sandbox.url)
        monkeypatch.setenv("A2E_API_TOKEN", sandbox.token)
        yield Shell(sandbox, capsys)


def write(name: str, content: str | bytes) -> str:
    """Write a file, and return its name."""
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def until(true: Callable[[], object]) -> None:
    """Wait for something that nobody tells."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
