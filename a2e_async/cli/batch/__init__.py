"""``a2e batch``: many videos from a table, from JSON Lines or from a folder, with a journal."""

from collections.abc import Callable
from typing import Any

import cyclopts

from a2e_async.cli.batch.gallery.command import report
from a2e_async.cli.batch.journal import export, prune, status
from a2e_async.cli.batch.run import run
from a2e_async.cli.messages import EPILOGUE

app = cyclopts.App(
    name="batch",
    help="Make many videos, with a journal: a crash costs nothing extra.",
    help_epilogue=EPILOGUE,
    group_parameters="Options",
)
for number, command in enumerate[Callable[..., Any]]((run, status, report, export, prune)):
    app.command(command, sort_key=number)
