"""Faults and fault plans: values that are validated when they are made. `middleware` and `responses` apply them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Self, TypeAlias

from aiohttp import hdrs, web
from attrs import field, frozen

from a2e_async.sandbox.middleware import API, RENAMED_PATHS
from a2e_async.sandbox.tasks.families import AVATAR_VIDEO, FACE_SWAP_PREVIEW, FAMILIES, VIDEO_TWIN
from a2e_async.sandbox.tasks.family import Family


@frozen(kw_only=True)
class FaultType:
    """Options of one type of fault, with their defaults. `None` means that the type has no such option."""

    after: bool = False  # the request may be processed first
    always_after: bool = False  # it damages the real response, so the request is always processed first
    seconds: float | None = None
    status: int | None = None
    min_status: int = 400
    retry_after: bool = False
    json: bool = False  # a response of the API, which storage and CDN never send

    def takes(self, option: str) -> bool:
        """Tell whether the type has an option."""
        return _is_given(getattr(self, option))


def _is_given(value: object) -> bool:
    return value is not None and value is not False


FAULT_TYPES: Final[Mapping[str, FaultType]] = MappingProxyType(
    {
        "refuse": FaultType(seconds=0.1),
        "drop": FaultType(after=True, seconds=0.0),
        "status": FaultType(after=True, status=502, retry_after=True),
        "html": FaultType(after=True, status=200, min_status=200),
        "cut": FaultType(after=True, always_after=True),
        "short": FaultType(after=True, always_after=True),
        "type": FaultType(after=True, always_after=True),
        "redirect": FaultType(after=True),
        "429": FaultType(retry_after=True),
        "busy": FaultType(json=True),
        "delay": FaultType(after=True, seconds=5.0),
        "empty": FaultType(after=True, json=True),
    }
)


def check_number(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Raise `ValueError` unless `value` is a finite number between two bounds."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high:
        return
    allowed = f"a number from {low} to {high}" if math.isfinite(high) else f"a number of at least {low}"
    message = f"{name} must be {allowed}, not {value!r}"
    raise ValueError(message)


@frozen
class Fault:
    """One fault of one request.

    With ``after=True`` the request is processed first: a start is charged and its task runs, but the caller gets only
    the fault. Without, the request is not processed. Options that are missing take their defaults.

    ============ ========= ===================================================================================
    type         `after`   what the caller gets
    ============ ========= ===================================================================================
    ``refuse``   never     the connection is closed, and the port refuses connections for `seconds` (0.1)
    ``drop``     may be    the connection is closed without a response, after `seconds` (0)
    ``status``   may be    `status` (502): a gateway's page for 502 to 504, JSON for others; `retry_after`
    ``html``     may be    an HTML page with `status` (200)
    ``cut``      always    half of the real response, with a Content-Length that fits: complete, but not valid JSON
    ``short``    always    half of the real response, then the connection is closed
    ``type``     always    the real response with the content type ``text/plain``
    ``redirect`` may be    302 to another host
    ``429``      never     429, "too many requests"; `retry_after`
    ``busy``     never     HTTP 200 with code 1001, "hosts are occupied"; not for ``put`` and ``cdn``
    ``delay``    may be    the real response after `seconds` (5); not processed if the caller disconnects before
    ``empty``    may be    HTTP 200 with code 0 and no task id; not for ``put`` and ``cdn``
    ============ ========= ===================================================================================

    Attributes:
        type: One of the table.
        after: Whether the request is processed first.
        status: The HTTP status, 400 to 599; 200 to 599 for ``html``.
        retry_after: The header of this name, in seconds; `None` omits it. HTTP has whole seconds only; fractions are
            sent as they are.
        seconds: The duration.

    Raises:
        ValueError: The type does not exist, or has no such option.
    """

    type: str
    after: bool = field(default=False, kw_only=True)
    status: int | None = field(default=None, kw_only=True)
    retry_after: float | None = field(default=None, kw_only=True)
    seconds: float | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Validate the options, and set the defaults of the type."""
        if self.type not in FAULT_TYPES:
            message = f"there is no fault {self.type!r}; the types are {', '.join(FAULT_TYPES)}"
            raise ValueError(message)
        fault_type = FAULT_TYPES[self.type]
        self._check_options(fault_type)
        self._check_ranges(fault_type)
        for name, value in (("seconds", fault_type.seconds), ("status", fault_type.status)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "after", self.after or fault_type.always_after)

    def _check_options(self, fault_type: FaultType) -> None:
        """Raise an error for an option that the type does not have; it names the types that have it."""
        for option in ("after", "status", "retry_after", "seconds"):
            if _is_given(getattr(self, option)) and not fault_type.takes(option):
                takers = [name for name, one in FAULT_TYPES.items() if one.takes(option)]
                message = f"a fault {self.type!r} takes no {option}; it is for {', '.join(takers)}"
                raise ValueError(message)

    def _check_ranges(self, fault_type: FaultType) -> None:
        if self.status is not None:
            check_number("status", self.status, fault_type.min_status, 599)
        for name, value in (("retry_after", self.retry_after), ("seconds", self.seconds)):
            if value is not None:
                check_number(name, value, 0)


def _of_family(family: Family) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the operations of one family, each with its method and path."""
    prefix = f"{API}/{family.prefix}"
    yield (hdrs.METH_POST, f"{prefix}/{family.start_path}"), "start"
    if family.detail_path:
        yield (hdrs.METH_GET, f"{prefix}/{family.detail_path}"), "detail"
    for one in family.lists:
        yield (hdrs.METH_GET, f"{prefix}/{one.path}"), "list"
    if family.batch_detail:
        yield (hdrs.METH_POST, f"{prefix}/batchDetail"), "batch"
    if family.delete_path:
        yield (hdrs.METH_DELETE, f"{prefix}/{family.delete_path}"), "delete"


# By method and by the path of the route. All other operations of the API are OTHER.
_CURRENT: Final = {
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
_OPERATIONS: Final = _CURRENT | {
    older: _CURRENT[current] for current, older in RENAMED_PATHS.items() if current in _CURRENT
}

OTHER: Final = "*"
STORAGE: Final = frozenset({"put", "cdn"})  # not part of the API: "*" does not include them, and they send no JSON
NAMES: Final = (*dict.fromkeys(_OPERATIONS.values()), OTHER)


def operation_of(request: web.Request) -> str | None:
    """Return the operation of a request; `None` if no fault is possible, as for paths outside of the API."""
    resource = request.match_info.route.resource
    operation = None if resource is None else _OPERATIONS.get((request.method, resource.canonical))
    return operation or (OTHER if request.path.startswith(API) else None)


Script: TypeAlias = Mapping[str, Sequence[Fault | None]]
Chances: TypeAlias = Mapping[str, Mapping[Fault, float]]

# The faults of `FaultPlan.random`. Their delays are short, so that tests do not take long.
_ANYWHERE: Final = (
    Fault("refuse", seconds=0.05),  # every client on this machine meets it
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
class FaultPlan:
    """Plan of faults of the network and of A2E: scripted, random, or both.

    The operations are ``start``, ``detail``, ``list``, ``batch`` (batchDetail), ``delete``, ``presign`` (upload
    links), ``put`` (to the storage), ``cdn`` (GET and HEAD), and ``*``: every operation of the API that has no entry
    of its own.

    Attributes:
        script: The faults of the first, second, third... request of an operation; `None` is no fault. All operations
            of ``*`` share its script. After the end of a script, `chances` decide.
        chances: The probability of each fault for a request of an operation; their sum is at most 1.
        seed: Makes the random faults reproducible. Each operation has its own random numbers, in the order of its
            requests: how often a program polls does not change the faults of its starts.
        invisible: Seconds for which a new record is missing in the list and in batchDetail, and its detail answers
            ``data: null`` with code 0.
        missing: The probability that batchDetail omits an id.
        lost_webhooks: The probability that a webhook is never sent; drawn in the order in which tasks end.
        per_second: The number of API requests that A2E accepts in any second; it answers the others with 429.
        retry_after: The Retry-After of these 429s, in seconds; `None` omits it.

    Raises:
        ValueError: An operation does not exist, or a value is out of its range; the message names the allowed ones.
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
        """Validate the plan."""
        for operation, script in self.script.items():
            _check_faults("script", operation, [fault for fault in script if fault is not None])
        for operation, chances in self.chances.items():
            _check_faults("chances", operation, chances)
            _check_chances(operation, chances)
        check_number("invisible", self.invisible, 0)
        check_number("missing", self.missing, 0, 1)
        check_number("lost_webhooks", self.lost_webhooks, 0, 1)
        self._check_limit()

    def _check_limit(self) -> None:
        if self.per_second is not None and (not isinstance(self.per_second, int) or self.per_second < 1):
            message = f"per_second must be an integer of at least 1, or None, not {self.per_second!r}"
            raise ValueError(message)
        if self.retry_after is not None:
            check_number("retry_after", self.retry_after, 0)
            if self.per_second is None:
                message = 'retry_after belongs to per_second; for a single fault use Fault("429", retry_after=...)'
                raise ValueError(message)

    @classmethod
    def random(cls, seed: int | None, rate: float = 0.2) -> Self:
        """Make a plan with all faults for all operations, drawn at random.

        Starts also meet faults after they were charged. Some faults, such as a redirect, end in an error in any
        program. Then the program should report the true outcome, pay once, and lose no task.

        Args:
            seed: Makes the faults reproducible; with `None` they differ each time.
            rate: The probability that a request gets a fault, that batchDetail omits an id, and that a webhook is
                lost. While the port refuses connections, all requests fail, so a busy program meets more faults.
        """
        check_number("rate", rate, 0, 1)
        faults = {"start": _START, "put": _ANYWHERE, "cdn": _ANYWHERE, "*": _API}
        chances = {operation: dict.fromkeys(drawn, rate / len(drawn)) for operation, drawn in faults.items()}
        invisible = 0.2 if rate else 0.0
        return cls(chances=chances, seed=seed, invisible=invisible, missing=rate, lost_webhooks=rate)


def _check_faults(where: str, operation: str, faults: Sequence[Fault] | Mapping[Fault, float]) -> None:
    """Raise an error for unknown operations, and for faults that an operation cannot meet."""
    if operation not in NAMES:
        message = f"{where}: there is no operation {operation!r}; there are {', '.join(NAMES)}"
        raise ValueError(message)
    for fault in faults:
        if not isinstance(fault, Fault):
            message = f'{where}[{operation!r}] must hold faults, such as Fault("drop"), not {fault!r}'
            raise ValueError(message)  # noqa: TRY004  (every error of a plan is a ValueError)
        if FAULT_TYPES[fault.type].json and operation in STORAGE:
            message = f"{where}[{operation!r}]: {fault.type!r} is a response of the API, not of storage and CDN"
            raise ValueError(message)


def _check_chances(operation: str, chances: Mapping[Fault, float]) -> None:
    for fault, chance in chances.items():
        check_number(f"chances[{operation!r}][{fault}]", chance, 0, 1)
    total = math.fsum(chances.values())
    if total > 1 + 1e-9:  # equal parts of 1 may add up to a little more
        message = f"chances[{operation!r}] add up to {total:g}; at most 1 is allowed"
        raise ValueError(message)
