"""What avatar videos do in ways of their own: what their start refers to, and `awsResult` (reference 4.1 and 4.4)."""

from aiohttp import web
from attrs import evolve, frozen

from a2e_async.sandbox.envelopes import Refusal, success
from a2e_async.sandbox.families import AVATAR_VIDEO, VIDEO_TWIN
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.orders import Order
from a2e_async.sandbox.routes.avatars import avatar_exists
from a2e_async.sandbox.routes.backgrounds import background_exists
from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.routes.families import prefix_of
from a2e_async.sandbox.state import State


def check(context: Context, order: Order) -> Order:
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
    """Find the picture of an avatar that was made of one; the others are drawn."""
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


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    return [web.post(f"{prefix_of(AVATAR_VIDEO)}/awsResult", _AvatarVideos(context).result)]
