"""An outcome in words: for a line, for JSON, and counted for the summary."""

from __future__ import annotations

import collections
import re
from typing import TYPE_CHECKING, Any

import attrs

from a2e_async.cli.batch_pace import coins_text
from a2e_async.cli.words import said

if TYPE_CHECKING:
    import datetime as dt

    from a2e_async.batch import Outcome
    from a2e_async.errors import A2EError

__all__ = ["Tally", "brief", "outcome_json", "outcome_text", "several"]

_NUMBERS = re.compile(r" \(HTTP \d[^()]*\)|(?:\bTask \w+ failed: )|(?: \[task \w+\])")

_KEPT = 10
"""Failures that the summary names."""


def several(number: int, what: str) -> str:
    """Write a number of things."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def brief(text: str) -> str:
    """Leave out of a message the ids that only A2E's support wants to know; the journal has them."""
    return said(_NUMBERS.sub("", text))


def outcome_text(outcome: Outcome) -> str:
    """Write an outcome in one line."""
    problem = "" if outcome.error is None else said(str(outcome.error))
    if outcome.state == "succeeded":
        where = "" if outcome.path is None else f" {outcome.path}"
        coins = "" if outcome.coins is None else f" {coins_text(outcome.coins)} coins"
        return f"{outcome.key}: succeeded{where}{coins}{f', but has no file: {problem}' if problem else ''}"
    if outcome.state == "skipped":
        return f"{outcome.key}: {f'not started: {_because(problem)}' if problem else 'done before'}"
    again = f" ({outcome.purchases} purchases)" if outcome.purchases > 1 else ""
    return f"{outcome.key}: {outcome.state}{again}: {problem}"


def _because(problem: str) -> str:
    return problem.removeprefix("Not started: ")


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as a program wants it."""
    error, record = outcome.error, outcome.record
    return {
        "key": outcome.key,
        "state": outcome.state,
        "ok": outcome.ok,
        "task_id": outcome.task_id,
        "path": None if outcome.path is None else str(outcome.path),
        "coins": outcome.coins,
        "purchases": outcome.purchases,
        "error": None if error is None else {"type": type(error).__name__, "message": error.message},
        "marker": outcome.marker or None,
        "result_url": (record.result_url or None) if record is not None else None,
        "read_at": _moment(outcome.read_at),
        "sent_at": _moment(outcome.sent_at),
        "accepted_at": _moment(outcome.accepted_at),
        "finished_at": _moment(outcome.finished_at),
    }


def _moment(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


@attrs.define(eq=False)
class Tally:
    """Counts outcomes, and keeps a few of those that went wrong.

    Attributes:
        states: How many of each state; but those that were not started are ``"not started"``, and those that have no
            file ``"without a file"``.
        first: The first that went wrong, without those that were not started.
        latest: As `first`, the latest.
        reason: Why the first of those that were not started was not.
    """

    states: collections.Counter[str] = attrs.field(factory=collections.Counter)
    first: list[str] = attrs.field(factory=list)
    latest: collections.deque[str] = attrs.field(factory=lambda: collections.deque(maxlen=3))
    reason: A2EError | None = None

    def add(self, outcome: Outcome) -> None:
        """Take note of an outcome."""
        self.states[_state(outcome)] += 1
        if outcome.error is None:
            return
        if outcome.state == "skipped":
            self.reason = self.reason or outcome.error
            return
        text = brief(outcome_text(outcome))
        self.latest.append(text)
        if len(self.first) < _KEPT:
            self.first.append(text)

    @property
    def told(self) -> int:
        """Outcomes in all."""
        return self.states.total()

    @property
    def is_good(self) -> bool:
        """Whether all jobs have their video."""
        return self.told == self.states["succeeded"] + self.states["skipped"]


def _state(outcome: Outcome) -> str:
    if outcome.error is not None and outcome.state == "succeeded":
        return "without a file"
    return "not started" if outcome.error is not None and outcome.state == "skipped" else outcome.state
