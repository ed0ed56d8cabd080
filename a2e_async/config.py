"""The settings, as frozen values. `_protocol/settings.py` reads and checks them."""

from __future__ import annotations

import ssl as _ssl  # `Config` has a field `ssl`, which would hide it from `typing.get_type_hints`
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

from a2e_async._values import Value

__all__ = ["Config", "OnUnknown", "Pacing", "PollPolicy", "RetryPolicy", "StartPolicy"]

OnUnknown: TypeAlias = Literal["raise", "resend"]
"""What to do after a paid start with an unknown outcome."""


DEFAULT_BASE_URL = "https://video.a2e.ai"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryPolicy(Value):
    """How often a request is retried, if that does no harm.

    Every read is retried after a transient error of the network or of A2E. A paid start is retried only if A2E surely
    did not accept it: it was not sent, or A2E rejected it with 429 or "busy".

    The delay after failure n is random, between 0 and ``min(max_delay, base * 2**(n - 1))`` seconds. A ``Retry-After``
    of A2E replaces it and is never shortened: if it does not fit into `max_time`, the error is raised at once.

    Attributes:
        max_attempts: Tries in total, including the first.
        max_time: Seconds after the first failure in which further tries can begin. After 429 and "busy", which pause
            more than one request (see `Pacing`), only the pause that A2E asks for has to fit into it.
        base: Seconds; the longest first delay.
        max_delay: Seconds; the longest delay that the client chooses.
    """

    max_attempts: int = 5
    max_time: float = 60.0
    base: float = 0.5
    max_delay: float = 15.0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PollPolicy(Value):
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Pacing(Value):
    """How many requests one client sends at the same time, and how fast. A2E publishes no limits.

    A 429 or a ``Retry-After`` pauses the whole client: at least as long as A2E asks, at most a tenth longer. The number
    of requests in flight is halved, and grows again step by step. After a 429 the client also limits its rate to what
    A2E has just accepted, and raises it slowly. A "busy" without a ``Retry-After`` pauses its operation only.

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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StartPolicy(Value):
    """What to do after a paid start with an unknown outcome: its answer got lost, and A2E may have accepted it.

    Attributes:
        mark_names: Add a marker to the name that is sent (``"Ada [a2e:7f3k2m9q4d]"``), by which the task is found again
            in A2E's list. Without it, a start with an unknown outcome raises an error.
        on_unknown: What to do if the task is not found: ``"raise"`` a `SubmissionUncertainError`, or ``"resend"`` the
            start once with the same marker. If A2E shows the first task later, both are paid.
        scan_delays: Seconds after the lost answer at which A2E's list is scanned, in ascending order.
        key_scan_delays: The same before the first start with an idempotency key. By default one scan, which can miss a
            task that a process has started in the seconds before it was killed. With ``(0.0, 2.0, 7.0, 20.0)`` each new
            key costs 20 seconds. A `KeyStore` makes this unnecessary.
        accept_time: The most seconds that A2E takes to accept a start. It goes on with a start whose sender is gone.
        list_delay: The most seconds until an accepted task is in A2E's list. Together with `accept_time`, these are
            the seconds in which no start with an unknown outcome is sent again, unless the list proves to be newer. If
            another process can have sent it, it is 70 s and `Config.connect_timeout` longer.
    """

    mark_names: bool = True
    on_unknown: OnUnknown = "raise"
    scan_delays: tuple[float, ...] = (0.0, 2.0, 7.0, 20.0)
    key_scan_delays: tuple[float, ...] = (0.0,)
    accept_time: float = 120.0
    list_delay: float = 60.0


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Config(Value):
    """All settings of a client.

    Attributes:
        token: The API token (``sk_…``), or None to take it from the environment.
        base_url: Where A2E is, or None for ``A2E_BASE_URL``, else ``https://video.a2e.ai``.
        language: The language in which A2E answers, such as ``"en-US"`` or ``"zh-CN"`` (the header ``x-lang``). It also
            is the default language of voices that are cloned. None sends no header.
        proxy: The proxy for all requests: ``"http://proxy.example:3128"``, or with ``user:password@`` before the host.
            None takes ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` from the environment. Empty text uses no proxy.
        ssl: The context for TLS, such as ``ssl.create_default_context(cafile="company.pem")``. None trusts the
            certificates of the system, or those of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.
        connect_timeout: Seconds to get a connection, including name resolution and TLS.
        request_timeout: Seconds for one request, from its beginning to the last byte of its answer. Some starts of A2E
            take up to 120 s.
        max_response_bytes: Bytes; a larger answer of the API is an `UnexpectedResponseError`.
        transfer_timeout: Seconds in which a download must get 1,000 bytes for each of them; an attempt that gets less,
            or nothing, fails. An upload has `request_timeout`, and one second more for every 50,000 bytes.
        visible_timeout: Seconds to wait until an uploaded file can be read at A2E's CDN.
        max_upload_bytes: Bytes; a larger file is rejected before anything is sent or paid. A2E does not publish a limit
            of its own.
        keep_metadata: Whether a JPEG, PNG or WebP is uploaded byte for byte. By default its metadata is left out first:
            place, time, camera, comments (Exif, XMP, IPTC), and what follows the end of a JPEG, such as a video. The
            pixels are not encoded again. Of the Exif block, the orientation stays.
        max_download_bytes: Bytes; a larger download is given up. It ends one that would never end and fill the disk.
        max_uploads: Uploads at the same time; the others wait in the queue.
        max_downloads: Downloads at the same time; the others wait in the queue.
        retry: See `RetryPolicy`.
        poll: See `PollPolicy`.
        pacing: See `Pacing`.
        start: See `StartPolicy`.
    """

    token: str | None = attrs.field(default=None, repr=False)
    base_url: str | None = None
    language: str | None = "en-US"
    proxy: str | None = attrs.field(default=None, repr=False)  # it can contain a password
    ssl: _ssl.SSLContext | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 120.0
    max_response_bytes: int = 16 * 1024 * 1024
    transfer_timeout: float = 60.0
    visible_timeout: float = 30.0
    max_upload_bytes: int = 50 * 1024 * 1024
    keep_metadata: bool = False
    max_download_bytes: int = 4 * 1024 * 1024 * 1024
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
