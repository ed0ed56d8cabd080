"""Conversion of JSON to models, and the names of A2E's fields. The only module that imports cattrs.

Scalars are read leniently, so that every record with an ``_id`` can be read. Reference 1.6: an empty value is ``""``,
null or absent, and numbers come as strings.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from a2e_async._protocol.families import Family
from a2e_async._protocol.statuses import status_of
from a2e_async.models.common import Item, TaskRecord, TaskStatus
from a2e_async.models.voices import Language, PublicVoice, Region

if TYPE_CHECKING:  # see `_converter`
    import cattrs

R = TypeVar("R", bound=TaskRecord)
I = TypeVar("I", bound=Item)  # noqa: E741  an item

# Name of a field in the models -> A2E's name, where they differ.
_A2E_NAMES = {
    "id": "_id",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
    "progress": "process",
    "tts_rate": "ttsRate",
    "has_refund_coin": "hasRefundCoin",
    "app_id": "appId",
    "validated": "generationRequestValidated",
}

# Fields of a task record that this module computes. A field of A2E with such a name goes to `extra`.
_COMPUTED = frozenset({"status", "trace_id", "extra", "result_urls"})

# More fields in which the text of a failure may be (reference 1.13; the misspelling is A2E's).
_FAILURE_TEXTS = ("faild_message", "fail_reason", "error", "msg")


def to_record(model: type[R], raw: dict[str, Any], family: Family, *, trace_id: str = "") -> R:
    """Return the record of a task. The JSON must have an ``_id``; everything else may be missing."""
    mapping = _mapping_of(model, family)
    names, not_text = mapping.names, mapping.not_text
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in raw.items():
        name = names.get(key)
        if name is None:
            extra[key] = value
        else:
            known[name] = value if value.__class__ is str or name in not_text else _to_text(value)
    if mapping.link_fields is not None:
        known |= mapping.result_links(raw)
    word = known.get("current_status", "").strip().lower()
    code = known.get("failed_code", "").strip()
    code = "" if code == "0" else code
    has_result = bool(known.get("result_url", "").strip())
    status = status_of(family.status_words, word, failed_code=code, has_result=has_result)
    if status is TaskStatus.FAILED and not known.get("failed_message"):
        known["failed_message"] = next((text for key in _FAILURE_TEXTS if (text := _to_text(raw.get(key)))), "")
    known |= {"status": status, "current_status": word, "failed_code": code, "trace_id": trace_id, "extra": extra}
    return cast("R", mapping.build(known, model))


def to_item(model: type[I], raw: dict[str, Any]) -> I:
    """Return a value that is not a task, such as a voice. Everything may be missing."""
    mapping = _mapping_of(model, None)
    known = {name: raw[key] for key, name in mapping.names.items() if raw.get(key) is not None}
    texts = {name: value if name in mapping.not_text else _to_text(value) for name, value in known.items()}
    extra = {key: value for key, value in raw.items() if key not in mapping.names}
    return cast("I", mapping.build({**texts, "extra": extra}, model))


def from_record(record: TaskRecord) -> dict[str, Any]:
    """Return a record as most families show it, so that `to_record` reads it again. It can be written as JSON."""
    raw = dict(record.extra)
    for a2e_name, name in _names_of(type(record)).items():
        value = getattr(record, name)
        raw[a2e_name] = value.isoformat() if isinstance(value, dt.datetime) else value
    return raw


@attrs.define(eq=False)
class _Mapping:
    """Mapping from the JSON of a family to a model.

    Attributes:
        names: A2E's name of each field -> its name in the model.
        not_text: Names in the model of the fields that hold no text.
        link_fields: A2E's fields with results, unless there is one field that simply holds a link.
        has_several: Whether the model has a field for several results.
        build: The function that makes the model from values by their names in the model.
    """

    names: dict[str, str]
    not_text: frozenset[str]
    link_fields: tuple[str, ...] | None
    has_several: bool
    build: Callable[[dict[str, Any], type[Any]], Any]

    def result_links(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the result fields of a record, from the first of A2E's fields that holds a link."""
        links: tuple[str, ...] = ()
        for name in self.link_fields or ():
            links = links or _to_texts(raw.get(name))
        found: dict[str, Any] = {"result_url": links[0] if links else ""}
        return {**found, "result_urls": links} if self.has_several else found


_MAPPINGS: dict[tuple[type[Any], Family | None], _Mapping] = {}


def _mapping_of(model: type[Any], family: Family | None) -> _Mapping:
    mapping = _MAPPINGS.get((model, family))
    if mapping is None:
        mapping = _MAPPINGS[model, family] = _new_mapping(model, family)
    return mapping


def _new_mapping(model: type[Any], family: Family | None) -> _Mapping:
    attrs.resolve_types(model)
    fields = attrs.fields_dict(model)
    names = _names_of(model)
    link_fields = None
    if family is not None:
        a2e_names = {
            "current_status": family.status_field,
            "failed_code": family.code_field,
            "name": family.name_field or "name",
        }
        for field, a2e_name in a2e_names.items():
            names = {key: name for key, name in names.items() if name != field} | {a2e_name: field}
        names = {key: name for key, name in names.items() if name != "result_url"}
        # Most families have one result field with one link, which needs no extra step for each record.
        if len(family.result_fields) == 1 and "result_urls" not in fields:
            names[family.result_fields[0]] = "result_url"
        else:
            link_fields = family.result_fields
    return _Mapping(
        names=names,
        not_text=frozenset(name for name, field in fields.items() if field.type is not str),
        link_fields=link_fields,
        has_several="result_urls" in fields,
        build=_builder_of(model),
    )


def _names_of(model: type[Any]) -> dict[str, str]:
    """Return A2E's name of each field of a model -> its name in the model."""
    # In an item, `status` is A2E's own field: only task records have computed fields.
    names = (
        field.name for field in attrs.fields(model) if field.name not in _COMPUTED or not issubclass(model, TaskRecord)
    )
    return {_A2E_NAMES.get(name, name): name for name in names if name != "extra"}


def _builder_of(model: type[Any]) -> Callable[[dict[str, Any], type[Any]], Any]:
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415  see `_converter`

    unchanged = {name: override(struct_hook=_unchanged) for name in attrs.fields_dict(model).keys() & _COMPUTED}
    return make_dict_structure_fn(model, _converter(), **unchanged)  # type: ignore[arg-type]  # mypy takes them for other options


def _unchanged(value: Any, _: object) -> Any:  # noqa: ANN401  a value that `to_record` has computed
    return value


def _to_texts(value: object, _: object = None) -> tuple[str, ...]:
    """Return the texts, such as links, in a field that holds one text or a list of texts."""
    values = value if isinstance(value, list) else [value]
    return tuple(text for item in values if (text := _to_text(item).strip()))


def _to_text(value: object) -> str:
    """Return a value as text: numbers as digits; null, booleans and containers as empty text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    try:
        return str(value)
    except ValueError:  # Python refuses to write an integer with thousands of digits
        return ""


def _to_number(value: object, _: object = None) -> float | None:
    """Return a number, also from text, as an integer where it is one; None for anything else."""
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


def parse_time(value: object, _: object = None) -> dt.datetime | None:
    """Return a time in UTC from ISO-8601 text, or None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        time = dt.datetime.fromisoformat(value.strip())
        return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _to_flag(value: object, _: object = None) -> bool | None:
    """Return True or False, also from text or a number (reference 1.6); None for anything else."""
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int) else None


@functools.cache
def _converter() -> cattrs.Converter:
    """Return the converter of all models, made when the first record is read."""
    import cattrs  # noqa: PLC0415  its import takes a fifth of the time of ours

    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(float | None, _to_number)
    converter.register_structure_hook(dt.datetime | None, parse_time)
    converter.register_structure_hook(bool | None, _to_flag)
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _to_texts)
    return converter


def to_languages(data: object) -> list[Language]:
    """Return the languages, each with its regions."""
    return [_to_language(raw) for raw in _objects(data) if "value" in raw]


def _to_language(raw: dict[str, Any]) -> Language:
    regions = tuple(to_item(Region, child) for child in _objects(raw.get("children")) if "value" in child)
    language = to_item(Language, {key: value for key, value in raw.items() if key != "children"})
    return attrs.evolve(language, regions=regions)


def to_voices(data: object) -> list[PublicVoice]:
    """Return the voices from groups by gender, from a flat list, or from a list called ``voice_list``."""
    if isinstance(data, dict):
        data = data.get("voice_list", data.get("list"))
    found = []
    for raw in _objects(data):
        children = raw.get("children")
        if isinstance(children, list):
            found += [_to_voice(child, gender=raw.get("value")) for child in _objects(children)]
        else:
            found.append(_to_voice(raw, gender=raw.get("gender")))
    return [voice for voice in found if voice.id]


def _to_voice(raw: dict[str, Any], *, gender: object) -> PublicVoice:
    # Both spellings are read: {value, label} and {_id, name}.
    names = {"_id": raw.get("value", raw.get("_id")), "name": raw.get("label", raw.get("name")), "gender": gender}
    extra = {key: value for key, value in raw.items() if key not in {"value", "_id", "label", "name", "gender"}}
    return to_item(PublicVoice, {"_id": "", **{key: value for key, value in names.items() if value}, **extra})


def _objects(data: object) -> Iterator[dict[str, Any]]:
    yield from (item for item in data if isinstance(item, dict)) if isinstance(data, list) else ()
