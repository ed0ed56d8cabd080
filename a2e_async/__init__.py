"""Async SDK for the A2E video API.

Start with `A2EClient`. Every asynchronous job is a `TaskHandle`; every error is an `A2EError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from a2e_async import errors
from a2e_async.errors import *

if TYPE_CHECKING:
    from a2e_async._polling.updates import OnUpdate
    from a2e_async.batch import Job
    from a2e_async.client import A2EClient
    from a2e_async.config import Config, OnUnknown, Pacing, PollPolicy, RetryPolicy, StartPolicy
    from a2e_async.files import Image, Media
    from a2e_async.models import ImageToVideoRecord, ModelType, ModelVersion, TaskRecord, TaskStatus, TaskUpdate
    from a2e_async.resources.image_to_video import StartOptions
    from a2e_async.resources.inputs import CommonStartOptions, Webhook
    from a2e_async.tasks import CancelPolicy, TaskHandle, WaitResult
    from a2e_async.webhooks import WebhookReceiver

__version__ = "0.1.0"

__all__ = [
    "A2EClient",
    "CancelPolicy",
    "CommonStartOptions",
    "Config",
    "Image",
    "ImageToVideoRecord",
    "Job",
    "Media",
    "ModelType",
    "ModelVersion",
    "OnUnknown",
    "OnUpdate",
    "Pacing",
    "PollPolicy",
    "RetryPolicy",
    "StartOptions",
    "StartPolicy",
    "TaskHandle",
    "TaskRecord",
    "TaskStatus",
    "TaskUpdate",
    "WaitResult",
    "Webhook",
    "WebhookReceiver",
    "__version__",
]
__all__ += errors.__all__

# name -> module of the names below; all errors and warnings come from `errors`
_MODULES = {
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
    "StartOptions": "resources.image_to_video",
    "CommonStartOptions": "resources.inputs",
    "Webhook": "resources.inputs",
    "CancelPolicy": "tasks",
    "TaskHandle": "tasks",
    "WaitResult": "tasks",
    "WebhookReceiver": "webhooks",
}


if not TYPE_CHECKING:  # with a module `__getattr__`, a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a name at its first use."""
        # `a2e --help` imports this package, and must not wait for aiohttp
        module = _MODULES.get(name)
        if module is None:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
        return value


def __dir__() -> list[str]:
    """Return all public names, including those that are not imported yet."""
    return sorted({*globals(), *__all__})
