"""An accepted start: the fields that were sent, and their price; and how the starts of all families are validated.

`catalogue.json` has the schema of each family. It was taken from A2E's spec, and from sections 3 to 10 of the reference
where the spec is silent. A schema has `fields` with their types and limits; `requirements`: one of some fields is
required in a certain mode; and `limits`: the values that a certain mode allows. Unknown fields are ignored, as at A2E.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

from attrs import Factory, field, frozen

from a2e_async.sandbox.envelopes import Fields, is_fetchable_url
from a2e_async.sandbox.tasks.families import FAMILIES, IMAGE_TO_VIDEO
from a2e_async.sandbox.tasks.family import PRICES, Family, Sent, seconds_of
from a2e_async.sandbox.tasks.scenarios import Scenario, scenario_of

FieldRule: TypeAlias = Mapping[str, Any]
StartSchema: TypeAlias = Mapping[str, Any]

_ID: Final = re.compile(r"[0-9a-fA-F]{24}")


@cache
def schema_of(prefix: str) -> StartSchema:
    """Return the schema of a family's start."""
    text = resources.files("a2e_async.sandbox.tasks").joinpath("catalogue.json").read_text("utf-8")
    schema: StartSchema = json.loads(text)["schemas"][prefix]
    return schema


def read_by_schema(fields: Fields, schema: StartSchema) -> dict[str, Any]:
    """Return every field of the schema, with its default. Errors are added to `fields`."""
    sent = _read_object(fields, fields.body, schema["fields"], "")
    for requirement in schema.get("requirements", ()):
        one_of = requirement["one_of"]
        if _applies(requirement["when"], sent) and not any(_is_given(sent.get(name)) for name in one_of):
            fields.add_error(one_of[0], "is required")
    for limit in schema.get("limits", ()):
        name = limit["field"]
        if _applies(limit["when"], sent) and name in sent and sent[name] not in limit["values"]:
            fields.add_error(name, f"must be one of {', '.join(limit['values'])}")
    return sent


def _applies(when: Mapping[str, Sequence[object]], sent: Mapping[str, Any]) -> bool:
    return all(sent.get(name) in values for name, values in when.items())


def _is_given(value: object) -> bool:
    return bool(value) and (not isinstance(value, str) or bool(value.strip()))


def _read_object(fields: Fields, body: Mapping[str, Any], rules: Mapping[str, FieldRule], path: str) -> dict[str, Any]:
    """Return the fields of one object; `path` is its place in the body."""
    sent = {}
    for name, rule in rules.items():
        value = body.get(name)
        if value is None or (value == "" and not rule.get("allow_empty")):
            if rule.get("required") and "default" not in rule:
                fields.add_error(path + name, "is required")
            if "default" in rule:
                sent[name] = rule["default"]
        elif (problem := _problem(fields, value, rule, path + name)) is None:
            sent[name] = value
        elif problem:
            fields.add_error(path + name, problem)
    return sent


def _problem(fields: Fields, value: Any, rule: FieldRule, name: str) -> str | None:  # noqa: ANN401  (JSON)
    """Return the error of a value: `None` if it is valid, "" if the errors of its parts were added to `fields`."""
    type_name = rule["type"]
    if type_name in _SCALARS:
        expected, fits = _SCALARS[type_name]
        return _limit_problem(value, rule) if fits(value) else f"must be {expected}"
    if type_name == "object":
        return _object_problem(fields, value, rule, f"{name}.")
    if not isinstance(value, list):
        return "must be an array"
    if not rule.get("min_items", 0) <= len(value) <= rule.get("max_items", len(value)):
        return f"must have {rule.get('min_items', 0)} to {rule.get('max_items', 'any number of')} items"
    return _array_problem(fields, value, rule, name)


def _object_problem(fields: Fields, value: object, rule: FieldRule, path: str) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    before = len(fields.errors)
    _read_object(fields, value, rule.get("fields", {}), path)
    return None if len(fields.errors) == before else ""


def _array_problem(fields: Fields, values: list[Any], rule: FieldRule, name: str) -> str | None:
    if rule["type"] == "urls" and not all(isinstance(one, str) and is_fetchable_url(one) for one in values):
        return "must be an array of direct http or https URLs without spaces"
    if rule["type"] == "strings" and not all(isinstance(one, str) for one in values):
        return "must be an array of strings"
    if rule["type"] == "objects":
        problems = [_object_problem(fields, one, rule, f"{name}.{number}.") for number, one in enumerate(values)]
        return next((problem for problem in problems if problem is not None), None)
    return None


def _limit_problem(value: Any, rule: FieldRule) -> str | None:  # noqa: ANN401  (JSON)
    allowed = rule.get("enum")
    if allowed and value not in allowed:
        return f"must be one of {', '.join(map(str, allowed))}"
    if isinstance(value, str):
        max_length = rule.get("max_length", len(value))
        return f"must be at most {max_length} characters long" if len(value) > max_length else None
    if not rule.get("min", value) <= value <= rule.get("max", value):
        return f"must be from {rule.get('min', 'any number')} to {rule.get('max', 'any number')}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_SCALARS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = MappingProxyType(
    {
        "string": ("a string", lambda value: isinstance(value, str)),
        "url": (
            "a direct http or https URL without spaces",
            lambda value: isinstance(value, str) and is_fetchable_url(value),
        ),
        "id": ("an id", lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None),
        "boolean": ("a boolean", lambda value: isinstance(value, bool)),
        "number": ("a number", _is_number),
        "integer": ("an integer", lambda value: _is_number(value) and value == int(value)),
        "any": ("something", lambda _: True),
    }
)

# Without a model_version, accounts below Ultra get the first one (reference 9.1), as the account of the sandbox does.
MODEL_VERSIONS: Final = tuple(PRICES)
MODEL_TYPES: Final = ("GENERAL", "FLF2V")
DURATIONS: Final = (5, 10, 15, 20)

# The frames per second behind the deprecated video_length are unpublished; 81 frames were the usual 5 seconds.
_FRAMES_PER_SECOND: Final = 16


# The fields whose text can name a scenario. Each family has some of them.
_TEXTS: Final = ("prompt", "positive_prompt", "caption", "name", "title", "msg")


# The fields of an image to video that its records repeat.
_REPEATED: Final = (
    "name", "image_url", "prompt", "negative_prompt", "model_type", "model_version", "end_image_url", "video_time",
)  # fmt: skip


def _repeated(start: "Start") -> Sent:
    return {name: getattr(start, name) for name in _REPEATED}


@frozen(kw_only=True)
class Start:
    """One start, which makes `count` equal tasks. A field that its family does not have is empty."""

    family: Family = IMAGE_TO_VIDEO
    name: str = ""
    image_url: str = ""
    end_image_url: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    model_version: str = ""
    model_type: str = ""
    video_time: int = 5
    count: int = 1
    scenario: Scenario = field(factory=Scenario)
    portrait: str = field(default="", repr=False)  # the image of the speaking avatar, if it has one
    webhook_url: str = field(default="", repr=False)
    webhook_token: str = field(default="", repr=False)
    sent: Sent = field(
        default=Factory(_repeated, takes_self=True), repr=False
    )  # the fields that records repeat, with their defaults

    @classmethod
    def from_fields(cls, family: Family, sent: Sent, **other: Any) -> Self:  # noqa: ANN401  (attributes)
        """Make a start of any family from its fields."""
        inner = sent.get("input")
        prompt = sent.get("prompt") or sent.get("positive_prompt") or sent.get("caption")
        return cls(
            family=family,
            sent=sent,
            name=sent.get("name") or sent.get("title") or "",
            prompt=prompt or (inner.get("prompt", "") if isinstance(inner, dict) else ""),
            video_time=seconds_of(sent),
            **{name: sent.get(name, "") for name in _SAME_NAMES},
            **other,
        )

    @property
    def price(self) -> int:
        """The coins that each task costs."""
        return self.family.price(self.sent)

    @property
    def results(self) -> int:
        """The number of results of each task."""
        return int(self.sent.get(self.family.results_field, 1))

    def urls(self, *names: str) -> list[str]:
        """Return the URLs of the inputs in these fields, in their order."""
        values = [self.sent.get(name) for name in names]
        return [url for value in values if value for url in (value if isinstance(value, list) else [value])]


# The fields that have the same name in every family.
_SAME_NAMES: Final = ("image_url", "end_image_url", "negative_prompt", "model_version", "model_type")


def read_start(family: Family, fields: Fields) -> Start:
    """Return the start of any family. Errors are added to `fields`."""
    if family is IMAGE_TO_VIDEO:
        return read_image_to_video_start(fields)
    sent = read_by_schema(fields, schema_of(family.prefix))
    texts = [str(sent.get(name, "")) for name in _TEXTS] + [str(sent.get("input", ""))]
    return Start.from_fields(
        family,
        sent,
        scenario=scenario_of(" ".join(texts)),
        count=int(sent.get(family.count_field, 1)),
        webhook_url=_webhook_url(fields) if family.webhooks else "",
        webhook_token=fields.text("webhook_token", max_length=256) if family.webhooks else "",
    )


def read_image_to_video_start(fields: Fields) -> Start:
    """Return a start of image to video (reference 9.1), whose rules are too special for a schema."""
    # Whether "" passes as a negative prompt is unpublished; here it counts as missing.
    preset = bool(fields.text("lora"))
    model_type = fields.choice("model_type", MODEL_TYPES)
    prompt = fields.text("prompt", required=not preset)
    fields.boolean("extend_prompt", default=True)
    fields.boolean("skip_face_enhance", default=False)
    return Start(
        name=fields.text("name"),
        image_url=fields.url("image_url"),
        end_image_url=fields.url("end_image_url", required=model_type == "FLF2V"),
        prompt=prompt,
        negative_prompt=fields.text("negative_prompt", required=not preset),
        model_version=fields.choice("model_version", MODEL_VERSIONS),
        model_type=model_type,
        video_time=_seconds(fields),
        count=fields.integer("number_of_images", 1, maximum=8) or 1,
        scenario=scenario_of(prompt),
        webhook_url=_webhook_url(fields),
        webhook_token=fields.text("webhook_token", max_length=256),
    )


def by_endpoint(endpoint: str) -> Family | None:
    """Return the family whose start has this path."""
    families = FAMILIES.values()
    return next((one for one in families if endpoint.endswith(f"/api/v1/{one.prefix}/{one.start_path}")), None)


def _webhook_url(fields: Fields) -> str:
    """Read the URL for webhooks."""
    # A2E requires https (reference 1.11). The sandbox also accepts http to this machine, so that webhooks can be tried.
    url = fields.text("webhook_url", max_length=2048)
    if url and not url.startswith("https://") and not _is_loopback(url):
        fields.add_error("webhook_url", "must be an https URL")
    return url


def _is_loopback(url: str) -> bool:
    """Tell whether `url` is http and leads to this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:  # not a URL, or another host name
        return False


def _seconds(fields: Fields) -> int:
    """Read the length of the video. Only the deprecated `video_length` is rounded up."""
    frames = fields.integer("video_length", maximum=1000)
    requested = fields.integer("video_time")
    if requested is None:
        seconds = (frames or 1) // _FRAMES_PER_SECOND
        return next((duration for duration in DURATIONS if seconds <= duration), DURATIONS[-1])
    if requested not in DURATIONS:
        fields.add_error("video_time", "must be 5, 10, 15 or 20")
        return DURATIONS[0]
    return requested
