"""Fixture for tests of `a2e batch`: a folder with images, a local A2E, and the output of each command.

A test module needs one line: ``a2e_batch = batch_command.a2e_batch``.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import pages
import pytest
import quick
from batches import PRICE

from a2e_async.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async.sandbox import Sandbox

__all__ = ["PRICE", "BatchCommand", "CommandResult", "a2e_batch", "write"]


@attrs.frozen
class CommandResult:
    """Exit code and output of a command."""

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
class BatchCommand:
    """The command `a2e batch`, with the sandbox that it uses."""

    sandbox: Sandbox
    _capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> CommandResult:
        """Run ``a2e batch ...`` in this process."""
        self._capsys.readouterr()
        code = main(["batch", *arguments])
        return CommandResult(code, *self._capsys.readouterr())

    def start_process(self, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        """Start ``a2e batch ...`` in a process of its own."""
        command = [sys.executable, "-m", "a2e_async", "batch", *arguments]
        return subprocess.Popen(
            command, text=True, **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams)
        )

    @property
    def task_names(self) -> list[str]:
        """The names of all tasks, without their marker."""
        return sorted(task.name.partition(" [")[0] for task in self.sandbox.tasks.values())

    @property
    def charges(self) -> int:
        """How many tasks were charged."""
        return sum(entry.reason == "image-to-video" for entry in self.sandbox.ledger)


@pytest.fixture
def a2e_batch(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> Iterator[BatchCommand]:
    """Return the command, in a folder with three images and with a local A2E."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("A2E_API_KEY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for number, name in enumerate(("ada", "bob", "eva")):
        write(f"{name}.png", quick.PNG + bytes([number]))
    with pages.sandbox_for(request) as sandbox:
        monkeypatch.setenv("A2E_BASE_URL", sandbox.url)
        monkeypatch.setenv("A2E_API_TOKEN", sandbox.token)
        yield BatchCommand(sandbox, capsys)


def write(name: str, content: str | bytes) -> str:
    """Write a file, and return its name."""
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return name
