"""Rules of a batch, as plain functions and counters: next action of a journal entry, budget, file name.

Two rules come first. A start is sent only if the entry certainly has no task at A2E. A task that was paid for is always
waited for.
"""

import enum
import hashlib
import re
from collections import Counter
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias

import attrs

from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._protocol.links import without_signature
from a2e_async._submission.evidence import LISTED_UNTIL
from a2e_async.batch.jobs import Funds
from a2e_async.errors import (
    A2EError,
    APIError,
    NetworkError,
    ServerError,
    SubmissionUncertainError,
    TransferError,
    UnexpectedResponseError,
)

EntryState: TypeAlias = Literal["new", "sending", "running", "succeeded", "failed", "uncertain"]
"""``sending`` until the answer to a start has arrived, ``running`` until the task has ended."""

# How much longer a start can be missing from A2E's list if its answer was lost: A2E may be in trouble then.
_LOST_FACTOR = 3.0

# No link to a result works after this many seconds: about 3 days, and 7 on some of A2E's hosts (reference 1.9).
RESULT_LIFETIME = 7 * 86400.0

# Errors that the same start would cause again: A2E has rejected the job.
REJECTIONS = frozenset({"BadRequestError", "ContentRejectedError"})

# Keys that are file names as they are.
_PLAIN_KEY = r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,98}[A-Za-z0-9_-]|[A-Za-z0-9_-]"

# Words with a digit: a time, the id of a request.
_NUMBERS = r"[\w.:-]*\d[\w.:-]*"

# Names that Windows reserves for devices, with any extension.
_DEVICE_NAME = r"(?i)(?:con|prn|aux|nul|com\d|lpt\d) *(?:\..*)?"


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
        sent_at: When the last start was sent, at the latest, in A2E's clock.
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
    return bool(retry_failed) or entry.error is None or entry.error.get("type") not in REJECTIONS


def settle_time(entry: JournalEntry, after_crash: float) -> float:
    """Return the seconds after which an accepted start is certainly in A2E's list.

    Args:
        entry: The entry, whose state is ``sending`` or ``uncertain``.
        after_crash: These seconds if no answer was lost, so that A2E had no trouble with the start.
    """
    return after_crash if entry.state == "sending" else _LOST_FACTOR * after_crash


def may_restart(*, is_absent: bool, age: float, resend: bool) -> bool:
    """Return whether to send a new start although the outcome of the last one is unknown and A2E shows no task of it.

    Args:
        is_absent: Whether A2E's list proves that it has no task of the start.
        age: Seconds since it was sent: the larger one, if two clocks differ.
        resend: Whether the caller wants a new start in any case.
    """
    # Case 1: the caller prefers a possible second charge to a missing video.
    if resend:
        return True
    # Case 2: too old. An accepted task may have left A2E's list, so its absence proves nothing.
    return is_absent and age < LISTED_UNTIL


def pauses_batch(error: A2EError, *, is_needed: bool) -> bool:
    """Return whether an error that prevented a start would prevent all others as well, for a while or for good.

    Args:
        error: The error.
        is_needed: Whether no start can be sent until the failed attempt succeeds.
    """
    # A failure of A2E (500, the page of a gateway) came when its list was read before the start: such a failure of the
    # start itself leaves its outcome unknown.
    is_outage = isinstance(error, ServerError) or (isinstance(error, UnexpectedResponseError) and error.status >= 500)
    return failure_of(error).scope in {"account", "service"} or (is_needed and is_outage)


def prevents_storing(error: A2EError) -> bool:
    """Return whether an error of a download would fail all other downloads as well, for a while or for good."""
    return failure_of(error).scope == "disk"


def stops_batch(error: A2EError) -> bool:
    """Return whether no job can be started any more: a wrong token or plan stays wrong, and a closed client closed."""
    failure = failure_of(error)
    return failure.scope != "job" and failure.ends_wait != ""


def must_repeat(error: A2EError) -> bool:
    """Return whether an error that stops the batch has to come twice: a gateway can answer 401 once."""
    return failure_of(error).ends_wait == "repeated"


def is_unreadable(error: SubmissionUncertainError) -> bool:
    """Return whether A2E itself has answered a start, whole and in an unknown form: it would do so again, for coins."""
    cause = error.__cause__
    if not isinstance(cause, UnexpectedResponseError) or not 200 <= cause.status < 300:
        return False
    body = cause.body.strip()
    return body[:1] == b"{" and body[-1:] == b"}"


def refusal_of(error: A2EError) -> tuple[object, ...] | None:
    """Return what A2E has answered, if it has rejected a start, so that equal answers can be counted; else None.

    Answers that differ in their numbers only, such as the id of the request or the time, are equal.
    """
    if not isinstance(error, APIError) or failure_of(error).outcome is not StartOutcome.REJECTED:
        return None
    return error.status, error.code, re.sub(_NUMBERS, "", error.message)


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
    """Return the part of a fingerprint that equal images share. The value of another field is as it is."""
    if isinstance(value, dict) and isinstance(value.get("url"), str):
        return without_signature(value["url"])
    return value["sha256"] if isinstance(value, dict) and "sha256" in value else value


def file_name(key: str, extension: str) -> str:
    """Return a safe file name for a key. If the key has to be changed, a part of its hash keeps the name unique."""
    is_plain = re.fullmatch(_PLAIN_KEY, key) and not re.fullmatch(_DEVICE_NAME, key)
    return key + extension if is_plain else marked_name(key, extension)


def marked_name(key: str, extension: str) -> str:
    """Return a file name with a part of the key's hash, which differs from that of every other key also in its case."""
    # no dots: Windows reads the part before the first dot as the device
    stem = re.sub(r"[^A-Za-z0-9_ -]", "_", key).strip()[:80]
    return f"{stem}~{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:16]}{extension}"


def measured_price(before: Funds, after: Funds, quote: float | None) -> float | None:
    """Return the price of a start from what A2E said before and after it, None if that is not clear.

    Nothing else may have been started in between by this batch.
    """
    fallen = None if before.coins is None or after.coins is None else before.coins - after.coins
    # Case 1: the history shows exactly one new transaction that cost coins.
    if before.spendings is not None and after.spendings is not None:
        new = [*(Counter(after.spendings) - Counter(before.spendings)).elements()]
        # If the balance has fallen by more, the history is late, or another program spends as well.
        if len(new) == 1 and (fallen is None or fallen <= new[0][1]):
            return new[0][1]
    # Case 2: the balance has fallen by what A2E has quoted. A difference of balances alone is no price: other programs
    # spend from the same account, and the daily check-in adds 60 coins (reference 14b).
    return quote if fallen is not None and 0 < fallen == quote else None


@attrs.define(eq=False, repr=False)
class Reservation:
    """Coins reserved for one start.

    Attributes:
        price_key: What decides the price.
        coins: The expected price, None if it is unknown. 0 once the start has been counted as spent.
        alone: Whether it finds out the true price of its kind, so that nothing else is reserved meanwhile.
        sending: Whether the start is being sent, so that the coins may be spent at any moment.
        counted: Whether it was, or may have been, accepted, and is counted as spent.
        funds: What A2E said about the account right before it was sent, if the start goes alone.
    """

    price_key: Hashable
    coins: float | None
    alone: bool = False
    sending: bool = False
    counted: bool = False
    funds: Funds = attrs.field(factory=Funds)


@attrs.define(eq=False, repr=False)
class Budget:
    """Coins of one batch: spent, reserved, left. It only counts, and never waits; see `budget.BudgetGuard`.

    With a limit, the first start of a kind (a price key) goes alone until its true price is known: a quote can be
    wrong, and many starts at a wrong price would pass the limit by far.

    Attributes:
        limit: Coins that may be spent, None for no limit.
        spent: Coins that were spent, earlier runs included.
        is_unclear: Whether a start has cost coins, and nothing has told how many. Then it is unknown what is left.
        names_coins: Whether A2E has named the price of a start in its answer, so that it will do so again.
    """

    limit: float | None
    spent: float = 0
    is_unclear: bool = False
    names_coins: bool = False
    _prices: dict[Hashable, float] = attrs.field(factory=dict)
    # kinds whose true price is known
    _certain: set[Hashable] = attrs.field(factory=set)
    _reserved: set[Reservation] = attrs.field(factory=set)

    def price(self, price_key: Hashable) -> float | None:
        """Return the expected cost of a start, None if it is unknown."""
        return self._prices.get(price_key)

    def learn_quote(self, price_key: Hashable, coins: float | None) -> None:
        """Remember a quote, which is expected and not certain. None is ignored, and so is one that comes too late."""
        if coins is not None:
            self._prices.setdefault(price_key, coins)

    def learn_price(self, price_key: Hashable, coins: float) -> None:
        """Remember the true price of a kind."""
        self._prices[price_key] = coins
        self._certain.add(price_key)

    @property
    def has_reservations(self) -> bool:
        """Whether coins are reserved, some of which may become free again."""
        return bool(self._reserved)

    @property
    def has_sending(self) -> bool:
        """Whether a start is being sent."""
        return any(reservation.sending for reservation in self._reserved)

    def fits(self, price_key: Hashable) -> bool:
        """Return whether a start can be reserved now, beside all reservations, and stay within the limit.

        One of unknown price fits as long as anything is left, because only a start can reveal the price.
        """
        # Case 1: no limit.
        if self.limit is None:
            return True
        # Case 2: another start finds out its price, alone.
        if any(reservation.alone for reservation in self._reserved):
            return False
        # Case 3: the price of an earlier start was not to be found out. It may have taken all that was left.
        if self.is_unclear:
            return False
        # Case 4: its price will perhaps be measured, by the balance. Then no other start may change the balance.
        if price_key not in self._certain and self._reserved and not self.names_coins:
            return False
        # Case 5: it counts what is left.
        return self._is_within_limit(price_key, beside=self._reserved)

    def reserve(self, price_key: Hashable) -> Reservation:
        """Reserve the price of a start."""
        is_limited = self.limit is not None
        reservation = Reservation(price_key, self.price(price_key), alone=is_limited and price_key not in self._certain)
        if is_limited:
            self._reserved.add(reservation)
        return reservation

    def restore(self, reservation: Reservation) -> None:
        """Add a reservation that another process has made."""
        self._reserved.add(reservation)

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

    def count(self, reservation: Reservation, coins: float | None) -> None:
        """Turn reserved coins into spent ones, since the start was accepted, or may have been; None is ignored.

        If the start goes alone, it keeps its place until `release`.
        """
        self.spend(coins)
        reservation.coins, reservation.sending, reservation.counted = 0, False, True
        if not reservation.alone:
            self.release(reservation)

    def release(self, reservation: Reservation) -> None:
        """Free the reserved coins. Releasing twice does no harm."""
        if reservation not in self._reserved:
            return
        self._reserved.remove(reservation)
        if reservation.alone and reservation.counted and reservation.price_key not in self._certain:
            self.is_unclear = True

    def spend(self, coins: float | None) -> None:
        """Add coins to those that were spent; None is ignored."""
        self.spent += coins or 0

    def _is_within_limit(self, price_key: Hashable, *, beside: set[Reservation]) -> bool:
        if self.limit is None:
            return True
        price = self.price(price_key)
        left = self.limit - self.spent - sum(reserved.coins or 0 for reserved in beside)
        return left > 0 if price is None else price <= left
