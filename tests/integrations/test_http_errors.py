"""Errors of this package as responses of a web application."""

from __future__ import annotations

import http
import inspect
import logging

import pytest

from a2e_async import errors
from a2e_async.integrations import error_response

ERRORS = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.A2EError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_response(kind: type[errors.A2EError], caplog: pytest.LogCaptureFixture) -> None:
    """Each error has a valid status. Its text reaches the visitor or the log, and not both."""
    with caplog.at_level(logging.INFO, "a2e_async"):
        response = error_response(kind("the words of A2E", task_id="6927"))
    assert http.HTTPStatus(response.status) >= 400
    assert response.body["error"] == kind.__name__
    assert response.body["task_id"] == "6927"
    assert ("the words of A2E" in response.body["detail"]) is not ("the words of A2E" in caplog.text)


@pytest.mark.parametrize(
    ("error", "detail", "retryable"),
    [
        (errors.InvalidRequestError("no image"), "no image", False),
        (errors.ContentRejectedError("not allowed"), "not allowed", False),
        (errors.TaskFailedError("no face", task_id="6927"), "no face", False),
        (errors.TaskNotFinishedError("not finished"), "not finished", False),
        (errors.InsufficientCreditsError("7 coins left"), "Payment Required", False),
        (errors.AuthenticationError("token of ada"), "Internal Server Error", False),
        (errors.BusyError("full"), "Service Unavailable", True),
        (errors.NetworkError("10.0.0.1 refused"), "Bad Gateway", True),
    ],
)
def test_visitor_reads_about_his_own_request_only(error: errors.A2EError, detail: str, retryable: bool) -> None:  # noqa: FBT001
    """Texts about the account, A2E or the network are not for visitors."""
    body = error_response(error).body
    assert (body["detail"], body["retryable"]) == (detail, retryable)


@pytest.mark.parametrize(("pause", "header"), [(None, None), (0.0, "1"), (1.2, "2"), (30.0, "30")])
def test_retry_after_is_in_whole_seconds(pause: float | None, header: str | None) -> None:
    """A pause that A2E asks for is rounded up: HTTP has whole seconds only."""
    error = errors.RateLimitError("slow down", retry_after=pause)
    assert error_response(error).headers == ({} if header is None else {"Retry-After": header})
