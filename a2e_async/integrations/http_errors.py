"""Errors of this package as responses of a web application."""

import http
import logging
import math
from typing import Any

import attrs

from a2e_async.errors import A2EError, ClientClosedError, TaskFailedError

__all__ = ["ErrorResponse", "error_response"]

_LOGGER = logging.getLogger("a2e_async")

# These statuses are about the visitor's own request. The texts of all others are about the account, A2E or the network.
_ABOUT_THE_REQUEST = frozenset({404, 409, 422})


@attrs.frozen(kw_only=True)
class ErrorResponse:
    """Response of a web application about an error.

    Attributes:
        status: The HTTP status of the error.
        headers: ``Retry-After`` in whole seconds, if A2E asked for a pause.
        body: For JSON: ``error`` (the name of the error class), ``detail`` (a text for the visitor), ``retryable``, and
            ``task_id`` if the error is about a task.
    """

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def error_response(error: A2EError) -> ErrorResponse:
    """Return the response of a web application about an error. Sends nothing.

    Visitors get the message of an error about their own request or task (404, 409, 422, and a failed task). All others
    are about the account, A2E or the network: they are logged, and visitors get the standard phrase of the status.
    """
    status = error.http_status
    is_public = status in _ABOUT_THE_REQUEST or isinstance(error, TaskFailedError)
    if not is_public:
        level = logging.INFO if isinstance(error, ClientClosedError) else logging.ERROR  # the application stops
        _LOGGER.log(level, "A request is answered with HTTP %d: %s: %s", status, type(error).__name__, error)
    body = {
        "error": type(error).__name__,
        "detail": error.message if is_public else http.HTTPStatus(status).phrase,
        "retryable": error.retryable,
    }
    if error.task_id:
        body["task_id"] = error.task_id
    pause = error.retry_after
    headers = {} if pause is None else {"Retry-After": str(max(1, math.ceil(pause)))}
    return ErrorResponse(status=status, headers=headers, body=body)
