"""Rules of a batch, as plain functions and counters: next action of a journal entry, budget, file name.

Two rules come first. A start is sent only if the entry certainly has no task at A2E. A task that was paid for is always
waited for.
"""

import enum
import hashlib
import re
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import attrs

from a2e_async._protocol.failures import failure_of
from a2e_async.errors import A2EError, NetworkError, TransferError

EntryState: TypeAlias = Literal["new", "sending", "running", "succeeded", "failed", "uncertain"]
"""``sending`` until the answer to a start has arrived, ``running`` until the task has ended."""

# An accepted task is in A2E's list after this many seconds at the latest.
LISTED_AFTER = 600.0

# It stays there for at least this many seconds. Lists show tasks that have not expired; links live for about 3 days.
LISTED_UNTIL = 2.5 * 86400.0

# Errors that the same start would cause again.
_FINAL_ERRORS = frozenset({"BadRequestError", "ContentRejectedError"})

# Keys that are file names as they are.
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,98}[A-Za-z0-9_-]|[A-Za-z0-9_-]")

# Names that Windows reserves for devices, with any extension.
_DEVICE_NAME = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d) *(?:\..*)?", re.IGNORECASE)


@attrs.define(kw_only=True, eq=False, repr=False)
class JournalEntry:
    """What the journal knows about one job: one row of its table `jobs`. Times are seconds since the epoch, or None.

    Attributes:
        key: The caller's name for the job.
        state: One of `EntryState`.
        request: The options of the job, as JSON.
        starts: How many starts A2E has accepted.
        marker: The marker of the last start.
        task_id: A2E's id of the last task, or None.
        coins: What the tasks of the job have cost, None if that is unknown.
        quoted: Expected cost of the start under way, None if there is no such start or its price is unknown.
        record: The last record, in A2E's form, or None.
        target: The file that the video will be written to, or None.
        path: The video's file, once it is complete, or None.
        error: ``{"type": ..., "message": ...}`` of the last error, or None.
        created_at: When the job was first read.
        sent_at: When the last start was sent.
        accepted_at: When A2E accepted the last start.
        finished_at: When the job succeeded or failed.
    """

    # the columns of the table `jobs`, in its order, which is the same in all versions of the schema
    key: str
    state: EntryState = "new"
    request: dict[str, Any] = attrs.field(factory=dict, repr=False)
    starts: int = 0
    marker: str = ""
    task_id: str | None = None
    coins: float | None = 0
    quoted: float | None = None
    record: dict[str, Any] | None = attrs.field(default=None, repr=False)
    target: str | None = None
    path: str | None = None
    error: dict[str, str] | None = None
    created_at: float
    sent_at: float | None = None
    accepted_at: float | None = None
    finished_at: float | None = None


class Action(enum.Enum):
    """What to do next about a job."""

    START = "start a task"
    RECONCILE = "look for the task of the last start at A2E"
    WAIT = "wait for the task"
    DOWNLOAD = "download the result"
    SKIP = "nothing: the job is done"
    REPORT = "nothing: the job has failed for good"


def next_action(entry: JournalEntry, *, download: bool, retry_failed: int) -> Action:
    """Return what to do next about a job.

    Args:
        entry: The entry of the journal, or a new one.
        download: Whether the caller wants a file.
        retry_failed: How many new starts the caller allows for a job whose task failed.
    """
    match entry.state:
        case "sending" | "uncertain":
            return Action.RECONCILE
        case "running":
            return Action.WAIT
        case "succeeded":
            return Action.DOWNLOAD if download and entry.path is None else Action.SKIP
        case "new" | "failed":
            return Action.START if may_start(entry, retry_failed) else Action.REPORT


def may_start(entry: JournalEntry, retry_failed: int) -> bool:
    """Return whether to start a job that has no running task, for the first time or again."""
    if entry.starts:
        return entry.starts <= retry_failed
    return bool(retry_failed) or entry.error is None or entry.error.get("type") not in _FINAL_ERRORS


def may_restart(entry: JournalEntry, *, age: float, resend: bool) -> bool:
    """Return whether to send a new start although the outcome of the last one is unknown and A2E shows no task of it.

    Args:
        entry: The entry, whose state is ``sending`` or ``uncertain``.
        age: Seconds since its start was sent.
        resend: Whether the caller wants a new start in any case.
    """
    # Case 1: the caller prefers a possible second charge to a missing video.
    if resend:
        return True
    # Case 2: too old. An accepted task may have left A2E's list, so its absence proves nothing.
    if age >= LISTED_UNTIL:
        return False
    # Case 3: "sending" was left by a crash. The list was read just now, when it certainly shows a fresh task.
    # Case 4: "uncertain" lost its answer on the way, so A2E gets more time to list the task.
    return entry.state == "sending" or age >= LISTED_AFTER


def pauses_batch(error: A2EError) -> bool:
    """Return whether an error that prevented a start would prevent all others as well, for a while or for good."""
    return failure_of(error).scope != "job"


def stops_batch(error: A2EError) -> bool:
    """Return whether no job can be started any more: a wrong token stays wrong, and a closed client stays closed."""
    failure = failure_of(error)
    return failure.scope != "job" and failure.ends_wait == "always"


def may_retry(error: A2EError, failures: int) -> bool:
    """Return whether to try a job again after an error that pauses the batch.

    Args:
        error: The last error.
        failures: How often the job failed while other jobs succeeded, or while it was the only one.
    """
    # A failed upload can be the fault of its image. So it gets three tries, unless no byte of it was sent.
    cause = error.__cause__
    is_connection = not isinstance(error, TransferError) or (isinstance(cause, NetworkError) and not cause.request_sent)
    return is_connection or failures < 3


def job_key(journal_id: str, entry: JournalEntry) -> str:
    """Return the idempotency key of the next start: the same in every process, another one in each journal."""
    return f"{journal_id}/{entry.starts}/{entry.key}"


def is_open(entry: JournalEntry) -> bool:
    """Return whether A2E has, or may have, a task of the job that has not ended."""
    return entry.state in {"sending", "running", "uncertain"}


def is_bound(entry: JournalEntry) -> bool:
    """Return whether the key belongs to one request for good, because a start was or may have been accepted for it."""
    return bool(entry.starts) or entry.state not in {"new", "failed"}


def changed_fields(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """List the fields in which two requests differ. The place of an image's file does not matter."""
    return sorted(
        field for field in old.keys() | new.keys() if image_identity(old.get(field)) != image_identity(new.get(field))
    )


def image_identity(value: Any) -> object:  # noqa: ANN401  the type depends on the field
    """Return the part of a fingerprint that equal images share. A link, and the value of another field, is as it is."""
    return value["sha256"] if isinstance(value, dict) and "sha256" in value else value


def file_name(key: str, extension: str) -> str:
    """Return a safe file name for a key. If the key has to be changed, a part of its hash keeps the name unique."""
    if _PLAIN_KEY.fullmatch(key) and not _DEVICE_NAME.fullmatch(key):
        return key + extension
    # no dots: Windows reads the part before the first dot as the device
    stem = re.sub(r"[^A-Za-z0-9_ -]", "_", key).strip()[:80]
    return f"{stem}~{hashlib.sha256(key.encode()).hexdigest()[:16]}{extension}"


@attrs.define(eq=False, repr=False)
class Reservation:
    """Coins reserved for one start.

    Attributes:
        price_key: What decides the price.
        coins: The price, None if it is unknown.
        sending: Whether the start is being sent, so that the coins may be spent at any moment.
    """

    price_key: Hashable
    coins: float | None
    sending: bool = False


@attrs.define(eq=False, repr=False)
class Budget:
    """Coins of one batch: spent, reserved, left. It only counts, and never waits; see `budget.BudgetGuard`.

    Attributes:
        limit: Coins that may be spent, None for no limit.
        spent: Coins that were spent, earlier runs included.
    """

    limit: float | None
    spent: float = 0
    _prices: dict[Hashable, float] = attrs.field(factory=dict)
    _reserved: set[Reservation] = attrs.field(factory=set)

    def price(self, price_key: Hashable) -> float | None:
        """Return the expected cost of a start, None if it is unknown."""
        return self._prices.get(price_key)

    def learn_price(self, price_key: Hashable, coins: float | None) -> None:
        """Remember the price of a quote or of an answer; None is ignored."""
        if coins is not None:
            self._prices[price_key] = coins

    @property
    def has_reservations(self) -> bool:
        """Whether coins are reserved, some of which may become free again."""
        return bool(self._reserved)

    @property
    def has_sending(self) -> bool:
        """Whether a start is being sent."""
        return any(reservation.sending for reservation in self._reserved)

    @property
    def has_unpriced(self) -> bool:
        """Whether a start of unknown price is under way."""
        return any(reservation.coins is None for reservation in self._reserved)

    def fits(self, price_key: Hashable) -> bool:
        """Return whether a start stays within the limit, beside all reservations.

        One of unknown price fits as long as anything is left, because only a start can reveal the price.
        """
        return self._is_within_limit(price_key, beside=self._reserved)

    def reserve(self, price_key: Hashable) -> Reservation:
        """Reserve the price of a start."""
        reservation = Reservation(price_key, self.price(price_key))
        if self.limit is not None:
            self._reserved.add(reservation)
        return reservation

    def may_send(self, reservation: Reservation) -> bool:
        """Return whether a start stays within the limit at its present price, beside all starts being sent."""
        return self._is_within_limit(
            reservation.price_key, beside={reserved for reserved in self._reserved if reserved.sending}
        )

    def send(self, reservation: Reservation) -> None:
        """Mark a start as being sent, at its present price."""
        reservation.coins, reservation.sending = self.price(reservation.price_key), True

    def reject(self, reservation: Reservation) -> None:
        """Mark a start as rejected. It keeps its reservation, since it may be sent again."""
        reservation.sending = False

    def release(self, reservation: Reservation) -> None:
        """Free the reserved coins. Releasing twice does no harm."""
        self._reserved.discard(reservation)

    def spend(self, coins: float | None) -> None:
        """Add coins to those that were spent; None is ignored."""
        self.spent += coins or 0

    def _is_within_limit(self, price_key: Hashable, *, beside: set[Reservation]) -> bool:
        if self.limit is None:
            return True
        price = self.price(price_key)
        left = self.limit - self.spent - sum(reserved.coins or 0 for reserved in beside)
        return left > 0 if price is None else price <= left
