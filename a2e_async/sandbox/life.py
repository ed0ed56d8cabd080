"""The life of a task: initialized, sent, pending, then completed or failed (reference 1.12 and 9.2)."""

import asyncio
import logging
import random
from typing import Final

from attrs import define, field

from a2e_async.sandbox.fates import Delivery
from a2e_async.sandbox.options import Options
from a2e_async.sandbox.pictures import PictureError
from a2e_async.sandbox.state import State, Task
from a2e_async.sandbox.storage import BUCKET, Storage, StoredObject
from a2e_async.sandbox.studio import Studio
from a2e_async.sandbox.webhooks import Messenger

_LOG: Final = logging.getLogger(__name__)

# Seconds at speed 1. The vendor speaks of "within 10 minutes" (reference 1.14); a demo should not take as long.
_QUEUED: Final = 1.0
_SENT: Final = 1.0
_WORK: Final = (20.0, 40.0)


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

    def __attrs_post_init__(self) -> None:
        """Seed the durations. They are no secret, so the plain generator will do."""
        self._random = random.Random(self.options.seed)  # noqa: S311

    def begin(self, task: Task) -> None:
        """Let a task live."""
        life = asyncio.create_task(self._live(task, self.draw_work()), name=f"a2e-sandbox-{task.id}")
        self._running[task.id] = life
        life.add_done_callback(lambda _: self._running.pop(task.id, None))

    def draw_work(self) -> float:
        """Draw how long the next task is pending, in seconds at speed 1."""
        return self._random.uniform(*_WORK)

    def end(self, task: Task) -> None:
        """Stop a task that was deleted."""
        if running := self._running.get(task.id):
            running.cancel()

    async def aclose(self) -> None:
        """Stop all tasks, wherever they are."""
        running = list(self._running.values())
        for life in running:
            life.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _live(self, task: Task, work: float) -> None:
        pace = 1.0 if task.order.fate.pace is None else task.order.fate.pace
        queueing_pace = pace if pace < float("inf") else 1.0  # a stuck task hangs where the work is
        await self._wait(_QUEUED * queueing_pace)
        task.become("sent")
        await self._wait(_SENT * queueing_pace)
        task.become("pending")
        if pace < float("inf"):
            await self._work(task, work * pace)
            self.messenger.tell(task)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.options.speed)

    async def _work(self, task: Task, seconds: float) -> None:
        """Render while the time passes, so that a result exists before `completed` is shown."""
        clock = asyncio.get_running_loop()
        until = clock.time() + seconds / self.options.speed
        try:
            result = "" if task.order.fate.failure else await self._result(task)
        except PictureError as error:
            task.fail(error.code, str(error))
            return
        except Exception:  # noqa: BLE001  (logged, and told to the caller)
            # Whatever breaks in a codec must not leave the caller waiting for ever.
            _LOG.exception("the sandbox could not render task %s", task.id)
            task.fail("generation_error", "The video could not be generated.")
            return
        await asyncio.sleep(until - clock.time())
        if task.order.fate.failure:
            task.fail(*task.order.fate.failure)
        else:
            task.complete(result)

    async def _result(self, task: Task) -> str:
        """Make the video and give it its link; the path holds the account's id (reference 1.9)."""
        path = await self.studio.make(task.order)
        stored = StoredObject(path=path, content_type="video/mp4", delivery=task.order.fate.delivery)
        return self.storage.store(f"{BUCKET}/adam2eve/prod/user/{self.state.user_id}/image2video/{task.id}.mp4", stored)


def is_listed(task: Task) -> bool:
    """Lists show only records whose result has not expired (reference 9.3)."""
    return not (task.status == "completed" and task.order.fate.delivery is Delivery.EXPIRED)
