"""``a2e image-to-video``: tasks at A2E. The commands themselves are in the files that this one imports."""

from __future__ import annotations

import cyclopts

from a2e_async.cli.start import run, start
from a2e_async.cli.tasks import delete, download, find, get, list_tasks
from a2e_async.cli.wait import wait

__all__ = ["app"]

app = cyclopts.App(
    name="image-to-video",
    help="Turn pictures into videos at A2E, and look after the tasks.",
    group_parameters="Options",
)
for command in (run, start, wait, get, find, download, delete):
    app.command(command)
app.command(list_tasks, name="list")
