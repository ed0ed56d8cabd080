"""A2E's storage: uploads of local files, and copies of files on other hosts (reference 1.10 and 12.5)."""

from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.schema import check_link
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media, open_file
from a2e_async.resources.base import Resource

__all__ = ["Storage"]

_SAVE = Endpoint.of("POST tos/transferToStorage")


class Storage(Resource):
    """A2E's storage: ``client.storage``."""

    async def upload(self, file: Media) -> str:
        """Upload a local file, and return its link, which works as an input for about 3 days.

        Every ``start`` uploads local files itself. A2E charges for uploads; the price is not published.

        Args:
            file: A path, bytes, or a file opened in binary mode: an image (PNG, JPEG, WebP, GIF, BMP), a video (MP4,
                MOV, WebM, MKV, AVI) or audio (MP3, WAV, M4A, OGG, FLAC).

        Raises:
            TransferError: The upload failed, also after retries.
            APIError: A2E gave no upload link: bad token, plan, not enough coins.
        """
        return await self._services().files.upload(await open_file("file", file, "image", "video", "audio"))

    async def save(self, url: str) -> str:
        """Copy a file from a link to A2E's storage, and return the link of the copy.

        For inputs on slow or unstable hosts (A2E page "Save URL to A2E's storage"). Neither the price nor the lifetime
        of the copy is published. The request is sent once and never retried.

        Args:
            url: A direct http(s) link.

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have made the copy.
            UnexpectedResponseError: A2E's response contains no link of the copy.
        """
        check_link("url", url)
        self._check_links({"url": url})
        advice = "A second copy may cost coins again"
        envelope = await self._services().submitter.post_paid(_SAVE, json={"url": url}, advice=advice, retry=False)
        data = envelope.data
        link = data.get("url") if isinstance(data, dict) else data
        if not isinstance(link, str) or "://" not in link:
            msg = "A2E's response contains no link of the copy"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
        return link
