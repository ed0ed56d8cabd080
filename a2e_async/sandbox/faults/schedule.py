"""Decides what each request meets: scripts, draws, and how many requests A2E accepts. Asks no clock."""

import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from attrs import define, field

from a2e_async.sandbox.faults.plan import OTHER, STORAGE, Fault, Weather
from a2e_async.sandbox.state import Task

Entry = TypeVar("Entry")

_WINDOW: Final = 1.0  # seconds, of `per_second`


@define(eq=False)
class Forecast:
    """What one weather still has in store."""

    weather: Weather
    _scripts: dict[str, Iterator[Fault | None]] = field(init=False)
    _dice: dict[str, random.Random] = field(factory=dict, init=False)
    _accepted: deque[float] = field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        """Open every script at its first line."""
        self._scripts = {operation: iter(script) for operation, script in self.weather.script.items()}

    def fault(self, operation: str) -> Fault | None:
        """Decide what the next request of an operation meets."""
        for scripted in _entry(self._scripts, operation) or ():
            return scripted
        chances = _entry(self.weather.chances, operation)
        return self._draw(operation, chances) if chances else None

    def accepts(self, now: float) -> bool:
        """Tell whether A2E accepts one more request, and count it. `now` is in seconds and never goes back."""
        if self.weather.per_second is None:
            return True
        while self._accepted and self._accepted[0] <= now - _WINDOW:
            self._accepted.popleft()
        if len(self._accepted) >= self.weather.per_second:
            return False
        self._accepted.append(now)
        return True

    def leaves_out(self) -> bool:
        """Decide whether batchDetail leaves out the next id."""
        return self.weather.missing > 0 and self._roll("missing") < self.weather.missing

    def loses_webhook(self) -> bool:
        """Decide whether the next webhook is never sent."""
        return self.weather.lost_webhooks > 0 and self._roll("lost_webhooks") < self.weather.lost_webhooks

    def _draw(self, operation: str, chances: Mapping[Fault, float]) -> Fault | None:
        roll = self._roll(operation)
        for fault, chance in chances.items():
            roll -= chance
            if roll < 0:
                return fault
        return None

    def _roll(self, purpose: str) -> float:
        """Draw from 0 to 1. Each purpose has its own dice, so that none can disturb another."""
        if purpose not in self._dice:
            seed = self.weather.seed
            self._dice[purpose] = random.Random(None if seed is None else f"{seed}:{purpose}")  # noqa: S311  (no secret)
        return self._dice[purpose].random()


def _entry(entries: Mapping[str, Entry], operation: str) -> Entry | None:
    """Find the entry of an operation, its own or the one for all others of the API."""
    if operation in entries:
        return entries[operation]
    return None if operation in STORAGE else entries.get(OTHER)


@define(eq=False)
class Sky:
    """The weather now. It is replaced in one step, so that it may be changed from another thread."""

    forecast: Forecast | None = None

    def change(self, weather: Weather | None) -> None:
        """Begin new weather from its start; `None` is fair weather."""
        if not isinstance(weather, Weather | None):
            message = f"weather must be a Weather or None, not {weather!r}"
            raise TypeError(message)
        self.forecast = None if weather is None else Forecast(weather)

    def shows(self, task: Task) -> bool:
        """Tell whether the record of a task can be seen."""
        return self.forecast is None or task.age >= self.forecast.weather.invisible

    def leaves_out(self) -> bool:
        """Decide whether batchDetail leaves out the next id."""
        return self.forecast is not None and self.forecast.leaves_out()

    def loses_webhook(self) -> bool:
        """Decide whether the next webhook is never sent."""
        return self.forecast is not None and self.forecast.loses_webhook()
