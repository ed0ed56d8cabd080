"""The settings, as frozen values. Reading and checking them is the work of `_protocol/settings.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

__all__ = ["Config", "OnUnknown", "Pacing", "PollPolicy", "RetryPolicy", "StartPolicy"]

OnUnknown: TypeAlias = Literal["raise", "resend"]
"""What to do with a paid start of which nobody knows whether A2E accepted it."""


DEFAULT_BASE_URL = "https://video.a2e.ai"


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often something is tried again that can be tried again without harm.

    That is every read that met trouble with the network or with A2E, and a paid start only if it surely was not
    accepted: it never left this machine, or A2E turned it away (429, "busy").

    After failure n there is a pause of random length between 0 and ``min(max_delay, base * 2**(n - 1))`` seconds.
    A ``Retry-After`` of A2E replaces it and is never shortened: if it does not fit into `max_time`, the error is
    raised at once.

    Attributes:
        max_attempts: Tries in all, the first included.
        max_time: Seconds from the first failure after which no further try begins. After 429 and "busy", which hold
            back the whole client (see `Pacing`), only the pause that A2E asks for has to fit into it.
        base: Seconds; the first pause is at most this long.
        max_delay: Seconds; no pause of ours is longer than this.
    """

    max_attempts: int = 5
    max_time: float = 60.0
    base: float = 0.5
    max_delay: float = 15.0


@attrs.frozen(kw_only=True)
class PollPolicy:
    """How often a waiting task is asked about (A2E's ``batchDetail``, or its page "Check Status of One Task").

    All waits of a client share one beat, whose ticks are half of the shortest interval apart, but a second at most.
    What is due at one tick is asked about together, so that times are met up to a tick later.

    Attributes:
        initial: Seconds between the beginning of a wait and the first look.
        steps: Pairs of ages and intervals, both in seconds and by growing age, the first age being 0: a task that is
            waited for since at least *age* is asked about every *interval*.
        backstop: Seconds between the looks at a task whose end a webhook will tell; a longer interval of `steps` counts
            as well.
        invisible_for: Seconds for which "no such task" is not believed of a task that was never seen, since a fresh
            task can be invisible for a while.
        max_at_once: Questions under way at the same time, of up to 100 tasks each.
        answer_within: Seconds after which a question is given up and asked again later, so that a few that hang do
            not hold up the others.
    """

    initial: float = 2.0
    steps: tuple[tuple[float, float], ...] = ((0.0, 2.0), (60.0, 5.0), (300.0, 10.0))
    backstop: float = 30.0
    invisible_for: float = 60.0
    max_at_once: int = 10
    answer_within: float = 20.0


@attrs.frozen(kw_only=True)
class Pacing:
    """How much one client asks of A2E at once. A2E publishes no limits.

    A 429, a "busy" or a ``Retry-After`` holds back the whole client: exactly as long as asked and up to a tenth longer.
    The number in flight is halved, and grows again step by step. After a 429 the client also goes no faster than A2E
    has just accepted, and a little faster each second.

    Attributes:
        max_in_flight: Requests under way at the same time, at most.
        per_second: Requests begun in any second, or None for no limit of ours.
        hold_back: Seconds for which the client is held back if A2E does not say how long; they double each time.
        max_hold_back: Seconds; no pause of ours is longer than this.
    """

    max_in_flight: int = 20
    per_second: float | None = None
    hold_back: float = 2.0
    max_hold_back: float = 30.0


@attrs.frozen(kw_only=True)
class StartPolicy:
    """What happens to a paid start whose answer got lost, so that nobody knows whether A2E accepted it.

    Attributes:
        mark_names: Whether the name that is sent gets a marker (``"Ada [a2e:7f3k2m9q4d]"``), by which the task is
            found again in A2E's list. Without it such a start can only raise.
        on_unknown: What to do if the task is not found: ``"raise"`` a `SubmissionUncertainError`, or ``"resend"`` the
            start once more with the same marker. If the first one shows up late after all, both are paid.
        looks: Seconds after the answer got lost at which A2E's list is looked through, by growing time.
    """

    mark_names: bool = True
    on_unknown: OnUnknown = "raise"
    looks: tuple[float, ...] = (0.0, 2.0, 7.0, 20.0)


@attrs.frozen(kw_only=True)
class Config:
    """Everything that can be set on a client.

    Attributes:
        token: The API token (``sk_…``), or None to take it from the environment.
        base_url: Where A2E is, or None for ``A2E_BASE_URL``, else ``https://video.a2e.ai``.
        connect_timeout: Seconds to get a connection, name resolution and TLS included.
        request_timeout: Seconds for one request from its beginning to the last byte of its answer. Some starts of
            A2E take up to 120 s.
        max_response_bytes: Bytes; a larger answer of the API is an `UnexpectedResponseError`. Downloads have no limit.
        transfer_timeout: Seconds without a single byte after which a download is given up. An upload has
            `request_timeout`, and a second more for every 50,000 bytes.
        visible_timeout: Seconds to wait until an uploaded file can be read at A2E's CDN.
        max_upload_bytes: Bytes; a larger image is refused before anything is sent or paid. A2E does not publish a
            limit of its own.
        max_uploads: Uploads at the same time; the others wait in line.
        max_downloads: Downloads at the same time; the others wait in line.
        retry: See `RetryPolicy`.
        poll: See `PollPolicy`.
        pacing: See `Pacing`.
        start: See `StartPolicy`.
    """

    token: str | None = attrs.field(default=None, repr=False)
    base_url: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 120.0
    max_response_bytes: int = 16 * 1024 * 1024
    transfer_timeout: float = 60.0
    visible_timeout: float = 30.0
    max_upload_bytes: int = 50 * 1024 * 1024
    max_uploads: int = 8
    max_downloads: int = 8
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    poll: PollPolicy = attrs.field(factory=PollPolicy)
    pacing: Pacing = attrs.field(factory=Pacing)
    start: StartPolicy = attrs.field(factory=StartPolicy)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Config:
        """Make a configuration from ``A2E_API_TOKEN`` (else ``A2E_API_KEY``) and ``A2E_BASE_URL``.

        Args:
            environ: Usually ``os.environ``. An empty value counts as absent.
        """
        return cls(
            token=environ.get("A2E_API_TOKEN") or environ.get("A2E_API_KEY") or None,
            base_url=environ.get("A2E_BASE_URL") or None,
        )
