"""JSON -> models. The only file that knows cattrs, and the only one that knows how A2E spells its fields.

Scalars are read leniently (reference 1.6: empty is ``""``, null or absent; numbers come as strings), so that a record
with an ``_id`` can always be read.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from a2e_async._protocol.statuses import IMAGE_TO_VIDEO, status_of
from a2e_async.models.common import TaskRecord, TaskStatus
from a2e_async.models.image_to_video import ImageToVideoRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["to_record"]

R = TypeVar("R", bound=TaskRecord)

_WORDS: dict[type[TaskRecord], Mapping[str, TaskStatus]] = {ImageToVideoRecord: IMAGE_TO_VIDEO}
_SPELLINGS = {"_id": "id", "createdAt": "created_at"}
_IGNORED = frozenset({"status", "trace_id", "extra"})
"""Fields of our models that are ours: what A2E calls by the same name goes to `extra`."""


def to_record(model: type[R], raw: dict[str, Any], *, trace_id: str = "") -> R:
    """Read one record of A2E. It must have an ``_id``; everything else may be missing."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    names = _field_names(model)
    for key, value in raw.items():
        name = _SPELLINGS.get(key, key)
        (known if name in names else extra)[name if name in names else key] = value
    word = _text(known.get("current_status")).strip().lower()
    code = _text(known.get("failed_code")).strip()
    code = "" if code == "0" else code
    known |= {"current_status": word, "failed_code": code, "trace_id": trace_id, "extra": extra}
    known["status"] = status_of(_WORDS[model], word, failed_code=code, has_result=bool(_text(known.get("result_url"))))
    return _CONVERTER.structure(known, model)


def _field_names(model: type[TaskRecord]) -> frozenset[str]:
    names = _NAMES.get(model)
    if names is None:
        names = _NAMES[model] = frozenset(field.name for field in attrs.fields(model)) - _IGNORED
    return names


_NAMES: dict[type[TaskRecord], frozenset[str]] = {}


def _text(value: object, _: object = None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)


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


def _moment(value: object, _: object = None) -> dt.datetime | None:
    """Read a time as UTC: ISO-8601 text, leniently."""
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _make() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(float | None, _number)
    converter.register_structure_hook(dt.datetime | None, _moment)
    converter.register_structure_hook(TaskStatus, lambda value, _: value)
    for model in _WORDS:
        converter.register_structure_hook(model, make_dict_structure_fn(model, converter))
    return converter


_CONVERTER = _make()
