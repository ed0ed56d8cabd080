"""The types of what the sandbox's tests share: what their fixtures can be asked, and what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from a2e_async.sandbox import Sandbox
    from a2e_async.sandbox.state import Task


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
