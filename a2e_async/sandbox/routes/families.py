"""The operations that nearly all families have, driven by the table: start, look, list, batch, rename, delete.

And those that few have: what twins and voices do in ways of their own, preview status, retry, 1080p.

What a family does otherwise has routes of its own; they ask for `begin` here.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from aiohttp import hdrs, web
from attrs import evolve, frozen

from a2e_async.sandbox.envelopes import Fields, Refusal, acknowledged, success
from a2e_async.sandbox.lifecycle import is_listed
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import Context, find_by_id, find_task, page, refuse_if_poor
from a2e_async.sandbox.state import Task
from a2e_async.sandbox.tasks.families import CAPTION_REMOVAL, FACE_SWAP_PREVIEW, FAMILIES, VIDEO_TWIN, VOICE_TRAINING
from a2e_async.sandbox.tasks.family import Family, Listing
from a2e_async.sandbox.tasks.scenarios import AtStart, Fate
from a2e_async.sandbox.tasks.starts import Order, read_start

# What a family checks besides its form; returns the order, perhaps with something added.
Check: TypeAlias = Callable[[Context, Order], Order]
_NO_CHECKS: Final[Mapping[str, Check]] = MappingProxyType({})


def moderate(order: Order) -> web.Response | None:
    """Refuse or flag the content before anything is charged."""
    if order.fate.at_start is AtStart.REFUSE:
        raise Refusal(403, "Your request was refused by our content policy: sensitive content")
    if order.fate.at_start is AtStart.FLAGGED:
        # E8; the fields are unpublished.
        return success({"flagged": True, "categories": ["sensitive"], "message": "The content was flagged"})
    return None


async def begin(context: Context, order: Order) -> web.Response:
    """Charge and begin. Several tasks are answered as an array, one as an object (unpublished)."""
    if (flagged := moderate(order)) is not None:
        return flagged
    refuse_if_poor(context.state, order.price * order.count)
    tasks = context.state.buy(order)
    for task in tasks:
        context.life.begin(task)
    if order.family.at_once and order.fate.pace == 0:
        await asyncio.gather(*[context.life.ended(task) for task in tasks])
    records = [task.record() if order.family.at_once else task.started() for task in tasks]
    several = order.family.always_array or len(records) > 1
    return _answer(order.family, "start", records if several else records[0])


def _answer(family: Family, operation: str, data: object) -> web.Response:
    """Wrap an answer in the envelope that the family declares."""
    if operation in family.acknowledged:
        return acknowledged(data)
    return success(data, traced=family.traced or operation not in {"detail", "batch"})


@frozen
class _Routes:
    family: Family
    context: Context
    check: Check | None = None

    async def start(self, request: web.Request) -> web.Response:
        """Read a start, charge it, begin."""
        fields = await Fields.of(request)
        order = read_start(self.family, fields)
        fields.check()
        return await begin(self.context, order if self.check is None else self.check(self.context, order))

    async def detail(self, request: web.Request) -> web.Response:
        """Show one record, or `null` while weather hides it (E7)."""
        task = self._find(request)
        return _answer(self.family, "detail", task.record() if self.context.sky.shows(task) else None)

    async def batch(self, request: web.Request) -> web.Response:
        """Show several records in any order; unknown ids are missing. Beyond a stated cap we answer 400."""
        ids = (await Fields.of(request)).body.get("ids")
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise Refusal(400, "Bad Request", [{"field": "ids", "message": "ids must be an array of strings"}])
        most = self.family.batch_most
        if most is not None and len(ids) > most:
            raise Refusal(400, "Bad Request", [{"field": "ids", "message": f"ids must have at most {most} items"}])
        shown = self._shown_of(dict.fromkeys(ids))
        random.shuffle(shown)
        return _answer(self.family, "batch", [task.record() for task in shown])

    async def rename(self, request: web.Request) -> web.Response:
        """Change the name, and nothing else."""
        task = self._find(request)
        fields = await Fields.of(request)
        name = fields.text("name", required=True)
        fields.check()
        task.renamed = name
        return _answer(self.family, "rename", task.record())  # unpublished

    async def delete(self, request: web.Request) -> web.Response:
        """Forget a record. Some families refuse it while they work on the task (reference 9.4 and 13)."""
        task = self._find(request)
        if not (self.family.deletes_running or task.waiting or task.done):
            raise Refusal(400, "The task is still processing and cannot be deleted")
        forget(self.context, task)
        return _answer(self.family, "delete", {})  # unpublished; code 0 is what counts

    def _find(self, request: web.Request) -> Task:
        return find_task(self.context.state, request, self.family.name)

    def _shown_of(self, ids: dict[str, None]) -> list[Task]:
        """Look up what may be seen. It is left out before the order is lost, so that a seed decides about the same."""
        sky = self.context.sky
        found = [task for one in ids if (task := self.context.state.find(one)) and task.family == self.family.name]
        return [task for task in found if sky.shows(task) and not sky.leaves_out()]

    def all(self) -> list[web.RouteDef]:
        """Name the paths. Lists come first: their names would pass for ids."""
        family, prefix = self.family, prefix_of(self.family)
        routes = [web.post(f"{prefix}/{family.start}", self.start)]
        routes += [_List(family, one, self.context).route() for one in family.lists]
        if family.batch:
            routes.append(web.post(f"{prefix}/batchDetail", self.batch))
        if family.detail:
            routes.append(web.get(f"{prefix}/{family.detail}", self.detail))
        if family.rename:
            routes.append(web.put(f"{prefix}/{{_id}}", self.rename))
        if family.delete:
            routes.append(web.delete(f"{prefix}/{family.delete}", self.delete))
        return routes


@frozen
class _List:
    family: Family
    listing: Listing
    context: Context

    def route(self) -> web.RouteDef:
        """Name the path."""
        return web.get(f"{prefix_of(self.family)}/{self.listing.path}", self.show)

    async def show(self, request: web.Request) -> web.Response:
        """List the records, newest first."""
        # The older way to ask sent the parameters in a body.
        given = (await Fields.of(request)).body if request.method == hdrs.METH_POST else request.query
        tasks = [task for task in self.context.state.newest_first(self.family.name) if self._shows(task, given)]
        rows = [_row(task, self.listing) for task in self._page(request, tasks, given)]
        data = self._contained(rows, len(tasks), str(given.get("current", "1")))
        return acknowledged(data) if self.listing.acknowledged else success(data)

    def _shows(self, task: Task, given: Mapping[str, object]) -> bool:
        words = self.family.words
        shown = {"all": True, "finished": task.succeeded, "running": not task.done}[self.listing.shows]
        asked = given.get("status", "")
        fits = not asked or task.status == asked or (asked == "pending" and task.status in words.queued)
        return shown and fits and is_listed(task) and self.context.sky.shows(task)

    def _page(self, request: web.Request, tasks: list[Task], given: Mapping[str, object]) -> Sequence[Task]:
        one = self.listing
        if one.style == "P0":
            return tasks
        if one.required and not {"pageNum", "pageSize"} <= set(given):
            raise Refusal(400, "Bad Request", [{"field": "pageNum", "message": "pageNum and pageSize are required"}])
        return page(request, tasks, one.most, style=one.style, size=one.size, given=given)

    def _contained(self, rows: list[dict[str, object]], count: int, current: str) -> object:
        """Put the rows where this list has them (reference 1.7)."""
        match self.listing.container:
            case "array":
                return rows
            case "list":
                return {"list": rows, "total": count}
            case "data":
                return {"current": int(current), "total": count, "success": True, "data": rows}
        return {"rows": rows, "count": count}


_STATUS_ROW: Final = ("_id", "current_status", "result_url")


def _row(task: Task, listing: Listing) -> dict[str, object]:
    """Show a record as this list does: `status` of face swaps has five fields, with its own codes (reference 7.7)."""
    record = task.record()
    if listing.path != "status":
        return record
    row = {name: record[name] for name in _STATUS_ROW}
    return row | {"error_code": None, "faild_message": None}


def forget(context: Context, task: Task) -> None:
    """Stop and delete a task."""
    context.life.end(task)
    context.state.delete(task)


def prefix_of(family: Family) -> str:
    """Tell how the paths of a family begin."""
    return f"{API}/{family.prefix}"


def routes(context: Context, checks: Mapping[str, Check] = _NO_CHECKS) -> list[web.RouteDef]:
    """Name the paths of all families."""
    groups = [_Routes(family, context, checks.get(family.name)) for family in FAMILIES.values()]
    return [route for group in groups for route in group.all()]


_DIAMONDS: Final = 1  # for continuing a training (reference 5.2)


def check_voice(context: Context, order: Order) -> Order:
    """Refuse a second training at a time. A limit answers 403; its text is unpublished."""
    if any(not task.done for task in context.state.newest_first(VOICE_TRAINING.name)):
        raise Refusal(403, "You have reached the voice clone limit: one training at a time")
    return order


@frozen
class _Training:
    context: Context

    async def continue_training(self, request: web.Request) -> web.Response:
        """Sell a better model of a finished twin. Nothing of it can be seen; the answer is unpublished."""
        task = await self._twin(request)
        if not task.succeeded:
            raise Refusal(400, "The avatar is not ready yet")
        state = self.context.state
        if state.diamonds < _DIAMONDS:
            raise Refusal(400, f"Insufficient diamonds: {_DIAMONDS} needed, {state.diamonds} left")
        state.spend("continued training", 0, task.id, diamonds=_DIAMONDS)
        return success({})

    async def remove(self, request: web.Request) -> web.Response:
        """Forget a twin, and the avatar that it is. The answer is unpublished."""
        forget(self.context, await self._twin(request))
        return success({})

    async def clone_voice(self, request: web.Request) -> web.Response:
        """Train a voice with the sound of a twin's video, at the usual price. The answer is unpublished."""
        twin = await self._twin(request)
        video = twin.order.links("video_url")
        if not video:
            raise Refusal(400, "The avatar was not made of a video")
        sent = {"name": twin.name, "voice_urls": video, "gender": twin.order.sent["gender"], "model": "a2e"}
        return await begin(self.context, check_voice(self.context, Order.of(VOICE_TRAINING, sent)))

    async def _twin(self, request: web.Request) -> Task:
        """Find the twin whose `_id` the body holds."""
        body = (await Fields.of(request)).body
        return find_by_id(self.context.state, body.get("_id"), VIDEO_TWIN.name)


def training_routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group, prefix = _Training(context), prefix_of(VIDEO_TWIN)
    return [
        web.post(f"{prefix}/continueTraining", group.continue_training),
        web.post(f"{prefix}/remove", group.remove),
        web.post(f"{prefix}/addVoiceClone", group.clone_voice),
    ]


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


def exception_routes(context: Context) -> list[web.RouteDef]:
    """Name the paths."""
    group = _Exceptions(context)
    return [
        web.get(f"{prefix_of(FACE_SWAP_PREVIEW)}/status", group.preview),
        web.post(f"{prefix_of(CAPTION_REMOVAL)}/retry", group.retry),
        web.get(f"{prefix_of(_VEO)}/{{_id}}/1080p", group.larger),
    ]
