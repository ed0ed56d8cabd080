"""Async SDK for the A2E video API: slow, paid, remote jobs, awaited safely.

Begin with `A2EClient`; every asynchronous job is a `TaskHandle`; every error is an `A2EError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from a2e_async._polling.updates import OnUpdate
    from a2e_async.batch import Job
    from a2e_async.client import A2EClient
    from a2e_async.config import Config, OnUnknown, Pacing, PollPolicy, RetryPolicy, StartPolicy
    from a2e_async.errors import (
        A2EError,
        APIError,
        AuthenticationError,
        BadRequestError,
        BudgetError,
        BusyError,
        ClientClosedError,
        ConfigurationError,
        ContentRejectedError,
        EndpointNotAvailableError,
        InsufficientCreditsError,
        InvalidRequestError,
        JournalError,
        MissingExtraError,
        NetworkError,
        NotFoundError,
        OutageError,
        PlanError,
        RateLimitError,
        ServerError,
        SubmissionUncertainError,
        TaskError,
        TaskFailedError,
        TaskNotFoundError,
        TransferError,
        UnexpectedResponseError,
        UnpublishedEndpointWarning,
        WaitError,
        WaitTimeoutError,
    )
    from a2e_async.files import Image, Media
    from a2e_async.models import ImageToVideoRecord, ModelType, ModelVersion, TaskRecord, TaskStatus, TaskUpdate
    from a2e_async.resources.image_to_video import StartOptions
    from a2e_async.resources.inputs import Webhook
    from a2e_async.tasks import CancelPolicy, Outcome, TaskHandle
    from a2e_async.webhooks import WebhookReceiver

__version__ = "0.1.0"

__all__ = [
    "A2EClient",
    "A2EError",
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetError",
    "BusyError",
    "CancelPolicy",
    "ClientClosedError",
    "Config",
    "ConfigurationError",
    "ContentRejectedError",
    "EndpointNotAvailableError",
    "Image",
    "ImageToVideoRecord",
    "InsufficientCreditsError",
    "InvalidRequestError",
    "Job",
    "JournalError",
    "Media",
    "MissingExtraError",
    "ModelType",
    "ModelVersion",
    "NetworkError",
    "NotFoundError",
    "OnUnknown",
    "OnUpdate",
    "OutageError",
    "Outcome",
    "Pacing",
    "PlanError",
    "PollPolicy",
    "RateLimitError",
    "RetryPolicy",
    "ServerError",
    "StartOptions",
    "StartPolicy",
    "SubmissionUncertainError",
    "TaskError",
    "TaskFailedError",
    "TaskHandle",
    "TaskNotFoundError",
    "TaskRecord",
    "TaskStatus",
    "TaskUpdate",
    "TransferError",
    "UnexpectedResponseError",
    "UnpublishedEndpointWarning",
    "WaitError",
    "WaitTimeoutError",
    "Webhook",
    "WebhookReceiver",
    "__version__",
]

_HOMES = {
    "OnUpdate": "_polling.updates",
    "Job": "batch",
    "A2EClient": "client",
    "Config": "config",
    "OnUnknown": "config",
    "Pacing": "config",
    "PollPolicy": "config",
    "RetryPolicy": "config",
    "StartPolicy": "config",
    "Image": "files",
    "Media": "files",
    "ImageToVideoRecord": "models",
    "ModelType": "models",
    "ModelVersion": "models",
    "TaskRecord": "models",
    "TaskStatus": "models",
    "TaskUpdate": "models",
    "Outcome": "tasks",
    "StartOptions": "resources.image_to_video",
    "Webhook": "resources.inputs",
    "CancelPolicy": "tasks",
    "TaskHandle": "tasks",
    "WebhookReceiver": "webhooks",
}
"""Where the names come from that are no errors."""


if not TYPE_CHECKING:  # a type checker would take any name

    def __getattr__(name: str) -> object:
        """Import a name when it is first asked for: who types `a2e --help` need not wait for aiohttp."""
        home = "errors" if name in __all__ and name.endswith(("Error", "Warning")) else _HOMES.get(name)
        if home is None:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value


def __dir__() -> list[str]:
    """Name also what is not imported yet."""
    return sorted({*globals(), *__all__})
