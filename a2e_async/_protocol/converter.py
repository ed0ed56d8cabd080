"""JSON -> models. The only file that knows cattrs, and the only one that knows how A2E spells its fields.

Scalars are read leniently (reference 1.6: empty is ``""``, null or absent; numbers come as strings), so that a record
with an ``_id`` can always be read.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import attrs
import cattrs

from a2e_async._protocol.families import Family
from a2e_async._protocol.statuses import status_of
from a2e_async.models.common import Item, TaskRecord, TaskStatus
from a2e_async.models.voices import Language, PublicVoice, Region

__all__ = ["from_record", "languages_in", "moment", "to_item", "to_record", "voices_in"]

R = TypeVar("R", bound=TaskRecord)
I = TypeVar("I", bound=Item)  # noqa: E741  an item

_SPELLINGS = {
    "id": "_id",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
    "progress": "process",
    "tts_rate": "ttsRate",
    "has_refund_coin": "hasRefundCoin",
    "app_id": "appId",
    "validated": "generationRequestValidated",
}
"""Our name of a field -> A2E's, where they differ."""

_OURS = frozenset({"status", "trace_id", "extra", "result_urls"})
"""Fields that are not A2E's: what it calls by the same name goes to `extra`."""

_REASONS = ("faild_message", "fail_reason", "error", "msg")
"""Where else the text of a failure may stand (reference 1.13; the misspelling is A2E's)."""


def to_record(model: type[R], raw: dict[str, Any], family: Family, *, trace_id: str = "") -> R:
    """Read one record of a family of tasks. It must have an ``_id``; everything else may be missing."""
    shape = _shape_of(model, family)
    names, not_text = shape.names, shape.not_text
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in raw.items():
        name = names.get(key)
        if name is None:
            extra[key] = value
        else:
            known[name] = value if value.__class__ is str or name in not_text else _text(value)
    if shape.links is not None:
        known |= shape.found_links(raw)
    word = known.get("current_status", "").strip().lower()
    code = known.get("failed_code", "").strip()
    code = "" if code == "0" else code
    has_result = bool(known.get("result_url", "").strip())
    status = status_of(family.words, word, failed_code=code, has_result=has_result)
    if status is TaskStatus.FAILED and not known.get("failed_message"):
        known["failed_message"] = next((text for key in _REASONS if (text := _text(raw.get(key)))), "")
    known |= {"status": status, "current_status": word, "failed_code": code, "trace_id": trace_id, "extra": extra}
    return cast("R", shape.build(known, model))


def to_item(model: type[I], raw: dict[str, Any]) -> I:
    """Read anything else that A2E shows. Everything may be missing."""
    shape = _shape_of(model, None)
    known = {name: raw[key] for key, name in shape.names.items() if raw.get(key) is not None}
    texts = {name: value if name in shape.not_text else _text(value) for name, value in known.items()}
    extra = {key: value for key, value in raw.items() if key not in shape.names}
    return cast("I", shape.build({**texts, "extra": extra}, model))


def from_record(record: TaskRecord) -> dict[str, Any]:
    """Write a record as most families show it, so that `to_record` reads it again. It can be written as JSON."""
    raw = dict(record.extra)
    for theirs, ours in _names_of(type(record)).items():
        value = getattr(record, ours)
        raw[theirs] = value.isoformat() if isinstance(value, dt.datetime) else value
    return raw


@attrs.define(eq=False)
class _Shape:
    """How a model is read for a family.

    Attributes:
        names: A2E's name of each field, and ours.
        not_text: Our names of the fields that hold no text.
        links: Where results are, if not simply in one field that holds a link.
        several: Whether the model has room for several results.
        build: Makes it of values by our names.
    """

    names: dict[str, str]
    not_text: frozenset[str]
    links: tuple[str, ...] | None
    several: bool
    build: Callable[[dict[str, Any], type[Any]], Any]

    def found_links(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the result fields of a record, from the first of A2E's fields that holds any."""
        links: tuple[str, ...] = ()
        for name in self.links or ():
            links = links or _links(raw.get(name))
        found: dict[str, Any] = {"result_url": links[0] if links else ""}
        return {**found, "result_urls": links} if self.several else found


def _shape_of(model: type[Any], family: Family | None) -> _Shape:
    known = _SHAPES.get((model, family))
    if known is None:
        known = _SHAPES[model, family] = _new_shape(model, family)
    return known


def _new_shape(model: type[Any], family: Family | None) -> _Shape:
    attrs.resolve_types(model)
    fields = attrs.fields_dict(model)
    names = _names_of(model)
    links = None
    if family is not None:
        spellings = {"current_status": family.status, "failed_code": family.code, "name": family.name or "name"}
        for ours, theirs in spellings.items():
            names = {key: name for key, name in names.items() if name != ours} | {theirs: ours}
        names = {key: name for key, name in names.items() if name != "result_url"}
        if len(family.result) == 1 and "result_urls" not in fields:
            names[family.result[0]] = "result_url"
        else:
            links = family.result
    return _Shape(
        names=names,
        not_text=frozenset(name for name, field in fields.items() if field.type is not str),
        links=links,
        several="result_urls" in fields,
        build=_builder_of(model),
    )


def _names_of(model: type[Any]) -> dict[str, str]:
    """Return A2E's name of each field of a model, and ours."""
    ours = (field.name for field in attrs.fields(model) if field.name not in _OURS or not issubclass(model, TaskRecord))
    return {_SPELLINGS.get(name, name): name for name in ours if name != "extra"}


def _builder_of(model: type[Any]) -> Callable[[dict[str, Any], type[Any]], Any]:
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415  see `_converter`

    ready = {name: override(struct_hook=_as_it_is) for name in attrs.fields_dict(model).keys() & _OURS}
    return make_dict_structure_fn(model, _converter(), **ready)  # type: ignore[arg-type]  # mypy takes them for other options


def _links(value: object) -> tuple[str, ...]:
    """Return the links in a result field: one, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return tuple(text for item in values if (text := _text(item).strip()))


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


def _flag(value: object, _: object = None) -> bool | None:
    """Read yes or no: A2E also writes them as text or as a number (reference 1.6)."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int) else None


def _texts(value: object, _: object = None) -> tuple[str, ...]:
    """Read a list of texts; one text alone is a list of one."""
    return _links(value)


@functools.cache
def _converter() -> cattrs.Converter:
    """Return the converter of all models, made when the first record is read: cattrs is a fifth of our import."""
    import cattrs  # noqa: PLC0415  not before it is needed

    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(float | None, _number)
    converter.register_structure_hook(dt.datetime | None, moment)
    converter.register_structure_hook(bool | None, _flag)
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _texts)
    return converter


def _as_it_is(value: Any, _: object) -> Any:  # noqa: ANN401  what `to_record` has made
    return value


_SHAPES: dict[tuple[type[Any], Family | None], _Shape] = {}


def languages_in(data: object) -> list[Language]:
    """Read the languages, each with its regions."""
    return [_language(raw) for raw in _objects(data) if "value" in raw]


def _language(raw: dict[str, Any]) -> Language:
    regions = tuple(to_item(Region, child) for child in _objects(raw.get("children")) if "value" in child)
    language = to_item(Language, {key: value for key, value in raw.items() if key != "children"})
    return attrs.evolve(language, regions=regions)


def voices_in(data: object) -> list[PublicVoice]:
    """Read the voices, out of groups by gender, a flat list, or a list that is called ``voice_list``."""
    if isinstance(data, dict):
        data = data.get("voice_list", data.get("list"))
    found = []
    for raw in _objects(data):
        children = raw.get("children")
        if isinstance(children, list):
            found += [_voice(child, gender=raw.get("value")) for child in _objects(children)]
        else:
            found.append(_voice(raw, gender=raw.get("gender")))
    return [voice for voice in found if voice.id]


def _voice(raw: dict[str, Any], *, gender: object) -> PublicVoice:
    names = {"_id": raw.get("value", raw.get("_id")), "name": raw.get("label", raw.get("name")), "gender": gender}
    extra = {key: value for key, value in raw.items() if key not in {"value", "_id", "label", "name", "gender"}}
    return to_item(PublicVoice, {"_id": "", **{key: value for key, value in names.items() if value}, **extra})


def _objects(data: object) -> Iterator[dict[str, Any]]:
    yield from (item for item in data if isinstance(item, dict)) if isinstance(data, list) else ()
