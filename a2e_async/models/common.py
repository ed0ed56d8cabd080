"""Base classes of all models. Models are values without methods that send requests: see `TaskHandle` for those."""

import datetime as dt
import enum
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from a2e_async._values import Value
from a2e_async.models.schemas import model_schema

__all__ = ["Item", "TaskRecord", "TaskStatus", "TaskUpdate"]


@attrs.frozen(eq=False, repr=False)
class _Model(Value):
    """Base of all models."""

    def to_dict(self, *, links: bool = False) -> dict[str, Any]:
        """Return the fields by their names, with values that `json` can write: text, numbers, lists and dicts.

        A status is its word, a time is ISO-8601 text.

        Args:
            links: Whether to keep links and tokens. They work without a password, so by default they are left
                out, also those in `extra`.
        """
        return _to_plain({field.name: getattr(self, field.name) for field in attrs.fields(type(self))}, links=links)  # type: ignore[no-any-return]  # a dict for a dict

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: Any) -> Any:  # noqa: ANN401  pydantic's types
        """Let pydantic and FastAPI use a model: its JSON is that of `to_dict()`, without links."""
        return model_schema(cls, handler, cls.to_dict)


def _to_plain(value: Any, *, links: bool) -> Any:  # noqa: ANN401  any value of a model
    if isinstance(value, _Model):
        return value.to_dict(links=links)
    if isinstance(value, Mapping):
        return {
            key: _to_plain(inner, links=links)
            for key, inner in value.items()
            if links or not _is_confidential(key, inner)
        }
    if isinstance(value, list | tuple):
        return [_to_plain(inner, links=links) for inner in value if links or not _is_confidential("", inner)]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return value.value if isinstance(value, enum.Enum) else value


def _is_confidential(name: str, value: object) -> bool:
    is_link = isinstance(value, str) and value.lower().startswith(("http://", "https://"))
    return is_link or str(name).lower().endswith(("url", "urls", "token"))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Item(_Model):
    """Base of all values that are not tasks.

    Attributes:
        extra: Fields of the response that this version of the package does not know, unchanged.
    """

    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


class TaskStatus(enum.StrEnum):
    """Status of a task, the same four words for all families. A2E's own word is in `TaskRecord.current_status`.

    Attributes:
        is_final: The status can no longer change.
    """

    is_final: bool

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    def __init__(self, word: str) -> None:
        self.is_final = word in {"succeeded", "failed"}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TaskRecord(_Model):
    """State of a task at one moment, as A2E showed it.

    Attributes:
        id: A2E's id, an opaque string.
        name: The name given at the start. Not unique.
        status: The status.
        current_status: A2E's status word, trimmed and in lower case; may be empty.
        failed_code: A2E's code of a failure; empty for all other tasks.
        failed_message: A2E's text of a failure; empty for all other tasks, and for some failed tasks too.
        coins: The price in coins, or None if unknown.
        created_at: Time when A2E accepted the task (UTC), or None.
        progress: Progress in per cent, 0 to 100, in the families whose records have it (A2E's ``process``), else None.
        result_url: Link of the result, which works for about 3 days; empty before the end. Confidential: it needs no
            token.
        trace_id: A2E's id of the request that returned this record.
        extra: Fields of the response that this version of the package does not know, unchanged.
    """

    id: str
    name: str = ""
    status: TaskStatus = TaskStatus.RUNNING
    current_status: str = ""
    failed_code: str = ""
    failed_message: str = ""
    coins: float | None = None
    created_at: dt.datetime | None = None
    progress: float | None = None
    result_url: str = attrs.field(default="", repr=False)
    trace_id: str = attrs.field(default="", eq=False, repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


R = TypeVar("R", bound=TaskRecord)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TaskUpdate(Generic[R]):
    """One change of a task between two polls. A status that lasts less than the time between polls can be missed.

    Attributes:
        task_id: A2E's id of the task.
        old: The status before, or None if unknown.
        new: The status now.
        current_status: A2E's status word now, as in the record.
        progress: Progress in per cent, 0 to 100, or None if unknown.
        seen_at: Time of the response that showed the change (UTC, by this machine's clock).
        record: The record.
    """

    task_id: str
    old: TaskStatus | None
    new: TaskStatus
    current_status: str
    progress: float | None
    seen_at: dt.datetime
    record: R = attrs.field(repr=False)
