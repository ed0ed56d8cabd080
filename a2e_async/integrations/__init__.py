"""What web applications and bots need around a client; one module for each framework, imported only if it is used.

`serving` and `Supervisor` are plain asyncio. The modules are `aiohttp`, `starlette`, `fastapi`, `litestar`, `quart`,
`django`, `flask`, `blocking`, `mcp` for language models, and `opentelemetry` for traces and metrics.
"""

from a2e_async.integrations.http_errors import ErrorResponse, error_response
from a2e_async.integrations.lifespan import serving
from a2e_async.integrations.streams import live_status, server_sent_events, status_of
from a2e_async.integrations.supervisor import Lease, OnEnd, OnSuccess, OpenIds, Supervisor, Watched, WatchedFamily

__all__ = [
    "ErrorResponse",
    "Lease",
    "OnEnd",
    "OnSuccess",
    "OpenIds",
    "Supervisor",
    "Watched",
    "WatchedFamily",
    "error_response",
    "live_status",
    "server_sent_events",
    "serving",
    "status_of",
]
