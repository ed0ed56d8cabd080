"""The types of what the sandbox's tests share: what their fixtures can be asked, and what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from attrs import frozen

from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    from collections.abc import Mapping

    from a2e_async.sandbox.state import Task


def under(weather: Weather | None, **options: Any) -> Sandbox:
    """Make a sandbox with tiny videos in which every task stays initialized, unless the options say otherwise."""
    settings: dict[str, Any] = {"speed": 0.001, "render": "tiny"} | options
    return Sandbox(weather=weather, **settings)


def meeting(*faults: Fault | None, operation: str = "start", **options: Any) -> Sandbox:
    """Make a sandbox in which the requests of an operation meet these faults, one after the other."""
    return under(Weather(script={operation: faults}), **options)


def notes(sandbox: Sandbox) -> list[tuple[int, str]]:
    """List status and fault of every request that was noted."""
    return [(seen.status, seen.fault) for seen in sandbox.requests]


@frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """The decoded JSON body."""
        return json.loads(self.content)

    @property
    def data(self) -> Any:
        """What the envelope holds."""
        return self.body["data"]

    @property
    def fields(self) -> list[str]:
        """The names of the fields that were called wrong."""
        return [error["field"] for error in self.body["errors"]]


class Call(Protocol):
    """Asks a sandbox."""

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
    ) -> Answer:
        """Ask, by default with the sandbox's token; `path` is one of its paths or a whole URL."""
        ...


class Start(Protocol):
    """Starts a video."""

    async def __call__(self, sandbox: Sandbox, prompt: str | None = "she smiles", **fields: object) -> Answer:
        """Answer what came back; a field that is `None` is left out."""
        ...


class Finished(Protocol):
    """Starts a video and waits for its end."""

    async def __call__(self, sandbox: Sandbox, prompt: str = "she smiles", **fields: object) -> Task:
        """Return the task."""
        ...


class Host(Protocol):
    """Puts an answer at a URL."""

    def __call__(self, body: bytes = b"", content_type: str = "image/png", status: int = 200, **headers: str) -> str:
        """Return the URL."""
        ...


class UploadLink(TypedDict):
    """What is answered to who asks for an upload link."""

    uploadUrl: str
    cdnUrl: str
    key: str
    bucket: str
    expiresIn: int


class Presign(Protocol):
    """Asks for an upload link."""

    async def __call__(self, sandbox: Sandbox, **fields: object) -> UploadLink:
        """Return the link and where its object will be."""
        ...
