"""An accepted start: what was asked for and what it costs; and how the starts of all families are read.

What the start of each family takes is in `catalogue.json`.

The file was taken from A2E's spec (and, where that is silent, from the reference's sections 3 to 10): by family the
fields with their types and limits; `needs`, of which one has to be given in a certain mode; `limits`, values that a
certain mode allows. Fields that are unknown are ignored, as A2E does.
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

from a2e_async.sandbox.envelopes import Fields, is_link
from a2e_async.sandbox.tasks.families import FAMILIES, IMAGE_TO_VIDEO
from a2e_async.sandbox.tasks.family import PRICES, Family, Sent, seconds_of
from a2e_async.sandbox.tasks.scenarios import Fate, fate_of

Rule: TypeAlias = Mapping[str, Any]
Form: TypeAlias = Mapping[str, Any]

_ID: Final = re.compile(r"[0-9a-fA-F]{24}")


@cache
def form_of(prefix: str) -> Form:
    """Return what the start of a family takes."""
    text = resources.files("a2e_async.sandbox.tasks").joinpath("catalogue.json").read_text("utf-8")
    form: Form = json.loads(text)["forms"][prefix]
    return form


def read_form(fields: Fields, form: Form) -> dict[str, Any]:
    """Read every field that the form knows, with its default; what is wrong is noted in `fields`."""
    sent = _read_all(fields, fields.body, form["fields"], "")
    for need in form.get("needs", ()):
        if _applies(need["when"], sent) and not any(_given(sent.get(name)) for name in need["one_of"]):
            fields.wrong(need["one_of"][0], "is required")
    for limit in form.get("limits", ()):
        name = limit["field"]
        if _applies(limit["when"], sent) and name in sent and sent[name] not in limit["values"]:
            fields.wrong(name, f"must be one of {', '.join(limit['values'])}")
    return sent


def _applies(when: Mapping[str, Sequence[object]], sent: Mapping[str, Any]) -> bool:
    return all(sent.get(name) in values for name, values in when.items())


def _given(value: object) -> bool:
    return bool(value) and (not isinstance(value, str) or bool(value.strip()))


def _read_all(fields: Fields, body: Mapping[str, Any], rules: Mapping[str, Rule], path: str) -> dict[str, Any]:
    """Read one object. `path` is where it is inside the body."""
    sent = {}
    for name, rule in rules.items():
        value = body.get(name)
        if value is None or (value == "" and not rule.get("empty")):
            if rule.get("required") and "default" not in rule:
                fields.wrong(path + name, "is required")
            if "default" in rule:
                sent[name] = rule["default"]
        elif (trouble := _trouble(fields, value, rule, path + name)) is None:
            sent[name] = value
        elif trouble:
            fields.wrong(path + name, trouble)
    return sent


def _trouble(fields: Fields, value: Any, rule: Rule, name: str) -> str | None:  # noqa: ANN401  (JSON)
    """Tell what is wrong with a value: `None` is nothing, "" was noted already."""
    kind = rule["type"]
    if kind in _PLAIN:
        what, fits = _PLAIN[kind]
        return _out_of_bounds(value, rule) if fits(value) else f"must be {what}"
    if kind == "object":
        return _in_object(fields, value, rule, f"{name}.")
    if not isinstance(value, list):
        return "must be an array"
    if not rule.get("least", 0) <= len(value) <= rule.get("most", len(value)):
        return f"must have {rule.get('least', 0)} to {rule.get('most', 'any number of')} items"
    return _in_array(fields, value, rule, name)


def _in_object(fields: Fields, value: object, rule: Rule, path: str) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    before = len(fields.errors)
    _read_all(fields, value, rule.get("fields", {}), path)
    return None if len(fields.errors) == before else ""


def _in_array(fields: Fields, values: list[Any], rule: Rule, name: str) -> str | None:
    if rule["type"] == "links" and not all(isinstance(one, str) and is_link(one) for one in values):
        return "must be an array of direct http or https URLs without spaces"
    if rule["type"] == "texts" and not all(isinstance(one, str) for one in values):
        return "must be an array of strings"
    if rule["type"] == "objects":
        troubles = [_in_object(fields, one, rule, f"{name}.{number}.") for number, one in enumerate(values)]
        return next((trouble for trouble in troubles if trouble is not None), None)
    return None


def _out_of_bounds(value: Any, rule: Rule) -> str | None:  # noqa: ANN401  (JSON)
    allowed = rule.get("enum")
    if allowed and value not in allowed:
        return f"must be one of {', '.join(map(str, allowed))}"
    if isinstance(value, str):
        longest = rule.get("longest", len(value))
        return f"must be at most {longest} characters long" if len(value) > longest else None
    if not rule.get("low", value) <= value <= rule.get("high", value):
        return f"must be from {rule.get('low', 'any number')} to {rule.get('high', 'any number')}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = MappingProxyType(
    {
        "text": ("a string", lambda value: isinstance(value, str)),
        "link": ("a direct http or https URL without spaces", lambda value: isinstance(value, str) and is_link(value)),
        "id": ("an id", lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None),
        "flag": ("a boolean", lambda value: isinstance(value, bool)),
        "number": ("a number", _is_number),
        "whole": ("an integer", lambda value: _is_number(value) and value == int(value)),
        "any": ("something", lambda _: True),
    }
)

# Without a model_version, accounts below Ultra get the first one (reference 9.1); the sandbox has such an account.
MODEL_VERSIONS: Final = tuple(PRICES)
MODEL_TYPES: Final = ("GENERAL", "FLF2V")
DURATIONS: Final = (5, 10, 15, 20)

# The frames per second behind the deprecated video_length are unpublished; 81 frames were the usual 5 seconds.
_FRAMES_PER_SECOND: Final = 16


# The fields in which a caller can ask for a fate; a family has some of them.
_TEXTS: Final = ("prompt", "positive_prompt", "caption", "name", "title", "msg")


# The fields of image to video that its records show.
_SHOWN: Final = (
    "name", "image_url", "prompt", "negative_prompt", "model_type", "model_version", "end_image_url", "video_time",
)  # fmt: skip


def _shown(order: "Order") -> Sent:
    return {name: getattr(order, name) for name in _SHOWN}


@frozen(kw_only=True)
class Order:
    """One accepted start: what each of its `count` tasks shall be. What a family does not know is empty."""

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
    fate: Fate = field(factory=Fate)
    portrait: str = field(default="", repr=False)  # the image of the avatar that shall speak, if there is one
    webhook_url: str = field(default="", repr=False)
    webhook_token: str = field(default="", repr=False)
    sent: Sent = field(default=Factory(_shown, takes_self=True), repr=False)  # what records show, defaults included

    @classmethod
    def of(cls, family: Family, sent: Sent, **other: Any) -> Self:  # noqa: ANN401  (attributes)
        """Make an order out of the fields of any family."""
        inner = sent.get("input")
        prompt = sent.get("prompt") or sent.get("positive_prompt") or sent.get("caption")
        return cls(
            family=family,
            sent=sent,
            name=sent.get("name") or sent.get("title") or "",
            prompt=prompt or (inner.get("prompt", "") if isinstance(inner, dict) else ""),
            video_time=seconds_of(sent),
            **{name: sent.get(name, "") for name in _SAME},
            **other,
        )

    @property
    def price(self) -> int:
        """The coins that each task costs."""
        return self.family.price(self.sent)

    @property
    def pieces(self) -> int:
        """How many results each task has."""
        return int(self.sent.get(self.family.pieces, 1))

    def links(self, *names: str) -> list[str]:
        """List the input URLs of these fields, in their order."""
        values = [self.sent.get(name) for name in names]
        return [url for value in values if value for url in (value if isinstance(value, list) else [value])]


# The attributes that are called the same in every family.
_SAME: Final = ("image_url", "end_image_url", "negative_prompt", "model_version", "model_type")


def read_start(family: Family, fields: Fields) -> Order:
    """Read every field of a start of any family; what is wrong is noted in `fields`."""
    if family is IMAGE_TO_VIDEO:
        return read_order(fields)
    sent = read_form(fields, form_of(family.prefix))
    texts = [str(sent.get(name, "")) for name in _TEXTS] + [str(sent.get("input", ""))]
    return Order.of(
        family,
        sent,
        fate=fate_of(" ".join(texts)),
        count=int(sent.get(family.count, 1)),
        webhook_url=_webhook_url(fields) if family.webhooks else "",
        webhook_token=fields.text("webhook_token", longest=256) if family.webhooks else "",
    )


def read_order(fields: Fields) -> Order:
    """Read a start of image to video (reference 9.1), with the checks that its table has no words for."""
    # Whether "" passes as a negative prompt is unpublished; we refuse it like a missing one.
    preset = bool(fields.text("lora"))
    model_type = fields.choice("model_type", MODEL_TYPES)
    prompt = fields.text("prompt", required=not preset)
    _check_options(fields)
    return Order(
        name=fields.text("name"),
        image_url=fields.link("image_url"),
        end_image_url=fields.link("end_image_url", required=model_type == "FLF2V"),
        prompt=prompt,
        negative_prompt=fields.text("negative_prompt", required=not preset),
        model_version=fields.choice("model_version", MODEL_VERSIONS),
        model_type=model_type,
        video_time=_seconds(fields),
        count=fields.whole("number_of_images", 1, high=8) or 1,
        fate=fate_of(prompt),
        webhook_url=_webhook_url(fields),
        webhook_token=fields.text("webhook_token", longest=256),
    )


def by_endpoint(endpoint: str) -> Family | None:
    """Find the family whose start has this path."""
    return next((one for one in FAMILIES.values() if endpoint.endswith(f"/api/v1/{one.prefix}/{one.start}")), None)


def _check_options(fields: Fields) -> None:
    """Check the fields that change nothing here."""
    fields.flag("extend_prompt", default=True)
    fields.flag("skip_face_enhance", default=False)


def _webhook_url(fields: Fields) -> str:
    """Read where webhooks go: https (reference 1.11). Plain http within this machine is ours, to try them out."""
    url = fields.text("webhook_url", longest=2048)
    if url and not url.startswith("https://") and not _stays_here(url):
        fields.wrong("webhook_url", "must be an https URL")
    return url


def _stays_here(url: str) -> bool:
    """Tell whether an http URL leads to this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:  # no URL, or another name
        return False


def _seconds(fields: Fields) -> int:
    """Read the length of the video; only the deprecated video_length is rounded."""
    frames = fields.whole("video_length", high=1000)
    asked = fields.whole("video_time")
    if asked is None:
        seconds = (frames or 1) // _FRAMES_PER_SECOND
        return next((duration for duration in DURATIONS if seconds <= duration), DURATIONS[-1])
    if asked not in DURATIONS:
        fields.wrong("video_time", "must be 5, 10, 15 or 20")
        return DURATIONS[0]
    return asked
