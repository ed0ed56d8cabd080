"""The small newer operations of Image to Video: queue figures and marks (reference 9.6 to 9.8). All answer S2."""

from statistics import fmean

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import acknowledged
from a2e_async.sandbox.families import IMAGE_TO_VIDEO
from a2e_async.sandbox.routes.base import PREFIX, find_task
from a2e_async.sandbox.state import State


@frozen
class _Interactions:
    state: State

    async def average(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Tell how long tasks took, in seconds. Content and unit are unpublished."""
        took = [
            (task.updated - task.created).total_seconds()
            for task in self.state.newest_first(IMAGE_TO_VIDEO.name)
            if task.done
        ]
        return acknowledged({"avgProcessingTime": round(fmean(took), 3) if took else 0})

    async def queue_level(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Tell how many tasks are under way. The content is unpublished."""
        return acknowledged({"level": sum(not task.done for task in self.state.newest_first(IMAGE_TO_VIDEO.name))})

    async def mark(self, request: web.Request) -> web.Response:
        """Record that the user shared, downloaded or copied a result."""
        find_task(self.state, request).marks.add(request.path.rpartition("/")[2])
        return acknowledged({})


def routes(state: State) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Interactions(state)
    marks = ("markShared", "markDownloaded", "markCopied")
    return [
        web.get(f"{PREFIX}/avgProcessingTime", group.average),
        web.get(f"{PREFIX}/unlimitedQueueLevel", group.queue_level),
        *(web.post(f"{PREFIX}/{{_id}}/{mark}", group.mark) for mark in marks),
    ]
