"""The sandbox: puts the parts together, listens, and leaves nothing behind.

The table of paths is the same in every sandbox, and built once for all of them: with 250 routes this is most of the
work of a start, and test suites start thousands of sandboxes.
"""

import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import cache
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, cast

import aiohttp
import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from a2e_async.sandbox.faults.middleware import Storm
from a2e_async.sandbox.faults.plan import Weather
from a2e_async.sandbox.faults.schedule import Sky
from a2e_async.sandbox.lifecycle import NOT_GENERATED, Life, Messenger
from a2e_async.sandbox.listener import Door
from a2e_async.sandbox.media.renderer import FilmStudio, Studio, TinyStudio, check_extra
from a2e_async.sandbox.media.storage import Fetcher, Storage
from a2e_async.sandbox.middleware import Gate, Override, OverrideHandler, of_2025
from a2e_async.sandbox.routes import account, avatars, backgrounds, families, image_to_video, storage, streaming, voices
from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.state import (
    Era,
    LedgerEntry,
    Options,
    RenderMode,
    SandboxError,
    SeenRequest,
    SentWebhook,
    State,
    Task,
)

_HANDLERS: Final = web.AppKey("handlers", list[Any])


def add_routes(application: web.Application, routes: Sequence[web.RouteDef]) -> None:
    """Let the application answer at these paths, by the handlers that belong to its sandbox."""
    application[_HANDLERS] = [route.handler for route in routes]
    for resource in _resources(tuple((route.method, route.path) for route in routes)):
        application.router.register_resource(resource)


@cache
def _resources(paths: tuple[tuple[str, str], ...]) -> Sequence[web.AbstractResource]:
    """Build the table of these paths, which knows no handler but the number of each."""
    router = web.UrlDispatcher()
    for number, (method, path) in enumerate(paths):
        web.RouteDef(method, path, _forward_to(number), {}).register(router)
    return tuple(router.resources())


def _forward_to(number: int) -> Handler:
    async def forward(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await request.app[_HANDLERS][number](request)
        return answer

    return forward


# Open requests at closing get this long, in seconds; aiohttp's own default is a minute.
_PATIENCE = 0.1

_NOT_STARTED = "the sandbox was not started: use `async with Sandbox()` or `await sandbox.start()`"

# Large enough for an image sent as a data URL by mistake to be refused as such.
_LARGEST_BODY = 32 * 1024 * 1024


class Sandbox:
    """A local A2E with one account. Use it as ``async with Sandbox() as sandbox``."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        coins: int = 10_000,
        speed: float = 1.0,
        render: RenderMode = "video",
        cdn_lag: float = 0.0,
        seed: int | None = None,
        weather: Weather | None = None,
        diamonds: int = 3,
        era: Era = "now",
    ) -> None:
        """Prepare; nothing listens before `start`.

        Args:
            host: The address to listen on.
            port: The port to listen on; 0 takes any free one.
            token: The API token to expect; by default a random one that begins with ``sk_``.
            coins: The balance to start with.
            speed: How many times faster than life a task goes.
            render: "video" for real videos (needs the `sandbox` extra), "tiny" for one constant, tiny MP4.
            cdn_lag: Seconds for which an uploaded object is not yet visible at the CDN.
            seed: Makes the durations of tasks reproducible.
            weather: Faults of the network and of A2E; `None` is fair weather.
            diamonds: The diamonds to start with.
            era: "now", or "2025" for the paths that A2E had then, where it has changed them.

        Raises:
            SandboxError: Real videos are asked for and the extra is not installed.
            TypeError: `weather` is something else.
            ValueError: An option is out of its range.
        """
        self._options = Options(
            host=host,
            port=port,
            coins=coins,
            speed=speed,
            render=render,
            cdn_lag=cdn_lag,
            seed=seed,
            diamonds=diamonds,
            era=era,
        )
        if render == "video":
            check_extra()
        self._state = State(coins=coins, diamonds=diamonds)
        self._gate = Gate(token=token or f"sk_{secrets.token_hex(24)}", state=self._state)
        self._sky = Sky()
        self.weather = weather
        self._url: str | None = None
        self._storage: Storage | None = None
        self._life: Life | None = None
        self._exits: AsyncExitStack | None = None

    def __repr__(self) -> str:
        """Show where it listens, never the token."""
        return f"<Sandbox {self._url or 'not started'}>"

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end.

        Raises:
            SandboxError: The sandbox was not started yet.
        """
        if self._url is None:
            raise SandboxError(_NOT_STARTED)
        return self._url

    @property
    def token(self) -> str:
        """The API token that is expected. Once another one is set, the old one is refused with 401."""
        return self._gate.token

    @token.setter
    def token(self, token: str) -> None:
        self._gate.token = token

    @property
    def coins(self) -> int:
        """The current balance. Setting it, as when coins are started, makes no entry in the ledger and ends no task."""
        return self._state.coins

    @coins.setter
    def coins(self, coins: int) -> None:
        self._state.coins = attrs.evolve(self._options, coins=coins).coins

    @property
    def diamonds(self) -> int:
        """The current balance of the second currency."""
        return self._state.diamonds

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks of all families by id, oldest first; deleted ones too, with `deleted` set."""
        return MappingProxyType(self._state.tasks)

    @property
    def ledger(self) -> list[LedgerEntry]:
        """What tasks and calls have cost and refunded, oldest first; negative coins were spent."""
        return self._state.ledger

    @property
    def requests(self) -> deque[SeenRequest]:
        """The requests, oldest first; the latest 100,000 are kept. `status` is 0 where no answer was sent."""
        return self._state.requests

    @property
    def webhooks(self) -> deque[SentWebhook]:
        """The webhooks that were sent, oldest first, each noted when its one attempt is over; the latest 100,000."""
        return self._state.webhooks

    @property
    def weather(self) -> Weather | None:
        """The weather now, `None` if fair. It can be set at any time; what is set begins at its start."""
        forecast = self._sky.forecast
        return None if forecast is None else forecast.weather

    @weather.setter
    def weather(self, weather: Weather | None) -> None:
        self._sky.change(weather)

    @contextmanager
    def override(self, method: str, path_prefix: str, answer: OverrideHandler | web.Response) -> Iterator[None]:
        """Answer some requests differently for a while; the latest override is asked first.

        Args:
            method: The HTTP method in capitals, or ``*`` for all.
            path_prefix: How the path begins, such as ``/api/v1/userImage2Video``.
            answer: A response for all of them, or a function of the request (asynchronous or not) that returns a
                response (a new one each time: aiohttp sends a response object once only), or `None` to let the
                sandbox answer as usual.
        """
        override = Override(method, path_prefix, answer)
        self._gate.overrides.append(override)
        try:
            yield
        finally:
            self._gate.overrides.remove(override)

    def finish(self, task_id: str) -> None:
        """Let a task end well now, however long it would still take and whatever its prompt asked for.

        Its result is made first. With ``render="tiny"`` the task has ended after one turn of the event loop; with
        ``render="video"`` it is at work until its video is rendered. A task whose input cannot be used fails instead.
        Like `fail`, it sends the webhook that the start asked for, also works inside of `hold`, and is called in the
        thread of the sandbox's event loop.

        Args:
            task_id: The task, of any family.

        Raises:
            SandboxError: There is no such task, it has ended or was deleted, or the sandbox is closed.
        """
        life, task = self._unfinished(task_id)
        life.finish(task)

    def fail(self, task_id: str, *, code: str = "generation_error", message: str = NOT_GENERATED) -> None:
        """Let a task fail at once. As for every failed task, few families refund its coins.

        Args:
            task_id: The task, of any family.
            code: The failure code, in families whose records show one.
            message: What the record says about the failure, in families whose records say something.

        Raises:
            SandboxError: There is no such task, it has ended or was deleted, or the sandbox is closed.
        """
        life, task = self._unfinished(task_id)
        life.fail(task, code, message)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let no task reach its next status inside of the block, except by `finish` and `fail`.

        Tasks can be started, read and deleted meanwhile. A step that is due inside of the block happens at its end, and
        the steps after it take their usual time. Blocks may overlap; the last end counts.

        Raises:
            SandboxError: The sandbox was not started yet.
        """
        if self._life is None:
            raise SandboxError(_NOT_STARTED)
        with self._life.hold():
            yield

    def expire_upload_links(self) -> None:
        """Let all presigned upload links end now, as if their time were over."""
        if self._storage is not None:
            self._storage.expire_grants()

    async def start(self) -> None:
        """Begin to listen.

        Raises:
            SandboxError: It was started before, or the address cannot be listened on.
        """
        if self._exits is not None:
            message = "a sandbox can be started once only; make a new one"
            raise SandboxError(message)
        self._exits = AsyncExitStack()
        try:
            await self._open(self._exits)
        except BaseException:
            await self._exits.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening, end all tasks and remove all files. Closing twice is fine; `url` stays readable."""
        if self._exits is not None:
            await self._exits.aclose()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.aclose()

    def _unfinished(self, task_id: str) -> tuple[Life, Task]:
        """Look up a task that has not ended."""
        task = self._state.tasks.get(task_id)
        if self._life is None or task is None:
            message = f"the sandbox has no task {task_id!r}"
        elif task.deleted:
            message = f"task {task_id} was deleted"
        elif task.done:
            message = f"task {task_id} has ended already: {task.status}"
        else:
            return self._life, task
        raise SandboxError(message)

    async def _open(self, exits: AsyncExitStack) -> None:
        """Open the parts; `exits` closes them in the opposite order: first the door, last the files."""
        storage = self._storage = Storage(cdn_lag=self._options.cdn_lag)
        exits.callback(storage.close)
        session = await exits.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        fetcher = Fetcher(storage, session)
        studio: Studio = FilmStudio(storage, fetcher) if self._options.render == "video" else TinyStudio(storage)
        exits.push_async_callback(studio.aclose)
        messenger = Messenger(state=self._state, sky=self._sky)
        exits.push_async_callback(messenger.aclose)
        life = Life(options=self._options, state=self._state, storage=storage, studio=studio, messenger=messenger)
        self._life = life
        exits.push_async_callback(life.aclose)
        context = Context(self._state, life, self._sky, storage, fetcher, studio, self._options)
        await self._listen(exits, context)

    async def _listen(self, exits: AsyncExitStack, context: Context) -> None:
        """Open the port."""
        door = Door(host=self._options.host, port=self._options.port)
        storm = Storm(sky=self._sky, gate=self._gate, door=door)
        application = self._application(storm, context)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_PATIENCE)
        exits.push_async_callback(runner.cleanup)
        await runner.setup()
        exits.push_async_callback(storm.aclose)
        exits.push_async_callback(door.aclose)
        try:
            context.storage.base_url = self._url = await door.open(cast("web.Server", runner.server))
        except OSError as error:
            message = f"the sandbox cannot listen on {self._options.host}:{self._options.port}: {error.strerror}"
            raise SandboxError(message) from error

    def _application(self, storm: Storm, context: Context) -> web.Application:
        middlewares = [storm.middleware(), self._gate.middleware()]
        application = web.Application(client_max_size=_LARGEST_BODY, middlewares=middlewares)
        application.on_response_prepare.append(self._gate.remember)
        add_routes(application, _routes(context))
        return application


def _routes(context: Context) -> list[web.RouteDef]:
    """Name all paths, fixed ones first: "avgProcessingTime" would pass for a task's id."""
    checks = {"avatar_video": avatars.check_avatar_video, "voice_training": families.check_voice}
    groups = (
        voices.routes, avatars.routes, backgrounds.routes, backgrounds.face_routes, streaming.routes,
        account.token_routes, account.misc_routes, avatars.avatar_video_routes, families.training_routes,
        families.exception_routes,
    )  # fmt: skip
    all_routes = [
        *image_to_video.interaction_routes(context.state),
        *image_to_video.prompt_routes(),
        *(route for group in groups for route in group(context)),
        *families.routes(context, checks),
        *account.routes(context.state),
        *storage.upload_routes(context.state, context.storage, context.fetcher),
        *storage.cdn_routes(context.storage),
    ]
    return of_2025(all_routes) if context.options.era == "2025" else all_routes
