"""``a2e mcp``: an MCP server on standard input and output, for a program with a language model."""

# How it works: the SDK reads standard input in a thread, which a signal cannot end. So a thread of ours reads it, and
# copies it to a socket that takes its place. A signal shuts that socket down. For the server, this is the end of its
# input, as if its host had closed it. The thread dies with the process: it uses no lock of the interpreter's streams.

import contextlib
import logging
import os
import pathlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from a2e_async import SQLiteKeyStore
from a2e_async.cli.messages import print_error
from a2e_async.cli.options import DEFAULT_CONNECTION, Connection

_CHUNK = 65536  # bytes


def mcp(
    *,
    folder: pathlib.Path,
    max_coins: float,
    journal: pathlib.Path | None = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Serve tools for a language model (Model Context Protocol). A program starts this command, and talks to it.

    Try:

        a2e mcp --folder ~/videos --max-coins 300 --journal ~/a2e-mcp.sqlite

    The model can ask for prices, start videos, wait for them and download them. It reads images in the folder, and
    writes new videos into it. All starts together cost at most --max-coins: no tool can change that. The command ends
    when its input ends, or by Ctrl-C. Started tasks continue at A2E; their ids are printed on stderr.

    Args:
        folder: The folder of images and videos. Nothing outside of it is read or written.
        max_coins: The most coins that all starts may cost. Uploads are not counted.
        journal: A file in which the limit holds over restarts, such as one outside of the folder. It is made if it does
            not exist. Without it, each run may spend --max-coins.
        connection: The shared options.
    """
    from a2e_async.integrations.mcp import VideoTools  # noqa: PLC0415  the extra may be missing

    key_store = None if journal is None else SQLiteKeyStore(journal.expanduser())
    client = connection.client(key_store=key_store)
    tools = VideoTools(
        client, folder=folder.expanduser(), max_coins=max_coins, journal=None if key_store is None else key_store.path
    )
    if sys.stdin.isatty():
        print_error("this is a server for a program with a language model, such as Claude Desktop; Ctrl-C ends it")
    with _own_log(), _input_until_signal():
        try:
            tools.server().run()
        except* OSError:  # the other program has ended, and does not read the output any more
            pass
    for task_id in tools.unfinished:
        print_error(f"task {task_id} continues at A2E. Wait for it with a2e image-to-video wait {task_id}")
    return 0


@contextlib.contextmanager
def _own_log() -> Iterator[None]:
    """Print the SDK's warnings in plain lines, and keep the lines of our log, which are printed already, from them."""
    logging.basicConfig(level=logging.WARNING, format="a2e: %(name)s: %(message)s")
    logger = logging.getLogger("a2e_async")
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True


@contextlib.contextmanager
def _input_until_signal() -> Iterator[None]:
    """Replace standard input by a copy that ends with it, or at the first signal that ends a command."""
    stdin, handler = sys.stdin, signal.getsignal(signal.SIGINT)
    source, target = socket.socketpair()

    def copy() -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(stdin.fileno(), _CHUNK):
                source.sendall(chunk)
        end()

    def end() -> None:
        with contextlib.suppress(OSError):  # it has ended before
            source.shutdown(socket.SHUT_WR)

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, handler)  # the second one ends the command at once
        end()

    with source, target, target.makefile("r", encoding="utf-8", errors="replace") as copied:
        sys.stdin = copied
        signal.signal(signal.SIGINT, stop)  # SIGTERM and SIGHUP call it too: see `signals.py`
        threading.Thread(target=copy, name="a2e-mcp-input", daemon=True).start()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
            sys.stdin = stdin
