"""FastAPI: the lifespan of a client, its dependency, the live status of a task, and errors as responses."""

from typing import Annotated, TypeAlias

from fastapi import Depends

from a2e_async.client import A2EClient
from a2e_async.integrations.starlette import (
    a2e_lifespan,
    add_error_handler,
    event_stream,
    get_a2e,
    result_response,
    send_updates,
)

__all__ = ["A2E", "a2e_lifespan", "add_error_handler", "event_stream", "get_a2e", "result_response", "send_updates"]

A2E: TypeAlias = Annotated[A2EClient, Depends(get_a2e)]
"""The client of the application, as a parameter of a path operation, ``async def start(a2e: A2E)``."""
