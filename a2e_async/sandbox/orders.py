"""An accepted start: what was asked for and what it costs; and how the starts of all families are read."""

from ipaddress import ip_address
from typing import Any, Final, Self
from urllib.parse import urlsplit

from attrs import Factory, field, frozen

from a2e_async.sandbox.catalogue import form_of, read_form
from a2e_async.sandbox.families import FAMILIES, IMAGE_TO_VIDEO
from a2e_async.sandbox.family import Family, Sent
from a2e_async.sandbox.fates import Fate, fate_of
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.prices import PRICES, seconds_of

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
    portrait: str = field(default="", repr=False)  # the picture of the avatar that shall speak, if there is one
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
