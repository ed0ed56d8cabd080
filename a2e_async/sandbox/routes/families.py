"""The operations of families: start, detail, list, batchDetail, rename and delete, driven by the table of families.

The second half has the operations of single families: continued training, cloned voices, preview status, retry, 1080p.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from aiohttp import hdrs, web
from attrs import evolve, frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, success, success_s2
from a2e_async.sandbox.lifecycle import is_listed
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.base import Context, find_by_id, find_task, paginate, require_coins
from a2e_async.sandbox.state import Task
from a2e_async.sandbox.tasks.families import CAPTION_REMOVAL, FACE_SWAP_PREVIEW, FAMILIES, VIDEO_TWIN, VOICE_TRAINING
from a2e_async.sandbox.tasks.family import Family, Listing
from a2e_async.sandbox.tasks.scenarios import Rejection, Scenario
from a2e_async.sandbox.tasks.starts import Start, read_start

# Validates a start beyond its schema; returns the start, perhaps with more fields.
Check: TypeAlias = Callable[[Context, Start], Start]
_NO_CHECKS: Final[Mapping[str, Check]] = MappingProxyType({})


async def begin(context: Context, start: Start) -> web.Response:
    """Charge a start, begin its tasks, and return the response."""
    if start.scenario.rejection is Rejection.REJECTED:
        raise ErrorResponse(403, "Your request was refused by our content policy: sensitive content")
    if start.scenario.rejection is Rejection.FLAGGED:
        # E8; the fields are unpublished.
        return success({"flagged": True, "categories": ["sensitive"], "message": "The content was flagged"})
    require_coins(context.state, start.price * start.count)
    tasks = context.state.create_tasks(start)
    for task in tasks:
        context.lifecycle.begin(task)
    synchronous = start.family.synchronous
    if synchronous and start.scenario.pace == 0:
        await asyncio.gather(*[context.lifecycle.wait_until_ended(task) for task in tasks])
    records = [task.record() if synchronous else task.start_record() for task in tasks]
    # That several tasks are an array, and one is an object, is unpublished.
    is_array = start.family.always_array or len(records) > 1
    return _respond(start.family, "start", records if is_array else records[0])


def _respond(family: Family, operation: str, data: object) -> web.Response:
    """Wrap `data` in the envelope that the family has for an operation."""
    if operation in family.s2_operations:
        return success_s2(data)
    return success(data, traced=family.traced or operation not in {"detail", "batch"})


@frozen
class _Routes:
    """Routes of one family."""

    family: Family
    context: Context
    check: Check | None = None

    async def start(self, request: web.Request) -> web.Response:
        """Validate a start, charge it, and begin its tasks."""
        fields = await Fields.read(request)
        start = read_start(self.family, fields)
        fields.raise_errors()
        return await begin(self.context, start if self.check is None else self.check(self.context, start))

    async def detail(self, request: web.Request) -> web.Response:
        """Return one record, or `null` while a fault hides it (E7)."""
        task = self._find(request)
        return _respond(self.family, "detail", task.record() if self.context.injector.is_visible(task) else None)

    async def batch(self, request: web.Request) -> web.Response:
        """Return several records in any order, without those of unknown ids."""
        ids = (await Fields.read(request)).body.get("ids")
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise ErrorResponse(400, "Bad Request", [{"field": "ids", "message": "ids must be an array of strings"}])
        limit = self.family.max_batch
        if limit is not None and len(ids) > limit:  # the limit is published, the 400 is a guess
            error = {"field": "ids", "message": f"ids must have at most {limit} items"}
            raise ErrorResponse(400, "Bad Request", [error])
        tasks = self._visible_tasks(dict.fromkeys(ids))
        random.shuffle(tasks)
        return _respond(self.family, "batch", [task.record() for task in tasks])

    async def rename(self, request: web.Request) -> web.Response:
        """Change the name of a record."""
        task = self._find(request)
        fields = await Fields.read(request)
        name = fields.text("name", required=True)
        fields.raise_errors()
        task.new_name = name
        return _respond(self.family, "rename", task.record())  # unpublished

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a record. Some families reject this while A2E works on the task (reference 9.4 and 13)."""
        task = self._find(request)
        if not (self.family.deletes_running or task.is_queued or task.done):
            raise ErrorResponse(400, "The task is still processing and cannot be deleted")
        delete_task(self.context, task)
        return _respond(self.family, "delete", {})  # only code 0 is published

    def _find(self, request: web.Request) -> Task:
        return find_task(self.context.state, request, self.family.name)

    def _visible_tasks(self, ids: dict[str, None]) -> list[Task]:
        """Return the tasks of batchDetail, without those that a fault hides."""
        # Before the shuffle, so that the faults of a seed hit the same ids each time.
        injector = self.context.injector
        found = [task for one in ids if (task := self.context.state.find(one)) and task.family == self.family.name]
        return [task for task in found if injector.is_visible(task) and not injector.omits_from_batch()]

    def all(self) -> list[web.RouteDef]:
        """Return the routes of the family."""
        family, prefix = self.family, prefix_of(self.family)
        routes = [web.post(f"{prefix}/{family.start_path}", self.start)]
        # Lists come before the detail, whose path would match their names as ids.
        routes += [_List(family, one, self.context).route() for one in family.lists]
        if family.batch_detail:
            routes.append(web.post(f"{prefix}/batchDetail", self.batch))
        if family.detail_path:
            routes.append(web.get(f"{prefix}/{family.detail_path}", self.detail))
        if family.rename:
            routes.append(web.put(f"{prefix}/{{_id}}", self.rename))
        if family.delete_path:
            routes.append(web.delete(f"{prefix}/{family.delete_path}", self.delete))
        return routes


@frozen
class _List:
    """Route of one list of a family."""

    family: Family
    listing: Listing
    context: Context

    def route(self) -> web.RouteDef:
        """Return the route."""
        return web.get(f"{prefix_of(self.family)}/{self.listing.path}", self.list)

    async def list(self, request: web.Request) -> web.Response:
        """List the records, newest first."""
        # The parameters are in the query; in 2025 some were in the body.
        is_post = request.method == hdrs.METH_POST
        parameters = (await Fields.read(request)).body if is_post else request.query
        tasks = [task for task in self.context.state.newest_first(self.family.name) if self._shows(task, parameters)]
        rows = [_row(task, self.listing) for task in self._paginate(request, tasks, parameters)]
        data = self._container(rows, len(tasks), str(parameters.get("current", "1")))
        return success_s2(data) if self.listing.s2 else success(data)

    def _shows(self, task: Task, parameters: Mapping[str, object]) -> bool:
        chosen = {"all": True, "finished": task.succeeded, "running": not task.done}[self.listing.shows]
        status = parameters.get("status", "")
        # "pending" as a filter means all queued words.
        is_pending = status == "pending" and task.status in self.family.words.queued
        matches = not status or task.status == status or is_pending
        return chosen and matches and is_listed(task) and self.context.injector.is_visible(task)

    def _paginate(
        self, request: web.Request, tasks: Sequence[Task], parameters: Mapping[str, object]
    ) -> Sequence[Task]:
        one = self.listing
        if one.style == "P0":
            return tasks
        if one.required and not {"pageNum", "pageSize"} <= set(parameters):
            error = {"field": "pageNum", "message": "pageNum and pageSize are required"}
            raise ErrorResponse(400, "Bad Request", [error])
        return paginate(
            request, tasks, one.max_page_size, style=one.style, page_size=one.page_size, parameters=parameters
        )

    def _container(self, rows: Sequence[dict[str, object]], count: int, current: str) -> object:
        """Return the rows in the container of this list (reference 1.7)."""
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
    """Return the record as a list has it."""
    record = task.record()
    if listing.path != "status":
        return record
    # The list `status` of face swaps has only five fields (reference 7.7).
    row = {name: record[name] for name in _STATUS_ROW}
    return row | {"error_code": None, "faild_message": None}


def delete_task(context: Context, task: Task) -> None:
    """Stop and delete a task."""
    context.lifecycle.stop(task)
    context.state.delete(task)


def prefix_of(family: Family) -> str:
    """Return the begin of the paths of a family."""
    return f"{API}/{family.prefix}"


def routes(context: Context, checks: Mapping[str, Check] = _NO_CHECKS) -> list[web.RouteDef]:
    """Return the routes of all families."""
    groups = [_Routes(family, context, checks.get(family.name)) for family in FAMILIES.values()]
    return [route for group in groups for route in group.all()]


_DIAMONDS: Final = 1  # the price of a continued training (reference 5.2)


def check_voice(context: Context, start: Start) -> Start:
    """Reject a second training at the same time."""
    # A limit answers 403; its text is unpublished.
    if any(not task.done for task in context.state.newest_first(VOICE_TRAINING.name)):
        raise ErrorResponse(403, "You have reached the voice clone limit: one training at a time")
    return start


@frozen
class _Training:
    context: Context

    async def continue_training(self, request: web.Request) -> web.Response:
        """Charge a better model of a finished twin. Its record does not change; the response is unpublished."""
        task = await self._twin(request)
        if not task.succeeded:
            raise ErrorResponse(400, "The avatar is not ready yet")
        state = self.context.state
        if state.diamonds < _DIAMONDS:
            raise ErrorResponse(400, f"Insufficient diamonds: {_DIAMONDS} needed, {state.diamonds} left")
        state.spend("continued training", 0, task.id, diamonds=_DIAMONDS)
        return success({})

    async def remove(self, request: web.Request) -> web.Response:
        """Delete a twin and its avatar. The response is unpublished."""
        delete_task(self.context, await self._twin(request))
        return success({})

    async def eye_contact(self, request: web.Request) -> web.Response:
        """Accept the improvement of a twin, free of charge. Its record does not change; all of this is unpublished."""
        await self._twin(request)
        return success({})

    async def retry(self, request: web.Request) -> web.Response:
        """Begin a failed training again, as caption removals do. The body is undeclared, so `_id` is a guess."""
        return _retry(self.context, await self._twin(request))

    async def train(self, request: web.Request) -> web.Response:
        """Start a training, as its documented sibling `startTraining` does. The body is undeclared."""
        fields = await Fields.read(request)
        start = read_start(VIDEO_TWIN, fields)
        fields.raise_errors()
        return await begin(self.context, start)

    async def upload(self, request: web.Request) -> web.Response:
        """Accept any body, which is undeclared, and keep it for `uploadStatus`."""
        self.context.state.collections["twin upload"] = {**(await Fields.read(request)).body}
        return success_s2({})

    async def upload_status(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """Return the last upload of the account. The content is unpublished."""
        return success({"uploaded": "twin upload" in self.context.state.collections})

    async def clone_voice(self, request: web.Request) -> web.Response:
        """Train a voice with the audio of a twin's video, at the usual price. The response is unpublished."""
        twin = await self._twin(request)
        video = twin.start.urls("video_url")
        if not video:
            raise ErrorResponse(400, "The avatar was not made of a video")
        sent = {"name": twin.name, "voice_urls": video, "gender": twin.start.sent["gender"], "model": "a2e"}
        return await begin(self.context, check_voice(self.context, Start.from_fields(VOICE_TRAINING, sent)))

    async def _twin(self, request: web.Request) -> Task:
        """Return the twin of the `_id` in the body."""
        body = (await Fields.read(request)).body
        return find_by_id(self.context.state, body.get("_id"), VIDEO_TWIN.name)


def training_routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group, prefix = _Training(context), prefix_of(VIDEO_TWIN)
    return [
        web.post(f"{prefix}/continueTraining", group.continue_training),
        web.post(f"{prefix}/remove", group.remove),
        web.post(f"{prefix}/eyeContact", group.eye_contact),
        web.post(f"{prefix}/retry", group.retry),
        web.post(f"{prefix}/training", group.train),
        web.post(f"{prefix}/upload", group.upload),
        web.get(f"{prefix}/uploadStatus", group.upload_status),
        web.post(f"{prefix}/addVoiceClone", group.clone_voice),
    ]


_VEO = FAMILIES["veo"]


def _retry(context: Context, task: Task) -> web.Response:
    """Begin a failed task again, free of charge and without its scenario. All of this is unpublished."""
    if not task.failed:
        raise ErrorResponse(400, "Only failed tasks can be retried")
    task.start = evolve(task.start, scenario=Scenario())
    task.failed_code = task.failed_message = ""
    task.set_status(task.start.family.words.queued[0])
    context.lifecycle.begin(task)
    return success_s2(task.start_record())


@frozen
class _SpecialRoutes:
    context: Context

    async def preview(self, request: web.Request) -> web.Response:
        """Return one preview. Its id is in the query, and is required today."""
        task = find_by_id(self.context.state, request.query.get("_id"), FACE_SWAP_PREVIEW.name)
        if not self.context.injector.is_visible(task):
            return success(None)
        return success(task.record() | {"user_id": self.context.state.user_id})

    async def retry(self, request: web.Request) -> web.Response:
        """Begin a failed caption removal again."""
        body = (await Fields.read(request)).body
        return _retry(self.context, find_by_id(self.context.state, body.get("_id"), CAPTION_REMOVAL.name))

    async def upscale(self, request: web.Request) -> web.Response:
        """Return a larger copy of a finished video: first 202, then its URL (S9, content unpublished)."""
        task = find_task(self.context.state, request, _VEO.name)
        if task.start.sent.get("aspectRatio") != "16:9" or not task.succeeded:
            raise ErrorResponse(400, "1080p is for finished 16:9 videos only")
        if "1080p" not in task.marks:
            task.marks.add("1080p")
            return web.json_response({"code": 0, "data": None}, status=202)
        return success({"result_url": task.result_url})


def special_routes(context: Context) -> list[web.RouteDef]:
    """Return the routes."""
    group = _SpecialRoutes(context)
    return [
        web.get(f"{prefix_of(FACE_SWAP_PREVIEW)}/status", group.preview),
        web.post(f"{prefix_of(CAPTION_REMOVAL)}/retry", group.retry),
        web.get(f"{prefix_of(_VEO)}/{{_id}}/1080p", group.upscale),
    ]
