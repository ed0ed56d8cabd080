"""Avatars: A2E's own, those of finished twins, and custom ones; and what avatar videos do in ways of their own.

Reference 4.1, 4.3, 4.4 and 13. The bodies of custom avatars are ours.
"""

from typing import Any, Final

from aiohttp import web
from attrs import evolve, frozen

from a2e_async.sandbox.envelopes import Fields, Json, Refusal, acknowledged, iso, now, success
from a2e_async.sandbox.middleware import API
from a2e_async.sandbox.routes.backgrounds import background_exists
from a2e_async.sandbox.routes.base import Context, Exhibit, find_by_id, link_to
from a2e_async.sandbox.routes.families import prefix_of
from a2e_async.sandbox.state import State, Task, new_id
from a2e_async.sandbox.tasks.families import AVATAR_VIDEO, FAMILIES, VIDEO_TWIN
from a2e_async.sandbox.tasks.starts import Order

_SIZE: Final = (720, 1280)
SYSTEM: Final = (
    Exhibit("64a0000000000000000000a1", "Ada", _SIZE),
    Exhibit("64a0000000000000000000a2", "Charles", _SIZE),
    Exhibit("64a0000000000000000000a3", "Grace", _SIZE),
)
_CUSTOM: Final = f"{API}/custom_avatar"
_TEXT_TO_IMAGE: Final = FAMILIES["text_to_image"].name


def _twins(state: State) -> list[Task]:
    return [task for task in state.newest_first(VIDEO_TWIN.name) if task.succeeded]


def _quick(state: State) -> dict[str, Json]:
    return state.shelves.setdefault("quick avatars", {})


def avatar_exists(state: State, avatar_id: str, anchor_type: object) -> bool:
    """Tell whether there is such an avatar: type 0 is A2E's own, type 1 the account's."""
    if str(anchor_type) == "0":
        return avatar_id in {exhibit.id for exhibit in SYSTEM}
    return avatar_id in {twin.anchor_id for twin in _twins(state)} | _quick(state).keys()


@frozen
class _Avatars:
    context: Context

    async def listed(self, request: web.Request) -> web.Response:
        """List system and own avatars, or that of one twin. The parameters come as a query, or once as a body."""
        given = request.query if request.method == "GET" else (await Fields.of(request)).body
        kind = str(given.get("type") or "")
        if kind not in {"", "default", "custom"}:
            raise Refusal(400, "Bad Request", [{"field": "type", "message": "type must be default or custom"}])
        state, twin_id = self.context.state, given.get("user_video_twin_id")
        own = [_of_twin(twin) for twin in _twins(state) if twin_id in (None, "", twin.id)]
        if twin_id:
            return success(own)
        own += _quick(state).values()
        system = [] if kind == "custom" else [await self._of_a2e(exhibit) for exhibit in SYSTEM]
        return success([*([] if kind == "default" else own), *system])

    async def of_a_picture(self, request: web.Request) -> web.Response:
        """Make an avatar of a generated image, at once and free of charge (unpublished)."""
        fields = await Fields.of(request)
        gender = fields.choice("gender", ("female", "male"))
        fields.check()
        task = find_by_id(self.context.state, fields.body.get("_id"), _TEXT_TO_IMAGE)
        if not task.succeeded:
            raise Refusal(400, "The image is not finished")
        avatar = _avatar(new_id(), "custom", task.result_url) | {"gender": gender}
        _quick(self.context.state)[str(avatar["_id"])] = avatar
        return success(avatar)

    async def _of_a2e(self, exhibit: Exhibit) -> Json:
        return _avatar(exhibit.id, "default", await link_to(self.context, exhibit)) | {"name": exhibit.name}


def _avatar(avatar_id: str, kind: str, picture: str) -> dict[str, object]:
    """Show the fields that are known of an avatar."""
    return {
        "_id": avatar_id,
        "type": kind,
        "video_cover": picture,
        "people_img": picture,
        "background_img": "",
        "background_color": "",
        "base_video": "",
        "lang": ["en", "zh"],
    }


def _of_twin(twin: Task) -> Json:
    avatar = _avatar(twin.anchor_id, "custom", twin.image_url) | {"name": twin.name, "user_video_twin_id": twin.id}
    sent = twin.order.sent
    return avatar | {
        "background_img": sent.get("video_background_image", ""),
        "background_color": sent.get("video_background_color", ""),
        "base_video": twin.result_url,
    }


@frozen
class _Custom:
    """Custom avatars: whatever is sent is kept, since nobody has published what belongs there."""

    context: Context

    @property
    def _kept(self) -> dict[str, dict[str, Any]]:
        return self.context.state.shelves.setdefault("custom avatars", {})

    async def add(self, request: web.Request) -> web.Response:
        """Keep one."""
        body = dict((await Fields.of(request)).body)
        avatar_id = new_id()
        record = self._kept[avatar_id] = {**body, "_id": avatar_id, "createdAt": iso(now())}
        return success(record)

    async def listed(self, request: web.Request) -> web.Response:  # noqa: ARG002  (filters are undeclared)
        """List them, the newest first."""
        rows = [*reversed(self._kept.values())]
        return success({"rows": rows, "count": len(rows)})

    async def delete(self, request: web.Request) -> web.Response:
        """Forget one."""
        fields = await Fields.of(request)
        avatar_id = fields.text("_id", required=True)
        fields.check()
        if self._kept.pop(avatar_id, None) is None:
            raise Refusal(404, "Record not found")
        return success({})

    async def tags(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List the tags of all of them, each once."""
        lists = [record["tags"] for record in self._kept.values() if isinstance(record.get("tags"), list)]
        return success(sorted({tag for tags in lists for tag in tags if isinstance(tag, str)}))

    async def update(self, request: web.Request) -> web.Response:
        """Change fields of one."""
        record = self._kept.get(request.match_info["_id"])
        if record is None:
            raise Refusal(404, "Record not found")
        body = (await Fields.of(request)).body
        record |= {name: value for name, value in body.items() if name != "_id"}
        return acknowledged(record)


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group, custom = _Avatars(context), _Custom(context)
    return [
        web.get(f"{API}/anchor/character_list", group.listed),
        web.post(f"{API}/userText2Image/quickAddAvatar", group.of_a_picture),
        web.post(f"{_CUSTOM}/add", custom.add),
        web.post(f"{_CUSTOM}/list", custom.listed),
        web.post(f"{_CUSTOM}/del", custom.delete),
        web.get(f"{_CUSTOM}/all_tags", custom.tags),
        web.put(f"{_CUSTOM}/{{_id}}", custom.update),
    ]


def check_avatar_video(context: Context, order: Order) -> Order:
    """Refuse an avatar or a background that does not exist, and two backgrounds at once."""
    state, sent = context.state, order.sent
    back, own_back = sent.get("back_id"), sent.get("custom_back_id")
    if back and own_back:
        # The HTTP status of this code is unpublished.
        raise Refusal(400, "back_id and custom_back_id cannot be used together", code=30005)
    if not avatar_exists(state, sent["anchor_id"], sent["anchor_type"]):
        raise Refusal(404, "Avatar not found")
    if (back and not background_exists(state, back, own=False)) or (
        own_back and not background_exists(state, own_back, own=True)
    ):
        raise Refusal(404, "Background not found")
    return evolve(order, portrait=_portrait(state, sent["anchor_id"]))


def _portrait(state: State, anchor_id: str) -> str:
    """Find the image of an avatar that was made of one; the others are drawn."""
    made = {twin.anchor_id: twin.image_url for twin in state.newest_first(VIDEO_TWIN.name)}
    quick = state.shelves.get("quick avatars", {}).get(anchor_id, {})
    return made.get(anchor_id) or str(quick.get("people_img", ""))


@frozen
class _AvatarVideos:
    context: Context

    async def result(self, request: web.Request) -> web.Response:
        """Show one record, in an array; an unknown id gets an empty one, and so does what weather hides."""
        fields = await Fields.of(request)
        task = self.context.state.find(fields.text("_id", required=True))
        fields.check()
        shown = task is not None and task.family == AVATAR_VIDEO.name and self.context.sky.shows(task)
        return success([task.record()] if task is not None and shown else [])


def avatar_video_routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    return [web.post(f"{prefix_of(AVATAR_VIDEO)}/awsResult", _AvatarVideos(context).result)]
