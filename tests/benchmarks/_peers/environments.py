"""A virtual environment for each peer, made once and kept in ``.nox/peers``, which git ignores.

Each has the newest release of its day, and nothing else. Delete the folder to get newer ones.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import sys

import attrs

from .processes import last_line, run

__all__ = ["FOLDER", "Environment", "ours", "prepare", "variables"]

FOLDER = pathlib.Path(__file__).resolve().parents[3] / ".nox" / "peers"

_KEPT = ("PATH", "HOME", "LANG", "SYSTEMROOT", "TEMP", "TMPDIR")
_TIMEOUT = 300.0  # seconds to make an environment, and to install into it

_PRINT_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


@attrs.frozen(kw_only=True)
class Environment:
    """A Python that can import an SDK, or the reason why there is none.

    Attributes:
        name: The SDK's name on PyPI.
        python: The interpreter, or None.
        version: The SDK's release.
        reason: Why there is no interpreter.
    """

    name: str
    python: pathlib.Path | None = None
    version: str = ""
    reason: str = ""


def ours(name: str) -> Environment:
    """Return the environment of this process, which has the SDK."""
    return Environment(name=name, python=pathlib.Path(sys.executable), version=importlib.metadata.version(name))


def variables() -> dict[str, str]:
    """Return the environment variables of an SDK. Others are left out, since many SDKs read them; proxies too."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


async def prepare(name: str) -> Environment:
    """Make the environment of a peer, or use the one of an earlier run.

    A peer that cannot be installed raises no error.
    """
    folder = FOLDER / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    version = await _installed(name, python)
    if not version:
        reason = await _make(name, folder, python)
        version = "" if reason else await _installed(name, python)
        if not version:
            return Environment(name=name, reason=reason or "installed, but not found")
    return Environment(name=name, python=python, version=version)


async def _make(name: str, folder: pathlib.Path, python: pathlib.Path) -> str:
    """Install a peer into a new environment, and return the error, if any."""
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name)
    for command in ((sys.executable, "-m", "venv", "--clear", folder), pip):
        ended = await run(*command, within=_TIMEOUT)
        if ended.status != 0:
            return last_line(ended.err or ended.out)
    return ""


async def _installed(name: str, python: pathlib.Path) -> str:
    """Return the release of a peer; empty if this Python does not work or does not have it."""
    if not python.exists():
        return ""
    ended = await run(python, "-c", _PRINT_VERSION, name, within=_TIMEOUT)
    return ended.out.strip() if ended.status == 0 else ""
