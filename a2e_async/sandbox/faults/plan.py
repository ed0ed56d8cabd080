"""What can go wrong with requests, as values that are checked when they are made.

Nothing happens here: `middleware` and `responses` do it. A test tries every operation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Self, TypeAlias

from aiohttp import hdrs, web
from attrs import field, frozen

from a2e_async.sandbox.middleware import API, RENAMED
from a2e_async.sandbox.tasks.families import AVATAR_VIDEO, FACE_SWAP_PREVIEW, FAMILIES, VIDEO_TWIN
from a2e_async.sandbox.tasks.family import Family


@frozen(kw_only=True)
class Kind:
    """What a kind of fault takes. A default of `None` means that the option is not for it."""

    after: bool = False  # the request may be processed first
    always_after: bool = False  # it spoils the true answer, so the request is always processed first
    seconds: float | None = None
    status: int | None = None
    lowest: int = 400  # status
    retry_after: bool = False
    json: bool = False  # an answer of the API, nothing that storage or CDN would say

    def takes(self, option: str) -> bool:
        """Tell whether an option may be given."""
        return _given(getattr(self, option))


def _given(value: object) -> bool:
    return value is not None and value is not False


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "refuse": Kind(seconds=0.1),
        "drop": Kind(after=True, seconds=0.0),
        "status": Kind(after=True, status=502, retry_after=True),
        "html": Kind(after=True, status=200, lowest=200),
        "cut": Kind(after=True, always_after=True),
        "short": Kind(after=True, always_after=True),
        "type": Kind(after=True, always_after=True),
        "redirect": Kind(after=True),
        "429": Kind(retry_after=True),
        "busy": Kind(json=True),
        "delay": Kind(after=True, seconds=5.0),
        "empty": Kind(after=True, json=True),
    }
)


def number(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Refuse what is not a finite number between two bounds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high:
        return
    allowed = f"a number from {low} to {high}" if math.isfinite(high) else f"a number of at least {low}"
    message = f"{name} must be {allowed}, not {value!r}"
    raise ValueError(message)


@frozen
class Fault:
    """One thing that goes wrong with one request.

    With ``after=True`` the request is processed first (a start is charged and its task lives), and the fault is all
    that the caller gets. Without, it is not processed at all. Options that were not given take their defaults.

    ============ ========= ===================================================================================
    kind         `after`   what the caller meets
    ============ ========= ===================================================================================
    ``refuse``   never     the connection is closed, and for `seconds` (0.1) nobody listens on the port
    ``drop``     may be    the connection is closed without an answer, after `seconds` (0)
    ``status``   may be    `status` (502): a gateway's page for 502 to 504, JSON for others; `retry_after`
    ``html``     may be    an HTML page with `status` (200)
    ``cut``      always    half of the true answer, with a Content-Length that fits: whole, but no JSON
    ``short``    always    half of the true answer, then the connection is closed
    ``type``     always    the true answer, called ``text/plain``
    ``redirect`` may be    302 to another host
    ``429``      never     429, "too many requests"; `retry_after`
    ``busy``     never     HTTP 200 with code 1001, "hosts are occupied"; not for ``put`` and ``cdn``
    ``delay``    may be    the true answer after `seconds` (5); a request is not processed if its caller gave up
    ``empty``    may be    HTTP 200 with code 0 and no task id; not for ``put`` and ``cdn``
    ============ ========= ===================================================================================

    Attributes:
        kind: One of the table.
        after: Whether the request is processed first.
        status: The HTTP status, 400 to 599; 200 to 599 for ``html``.
        retry_after: The header of this name, in seconds; `None` leaves it out. HTTP knows whole seconds only;
            fractions are sent as they are.
        seconds: How long it takes.

    Raises:
        ValueError: The kind does not exist, or does not take the option.
    """

    kind: str
    after: bool = field(default=False, kw_only=True)
    status: int | None = field(default=None, kw_only=True)
    retry_after: float | None = field(default=None, kw_only=True)
    seconds: float | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Check, and fill in the defaults of the kind."""
        if self.kind not in KINDS:
            message = f"there is no fault {self.kind!r}; the kinds are {', '.join(KINDS)}"
            raise ValueError(message)
        kind = KINDS[self.kind]
        self._check_taken(kind)
        self._check_range(kind)
        for name, value in (("seconds", kind.seconds), ("status", kind.status)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "after", self.after or kind.always_after)

    def _check_taken(self, kind: Kind) -> None:
        """Refuse options that the kind does not take, and say which kinds do."""
        for option in ("after", "status", "retry_after", "seconds"):
            if _given(getattr(self, option)) and not kind.takes(option):
                takers = [name for name, one in KINDS.items() if one.takes(option)]
                message = f"a fault {self.kind!r} takes no {option}; it is for {', '.join(takers)}"
                raise ValueError(message)

    def _check_range(self, kind: Kind) -> None:
        if self.status is not None:
            number("status", self.status, kind.lowest, 599)
        for name, value in (("retry_after", self.retry_after), ("seconds", self.seconds)):
            if value is not None:
                number(name, value, 0)


def _of_family(family: Family) -> Iterator[tuple[tuple[str, str], str]]:
    """Name the operations of one family."""
    prefix = f"{API}/{family.prefix}"
    yield (hdrs.METH_POST, f"{prefix}/{family.start}"), "start"
    if family.detail:
        yield (hdrs.METH_GET, f"{prefix}/{family.detail}"), "detail"
    for one in family.lists:
        yield (hdrs.METH_GET, f"{prefix}/{one.path}"), "list"
    if family.batch:
        yield (hdrs.METH_POST, f"{prefix}/batchDetail"), "batch"
    if family.delete:
        yield (hdrs.METH_DELETE, f"{prefix}/{family.delete}"), "delete"


# By method and by the route's path; what is missing here and belongs to the API is OTHER.
_NOW: Final = {
    **{key: operation for family in FAMILIES.values() for key, operation in _of_family(family)},
    (hdrs.METH_POST, f"{API}/{AVATAR_VIDEO.prefix}/awsResult"): "detail",
    (hdrs.METH_GET, f"{API}/{FACE_SWAP_PREVIEW.prefix}/status"): "detail",
    (hdrs.METH_POST, f"{API}/{VIDEO_TWIN.prefix}/remove"): "delete",
    (hdrs.METH_POST, f"{API}/r2/upload-presigned-url"): "presign",
    (hdrs.METH_POST, f"{API}/r2/get_upload_presigned_url"): "presign",
    (hdrs.METH_PUT, "/storage/{address}"): "put",
    (hdrs.METH_GET, "/cdn/{address}"): "cdn",
    (hdrs.METH_HEAD, "/cdn/{address}"): "cdn",
}
_OPERATIONS: Final = _NOW | {older: _NOW[newer] for newer, older in RENAMED.items() if newer in _NOW}

OTHER: Final = "*"
STORAGE: Final = frozenset({"put", "cdn"})  # storage and CDN: no API, so neither "*" nor JSON is for them
NAMES: Final = (*dict.fromkeys(_OPERATIONS.values()), OTHER)


def operation_of(request: web.Request) -> str | None:
    """Name the operation of a request; `None` for what no weather touches, such as paths outside of the API."""
    resource = request.match_info.route.resource
    named = None if resource is None else _OPERATIONS.get((request.method, resource.canonical))
    return named or (OTHER if request.path.startswith(API) else None)


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
