"""A process that has used a client and forks, as preloading servers and `multiprocessing` do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.process("a fork"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
]

_PARENT = """
import asyncio, gc, os, sys, threading, time, warnings
import aiohttp
from a2e_async import A2EClient, Config, ConfigurationError
from a2e_async.sandbox import Sandbox

warnings.simplefilter("ignore")  # newer Pythons warn of a fork with threads
ready, boxes = threading.Event(), []

async def serve():
    async with Sandbox(render="tiny") as box:
        boxes.append(box)
        ready.set()
        await asyncio.sleep(60)

threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
ready.wait()
(box,) = boxes
how, inside = sys.argv[1], sys.argv[2] == "inside"

def use(a2e):
    if how == "uses":
        asyncio.run(a2e.account.balance())
    elif how == "closes":
        asyncio.run(a2e.aclose())
    elif how == "polls":
        assert not a2e.poll_now()
    elif how == "drops":
        a2e.__dict__.clear()
        gc.collect()
    elif how == "external":
        try:
            asyncio.run(a2e.account.balance())
        except ConfigurationError as error:
            assert "after the fork" in str(error), error
        else:
            raise AssertionError

def fork(a2e):
    child = os.fork()
    if child == 0:
        try:
            use(a2e)
            a2e.__dict__.clear()
            gc.collect()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0) if inside else sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def ask(a2e):
    code = fork(a2e) if inside else 0
    began = time.monotonic()
    await a2e.account.balance()
    assert time.monotonic() - began < 3, "the event loop of the parent has lost its connection"
    return code

async def make():
    session = aiohttp.ClientSession() if how == "external" else None
    return A2EClient(box.token, base_url=box.url, config=Config(request_timeout=6.0), session=session)

loop = asyncio.new_event_loop()
a2e = loop.run_until_complete(make())
loop.run_until_complete(a2e.account.balance())
code = 0 if inside else fork(a2e)
code = code or loop.run_until_complete(ask(a2e))
sys.stdout.flush()
os._exit(code)
"""


@pytest.mark.parametrize("where", ["inside", "outside"])
@pytest.mark.parametrize("how", ["uses", "closes", "polls", "drops", "external"])
def test_fork(how: str, where: str) -> None:
    """The child works with connections of its own, and with each use of the client the parent's are intact."""
    command = [sys.executable, "-c", _PARENT, how, where]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
