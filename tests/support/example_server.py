"""An example of a web application, run by uvicorn in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from conditions import block_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async.sandbox import Sandbox

__all__ = ["ExampleServer", "example_server"]

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"


class ExampleServer:
    """Server of an example, which can be stopped and started again on its port."""

    def __init__(self, example: str, folder: pathlib.Path, sandbox: Sandbox | None, module: str = "app") -> None:
        """Choose a port; nothing is started yet.

        Args:
            example: A folder of `EXAMPLES`.
            folder: The working directory, and the place of the log.
            sandbox: The local A2E of the application, if it has none of its own.
            module: The module with the application.
        """
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/"
        options = ["--port", str(self._port), "--log-level", "warning", "--timeout-graceful-shutdown", "5"]
        app = [f"{module}:app", "--app-dir", str(EXAMPLES / example)]
        self._command = [sys.executable, "-m", "uvicorn", *app, *options]
        self._folder, self._env = folder, {**os.environ}
        if sandbox is not None:
            self._env |= {"A2E_API_TOKEN": sandbox.token, "A2E_BASE_URL": sandbox.url}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the server has written."""
        return (self._folder / "log.txt").read_text()

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        command = self._command
        with (self._folder / "log.txt").open("ab") as log:
            self._process = process = subprocess.Popen(command, cwd=self._folder, env=self._env, stdout=log, stderr=log)
        block_until(lambda: self._is_listening() or process.poll() is not None)
        assert process.poll() is None, self.log

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server by a signal, and wait for its end."""
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout=20)
            finally:
                self._process.kill()
                self._process.wait()
                self._process = None

    def _is_listening(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self._port)) == 0


@contextlib.contextmanager
def example_server(
    example: str, folder: pathlib.Path, sandbox: Sandbox | None, module: str = "app"
) -> Iterator[ExampleServer]:
    """Run an example; fail if it has logged an error."""
    server = ExampleServer(example, folder, sandbox, module)
    try:
        server.start()
        yield server
    finally:
        server.stop()
    assert "Traceback" not in server.log, server.log
