"""What a row of the table of families says: the ways in which families of tasks differ (reference 1.7 to 1.13)."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import Factory, field, frozen

Sent: TypeAlias = Mapping[str, Any]
Record: TypeAlias = dict[str, object]
# What a finished task has: a film of a picture, the video that was sent, that or the picture that was sent, a new
# picture, a film of somebody who speaks, the preview of a twin, or nothing to download.
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
