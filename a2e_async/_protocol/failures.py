"""Meaning of errors: one table with a row for each error class, and the rules for what only the error itself knows.

Everything that reacts to an error reads `failure_of(error)`: retries, the throttle, waits, batches, the command line.

The rows are found by the *name* of a class, and this module imports nothing of the package, so that `errors` can
import it: `A2EError.retryable` and `A2EError.http_status` are columns of this table.
"""

import enum
import errno
from typing import Literal, NamedTuple


class StartOutcome(enum.Enum):
    """Outcome of a paid request that failed."""

    NOT_SENT = "not sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


_NOT_SENT, _REJECTED = StartOutcome.NOT_SENT, StartOutcome.REJECTED


# A named tuple, because every run of pytest imports this module with the plugin, and would import attrs for it only.
class Failure(NamedTuple):
    """Meaning of one error.

    Attributes:
        http_status: The status with which a web application reports the error to its own client.
        transient: The error may pass by itself, so that a retry of the same request can succeed.
        outcome: What the error says about a paid start. Anything but ``UNKNOWN`` means: certainly not accepted.
        throttled: What has to send fewer requests: this ``"operation"``, the ``"client"``, or nothing.
        outage: A2E could not be reached: the error uses up the outage budget of a wait.
        ends_wait: Whether the wait of a paid task ends: ``"always"``, if the error is ``"repeated"``, or never.
        scope: What else fails in a batch: nothing but this ``"job"``, every job of the ``"account"``, or every job
            that needs the ``"service"``, or every job that writes a file to the ``"disk"``.
        wrong_usage: The caller can correct the call: a wrong argument or setting.
    """

    http_status: int
    transient: bool = False
    outcome: StartOutcome = StartOutcome.UNKNOWN
    throttled: Literal["", "operation", "client"] = ""
    outage: bool = False
    ends_wait: Literal["", "repeated", "always"] = ""
    scope: Literal["job", "account", "service", "disk"] = "job"
    wrong_usage: bool = False

    @property
    def may_send_again(self) -> bool:
        """Whether a paid request may be sent again: it was certainly not accepted, and the error is transient."""
        return self.transient and self.outcome is not StartOutcome.UNKNOWN


# A class that is not in the table has the row of its nearest base.
FAILURES: dict[str, Failure] = {
    "A2EError": Failure(http_status=500),
    # Raised before a start is sent.
    "ConfigurationError": Failure(http_status=500, outcome=_NOT_SENT, ends_wait="always", wrong_usage=True),
    "InvalidRequestError": Failure(http_status=422, outcome=_NOT_SENT, ends_wait="always", wrong_usage=True),
    "MissingExtraError": Failure(http_status=500, outcome=_NOT_SENT, wrong_usage=True),
    "ClientClosedError": Failure(http_status=503, outcome=_NOT_SENT, ends_wait="always", scope="service"),
    "BudgetError": Failure(http_status=402, outcome=_NOT_SENT),
    "TransferError": Failure(http_status=502, outcome=_NOT_SENT),  # rules 4 and 5
    "KeyStoreError": Failure(http_status=500, outcome=_NOT_SENT),
    "ClusterError": Failure(http_status=503, outcome=_NOT_SENT),
    "JournalError": Failure(http_status=500, wrong_usage=True),  # the path is an argument
    # A2E's own error responses: a start that gets one was not accepted, but see rule 3.
    "APIError": Failure(http_status=502, outcome=_REJECTED),
    "BadRequestError": Failure(http_status=422, outcome=_REJECTED, ends_wait="repeated"),
    "AuthenticationError": Failure(http_status=500, outcome=_REJECTED, ends_wait="repeated", scope="account"),
    "PlanError": Failure(http_status=402, outcome=_REJECTED, ends_wait="always", scope="account"),
    "InsufficientCreditsError": Failure(http_status=402, outcome=_REJECTED, scope="account"),
    "ContentRejectedError": Failure(http_status=422, outcome=_REJECTED),
    "NotFoundError": Failure(http_status=404, outcome=_REJECTED, ends_wait="repeated"),
    "RateLimitError": Failure(
        http_status=503, outcome=_REJECTED, transient=True, throttled="client", outage=True, scope="service"
    ),
    "BusyError": Failure(
        http_status=503, outcome=_REJECTED, transient=True, throttled="operation", outage=True, scope="service"
    ),
    # The response is lost, or does not come from A2E: a start may have been accepted.
    "ServerError": Failure(http_status=502, transient=True, outage=True),
    "NetworkError": Failure(http_status=502, transient=True, outage=True, scope="service"),  # rule 1
    "UnexpectedResponseError": Failure(http_status=502, transient=True, outage=True),  # rule 2
    "EndpointNotAvailableError": Failure(http_status=501),
    "SubmissionUncertainError": Failure(http_status=504),
    # Errors about a task that was accepted before.
    "TaskError": Failure(http_status=500),
    "TaskFailedError": Failure(http_status=502),
    "TaskNotFinishedError": Failure(http_status=409),
    "WaitError": Failure(http_status=504),
}


# A full disk or quota; a folder that cannot be written, or is gone; a disk that has failed or was removed.
_NOT_STORABLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.ENOENT}
    | {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN}
)


def failure_of(error: BaseException) -> Failure:
    """Return the meaning of an error of this package: its row, corrected by what the error itself knows."""
    names = [base.__name__ for base in type(error).__mro__]
    failure = next(FAILURES[name] for name in names if name in FAILURES)
    status = getattr(error, "status", 0)
    # Rule 1: no complete response. The transport knows whether the request left this machine.
    if "NetworkError" in names and not getattr(error, "request_sent", True):
        return failure._replace(outcome=_NOT_SENT)
    # Rule 2: a redirect or a 4xx page comes again. A page or a cut body with another status is a gateway's failure.
    if "UnexpectedResponseError" in names and 300 <= status < 500:
        return failure._replace(transient=False)
    # Rule 3: a gateway can have answered in place of a server that accepted the start, and not in A2E's words.
    if "APIError" in names and (is_of_gateway(status) or getattr(error, "ambiguous", False)):
        return failure._replace(outcome=StartOutcome.UNKNOWN)
    # Rule 4: the storage was out of reach or broken. That may pass, and the files of other jobs would fail as well.
    if "TransferError" in names and type(error.__cause__).__name__ in {"NetworkError", "ServerError"}:
        return failure._replace(transient=True, scope="service")
    # Rule 5: the disk is full or gone, or the folder cannot be written.
    if "TransferError" in names and getattr(error.__cause__, "errno", None) in _NOT_STORABLE:
        return failure._replace(scope="disk")
    return failure


def is_of_gateway(status: int) -> bool:
    """Tell whether a status can come from a gateway that gave up, while the server behind it goes on.

    That is 408 and 5xx, 421 and 425 (about a connection), 452 to 499 (own numbers of gateways).
    """
    return status in {408, 421, 425} or 451 < status < 1000


def is_throttled(error: BaseException) -> bool:
    """Tell whether a response asks the whole client to slow down: by its class, or with any ``Retry-After``."""
    return failure_of(error).throttled == "client" or getattr(error, "retry_after", None) is not None


def is_held_back(error: BaseException) -> bool:
    """Tell whether a response asks to send the request later: this operation is busy, or the whole client too fast."""
    return bool(failure_of(error).throttled) or is_throttled(error)
