"""The settings, as frozen values. `_protocol/settings.py` reads and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

__all__ = ["Config", "OnUnknown", "Pacing", "PollPolicy", "RetryPolicy", "StartPolicy"]

OnUnknown: TypeAlias = Literal["raise", "resend"]
"""What to do after a paid start with an unknown outcome."""


DEFAULT_BASE_URL = "https://video.a2e.ai"


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a request is retried, if that does no harm.

    Every read is retried after a transient error of the network or of A2E. A paid start is retried only if A2E surely
    did not accept it: it was not sent, or A2E rejected it with 429 or "busy".

    The delay after failure n is random, between 0 and ``min(max_delay, base * 2**(n - 1))`` seconds. A ``Retry-After``
    of A2E replaces it and is never shortened: if it does not fit into `max_time`, the error is raised at once.

    Attributes:
        max_attempts: Tries in total, including the first.
        max_time: Seconds after the first failure in which further tries can begin. After 429 and "busy", which pause
            the whole client (see `Pacing`), only the pause that A2E asks for has to fit into it.
        base: Seconds; the longest first delay.
        max_delay: Seconds; the longest delay that the client chooses.
    """

    max_attempts: int = 5
    max_time: float = 60.0
    base: float = 0.5
    max_delay: float = 15.0


@attrs.frozen(kw_only=True)
class PollPolicy:
    """How often the status of a task is polled (A2E's ``batchDetail``, or its page "Check Status of One Task").

    All waits of a client share one schedule. Its ticks are half of the shortest interval apart, but at most a second.
    The polls that are due at a tick are sent together, so that a poll can come up to a tick late.

    Attributes:
        initial: Seconds between the beginning of a wait and the first poll.
        steps: Pairs of age and interval, both in seconds, in order of age, the first age being 0. From *age* on, a task
            is polled every *interval*. The age counts from the beginning of the wait.
        backstop: Seconds between the polls of a task whose end a webhook reports. A longer interval of `steps` is used
            instead.
        invisible_for: Seconds in which "no such task" does not end the wait for a task that A2E has not shown yet. A
            fresh task can be invisible for a while.
        max_concurrent: Status requests in flight at the same time, each for up to 100 tasks.
        poll_timeout: Seconds after which a status request is given up and sent again later. A few requests without an
            answer must not delay the others.
    """

    initial: float = 2.0
    steps: tuple[tuple[float, float], ...] = ((0.0, 2.0), (60.0, 5.0), (300.0, 10.0))
    backstop: float = 30.0
    invisible_for: float = 60.0
    max_concurrent: int = 10
    poll_timeout: float = 20.0


@attrs.frozen(kw_only=True)
class Pacing:
    """How many requests one client sends at the same time, and how fast. A2E publishes no limits.

    A 429, a "busy" or a ``Retry-After`` pauses the whole client: at least as long as A2E asks, at most a tenth longer.
    The number of requests in flight is halved, and grows again step by step. After a 429 the client also limits its
    rate to what A2E has just accepted, and raises it slowly.

    Attributes:
        max_in_flight: Requests in flight at the same time, at most.
        per_second: Requests started per second, at most, or None for no limit.
        pause: Seconds of the first pause if A2E does not say how long. Each further pause is twice as long.
        max_pause: Seconds; the longest pause that the client chooses.
    """

    max_in_flight: int = 20
    per_second: float | None = None
    pause: float = 2.0
    max_pause: float = 30.0


@attrs.frozen(kw_only=True)
class StartPolicy:
    """What to do after a paid start with an unknown outcome: its answer got lost, and A2E may have accepted it.

    Attributes:
        mark_names: Add a marker to the name that is sent (``"Ada [a2e:7f3k2m9q4d]"``), by which the task is found again
            in A2E's list. Without it, a start with an unknown outcome raises an error.
        on_unknown: What to do if the task is not found: ``"raise"`` a `SubmissionUncertainError`, or ``"resend"`` the
            start once with the same marker. If A2E shows the first task later, both are paid.
        scan_delays: Seconds after the lost answer at which A2E's list is scanned, in ascending order.
    """

    mark_names: bool = True
    on_unknown: OnUnknown = "raise"
    scan_delays: tuple[float, ...] = (0.0, 2.0, 7.0, 20.0)


@attrs.frozen(kw_only=True)
class Config:
    """All settings of a client.

    Attributes:
        token: The API token (``sk_…``), or None to take it from the environment.
        base_url: Where A2E is, or None for ``A2E_BASE_URL``, else ``https://video.a2e.ai``.
        connect_timeout: Seconds to get a connection, including name resolution and TLS.
        request_timeout: Seconds for one request, from its beginning to the last byte of its answer. Some starts of A2E
            take up to 120 s.
        max_response_bytes: Bytes; a larger answer of the API is an `UnexpectedResponseError`. Downloads have no limit.
        transfer_timeout: Seconds without a single byte after which a download attempt fails. An upload has
            `request_timeout`, and one second more for every 50,000 bytes.
        visible_timeout: Seconds to wait until an uploaded file can be read at A2E's CDN.
        max_upload_bytes: Bytes; a larger file is rejected before anything is sent or paid. A2E does not publish a limit
            of its own.
        max_uploads: Uploads at the same time; the others wait in the queue.
        max_downloads: Downloads at the same time; the others wait in the queue.
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
        """Return a configuration from ``A2E_API_TOKEN`` (else ``A2E_API_KEY``) and ``A2E_BASE_URL``.

        Args:
            environ: Usually ``os.environ``. An empty value counts as absent.
        """
        return cls(
            token=environ.get("A2E_API_TOKEN") or environ.get("A2E_API_KEY") or None,
            base_url=environ.get("A2E_BASE_URL") or None,
        )
