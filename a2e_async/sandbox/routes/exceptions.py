"""Single operations that no other family has: preview status, retry, 1080p (reference 7.5, 10.4 and 13)."""

from aiohttp import web
from attrs import evolve, frozen

from a2e_async.sandbox.envelopes import Refusal, acknowledged, success
from a2e_async.sandbox.families import CAPTION_REMOVAL, FACE_SWAP_PREVIEW, FAMILIES
from a2e_async.sandbox.fates import Fate
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.routes.base import Context, find_by_id, find_task
from a2e_async.sandbox.routes.families import prefix_of

_VEO = FAMILIES["veo"]


@frozen
class _Exceptions:
    context: Context

    async def preview(self, request: web.Request) -> web.Response:
        """Show one preview. Its id comes in the query, and is required by now."""
        task = find_by_id(self.context.state, request.query.get("_id"), FACE_SWAP_PREVIEW.name)
        if not self.context.sky.shows(task):
            return success(None)
        return success(task.record() | {"user_id": self.context.state.user_id})

    async def retry(self, request: web.Request) -> web.Response:
        """Begin a failed task again, free of charge and without its fate. All of this is unpublished."""
        body = (await Fields.of(request)).body
        task = find_by_id(self.context.state, body.get("_id"), CAPTION_REMOVAL.name)
        if not task.failed:
            raise Refusal(400, "Only failed tasks can be retried")
        task.order = evolve(task.order, fate=Fate())
        task.failed_code = task.failed_message = ""
        task.become(CAPTION_REMOVAL.words.queued[0])
        self.context.life.begin(task)
        return acknowledged(task.started())

    async def larger(self, request: web.Request) -> web.Response:
        """Show a larger copy of a finished video: 202 at first, then its link (S9, content unpublished)."""
        task = find_task(self.context.state, request, _VEO.name)
        if task.order.sent.get("aspectRatio") != "16:9" or not task.succeeded:
            raise Refusal(400, "1080p is for finished 16:9 videos only")
        if "1080p" not in task.marks:
            task.marks.add("1080p")
            return web.json_response({"code": 0, "data": None}, status=202)
        return success({"result_url": task.result_url})


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths."""
    group = _Exceptions(context)
    return [
        web.get(f"{prefix_of(FACE_SWAP_PREVIEW)}/status", group.preview),
        web.post(f"{prefix_of(CAPTION_REMOVAL)}/retry", group.retry),
        web.get(f"{prefix_of(_VEO)}/{{_id}}/1080p", group.larger),
    ]
