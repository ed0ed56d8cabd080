"""Asks how several tasks of one family are doing, so that what goes wrong with one of them touches no other.

What is not answered together is asked about in halves, by way of A2E's list, or one by one. What an answer means is
decided by `_polling/schedule.py`; who waits, and when to ask, is none of its business.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

import attrs

from a2e_async._polling.bisection import Halving
from a2e_async._polling.schedule import BATCH, Meaning, Route, meaning
from a2e_async.errors import A2EError
from a2e_async.models.common import TaskRecord

__all__ = ["Answer", "Hear", "Inquiry", "Questions"]

R = TypeVar("R", bound=TaskRecord)

Answer: TypeAlias = "TaskRecord | A2EError | None"
"""What was heard of a task: its record, trouble, or nothing, although A2E did answer."""

Hear: TypeAlias = "Callable[[str, Answer], None]"
"""Takes the id of a task and what was heard of it."""

_MISSES = 3
"""Times that a task is missing from an answer, or goes without one, until it is asked about otherwise."""

_LITTLE = 0.3
"""What being turned away counts instead of a miss: it is hardly ever about the tasks."""

_APART = 600.0
"""Seconds for which a task that spoils every question is asked about alone."""

_PROBE_EVERY = 10.0
"""Seconds between two tries to find out, by asking about one task alone, whether it is A2E that does not answer."""

_GOLDEN = 0.618034
"""Of a question, how far from one probe to the next, since broken tasks can be neighbours."""

_READ = 5000
"""Tasks looked for in one reading of A2E's list."""


@attrs.define(eq=False, repr=False)
class Questions(Generic[R]):
    """What a family of tasks can be asked.

    Attributes:
        one: Reads the record of a task.
        several: Reads several records with one request, by their ids; what A2E does not show is missing. None if the
            family has no such operation.
        page: Reads a page of the list, counted from 1, with `BATCH` records; an empty one is behind the last. None if
            the family has no list.
    """

    one: Callable[[str], Awaitable[R]]
    several: Callable[[list[str]], Awaitable[Mapping[str, R]]] | None = None
    page: Callable[[int], Awaitable[Mapping[str, R]]] | None = None


@attrs.define(eq=False, repr=False)
class _Round:
    """One round of questions: who is told, who is asked about alone or in line again, how many pages they are on."""

    hear: Hear
    pages: int
    again: list[str] = attrs.field(factory=list)
    back: list[str] = attrs.field(factory=list)

    def tell(self, ids: Iterable[str], trouble: A2EError) -> None:
        """Tell of trouble."""
        for task_id in ids:
            self.hear(task_id, trouble)


@attrs.define(eq=False, repr=False)
class Inquiry(Generic[R]):
    """Asks about the tasks of one family. Remembers only those that there was trouble with."""

    questions: Questions[R]
    _route: Route = attrs.field(factory=Route)
    _misses: dict[str, float] = attrs.field(factory=dict)
    _alone: set[str] = attrs.field(factory=set)
    _apart: dict[str, float] = attrs.field(factory=dict)
    _probed_at: float = -math.inf
    _probes: int = 0
    _clock: Callable[[], float] = attrs.field(factory=lambda: asyncio.get_running_loop().time)

    def choose(self, due: Iterable[str]) -> list[str]:
        """Return which of the tasks that are due (at least one) to `ask` about next."""
        due = iter(due)
        first = next(due)
        if self._goes_alone(first):
            return [first]
        together = due if not (self._alone or self._apart) else itertools.filterfalse(self._goes_alone, due)
        return [first, *itertools.islice(together, self._most() - 1)]

    def _goes_alone(self, task_id: str) -> bool:
        if self._clock() >= self._apart.get(task_id, math.inf):
            del self._apart[task_id]
        return task_id in self._alone or task_id in self._apart

    def _most(self) -> int:
        if self._is_open:
            return self._route.size
        return 1 if self.questions.page is None else _READ

    @property
    def _is_open(self) -> bool:
        return self.questions.several is not None and self._route.is_open(self._clock())

    async def ask(self, ids: list[str], hear: Hear, *, waiting: int = 0) -> list[str]:
        """Ask about tasks, and tell what is heard of each.

        Args:
            ids: The tasks.
            hear: Is told of each.
            waiting: How many tasks are waited for in all, which says how far back in A2E's list these can be.

        Returns:
            The tasks that nothing was told of, because they have to be asked about in another way, at once.
        """
        ids = [*ids]
        now = _Round(hear, math.ceil(max(waiting, len(ids)) / BATCH) + 1)
        if len(ids) == 1:
            hear(ids[0], await self._ask_alone(ids[0]))
        elif self._is_open and len(ids) <= self._route.size:
            await self._ask_together(ids, now)
        else:
            await self._look_up(ids, now)
        self._alone.update(now.again)
        return now.again + now.back

    def forget(self, task_id: str) -> None:
        """Forget a task that nobody waits for any more."""
        if self._misses or self._alone or self._apart:
            self._misses.pop(task_id, None)
            self._alone.discard(task_id)
            self._apart.pop(task_id, None)

    # one

    async def _ask_alone(self, task_id: str) -> R | A2EError:
        was_missing = task_id in self._alone and self._misses.get(task_id, 0.0) >= _MISSES
        self._alone.discard(task_id)
        answer = await self._one(task_id)
        if was_missing and isinstance(answer, TaskRecord):
            self._misses[task_id] = _MISSES - 1  # back into the crowd, and alone again if it is missing there still
            if self._route.is_doubtful:
                self._route.close(self._clock())
        return answer

    async def _one(self, task_id: str) -> R | A2EError:
        try:
            return await self.questions.one(task_id)
        except A2EError as error:
            return error

    async def _probe(self, ids: list[str], now: _Round) -> bool:
        """Ask about one of them alone, each time another, and not too often; return whether A2E has answered."""
        if self._clock() < self._probed_at + _PROBE_EVERY:
            return False
        self._probed_at, self._probes = self._clock(), self._probes + 1
        chosen = ids[int(self._probes * _GOLDEN % 1 * len(ids))]
        answer = await self._one(chosen)
        if not isinstance(answer, TaskRecord):
            return False
        ids.remove(chosen)
        now.hear(chosen, answer)
        return True

    # several

    async def _ask_together(self, ids: list[str], now: _Round) -> None:
        """Ask with one request, and with more if it is not answered."""
        try:
            shown = await self._several(ids)
        except A2EError as error:
            await self._bear(error, ids, now)
        else:
            self._take_in(shown, ids, now)

    async def _several(self, ids: list[str]) -> Mapping[str, R]:
        assert self.questions.several is not None  # noqa: S101  for mypy: else the route is not open
        self._route.begin()
        try:
            return await self.questions.several(ids)
        finally:
            self._route.end()

    def _take_in(self, shown: Mapping[str, R], ids: list[str], now: _Round) -> None:
        if shown.keys().isdisjoint(ids):
            self._route.let_down()
        else:
            self._route.helped()
        for task_id in ids:
            record = shown.get(task_id)
            if record is not None:
                self._hear(task_id, record, now)
            elif self._miss(task_id):
                now.again.append(task_id)
            else:
                now.hear(task_id, None)

    def _hear(self, task_id: str, record: R, now: _Round) -> None:
        if self._misses:
            self._misses.pop(task_id, None)
        now.hear(task_id, record)

    def _miss(self, task_id: str, weight: float = 1.0) -> bool:
        """Count, and tell whether it was often enough."""
        self._misses[task_id] = self._misses.get(task_id, 0.0) + weight
        return self._misses[task_id] >= _MISSES

    def _miss_all(self, ids: list[str], weight: float = 1.0) -> bool:
        """Count for each, and tell whether it was often enough for any."""
        return [self._miss(task_id, weight) for task_id in ids].count(True) > 0

    async def _bear(self, error: A2EError, ids: list[str], now: _Round) -> None:
        """Go on without an answer, as its meaning wants it."""
        what = meaning(error)
        if what is Meaning.NO_USE:
            now.tell(ids, error)
        elif what is Meaning.NO_SUCH or (what is Meaning.TROUBLE and self._route.is_on_trial):
            self._ask_otherwise(ids, now)
        elif what is Meaning.TOO_MANY:
            await self._take_apart(error, ids, now)
        else:
            await self._bear_trouble(error, ids, now)

    async def _bear_trouble(self, error: A2EError, ids: list[str], now: _Round) -> None:
        """Tell of trouble that will pass, unless it is trouble with some of these tasks, or with the operation."""
        self._route.let_down()
        is_worn = self._miss_all(ids, _LITTLE if meaning(error) is Meaning.LATER else 1.0)
        if is_worn and not self._route.is_doubtful:  # the others are answered meanwhile, so it is about some of these
            await self._take_apart(error, ids, now)
        else:
            await self._doubt(error, ids, now)

    async def _doubt(self, error: A2EError, ids: list[str], now: _Round) -> None:
        """Nobody is answered: find out whether this is the fault of A2E or of the operation."""
        is_worn = any(self._misses.get(task_id, 0) >= _MISSES for task_id in ids)
        if not is_worn or not await self._probe(ids, now):
            now.tell(ids, error)
        elif ids:
            await self._try_once_more(error, ids, now)

    async def _try_once_more(self, before: A2EError, ids: list[str], now: _Round) -> None:
        """Ask again, since an outage can have ended just now; then ask another way for a while."""
        try:
            shown = await self._several(ids)
        except A2EError as error:
            if meaning(error) in {Meaning.LATER, Meaning.NO_USE} and meaning(error) is not meaning(before):
                now.tell(ids, error)
            else:
                self._ask_otherwise(ids, now)
        else:
            self._take_in(shown, ids, now)

    async def _take_apart(self, error: A2EError, ids: list[str], now: _Round) -> None:
        """Ask about ever smaller parts, until it is known whether it was the number that A2E did not like, or an id."""
        what = meaning(error)
        halving = Halving.of(ids, self._route.size)
        while part := halving.next():
            try:
                shown = await self._several(part)
            except A2EError as again:
                error = again
                if meaning(error) is not what:
                    break
                halving.take_refusal()
            else:
                self._take_in(shown, part, now)
                size = halving.take_answer()
                if size is not None and what is Meaning.TOO_MANY:
                    self._route.shrink(size, self._clock())
        if not halving.is_hopeless:
            self._set_apart(halving.bad, now)
        left = halving.left()
        if left:
            await self._give_up_halving(error, left, now)

    async def _give_up_halving(self, error: A2EError, left: list[str], now: _Round) -> None:
        """Go on with those of whom nothing was heard, because it is hopeless, or something else came in between."""
        if meaning(error) in {Meaning.NO_SUCH, Meaning.TOO_MANY}:
            self._ask_otherwise(left, now)
        elif meaning(error) is Meaning.TROUBLE:
            await self._doubt(error, left, now)
        else:
            now.tell(left, error)

    def _set_apart(self, ids: list[str], now: _Round) -> None:
        """Ask alone about tasks that spoil every question, for a while."""
        self._apart.update(dict.fromkeys(ids, self._clock() + _APART))
        now.again += ids

    # otherwise

    def _ask_otherwise(self, ids: list[str], now: _Round) -> None:
        """Ask without this operation for a while. These go back into line, where they meet all others of the kind."""
        self._route.close(self._clock())
        now.back += ids

    async def _look_up(self, ids: list[str], now: _Round) -> None:
        """Look tasks up in A2E's list, if that costs less than asking one by one; who is not there is asked alone."""
        page, left = self.questions.page, dict.fromkeys(ids)
        if page is None or len(ids) <= now.pages:
            now.again += ids
            return
        for number in range(1, now.pages + 1):
            try:
                shown = await page(number)
            except A2EError as error:
                await self._bear_unlisted(error, [*left], now)
                return
            for task_id in shown.keys() & left.keys():
                del left[task_id]
                self._hear(task_id, shown[task_id], now)
            if not left or not shown:
                break
        now.again += left

    async def _bear_unlisted(self, error: A2EError, ids: list[str], now: _Round) -> None:
        """Tell of trouble that will pass; if it does not, or the list is no good, these are asked about alone."""
        what = meaning(error)
        if what in {Meaning.NO_USE, Meaning.LATER}:
            now.tell(ids, error)
        elif what is not Meaning.TROUBLE or (self._miss_all(ids) and await self._probe(ids, now)):
            now.again += ids
        else:
            now.tell(ids, error)
