"""What a batch asks of a family of tasks. The resource of the family fills it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from a2e_async.batch.job import Job
    from a2e_async.files import LocalFile
    from a2e_async.tasks import TaskHandle

__all__ = ["Buy", "Desk", "Purchase"]


@attrs.frozen(kw_only=True)
class Purchase:
    """One start that was checked, before its pictures are uploaded.

    Attributes:
        make_body: Makes the body of the links of the pictures.
        pictures: Local pictures, links, and None for a picture that is not wanted; in the order of `make_body`.
        kind: What decides the price.
    """

    make_body: Callable[..., dict[str, Any]]
    pictures: tuple[LocalFile | str | None, ...]
    kind: Hashable


@attrs.frozen(kw_only=True)
class Desk:
    """A family of tasks, as far as a batch deals with it.

    Attributes:
        base_url: Where A2E is.
        marks_names: Whether starts can be found again by their marker.
        resends: Whether a start is sent once more if nobody knows what became of it, unless the batch says otherwise.
        extension: Of the files of its results, with the dot.
        shown_after: Seconds after which A2E's list shows a task that it has accepted.
        check: Checks a job as far as that is possible without sending anything, and looks at its pictures.
        upload: Uploads a picture and returns its link.
        quote: Asks what a start would cost. Free.
        buy: Starts a task.
        settle: Looks for the task of a start that has a marker and was sent so many seconds ago.
        task: Returns the handle of a task by its id, with what A2E said about it the last time.
    """

    base_url: str
    marks_names: bool
    resends: bool
    extension: str
    shown_after: float
    check: Callable[[Job], Awaitable[Purchase]]
    upload: Callable[[LocalFile], Awaitable[str]]
    quote: Callable[[Purchase], Awaitable[float | None]]
    buy: Buy
    settle: Callable[[str, float], Awaitable[TaskHandle[Any] | None]]
    task: Callable[[str, dict[str, Any] | None], TaskHandle[Any]]


class Buy(Protocol):
    """Starts a task."""

    def __call__(
        self, body: dict[str, Any], *, marker: str, resend: bool, on_late: Callable[[TaskHandle[Any]], None]
    ) -> Awaitable[TaskHandle[Any]]:
        """Send a body with a marker in its name, and return the task.

        Args:
            body: What to send.
            marker: Empty for none.
            resend: Whether to send it once more if nobody knows what became of it.
            on_late: Is told of a task that came of it although the caller was cancelled meanwhile.
        """
        ...
