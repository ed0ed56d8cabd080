"""Async SDK for the A2E video API.

Start with `A2EClient`. Every asynchronous job is a `TaskHandle`; every error is an `A2EError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from a2e_async import _version, errors
from a2e_async._lazy import importer
from a2e_async.errors import *

if TYPE_CHECKING:
    from a2e_async._polling.updates import OnUpdate
    from a2e_async._submission.keys import KeyEntry, KeyStore, SQLiteKeyStore
    from a2e_async.batch import Job
    from a2e_async.client import A2EClient
    from a2e_async.config import Config, OnUnknown, Pacing, PollPolicy, RetryPolicy, StartPolicy
    from a2e_async.files import AsyncFile, IfExists, Image, Media, PillowImage, ResultStream, WritableFile
    from a2e_async.models import ImageToVideoRecord, ModelType, ModelVersion, TaskRecord, TaskStatus, TaskUpdate
    from a2e_async.resources.image_to_video import StartOptions
    from a2e_async.resources.inputs import CommonStartOptions, Webhook
    from a2e_async.tasks import CancelPolicy, TaskHandle, WaitResult
    from a2e_async.webhooks import WebhookReceiver

__version__ = _version.VERSION

__all__ = [
    "A2EClient",
    "AsyncFile",
    "CancelPolicy",
    "CommonStartOptions",
    "Config",
    "IfExists",
    "Image",
    "ImageToVideoRecord",
    "Job",
    "KeyEntry",
    "KeyStore",
    "Media",
    "ModelType",
    "ModelVersion",
    "OnUnknown",
    "OnUpdate",
    "Pacing",
    "PillowImage",
    "PollPolicy",
    "ResultStream",
    "RetryPolicy",
    "SQLiteKeyStore",
    "StartOptions",
    "StartPolicy",
    "TaskHandle",
    "TaskRecord",
    "TaskStatus",
    "TaskUpdate",
    "WaitResult",
    "Webhook",
    "WebhookReceiver",
    "WritableFile",
    "__version__",
]
__all__ += errors.__all__

# name -> module of the names below; all errors and warnings come from `errors`
_MODULES = {
    "OnUpdate": "_polling.updates",
    "KeyEntry": "_submission.keys",
    "KeyStore": "_submission.keys",
    "SQLiteKeyStore": "_submission.keys",
    "Job": "batch",
    "A2EClient": "client",
    "Config": "config",
    "OnUnknown": "config",
    "Pacing": "config",
    "PollPolicy": "config",
    "RetryPolicy": "config",
    "StartPolicy": "config",
    "AsyncFile": "files",
    "IfExists": "files",
    "Image": "files",
    "Media": "files",
    "PillowImage": "files",
    "ResultStream": "files",
    "WritableFile": "files",
    "ImageToVideoRecord": "models",
    "ModelType": "models",
    "ModelVersion": "models",
    "TaskRecord": "models",
    "TaskStatus": "models",
    "TaskUpdate": "models",
    "StartOptions": "resources.image_to_video",
    "CommonStartOptions": "resources.inputs",
    "Webhook": "resources.inputs",
    "CancelPolicy": "tasks",
    "TaskHandle": "tasks",
    "WaitResult": "tasks",
    "WebhookReceiver": "webhooks",
}


if not TYPE_CHECKING:
    __getattr__ = importer(__name__, _MODULES)  # `a2e --help` imports this package, and must not wait for aiohttp


def __dir__() -> list[str]:
    """Return all public names, including those that are not imported yet."""
    return sorted({*globals(), *__all__})
