"""Fixtures of the tests of the commands. No fixture is automatic."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import pages
import pytest
import quick

from a2e_async.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from a2e_async.sandbox import Sandbox


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Change to an empty folder, without a token in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))  # for profiles
    for name in ("A2E_API_TOKEN", "A2E_API_KEY", "A2E_BASE_URL", "A2E_PROFILE", "A2E_LEARN", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def service(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Run a sandbox, with its URL and token in the environment."""
    with pages.sandbox_for(request) as local:
        monkeypatch.setenv("A2E_BASE_URL", local.url)
        monkeypatch.setenv("A2E_API_TOKEN", local.token)
        yield local


@pytest.fixture
def image(folder: pathlib.Path) -> str:
    """Write a file that begins like an image, and return its name."""
    pathlib.Path("ada.png").write_bytes(quick.PNG)
    return "ada.png"


@pytest.fixture
def start_task(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Return a function that starts a task with the command and returns the task's id."""

    def start(prompt: str) -> str:
        assert main(["image-to-video", "start", image, "--prompt", prompt]) == 0
        return capsys.readouterr().out.strip()

    return start
