"""A2E's storage: local files, and copies of what others have (reference 1.10 and 12.5)."""

from __future__ import annotations

from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.validation import check_link
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media, open_file
from a2e_async.resources.base import Group

__all__ = ["Storage"]

_SAVE = Route.of("POST tos/transferToStorage")


class Storage(Group):
    """A2E's storage: ``client.storage``."""

    async def upload(self, file: Media) -> str:
        """Upload a local file, and return its link, usable as an input for about 3 days.

        Every ``start`` does this by itself. Costs what A2E charges for it (unpublished).

        Args:
            file: A path, bytes, or a file opened in binary mode: an image (PNG, JPEG, WebP, GIF, BMP), a video (MP4,
                MOV, WebM, MKV, AVI) or a sound (MP3, WAV, M4A, OGG, FLAC).

        Raises:
            InvalidRequestError: It is no such file; nothing was sent.
            TransferError: The upload did not work, also when tried again.
            APIError: A2E refused to give a link to upload to: bad token, plan, not enough coins.
        """
        return await self._parts().files.upload(await open_file("file", file, "image", "video", "audio"))

    async def save(self, url: str) -> str:
        """Copy what a link leads to, and return the link of the copy (A2E page "Save URL to A2E's storage").

        For inputs on slow or unstable hosts. How long the copy lives, and what it costs, is not published; so it is
        sent once.

        Args:
            url: A direct http(s) link.

        Raises:
            InvalidRequestError: It is no such link; nothing was sent.
            SubmissionUncertainError: Nobody knows whether A2E has copied it.
            UnexpectedResponseError: A2E did not tell where the copy is.
            A2EError: As for any request.
        """
        check_link("url", url)
        advice = "Copying it again may cost again"
        envelope = await self._parts().submitter.pay(_SAVE, json={"url": url}, advice=advice, again=False)
        data = envelope.data
        link = data.get("url") if isinstance(data, dict) else data
        if not isinstance(link, str) or "://" not in link:
            msg = "A2E did not tell where the copy is"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
        return link
