"""What `POST userImage2Video/start` accepts (reference 9.1), and what it costs."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from attrs import field, frozen

from a2e_async.sandbox.fates import Fate, fate_of
from a2e_async.sandbox.fields import Fields

# Without a model_version, accounts below Ultra get the first one (reference 9.1); the sandbox has such an account.
MODEL_VERSIONS: Final = ("a2e", "a2e-v2", "a2e-v2-flash")
MODEL_TYPES: Final = ("GENERAL", "FLF2V")
DURATIONS: Final = (5, 10, 15, 20)

# Coins per 5 seconds. About 30 was seen for a2e; a2e-v2-flash costs the same, a2e-v2 more (reference 1.8).
# How much more is unpublished; we charge the double.
PRICES: Final = {"a2e": 30, "a2e-v2": 60, "a2e-v2-flash": 30}

# The frames per second behind the deprecated video_length are unpublished; 81 frames were the usual 5 seconds.
_FRAMES_PER_SECOND: Final = 16


@frozen(kw_only=True)
class Order:
    """One accepted start: what each of its `count` videos shall be."""

    name: str
    image_url: str
    end_image_url: str
    prompt: str
    negative_prompt: str
    model_version: str
    model_type: str
    video_time: int
    count: int
    fate: Fate
    webhook_url: str = field(default="", repr=False)
    webhook_token: str = field(default="", repr=False)

    @property
    def price(self) -> int:
        """The coins that each video costs: linear in its seconds (reference 1.8)."""
        return PRICES[self.model_version] * self.video_time // 5


def read_order(fields: Fields) -> Order:
    """Read every field of a start; what is wrong is noted in `fields`."""
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
