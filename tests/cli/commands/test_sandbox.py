"""``a2e sandbox``: its options. `tests/cli/test_cli.py` runs it as a process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from a2e_async.cli import main
from a2e_async.cli.commands import sandbox as command
from a2e_async.sandbox import Fault, FaultPlan, Sandbox
from a2e_async.sandbox.state import RecordedRequest

if TYPE_CHECKING:
    import pathlib


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Sandbox]:
    """The sandboxes that the command starts; each is stopped at once."""
    sandboxes: list[Sandbox] = []

    async def serve(local: Sandbox) -> None:
        async with local:
            sandboxes.append(local)

    monkeypatch.setattr(command, "_serve", serve)
    return sandboxes


def test_faults_of_a_seed_and_of_a_file(served: list[Sandbox], tmp_path: pathlib.Path) -> None:
    """A number is the seed of random faults, anything else a file with a plan."""
    plan = tmp_path / "plan.json"
    plan.write_text('{"script": {"start": ["429"]}}', "utf-8")
    common = ["sandbox", "--port", "0", "--render", "tiny"]
    assert main([*common, "--faults", "7"]) == main([*common, "--faults", str(plan)]) == 0
    assert [each.faults for each in served] == [FaultPlan.random(7), FaultPlan(script={"start": [Fault("429")]})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the fault plan plan.json: No such file or directory. Pass a number, or a JSON file."),
        ("{", "plan.json is not valid JSON, so it is no fault plan"),
        ('{"sript": {}}', "plan.json: a fault plan has no 'sript'; it has script, chances"),
    ],
)
def test_invalid_fault_plan(
    content: str | None,
    message: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A plan that cannot be used is wrong usage; the message names the file."""
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "plan.json").write_text(content, "utf-8")
    assert main(["sandbox", "--faults", "plan.json"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_state_survives_a_restart(served: list[Sandbox], tmp_path: pathlib.Path) -> None:
    """Coins are those of the file, once it exists; a file that is something else is wrong usage."""
    state = tmp_path / "sandbox.json"
    for coins in ("5", "7"):
        assert main(["sandbox", "--port", "0", "--render", "tiny", "--coins", coins, "--state", str(state)]) == 0
    assert [each.coins for each in served] == [5, 5]
    state.write_text("notes", "utf-8")
    assert main(["sandbox", "--port", "0", "--render", "tiny", "--state", str(state)]) == 2


def test_line_of_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    """A request is one line, with any path; a request without a response says so."""
    time = datetime(2026, 1, 1, tzinfo=UTC)
    request = RecordedRequest(
        method="POST", path="/a\n\x1b[31mb", had_authorization=True, status=0, fault="drop", time=time
    )
    command._print_request(request)
    err = capsys.readouterr().err
    assert err[8:] == " no answer POST /a??[31mb  fault: drop\n"
