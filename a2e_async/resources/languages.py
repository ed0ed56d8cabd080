"""A2E's page "List Available Languages", which belongs to voices and to the account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2e_async._protocol.checks import check_text
from a2e_async._protocol.routes import Route
from a2e_async._protocol.voices import languages_in
from a2e_async.resources.group import Group

if TYPE_CHECKING:
    from a2e_async.models.voices import Language

__all__ = ["Languages"]

_LANGUAGES = Route.of("POST anchor/language_list", "GET anchor/language_list")


class Languages(Group):
    """A group that can be asked for the languages."""

    async def languages(self, *, voice_map_type: str | None = None) -> list[Language]:
        """List the languages that voices speak (A2E page "List Available Languages"). Free.

        Args:
            voice_map_type: Only those of a locale, such as ``"en-US"``.

        Raises:
            A2EError: As for any request.
        """
        if voice_map_type is not None:
            check_text("voice_map_type", voice_map_type)
        body = {} if voice_map_type is None else {"voice_map_type": voice_map_type}
        return languages_in((await self._ask(_LANGUAGES, json=body)).data)
