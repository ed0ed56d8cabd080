"""``a2e cluster``: the same videos on many machines, with a queue in PostgreSQL."""

import contextlib
from collections.abc import Callable
from typing import Any

import cyclopts

from a2e_async.cli.cluster.commands import export, init, pause, resume, retry, status
from a2e_async.cli.cluster.demo import demo
from a2e_async.cli.cluster.enqueue import enqueue
from a2e_async.cli.cluster.worker import worker
from a2e_async.cli.messages import EPILOGUE
from a2e_async.errors import MissingExtraError

with contextlib.suppress(MissingExtraError):  # --help works without the extra, and a command names it
    import a2e_async.cluster.worker  # noqa: F401  here, since a running event loop must not read modules

app = cyclopts.App(
    name="cluster",
    help="Make many videos with many machines, through a queue in PostgreSQL.",
    help_epilogue=EPILOGUE,
    group_parameters="Options",
)
commands: tuple[Callable[..., Any], ...] = (init, enqueue, worker, status, export, retry, pause, resume, demo)
for number, command in enumerate(commands):
    # cyclopts calls the keys "ARGS"
    usage = "Usage: a2e cluster retry [OPTIONS] [KEY...]" if command is retry else None
    app.command(command, sort_key=number, usage=usage)
