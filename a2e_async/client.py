"""The client: the only module that connects the services."""

import asyncio
import contextlib
import copy
import hashlib
import os
import pathlib
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, overload

import aiohttp
import attrs

from a2e_async._aio import finish, wait_for_background
from a2e_async._observer import Observer
from a2e_async._polling.poller import Poller
from a2e_async._protocol import settings
from a2e_async._protocol.links import is_public
from a2e_async._protocol.messages import Request
from a2e_async._protocol.schema import check_link, check_no_override
from a2e_async._protocol.validation import api_path, raise_invalid, to_query
from a2e_async._submission.finder import Finder, SubmissionState
from a2e_async._submission.key_starts import KeyStarts
from a2e_async._submission.keys import KeyStore, check_key_store
from a2e_async._submission.submitter import Submitter
from a2e_async._transport.api import ApiTransport
from a2e_async._transport.http import HttpTransport, SessionPlan
from a2e_async._transport.options import CallOptions
from a2e_async._transport.retry import Retry
from a2e_async._transport.throttle import Throttle, ThrottledTransport
from a2e_async.config import Config, RetryPolicy
from a2e_async.errors import ClientClosedError, ConfigurationError
from a2e_async.events import Hook, Stats
from a2e_async.files.local_files import IfExists, Image, WritableFile, open_file
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

F = TypeVar("F", bound=WritableFile)


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
        file_session: aiohttp.ClientSession | None = None,
        key_store: KeyStore | None = None,
        hooks: Iterable[Hook] = (),
        trace_configs: Sequence[aiohttp.TraceConfig] = (),
    ) -> None:
        """Check the settings; nothing is opened or sent.

        Args:
            token: The API token (``sk_…``). Default: ``config.token``, else ``A2E_API_TOKEN``, else ``A2E_API_KEY``.
            base_url: Where A2E is. Default: ``config.base_url``, else ``A2E_BASE_URL``, else
                ``https://video.a2e.ai``. ``http://`` is for this machine only.
            config: Time-outs, retries, polling and pacing.
            session: A session of yours for the API requests. It is never closed, and the token is not stored in it.
                Uploads and downloads use another session, without the token, but with the connector and the proxy of
                this one.
            file_session: A session of yours for uploads and downloads. It is never closed.
            key_store: Store of idempotency keys, such as ``SQLiteKeyStore("keys.sqlite")``: neither a crash nor another
                process with the same store pays twice for one key. By default the client remembers them until it ends.
            hooks: Functions that are called with each event of `a2e_async.events`, in the event loop: they must not
                wait. An error that one raises is logged, and changes nothing.
            trace_configs: aiohttp's traces for the API requests, the uploads and the downloads. A trace sees signed
                links. Instead of them, set those of your `session`; uploads and downloads then have the same.

        Raises:
            ConfigurationError: The token, the base URL, a setting or a proxy of the environment is not valid, `session`
                does not verify TLS, `Config.proxy`, `Config.ssl` or `trace_configs` is set together with `session`,
                `file_session` sends an ``Authorization`` header, or a hook is not a plain function.
        """
        # from here on a Secret: a traceback that shows local variables must not show the token
        token = settings.Secret(token) if isinstance(token, str) else token
        environ = {name: settings.Secret(os.environ[name]) for name in settings.VARIABLES if name in os.environ}
        resolved = settings.resolve(token, base_url, config, environ)
        if key_store is not None:
            check_key_store(key_store)
        self._state: _ClientState | _View = _ClientState(
            resolved, SessionPlan.of(resolved, session, file_session, trace_configs), key_store, Observer.of(hooks)
        )
        self._entered = 0  # ``async with`` blocks of this event loop that are active:
        self._entered_loop: asyncio.AbstractEventLoop | None = None
        self._make_resources()

    def _make_resources(self) -> None:
        for name, resource in vars(A2EClient).items():
            if isinstance(resource, Resource):
                setattr(self, name, type(resource)(self._state.services))

    def __repr__(self) -> str:
        """Show the base URL, whether this is a view, and whether the client is closed; never the token."""
        if not hasattr(self, "_state"):  # __init__ raised, and a debugger shows the object
            return f"<{type(self).__name__} not initialized>"
        state = self._state
        options = " with options" if isinstance(state, _View) else ""
        return f"<{type(self).__name__} {state.settings.base_url}{options}{' closed' if state.closed else ''}>"

    async def __aenter__(self) -> Self:
        """Open the client, also after it was closed."""
        loop, state = asyncio.get_running_loop(), self._state
        if isinstance(state, _View):
            return self
        # blocks of an earlier event loop do not count: that loop has ended, so they will never be left
        self._entered = self._entered + 1 if loop is self._entered_loop else 1
        self._entered_loop = loop
        state.opened += 1
        if state.closed:
            state.closed, state.current = False, None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client, unless another ``async with`` of it is still active."""
        self._entered -= 1
        if self._entered <= 0:  # of a view it is no matter
            await self.aclose()

    async def aclose(self) -> None:
        """Close the client's own connections. All its waits raise a `ClientClosedError`; the tasks at A2E continue.

        It first waits for starts whose caller was cancelled, until their outcome is known. A cancellation leaves
        nothing open: the first one does not end the wait, and after the second one the client closes in the
        background. Closing twice does no harm. ``async with`` opens the client again. Closing a view
        (`with_options`) does nothing: its client closes.
        """
        state = self._state
        if isinstance(state, _View):
            return
        if state.current is None:
            state.closed = True
        else:
            await finish(state.close(state.current), is_closing=True)

    async def end_waits(self) -> None:
        """End all waits, updates and streams with a `ClientClosedError`, also those that begin later; requests go on.

        For an application that stops: a web server waits for its open responses, and only then closes the client. The
        integrations call this at SIGTERM and Ctrl-C. The tasks at A2E continue. A client that is closed and opened
        again can wait again.
        """
        services = self._state.current
        if services is not None and services.loop is asyncio.get_running_loop():
            services.files.end_streams()
            await services.poller.end_all_waits()

    def with_options(
        self,
        *,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        wait_for_capacity: bool | None = None,
    ) -> Self:
        """Return a view of this client with other options for its calls, such as those for a visitor. Sends nothing.

        ``a2e.with_options(timeout=5, wait_for_capacity=False).image_to_video.get(id)``. A view shares the connections,
        the throttle, the polls and the idempotency keys with its client, and lives as long: opening or closing a view
        does nothing. It can be kept, or made for each call. Its resources and their handles have its options. Waits
        have not: they share the polls of all waits. Nor has the transfer of a file, but for `retry`. An option that is
        None is as in this client, or in this view.

        A call that may not wait, or not for so long, raises a `RateLimitError` or a `BusyError`; without an answer in
        time, it raises a `NetworkError`. A start that raises one of these was not accepted.

        A paid start stays safe. Once its request goes out, no option cuts it: it takes up to `Config.request_timeout`.
        If its outcome is unknown, A2E's list is searched for it as always, which takes about 20 s more.

        Args:
            timeout: Seconds for one call of A2E's API as a whole: its turn, all tries, and the pauses between them.
                `Config.request_timeout` limits each try. It applies to each page of a list, to each request of a call
                that makes several, such as an upload and a start, and to a paid request until it goes out.
            retry: Instead of `Config.retry`. ``RetryPolicy(max_attempts=1)`` never tries again.
            wait_for_capacity: False raises the error at once if A2E is busy or asks for a pause, or if the throttle
                (`Config.pacing`) would hold the call back: with `retry_after`, and HTTP 503 as `http_status`.

        Raises:
            ConfigurationError: An option is not valid.
        """
        settings.check_options(timeout, retry, wait_for_capacity)
        state = self._state
        client = state.client if isinstance(state, _View) else state
        options = state.options if isinstance(state, _View) else CallOptions(retry=client.settings.config.retry)
        given = {"timeout": timeout, "retry": retry, "wait_for_capacity": wait_for_capacity}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        view = copy.copy(self)
        view._state = _View(client, attrs.evolve(options, **changes))  # noqa: SLF001  of this class
        view._make_resources()  # noqa: SLF001  as above
        return view

    def stats(self) -> Stats:
        """Return the counters of this client since it was made. Sends nothing.

        They go on over all its event loops; a view has those of its client. It works on a closed client, too, and from
        any thread.
        """
        return self._state.observer.stats()

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

    async def upload(self, image: Image) -> str:
        """Upload a local file to A2E's storage and return its link, usable as an input for about 3 days.

        Every ``start`` uploads its local files by itself. Costs what A2E charges for an upload (unpublished).

        Args:
            image: A path, bytes, an image of Pillow, or a file opened in binary mode: an image (PNG, JPEG, WebP, GIF,
                BMP), a video (MP4, MOV, WebM, MKV, AVI) or audio (MP3, WAV, M4A, OGG, FLAC).

        Raises:
            InvalidRequestError: The file is missing, unreadable, of another type or cut short; nothing was sent.
            TransferError: The upload failed, also after retries.
            APIError: A2E did not give a link to upload to: bad token, plan, not enough coins.
        """
        return await self._state.services().files.upload(await open_file("image", image, "image", "video", "audio"))

    @overload
    async def download(
        self, url: str, path: str | os.PathLike[str], *, if_exists: IfExists = "error", overwrite: bool = False
    ) -> pathlib.Path: ...

    @overload
    async def download(self, url: str, path: F) -> F: ...

    async def download(
        self, url: str, path: str | os.PathLike[str] | F, *, if_exists: IfExists = "error", overwrite: bool = False
    ) -> pathlib.Path | F:
        """Download a result link to a file, without the token, and return the path. Free.

        Downloads of one link to one path share one transfer.

        Args:
            url: A link from a record. It expires after about 3 days. While the base URL is public, it must be https and
                lead to a public host.
            path: The file to write. Missing folders are made. Until it is complete it has a random name in the same
                folder. Its extension says what is expected: ``ada.mp4`` is stored only if it is a video. Or a file that
                is open for writing bytes, as for `TaskHandle.download`.
            if_exists: What to do about an existing file: ``"error"``; ``"overwrite"`` replaces it; ``"keep"`` returns
                its path and sends nothing.
            overwrite: Short for ``if_exists="overwrite"``.

        Raises:
            InvalidRequestError: The file exists, `path` is a folder, or a download of another link writes to it.
            TransferError: The link has expired or returned something else than a result, the disk failed, the file is
                larger than `Config.max_download_bytes`, or the connection broke too often or was too slow. No partial
                file is left.
        """
        check_link("url", url)

        async def get_link(expired: str) -> str:
            return "" if expired else url

        rule: IfExists = "overwrite" if overwrite else if_exists
        return await self._state.services().files.download(path, get_link, url, if_exists=rule)

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

    def __init__(
        self, resolved: settings.Settings, sessions: SessionPlan, key_store: KeyStore | None, observer: Observer
    ) -> None:
        self.settings = resolved
        self.observer = observer
        self.closed = False
        self.opened = 0  # how often ``async with`` has begun
        self._sessions = sessions
        self._submissions = SubmissionState(key_store)
        # the same key in another account is another job
        self._key_scope = f"{resolved.base_url} {hashlib.sha256(resolved.token.encode()).hexdigest()[:16]}"
        self.current: Services | None = None
        self._is_forked = False
        _STATES.add(self)

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

    async def close(self, services: Services) -> None:
        """Close the client and its services, after the work that still needs them."""
        opened = self.opened
        if services.loop is asyncio.get_running_loop():
            await wait_for_background()  # such as a start whose caller was cancelled, and the report of its outcome
            if self.opened != opened:  # this closing went on in the background, and the client is in use again
                return
        self.closed = True
        await services.aclose()
        if self.current is services:  # not opened again meanwhile
            self.current = None

    def services(self) -> Services:
        """Return the services for the running event loop, and make them if there are none.

        Raises:
            ClientClosedError: The client is closed.
            ConfigurationError: Another running event loop uses the client, or it has a session of the parent process.
        """
        services, loop = self.current, asyncio.get_running_loop()
        if services is not None and services.loop is loop and not self.closed:
            return services
        if self.closed:
            msg = "The client is closed: use `async with`, or make another client"
            raise ClientClosedError(msg)
        if self._is_forked and self._sessions.is_external:
            msg = "The session belongs to the parent process: make a session and a client after the fork"
            raise ConfigurationError(msg)
        if services is not None and services.is_open:  # of another event loop, which has ended or should have
            if services.loop.is_running():
                msg = (
                    "The client is in use by another running event loop: make one client per event loop. For threads "
                    "without an event loop, such as Flask or Django, use a2e_async.integrations.blocking"
                )
                raise ConfigurationError(msg)
            services.close_sync()
            with contextlib.suppress(ResourceWarning):  # where warnings are errors, the client works nevertheless
                self._warn_unclosed()
        self.current = self._make_services(loop)
        return self.current

    def on_fork(self) -> None:
        """Forget the services in a forked child: their event loop, sockets and waits belong to the parent."""
        self._is_forked = True
        _INHERITED.append(self._sessions)
        services, self.current = self.current, None
        if services is not None:
            services.forget()

    def _make_services(self, loop: asyncio.AbstractEventLoop) -> Services:
        config, observer = self.settings.config, self.observer
        # uploads and downloads go to other hosts: their session never has the token
        api_session, paid_session, file_session = self._sessions.make()
        # the throttle is inside of the retries, so that every try waits for a slot
        http = HttpTransport(self.settings, api_session, paid_session)
        throttle = Throttle(self._sessions.limit(config.pacing))
        throttled = ThrottledTransport(
            http, throttle, config.retry.max_time, token=self.settings.token, observer=observer
        )
        api = ApiTransport(throttled, Retry(config.retry, observer=observer), self._submissions.resolved)
        finder = Finder(api, config.start, self._submissions, config.request_timeout, config.connect_timeout)
        submitter = Submitter(finder)
        is_public_a2e = is_public(self.settings.base_url)
        return Services(
            base_url=self.settings.base_url,
            is_public=is_public_a2e,
            api=api,
            files=Files(config, api, file_session, is_public=is_public_a2e),
            poller=Poller(config.poll, observer),
            finder=finder,
            submitter=submitter,
            key_starts=KeyStarts(submitter, self._key_scope),
            loop=loop,
            warned=self._submissions.warned,
            sessions=(api_session, paid_session, file_session),
        )


class _View:
    """State of a view of a client: that of the client, and services with options."""

    def __init__(self, client: _ClientState, options: CallOptions) -> None:
        self.client, self.settings, self.options = client, client.settings, options
        self._services: tuple[Services, Services] | None = None  # those of the client, and of this view

    @property
    def observer(self) -> Observer:
        """The observer of the client."""
        return self.client.observer

    @property
    def closed(self) -> bool:
        """Whether the client is closed."""
        return self.client.closed

    @property
    def current(self) -> Services | None:
        """The services of the client for the event loop that used it last."""
        return self.client.current

    def services(self) -> Services:
        """Return the services for the running event loop.

        Raises:
            ClientClosedError: The client is closed.
            ConfigurationError: As for the client.
        """
        services = self.client.services()
        if self._services is None or self._services[0] is not services:
            self._services = services, services.view(self.options)
        return self._services[1]


_STATES: weakref.WeakSet[_ClientState] = weakref.WeakSet()

# Sessions of the user that a forked child has inherited. Deleting one would close the connections of the parent.
_INHERITED: list[SessionPlan] = []


def _on_fork() -> None:
    for state in _STATES:
        state.on_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    # Closing a connection in the child would also take it out of the parent's event loop: both share one epoll object.
    os.register_at_fork(after_in_child=_on_fork)
