"""The client: the only module that connects the services."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import pathlib
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar, overload

import aiohttp

from a2e_async._polling.poller import Poller
from a2e_async._protocol import settings
from a2e_async._protocol.messages import Request
from a2e_async._protocol.validation import api_path, check_no_override, raise_invalid, to_query
from a2e_async._submission.submitter import SubmissionState, Submitter
from a2e_async._transport.endpoints import EndpointResolver
from a2e_async._transport.http import HttpTransport, OwnedSession, check_verifies
from a2e_async._transport.retry import Retry, RetryingTransport
from a2e_async._transport.throttle import Throttle, ThrottledTransport
from a2e_async.config import Config
from a2e_async.errors import ClientClosedError, ConfigurationError
from a2e_async.files.local_files import Media, open_file
from a2e_async.files.storage import Files
from a2e_async.resources.account import Account
from a2e_async.resources.avatar_videos import AvatarVideos
from a2e_async.resources.avatars import Avatars
from a2e_async.resources.backgrounds import Backgrounds
from a2e_async.resources.base import Services
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

T = TypeVar("T")

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class _Resource(Generic[T]):
    """Descriptor of one resource. It is made at its first use, which keeps the import of the client fast."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Remember the attribute's name: it is also the module's, and in camel case the class's."""
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: A2EClient, owner: type) -> T: ...
    def __get__(self, client: A2EClient | None, owner: type) -> Self | T:
        """Make the resource, once for each client."""
        if client is None:
            return self
        module = importlib.import_module(f"a2e_async.resources.{self._name}")
        resource_class = getattr(module, self._name.title().replace("_", ""))
        resource: T = resource_class(client._state.services)  # noqa: SLF001  of this very module
        client.__dict__[self._name] = resource  # found before this descriptor, from now on
        return resource


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

    image_to_video: _Resource[ImageToVideo] = _Resource()
    voices: _Resource[Voices] = _Resource()
    avatar_videos: _Resource[AvatarVideos] = _Resource()
    avatars: _Resource[Avatars] = _Resource()
    backgrounds: _Resource[Backgrounds] = _Resource()
    face_swap: _Resource[FaceSwap] = _Resource()
    dubbing: _Resource[Dubbing] = _Resource()
    caption_removal: _Resource[CaptionRemoval] = _Resource()
    streaming_avatar: _Resource[StreamingAvatar] = _Resource()
    tokens: _Resource[Tokens] = _Resource()
    account: _Resource[Account] = _Resource()
    storage: _Resource[Storage] = _Resource()

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
        self._entries = _EntryCounter()

    def __repr__(self) -> str:
        """Show the base URL and whether the client is closed; never the token."""
        if not hasattr(self, "_state"):  # __init__ raised, and a debugger shows the object
            return f"<{type(self).__name__} not initialized>"
        state = " closed" if self._state.closed else ""
        return f"<{type(self).__name__} {self._state.settings.base_url}{state}>"

    async def __aenter__(self) -> Self:
        """Open the client, also after it was closed."""
        self._state.reopen()
        self._entries.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, unless another ``async with`` of it is still active."""
        if self._entries.leave():
            await self.aclose()

    async def aclose(self) -> None:
        """Close the client's own connections. All its waits raise a `ClientClosedError`; the tasks at A2E continue.

        Closing twice does no harm. ``async with`` opens the client again.
        """
        await self._state.aclose()

    def family(self, name: str) -> AnyFamily:
        """Return the tasks of another family of A2E's API, such as ``"talkingPhoto"`` or ``"userText2Image"``.

        Sends nothing and costs nothing. The families are listed on the page "Other families".

        Raises:
            InvalidRequestError: There is no such family, or it has a resource of its own.
        """
        from a2e_async.resources.other_families import AnyFamily  # noqa: PLC0415  a slow import that few users need

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
        if verb not in _METHODS:
            raise_invalid(f"method must be one of {', '.join(_METHODS)}, not {method!r}")
        check_no_override([json, params])
        request = Request(
            method=verb, path=api_path(path), json=json, params=to_query(params), repeatable=verb == "GET"
        )
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
        file = await open_file("image", image, "image", "video", "audio")
        return await self._state.services().files.upload(file)

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
        return self._state.poll_now(id)


class _EntryCounter:
    """Number of active ``async with`` blocks of a client, in one event loop.

    Blocks of an earlier event loop do not count: that loop has ended, so they will never be left.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count = 0

    def enter(self) -> None:
        loop = asyncio.get_running_loop()
        self._count = self._count + 1 if loop is self._loop else 1
        self._loop = loop

    def leave(self) -> bool:
        """Return whether no block is active any more."""
        self._count -= 1
        return self._count <= 0


class _ClientState:
    """State of a client over all event loops: the settings, and the resources of the loop that used it last.

    Resources and handles refer to this object and not to the client: a reference cycle would keep a forgotten client
    alive, and the `ResourceWarning` would come late.
    """

    def __init__(self, resolved: settings.Settings, external_session: aiohttp.ClientSession | None) -> None:
        self.settings = resolved
        self.closed = False
        self._external_session = external_session
        self._submissions = SubmissionState()
        self._open: _LoopResources | None = None

    def __reduce__(self) -> NoReturn:
        """Reject pickling: the pickle would contain the token."""
        msg = "A client or a handle cannot be pickled, since it holds the token: pass the id, and use task(id)"
        raise TypeError(msg)

    def __del__(self) -> None:
        """Warn if the client was not closed, and close it as far as possible."""
        if self._open is not None and self._open.is_open:
            self._close_forgotten(self._open)

    def services(self) -> Services:
        """Return the services for the running event loop, and make them if there are none.

        Raises:
            ClientClosedError: The client is closed.
            ConfigurationError: Another running event loop uses the client.
        """
        current = self._open
        loop = asyncio.get_running_loop()
        if current is not None and current.services.loop is loop and not self.closed:
            return current.services
        if self.closed:
            msg = "The client is closed: use `async with`, or make another client"
            raise ClientClosedError(msg)
        if current is not None and current.is_open:  # of another event loop, which has ended or should have
            if current.services.loop.is_running():
                msg = "The client is in use by another running event loop: make one client per event loop"
                raise ConfigurationError(msg)
            self._close_forgotten(current)
        self._open = _LoopResources(self.settings, self._external_session, loop, self._submissions)
        return self._open.services

    def poll_now(self, task_id: str | None) -> bool:
        return self._open is not None and self._open.poll_now(task_id)

    def reopen(self) -> None:
        """Open a closed client: the services are made again at the next use."""
        if self.closed:
            self.closed, self._open = False, None

    async def aclose(self) -> None:
        self.closed = True
        current = self._open
        if current is not None:
            await current.aclose()
            if self._open is current:  # not opened again meanwhile
                self._open = None

    def _close_forgotten(self, resources: _LoopResources) -> None:
        msg = (
            f"unclosed A2EClient of {self.settings.base_url}: "
            "use `async with`, or `await client.aclose()` before the event loop ends"
        )
        warnings.warn(msg, ResourceWarning, source=self, stacklevel=3)
        resources.close_sync()


class _LoopResources:
    """Services and sessions of a client for one event loop."""

    def __init__(
        self,
        resolved: settings.Settings,
        external_session: aiohttp.ClientSession | None,
        loop: asyncio.AbstractEventLoop,
        submissions: SubmissionState,
    ) -> None:
        config = resolved.config
        # uploads and downloads go to other hosts: their session never has the token
        api_session, file_session = self._sessions = (OwnedSession(external_session), OwnedSession())
        retry = Retry(config.retry)
        http = HttpTransport(resolved, api_session)
        # the throttle is inside of the retries, so that every try waits for a slot
        self._throttled = ThrottledTransport(http, Throttle(config.pacing), config.retry.max_time)
        api = RetryingTransport(self._throttled, retry)
        resolver = EndpointResolver(api, submissions.resolved)
        self.services = Services(
            base_url=resolved.base_url,
            api=api,
            resolver=resolver,
            files=Files(config, api, retry, file_session),
            poller=Poller(config.poll),
            submitter=Submitter(resolver, config.start, submissions),
            loop=loop,
            warned=submissions.warned,
        )

    def poll_now(self, task_id: str | None) -> bool:
        """Poll a task at once, or all tasks, in the event loop of the waits; return whether there is a wait."""
        poller, loop = self.services.poller, self.services.loop
        if not poller.has_waiters(task_id) or not loop.is_running():
            return False
        with contextlib.suppress(RuntimeError):  # another thread has closed the loop in this moment
            loop.call_soon_threadsafe(poller.poll_now, task_id)
        return True

    @property
    def is_open(self) -> bool:
        return any(session.is_open for session in self._sessions)

    async def aclose(self) -> None:
        """Close everything, in the event loop that it was made for if that one still runs."""
        loop = self.services.loop
        if loop is asyncio.get_running_loop():
            await self._close()
        elif loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), loop))
        else:
            self._close_now()

    async def _close(self) -> None:
        self._throttled.close()
        try:
            await self.services.poller.aclose()
        finally:
            for session in self._sessions:
                await session.aclose()

    def close_sync(self) -> None:
        """Close everything where nothing can be awaited."""
        # the finalizer can run in any thread, but the waits belong to the loop's thread
        if self.services.loop.is_running():
            self.services.loop.call_soon_threadsafe(self._close_now)
        else:
            self._close_now()

    def _close_now(self) -> None:
        self._throttled.close()
        for session in self._sessions:
            session.close_sync()
