"""The sandbox: it composes the parts, listens on a port, and leaves no file, task or thread behind."""

import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from os import PathLike
from types import MappingProxyType, TracebackType
from typing import Final, Self, cast

import aiohttp
import attrs
from aiohttp import web

from a2e_async.sandbox import control
from a2e_async.sandbox.faults.middleware import FaultMiddleware
from a2e_async.sandbox.faults.plan import OTHER, Fault, FaultPlan
from a2e_async.sandbox.faults.schedule import FaultInjector
from a2e_async.sandbox.lifecycle import NOT_GENERATED, Lifecycle, WebhookSender
from a2e_async.sandbox.listener import Listener
from a2e_async.sandbox.media.renderer import Renderer, TinyRenderer, VideoRenderer, check_extra
from a2e_async.sandbox.media.storage import InputFetcher, Storage
from a2e_async.sandbox.middleware import ApiMiddleware, Override, OverrideHandler
from a2e_async.sandbox.network import is_loopback, make_connector
from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.routes.table import a2e_routes, add_routes
from a2e_async.sandbox.state import (
    ApiVersion,
    LedgerEntry,
    Options,
    RecordedRequest,
    RenderMode,
    SandboxError,
    SentWebhook,
    State,
    Task,
)
from a2e_async.sandbox.state_file import StateFile

# Seconds for open requests at closing. aiohttp's default is a minute.
_SHUTDOWN_TIMEOUT: Final = 0.1

_NOT_STARTED: Final = "the sandbox was not started: use `async with Sandbox()` or `await sandbox.start()`"

# An image that is sent by mistake as a data URL must get the error of its field, not a 413.
_MAX_BODY: Final = 32 * 1024 * 1024


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
        faults: FaultPlan | None = None,
        diamonds: int = 3,
        api_version: ApiVersion = "current",
        state: str | PathLike[str] | None = None,
        show_prompt: bool = False,
        on_request: Callable[[RecordedRequest], None] | None = None,
    ) -> None:
        """Make a sandbox. It listens after `start`.

        Args:
            host: The address to listen on. Others can reach a sandbox whose address is not one of this machine alone,
                such as ``"0.0.0.0"``. It fetches no inputs from private addresses, and sends no webhooks there.
            port: The port to listen on; 0 chooses a free one.
            token: The API token that clients must send; by default a random one that begins with ``sk_``.
            coins: The initial balance.
            speed: How many times faster than at A2E a task ends.
            render: "video" for real videos (needs the `sandbox` extra), "tiny" for one constant, tiny MP4.
            cdn_lag: Seconds until an uploaded object is visible at the CDN.
            seed: Makes the durations of tasks reproducible.
            faults: Faults of the network and of A2E; `None` means no faults.
            diamonds: The initial balance of diamonds.
            api_version: "current"; "2025" for the paths that A2E has renamed since then; or "spec" for the operations
                of A2E's current specification only, without those that A2E merely still answers.
            state: A file from which balances, ledger, tasks and account data are continued, and in which they are
                saved: at most two seconds after a change, and at closing. The stored files are in a folder beside it,
                whose name has ``.files`` at its end. `coins` and `diamonds` count only for a new file.
            show_prompt: Whether rendered videos show their prompt.
            on_request: Is called with each request that is recorded, in the thread of the sandbox's event loop.

        Raises:
            SandboxError: The extra for real videos is not installed.
            TypeError: `faults` is not a `FaultPlan`.
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
            api_version=api_version,
            show_prompt=show_prompt,
        )
        if render == "video":
            check_extra()
        self._state = State(coins=coins, diamonds=diamonds, shows_avatars=api_version != "spec", on_request=on_request)
        self._file = None if state is None else StateFile(state)
        self._api_middleware = ApiMiddleware(
            token=token or f"sk_{secrets.token_hex(24)}", state=self._state, own_names_only=is_loopback(host)
        )
        self._injector = FaultInjector()
        self.faults = faults
        self._url: str | None = None
        self._storage: Storage | None = None
        self._lifecycle: Lifecycle | None = None
        self._exits: AsyncExitStack | None = None

    def __repr__(self) -> str:
        """Show the base URL, never the token."""
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
        """The API token that clients must send. After a change, the old one gets a 401."""
        return self._api_middleware.token

    @token.setter
    def token(self, token: str) -> None:
        self._api_middleware.token = token

    @property
    def sample_image(self) -> str:
        """The link of an image for first tries without the internet, as ``image_url``.

        Raises:
            SandboxError: The sandbox was not started yet.
        """
        if self._url is None or self._storage is None:
            raise SandboxError(_NOT_STARTED)
        return control.sample_image(self._storage)

    @property
    def coins(self) -> int:
        """The balance. Setting it adds no entry to the ledger, and ends no task."""
        return self._state.coins

    @coins.setter
    def coins(self, coins: int) -> None:
        self._state.coins = attrs.evolve(self._options, coins=coins).coins

    @property
    def diamonds(self) -> int:
        """The balance of diamonds, the second currency."""
        return self._state.diamonds

    @property
    def speed(self) -> float:
        """How many times faster than at A2E a task ends. A change also counts for the tasks that are running."""
        return self._options.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._options = attrs.evolve(self._options, speed=speed)
        if self._lifecycle is not None:
            self._lifecycle.speed = speed

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks of all families by id, oldest first. Deleted tasks have `deleted` set.

        After 100,000 tasks, the oldest one is forgotten for each new one, as soon as it has ended.
        """
        return MappingProxyType(self._state.tasks)

    @property
    def ledger(self) -> list[LedgerEntry]:
        """The latest 100,000 changes of the balances, oldest first. Negative coins were spent."""
        return [*self._state.ledger]

    @property
    def requests(self) -> deque[RecordedRequest]:
        """The latest 100,000 requests, oldest first. `status` is 0 if no response was sent."""
        return self._state.requests

    @property
    def webhooks(self) -> deque[SentWebhook]:
        """The latest 100,000 webhooks, oldest first. Each is recorded at the end of its one attempt."""
        return self._state.webhooks

    @property
    def faults(self) -> FaultPlan | None:
        """The fault plan, or `None`. It can be set at any time; a new plan begins at the first line of its scripts."""
        schedule = self._injector.schedule
        return None if schedule is None else schedule.plan

    @faults.setter
    def faults(self, faults: FaultPlan | None) -> None:
        self._injector.set_plan(faults)

    def inject(self, fault: Fault, operation: str = OTHER) -> None:
        """Let the next request of an operation meet a fault, before all faults of the plan.

        Faults for the same operation are met in the order of the calls.

        Args:
            fault: The fault, such as ``Fault("drop", after=True)``: processed, but without a response.
            operation: One of `FaultPlan`'s, such as ``"start"``. Here ``"*"`` is any request of the API.

        Raises:
            ValueError: There is no such operation, or it cannot meet the fault.
        """
        self._injector.add_single(fault, operation)

    def fail_next(self, count: int = 1, *, code: str = "generation_error", message: str = NOT_GENERATED) -> None:
        """Let the next tasks fail at the end of their working time, with any prompt.

        Args:
            count: The number of tasks, of any family. Rejected starts do not count.
            code: The failure code, in families whose records have one.
            message: The failure message, in families whose records have one.
        """
        self._state.next_failures.extend([(code, message)] * count)

    @contextmanager
    def override(self, method: str, path_prefix: str, answer: OverrideHandler | web.Response) -> Iterator[None]:
        """Replace the response to some requests inside of the block. The latest override has priority.

        Args:
            method: The HTTP method in capitals, or ``*`` for all.
            path_prefix: The begin of the path, such as ``/api/v1/userImage2Video``.
            answer: One response for all requests, or a function of the request, asynchronous or not. The function
                returns a new response each time (aiohttp sends a response object once only), or `None` for the usual
                response.
        """
        override = Override(method, path_prefix, answer)
        self._api_middleware.overrides.append(override)
        try:
            yield
        finally:
            self._api_middleware.overrides.remove(override)

    def finish(self, task_id: str) -> None:
        """Let a task succeed now, regardless of its remaining time and of the tags in its prompt.

        Its result is rendered first. With ``render="tiny"`` the task has ended after one turn of the event loop; with
        ``render="video"`` it ends when its video is rendered. A task whose input cannot be used fails instead.

        Like `fail`, this method sends the webhook of the start, also works inside of `hold`, and must be called in the
        thread of the sandbox's event loop.

        Args:
            task_id: The task, of any family.

        Raises:
            SandboxError: There is no such task, it has ended or was deleted, or the sandbox is closed.
        """
        lifecycle, task = self._running_task(task_id)
        lifecycle.finish(task)

    def fail(self, task_id: str, *, code: str = "generation_error", message: str = NOT_GENERATED) -> None:
        """Let a task fail at once. Only a few families refund failed tasks.

        Args:
            task_id: The task, of any family.
            code: The failure code, in families whose records have one.
            message: The failure message, in families whose records have one.

        Raises:
            SandboxError: There is no such task, it has ended or was deleted, or the sandbox is closed.
        """
        lifecycle, task = self._running_task(task_id)
        lifecycle.fail(task, code, message)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every task at its status inside of the block. Only `finish` and `fail` change it.

        Tasks can be started, read and deleted meanwhile. A step that is due inside of the block happens at its end; the
        next steps take their usual time. Blocks may overlap: tasks continue after the end of the last one.

        Raises:
            SandboxError: The sandbox was not started yet.
        """
        if self._lifecycle is None:
            raise SandboxError(_NOT_STARTED)
        with self._lifecycle.hold():
            yield

    def expire_upload_links(self) -> None:
        """Let all presigned upload URLs expire now."""
        if self._storage is not None:
            self._storage.expire_grants()

    async def start(self) -> None:
        """Start to listen.

        Raises:
            SandboxError: It was started before, or cannot listen on the address.
        """
        if self._exits is not None:
            message = "a sandbox can be started only once: make a new one"
            raise SandboxError(message)
        self._exits = AsyncExitStack()
        try:
            await self._open(self._exits)
        except BaseException:
            await self._exits.aclose()
            raise

    async def aclose(self) -> None:
        """Stop listening, stop all tasks and remove all files. It may be called twice; `url` can still be read."""
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

    def _running_task(self, task_id: str) -> tuple[Lifecycle, Task]:
        """Return the lifecycle, and a task that has not ended."""
        task = self._state.tasks.get(task_id)
        if self._lifecycle is None or task is None:
            message = f"the sandbox has no task {task_id!r}"
        elif task.deleted:
            message = f"task {task_id} was deleted"
        elif task.done:
            message = f"task {task_id} has ended already: {task.status}"
        else:
            return self._lifecycle, task
        raise SandboxError(message)

    async def _open(self, exits: AsyncExitStack) -> None:
        """Open the parts."""
        # `exits` closes them in the opposite order: the port first, the files last.
        if self._file is not None:
            await self._file.read()
        storage = self._storage = Storage(
            cdn_lag=self._options.cdn_lag, folder=None if self._file is None else self._file.folder
        )
        exits.callback(storage.close)
        if self._file is not None:
            exits.push_async_callback(self._file.aclose)
        # What strangers let the sandbox fetch, or send, must not come from this machine's network, or go there.
        public_only = not is_loopback(self._options.host)
        connector = make_connector(public_only=public_only)
        session = await exits.enter_async_context(
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        )
        fetcher = InputFetcher(storage, session)
        renderer: Renderer = (
            VideoRenderer(storage, fetcher, show_prompt=self._options.show_prompt)
            if self._options.render == "video"
            else TinyRenderer(storage)
        )
        exits.push_async_callback(renderer.aclose)
        webhook_sender = WebhookSender(state=self._state, injector=self._injector, public_only=public_only)
        exits.push_async_callback(webhook_sender.aclose)
        lifecycle = self._lifecycle = Lifecycle(
            options=self._options, state=self._state, storage=storage, renderer=renderer, webhook_sender=webhook_sender
        )
        exits.push_async_callback(lifecycle.aclose)
        context = Context(self._state, lifecycle, self._injector, storage, fetcher, renderer, self._options)
        await self._listen(exits, context)

    async def _listen(self, exits: AsyncExitStack, context: Context) -> None:
        """Start the server."""
        listener = Listener(host=self._options.host, port=self._options.port)
        fault_middleware = FaultMiddleware(
            injector=self._injector, api_middleware=self._api_middleware, listener=listener
        )
        middlewares = [fault_middleware.middleware(), self._api_middleware.middleware()]
        application = web.Application(client_max_size=_MAX_BODY, middlewares=middlewares)
        application.on_response_prepare.append(self._api_middleware.on_response_prepare)
        add_routes(application, [*control.routes(self, context), *a2e_routes(context)])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_TIMEOUT)
        exits.push_async_callback(runner.cleanup)
        await runner.setup()
        exits.push_async_callback(fault_middleware.aclose)
        exits.push_async_callback(listener.aclose)
        try:
            context.storage.base_url = self._url = await listener.open(cast("web.Server", runner.server))
        except OSError as error:
            address = f"{self._options.host}:{self._options.port}"
            message = f"the sandbox cannot listen on {address}: {error.strerror}. Choose another port; 0 is a free one"
            raise SandboxError(message) from error
        if self._file is not None:  # at once: no request came yet
            self._file.restore(context)
