"""The settings, as frozen values. Reading and checking them is the work of `_protocol/settings.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Config", "Pacing", "PollPolicy", "RetryPolicy"]

DEFAULT_BASE_URL = "https://video.a2e.ai"


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a *read* is repeated when the network or A2E stumbles. A paid start is never repeated.

    After failure n there is a pause of random length between 0 and ``min(max_delay, base * 2**(n - 1))`` seconds.
    A ``Retry-After`` of A2E replaces it and is never shortened: if it does not fit into `max_time`, the error is
    raised at once.

    Attributes:
        max_attempts: Tries in all, the first included.
        max_time: Seconds from the first try after which no further one begins.
        base: Seconds; the first pause is at most this long.
        max_delay: Seconds; no pause of ours is longer than this.
    """

    max_attempts: int = 5
    max_time: float = 60.0
    base: float = 0.5
    max_delay: float = 15.0


@attrs.frozen(kw_only=True)
class PollPolicy:
    """How often a waiting task is asked about (A2E page "Check Status of One Task").

    Attributes:
        initial: Seconds between the beginning of a wait and the first look.
        steps: Pairs of ages and intervals, both in seconds and by growing age, the first age being 0: a task that is
            waited for since at least *age* is asked about every *interval*.
        invisible_for: Seconds for which "no such task" is not believed of a task that was never seen, since a fresh
            task can be invisible for a while.
        max_at_once: Questions under way at the same time.
        answer_within: Seconds after which a question is given up and asked again later, so that a few that hang do
            not hold up the others.
    """

    initial: float = 2.0
    steps: tuple[tuple[float, float], ...] = ((0.0, 2.0), (60.0, 5.0), (300.0, 10.0))
    invisible_for: float = 60.0
    max_at_once: int = 10
    answer_within: float = 20.0


@attrs.frozen(kw_only=True)
class Pacing:
    """How much one client asks of A2E at once. A2E publishes no limits.

    Attributes:
        max_in_flight: Requests under way at the same time.
        per_second: Requests begun in any second, or None for no limit.
    """

    max_in_flight: int = 20
    per_second: float | None = None


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
        retry: See `RetryPolicy`.
        poll: See `PollPolicy`.
        pacing: See `Pacing`.
    """

    token: str | None = attrs.field(default=None, repr=False)
    base_url: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 120.0
    max_response_bytes: int = 16 * 1024 * 1024
    transfer_timeout: float = 60.0
    visible_timeout: float = 30.0
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    poll: PollPolicy = attrs.field(factory=PollPolicy)
    pacing: Pacing = attrs.field(factory=Pacing)

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
