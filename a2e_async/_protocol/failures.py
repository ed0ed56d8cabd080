"""What an error means: whether it can pass, and whether a paid request may be sent again."""

from __future__ import annotations

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

__all__ = ["TURNED_AWAY", "Outcome", "is_passing", "may_send_again", "outcome", "turns_away"]

TURNED_AWAY = (BusyError, RateLimitError)
_PASSING = (*TURNED_AWAY, NetworkError, ServerError)


def is_passing(error: A2EError) -> bool:
    """Tell whether the trouble can pass by itself, so that asking again makes sense.

    Of the answers that make no sense, a redirect or a 4xx page will come again; a page or a cut body that came with
    another status is a gateway's trouble.
    """
    if isinstance(error, UnexpectedResponseError):
        return not 300 <= error.status < 500
    return isinstance(error, _PASSING)


def turns_away(error: A2EError) -> bool:
    """Tell whether an answer asks the whole client to slow down: 429, "busy", or any ``Retry-After``."""
    return isinstance(error, RateLimitError | BusyError) or (
        isinstance(error, APIError) and error.retry_after is not None
    )


_LOCAL = (BudgetError, ClientClosedError, ConfigurationError, InvalidRequestError, MissingExtraError, TransferError)
"""What is raised before the start itself is sent."""


class Outcome(enum.Enum):
    """What is known about a paid request that did not bring a good answer."""

    NOT_SENT = "not sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


def outcome(error: A2EError) -> Outcome:
    """Tell what an error means for the coins: only what surely was not accepted counts as not sent or rejected.

    A 5xx can come from a gateway behind which the start was accepted, and so can a page or a cut answer.
    """
    if isinstance(error, NetworkError):
        return Outcome.UNKNOWN if error.request_sent else Outcome.NOT_SENT
    if isinstance(error, _LOCAL):
        return Outcome.NOT_SENT
    if isinstance(error, APIError) and not isinstance(error, ServerError):
        return Outcome.REJECTED if error.status < 500 and error.status != 408 else Outcome.UNKNOWN
    return Outcome.UNKNOWN


def may_send_again(error: A2EError) -> bool:
    """Tell whether a paid request may be sent again: it surely was not accepted, and this can pass by itself."""
    result = outcome(error)
    if result is Outcome.NOT_SENT:
        return isinstance(error, NetworkError)
    return result is Outcome.REJECTED and isinstance(error, BusyError | RateLimitError)
