"""Avatars: A2E's own, those of finished twins, and custom ones; and the special operations of avatar videos.

Reference 4.1, 4.3, 4.4 and 13. The bodies of custom avatars are ours.
"""

from typing import Any, Final

from aiohttp import web
from attrs import evolve, frozen

from a2e_async.sandbox.envelopes import ErrorResponse, Fields, Json, iso, now, success, success_s2
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.backgrounds import background_exists
from a2e_async.sandbox.routes.base import Context, SystemImage, find_by_id, paginate, system_image_url
from a2e_async.sandbox.routes.families import prefix_of
from a2e_async.sandbox.state import State, Task, new_id
from a2e_async.sandbox.tasks.families import AVATAR_VIDEO, FAMILIES, VIDEO_TWIN
from a2e_async.sandbox.tasks.starts import Start

_SIZE: Final = (720, 1280)
SYSTEM: Final = (
    SystemImage("64a0000000000000000000a1", "Ada", _SIZE),
    SystemImage("64a0000000000000000000a2", "Charles", _SIZE),
    SystemImage("64a0000000000000000000a3", "Grace", _SIZE),
)
_CUSTOM: Final = f"{API}/custom_avatar"
_TEXT_TO_IMAGE: Final = FAMILIES["text_to_image"].name


def _twins(state: State) -> list[Task]:
    return [task for task in state.newest_first(VIDEO_TWIN.name) if task.succeeded]


def _image_avatars(state: State) -> dict[str, Json]:
    return state.collections.setdefault("image avatars", {})


def avatar_exists(state: State, avatar_id: str, anchor_type: object) -> bool:
    """Tell whether an avatar exists: type 0 is A2E's own, type 1 the account's."""
    if str(anchor_type) == "0":
        return avatar_id in {image.id for image in SYSTEM}
    return avatar_id in {twin.anchor_id for twin in _twins(state)} | _image_avatars(state).keys()


@frozen
class _Avatars:
    context: Context

    async def list_all(self, request: web.Request) -> web.Response:
        """List A2E's avatars and those of the account, or the avatar of one twin."""
        # The parameters are in the query; in 2025 they were in the body.
        parameters = request.query if request.method == "GET" else (await Fields.read(request)).body
        avatar_type = str(parameters.get("type") or "")
        if avatar_type not in {"", "default", "custom"}:
            raise ErrorResponse(400, "Bad Request", [{"field": "type", "message": "type must be default or custom"}])
        state, twin_id = self.context.state, parameters.get("user_video_twin_id")
        own = [_of_twin(twin) for twin in _twins(state) if twin_id in (None, "", twin.id)]
        if twin_id:
            return success(own)
        own += _image_avatars(state).values()
        system = [] if avatar_type == "custom" else [await self._of_a2e(image) for image in SYSTEM]
        return success([*([] if avatar_type == "default" else own), *system])

    async def list_own(self, request: web.Request) -> web.Response:
        """List the avatars of the account, and A2E's own if the request names a website (`web_type`)."""
        fields = await Fields.read(request)
        fields.choice("web_type", ("a2e", "tyzn"))
        fields.raise_errors()
        state = self.context.state
        own = [*(_of_twin(twin) for twin in _twins(state)), *_image_avatars(state).values()]
        system = [await self._of_a2e(image) for image in SYSTEM] if fields.body.get("web_type") else []
        return success([*own, *system])

    async def add_from_image(self, request: web.Request) -> web.Response:
        """Make an avatar of a generated image, at once and free of charge (unpublished)."""
        fields = await Fields.read(request)
        gender = fields.choice("gender", ("female", "male"))
        fields.raise_errors()
        task = find_by_id(self.context.state, fields.body.get("_id"), _TEXT_TO_IMAGE)
        if not task.succeeded:
            raise ErrorResponse(400, "The image is not finished")
        avatar = _avatar(new_id(), "custom", task.result_url) | {"gender": gender, "createdAt": iso(now())}
        _image_avatars(self.context.state)[str(avatar["_id"])] = avatar
        # The response was seen to be empty (reference 14b).
        return success({} if self.context.options.api_version == "spec" else avatar)

    async def _of_a2e(self, image: SystemImage) -> Json:
        return _avatar(image.id, "default", await system_image_url(self.context, image)) | {"name": image.name}


def _avatar(avatar_id: str, avatar_type: str, image_url: str) -> dict[str, object]:
    """Return the record of an avatar, with the fields that are known."""
    return {
        "_id": avatar_id,
        "type": avatar_type,
        "video_cover": image_url,
        "people_img": image_url,
        "background_img": "",
        "background_color": "",
        "base_video": "",
        "lang": ["en", "zh"],
    }


def _of_twin(twin: Task) -> Json:
    avatar = _avatar(twin.anchor_id, "custom", twin.image_url) | {"name": twin.name, "user_video_twin_id": twin.id}
    sent = twin.start.sent
    return avatar | {
        "gender": sent.get("gender", ""),
        "createdAt": iso(twin.updated),
        "background_img": sent.get("video_background_image", ""),
        "background_color": sent.get("video_background_color", ""),
        "base_video": twin.result_url,
    }


@frozen
class _Custom:
    """Custom avatars. All fields are stored, since none is published."""

    context: Context

    @property
    def _records(self) -> dict[str, dict[str, Any]]:
        return self.context.state.collections.setdefault("custom avatars", {})

    async def add(self, request: web.Request) -> web.Response:
        """Add an avatar."""
        body = dict((await Fields.read(request)).body)
        avatar_id = new_id()
        record = self._records[avatar_id] = {**body, "_id": avatar_id, "createdAt": iso(now())}
        return success(record)

    async def list_all(self, request: web.Request) -> web.Response:  # noqa: ARG002  (filters are undeclared)
        """List the avatars, newest first."""
        rows = [*reversed(self._records.values())]
        return success({"rows": rows, "count": len(rows)})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an avatar."""
        fields = await Fields.read(request)
        avatar_id = fields.text("_id", required=True)
        fields.raise_errors()
        if self._records.pop(avatar_id, None) is None:
            raise ErrorResponse(404, "Record not found")
        return success({})

    async def tags(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the tags of all avatars, each once."""
        lists = [record["tags"] for record in self._records.values() if isinstance(record.get("tags"), list)]
        return success(sorted({tag for tags in lists for tag in tags if isinstance(tag, str)}))

    async def update(self, request: web.Request) -> web.Response:
        """Change fields of an avatar."""
        record = self._records.get(request.match_info["_id"])
        if record is None:
            raise ErrorResponse(404, "Record not found")
        body = (await Fields.read(request)).body
        record |= {name: value for name, value in body.items() if name != "_id"}
        return success_s2(record)


def routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group, custom = _Avatars(context), _Custom(context)
    return [
        web.get(f"{API}/anchor/character_list", group.list_all),
        web.post(f"{API}/anchor/list", group.list_own),
        web.post(f"{API}/userText2Image/quickAddAvatar", group.add_from_image),
        web.post(f"{_CUSTOM}/add", custom.add),
        web.post(f"{_CUSTOM}/list", custom.list_all),
        web.post(f"{_CUSTOM}/del", custom.delete),
        web.get(f"{_CUSTOM}/all_tags", custom.tags),
        web.put(f"{_CUSTOM}/{{_id}}", custom.update),
    ]


def check_avatar_video(context: Context, start: Start) -> Start:
    """Reject an unknown avatar, an unknown background, and two backgrounds at once."""
    state, sent = context.state, start.sent
    back, own_back = sent.get("back_id"), sent.get("custom_back_id")
    if back and own_back:
        # The HTTP status of this code is unpublished.
        raise ErrorResponse(400, "back_id and custom_back_id cannot be used together", code=30005)
    if not avatar_exists(state, sent["anchor_id"], sent["anchor_type"]):
        raise ErrorResponse(404, "Avatar not found")
    if (back and not background_exists(state, back, own=False)) or (
        own_back and not background_exists(state, own_back, own=True)
    ):
        raise ErrorResponse(404, "Background not found")
    return evolve(start, portrait=_portrait(state, sent["anchor_id"]))


def _portrait(state: State, anchor_id: str) -> str:
    """Return the image of an avatar that was made of one, or ""."""
    twins = {twin.anchor_id: twin.image_url for twin in state.newest_first(VIDEO_TWIN.name)}
    avatar = state.collections.get("image avatars", {}).get(anchor_id, {})
    return twins.get(anchor_id) or str(avatar.get("people_img", ""))


@frozen
class _AvatarVideos:
    context: Context

    async def list_all(self, request: web.Request) -> web.Response:
        """List the records, newest first. Only the container is known (reference 14b); paging as in `awsList`."""
        body, state = (await Fields.read(request)).body, self.context.state
        tasks = [task for task in state.newest_first(AVATAR_VIDEO.name) if self.context.injector.is_visible(task)]
        rows = [task.record() for task in paginate(request, tasks, style="P2", parameters=body)]
        return success({"list": rows, "total": len(tasks)})

    async def detail(self, request: web.Request) -> web.Response:
        """Return one record. The response is unpublished; here that of the other families."""
        task = find_by_id(self.context.state, request.query.get("video_id"), AVATAR_VIDEO.name)
        return success(task.record() if self.context.injector.is_visible(task) else None)

    async def result(self, request: web.Request) -> web.Response:
        """Return one record in an array, which is empty for an unknown id and for a record that a fault hides."""
        fields = await Fields.read(request)
        task = self.context.state.find(fields.text("_id", required=True))
        fields.raise_errors()
        visible = task is not None and task.family == AVATAR_VIDEO.name and self.context.injector.is_visible(task)
        return success([task.record()] if task is not None and visible else [])


def avatar_video_routes(context: Context) -> list[web.RouteDef]:
    """Return the routes of this group."""
    group, prefix = _AvatarVideos(context), prefix_of(AVATAR_VIDEO)
    return [
        web.post(f"{prefix}/awsResult", group.result),
        web.get(f"{prefix}/detail", group.detail),
        web.post(f"{prefix}/list", group.list_all),
    ]
