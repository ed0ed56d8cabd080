"""The weather of one sandbox: what may go wrong, as a value that is checked when it is made."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Self, TypeAlias

from attrs import field, frozen

from a2e_async.sandbox.faults import KINDS, Fault, number
from a2e_async.sandbox.operations import NAMES, STORAGE

Script: TypeAlias = Mapping[str, Sequence[Fault | None]]
Chances: TypeAlias = Mapping[str, Mapping[Fault, float]]

# What `Weather.changeable` has in store. Waits are short: tests should not take long.
_ANYWHERE: Final = (
    Fault("refuse", seconds=0.05),  # it hits everybody
    Fault("drop"),
    Fault("drop", after=True),
    Fault("status"),
    Fault("status", status=503, retry_after=1),
    Fault("html"),
    Fault("short"),
    Fault("type"),
    Fault("redirect"),
    Fault("429"),
    Fault("delay", seconds=0.5),
)
_API: Final = (*_ANYWHERE, Fault("status", status=500), Fault("429", retry_after=1), Fault("cut"), Fault("busy"))
_START: Final = (
    *_API,
    Fault("status", after=True),
    Fault("status", status=500, after=True),
    Fault("html", after=True),
    Fault("delay", after=True, seconds=0.5),
    Fault("empty", after=True),
)


def _frozen_script(script: Script) -> Script:
    return MappingProxyType({operation: tuple(faults) for operation, faults in script.items()})


def _frozen_chances(chances: Chances) -> Chances:
    return MappingProxyType({operation: MappingProxyType(dict(faults)) for operation, faults in chances.items()})


@frozen(kw_only=True)
class Weather:
    """Faults of the network and of A2E: scripted, at random, or both.

    The operations are ``start``, ``detail``, ``list``, ``batch`` (batchDetail), ``delete``, ``presign`` (upload
    links), ``put`` (to the storage), ``cdn`` (GET and HEAD), and ``*``: every operation of the API that has no entry
    of its own.

    Attributes:
        script: What the first, second, third... request of an operation meets; `None` means nothing. The requests
            that ``*`` stands for share its script. When it has ended, `chances` decide.
        chances: How likely a request of an operation meets a fault. The chances of an operation add up to 1 at most.
        seed: Makes the draws reproducible. Each operation has draws of its own, in the order of its requests: how
            often a program polls does not change what its starts meet.
        invisible: Seconds for which a new record is missing in the list and in batchDetail, and its detail answers
            ``data: null`` with code 0.
        missing: The chance with which batchDetail leaves an id out.
        lost_webhooks: The chance with which a webhook is never sent; drawn in the order in which tasks end.
        per_second: How many requests of the API A2E accepts in any second; it answers 429 to the others.
        retry_after: The Retry-After of these answers, in seconds; `None` leaves it out.

    Raises:
        ValueError: An operation does not exist, or a value is out of its range; the text says what is allowed.
    """

    script: Script = field(factory=dict, converter=_frozen_script)
    chances: Chances = field(factory=dict, converter=_frozen_chances)
    seed: int | None = None
    invisible: float = 0.0
    missing: float = 0.0
    lost_webhooks: float = 0.0
    per_second: int | None = None
    retry_after: float | None = None

    def __attrs_post_init__(self) -> None:
        """Check everything."""
        for operation, script in self.script.items():
            _check_faults("script", operation, [fault for fault in script if fault is not None])
        for operation, chances in self.chances.items():
            _check_faults("chances", operation, chances)
            _check_chances(operation, chances)
        number("invisible", self.invisible, 0)
        number("missing", self.missing, 0, 1)
        number("lost_webhooks", self.lost_webhooks, 0, 1)
        self._check_limit()

    def _check_limit(self) -> None:
        if self.per_second is not None and (not isinstance(self.per_second, int) or self.per_second < 1):
            message = f"per_second must be a whole number of at least 1, or None, not {self.per_second!r}"
            raise ValueError(message)
        if self.retry_after is not None:
            number("retry_after", self.retry_after, 0)
            if self.per_second is None:
                message = 'retry_after belongs to per_second; for a single fault use Fault("429", retry_after=...)'
                raise ValueError(message)

    @classmethod
    def changeable(cls, seed: int | None, rate: float = 0.2) -> Self:
        """Make weather with some of everything, for all operations.

        Starts also meet faults after they were charged. Some faults end in an error whatever a program does (such
        as a redirect): it should then tell the truth, pay once, and lose nothing.

        Args:
            seed: Makes it reproducible; `None` makes it different each time.
            rate: The chance that a request meets a fault; also that batchDetail leaves an id out, and that a webhook
                is lost. While connections are refused, that hits everybody, so a busy program meets more.
        """
        number("rate", rate, 0, 1)
        stores = {"start": _START, "put": _ANYWHERE, "cdn": _ANYWHERE, "*": _API}
        chances = {operation: dict.fromkeys(store, rate / len(store)) for operation, store in stores.items()}
        invisible = 0.2 if rate else 0.0
        return cls(chances=chances, seed=seed, invisible=invisible, missing=rate, lost_webhooks=rate)


def _check_faults(where: str, operation: str, faults: Sequence[Fault] | Mapping[Fault, float]) -> None:
    """Refuse unknown operations, and faults that an operation cannot meet."""
    if operation not in NAMES:
        message = f"{where}: there is no operation {operation!r}; there are {', '.join(NAMES)}"
        raise ValueError(message)
    for fault in faults:
        if not isinstance(fault, Fault):
            message = f'{where}[{operation!r}] must hold faults, such as Fault("drop"), not {fault!r}'
            raise ValueError(message)  # noqa: TRY004  (everything wrong with weather is a ValueError)
        if KINDS[fault.kind].json and operation in STORAGE:
            message = f"{where}[{operation!r}]: {fault.kind!r} is an answer of the API, not of storage and CDN"
            raise ValueError(message)


def _check_chances(operation: str, chances: Mapping[Fault, float]) -> None:
    for fault, chance in chances.items():
        number(f"chances[{operation!r}][{fault}]", chance, 0, 1)
    total = math.fsum(chances.values())
    if total > 1 + 1e-9:  # equal parts of 1 may add up to a little more
        message = f"chances[{operation!r}] add up to {total:g}; at most 1 is allowed"
        raise ValueError(message)
