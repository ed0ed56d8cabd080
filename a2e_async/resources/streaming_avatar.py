"""A2E's group "Streaming Avatar": rooms in which an avatar answers and speaks (reference 11).

Sound and image come over Agora's RTC, which is not part of this package; this is the HTTP part. A room is paid at
once for its whole time, and what is not used comes back when it is left: so it is always left.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

import attrs

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.schema import Form, text, whole
from a2e_async._protocol.validation import check_text
from a2e_async.errors import A2EError, UnexpectedResponseError
from a2e_async.models.streaming_avatar import RoomToken, StreamingAvatarInfo
from a2e_async.resources.base import Group

__all__ = ["StreamingAvatar", "StreamingSession"]

_LOGGER = logging.getLogger("a2e_async")

_AVATARS = Route.of("GET streaming-avatar/all_avatars")
_TOKEN = Route.of("POST streaming-avatar/agora-token")
_SET_CONTEXT = Route.of("POST streaming-avatar/set-qa-context")
_GET_CONTEXT = Route.of("GET streaming-avatar/get-qa-context")
_ASK = Route.of("POST streaming-avatar/ask")
_SPEAK = Route.of("POST streaming-avatar/speak")
_LEAVE = Route.of("POST streaming-avatar/leave", "POST streaming-avatar/leave_room")

_ROOM = Form({"avatar_id": text(required=True), "expire_seconds": whole(required=True, least=1)})
_CONTEXT = Form({"channel": text(required=True), "text": text(required=True, longest=5000)})
_SAID = Form({"channel": text(required=True), "text": text(required=True)})

_LEAVING = (0.0, 1.0, 3.0)
"""Seconds before each try to leave a room."""

_WITHIN = 30.0
"""Seconds for all of them, whoever waits."""


class StreamingAvatar(Group):
    """Streaming avatars: ``client.streaming_avatar``. A2E's current specification does not list them any more."""

    async def avatars(self) -> builtins.list[StreamingAvatarInfo]:
        """List the avatars that can stream (A2E page "Get All avatars"). Free.

        Raises:
            A2EError: As for any request.
        """
        return [to_item(StreamingAvatarInfo, raw) for raw in responses.records((await self._ask(_AVATARS)).data)]

    @contextlib.asynccontextmanager
    async def session(self, avatar_id: str, *, expire_seconds: int) -> AsyncGenerator[StreamingSession, None]:
        """Open a room for the length of a block, and leave it at the end, whatever happens.

        Costs coins for the whole time at once; what is left of it comes back when the room is left. Leaving is tried a
        few times, for 30 seconds at most, also if the block was cancelled; if it does not work, that is logged as an
        error, with the room, and hides no exception of the block. A room that A2E opens while the caller is being
        cancelled is left as well.

        Args:
            avatar_id: The avatar, see `avatars`.
            expire_seconds: Seconds that are paid, and after which the room ends.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            BusyError: All of A2E's machines for this are occupied.
            SubmissionUncertainError: Nobody knows whether A2E has opened a room.
            A2EError: As for any request.
        """
        room = await self._open(avatar_id, expire_seconds)
        try:
            yield StreamingSession(room, avatar_id, self)
        finally:
            await _through(self._leave_surely(room, avatar_id))

    async def token(self, avatar_id: str, *, expire_seconds: int) -> RoomToken:
        """Open a room that is left by hand (A2E page "Get a Streaming Avatar Token"); better use `session`.

        Costs, arguments and errors are as there. ``await leave(token.channel, avatar_id=avatar_id)`` brings back what
        is not used.
        """
        return await self._open(avatar_id, expire_seconds)

    async def set_qa_context(self, channel: str, text: str) -> None:
        """Tell what questions are answered from (A2E page "Set QA Context"). Whether it costs is not published.

        Args:
            channel: The room.
            text: Put into the prompt, at most 5,000 characters.

        Raises:
            A2EError: As for any request.
        """
        await self._tell(_SET_CONTEXT, json=_CONTEXT.check({"channel": channel, "text": text}))

    async def get_qa_context(self, channel: str, *, path: str | None = None) -> Any:  # noqa: ANN401  unpublished
        """Read the context back (A2E page "Get QA Context"). Free.

        A2E has not published this operation: path and field are guesses.

        Args:
            channel: The room.
            path: A2E's path, if you know better.

        Returns:
            A2E's ``data`` as it comes.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
            A2EError: As for any request.
        """
        check_text("channel", channel)
        return (await self._guess(_GET_CONTEXT, path, params={"channel": channel})).data

    async def ask(self, channel: str, text: str) -> None:
        """Ask the avatar (A2E page "Ask a Question to the Avatar"). It needs a context first.

        The reply comes over RTC only. A2E has published the path and not the fields: they are those of `speak`.

        Raises:
            A2EError: As for any request.
        """
        await self._tell(_ASK, json=_SAID.check({"channel": channel, "text": text}))

    async def speak(self, channel: str, text: str) -> None:
        """Let the avatar say something (A2E page "Let the Avatar Speak Directly").

        Raises:
            A2EError: As for any request.
        """
        await self._tell(_SPEAK, json=_SAID.check({"channel": channel, "text": text}))

    async def leave(self, channel: str, *, avatar_id: str | None = None) -> None:
        """Leave a room (A2E page "Leave the Room"), which brings back what of its time is not used.

        Args:
            channel: The room.
            avatar_id: Its avatar, which the older spelling of this operation (``leave_room``) asks for.

        Raises:
            A2EError: As for any request; then the room may still be open, and leaving again does no harm.
        """
        check_text("channel", channel)
        body = {"channel": channel}
        if avatar_id is not None:
            check_text("avatar_id", avatar_id)
            body["avatar_id"] = avatar_id
        await self._ask(_LEAVE, json=body)

    async def _open(self, avatar_id: str, expire_seconds: int) -> RoomToken:
        body = _ROOM.check({"avatar_id": avatar_id, "expire_seconds": expire_seconds})
        advice = "If it has, the room ends by itself, and A2E keeps what it cost"
        late: list[Envelope] = []
        try:
            envelope = await self._parts().submitter.pay(_TOKEN, json=body, advice=advice, on_late=late.append)
        except asyncio.CancelledError:
            for envelope in late:
                with contextlib.suppress(UnexpectedResponseError):  # no room to leave
                    await _through(self._leave_surely(_room_in(envelope), avatar_id))
            raise
        return _room_in(envelope)

    async def _leave_surely(self, room: RoomToken, avatar_id: str) -> None:
        """Leave, with a few tries."""
        failure: A2EError | str = f"A2E has not answered within {_WITHIN:g} seconds"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WITHIN):
                for pause in _LEAVING:
                    await asyncio.sleep(pause)
                    try:
                        await self.leave(room.channel, avatar_id=avatar_id)
                    except A2EError as error:
                        failure = error
                    else:
                        return
        _LOGGER.error("Room %s may still be open, and what it costs is not refunded: %s", room.channel, failure)


@attrs.define(eq=False)
class StreamingSession:
    """A room that is open; see `StreamingAvatar.session`.

    Attributes:
        token: What lets Agora's software in: ``app_id``, ``channel``, ``token``, ``uid``.
    """

    token: RoomToken
    _avatar_id: str = attrs.field(repr=False)
    _group: StreamingAvatar = attrs.field(repr=False)

    @property
    def channel(self) -> str:
        """The room."""
        return self.token.channel

    async def set_qa_context(self, text: str) -> None:
        """Tell what questions are answered from; see `StreamingAvatar.set_qa_context`."""
        await self._group.set_qa_context(self.channel, text)

    async def get_qa_context(self, *, path: str | None = None) -> Any:  # noqa: ANN401  unpublished
        """Read it back; see `StreamingAvatar.get_qa_context`."""
        return await self._group.get_qa_context(self.channel, path=path)

    async def ask(self, text: str) -> None:
        """Ask the avatar; see `StreamingAvatar.ask`."""
        await self._group.ask(self.channel, text)

    async def speak(self, text: str) -> None:
        """Let the avatar say something; see `StreamingAvatar.speak`."""
        await self._group.speak(self.channel, text)

    async def leave(self) -> None:
        """Leave before the block ends; see `StreamingAvatar.leave`. Leaving again does no harm."""
        await self._group.leave(self.channel, avatar_id=self._avatar_id)


def _room_in(envelope: Envelope) -> RoomToken:
    for raw in responses.rows([envelope.data] if isinstance(envelope.data, dict) else envelope.data):
        room = to_item(RoomToken, raw)
        if room.channel:
            return room
    msg = "A2E's answer holds no room, which may be paid: it ends by itself"
    raise UnexpectedResponseError(msg, status=envelope.status)  # without the body, which may hold a token


async def _through(leaving: Any) -> None:  # noqa: ANN401  a coroutine
    """See something through, also if whoever waits for it is cancelled meanwhile."""
    task = asyncio.ensure_future(leaving)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
