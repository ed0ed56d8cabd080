"""JSON -> models. The only file that knows cattrs, and the only one that knows how A2E spells its fields.

Scalars are read leniently (reference 1.6: empty is ``""``, null or absent; numbers come as strings), so that a record
with an ``_id`` can always be read.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from a2e_async._protocol.statuses import IMAGE_TO_VIDEO, status_of
from a2e_async.models.common import TaskRecord, TaskStatus
from a2e_async.models.image_to_video import ImageToVideoRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["from_record", "moment", "to_record"]

R = TypeVar("R", bound=TaskRecord)

_WORDS: dict[type[TaskRecord], Mapping[str, TaskStatus]] = {ImageToVideoRecord: IMAGE_TO_VIDEO}
_SPELLINGS = {"id": "_id", "created_at": "createdAt", "progress": "process"}
_OURS = frozenset({"status", "trace_id", "extra"})
"""Fields that are not A2E's: what it calls by the same name goes to `extra`."""

_NO_TEXT = frozenset({"coins", "created_at", "progress"})

_REASONS = ("faild_message", "fail_reason", "error", "msg")
"""Where else the text of a failure may stand (reference 1.13; the misspelling is A2E's)."""


def to_record(model: type[R], raw: dict[str, Any], *, trace_id: str = "") -> R:
    """Read one record of A2E. It must have an ``_id``; everything else may be missing."""
    names = _NAMES[model]
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in raw.items():
        name = names.get(key)
        if name is None:
            extra[key] = value
        else:
            known[name] = value if value.__class__ is str or name in _NO_TEXT else _text(value)
    word = known.get("current_status", "").strip().lower()
    code = known.get("failed_code", "").strip()
    code = "" if code == "0" else code
    has_result = bool(known.get("result_url", "").strip())
    status = status_of(_WORDS[model], word, failed_code=code, has_result=has_result)
    if status is TaskStatus.FAILED and not known.get("failed_message"):
        known["failed_message"] = next((text for key in _REASONS if (text := _text(raw.get(key)))), "")
    known |= {"status": status, "current_status": word, "failed_code": code, "trace_id": trace_id, "extra": extra}
    return cast("R", _STRUCTURE[model](known, model))


def from_record(record: TaskRecord) -> dict[str, Any]:
    """Write a record as A2E shows it, so that `to_record` reads it again. All of it can be written as JSON."""
    raw = dict(record.extra)
    for theirs, ours in _NAMES[type(record)].items():
        value = getattr(record, ours)
        raw[theirs] = value.isoformat() if isinstance(value, dt.datetime) else value
    return raw


def _field_names(model: type[TaskRecord]) -> dict[str, str]:
    """Return A2E's name of each field of a model, and ours."""
    ours = (field.name for field in attrs.fields(model) if field.name not in _OURS)
    return {_SPELLINGS.get(name, name): name for name in ours}


def _text(value: object) -> str:
    """Read text: a number is written out, and what can be no text (null, a boolean, a container) is empty."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        return str(value)
    except ValueError:  # an integer of more digits than Python writes
        return ""


def _number(value: object, _: object = None) -> float | None:
    """Read coins: an integer stays one, text is tried, anything else is unknown."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def moment(value: object, _: object = None) -> dt.datetime | None:
    """Read a time as UTC: ISO-8601 text, leniently."""
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(float | None, _number)
    converter.register_structure_hook(dt.datetime | None, moment)
    return converter


def _as_it_is(value: Any, _: object) -> Any:  # noqa: ANN401  what `to_record` has made
    return value


_NAMES = {model: _field_names(model) for model in _WORDS}
_CONVERTER = _make_converter()
_READY = override(struct_hook=_as_it_is)
_STRUCTURE = {
    model: make_dict_structure_fn(model, _CONVERTER, status=_READY, trace_id=_READY, extra=_READY) for model in _WORDS
}
