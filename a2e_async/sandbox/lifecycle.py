"""The life of a task: waiting, being worked on, then its end, in the words of its family (reference 1.12).

Whoever asked for it is told that a task has ended: one POST, one attempt (reference 1.11).

Nobody waits for a webhook, and whatever a receiver does with it, the task and the sandbox stay as they are.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

import aiohttp
from attrs import define, field

from a2e_async.sandbox.faults.schedule import Sky
from a2e_async.sandbox.media.renderer import Studio
from a2e_async.sandbox.media.storage import BUCKET, PictureError, Storage, StoredObject
from a2e_async.sandbox.state import Options, SandboxError, SentWebhook, State, Task
from a2e_async.sandbox.tasks.scenarios import Delivery

_LOG: Final = logging.getLogger(__name__)

TOKEN_HEADER: Final = "X-A2e-Webhook-Token"  # noqa: S105  (the name of a header)

# Both limits are unpublished; they keep silent receivers from piling up.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
_AT_ONCE: Final = 50


def _new_session() -> aiohttp.ClientSession:
    """Open a session of its own: a kept connection that the receiver has closed would cost the only attempt."""
    connector = aiohttp.TCPConnector(force_close=True)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT)


@define(kw_only=True, eq=False)
class Messenger:
    """Sends webhooks in the order in which tasks end, a bounded number of them at a time."""

    state: State
    sky: Sky
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _session: aiohttp.ClientSession = field(factory=_new_session, init=False)
    _line: deque[Task] = field(factory=deque, init=False)
    _couriers: "list[asyncio.Task[None]]" = field(factory=list, init=False)

    def tell(self, task: Task) -> None:
        """Send the webhook of a task that has just ended, if its start asked for one. Returns at once."""
        if not task.order.webhook_url or self.sky.loses_webhook():
            return
        self._line.append(task)
        self._couriers = [courier for courier in self._couriers if not courier.done()]
        if len(self._couriers) < _AT_ONCE:
            self._couriers.append(self._loop.create_task(self._work(), name="a2e-sandbox-webhooks"))

    async def aclose(self) -> None:
        """Stop: what is under way is broken off, what waits is never sent."""
        for courier in self._couriers:
            courier.cancel()
        await asyncio.gather(*self._couriers, return_exceptions=True)
        await self._session.close()

    async def _work(self) -> None:
        """Send until nobody waits in line any more."""
        while self._line:
            task = self._line.popleft()
            if not task.deleted:
                await self._send(task)

    async def _send(self, task: Task) -> None:
        """Make the one attempt, and note it."""
        event, status = f"task.{'failed' if task.failed else 'completed'}", 0
        try:
            status = await self._post(task, event)
        except Exception as error:  # noqa: BLE001  (whatever goes wrong at a receiver is no trouble of the sandbox)
            # No more than this: addresses and texts of errors may hold secrets.
            _LOG.debug("the webhook of task %s was not answered: %s", task.id, type(error).__name__)
        finally:
            self.state.webhooks.append(SentWebhook(task_id=task.id, event=event, status=status))

    async def _post(self, task: Task, event: str) -> int:
        """Return the status of the receiver's answer; its body is of no interest."""
        order = task.order
        headers = {TOKEN_HEADER: order.webhook_token} if order.webhook_token else {}
        # A guess: the payload is unpublished (reference 15), only the names of the events are known.
        payload = {"event": event, "data": task.record()}
        async with self._session.post(
            order.webhook_url, json=payload, headers=headers, allow_redirects=False
        ) as answer:
            return answer.status


Failure: TypeAlias = tuple[str, str]  # failed_code, failed_message

NOT_GENERATED: Final = "The video could not be generated."

# Seconds at speed 1. The vendor speaks of "within 10 minutes" (reference 1.14); a demo should not take as long.
_QUEUED: Final = 2.0  # all words of waiting together
_WORK: Final = (20.0, 40.0)
_CLOSING: Final = 0.5  # each word of work after the first


@define(kw_only=True)
class Life:
    """Leads every task from its start to its end, each in an asyncio task of its own."""

    options: Options
    state: State
    storage: Storage
    studio: Studio
    messenger: Messenger
    _random: random.Random = field(init=False)
    _running: dict[str, "asyncio.Task[None]"] = field(factory=dict, init=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.get_running_loop, init=False)
    _holds: int = field(default=0, init=False)
    _released: asyncio.Event = field(factory=asyncio.Event, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Seed the durations. They are no secret, so the plain generator will do."""
        self._random = random.Random(self.options.seed)  # noqa: S311

    def begin(self, task: Task) -> None:
        """Let a task live."""
        self._run(task, self._live(task, self.draw_work()))

    def draw_work(self) -> float:
        """Draw how long the next task is pending, in seconds at speed 1."""
        return self._random.uniform(*_WORK)

    def end(self, task: Task) -> None:
        """Stop a task that was deleted."""
        if running := self._running.get(task.id):
            running.cancel()

    async def ended(self, task: Task) -> None:
        """Wait until a task lives no more, or return at once while tasks are held."""
        while not self._holds and (running := self._running.get(task.id)):
            await asyncio.wait([running])

    def finish(self, task: Task) -> None:
        """Make the result of a task now, and end it well then."""
        self._check_open()
        self.end(task)
        self._run(task, self._finish(task))

    def fail(self, task: Task, code: str, message: str) -> None:
        """End a task badly, at once."""
        self._check_open()
        self.end(task)
        self._fail(task, code, message)
        self.messenger.tell(task)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let no task reach its next status inside of the block."""
        self._holds += 1
        self._released.clear()
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._released.set()

    async def aclose(self) -> None:
        """Stop all tasks, wherever they are."""
        self._closed = True
        running = list(self._running.values())
        for life in running:
            life.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _check_open(self) -> None:
        if self._closed:
            message = "the sandbox is closed: its tasks cannot change"
            raise SandboxError(message)

    def _run(self, task: Task, steps: Coroutine[None, None, None]) -> None:
        """Lead a task in an asyncio task, which may follow one that was cancelled."""
        life = self._loop.create_task(steps, name=f"a2e-sandbox-{task.id}")
        self._running[task.id] = life

        def forget(_: "asyncio.Task[None]") -> None:
            if self._running.get(task.id) is life:
                del self._running[task.id]

        life.add_done_callback(forget)

    async def _live(self, task: Task, work: float) -> None:
        pace = 1.0 if task.order.fate.pace is None else task.order.fate.pace
        queueing_pace = pace if pace < float("inf") else 1.0  # a stuck task hangs where the work is
        words = task.order.family.words
        for next_word in (*words.queued[1:], words.working[0]):
            await self._wait(_QUEUED / len(words.queued) * queueing_pace)
            task.become(next_word)
        if pace < float("inf"):
            await self._work(task, work * pace, _CLOSING * pace)
            self.messenger.tell(task)

    async def _wait(self, seconds: float) -> None:
        await self._sleep(seconds / self.options.speed)

    async def _sleep(self, seconds: float) -> None:
        """Wait; what is held waits longer."""
        await asyncio.sleep(seconds)
        while self._holds:
            await self._released.wait()

    async def _work(self, task: Task, seconds: float, closing: float) -> None:
        """Make the result while the time passes, so that it exists before the end is shown."""
        clock = asyncio.get_running_loop()
        until = clock.time() + seconds / self.options.speed
        failure = task.order.fate.failure
        results, broken = ([], None) if failure else await self._made(task)
        if broken:
            await self._sleep(0)
            self._fail(task, *broken)
            return
        await self._sleep(until - clock.time())
        for word in task.order.family.words.working[1:]:
            task.become(word)
            await self._wait(closing)
        if failure:
            self._fail(task, *failure)
        else:
            task.complete(*results)

    async def _finish(self, task: Task) -> None:
        """Make the result, and end without any wait."""
        results, broken = await self._made(task)
        if broken:
            self._fail(task, *broken)
        else:
            task.complete(*results)
        self.messenger.tell(task)

    async def _made(self, task: Task) -> tuple[list[str], Failure | None]:
        """Make the results; also tell why that was not possible."""
        try:
            return await self._results(task), None
        except PictureError as error:
            return [], (error.code, str(error))
        except Exception:  # noqa: BLE001  (logged, and told to the caller)
            # Whatever breaks in a codec must not leave the caller waiting for ever.
            _LOG.exception("the sandbox could not render task %s", task.id)
            return [], ("generation_error", NOT_GENERATED)

    def _fail(self, task: Task, code: str, message: str) -> None:
        """End a task badly; a few families give its coins back then."""
        task.fail(code, message)
        if task.coins and "failed" in task.order.family.refunds:
            self.state.refund(task)

    async def _results(self, task: Task) -> list[str]:
        """Make the results and give them their links; the path holds the account's id (reference 1.9)."""
        delivery = task.order.fate.delivery
        folder = f"{BUCKET}/adam2eve/prod/user/{self.state.user_id}/{task.order.family.prefix.removeprefix('user')}"
        links = []
        for number, made in enumerate(await self.studio.make(task.order)):
            stored = StoredObject(path=made.path, content_type=made.content_type, delivery=delivery)
            name = task.id if number == 0 else f"{task.id}-{number}"
            links.append(self.storage.store(f"{folder.lower()}/{name}{made.suffix}", stored))
        return links


def is_listed(task: Task) -> bool:
    """Some lists show only records whose result has not expired (reference 9.3)."""
    expired = task.succeeded and task.order.fate.delivery is Delivery.EXPIRED
    return not (expired and task.order.family.forgets_expired)
