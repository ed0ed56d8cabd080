"""What a row of the table of families says (reference 1.7 to 1.13), and what a task of each family costs, in coins."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from attrs import Factory, field, frozen

Sent: TypeAlias = Mapping[str, Any]
Record: TypeAlias = dict[str, object]
# What a finished task has: a video of an image, the video that was sent, that or the image that was sent, a new
# image, a video of somebody who speaks, the preview of a twin, or nothing to download.
Makes: TypeAlias = Literal["film", "video", "either", "picture", "speech", "twin", "nothing"]


@frozen(kw_only=True)
class Words:
    """The words of a family's status, in the order in which a task has them, and the field that holds them."""

    queued: tuple[str, ...] = ("initialized", "sent", "pending")
    working: tuple[str, ...] = ("processing",)
    good: str = "completed"
    bad: str = "failed"
    field: str = "current_status"


@frozen(kw_only=True)
class Listing:
    """One list of a family: its path, its paging (reference 1.7), its container, and which records it shows."""

    path: str = "allRecords"
    style: Literal["P0", "P1", "P2", "P3"] = "P1"
    size: int = 10
    most: int | None = None
    required: bool = False  # whether the paging has to be given
    container: Literal["rows", "list", "data", "array"] = "rows"
    shows: Literal["all", "finished", "running"] = "all"
    acknowledged: bool = False  # S2 instead of S1


def _readable(family: "Family") -> str:
    return family.name.replace("_", " ")


@frozen(kw_only=True, eq=False)
class Family:
    """One family. The prices are in coins; `None` for a path is an operation that does not exist."""

    name: str
    prefix: str
    what: str = field(default=Factory(_readable, takes_self=True))  # in the ledger
    start: str = "start"
    detail: str | None = "{_id}"
    lists: tuple[Listing, ...] = (Listing(),)
    batch: bool = True
    batch_most: int | None = None
    delete: str | None = "{_id}"
    deletes_running: bool = True  # otherwise 400 between the first status and the last
    rename: bool = False
    acknowledged: frozenset[str] = frozenset()  # the operations that answer S2: start, detail, delete, rename
    traced: bool = True  # whether detail and batchDetail have a trace_id
    always_array: bool = False  # the answer of a start
    at_once: bool = False  # a start with #fast answers tasks that are finished already
    words: Words = Words()
    makes: Makes = "film"
    result: tuple[str, ...] = ("result_url",)  # names in the plural hold arrays
    failure: tuple[str, str] = ("failed_message", "failed_code")  # "" is a field that does not exist
    dress: Callable[[Record, Sent], Record] | None = None  # last changes of a record
    price: Callable[[Sent], int]
    count: str = ""  # the field that asks for several tasks
    pieces: str = ""  # the field that asks for several results of one task
    webhooks: bool = True
    refunds: frozenset[str] = frozenset()  # "deleted" (while nobody has begun), "failed"
    forgets_expired: bool = False  # lists leave out what has expired


def seconds_of(sent: Sent) -> int:
    """Read how long a result shall be, wherever the family says it (reference 14, trap 29); 5 is the usual length."""
    inner = sent.get("parameters")
    asked = [sent.get(name) for name in ("video_time", "duration", "duration_seconds")]
    asked.append(inner.get("duration") if isinstance(inner, Mapping) else None)
    for value in asked:
        if isinstance(value, int) and value > 0:
            return value
        if isinstance(value, str) and value.isdecimal():
            return int(value)
    return 5


def flat(coins: int) -> Callable[[Sent], int]:
    """Charge the same for every task."""
    return lambda _: coins


def per_second(coins: int) -> Callable[[Sent], int]:
    """Charge for the length of the result."""
    return lambda sent: coins * max(1, seconds_of(sent))


# Coins per 5 seconds. About 30 was seen for a2e; a2e-v2-flash costs the same, a2e-v2 more (reference 1.8).
# How much more is unpublished; we charge the double.
PRICES: Final = MappingProxyType({"a2e": 30, "a2e-v2": 60, "a2e-v2-flash": 30})


def image_to_video(sent: Sent) -> int:
    """Linear in the seconds (reference 1.8)."""
    return PRICES[sent["model_version"]] * seconds_of(sent) // 5


def text_to_image(sent: Sent) -> int:
    """10 and 25 were seen (reference 1.8)."""
    return 25 if sent.get("model_type") == "seedream" else 10


def gpt_image(sent: Sent) -> int:
    """Published, for once (reference 1.8)."""
    if sent.get("model") == "gpt-image-2":
        return {"1K": 25, "2K": 35, "4K": 45}[sent["resolution"]]
    return {"medium": 20, "high": 35}[sent["quality"]]


def talking(sent: Sent) -> int:
    """13 coins for 5 seconds were seen (reference 1.8); linear is our guess."""
    return -(-13 * seconds_of(sent) // 5)


def twin(sent: Sent) -> int:
    """A video is free, an image costs 30 credits (reference 5.1 and 1.8)."""
    return 0 if sent.get("video_url") else 30
