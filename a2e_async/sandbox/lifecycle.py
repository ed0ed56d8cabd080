"""Lifecycle of tasks: queued, working, ended, in the words of their family (reference 1.12); and their webhooks.

How it works
------------
Each task runs in an asyncio task of its own, which is cancelled by `stop`, `finish` and `fail`:

1. It passes the queued words of its family, then its working words. Durations are divided by the option `speed`.
2. The result is rendered while the working time passes, so that it exists before the end is shown.
3. The last status and the result URL appear in one step.
4. The end puts one webhook into the queue of the sender, if the start asked for one (reference 1.11).

While `hold` is open, a step that is due waits for the end of the block. A webhook is sent once, in its own asyncio
task: a slow or broken receiver changes neither the task nor the sandbox.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import aiohttp
from attrs import Factory, define, field

from a2e_async.sandbox.faults.schedule import FaultInjector
from a2e_async.sandbox.media.renderer import Renderer
from a2e_async.sandbox.media.storage import BUCKET, ImageError, Storage, StoredObject
from a2e_async.sandbox.network import make_connector
from a2e_async.sandbox.state import Options, SandboxError, SentWebhook, State, Task
from a2e_async.sandbox.tasks.scenarios import Delivery

_LOG: Final = logging.getLogger(__name__)

AUTH_HEADER: Final = "X-A2e-Webhook-Token"

# Both limits are unpublished. They bound the number of requests that wait for silent receivers.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_MAX_CONCURRENT: Final = 50


def _new_session(sender: "WebhookSender") -> aiohttp.ClientSession:
    # No connection is kept: one that the receiver has closed meanwhile would fail the only attempt.
    connector = make_connector(public_only=sender.public_only, force_close=True)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT)


@define(kw_only=True, eq=False)
class WebhookSender:
    """Sender of webhooks: in the order in which tasks end, and at most 50 at a time."""

    state: State
    injector: FaultInjector
    public_only: bool  # whether webhooks go to public addresses only
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _session: aiohttp.ClientSession = field(default=Factory(_new_session, takes_self=True), init=False)
    _queue: deque[Task] = field(factory=deque, init=False)
    _workers: "list[asyncio.Task[None]]" = field(factory=list, init=False)

    def enqueue(self, task: Task) -> None:
        """Queue the webhook of a task that has just ended, if its start asked for one."""
        if not task.start.webhook_url or self.injector.loses_webhook():
            return
        self._queue.append(task)
        self._workers = [worker for worker in self._workers if not worker.done()]
        if len(self._workers) < _MAX_CONCURRENT:
            self._workers.append(self._loop.create_task(self._work(), name="a2e-sandbox-webhooks"))

    async def aclose(self) -> None:
        """Cancel the requests that are under way, and drop the queued webhooks."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._session.close()

    async def _work(self) -> None:
        """Send until the queue is empty."""
        while self._queue:
            task = self._queue.popleft()
            if not task.deleted:
                await self._send(task)

    async def _send(self, task: Task) -> None:
        """Make the one attempt, and record it."""
        event, status = f"task.{'failed' if task.failed else 'completed'}", 0
        try:
            status = await self._post(task, event)
        except Exception as error:  # noqa: BLE001  (no fault of a receiver is an error of the sandbox)
            # Only the type is logged: addresses and texts of errors may contain secrets.
            _LOG.debug("the webhook of task %s was not answered: %s", task.id, type(error).__name__)
        finally:
            self.state.webhooks.append(SentWebhook(task_id=task.id, event=event, status=status))

    async def _post(self, task: Task, event: str) -> int:
        """Return the status of the receiver's answer; its body is ignored."""
        start = task.start
        headers = {AUTH_HEADER: start.webhook_token} if start.webhook_token else {}
        # A guess: the payload is unpublished (reference 15), only the names of the events are known.
        payload = {"event": event, "data": task.record()}
        async with self._session.post(
            start.webhook_url, json=payload, headers=headers, allow_redirects=False
        ) as response:
            return response.status


Failure: TypeAlias = tuple[str, str]  # failed_code, failed_message

NOT_GENERATED: Final = "The video could not be generated."

# Seconds at speed 1. A2E says "within 10 minutes" (reference 1.14); a demo should not take as long.
_QUEUED_TIME: Final = 2.0  # all queued words together
_WORKING_TIME: Final = (20.0, 40.0)
_CLOSING_TIME: Final = 0.5  # each working word after the first


def _set(waiter: "asyncio.Future[bool]", ended: bool) -> None:  # noqa: FBT001  (a callback of the event loop)
    if not waiter.done():
        waiter.set_result(ended)


@define(kw_only=True)
class Lifecycle:
    """Lifecycle of all tasks of one sandbox."""

    options: Options
    state: State
    storage: Storage
    renderer: Renderer
    webhook_sender: WebhookSender
    _random: random.Random = field(init=False)
    _speed: float = field(init=False)
    _waiting: "set[asyncio.Future[bool]]" = field(factory=set, init=False)  # for the end of a step
    _running: dict[str, "asyncio.Task[None]"] = field(factory=dict, init=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _holds: int = field(default=0, init=False)
    _released: asyncio.Event = field(factory=asyncio.Event, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Seed the durations."""
        self._speed = self.options.speed
        self._random = random.Random(self.options.seed)  # noqa: S311  (durations are no secret)

    @property
    def speed(self) -> float:
        """How many times faster than at A2E a task ends."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._speed = speed
        for waiter in self._waiting:  # each waits for the rest of its time at the new speed
            _set(waiter, ended=False)

    @property
    def running(self) -> int:
        """The number of tasks that have not ended."""
        return len(self._running)

    @property
    def is_held(self) -> bool:
        """Whether a block of `hold` is open."""
        return self._holds > 0

    def begin(self, task: Task) -> None:
        """Run a task in the background."""
        self._run(task, self._run_to_end(task, self.draw_working_time()))

    def draw_working_time(self) -> float:
        """Draw the working time of the next task, in seconds at speed 1."""
        return self._random.uniform(*_WORKING_TIME)

    def stop(self, task: Task) -> None:
        """Stop a task."""
        if running := self._running.get(task.id):
            running.cancel()

    async def wait_until_ended(self, task: Task) -> None:
        """Wait for the end of a task, but return at once while tasks are held."""
        while not self._holds and (running := self._running.get(task.id)):
            await asyncio.wait([running])

    def finish(self, task: Task) -> None:
        """Render the result of a task now, and then let it succeed."""
        self._check_open()
        self.stop(task)
        self._run(task, self._finish(task))

    def fail(self, task: Task, code: str, message: str) -> None:
        """Let a task fail at once."""
        self._check_open()
        self.stop(task)
        self._fail(task, code, message)
        self.webhook_sender.enqueue(task)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep every task at its status inside of the block."""
        self._holds += 1
        self._released.clear()
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._released.set()

    async def aclose(self) -> None:
        """Stop all tasks."""
        self._closed = True
        running = list(self._running.values())
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _check_open(self) -> None:
        if self._closed:
            message = "the sandbox is closed: its tasks cannot change any more"
            raise SandboxError(message)

    def _run(self, task: Task, steps: Coroutine[None, None, None]) -> None:
        """Run a task in an asyncio task, which may replace a cancelled one."""
        running = self._loop.create_task(steps, name=f"a2e-sandbox-{task.id}")
        self._running[task.id] = running

        def forget(_: "asyncio.Task[None]") -> None:
            if self._running.get(task.id) is running:  # a cancelled one ends after the one that replaced it
                del self._running[task.id]

        running.add_done_callback(forget)

    async def _run_to_end(self, task: Task, working_time: float) -> None:
        pace = 1.0 if task.start.scenario.pace is None else task.start.scenario.pace
        queued_pace = pace if pace < float("inf") else 1.0  # #stuck tasks hang while working
        words = task.start.family.words
        course = (*words.queued, words.working[0])
        # A task of an earlier run of the sandbox continues at its status.
        position = course.index(task.status) if task.status in course else len(course)
        for next_word in course[position + 1 :]:
            await self._wait(_QUEUED_TIME / len(words.queued) * queued_pace)
            task.set_status(next_word)
        if pace < float("inf"):
            await self._work(task, working_time * pace, _CLOSING_TIME * pace)
            self.webhook_sender.enqueue(task)

    async def _wait(self, seconds: float) -> None:
        """Wait for some seconds at speed 1, and then until no block of `hold` is open."""
        ended = False
        while not ended:
            began, speed = self._loop.time(), self._speed
            waiter = self._loop.create_future()
            self._waiting.add(waiter)
            timer = self._loop.call_later(max(0.0, seconds / speed), _set, waiter, True)
            try:
                ended = await waiter
            finally:
                timer.cancel()
                self._waiting.discard(waiter)
            seconds -= (self._loop.time() - began) * speed
        while self._holds:
            await self._released.wait()

    async def _work(self, task: Task, seconds: float, closing: float) -> None:
        """Render the results while the working time passes, then end the task."""
        began = self._loop.time()
        failure = task.start.scenario.failure
        results, input_failure = ([], None) if failure else await self._render(task)
        if input_failure:
            await self._wait(0)
            self._fail(task, *input_failure)
            return
        await self._wait(seconds - (self._loop.time() - began) * self._speed)
        for word in task.start.family.words.working[1:]:
            task.set_status(word)
            await self._wait(closing)
        if failure:
            self._fail(task, *failure)
        else:
            task.complete(*results)

    async def _finish(self, task: Task) -> None:
        """Render the results, and end the task without any wait."""
        results, failure = await self._render(task)
        if failure:
            self._fail(task, *failure)
        else:
            task.complete(*results)
        self.webhook_sender.enqueue(task)

    async def _render(self, task: Task) -> tuple[list[str], Failure | None]:
        """Return the URLs of the results, or no URLs and the reason."""
        try:
            return await self._store_results(task), None
        except ImageError as error:
            return [], (error.code, str(error))
        except Exception:  # noqa: BLE001  (logged, and shown in the failed task)
            # A codec can raise anything, and its task must end all the same.
            _LOG.exception("the sandbox could not render task %s", task.id)
            return [], ("generation_error", NOT_GENERATED)

    def _fail(self, task: Task, code: str, message: str) -> None:
        """Let a task fail."""
        task.fail(code, message)
        # Whether A2E refunds failed tasks is mostly unpublished (reference 15); the table names the few known families.
        if task.coins and "failed" in task.start.family.refunds:
            self.state.refund(task)

    async def _store_results(self, task: Task) -> list[str]:
        """Render the results, and return their URLs. The path contains the id of the account (reference 1.9)."""
        delivery = task.start.scenario.delivery
        folder = f"{BUCKET}/adam2eve/prod/user/{self.state.user_id}/{task.start.family.prefix.removeprefix('user')}"
        urls = []
        for number, file in enumerate(await self.renderer.render(task.start)):
            stored = StoredObject(path=file.path, content_type=file.content_type, delivery=delivery)
            name = task.id if number == 0 else f"{task.id}-{number}"
            urls.append(self.storage.store(f"{folder.lower()}/{name}{file.suffix}", stored))
        return urls


def is_listed(task: Task) -> bool:
    """Tell whether lists show a task. Some lists hide a result that has expired (reference 9.3)."""
    expired = task.succeeded and task.start.scenario.delivery is Delivery.EXPIRED
    return not (expired and task.start.family.hides_expired)
