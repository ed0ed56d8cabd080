"""The client: the only module that connects the services."""

import asyncio
import contextlib
import os
import pathlib
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

import aiohttp

from a2e_async._aio import wait_for_background
from a2e_async._polling.poller import Poller
from a2e_async._protocol import settings
from a2e_async._protocol.messages import Request
from a2e_async._protocol.schema import check_no_override
from a2e_async._protocol.validation import api_path, raise_invalid, to_query
from a2e_async._submission.submitter import SubmissionState, Submitter
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.http import HttpTransport, OwnedSession, check_verifies
from a2e_async._transport.retry import Retry
from a2e_async._transport.throttle import Throttle, ThrottledTransport
from a2e_async.config import Config
from a2e_async.errors import ClientClosedError, ConfigurationError
from a2e_async.files.local_files import Media, open_file
from a2e_async.files.storage import Files
from a2e_async.resources.account import Account
from a2e_async.resources.avatar_videos import AvatarVideos
from a2e_async.resources.avatars import Avatars
from a2e_async.resources.backgrounds import Backgrounds
from a2e_async.resources.base import Resource, Services
from a2e_async.resources.caption_removal import CaptionRemoval
from a2e_async.resources.dubbing import Dubbing
from a2e_async.resources.face_swap import FaceSwap
from a2e_async.resources.image_to_video import ImageToVideo
from a2e_async.resources.other_families import AnyFamily
from a2e_async.resources.storage import Storage
from a2e_async.resources.streaming_avatar import StreamingAvatar
from a2e_async.resources.tokens import Tokens
from a2e_async.resources.voices import Voices

__all__ = ["A2EClient"]


def _no_client() -> NoReturn:
    msg = "A resource works on a client only: a2e = A2EClient(), then a2e.image_to_video"
    raise ConfigurationError(msg)


class A2EClient:
    """Client of A2E's video API.

    Use it with ``async with``, or call `aclose` at the end. It opens its connections at the first request, for the
    event loop that runs then. So one client can be used in several calls of ``asyncio.run``, one after the other.

    Attributes:
        image_to_video: A2E's group "Image to Video".
        voices: A2E's group "TTS and Voice Clone".
        avatar_videos: A2E's group "Generate Avatar Videos".
        avatars: A2E's groups "Create Avatars" and "Video Twin".
        backgrounds: A2E's group "Background Matting".
        face_swap: A2E's group "Face Swap".
        dubbing: A2E's group "AI Dubbing".
        caption_removal: A2E's group "Caption Removal".
        streaming_avatar: A2E's group "Streaming Avatar".
        tokens: A2E's group "Get Tokens".
        account: A2E's groups "Miscellaneous" and "Credits": balance, history, quotes, diamonds, languages, users.
        storage: A2E's storage: uploads, and copies of URLs.
    """

    # In the class they show what there is, to mocks too; `__init__` makes those of the client.
    image_to_video: ImageToVideo = ImageToVideo(_no_client)
    voices: Voices = Voices(_no_client)
    avatar_videos: AvatarVideos = AvatarVideos(_no_client)
    avatars: Avatars = Avatars(_no_client)
    backgrounds: Backgrounds = Backgrounds(_no_client)
    face_swap: FaceSwap = FaceSwap(_no_client)
    dubbing: Dubbing = Dubbing(_no_client)
    caption_removal: CaptionRemoval = CaptionRemoval(_no_client)
    streaming_avatar: StreamingAvatar = StreamingAvatar(_no_client)
    tokens: Tokens = Tokens(_no_client)
    account: Account = Account(_no_client)
    storage: Storage = Storage(_no_client)

    def __init__(
        self,
        token: str | None = None,
        *,
        base_url: str | None = None,
        config: Config | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        """Check the settings; nothing is opened or sent.

        Args:
            token: The API token (``sk_…``). Default: ``config.token``, else ``A2E_API_TOKEN``, else ``A2E_API_KEY``.
            base_url: Where A2E is. Default: ``config.base_url``, else ``A2E_BASE_URL``, else
                ``https://video.a2e.ai``. ``http://`` is for this machine only.
            config: Time-outs, retries, polling and pacing.
            session: A session of yours for the API requests. It is never closed, and the token is not stored in it.
                Uploads and downloads always use another session, without the token.

        Raises:
            ConfigurationError: The token, the base URL or a setting is not valid, or `session` does not verify TLS.
        """
        # from here on a Secret: a traceback that shows local variables must not show the token
        token = settings.Secret(token) if isinstance(token, str) else token
        environ = {name: settings.Secret(os.environ[name]) for name in settings.VARIABLES if name in os.environ}
        resolved = settings.resolve(token, base_url, config, environ)
        if session is not None and resolved.base_url.startswith("https:"):
            check_verifies(session)
        self._state = _ClientState(resolved, session)
        self._entered = 0  # ``async with`` blocks of this event loop that are active:
        self._entered_loop: asyncio.AbstractEventLoop | None = None
        for name, resource in vars(A2EClient).items():
            if isinstance(resource, Resource):
                setattr(self, name, type(resource)(self._state.services))

    def __repr__(self) -> str:
        """Show the base URL and whether the client is closed; never the token."""
        if not hasattr(self, "_state"):  # __init__ raised, and a debugger shows the object
            return f"<{type(self).__name__} not initialized>"
        return f"<{type(self).__name__} {self._state.settings.base_url}{' closed' if self._state.closed else ''}>"

    async def __aenter__(self) -> Self:
        """Open the client, also after it was closed."""
        loop, state = asyncio.get_running_loop(), self._state
        # blocks of an earlier event loop do not count: that loop has ended, so they will never be left
        self._entered = self._entered + 1 if loop is self._entered_loop else 1
        self._entered_loop = loop
        if state.closed:
            state.closed, state.current = False, None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, unless another ``async with`` of it is still active."""
        self._entered -= 1
        if self._entered <= 0:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the client's own connections. All its waits raise a `ClientClosedError`; the tasks at A2E continue.

        Closing twice does no harm. ``async with`` opens the client again.
        """
        state, services = self._state, self._state.current
        if services is not None and services.loop is asyncio.get_running_loop():
            await wait_for_background()  # such as a start whose caller was cancelled, and the report of its outcome
        state.closed = True
        if services is not None:
            await services.aclose()
            if state.current is services:  # not opened again meanwhile
                state.current = None

    def family(self, name: str) -> AnyFamily:
        """Return the tasks of another family of A2E's API, such as ``"talkingPhoto"`` or ``"userText2Image"``.

        Sends nothing and costs nothing. The families are listed on the page "Other families".

        Raises:
            InvalidRequestError: There is no such family, or it has a resource of its own.
        """
        return AnyFamily(self._state.services, name)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401  any JSON
        params: Mapping[str, str | int | float | bool | None] | None = None,
    ) -> Any:  # noqa: ANN401  any JSON
        """Call an operation of A2E that has no method here, and return the ``data`` of the answer.

        A ``GET`` is retried after a transient error. All other methods are sent once (but aiohttp itself repeats a
        ``PUT`` or ``DELETE`` once if the connection breaks). Costs what the operation costs.

        Args:
            method: ``"GET"``, ``"POST"``, ``"PUT"``, ``"PATCH"`` or ``"DELETE"``.
            path: Such as ``"user/remainingCoins"``. It gets the prefix ``/api/v1/`` unless it begins with ``/api/``.
            json: The body.
            params: The query. A parameter that is None is left out.

        Raises:
            InvalidRequestError: The method, the path or the body is not valid.
            A2EError: As for any request.
        """
        verb = method.upper() if isinstance(method, str) else ""
        if verb not in {"GET", "POST", "PUT", "PATCH", "DELETE"}:
            raise_invalid(f"method must be one of GET, POST, PUT, PATCH, DELETE, not {method!r}")
        check_no_override([json, params])
        is_read, query = verb == "GET", to_query(params)
        request = Request(method=verb, path=api_path(path), json=json, params=query, repeatable=is_read)
        return (await self._state.services().api.send(request)).data

    async def upload(self, image: Media) -> str:
        """Upload a local file to A2E's storage and return its link, usable as an input for about 3 days.

        Every ``start`` uploads its local files by itself. Costs what A2E charges for an upload (unpublished).

        Args:
            image: A path, bytes, or a file opened in binary mode: an image (PNG, JPEG, WebP, GIF, BMP), a video (MP4,
                MOV, WebM, MKV, AVI) or audio (MP3, WAV, M4A, OGG, FLAC).

        Raises:
            InvalidRequestError: The file is missing, unreadable or of another type; nothing was sent.
            TransferError: The upload failed, also after retries.
            APIError: A2E did not give a link to upload to: bad token, plan, not enough coins.
        """
        return await self._state.services().files.upload(await open_file("image", image, "image", "video", "audio"))

    async def download(self, url: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
        """Download a result link to a file, without the token, and return the path. Free.

        Args:
            url: A link from a record. It expires after about 3 days.
            path: The file to write. Missing folders are made. Until it is complete it is called ``<path>.part``.
            overwrite: Replace an existing file.

        Raises:
            InvalidRequestError: The file exists, or `path` is a folder.
            TransferError: The link has expired or returned a web page, the disk failed, or the connection broke too
                often. No partial file is left.
        """
        return await self._state.services().files.download(url, path, overwrite=overwrite)

    def poll_now(self, id: str | None = None) -> bool:
        """Poll a task at once instead of at its next turn, if the client waits for it. Free, and awaits nothing.

        A `WebhookReceiver` calls this. Several calls for one task cause one poll, or two if a poll is in flight. It can
        be called from any thread or event loop, and on a closed client.

        Args:
            id: A2E's id of the task. None polls all tasks that the client waits for, at most once a second.

        Returns:
            Whether the client waits for the task.
        """
        if id is not None and not isinstance(id, str):
            raise_invalid(f"id must be a str or None, not {type(id).__name__}")
        services = self._state.current
        return services is not None and services.poll_now(id)


class _ClientState:
    """State of a client over all event loops: the settings, and the services of the loop that used it last.

    Resources and handles refer to this object and not to the client: a reference cycle would keep a forgotten client
    alive, and the `ResourceWarning` would come late.
    """

    def __init__(self, resolved: settings.Settings, external_session: aiohttp.ClientSession | None) -> None:
        self.settings = resolved
        self.closed = False
        self._external_session = external_session
        self._submissions = SubmissionState()
        self.current: Services | None = None

    def __reduce__(self) -> NoReturn:
        """Reject pickling: the pickle would contain the token."""
        msg = "A client or a handle cannot be pickled, since it holds the token: pass the id, and use task(id)"
        raise TypeError(msg)

    def __del__(self) -> None:
        """Warn if the client was not closed, and close it as far as possible."""
        if self.current is not None and self.current.is_open:
            self.current.close_sync()
            self._warn_unclosed()

    def _warn_unclosed(self) -> None:
        url, advice = self.settings.base_url, "use `async with`, or `await client.aclose()` before the event loop ends"
        warnings.warn(f"unclosed A2EClient of {url}: {advice}", ResourceWarning, source=self, stacklevel=4)

    def services(self) -> Services:
        """Return the services for the running event loop, and make them if there are none.

        Raises:
            ClientClosedError: The client is closed.
            ConfigurationError: Another running event loop uses the client.
        """
        services, loop = self.current, asyncio.get_running_loop()
        if services is not None and services.loop is loop and not self.closed:
            return services
        if self.closed:
            msg = "The client is closed: use `async with`, or make another client"
            raise ClientClosedError(msg)
        if services is not None and services.is_open:  # of another event loop, which has ended or should have
            if services.loop.is_running():
                msg = "The client is in use by another running event loop: make one client per event loop"
                raise ConfigurationError(msg)
            services.close_sync()
            with contextlib.suppress(ResourceWarning):  # where warnings are errors, the client works nevertheless
                self._warn_unclosed()
        self.current = self._make_services(loop)
        return self.current

    def _make_services(self, loop: asyncio.AbstractEventLoop) -> Services:
        config = self.settings.config
        # uploads and downloads go to other hosts: their session never has the token
        api_session, file_session = OwnedSession(self._external_session), OwnedSession()
        # the throttle is inside of the retries, so that every try waits for a slot
        http = HttpTransport(self.settings, api_session)
        throttled = ThrottledTransport(http, Throttle(config.pacing), config.retry.max_time)
        api = ApiTransport(throttled, Retry(config.retry), self._submissions.resolved)
        return Services(
            base_url=self.settings.base_url,
            api=api,
            files=Files(config, api, file_session),
            poller=Poller(config.poll),
            submitter=Submitter(api, config.start, self._submissions, config.request_timeout),
            loop=loop,
            warned=self._submissions.warned,
            sessions=(api_session, file_session),
        )
