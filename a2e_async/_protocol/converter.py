"""Conversion of JSON to models, and the names of A2E's fields. The only module that imports cattrs.

Scalars are read leniently, so that every record with an ``_id`` can be read. Reference 1.6: an empty value is ``""``,
null or absent, and numbers come as strings.
"""

from __future__ import annotations

import datetime as dt
import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from a2e_async import _learning, models
from a2e_async._protocol.families import IMAGE_TO_VIDEO, STATUS_FIELDS, Family
from a2e_async._protocol.messages import Envelope
from a2e_async._protocol.responses import id_of, records, rows
from a2e_async.models.common import Item, TaskRecord, TaskStatus

if TYPE_CHECKING:
    import cattrs

_LOGGER = logging.getLogger("a2e_async")

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
    "twin_id": "user_video_twin_id",
}

# Fields of a task record that have no field at A2E. A field of A2E with such a name goes to `extra`.
_OURS = frozenset({"status", "trace_id", "extra", "result_urls"})

# Fields of a task record that are read from a field with another name in some families.
_OF_FAMILY = frozenset({"current_status", "failed_code", "result_url"})

# Fields in which the text of a failure may be (reference 1.13; the misspelling is A2E's).
_FAILURE_TEXTS = ("failed_message", "faild_message", "fail_reason", "error", "msg")


def preload() -> None:
    """Import cattrs and all models, and prepare the records of Image to Video; see `_lazy`."""
    for name in models.__all__:
        getattr(models, name)
    _structure_of(models.ImageToVideoRecord, IMAGE_TO_VIDEO)


def to_record(raw: dict[str, Any], family: Family, *, trace_id: str = "") -> Any:  # noqa: ANN401  a `Family.record`
    """Return the record of a task. The JSON must have an ``_id``; everything else may be missing."""
    model: type[TaskRecord] = getattr(models, family.record)
    structure, known = _structure_of(model, family)  # type: ignore[arg-type]  # mypy denies that a class is hashable
    word = _status_word(raw, family)
    code = _to_text(raw.get(family.code_field)).strip()
    code = "" if code == "0" else code
    results = (raw[name] for name in family.result_fields if raw.get(name))
    links = next((links for result in results if (links := _to_texts(result))), ())
    # A2E marks flagged content in the status word, in two spellings, and the tables do not list these words.
    if code or "nsfw" in word or "nfsw" in word:
        status = TaskStatus.FAILED
    else:
        status = family.status_words.get(word, TaskStatus.SUCCEEDED if links else TaskStatus.RUNNING)
        if word and word not in family.status_words:
            shown = f"status {word!r}" if _learning.is_word(word) else "status (not a word)"  # but perhaps a link
            msg = f"A task of {family.title} has an unknown {shown}: it counts as running until there is a result"
            _learning.note("status word", family.key, word=word, content=raw, message=msg, level=logging.WARNING)
    if status is TaskStatus.FAILED and code:
        _learning.note("failure code", family.key, word=code, content=raw)
    elif status is TaskStatus.SUCCEEDED and not links and family.result_fields:
        _learning.note("result", family.key, content=raw)
    fields = {
        **raw,
        "status": status,
        "current_status": word,
        "failed_code": code,
        "result_url": links[0] if links else "",
        "result_urls": links,
        "trace_id": trace_id,
        "extra": {key: value for key, value in raw.items() if key not in known},
    }
    if status is TaskStatus.FAILED:
        fields["failed_message"] = next((text for key in _FAILURE_TEXTS if (text := _to_text(raw.get(key)))), "")
    return structure(fields, model)


def to_records(envelope: Envelope, family: Family) -> dict[str, Any]:
    """Return all records of a response, by their ids. A record that cannot be read is left out and logged."""
    found: dict[str, Any] = {}
    for raw in records(envelope.data, operation=envelope.operation):
        task_id = id_of(raw)
        try:
            found[task_id] = to_record(raw, family, trace_id=envelope.trace_id)
        except Exception as error:  # noqa: BLE001  one bad record must not end the waits of 99 others
            _LOGGER.error("A record of task %s could not be read: %s", task_id, type(error).__name__)  # noqa: TRY400  the text may quote a prompt
    return found


def _status_word(raw: dict[str, Any], family: Family) -> str:
    word = _to_text(raw.get(family.status_field)).strip().lower()
    if word:
        return word
    # In some records `status` or `state` has the word; a number there is no word.
    texts = (raw[name].strip().lower() for name in STATUS_FIELDS if isinstance(raw.get(name), str))
    return next(filter(None, texts), "")


def to_item(model: type[I], raw: dict[str, Any]) -> I:
    """Return a value that is not a task, such as a voice. Everything may be missing."""
    structure, known = _structure_of(model, None)  # type: ignore[arg-type]  # as above
    extra = {key: value for key, value in raw.items() if key not in known}
    item: I = structure({**raw, "extra": extra}, model)
    return item


def from_record(record: TaskRecord) -> dict[str, Any]:
    """Return a record as most families show it, so that `to_record` reads it again. It can be written as JSON."""
    raw = dict(record.extra)
    for name, a2e_name in _names_of(type(record)).items():
        value = getattr(record, name)
        raw[a2e_name] = value.isoformat() if isinstance(value, dt.datetime) else value
    return raw


def _names_of(model: type[Any]) -> dict[str, str]:
    """Return the name of each field of a model -> A2E's name."""
    # In an item, `status` is A2E's own field.
    ours = _OURS if issubclass(model, TaskRecord) else {"extra"}
    return {name: _A2E_NAMES.get(name, name) for name in attrs.fields_dict(model) if name not in ours}


@functools.cache
def _structure_of(
    model: type[Any], family: Family | None
) -> tuple[Callable[[dict[str, Any], type[Any]], Any], set[str]]:
    """Return the function that makes a model from JSON, and A2E's names of the fields that are not `extra`."""
    from cattrs import gen  # noqa: PLC0415  see `preload`

    attrs.resolve_types(model)
    names = _names_of(model)
    known = {*names.values()}
    if family is not None:
        names["name"] = family.name_field or "name"
        known = {a2e_name for name, a2e_name in names.items() if name not in _OF_FAMILY}
        known |= {family.status_field, family.code_field}
        if len(family.result_fields) == 1 and "result_urls" not in attrs.fields_dict(model):
            known |= {*family.result_fields}
    renamed = {name: gen.override(rename=a2e_name) for name, a2e_name in names.items()}
    return gen.make_dict_structure_fn(model, _converter(), **renamed), known  # type: ignore[arg-type]  # mypy takes them for other options


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs  # noqa: PLC0415  see `preload`

    converter = cattrs.Converter(detailed_validation=False)
    for kind, hook in {
        str: _to_text,
        float | None: _to_number,
        dt.datetime | None: parse_time,
        bool | None: _to_flag,
    }.items():
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _to_texts)
    converter.register_structure_hook_func(lambda kind: kind == Mapping[str, Any], lambda value, _: value)  # `extra`
    return converter


def _to_texts(value: object, _: object = None) -> tuple[str, ...]:
    """Return the texts, such as links, in a field that holds one text or a list of texts."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(text for item in values if (text := _to_text(item).strip()))


def _to_text(value: object, _: object = None) -> str:
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
    """Return a number, also from text, as an integer where it is one; None for anything else, such as 10**400."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    if isinstance(value, int):
        return value
    return int(number) if number.is_integer() else number


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


def to_languages(data: object) -> list[models.Language]:
    """Return the languages, each with its regions."""
    return [_to_language(raw) for raw in rows(data) if "value" in raw]


def _to_language(raw: dict[str, Any]) -> models.Language:
    regions = tuple(to_item(models.Region, child) for child in _objects(raw.get("children")) if "value" in child)
    language = to_item(models.Language, {key: value for key, value in raw.items() if key != "children"})
    return attrs.evolve(language, regions=regions)


def to_voices(data: object) -> list[models.PublicVoice]:
    """Return the voices from groups by gender or from a flat list, in ``voice_list`` or any container of a list."""
    if isinstance(data, dict) and isinstance(data.get("voice_list"), list):
        data = data["voice_list"]
    found = []
    for raw in rows(data):
        children = raw.get("children")
        if isinstance(children, list):
            found += [_to_voice(child, gender=raw.get("value")) for child in _objects(children)]
        else:
            found.append(_to_voice(raw, gender=raw.get("gender")))
    return [voice for voice in found if voice.id]


def _to_voice(raw: dict[str, Any], *, gender: object) -> models.PublicVoice:
    # Both spellings are read: {value, label} and {_id, name}.
    names = {"_id": raw.get("value", raw.get("_id")), "name": raw.get("label", raw.get("name")), "gender": gender}
    extra = {key: value for key, value in raw.items() if key not in {"value", "_id", "label", "name", "gender"}}
    return to_item(models.PublicVoice, {"_id": "", **{key: value for key, value in names.items() if value}, **extra})


def _objects(data: object) -> Iterator[dict[str, Any]]:
    yield from (item for item in data if isinstance(item, dict)) if isinstance(data, list) else ()
