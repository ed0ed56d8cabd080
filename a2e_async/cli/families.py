"""Families of tasks, as the commands see them: by any name, with their fields as words, and with their resource."""

import difflib
import inspect
import json
import operator
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from a2e_async import A2EClient, TaskHandle
from a2e_async._protocol.families import FAMILIES, IMAGE_TO_VIDEO, Family
from a2e_async._protocol.image_to_video import START
from a2e_async._protocol.schema import Field, Schema
from a2e_async.cli.messages import set_family
from a2e_async.errors import InvalidRequestError
from a2e_async.resources import avatar_videos, avatars, caption_removal, dubbing, face_swap, voices
from a2e_async.resources.image_to_video import START_DEFAULTS, ImageToVideo
from a2e_async.resources.inputs import INVENTED_LINK
from a2e_async.resources.other_families import DEDICATED, family_named, schema_of, task_count
from a2e_async.resources.task_resource import TaskResource

# Families with a resource of their own: its class, and the schema of its starts.
_OWN: Mapping[str, tuple[Any, Schema]] = {
    "userImage2Video": (ImageToVideo, START),
    "userVoice": (voices.Voices, voices.TRAIN),
    "video": (avatar_videos.AvatarVideos, avatar_videos.START),
    "userVideoTwin": (avatars.Twins, avatars.START),
    "userFaceSwapTask": (face_swap.FaceSwap, face_swap.START),
    "userFaceSwapPreview": (face_swap.FaceSwapPreviews, face_swap.PREVIEW),
    "userDubbing": (dubbing.Dubbing, dubbing.START),
    "userCaptionRemoval": (caption_removal.CaptionRemoval, caption_removal.START),
}

_VIDEOS = frozenset({"userImage2Video", "video", "userDubbing", "userCaptionRemoval"})  # their results are MP4 files
_NO_DEFAULT = inspect.Parameter.empty
_INPUTS = frozenset({"link", "links"})
_LISTS = frozenset({"links", "array"})


@attrs.frozen
class FamilyTasks:
    """The tasks of one family."""

    family: Family

    @property
    def key(self) -> str:
        """A2E's word for the family."""
        return self.family.key

    @property
    def schema(self) -> Schema:
        """The fields of a start."""
        return _OWN[self.key][1] if self.key in _OWN else schema_of(self.family)

    @property
    def extension(self) -> str:
        """The extension of all results, with the dot; empty if it is not known before the end of a task."""
        return ".mp4" if self.key in _VIDEOS else ""

    @property
    def noun(self) -> str:
        """What a task makes, for messages."""
        return "video" if self.extension else "result"

    @property
    def input_noun(self) -> str:
        """What a task is made of, for messages."""
        return "image" if self.family is IMAGE_TO_VIDEO else "input"

    @property
    def has_files(self) -> bool:
        """Whether a task has a result to download."""
        return bool(self.family.result_fields)

    @property
    def slug(self) -> str:
        """The title as one word, which also names the family: ``text-to-image``."""
        return re.sub(r"[^a-z0-9.]+", "-", self.family.title.lower())

    def command(self, action: str, *words: str) -> str:
        """Return a command about tasks of the family, to be copied."""
        start = (
            ["a2e", "image-to-video", action] if self.family is IMAGE_TO_VIDEO else ["a2e", "family", action, self.key]
        )
        return shlex.join([*start, *words])

    def resource(self, a2e: A2EClient) -> TaskResource[Any]:
        """Return the resource of the family."""
        if self.key in DEDICATED:
            resource: TaskResource[Any] = operator.attrgetter(DEDICATED[self.key])(a2e)
            return resource
        return a2e.family(self.key)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The values that this package sends for fields that are not given."""
        if self.family is IMAGE_TO_VIDEO:
            return START_DEFAULTS
        defaults = {name: parameter.default for name, parameter in self._parameters()}
        return {name: value for name, value in defaults.items() if value not in {None, _NO_DEFAULT}}

    def _parameters(self) -> Iterator[tuple[str, inspect.Parameter]]:
        """Yield the fields with the parameters of the family's own ``start``, if it has one."""
        if self.key in _OWN:
            parameters = inspect.signature(_OWN[self.key][0].start).parameters
            for name, field in self.schema.fields.items():
                if (field.title or name) in parameters:
                    yield name, parameters[field.title or name]

    @property
    def required(self) -> list[str]:
        """The fields that a start needs. Most families make the name from an input."""
        known = {self.family.name_field, *self.defaults}
        needed = {name for name, field in self.schema.fields.items() if field.required and name not in known}
        needed |= {
            name for name, parameter in self._parameters() if name == "name" and parameter.default is _NO_DEFAULT
        }
        return [name for name in self.schema.fields if name in needed]

    def parse(self, words: Iterable[str], given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the fields that words give: ``prompt=a cat``, ``image_url=@ada.png``, ``denoise=true``.

        A field with a list takes several words. A path after ``@`` stays a local file.

        Args:
            words: The words.
            given: Fields that are given otherwise.

        Raises:
            InvalidRequestError: A word is no field, a value has the wrong type, or a field is unknown or missing.
        """
        body = dict(given or {})
        for word in words:
            name, equals, text = word.partition("=")
            if not equals:
                msg = f"unexpected word {word!r}: give FIELD=VALUE, with quotes around it if the value has spaces"
                raise InvalidRequestError(msg)
            value = self.parse_value(name, text)
            if self.field(name).type in _LISTS and isinstance(value, list):
                body.setdefault(name, []).extend(value)
            elif name in body:
                msg = f"{name} is given twice"
                raise InvalidRequestError(msg)
            else:
                body[name] = value
        self.check(body)
        return body

    def parse_value(self, name: str, text: str) -> Any:  # noqa: ANN401  any JSON
        """Return the value of a field that a text gives.

        Raises:
            InvalidRequestError: The field is unknown, or the value has the wrong type.
        """
        return _parse_value(name, self.field(name), text)

    @property
    def inputs(self) -> frozenset[str]:
        """The fields that hold files or links."""
        return frozenset(name for name, field in self.schema.fields.items() if field.type in _INPUTS)

    def field(self, name: str) -> Field:
        """Return the field with a name.

        Raises:
            InvalidRequestError: There is none.
        """
        if name not in self.schema.fields:
            close = difflib.get_close_matches(name, self.schema.fields, 1)
            hint = f" Did you mean {close[0]}?" if close else ""
            msg = f"{self.key} has no field {name!r}.{hint} All fields: a2e family fields {self.key}"
            raise InvalidRequestError(msg)
        return self.schema.fields[name]

    def check(self, body: Mapping[str, Any]) -> None:
        """Check all fields, before anything is sent. The local files themselves are checked by the start.

        Raises:
            InvalidRequestError: A field is missing or wrong.
        """
        missing = [name for name in self.required if name not in body]
        if missing:
            example = " ".join(f"{name}={_example(self.schema.fields[name])}" for name in missing)
            msg = f"{self.family.title} needs {' and '.join(missing)}: add {example}. See a2e family fields {self.key}"
            raise InvalidRequestError(msg)
        linked = {name: _with_links(value) for name, value in body.items() if self.schema.fields[name].type in _INPUTS}
        name = {self.family.name_field: "name"} if self.family.name_field is not None else {}
        self.schema.check({**name, **self.defaults, **body, **linked})

    def count(self, body: Mapping[str, Any]) -> int:
        """Return how many tasks one start with a body makes."""
        if self.key in DEDICATED:
            return int(body.get("number_of_images") or 1)
        return task_count(body)

    async def start(self, a2e: A2EClient, body: Mapping[str, Any], **options: Any) -> Sequence[TaskHandle[Any]]:  # noqa: ANN401  see `CommonStartOptions`
        """Start a task, or several with one request. Costs coins."""
        handles: Sequence[TaskHandle[Any]] = await self.start_with(self.resource(a2e), body, **options)
        return handles

    async def start_with(self, resource: Any, body: Mapping[str, Any], **options: Any) -> Any:  # noqa: ANN401  as above
        """Start a task with the resource of the family; see `start`."""
        if self.key not in DEDICATED:
            return await resource.start_several(body, **options)
        arguments = dict[str, Any]()
        for name, value in body.items():
            field = self.schema.fields[name]
            parameter = field.title or name
            # the parameter of a file takes paths and links, the one of a link takes links only
            is_file = field.type == "link" and isinstance(value, str) and "://" not in value
            arguments[parameter.removesuffix("_url") if is_file else parameter] = value
        if "count" in arguments:
            return await resource.start_variations(**arguments, **options)
        return [await resource.start(**arguments, **options)]


IMAGE_TO_VIDEO_TASKS = FamilyTasks(IMAGE_TO_VIDEO)


def chosen_family(name: str) -> FamilyTasks:
    """Return the family with a name, and let all messages name its commands.

    Raises:
        InvalidRequestError: There is no such family.
    """
    try:
        family = IMAGE_TO_VIDEO if name == "i2v" else family_named(name)
    except InvalidRequestError as error:
        msg = f"{error.message.partition(': there are')[0]}. All families: a2e family list"
        raise InvalidRequestError(msg) from error
    if family is not IMAGE_TO_VIDEO:
        set_family(family.key)
    return FamilyTasks(family)


def all_families() -> list[FamilyTasks]:
    """Return all families."""
    return [FamilyTasks(family) for family in FAMILIES.values()]


def _parse_value(name: str, field: Field, text: str) -> Any:  # noqa: ANN401  any JSON
    match field.type:
        case "link":
            return text.removeprefix("@")
        case "links" if not text.startswith("["):
            return [text.removeprefix("@")]
        case "links" | "array" | "object" | "any":
            try:
                value = json.loads(text)
            except ValueError as error:
                if field.type == "any":
                    return text
                msg = f"{name} must be JSON, such as {_example(field)}, not {text[:80]!r}"
                raise InvalidRequestError(msg) from error
            return [value] if field.type == "array" and isinstance(value, dict) else value
        case _:
            return field.parse(name, text)


def _with_links(value: Any) -> Any:  # noqa: ANN401  an input, or a list of inputs
    """Return an input as a link; a local file gets one when it is uploaded."""
    if isinstance(value, list):
        return [_with_links(each) for each in value]
    return value if "://" in str(value) else INVENTED_LINK


def _example(field: Field) -> str:
    if field.choices:
        return str(field.choices[0])
    inner = ", ".join(f'"{name}": …' for name in field.fields)
    examples = {
        "link": "@FILE", "links": "@FILE", "flag": "true", "integer": "1", "number": "1",
        "array": f"'[{{{inner}}}]'", "object": f"'{{{inner}}}'",
    }  # fmt: skip
    return examples.get(field.type, '"…"')


def type_text(field: Field) -> str:
    """Return what a field takes: its allowed values, or its type with its limits."""
    if field.choices:
        return ", ".join(map(str, _ranges(field.choices)))
    names = {
        "link": "a link, or @FILE", "links": "links, or @FILE, several times", "flag": "true or false",
        "integer": "a whole number", "number": "a number", "array": "JSON: a list of objects",
        "object": "JSON: an object", "any": "any JSON", "text": "a text",
    }  # fmt: skip
    lower = field.min if field.type == "number" or (field.min or 0) > 1 else None
    if lower is not None and lower == field.max:
        limits = [f"{lower:g}"]
    else:
        limits = [f"{limit:g} or {word}" for limit, word in ((lower, "more"), (field.max, "less")) if limit is not None]
    limits += [f"at most {field.max_length} characters"] if field.max_length is not None else []
    inner = f" with {', '.join(field.fields)}" if field.fields else ""
    return names[field.type] + inner + (f" ({', '.join(limits)})" if limits else "")


def _ranges(choices: Sequence[str | int]) -> list[str]:
    """Return the choices, with 4 to 15 for many whole numbers in a row."""
    texts = [str(choice) for choice in choices]
    numbers = [int(text) if re.fullmatch(r"-?\d+", text) else None for text in texts]
    shown, begin = list[str](), 0
    for end in range(1, len(texts) + 1):
        before, number = numbers[end - 1], numbers[end] if end < len(texts) else None
        if before is not None and number == before + 1:
            continue
        row = texts[begin:end]
        shown += row if len(row) < 4 else [f"{row[0]} to {row[-1]}"]
        begin = end
    return shown
