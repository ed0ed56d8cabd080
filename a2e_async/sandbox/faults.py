"""What can go wrong with one request, as a value. Nothing happens here: `storm` and `spoilt` do it."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen


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
