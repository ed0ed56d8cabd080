"""A2E's group "Streaming Avatar": rooms in which an avatar answers and speaks (reference 11).

This is the HTTP part. Audio and video are sent over Agora's RTC, which is not part of this package.
"""

# How it works: A2E charges for the whole time of a room when it opens, and returns the coins of the unused time when
# the client leaves the room. So `StreamingAvatar.session` always leaves the room. Three cases are special:
#
# 1. The block of the session is cancelled: the room is left first, then the cancellation goes on.
# 2. The caller is cancelled while A2E opens the room: the late response is awaited, and its room is left in the
#    background.
# 3. A2E cannot be reached: leaving is retried a few times, and then logged as an error.

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any

from a2e_async import models
from a2e_async._aio import finish, finish_in_background
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.schema import Schema, check_text, integer, text
from a2e_async.errors import A2EError, UnexpectedResponseError
from a2e_async.resources.base import Resource

__all__ = ["StreamingAvatar", "StreamingSession"]

_LOGGER = logging.getLogger("a2e_async")

_AVATARS = Endpoint.of("GET streaming-avatar/all_avatars")
_TOKEN = Endpoint.of("POST streaming-avatar/agora-token")
_SET_CONTEXT = Endpoint.of("POST streaming-avatar/set-qa-context")
_GET_CONTEXT = Endpoint.of("GET streaming-avatar/get-qa-context")
_ASK = Endpoint.of("POST streaming-avatar/ask")
# Spellings of other callers follow A2E's own (reference 14b, grade D).
_SPEAK = Endpoint.of(*(f"POST streaming-avatar/{name}" for name in ("speak", "direct-speak", "talk")))
_LEAVE = Endpoint.of(*(f"POST streaming-avatar/{name}" for name in ("leave", "leave-room", "leave_room")))

_ROOM = Schema({"avatar_id": text(required=True), "expire_seconds": integer(required=True, min=1)})
_CONTEXT = Schema({"channel": text(required=True), "text": text(required=True, max_length=5000)})
_TEXT = Schema({"channel": text(required=True), "text": text(required=True)})

# Seconds before each try to leave a room.
_LEAVE_DELAYS = (0.0, 1.0, 3.0)

# Seconds for all tries: even a cancelled program must end some time.
_LEAVE_TIMEOUT = 30.0


class StreamingAvatar(Resource):
    """Streaming avatars: ``client.streaming_avatar``. A2E's current specification does not list them any more."""

    async def avatars(self) -> builtins.list[models.StreamingAvatarInfo]:
        """List the avatars that can stream (A2E page "Get All avatars"). Free.

        Raises:
            A2EError: As for any request.
        """
        return [
            to_item(models.StreamingAvatarInfo, raw) for raw in responses.records((await self._read(_AVATARS)).data)
        ]

    @contextlib.asynccontextmanager
    async def session(self, avatar_id: str, *, expire_seconds: int) -> AsyncGenerator[StreamingSession, None]:
        """Open a room for the length of a block, and always leave it at the end.

        A2E charges for the whole time when the room opens, and returns the coins of the unused time when the room is
        left. Leaving is tried a few times, for at most 30 seconds, also after a cancellation. If leaving fails, an
        error with the room's name is logged, and an exception of the block is raised unchanged. If the caller is
        cancelled while A2E opens a room, that room is left too.

        Args:
            avatar_id: The avatar, see `avatars`.
            expire_seconds: The time of the room in seconds, which is paid. The room ends afterwards.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            BusyError: All of A2E's streaming machines are busy.
            SubmissionUncertainError: Unknown outcome: A2E may have opened a room.
            A2EError: As for any request.
        """
        room = await self._open(avatar_id, expire_seconds)
        try:
            yield StreamingSession(room, avatar_id, self)
        finally:
            # Case 1: also after a cancellation of the block.
            leaving = self._leave_with_retries(room, avatar_id)
            await finish(leaving, f"leaving the room {room.channel}", seconds=_LEAVE_TIMEOUT)

    async def token(self, avatar_id: str, *, expire_seconds: int) -> models.RoomToken:
        """Open a room that you must leave yourself (A2E page "Get a Streaming Avatar Token"). Prefer `session`.

        Price, arguments and errors are those of `session`. A call of
        ``leave(token.channel, uid=token.uid, avatar_id=avatar_id)`` returns the coins of the unused time.
        """
        return await self._open(avatar_id, expire_seconds)

    async def set_qa_context(self, channel: str, text: str) -> None:
        """Set the text from which the avatar answers (A2E page "Set QA Context"). The price is not published.

        Args:
            channel: The room.
            text: The context for the prompt, at most 5,000 characters.

        Raises:
            A2EError: As for any request.
        """
        await self._write(_SET_CONTEXT, json=_CONTEXT.check({"channel": channel, "text": text}))

    async def get_qa_context(self, channel: str, *, path: str | None = None) -> Any:  # noqa: ANN401  unpublished
        """Return the context (A2E page "Get QA Context"). Free.

        A2E has not published this operation: path and field are guesses.

        Args:
            channel: The room.
            path: A2E's path, instead of the guess.

        Returns:
            A2E's ``data``, unchanged.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
            A2EError: As for any request.
        """
        check_text("channel", channel)
        return (await self._call_undocumented(_GET_CONTEXT, path, params={"channel": channel})).data

    async def ask(self, channel: str, text: str) -> None:
        """Ask the avatar a question (A2E page "Ask a Question to the Avatar"). Set a context first.

        The avatar answers over RTC only. A2E has published only the path: the fields are those of `speak`.

        Raises:
            A2EError: As for any request.
        """
        await self._write(_ASK, json=_TEXT.check({"channel": channel, "text": text}))

    async def speak(self, channel: str, text: str) -> None:
        """Let the avatar say a text (A2E page "Let the Avatar Speak Directly").

        Raises:
            A2EError: As for any request.
        """
        await self._write(_SPEAK, json=_TEXT.check({"channel": channel, "text": text}))

    async def leave(self, channel: str, *, uid: str | None = None, avatar_id: str | None = None) -> None:
        """Leave a room (A2E page "Leave the Room"). A2E returns the coins of the unused time.

        The operation has three spellings, with different fields: ``leave``, ``leave-room`` and ``leave_room``. The
        first one that A2E has gets all fields. Without `uid` and `avatar_id`, only ``leave`` is sure to work.

        Args:
            channel: The room.
            uid: The user id in the room, see `RoomToken.uid`: ``leave-room`` needs it.
            avatar_id: The avatar: ``leave_room`` needs it.

        Raises:
            A2EError: As for any request; the room may still be open. Leaving twice does no harm.
        """
        check_text("channel", channel)
        body: dict[str, Any] = {"channel": channel}
        if uid is not None:
            check_text("uid", uid)
            body["uid"] = int(uid) if uid.isdecimal() and len(uid) < 20 else uid  # Agora's ids are numbers
        if avatar_id is not None:
            check_text("avatar_id", avatar_id)
            body["avatar_id"] = avatar_id
        await self._read(_LEAVE, json=body)

    async def _open(self, avatar_id: str, expire_seconds: int) -> models.RoomToken:
        body = _ROOM.check({"avatar_id": avatar_id, "expire_seconds": expire_seconds})
        advice = "If there is a room, it ends after the paid time, and its coins are not returned"

        def leave(envelope: Envelope) -> None:
            # Case 2: the response has arrived after the cancellation.
            with contextlib.suppress(UnexpectedResponseError):  # no room to leave
                finish_in_background(self._leave_with_retries(_room_in(envelope), avatar_id))

        return _room_in(await self._services().submitter.post_paid(_TOKEN, json=body, advice=advice, on_late=leave))

    async def _leave_with_retries(self, room: models.RoomToken, avatar_id: str) -> None:
        failure: A2EError | str = f"no response within {_LEAVE_TIMEOUT:g} seconds"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT):
                for pause in _LEAVE_DELAYS:
                    await asyncio.sleep(pause)
                    try:
                        await self.leave(room.channel, uid=room.uid or None, avatar_id=avatar_id)
                    except A2EError as error:
                        failure = error
                    else:
                        return
        # Case 3: the room ends after the paid time.
        _LOGGER.error("Room %s may still be open, and its coins are not returned: %s", room.channel, failure)


class StreamingSession:
    """Open room; see `StreamingAvatar.session`.

    Attributes:
        token: Access to the room for Agora's software: ``app_id``, ``channel``, ``token``, ``uid``.
    """

    def __init__(self, token: models.RoomToken, avatar_id: str, resource: StreamingAvatar) -> None:
        """Take an open room. Made by `StreamingAvatar.session`."""
        self.token, self._avatar_id, self._resource = token, avatar_id, resource

    @property
    def channel(self) -> str:
        """The name of the room."""
        return self.token.channel

    async def set_qa_context(self, text: str) -> None:
        """Set the text from which the avatar answers; see `StreamingAvatar.set_qa_context`."""
        await self._resource.set_qa_context(self.channel, text)

    async def get_qa_context(self, *, path: str | None = None) -> Any:  # noqa: ANN401  unpublished
        """Return the context; see `StreamingAvatar.get_qa_context`."""
        return await self._resource.get_qa_context(self.channel, path=path)

    async def ask(self, text: str) -> None:
        """Ask the avatar a question; see `StreamingAvatar.ask`."""
        await self._resource.ask(self.channel, text)

    async def speak(self, text: str) -> None:
        """Let the avatar say a text; see `StreamingAvatar.speak`."""
        await self._resource.speak(self.channel, text)

    async def leave(self) -> None:
        """Leave before the block ends; see `StreamingAvatar.leave`. Leaving twice does no harm."""
        await self._resource.leave(self.channel, uid=self.token.uid or None, avatar_id=self._avatar_id)


def _room_in(envelope: Envelope) -> models.RoomToken:
    for raw in responses.rows([envelope.data] if isinstance(envelope.data, dict) else envelope.data):
        room = to_item(models.RoomToken, raw)
        if room.channel:
            return room
    msg = "A2E's response contains no room. If A2E opened one, it ends after the paid time"
    raise UnexpectedResponseError(msg, status=envelope.status)  # without the body, which may contain a token
