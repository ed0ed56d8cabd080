"""One operation of A2E with its fallback names, and whether an error means that A2E does not have it.

A2E has renamed operations, and does not publish which old names still work. An endpoint can therefore have a fallback:
it is tried after a response that means "no such operation" (reference 1.5: a wrong path gives 404 with a web page).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from a2e_async._protocol.messages import Request
from a2e_async._protocol.validation import raise_invalid
from a2e_async.errors import A2EError, NotFoundError, UnexpectedResponseError

_NO_SUCH = frozenset({404, 405})


@attrs.frozen(eq=False, repr=False)
class Endpoint:
    """One operation of A2E: method, path, and where the id goes.

    Attributes:
        method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
        path: From the root of the host. ``{id}`` stands for an id.
        field: Where the id goes if it is not in the path: into the query of a ``GET``, else into the body.
        fallback: The endpoint to try if A2E does not have this one, or None.
    """

    method: str
    path: str
    field: str = ""
    fallback: Endpoint | None = None

    @classmethod
    def of(cls, text: str, *fallbacks: str) -> Endpoint:
        """Parse an endpoint as the tables write it.

        Args:
            text: ``"GET userVoice/{id}"``, ``"GET video/detail?video_id"`` or ``"POST userVideoTwin/remove _id"``.
            fallbacks: Its fallbacks in the same notation, the best first.
        """
        method, path, *field = text.replace("?", " ").split()
        return cls(method, f"/api/v1/{path}", "".join(field), cls.of(*fallbacks) if fallbacks else None)

    @property
    def has_id(self) -> bool:
        """Whether the operation takes an id, so that a 404 can mean that this id does not exist."""
        return bool(self.field) or "{id}" in self.path

    def request(
        self,
        id: str | None = None,
        *,
        json: dict[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        paid: bool = False,
        repeatable: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """Return the request, with the id where the operation takes it. The other arguments are those of `Request`.

        Raises:
            InvalidRequestError: The operation takes an id, and `id` is not one.
        """
        path, fields = self.path, dict[str, Any]()
        if self.field or "{id}" in path:
            path = path.replace("{id}", quote_id(id))
        if self.field:
            fields[self.field] = id
        # trap 17: one name of an operation takes as its query what another one takes as its body. A GET has no body,
        # and the other methods have no query, so both arguments are merged
        if params:
            fields.update(params)
        if json:
            fields.update(json)
        is_read = self.method == "GET"
        return Request(
            method=self.method,
            path=path,
            json=None if is_read or (json is None and not fields) else fields,
            params={name: str(value) for name, value in fields.items()} if is_read and fields else None,
            paid=paid,
            repeatable=repeatable,
            timeout=timeout,
            operation=f"{self.method} {self.path}",
        )


def quote_id(task_id: object) -> str:
    """Return an id as one segment of a path, so that no id can reach another path.

    Raises:
        InvalidRequestError: The value is not a task id.
    """
    if not isinstance(task_id, str) or not task_id.strip():
        raise_invalid(f"A task id must be a non-empty str, not {task_id!r}")
    if task_id.isascii() and task_id.isalnum():  # the usual case
        return task_id
    quoted = quote(task_id, safe="", errors="replace")
    if not quoted.strip("."):  # quote() leaves "." and ".." as they are, and servers resolve them to other paths
        raise_invalid(f"{task_id!r} is not a task id")
    return quoted


def is_unknown_endpoint(error: A2EError, endpoint: Endpoint, *, paid: bool = False) -> bool:
    """Tell whether an error means that A2E has no such operation.

    Args:
        error: The error of the request.
        endpoint: The endpoint that was called.
        paid: Whether the request can cost coins. Then only an error that proves that it was not accepted counts.
    """
    if isinstance(error, NotFoundError):
        return not endpoint.has_id  # with an id, a JSON 404 is about that id
    if not isinstance(error, UnexpectedResponseError):
        return False
    if error.status in _NO_SUCH:
        return True
    # a web page with another status can come from a gateway, behind which a paid request may have been accepted
    return not paid and not 300 <= error.status < 400 and error.body.lstrip()[:1] == b"<"
