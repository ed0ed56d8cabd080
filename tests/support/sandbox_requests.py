"""Sandboxes for the sandbox's own tests, and the types of the fixtures that these tests share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from attrs import frozen
from conditions import wait_until

from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from a2e_async.sandbox.state import Task


def sandbox_with(faults: FaultPlan | None, **options: Any) -> Sandbox:
    """Make a sandbox with a fault plan, with tiny videos; by default every task stays initialized."""
    settings: dict[str, Any] = {"speed": 0.001, "render": "tiny"} | options
    return Sandbox(faults=faults, **settings)


def sandbox_with_faults(*faults: Fault | None, operation: str = "start", **options: Any) -> Sandbox:
    """Make a sandbox with one fault for each request of an operation, in this order."""
    return sandbox_with(FaultPlan(script={operation: faults}), **options)


def statuses_and_faults(sandbox: Sandbox) -> list[tuple[int, str]]:
    """List status and fault of every recorded request."""
    return [(seen.status, seen.fault) for seen in sandbox.requests]


async def wait_for_end(task: Task) -> Task:
    """Wait for the end of a task, and return it."""
    await wait_until(lambda: task.done, seconds=60, interval=0.002)
    return task


@frozen
class Response:
    """A response of the sandbox."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """The decoded JSON body."""
        return json.loads(self.content)

    @property
    def data(self) -> Any:
        """The data of the envelope."""
        return self.body["data"]

    @property
    def invalid_fields(self) -> list[str]:
        """The names of the fields that were rejected."""
        return [error["field"] for error in self.body["errors"]]


class Call(Protocol):
    """Sends a request."""

    async def __call__(
        self,
        sandbox: Sandbox,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: object = None,
    ) -> Response:
        """Send a request, by default with the sandbox's token; `path` is one of its paths or a whole URL."""
        ...


class Start(Protocol):
    """Starts a video."""

    async def __call__(self, sandbox: Sandbox, prompt: str | None = "she smiles", **fields: object) -> Response:
        """Return the response; a field that is `None` is left out."""
        ...


class FinishedTask(Protocol):
    """Starts a video and waits for its end."""

    async def __call__(self, sandbox: Sandbox, prompt: str = "she smiles", **fields: object) -> Task:
        """Return the task."""
        ...


class ServeInput(Protocol):
    """Serves a response at a URL, as an input of a task."""

    def __call__(self, body: bytes = b"", content_type: str = "image/png", status: int = 200, **headers: str) -> str:
        """Return the URL."""
        ...


class UploadUrls(TypedDict):
    """The data of a response to a request for an upload URL."""

    uploadUrl: str
    cdnUrl: str
    key: str
    bucket: str
    expiresIn: int


class Presign(Protocol):
    """Requests an upload URL."""

    async def __call__(self, sandbox: Sandbox, **fields: object) -> UploadUrls:
        """Return the upload URL and the later URL of the object."""
        ...
