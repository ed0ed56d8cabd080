"""What a client reports while it works: events for hooks and the log, and counters.

No event holds a token, a link, a prompt or the name of a task. `family` is a key such as ``"userImage2Video"``.
`seconds` and `pause` are in seconds, `size` is in bytes. `error` is the class of an error, empty for none. `reason` is
the class and the HTTP status: ``"ServerError, HTTP 503"``. `outcome` is a good word, or the class of an error.
"""

import time
from typing import ClassVar, Literal, Protocol, dataclass_transform

import attrs

from a2e_async._values import Value
from a2e_async.models.common import TaskStatus

__all__ = [
    "CoinsSpent",
    "Event",
    "Hook",
    "OutageBegan",
    "OutageEnded",
    "RequestAnswered",
    "RequestFailed",
    "RequestRetried",
    "RequestSent",
    "StartBegan",
    "StartEnded",
    "Stats",
    "TaskChanged",
    "TaskFinished",
    "TaskStarted",
    "TasksPolled",
    "Throttled",
    "TransferBegan",
    "TransferDone",
    "WaitBegan",
    "WaitEnded",
]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Event:
    """Base class of all events: values that are made with the names of their fields, and do not change.

    `at` is in seconds since the epoch.
    """

    # attrs would compile a method for each of the two dozen classes, which takes 6 ms of the import.

    at: float = 0.0

    _fields: ClassVar[frozenset[str]] = frozenset({"at"})

    def __init_subclass__(cls) -> None:
        """Collect the names of the fields."""
        cls._fields = cls._fields.union(cls.__annotations__)

    def __init__(self, **values: object) -> None:
        """Make an event. By default it is of now."""
        values = {"at": time.time()} | values
        if values.keys() != self._fields:
            msg = f"{type(self).__name__} takes {', '.join(sorted(self._fields))}, not {', '.join(sorted(values))}"
            raise TypeError(msg)
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        """Raise an error: an event does not change."""
        raise attrs.exceptions.FrozenInstanceError

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), frozenset(vars(self).items())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class _Request(Event):
    operation: str  # method and path, with ``{id}`` for an id: "GET /api/v1/userImage2Video/{id}"
    method: str
    path: str  # with the id, without the query


class RequestSent(_Request):
    """A request to A2E's API goes out."""


class RequestAnswered(_Request):
    """A2E has answered a request, perhaps with an error. `trace_id` is A2E's id of the exchange, empty if unknown."""

    status: int
    seconds: float
    size: int
    trace_id: str
    error: str


class RequestFailed(_Request):
    """A request has no complete answer, or was cancelled."""

    seconds: float
    error: str


class RequestRetried(Event):
    """A request, an upload or a download is sent again after a pause. `attempt` counts the attempts so far.

    `operation` is that of the request, or ``"upload, host HOST"``, or ``"download, host HOST"``.
    """

    operation: str
    attempt: int
    pause: float
    reason: str


class Throttled(Event):
    """A2E has asked for a pause: of one operation, or of the whole client, if `operation` is empty."""

    operation: str
    seconds: float
    reason: str


class _Start(Event):
    family: str
    marker: str  # in the names of the tasks; empty for none
    count: int  # of tasks


class StartBegan(_Start):
    """A paid start begins, after its uploads. It includes waiting for a slot, retries, and searches for the task."""


class StartEnded(_Start):
    """A paid start has ended. The good outcome is ``"accepted"``."""

    outcome: str
    seconds: float


class _Task(Event):
    task_id: str
    family: str


class TaskStarted(_Task):
    """A2E has accepted a task of a start. `adopted`: the answer was lost, and A2E's list shows the task."""

    marker: str
    coins: float | None  # None if A2E does not state the price; `CoinsSpent` may follow with a poll
    adopted: bool


class CoinsSpent(_Task):
    """The price of a task that this client has started is known: by the answer to the start, or by a later poll."""

    coins: float


class TasksPolled(Event):
    """A poll goes out, for `count` tasks. `lag`: seconds by which it is later than planned."""

    family: str
    count: int
    lag: float


class TaskChanged(_Task):
    """A poll shows another status, or another raw word of A2E (`current_status`), than the poll before."""

    status: TaskStatus
    current_status: str


class TaskFinished(TaskChanged):
    """A poll shows that a task has succeeded or failed. It is a `TaskChanged`, too."""

    coins: float | None
    failed_code: str


class WaitBegan(_Task):
    """A wait for a task begins."""


class WaitEnded(_Task):
    """A wait has ended. The outcome of a finished task is ``"succeeded"`` or ``"failed"``."""

    outcome: str
    seconds: float


class OutageBegan(Event):
    """Polls fail, so that the outage budgets of the waits run."""

    reason: str


class OutageEnded(Event):
    """A2E answers polls again. Missing if the last wait ended before."""

    seconds: float


class _Transfer(Event):
    kind: Literal["upload", "download"]
    host: str


class TransferBegan(_Transfer):
    """An upload or a download begins."""


class TransferDone(_Transfer):
    """An upload or a download has ended. `resumed` counts the requests that continued the file."""

    size: int
    seconds: float
    resumed: int
    error: str


class Hook(Protocol):
    """A function that is called with each event, in the thread of the event loop. It must not wait.

    An error that it raises is logged once, and changes nothing.
    """

    def __call__(self, event: Event, /) -> object:
        """Take an event."""
        ...


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Stats(Value):
    """Counters of a client since it was made.

    Attributes:
        requests: Requests sent to A2E's API, polls and retries included.
        retries: Requests, uploads and downloads that were sent again after an error.
        throttled: Pauses that A2E has asked for.
        starts: Tasks that A2E has accepted.
        coins: Coins for tasks, as far as A2E has stated their prices.
        waits: Waits that go on now.
        waits_begun: Waits so far.
        polls: Polls of waits; one poll can read 100 tasks.
        succeeded: Tasks that polls have shown to succeed.
        failed: Tasks that polls have shown to fail.
        outages: Outages so far.
        uploads: Complete uploads.
        uploaded_bytes: Their bytes.
        downloads: Complete downloads.
        downloaded_bytes: Their bytes.
    """

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    starts: int = 0
    coins: float = 0
    waits: int = 0
    waits_begun: int = 0
    polls: int = 0
    succeeded: int = 0
    failed: int = 0
    outages: int = 0
    uploads: int = 0
    uploaded_bytes: int = 0
    downloads: int = 0
    downloaded_bytes: int = 0
