"""Tools of an MCP server, by which a language model makes videos within a spending limit."""

# How it works: a model repeats calls, forgets what it has done, and takes instructions from texts that it reads. So
# nothing depends on its good will:
#
# - Coins: each start is counted in a ledger before it is sent (`_spending.py`), with a limit that no tool can change.
# - Repeated calls: each start has an idempotency key, by default a hash of its options. The same call returns the same
#   task. A call that the host cancels is finished in the background, so that a paid task is never lost.
# - Files: only those in one folder are read, and only new videos in it are written. Links of results are not shown.

import asyncio
import contextlib
import functools
import hashlib
import inspect
import json
import math
import os
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any, ParamSpec, TypeVar

from a2e_async._aio import finish
from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._submission.evidence import Verdict
from a2e_async._submission.markers import marker_for_key
from a2e_async._version import VERSION
from a2e_async.batch.jobs import BatchApi, Job, PreparedStart
from a2e_async.batch.rules import file_name as safe_name
from a2e_async.batch.rules import image_identity, may_restart
from a2e_async.batch.uploads import fingerprint
from a2e_async.client import A2EClient
from a2e_async.errors import (
    ADVICE,
    A2EError,
    Advice,
    ConfigurationError,
    InvalidRequestError,
    MissingExtraError,
    NotFoundError,
    WaitTimeoutError,
    escape_controls,
    redact,
)
from a2e_async.integrations._spending import Spending, SpendingLedger, committed
from a2e_async.models.common import TaskStatus
from a2e_async.models.image_to_video import ImageToVideoRecord, ModelVersion, VideoTime
from a2e_async.resources.inputs import INVENTED_LINK
from a2e_async.tasks import TaskHandle

try:
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations
    from pydantic import BaseModel, Field
except ImportError as error:
    _MESSAGE = 'a2e_async.integrations.mcp needs the MCP SDK: pip install "a2e-async[mcp]"'
    raise MissingExtraError(_MESSAGE) from error

__all__ = ["AccountBalance", "DownloadedVideo", "PriceQuote", "VideoTask", "VideoTools"]

P = ParamSpec("P")
T = TypeVar("T")

_ADVICE: Mapping[Advice, str] = {
    **ADVICE,
    "find": "Call list_videos later and look for {marker} in the names. Or repeat this call: it does not pay twice",
    "list": "Check list_videos before you start it again",
    "no_token": "The operator of this server has to set A2E_API_TOKEN",
    "overwrite": "Choose another file_name",
    "token": "The operator of this server has to check A2E_API_TOKEN",
    "wait": "Call wait_for_video with task_id {task_id}",
}

_INSTRUCTIONS = """\
Turn images into short videos with A2E. Each start costs coins, within a limit that you cannot change.
A video takes a minute or more: call start_video, then wait_for_video (again, as long as it is not finished), then \
download_video. Calling start_video again with the same arguments returns the same task and costs nothing. \
Call quote_video first if the price matters."""

_HEARTBEAT = 5.0  # seconds between two notifications of progress, by which a host extends its time-out
_LOST_FACTOR = 3.0  # as in a batch: a lost answer means that A2E may be in trouble

ImageArgument = Annotated[str, Field(description="The start image: a path in the folder of this server, or a link")]
Prompt = Annotated[str, Field(description="What happens in the video, such as 'she smiles at the camera'")]
NegativePrompt = Annotated[str | None, Field(description="What to avoid, such as 'blurry, extra fingers'")]
EndImage = Annotated[str | None, Field(description="The last image, as image")]
Seconds = Annotated[VideoTime | None, Field(description="Seconds of video (default: 5). A longer one costs more")]
Model = Annotated[ModelVersion | None, Field(description="The model, which decides the price: a2e-v2 costs more")]
Key = Annotated[
    str | None,
    Field(
        description="Only to make another video of the same arguments: a new name for it, such as 'second take'. "
        "The same name is never paid twice",
        min_length=1,
        max_length=200,
    ),
]
TaskId = Annotated[str, Field(description="The task_id that start_video has returned")]
MaxWait = Annotated[float, Field(description="Seconds to wait at most", gt=0, le=1800)]
Limit = Annotated[int, Field(description="Number of tasks", ge=1, le=100)]
FileName = Annotated[str | None, Field(description="A new file in the folder, ending with .mp4 (default: the task_id)")]


class VideoTask(BaseModel):
    """One video task at A2E.

    Attributes:
        task_id: A2E's id of the task.
        status: ``queued``, ``running``, ``succeeded`` or ``failed``.
        name: Its name at A2E, with the marker of the start.
        progress: Progress in per cent, None if unknown.
        coins: What it costs, None if unknown.
        created_at: When A2E accepted it (UTC, ISO 8601), or None.
        note: What to do next; may be empty.
    """

    task_id: str
    status: str
    name: str
    progress: float | None
    coins: float | None
    created_at: str | None
    note: str = ""


class PriceQuote(BaseModel):
    """Price of a video, by A2E's estimate.

    Attributes:
        coins: The estimate, None if A2E names none.
        coins_left: What is left of the spending limit.
    """

    coins: float | None
    coins_left: float


class AccountBalance(BaseModel):
    """Coins of the account and of the spending limit.

    Attributes:
        coins: Coins of the account, None if unknown.
        diamonds: Diamonds of the account, None if unknown.
        max_coins: The spending limit of this server.
        coins_spent: Coins that count for the limit; those of a start under way included.
        coins_left: What is left of the limit.
    """

    coins: float | None
    diamonds: float | None
    max_coins: float
    coins_spent: float
    coins_left: float


class DownloadedVideo(BaseModel):
    """A video on the disk.

    Attributes:
        path: The file.
        size: Bytes.
    """

    path: str
    size: int


class VideoTools:
    """Tools by which a language model makes videos: `start_video`, `wait_for_video`, `download_video` and others.

    Example::

        tools = VideoTools(A2EClient(), folder="videos", max_coins=300, journal="videos/mcp.sqlite")
        tools.server().run()

    In a server of yours, `add_to` adds them to your own tools. Open the client in the lifespan of that server.

    Attributes:
        folder: The folder of images and videos, with symbolic links resolved.
    """

    def __init__(
        self,
        a2e: A2EClient,
        *,
        folder: str | os.PathLike[str],
        max_coins: float,
        journal: str | os.PathLike[str] | None = None,
    ) -> None:
        """Check the settings; nothing is sent.

        Args:
            a2e: The client. Give it ``key_store=SQLiteKeyStore(journal)`` with the same file: then no crash makes a
                repeated call pay twice.
            folder: Images are read from it, and videos are written to it, subfolders included. Nothing outside of it
                can be reached.
            max_coins: The most coins that all starts may cost together. Uploads are not counted, because A2E does not
                publish their price.
            journal: An SQLite file in which the limit holds over restarts, and for several servers at once. It is made
                if it does not exist. One outside of `folder` cannot be read by the model. Without it, each server
                begins with `max_coins`.

        Raises:
            ConfigurationError: The folder does not exist, or `max_coins` is no number of coins.
        """
        is_number = isinstance(max_coins, int | float) and not isinstance(max_coins, bool)
        if not is_number or not 0 <= max_coins < math.inf:
            msg = f"max_coins must be a number of coins, not {max_coins!r}"
            raise ConfigurationError(msg)
        self.folder = pathlib.Path(os.path.realpath(folder))
        if not self.folder.is_dir():
            msg = f"The folder {os.fspath(folder)!r} does not exist: make it first"
            raise ConfigurationError(msg)
        self._a2e = a2e
        self._ledger = SpendingLedger(max_coins, journal)
        self._start_lock = asyncio.Lock()
        self._handles = dict[str, TaskHandle[ImageToVideoRecord]]()

    def server(self, name: str = "a2e") -> MCPServer[Any]:
        """Return an MCP server with these tools, which opens the client while it runs. It can be run as any other."""

        @contextlib.asynccontextmanager
        async def lifespan(_: MCPServer[Any]) -> AsyncIterator[None]:
            async with self._a2e:
                yield

        made = MCPServer[Any](name, instructions=_INSTRUCTIONS, version=VERSION, lifespan=lifespan, log_level="WARNING")
        self.add_to(made)
        return made

    def add_to(self, server: MCPServer[Any]) -> None:
        """Add the tools to a server, whose lifespan has to open the client."""
        reads = ToolAnnotations(read_only_hint=True)
        writes = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)
        _add(server, self.quote_video, reads)
        _add(server, self.start_video, writes)
        _add(server, self.get_video, reads)
        _add(server, self.wait_for_video, reads)
        _add(server, self.download_video, writes)
        _add(server, self.list_videos, reads)
        _add(server, self.get_balance, reads)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The ids of the tasks of this server that were not seen to end. They go on at A2E, and are paid."""
        return tuple(task_id for task_id, handle in self._handles.items() if not handle.status.is_final)

    async def start_video(
        self,
        *,
        image: ImageArgument,
        prompt: Prompt,
        negative_prompt: NegativePrompt = None,
        end_image: EndImage = None,
        video_time: Seconds = None,
        model_version: Model = None,
        idempotency_key: Key = None,
    ) -> VideoTask:
        """Start a video of an image and return its task at once. Costs coins.

        The same arguments return the same task, and cost nothing more. The video is not ready yet: call wait_for_video.
        """
        options: dict[str, Any] = {"prompt": prompt, "video_time": video_time, "model_version": model_version}
        if negative_prompt is not None:
            options["negative_prompt"] = negative_prompt
        for name, given in (("image", image), ("end_image", end_image)):
            if given is not None and given.lower().startswith(("http://", "https://")):
                options[f"{name}_url"] = given
            elif given is not None:
                options[name] = await self._inside(name, given)
        # a host may cancel the call, and a paid start must reach the ledger
        return await finish(self._start(options, idempotency_key))

    async def quote_video(
        self, video_time: Seconds = None, model_version: Model = None, *, has_end_image: bool = False
    ) -> PriceQuote:
        """Return the price of a video in coins, by A2E's estimate, and how many coins may still be spent. Free."""
        coins = await self._a2e.image_to_video.quote(
            prompt="a smile",
            video_time=video_time,
            model_version=model_version,
            end_image_url=INVENTED_LINK if has_end_image else None,
        )
        _, left = await self._spent_and_left()
        return PriceQuote(coins=coins, coins_left=left)

    async def get_video(self, task_id: TaskId) -> VideoTask:
        """Return the status of a video. Free."""
        return await self._show(await self._handle(task_id).refresh())

    async def wait_for_video(self, task_id: TaskId, ctx: Context[Any, Any], timeout: MaxWait = 50) -> VideoTask:  # noqa: ASYNC109
        """Wait until a video is finished, and return its status. Free. If it is not finished in time, call it again."""
        handle, loop = self._handle(task_id), asyncio.get_running_loop()
        began = loop.time()
        waiting = asyncio.create_task(handle.wait_until_done(timeout), name=f"a2e-mcp-wait-{task_id}")
        try:
            while not (await asyncio.wait([waiting], timeout=_HEARTBEAT))[0]:
                done = "" if handle.record.progress is None else f", {handle.record.progress:g} %"
                await ctx.report_progress(loop.time() - began, timeout, f"{handle.status.value}{done}")
            waiting.result()
        except WaitTimeoutError:
            return await self._show(handle.record, "It is not finished yet: call wait_for_video again")
        except A2EError:
            await self._ledger.record(handle.record)
            raise
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        return await self._show(handle.record)

    async def list_videos(self, limit: Limit = 10) -> list[VideoTask]:
        """List the latest video tasks of the account, usually the newest first. Free. A new one can be late."""
        found = list[VideoTask]()
        async with contextlib.aclosing(self._a2e.image_to_video.list(page_size=limit)) as records:  # type: ignore[type-var]  # a generator
            async for record in records:
                found.append(_to_task(record))
                if len(found) == limit:
                    break
        return found

    async def download_video(self, task_id: TaskId, file_name: FileName = None) -> DownloadedVideo:
        """Download a finished video to a new file in the folder of this server. Free. No file is ever replaced."""
        path = await self._inside("file_name", safe_name(task_id, ".mp4") if file_name is None else file_name)
        if path.suffix.lower() != ".mp4":
            msg = "file_name must end with .mp4"
            raise InvalidRequestError(msg)
        written = await self._handle(task_id).download(path)
        size = (await asyncio.to_thread(written.stat)).st_size
        return DownloadedVideo(path=str(written), size=size)

    async def get_balance(self) -> AccountBalance:
        """Return the coins of the account, and how many of them may still be spent. Free."""
        balance = await self._a2e.account.balance()
        spent, left = await self._spent_and_left()
        return AccountBalance(
            coins=balance.coins,
            diamonds=balance.diamonds,
            max_coins=self._ledger.limit,
            coins_spent=spent,
            coins_left=left,
        )

    async def _inside(self, name: str, text: str) -> pathlib.Path:
        """Return a path in the folder, with symbolic links resolved.

        Raises:
            InvalidRequestError: It leads out of the folder.
        """
        try:
            path = pathlib.Path(await asyncio.to_thread(os.path.realpath, self.folder / text))
        except (OSError, ValueError) as error:
            msg = f"{name} is not a path: {error}"
            raise InvalidRequestError(msg) from error
        if not path.is_relative_to(self.folder):
            msg = f"{name} must be in the folder {str(self.folder)!r}, and leads out of it"
            raise InvalidRequestError(msg)
        return path

    async def _start(self, options: dict[str, Any], key: str | None) -> VideoTask:
        """Start a video, unless the key has a task."""
        resource = self._a2e.image_to_video
        api = resource._batch_api()  # noqa: SLF001  what a batch uses
        prepared = await api.prepare(Job(key="video", **options))
        request = await _request_hash(options, prepared)
        key = request[:32] if key is None else key
        # The true price of a start is known when the next one is checked.
        async with self._start_lock:
            entry = (await self._ledger.entries()).get(key)
            if entry is not None and entry.request != request:
                msg = f"idempotency_key {key!r} belongs to another video. Choose another one for this video"
                raise InvalidRequestError(msg)
            if entry is not None and entry.task_id is not None:
                handle = self._handles[entry.task_id] = self._handle(entry.task_id)
                record = await handle.refresh()
                has_failed = record.status is TaskStatus.FAILED
                return await self._show(record, "" if has_failed else "It was started before: nothing was paid now")
            if entry is None:
                await self._settle(api)
                quote = None
                with contextlib.suppress(A2EError):  # it is unknown then; the start will raise the same error
                    quote = await api.quote(prepared)
                kind = json.dumps([api.base_url, prepared.price_key])
                sent_at = await api.latest_time()
                await self._ledger.reserve(Spending(key=key, kind=kind, request=request, sent_at=sent_at, quote=quote))
            try:
                handle = await resource.start(**options, idempotency_key=key)
            except A2EError as error:
                # an entry of an earlier call stays: this call may know less than that one
                if entry is None and failure_of(error).outcome is not StartOutcome.UNKNOWN:
                    await self._ledger.remove(key)
                raise
            self._handles[handle.id] = handle
            await self._ledger.record(handle.record, key)
        note = "A2E had this task already: nothing was started" if handle.adopted else "Call wait_for_video now"
        return _to_task(handle.record, note)

    async def _settle(self, api: BatchApi[ImageToVideoRecord]) -> None:
        """Find out what is unknown about earlier starts: the cost, or whether A2E has accepted them."""
        for entry in (await self._ledger.entries()).values():
            if entry.is_settled:
                continue
            with contextlib.suppress(A2EError):
                if entry.task_id is not None:
                    with contextlib.suppress(NotFoundError):
                        await self._show(await self._handle(entry.task_id).refresh())
                    continue
                found, verdict, age = await api.reconcile(
                    marker_for_key(entry.key),
                    entry.sent_at,
                    waited=max(0.0, time.time() - entry.sent_at),
                    settle_time=_LOST_FACTOR * api.settle_time,
                )
                if found is not None:
                    await self._ledger.record(found.record, entry.key)
                elif may_restart(is_absent=verdict is Verdict.ABSENT, age=age, resend=False):
                    await self._ledger.remove(entry.key)

    def _handle(self, task_id: str) -> TaskHandle[ImageToVideoRecord]:
        return self._handles.get(task_id) or self._a2e.image_to_video.task(task_id)

    async def _show(self, record: ImageToVideoRecord, note: str = "") -> VideoTask:
        """Return a record for the model, and keep its cost."""
        await self._ledger.record(record)
        return _to_task(record, note)

    async def _spent_and_left(self) -> tuple[float, float]:
        spent = committed((await self._ledger.entries()).values(), self._ledger.limit)
        return spent, max(0.0, self._ledger.limit - spent)


def _to_task(record: ImageToVideoRecord, note: str = "") -> VideoTask:
    status = record.status.value
    if not note and status == "succeeded":
        note = "Call download_video to get the file. A2E keeps it for about 3 days"
    if not note and status == "failed":
        reason = redact(record.failed_message or record.failed_code or "no reason given")
        note = f"It failed: {escape_controls(reason)}. Another try costs coins again, and needs a new idempotency_key"
    return VideoTask(
        task_id=record.id,
        status=status,
        name=escape_controls(record.name),
        progress=record.progress,
        coins=record.coins,
        created_at=None if record.created_at is None else record.created_at.isoformat(),
        note=note,
    )


async def _request_hash(options: Mapping[str, Any], prepared: PreparedStart) -> str:
    """Return a hash of all that decides how the video looks; the place of an image's file does not matter."""
    images = dict[str, object]()
    for name, value in prepared.inputs.items():
        assert not isinstance(value, list)  # noqa: S101  for mypy: other families have lists
        images[name] = image_identity(await asyncio.to_thread(fingerprint, value))
    texts = {name: value for name, value in options.items() if "image" not in name}
    return hashlib.sha256(json.dumps([images, texts], sort_keys=True).encode()).hexdigest()


def _add(server: MCPServer[Any], function: Callable[P, Awaitable[T]], annotations: ToolAnnotations) -> None:
    """Add a tool, whose errors the model can read, with what to do next in the words of the tools."""

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except A2EError as error:
            later = ". It may succeed if you repeat this call later" if error.retryable else ""
            msg = f"{escape_controls(error.describe(_ADVICE))}{later}"
            raise ToolError(msg) from None

    server.add_tool(call, description=inspect.cleandoc(function.__doc__ or ""), annotations=annotations)
