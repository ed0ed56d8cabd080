"""The client: the only place where the parts are put together."""

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
from a2e_async._protocol.validation import check_no_override, path_of, query_of, refuse
from a2e_async._submission.submitter import Memory, Submitter
from a2e_async._transport.endpoints import Router
from a2e_async._transport.http import HttpTransport, OwnedSession, check_verifies
from a2e_async._transport.retry import Api, Retry
from a2e_async._transport.throttle import PacedApi, Throttle
from a2e_async.config import Config
from a2e_async.errors import ClientClosedError, ConfigurationError
from a2e_async.files.local_files import Media, open_file
from a2e_async.files.storage import Files
from a2e_async.resources.account import Account
from a2e_async.resources.avatar_videos import AvatarVideos
from a2e_async.resources.avatars import Avatars
from a2e_async.resources.backgrounds import Backgrounds
from a2e_async.resources.base import Parts
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
    """The resource of a group, imported and made when it is first asked for: who does not use it, does not wait."""

    def __set_name__(self, owner: type, name: str) -> None:
        """Learn which group it is: the module of that name, and its class."""
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: A2EClient, owner: type) -> T: ...
    def __get__(self, client: A2EClient | None, owner: type) -> Self | T:
        """Make it, once for each client."""
        if client is None:
            return self
        module = importlib.import_module(f"a2e_async.resources.{self._name}")
        kind = getattr(module, self._name.title().replace("_", ""))
        made: T = kind(client._runtime.parts)  # noqa: SLF001  of this very module
        client.__dict__[self._name] = made
        return made


class A2EClient:
    """A client of A2E's video API.

    Use it with ``async with``, or call `aclose` at the end. It opens its connections when they are first needed, for
    the event loop that runs then, so that one client can be used by several ``asyncio.run`` after each other.

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
            session: A session of yours for the calls of the API; it is never closed, and the token is not stored in
                it. Uploads and downloads always use a session of ours, without the token.

        Raises:
            ConfigurationError: The token, the base URL or a setting cannot work, or `session` does not verify TLS.
        """
        token = settings.Secret(token) if isinstance(token, str) else token  # a traceback would show it
        environ = {name: settings.Secret(os.environ[name]) for name in settings.VARIABLES if name in os.environ}
        chosen = settings.resolve(token, base_url, config, environ)
        if session is not None and chosen.base_url.startswith("https:"):
            check_verifies(session)
        self._runtime = _Runtime(chosen, session)
        self._inside = _Inside()

    def __repr__(self) -> str:
        """Show where the client points and whether it is closed; never the token."""
        if not hasattr(self, "_runtime"):  # a debugger looks at it while it is refused
            return f"<{type(self).__name__} not made>"
        state = " closed" if self._runtime.closed else ""
        return f"<{type(self).__name__} {self._runtime.settings.base_url}{state}>"

    async def __aenter__(self) -> Self:
        """Open the client, also again after it was closed."""
        self._runtime.reopen()
        self._inside.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, if nobody else is inside of an ``async with`` of it."""
        if self._inside.leave():
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of ours and wake whoever waits, with a `ClientClosedError`. Remote tasks go on.

        Closing twice does no harm. ``async with`` opens the client again.
        """
        await self._runtime.aclose()

    def family(self, name: str) -> AnyFamily:
        """Return the tasks of another family of A2E's API, such as ``"talkingPhoto"`` or ``"userText2Image"``.

        Asks nothing and costs nothing. The families are those of the page "Other families".

        Raises:
            InvalidRequestError: There is no such family, or it has methods of its own.
        """
        from a2e_async.resources.other_families import AnyFamily  # noqa: PLC0415  only who uses it pays for the import

        return AnyFamily(self._runtime.parts, name)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,  # noqa: ANN401  any JSON
        params: Mapping[str, str | int | float | bool | None] | None = None,
    ) -> Any:  # noqa: ANN401  any JSON
        """Call an operation of A2E that has no method here yet, and return the answer's ``data``.

        A ``GET`` is repeated when the network stumbles; everything else is sent once (aiohttp itself repeats a ``PUT``
        or ``DELETE`` once when the connection breaks). Costs what the operation costs.

        Args:
            method: ``"GET"``, ``"POST"``, ``"PUT"``, ``"PATCH"`` or ``"DELETE"``.
            path: Such as ``"user/remainingCoins"``; ``/api/v1/`` is put before it unless it begins with ``/api/``.
            json: The body.
            params: The query; None is left out.

        Raises:
            InvalidRequestError: The method, the path or the body cannot be sent.
            A2EError: As for any request.
        """
        verb = method.upper() if isinstance(method, str) else ""
        if verb not in _METHODS:
            refuse(f"method must be one of {', '.join(_METHODS)}, not {method!r}")
        check_no_override([json, params])
        request = Request(method=verb, path=path_of(path), json=json, params=query_of(params), repeatable=verb == "GET")
        return (await self._runtime.parts().api.send(request)).data

    async def upload(self, image: Media) -> str:
        """Upload a local file to A2E's storage and return its link, usable as an input for about 3 days.

        Every ``start`` does this by itself. Costs what A2E charges for it (unpublished).

        Args:
            image: A path, bytes, or a file opened in binary mode: an image (PNG, JPEG, WebP, GIF, BMP), a video (MP4,
                MOV, WebM, MKV, AVI) or a sound (MP3, WAV, M4A, OGG, FLAC).

        Raises:
            InvalidRequestError: It is no such file; nothing was sent.
            TransferError: The upload did not work, also when tried again.
            APIError: A2E refused to give a link to upload to: bad token, plan, not enough coins.
        """
        file = await open_file("image", image, "image", "video", "audio")
        return await self._runtime.parts().files.upload(file)

    async def download(self, url: str, path: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
        """Download a result link to a file, without the token, and return the path. Free.

        Args:
            url: A link from a record. It lives for about 3 days.
            path: The file to write. Missing folders are made; until it is whole it is called ``<path>.part``.
            overwrite: Replace an existing file.

        Raises:
            InvalidRequestError: The file exists, or `path` is a folder.
            TransferError: The link has expired, answers a page instead of a result, the disk refused, or the
                connection broke, also when tried again. No half of the file stays behind.
        """
        return await self._runtime.parts().files.download(url, path, overwrite=overwrite)

    def nudge(self, id: str | None = None) -> bool:
        """Ask A2E at once about a task that is waited for, instead of at its next turn. Free, and awaits nothing.

        This is what a `WebhookReceiver` does. Many nudges of one task become one question, or two if it is being asked
        about. It may be called from any thread or event loop, and on a client that is closed.

        Args:
            id: A2E's id of the task; None asks about all tasks that are waited for, at most once a second.

        Returns:
            Whether anybody waits for it.
        """
        if id is not None and not isinstance(id, str):
            refuse(f"id must be a str or None, not {type(id).__name__}")
        return self._runtime.nudge(id)


class _Inside:
    """Counts who is inside of an ``async with``, in one event loop: those of an earlier one will never leave."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._count = 0

    def enter(self) -> None:
        loop = asyncio.get_running_loop()
        self._count = self._count + 1 if loop is self._loop else 1
        self._loop = loop

    def leave(self) -> bool:
        """Return whether nobody is inside any more."""
        self._count -= 1
        return self._count <= 0


class _Runtime:
    """Gives the parts for the running event loop, and knows whether they may still be had.

    Resources and handles hold on to this and not to the client, so that no circle keeps a forgotten client alive.
    """

    def __init__(self, chosen: settings.Settings, lent: aiohttp.ClientSession | None) -> None:
        self.settings = chosen
        self.closed = False
        self._lent = lent
        self._memory = Memory()
        self._opened: _Opened | None = None

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the token would be in it."""
        msg = "A client or a handle cannot be pickled, since the token would be in it: pass the id, and use task(id)"
        raise TypeError(msg)

    def __del__(self) -> None:
        """Warn if a session of ours was forgotten, and let go of it."""
        if self._opened is not None and self._opened.is_open:
            self._forget(self._opened)

    def parts(self) -> Parts:
        """Return the parts for the running event loop, making them if there are none."""
        opened = self._opened
        loop = asyncio.get_running_loop()
        if opened is not None and opened.parts.loop is loop and not self.closed:
            return opened.parts
        if self.closed:
            msg = "The client is closed: use `async with`, or make another client"
            raise ClientClosedError(msg)
        if opened is not None and opened.is_open:
            if opened.parts.loop.is_running():
                msg = "The client is in use by another event loop that is running: make one client per event loop"
                raise ConfigurationError(msg)
            self._forget(opened)
        self._opened = _Opened(self.settings, self._lent, loop, self._memory)
        return self._opened.parts

    def nudge(self, task_id: str | None) -> bool:
        opened = self._opened
        return opened is not None and opened.nudge(task_id)

    def reopen(self) -> None:
        """Allow the parts to be made afresh after they were closed."""
        if self.closed:
            self.closed, self._opened = False, None

    async def aclose(self) -> None:
        self.closed = True
        opened = self._opened
        if opened is not None:
            await opened.aclose()
            if self._opened is opened:  # nobody has opened it again meanwhile
                self._opened = None

    def _forget(self, opened: _Opened) -> None:
        msg = (
            f"unclosed A2EClient of {self.settings.base_url}: "
            "use `async with`, or `await client.aclose()` before the event loop ends"
        )
        warnings.warn(msg, ResourceWarning, source=self, stacklevel=3)
        opened.forget()


class _Opened:
    """The parts of a client and the sessions behind them, for one event loop."""

    def __init__(
        self,
        chosen: settings.Settings,
        lent: aiohttp.ClientSession | None,
        loop: asyncio.AbstractEventLoop,
        memory: Memory,
    ) -> None:
        config = chosen.config
        self._sessions = (OwnedSession(lent), OwnedSession())
        api_session, file_session = self._sessions
        retry = Retry(config.retry)
        self._paced = PacedApi(HttpTransport(chosen, api_session), Throttle(config.pacing), config.retry.max_time)
        api = Api(self._paced, retry)
        router = Router(api, memory.known)
        self.parts = Parts(
            base_url=chosen.base_url,
            api=api,
            router=router,
            files=Files(config, api, retry, file_session),
            poller=Poller(config.poll),
            submitter=Submitter(router, config.start, memory),
            loop=loop,
            warned=memory.warned,
        )

    def nudge(self, task_id: str | None) -> bool:
        """Hasten a task, or all of them, in the event loop that they are waited for in."""
        poller, loop = self.parts.poller, self.parts.loop
        if not poller.is_awaited(task_id) or not loop.is_running():
            return False
        with contextlib.suppress(RuntimeError):  # the loop was closed in this moment
            loop.call_soon_threadsafe(poller.nudge, task_id)
        return True

    @property
    def is_open(self) -> bool:
        return any(session.is_open for session in self._sessions)

    async def aclose(self) -> None:
        """Close everything, in the event loop that it was made for if that one is still running."""
        loop = self.parts.loop
        if loop is asyncio.get_running_loop():
            await self._close()
        elif loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._close(), loop))
        else:
            self._abandon()

    async def _close(self) -> None:
        self._paced.close()
        try:
            await self.parts.poller.aclose()
        finally:
            for session in self._sessions:
                await session.aclose()

    def forget(self) -> None:
        """Let go of everything where nothing can be awaited."""
        if self.parts.loop.is_running():
            self.parts.loop.call_soon_threadsafe(self._abandon)
        else:
            self._abandon()

    def _abandon(self) -> None:
        self._paced.close()
        for session in self._sessions:
            session.abandon()
