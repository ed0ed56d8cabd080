"""A2E's groups "Create Avatars" and "Video Twin": those who speak in avatar videos (reference 4.3 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from a2e_async._protocol import answers
from a2e_async._protocol.checks import check_choice, check_no_override, check_text
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.routes import Route
from a2e_async.errors import UnexpectedResponseError
from a2e_async.models.avatars import Avatar, CustomAvatar
from a2e_async.resources.group import Group
from a2e_async.resources.twins import Twins

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterator, Callable

    from a2e_async.resources.group import Parts

__all__ = ["Avatars", "CustomAvatars"]

_LIST = Route.of("GET anchor/character_list", "POST anchor/character_list")
_OF_A_PICTURE = Route.of("POST userText2Image/quickAddAvatar")

_ADD = Route.of("POST custom_avatar/add")
_OWN = Route.of("POST custom_avatar/list")
_DELETE = Route.of("POST custom_avatar/del")
_TAGS = Route.of("GET custom_avatar/all_tags")
_UPDATE = Route.of("PUT custom_avatar/{id}")


class Avatars(Group):
    """Avatars: ``client.avatars``. Make avatars of people who agree to it.

    Attributes:
        twins: Avatars that are trained with a video or a picture, see `Twins`.
        custom: What A2E calls custom avatars, see `CustomAvatars`.
    """

    def __init__(self, parts: Callable[[], Parts]) -> None:
        """Make the two smaller groups, too."""
        super().__init__(parts)
        self.twins = Twins(parts)
        self.custom = CustomAvatars(parts)

    async def list(
        self,
        *,
        type: Literal["default", "custom"] | None = None,  # noqa: A002  the word of A2E
        twin_id: str | None = None,
    ) -> AsyncIterator[Avatar]:
        """Go through the avatars (A2E page "List One or All Avatars"). Free.

        Args:
            type: ``"default"`` for A2E's own, ``"custom"`` for those of the account; None for both.
            twin_id: Only the avatar that was made of this twin (A2E's ``user_video_twin_id``).

        Raises:
            A2EError: As for any request.
        """
        params: dict[str, str] = {}
        if type is not None:
            check_choice("type", type, ("default", "custom"))
            params["type"] = type
        if twin_id is not None:
            check_text("twin_id", twin_id)
            params["user_video_twin_id"] = twin_id
        for raw in answers.records((await self._ask(_LIST, params=params)).data):
            yield to_item(Avatar, raw)

    async def add_from_picture(self, id: str, *, gender: Literal["female", "male"] | None = None) -> Avatar:
        """Make an avatar of a picture of the family "Text to Image" (A2E's ``quickAddAvatar``).

        What it costs is not published; it is sent again only if it surely was not accepted.

        Args:
            id: The id of the finished text-to-image task.
            gender: ``"female"`` (A2E's default) or ``"male"``.

        Raises:
            UnexpectedResponseError: A2E accepted it and did not show the avatar: see `list`.
            SubmissionUncertainError: Nobody knows whether A2E accepted it.
            A2EError: As for any request.
        """
        check_text("id", id)
        body = {"_id": id}
        if gender is not None:
            check_choice("gender", gender, ("female", "male"))
            body["gender"] = gender
        advice = "Look at avatars.list() before you try it again"
        envelope = await self._parts().submitter.pay(_OF_A_PICTURE, json=body, advice=advice)
        for raw in answers.records(envelope.data):
            return to_item(Avatar, raw)
        msg = "A2E has not shown the avatar that it made: avatars.list() tells"
        raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)


class CustomAvatars(Group):
    """Custom avatars: ``client.avatars.custom``. A2E has published no more than the paths."""

    async def add(self, **fields: Any) -> Any:  # noqa: ANN401  unpublished
        """Add one. What it takes and costs is not published: `fields` go out as they are, once.

        Returns:
            A2E's ``data`` as it comes.

        Raises:
            SubmissionUncertainError: Nobody knows whether A2E has added it: see `list`.
            A2EError: As for any request.
        """
        check_no_override(fields)
        advice = "avatars.custom.list() tells"
        return (await self._parts().submitter.pay(_ADD, json=fields, advice=advice, again=False)).data

    async def list(self, **filters: Any) -> AsyncIterator[CustomAvatar]:  # noqa: ANN401  as above
        """Go through them. Free. Which filters and pages there are is not published: `filters` go out as they are.

        Raises:
            A2EError: As for any request.
        """
        check_no_override(filters)
        for raw in answers.records((await self._ask(_OWN, json=filters)).data):
            yield to_item(CustomAvatar, raw)

    async def delete(self, id: str) -> None:
        """Delete one. Free.

        Raises:
            A2EError: As for any request.
        """
        check_text("id", id)
        await self._tell(_DELETE, json={"_id": id})

    async def tags(self) -> builtins.list[str]:
        """List the tags that they have. Free.

        Raises:
            A2EError: As for any request.
        """
        data = (await self._ask(_TAGS)).data
        return [tag for tag in data if isinstance(tag, str)] if isinstance(data, list) else []

    async def update(self, id: str, **fields: Any) -> Any:  # noqa: ANN401  as above
        """Change one. What it takes is not published: `fields` go out as they are, once.

        Returns:
            A2E's ``data`` as it comes.

        Raises:
            A2EError: As for any request.
        """
        check_no_override(fields)
        return (await self._tell(_UPDATE, id, json=fields)).data
