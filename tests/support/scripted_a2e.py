"""An A2E of three operations that do as they are told, and a record of every call, for tests of `_inquiry.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from a2e_async import A2EError, TaskRecord, TaskStatus
from a2e_async._inquiry import Inquiry, Questions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from a2e_async._inquiry import Answer

__all__ = ["ScriptedA2E", "Talk", "ask", "fine", "look", "record_of", "said"]

PAGE = 100
"""Records in a page of the list."""


def record_of(task_id: str, status: TaskStatus = TaskStatus.RUNNING) -> TaskRecord:
    """Return the record of a task."""
    return TaskRecord(id=task_id, status=status)


def fine(_: Any) -> None:
    """Let a call succeed."""


@attrs.define(eq=False)
class ScriptedA2E:
    """Knows some tasks. What a script raises or returns is the error of the call.

    Attributes:
        tasks: What there is, the newest first, as the list shows it.
        one: The script of the detail operation; is given the id.
        several: The script of batchDetail; is given the ids.
        page: The script of the list; is given the number of the page.
        hidden: What batchDetail does not show.
        unlisted: What the list does not show.
        foreign: What batchDetail shows without being asked.
        done: What has ended well.
        details: The ids that were asked about one by one.
        batches: The ids of each call of batchDetail.
        pages: The number of each page that was read.
    """

    tasks: list[str]
    one: Callable[[str], A2EError | None] = fine
    several: Callable[[list[str]], A2EError | None] = fine
    page: Callable[[int], A2EError | None] = fine
    hidden: set[str] = attrs.field(factory=set)
    unlisted: set[str] = attrs.field(factory=set)
    foreign: dict[str, TaskRecord] = attrs.field(factory=dict)
    done: set[str] = attrs.field(factory=set)
    details: list[str] = attrs.field(factory=list)
    batches: list[list[str]] = attrs.field(factory=list)
    pages: list[int] = attrs.field(factory=list)
    _known: set[str] = attrs.field(init=False, default=attrs.Factory(lambda self: set(self.tasks), takes_self=True))

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return len(self.details) + len(self.batches) + len(self.pages)

    @property
    def sizes(self) -> list[int]:
        """How many ids were in each call of batchDetail."""
        return [len(ids) for ids in self.batches]

    def forget_calls(self) -> None:
        """Begin to record anew."""
        self.details.clear()
        self.batches.clear()
        self.pages.clear()

    def inquiry(self, *, several: bool = True, page: bool = True) -> Inquiry[TaskRecord]:
        """Return an inquiry about this A2E, as about a family with or without batchDetail, and with or without a list."""
        return Inquiry(self.questions(several=several, page=page))

    def questions(self, *, several: bool = True, page: bool = True) -> Questions[TaskRecord]:
        """Return what can be asked; as `inquiry`."""
        return Questions(one=self._one, several=self._several if several else None, page=self._page if page else None)

    def _records(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        return {
            task_id: record_of(task_id, TaskStatus.SUCCEEDED if task_id in self.done else TaskStatus.RUNNING)
            for task_id in ids
        }

    async def _one(self, task_id: str) -> TaskRecord:
        self.details.append(task_id)
        await _run(self.one, task_id)
        return self._records([task_id])[task_id]

    async def _several(self, ids: list[str]) -> dict[str, TaskRecord]:
        self.batches.append(list(ids))
        await _run(self.several, list(ids))
        known = self._records(task_id for task_id in ids if task_id in self._known and task_id not in self.hidden)
        return self.foreign | known

    async def _page(self, number: int) -> dict[str, TaskRecord]:
        self.pages.append(number)
        await _run(self.page, number)
        listed = [task_id for task_id in self.tasks if task_id not in self.unlisted]
        return self._records(listed[(number - 1) * PAGE : number * PAGE])


async def _run(script: Callable[[Any], A2EError | None], what: object) -> None:
    await asyncio.sleep(0)  # as long as a question is under way, others are asked
    error = script(what)
    if error is not None:
        raise error


@attrs.frozen
class Talk:
    """One `ask`: what was told of which task, and which have to be asked about alone."""

    told: dict[str, Answer]
    again: list[str]


async def ask(inquiry: Inquiry[TaskRecord], ids: Iterable[str], *, waiting: int = 0) -> Talk:
    """Ask once, and check what must hold whatever happens: each task is told of once, or has to be asked alone."""
    ids, told = list(ids), dict[str, "Answer"]()

    def hear(task_id: str, answer: Answer) -> None:
        assert task_id not in told, f"told twice of {task_id}"
        told[task_id] = answer

    again = await inquiry.ask(ids, hear, waiting=waiting)
    assert sorted([*told, *again]) == sorted(ids)
    return Talk(told, again)


async def look(inquiry: Inquiry[TaskRecord], due: Iterable[str]) -> dict[str, Answer]:
    """Ask as the poller does: all that are due, slices side by side, and those to be asked alone at once."""
    waiting = dict.fromkeys(due)
    count = len(waiting)
    told: dict[str, Answer] = {}
    for _ in range(3):
        slices = _slices(inquiry, waiting)
        for talk in await asyncio.gather(*(ask(inquiry, ids, waiting=count) for ids in slices)):
            told |= talk.told
            waiting |= dict.fromkeys(talk.again)
        assert told.keys().isdisjoint(waiting)
    assert not waiting, "who is asked about alone is told of"
    return told


def _slices(inquiry: Inquiry[TaskRecord], waiting: dict[str, None]) -> list[list[str]]:
    """Take all out of line, in as many slices as it takes."""
    slices = []
    while waiting:
        slices.append(inquiry.choose(waiting))
        for task_id in slices[-1]:
            del waiting[task_id]
    return slices


def said(told: dict[str, Answer]) -> dict[str, str]:
    """Put what was told in a word for each task: its status, the name of an error, or nothing."""
    return {
        task_id: answer.status.value
        if isinstance(answer, TaskRecord)
        else ""
        if answer is None
        else type(answer).__name__
        for task_id, answer in told.items()
    }
