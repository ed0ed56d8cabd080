"""Other programs, which always end: after their time, or with this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["Ended", "last_line", "run", "run_until"]


@attrs.frozen(kw_only=True)
class Ended:
    """The exit status of a program, or None after a timeout, and its output."""

    status: int | None
    out: str = ""
    err: str = ""


async def run(*command: str | os.PathLike[str], within: float, env: dict[str, str] | None = None) -> Ended:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        within: Seconds after which it is killed.
        env: Its environment, or None for that of this process.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=env)
    try:
        async with asyncio.timeout(within):
            out, err = await process.communicate()
    except TimeoutError:
        return Ended(status=None, err=f"not finished within {within:g} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(status=process.returncode, out=out.decode(), err=err.decode(errors="replace"))


async def run_until(
    is_enough: Callable[[str], bool], *command: str | os.PathLike[str], within: float, env: dict[str, str] | None = None
) -> None:
    """Run a program and kill it as soon as its output is enough.

    Args:
        is_enough: Tells by the output so far whether to kill the program.
        command: The program and its arguments.
        within: Seconds after which it is killed anyway.
        env: Its environment, or None for that of this process.
    """
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=null, env=env)
    assert process.stdout is not None
    out = ""
    try:
        async with asyncio.timeout(within):
            while not is_enough(out) and (line := await process.stdout.readline()):
                out += line.decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def last_line(text: str) -> str:
    """Return the last line that is not empty, where most programs print their error."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")
