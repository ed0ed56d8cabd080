"""Async SDK for the A2E video API: slow, paid, remote jobs, awaited safely.

Begin with `A2EClient`; every asynchronous job is a `TaskHandle`; every error is an `A2EError`.
"""

from __future__ import annotations

from a2e_async.client import A2EClient
from a2e_async.config import Config, Pacing, PollPolicy, RetryPolicy, StartPolicy
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    ClientClosedError,
    ConfigurationError,
    ContentRejectedError,
    InsufficientCreditsError,
    InvalidRequestError,
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
    WaitError,
    WaitTimeoutError,
)
from a2e_async.models import ImageToVideoRecord, ModelType, ModelVersion, TaskRecord, TaskStatus, TaskUpdate
from a2e_async.outcomes import Outcome
from a2e_async.resources.image_to_video import StartOptions
from a2e_async.tasks import TaskHandle
from a2e_async.webhooks import WebhookReceiver

__version__ = "0.1.0"

__all__ = [
    "A2EClient",
    "A2EError",
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "BusyError",
    "ClientClosedError",
    "Config",
    "ConfigurationError",
    "ContentRejectedError",
    "ImageToVideoRecord",
    "InsufficientCreditsError",
    "InvalidRequestError",
    "MissingExtraError",
    "ModelType",
    "ModelVersion",
    "NetworkError",
    "NotFoundError",
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
    "WaitError",
    "WaitTimeoutError",
    "WebhookReceiver",
    "__version__",
]
