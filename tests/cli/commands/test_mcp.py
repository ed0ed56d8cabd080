"""`a2e mcp`: an MCP server on standard input and output. Its tools are tested in `tests/integrations/test_mcp.py`."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from a2e_async.cli import main

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

COMMAND = ["-m", "a2e_async", "mcp", "--folder", ".", "--max-coins", "40", "--journal", "mcp.sqlite", "-v"]
STUCK = {"image": "ada.png", "prompt": "#stuck she smiles"}


@pytest.mark.process("a server, which a host starts as a process")
async def test_server_of_a_host(service: Sandbox, image: str) -> None:
    """The SDK's own client starts the server, makes a video, and ends it. The next server has the same limit."""
    server = StdioServerParameters(command=sys.executable, args=COMMAND, env=dict(os.environ))
    for run in (1, 2):
        with pathlib.Path("log.txt").open("w", encoding="utf-8") as log:
            async with Client(stdio_client(server, errlog=log)) as client:
                started = await client.call_tool("start_video", STUCK)
                refused = await client.call_tool("start_video", STUCK | {"idempotency_key": f"take {run}"})
        assert started.structured_content is not None
        (task_id,) = service.tasks
        assert started.structured_content["task_id"] == task_id
        assert refused.is_error
        assert f"task {task_id} continues at A2E" in pathlib.Path("log.txt").read_text(encoding="utf-8")
    assert "30 of at most 40 coins are spent" in str(refused.content)


def message(number: int | None, method: str, **params: Any) -> str:
    """Return a line of the protocol."""
    ident = {} if number is None else {"id": number}
    return json.dumps({"jsonrpc": "2.0", **ident, "method": method, "params": params}) + "\n"


@pytest.mark.process("signals to a process, and its streams")
@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
@pytest.mark.parametrize("end", ["SIGTERM", "host gone"])
def test_end_of_a_server(service: Sandbox, image: str, end: str) -> None:
    """The server ends cleanly, names the tasks that continue, and has written nothing but the protocol to stdout."""
    host = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}
    with subprocess.Popen(
        [sys.executable, *COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            process.stdin.write(message(1, "initialize", **host) + message(None, "notifications/initialized"))
            process.stdin.write(message(2, "tools/call", name="start_video", arguments=STUCK))
            process.stdin.flush()
            answers = [json.loads(process.stdout.readline()) for _ in range(2)]
            assert [answer["id"] for answer in answers] == [1, 2]
            (task_id,) = service.tasks
            wait = message(3, "tools/call", name="wait_for_video", arguments={"task_id": task_id})
            process.stdin.write(wait)
            process.stdin.flush()
            if end == "SIGTERM":
                process.send_signal(signal.SIGTERM)
                log, rest = process.stderr.read(), process.stdout.read()
            else:
                process.stdout.close()
                process.stdin.close()
                log, rest = process.stderr.read(), ""
            assert process.wait(30) == 0, log
        finally:
            process.kill()
    assert f"task {task_id} continues at A2E. Wait for it with a2e image-to-video wait {task_id}" in log
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())
    assert "Traceback" not in log
    assert log.count("started, marker") == 1
    assert "smiles" not in log


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--folder", "none", "--max-coins", "10"), "does not exist"),
        (("--folder", ".", "--max-coins", "-1"), "max_coins must be a number of coins"),
        (("--folder", "."), "--max-coins"),
        (("--max-coins", "10"), "--folder"),
    ],
)
def test_wrong_usage(
    service: Sandbox, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], problem: str
) -> None:
    """The folder and the limit are required, and are checked before anything is served."""
    assert main(["mcp", *arguments]) == 2
    assert problem in capsys.readouterr().err


def test_missing_extra(service: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK, the command names the extra."""
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    monkeypatch.delitem(sys.modules, "a2e_async.integrations.mcp", raising=False)
    assert main(["mcp", "--folder", ".", "--max-coins", "10"]) == 2
    assert 'pip install "a2e-async[mcp]"' in capsys.readouterr().err
