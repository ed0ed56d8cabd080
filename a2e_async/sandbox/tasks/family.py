"""Columns of the table of families (reference 1.7 to 1.13), and the prices of tasks in coins."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from attrs import Factory, field, frozen

Sent: TypeAlias = Mapping[str, Any]  # the fields of a start
Record: TypeAlias = dict[str, object]
# The result of a task: a video made of an image, the video of the input again, the video or image of the input again,
# a new image, a video of a speaking avatar, the preview of a twin, or no file.
Output: TypeAlias = Literal["animated_image", "input_video", "input_media", "image", "speech", "twin", "nothing"]


@frozen(kw_only=True)
class StatusWords:
    """Status words of one family, in the order in which a task has them."""

    queued: tuple[str, ...] = ("initialized", "sent", "pending")
    working: tuple[str, ...] = ("processing",)
    succeeded: str = "completed"
    failed: str = "failed"
    field: str = "current_status"  # of the record


@frozen(kw_only=True)
class Listing:
    """One list operation of a family: its path, paging (reference 1.7), container and choice of records."""

    path: str = "allRecords"
    style: Literal["P0", "P1", "P2", "P3"] = "P1"
    page_size: int = 10
    max_page_size: int | None = None
    required: bool = False  # whether the request must have the paging parameters
    container: Literal["rows", "list", "data", "array"] = "rows"
    shows: Literal["all", "finished", "running"] = "all"
    s2: bool = False  # the envelope is S2 instead of S1


def _label(family: "Family") -> str:
    return family.name.replace("_", " ")


@frozen(kw_only=True, eq=False)
class Family:
    """One family. A path that is `None` is an operation that does not exist."""

    name: str
    prefix: str
    label: str = field(default=Factory(_label, takes_self=True))  # the reason of its entries in the ledger
    start_path: str = "start"
    detail_path: str | None = "{_id}"
    lists: tuple[Listing, ...] = (Listing(),)
    batch_detail: bool = True
    max_batch: int | None = None  # ids in one batchDetail
    delete_path: str | None = "{_id}"
    deletes_running: bool = True  # otherwise a delete answers 400 while A2E works on the task
    rename: bool = False
    s2_operations: frozenset[str] = frozenset()  # those that answer S2: start, detail, delete, rename
    traced: bool = True  # whether detail and batchDetail send a trace_id
    always_array: bool = False  # whether the answer to a start is an array even for one task
    synchronous: bool = False  # a start with #fast answers with finished tasks
    words: StatusWords = StatusWords()
    output: Output = "animated_image"
    result_fields: tuple[str, ...] = ("result_url",)  # names in the plural hold arrays
    failure_fields: tuple[str, str] = ("failed_message", "failed_code")  # "" is a field that does not exist
    quirk: Callable[[Record, Sent], Record] | None = None  # makes the last changes to a record
    price: Callable[[Sent], int]
    count_field: str = ""  # the field for the number of tasks
    results_field: str = ""  # the field for the number of results of one task
    webhooks: bool = True
    refunds: frozenset[str] = frozenset()  # when coins come back: "deleted" (while the task is queued), "failed"
    hides_expired: bool = False  # lists leave out records whose result has expired


def seconds_of(sent: Sent) -> int:
    """Return the requested length of a result, 5 by default."""
    # Each family has another field for it, and some send a string (reference 14, trap 29).
    inner = sent.get("parameters")
    candidates = [sent.get(name) for name in ("video_time", "duration", "duration_seconds")]
    candidates.append(inner.get("duration") if isinstance(inner, Mapping) else None)
    for value in candidates:
        if isinstance(value, int) and value > 0:
            return value
        if isinstance(value, str) and value.isdecimal():
            return int(value)
    return 5


def flat(coins: int) -> Callable[[Sent], int]:
    """Return a price that is the same for every task."""
    return lambda _: coins


def per_second(coins: int) -> Callable[[Sent], int]:
    """Return a price for each second of the result."""
    return lambda sent: coins * max(1, seconds_of(sent))


# Coins per 5 seconds. About 30 was seen for a2e; a2e-v2-flash costs the same, a2e-v2 costs more (reference 1.8).
# How much more is unpublished; we charge twice as much.
PRICES: Final = MappingProxyType({"a2e": 30, "a2e-v2": 60, "a2e-v2-flash": 30})


def image_to_video(sent: Sent) -> int:
    """Return the price of an image to video, which is linear in the seconds (reference 1.8)."""
    return PRICES[sent["model_version"]] * seconds_of(sent) // 5


def text_to_image(sent: Sent) -> int:
    """Return the price of a text to image; 10 and 25 coins were seen (reference 1.8)."""
    return 25 if sent.get("model_type") == "seedream" else 10


def gpt_image(sent: Sent) -> int:
    """Return the published price of a GPT image (reference 1.8)."""
    if sent.get("model") == "gpt-image-2":
        return {"1K": 25, "2K": 35, "4K": 45}[sent["resolution"]]
    return {"medium": 20, "high": 35}[sent["quality"]]


def talking(sent: Sent) -> int:
    """Return the price of a talking photo or video."""
    # 13 coins for 5 seconds were seen (reference 1.8); that the price is linear is a guess.
    return -(-13 * seconds_of(sent) // 5)


def twin(sent: Sent) -> int:
    """Return the price of a twin: a video is free, an image costs 30 coins (reference 5.1 and 1.8)."""
    return 0 if sent.get("video_url") else 30
