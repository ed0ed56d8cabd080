"""Meaning of errors: whether an error is transient, and whether a paid request may be sent again."""

import enum

from a2e_async.errors import (
    A2EError,
    APIError,
    BudgetError,
    BusyError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    MissingExtraError,
    NetworkError,
    RateLimitError,
    ServerError,
    TransferError,
    UnexpectedResponseError,
)

THROTTLING_ERRORS = (BusyError, RateLimitError)

_TRANSIENT = (*THROTTLING_ERRORS, NetworkError, ServerError)

# Raised before the start itself is sent.
_LOCAL = (BudgetError, ClientClosedError, ConfigurationError, InvalidRequestError, MissingExtraError, TransferError)


def is_transient(error: A2EError) -> bool:
    """Tell whether an error may pass by itself, so that a retry can succeed."""
    if isinstance(error, UnexpectedResponseError):
        # A redirect or a 4xx page comes again. A page or a cut body with another status is a gateway's failure.
        return not 300 <= error.status < 500
    return isinstance(error, _TRANSIENT)


def is_throttled(error: A2EError) -> bool:
    """Tell whether a response asks the whole client to slow down: 429, "busy", or any ``Retry-After``."""
    return isinstance(error, RateLimitError | BusyError) or (
        isinstance(error, APIError) and error.retry_after is not None
    )


class StartOutcome(enum.Enum):
    """Outcome of a paid request that failed."""

    NOT_SENT = "not sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


def start_outcome(error: A2EError) -> StartOutcome:
    """Return the outcome of a paid request that failed with an error.

    An outcome is `StartOutcome.NOT_SENT` or `StartOutcome.REJECTED` only if A2E certainly did not accept the request.
    """
    # Case 1: no whole response. The transport knows whether the request left this machine.
    if isinstance(error, NetworkError):
        return StartOutcome.UNKNOWN if error.request_sent else StartOutcome.NOT_SENT
    # Case 2: an error of this package, raised before the request.
    if isinstance(error, _LOCAL):
        return StartOutcome.NOT_SENT
    # Case 3: A2E's own error body. A 5xx or 408 can come from a gateway in front of a server that accepted the start.
    if isinstance(error, APIError) and not isinstance(error, ServerError):
        return StartOutcome.REJECTED if error.status < 500 and error.status != 408 else StartOutcome.UNKNOWN
    # Case 4: everything else, such as a web page or a cut response, and error classes that are added later.
    return StartOutcome.UNKNOWN


def may_send_again(error: A2EError) -> bool:
    """Tell whether a paid request may be sent again: it was certainly not accepted, and the error is transient."""
    outcome = start_outcome(error)
    if outcome is StartOutcome.NOT_SENT:
        return isinstance(error, NetworkError)  # the errors of case 2 come again
    return outcome is StartOutcome.REJECTED and isinstance(error, BusyError | RateLimitError)
