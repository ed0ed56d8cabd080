"""What twins and voices do in ways of their own (reference 3.3, 5.2, 5.3 and 5.7)."""

from typing import Final

from aiohttp import web
from attrs import frozen

from a2e_async.sandbox.envelopes import Refusal, success
from a2e_async.sandbox.families import VIDEO_TWIN, VOICE_TRAINING
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.orders import Order
from a2e_async.sandbox.routes.base import Context, find_by_id
from a2e_async.sandbox.routes.families import begin, forget, prefix_of
from a2e_async.sandbox.state import Task

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


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group, prefix = _Training(context), prefix_of(VIDEO_TWIN)
    return [
        web.post(f"{prefix}/continueTraining", group.continue_training),
        web.post(f"{prefix}/remove", group.remove),
        web.post(f"{prefix}/addVoiceClone", group.clone_voice),
    ]
