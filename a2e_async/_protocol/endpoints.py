"""How an operation of A2E is spelt, and whether an answer means that A2E spells it differently.

A2E has renamed operations, and nobody knows which old names still answer. So a route can know an older spelling, which
is tried after an answer that means "no such operation" (reference 1.5: a wrong route answers 404 with a web page).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from a2e_async._protocol.messages import Request
from a2e_async._protocol.validation import quote_id
from a2e_async.errors import A2EError, NotFoundError, UnexpectedResponseError

__all__ = ["Route", "is_wrong_route"]

_NO_SUCH = frozenset({404, 405})


@attrs.frozen(eq=False)
class Route:
    """One operation.

    Attributes:
        method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
        path: From the root of the host. ``{id}`` stands for an id.
        field: Where the id goes if not into the path: into the query of a ``GET``, else into the body.
        older: Another spelling, if the reference knows one.
    """

    method: str
    path: str
    field: str = ""
    older: Route | None = None

    @classmethod
    def of(cls, spelling: str, *older: str) -> Route:
        """Read a route as a table writes it.

        Args:
            spelling: ``"GET userVoice/{id}"``, ``"GET video/detail?video_id"`` or ``"POST userVideoTwin/remove _id"``.
            older: More of them, the best first.
        """
        method, path, *field = spelling.replace("?", " ").split()
        return cls(method, f"/api/v1/{path}", "".join(field), cls.of(*older) if older else None)

    @property
    def has_id(self) -> bool:
        """Whether it is about one thing, so that a 404 can mean that this thing is missing."""
        return bool(self.field) or "{id}" in self.path

    def request(
        self,
        id: str | None = None,
        *,
        json: dict[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        paid: bool = False,
        repeatable: bool = False,
        within: float | None = None,
    ) -> Request:
        """Return the request, for the thing with this id if it is about one. See `Request`.

        What one spelling takes as its query, another one takes as its body (trap 17): a ``GET`` has no body, and
        everything else here has no query.

        Raises:
            InvalidRequestError: It is about one thing, and the id is none.
        """
        path = self.path
        told: dict[str, Any] = {}
        if self.has_id:
            path = path.replace("{id}", quote_id(id))
            told = {self.field: id} if self.field else {}
        told |= {**(params or {}), **(json or {})}
        is_read = self.method == "GET"
        return Request(
            method=self.method,
            path=path,
            json=None if is_read or (json is None and not told) else told,
            params={name: str(value) for name, value in told.items()} if is_read and told else None,
            paid=paid,
            repeatable=repeatable,
            within=within,
        )


def is_wrong_route(error: A2EError, route: Route, *, paid: bool = False) -> bool:
    """Tell whether an answer means that A2E has no such operation.

    A JSON 404 is about the thing that was asked for, if there is one. A web page with another status can come from
    anybody in between, behind whom something paid may have been accepted.
    """
    if isinstance(error, NotFoundError):
        return not route.has_id
    if not isinstance(error, UnexpectedResponseError):
        return False
    if error.status in _NO_SUCH:
        return True
    return not paid and not 300 <= error.status < 400 and error.body.lstrip()[:1] == b"<"
