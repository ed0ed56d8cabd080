"""The observer of a client: counts what happens, and passes events to the log and to the hooks."""

# How it works: the module in which something happens adds to `Observer.counts`, and makes an event only if
# `Observer.is_enabled` says so. Without hooks that is a method of the logger. So a request costs next to nothing if
# there is neither a hook nor a log.

import asyncio
import collections
import contextlib
import inspect
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from logging import DEBUG, INFO
from typing import Any, Literal, Self

from a2e_async import events
from a2e_async.errors import A2EError, ConfigurationError, escape_controls
from a2e_async.events import Event, Hook, Stats

LOGGER = logging.getLogger("a2e_async")

# Class of an event -> the level and the format of its line in the log
_LINES: dict[type[Event], tuple[int, str]] = {
    events.RequestSent: (DEBUG, "%(method)s %(path)s: sent"),
    events.RequestAnswered: (DEBUG, "%(method)s %(path)s: HTTP %(status)d %(error)s after %(seconds).3f s"),
    events.RequestFailed: (DEBUG, "%(method)s %(path)s: no answer after %(seconds).3f s, %(error)s"),
    events.RequestRetried: (INFO, "%(operation)s: attempt %(attempt)d failed (%(reason)s), retry in %(pause).1f s"),
    events.Throttled: (INFO, "Pause of %(seconds).1f s for %(operation)s: A2E asks for it (%(reason)s)"),
    events.StartBegan: (DEBUG, "Start of %(family)s, marker %(marker)s: begins"),
    events.StartEnded: (DEBUG, "Start of %(family)s, marker %(marker)s: %(outcome)s after %(seconds).1f s"),
    events.TaskStarted: (INFO, "Task %(task_id)s of %(family)s: started, marker %(marker)s, coins %(coins)s"),
    events.CoinsSpent: (DEBUG, "Task %(task_id)s of %(family)s: costs coins, %(coins)s"),
    events.TasksPolled: (DEBUG, "Poll of %(family)s: tasks %(count)d, %(lag).3f s late"),
    events.TaskChanged: (DEBUG, "Task %(task_id)s of %(family)s: %(status)s, A2E says %(current_status)s"),
    events.TaskFinished: (INFO, "Task %(task_id)s of %(family)s: %(status)s, coins %(coins)s, code %(failed_code)s"),
    events.WaitBegan: (DEBUG, "Wait for task %(task_id)s of %(family)s: begins"),
    events.WaitEnded: (DEBUG, "Wait for task %(task_id)s of %(family)s: %(outcome)s after %(seconds).1f s"),
    events.OutageBegan: (INFO, "Outage: begins, polls fail (%(reason)s)"),
    events.OutageEnded: (INFO, "Outage: ends after %(seconds).1f s"),
    events.TransferBegan: (INFO, "%(kind)s, host %(host)s: begins"),
    events.TransferDone: (
        INFO,
        "%(kind)s, host %(host)s: %(error)s, %(size)d bytes in %(seconds).1f s, resumed %(resumed)d times",
    ),
}

# What a line shows instead of an empty field
_EMPTY = {"operation": "all requests", "error": "ok", "coins": "unknown"}

_MAX_UNPRICED = 10_000  # tasks, in case that a program never waits for them


class Observer:
    """Observer of one client, over all its event loops.

    Attributes:
        hooks: The hooks.
        is_enabled: Tells whether a hook or the log takes events of a level.
        counts: The counters, by the names of `Stats`.
        unpriced: Families and ids of started tasks whose prices are not known yet.
    """

    def __init__(self, hooks: tuple[Hook, ...] = ()) -> None:
        """Take everything if there is a hook, else what the log takes."""
        self.hooks = hooks
        self.is_enabled: Callable[[int], bool] = (lambda _: True) if hooks else LOGGER.isEnabledFor
        self.counts: dict[str, Any] = collections.defaultdict(int)
        self.unpriced: set[tuple[str, str]] = set()
        self._failed: set[int] = set()  # numbers of the hooks that have raised an error

    @classmethod
    def of(cls, hooks: Iterable[Hook]) -> Self:
        """Make the observer of a client.

        Raises:
            ConfigurationError: A hook cannot be called, or is asynchronous.
        """
        if isinstance(hooks, str | bytes) or not isinstance(hooks, Iterable):
            msg = f"hooks must be a list of functions, not {type(hooks).__name__}"
            raise ConfigurationError(msg)
        hooks = tuple(hooks)
        for hook in hooks:
            if not callable(hook):
                msg = f"A hook must be a function that takes an event, not {type(hook).__name__}"
                raise ConfigurationError(msg)
            if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(hook.__call__):
                msg = f"The hook {_name_of(hook)} is asynchronous: pass a function that puts events into a queue"
                raise ConfigurationError(msg)
        return cls(hooks)

    def publish(self, event: Event) -> None:
        """Write an event to the log, and pass it to the hooks."""
        level, line = _LINES[type(event)]
        if LOGGER.isEnabledFor(level):
            values = {
                name: escape_controls(each) if isinstance(each, str) else each
                for name, each in vars(event).items()
                if name != "at"
            }
            extra = {f"a2e_{name}": value for name, value in values.items()} | {"a2e_event": type(event).__name__}
            shown = {name: _EMPTY.get(name, "none") if each in {"", None} else each for name, each in values.items()}
            LOGGER.log(level, line, shown, extra=extra)
        for number, hook in enumerate(self.hooks):
            try:
                hook(event)
            except (Exception, asyncio.CancelledError) as error:  # also one that the hook raises itself
                if number not in self._failed:
                    self._failed.add(number)
                    msg = "The hook %s raised %s; it goes on, and its next errors are not logged"
                    LOGGER.exception(msg, _name_of(hook), type(error).__name__)

    def on_started(
        self, family: str, marker: str, task_id: str, raw: Mapping[str, Any] | None, *, adopted: bool = False
    ) -> None:
        """Report a task that A2E has accepted, with its record if that is known."""
        counts, coins = self.counts, None if raw is None else raw.get("coins")
        if isinstance(coins, bool) or not isinstance(coins, int | float) or not 0 <= coins < math.inf:
            coins = None
        counts["starts"] += 1
        counts["coins"] += coins or 0
        if coins is None and len(self.unpriced) < _MAX_UNPRICED:
            self.unpriced.add((family, task_id))
        if self.is_enabled(INFO):
            task: dict[str, Any] = {"task_id": task_id, "family": family, "coins": coins}
            self.publish(events.TaskStarted(**task, marker=marker, adopted=adopted))
            if coins is not None:
                self.publish(events.CoinsSpent(**task))

    @contextlib.contextmanager
    def transfer(
        self, kind: Literal["upload", "download"], host: str, progress: Callable[[], tuple[int, int]]
    ) -> Iterator[None]:
        """Report a transfer. `progress` returns its bytes so far, and how often it was resumed."""
        clock, error = asyncio.get_running_loop().time, ""
        began = clock()
        if self.is_enabled(INFO):
            self.publish(events.TransferBegan(kind=kind, host=host))
        try:
            yield
        except BaseException as caught:
            error = type(caught).__name__
            raise
        else:
            self.counts[f"{kind}s"] += 1
            self.counts[f"{kind}ed_bytes"] += progress()[0]
        finally:
            if self.is_enabled(INFO):
                size, resumed = progress()
                ended: dict[str, Any] = {"size": size, "seconds": clock() - began, "resumed": resumed, "error": error}
                self.publish(events.TransferDone(kind=kind, host=host, **ended))

    def stats(self) -> Stats:
        """Return the counters."""
        return Stats(**self.counts)


def reason_of(error: A2EError) -> str:
    """Return the class of an error and its HTTP status; its text could quote what no log may contain."""
    status = getattr(error, "status", 0)
    return f"{type(error).__name__}, HTTP {status}" if status else type(error).__name__


def _name_of(hook: Hook) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)
