"""OpenTelemetry: spans of starts, waits and transfers, and metrics, through the API (opentelemetry-api) only."""

# How it works: a span begins with one event and ends with another, both in the context of the caller, so its parent is
# the span of the caller. `_Open` finds the span of the second event: by what it is about, and by the asyncio task, as
# several callers can wait for one task of A2E. What comes between them, such as a status from a poll, comes from other
# contexts; the id of the task or the marker tells to which spans it belongs.

import asyncio
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs

from a2e_async.config import DEFAULT_BASE_URL
from a2e_async.errors import MissingExtraError
from a2e_async.events import (
    CoinsSpent,
    Event,
    RequestAnswered,
    RequestFailed,
    RequestRetried,
    StartBegan,
    StartEnded,
    TaskChanged,
    TaskFinished,
    TasksPolled,
    TaskStarted,
    TransferBegan,
    TransferDone,
    WaitBegan,
    WaitEnded,
)

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TracerProvider
except ImportError as error:
    _MESSAGE = 'a2e_async.integrations.opentelemetry needs opentelemetry-api: pip install "a2e-async[opentelemetry]"'
    raise MissingExtraError(_MESSAGE) from error

__all__ = ["OpenTelemetryHook"]

# Seconds. The first ones are those of the semantic conventions for HTTP; some starts of A2E take two minutes.
_HTTP_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120]

_MAX_LINKS = 1000  # started tasks to whose start a wait links

_GOOD = frozenset({"", "accepted", "succeeded", "left", "CancelledError"})  # outcomes that are no error


@attrs.define(eq=False)
class _Open:
    """Spans that have begun, by what they are about, each with its asyncio task."""

    spans: dict[tuple[str, ...], list[tuple[asyncio.Task[Any] | None, Span]]] = attrs.field(factory=dict)

    def add(self, key: tuple[str, ...], span: Span) -> None:
        self.spans.setdefault(key, []).append((asyncio.current_task(), span))

    def of(self, key: tuple[str, ...]) -> list[Span]:
        return [span for _, span in self.spans.get(key, ())]

    def pop(self, key: tuple[str, ...]) -> Span | None:
        """Return the span of this asyncio task, else the oldest one: a generator can be closed by another task."""
        opened, task = self.spans.get(key, []), asyncio.current_task()
        if not opened:  # the hook was added in between
            return None
        found = next((each for each in opened if each[0] is task), opened[0])
        opened.remove(found)
        if not opened:
            del self.spans[key]
        return found[1]


class OpenTelemetryHook:
    """Hook that makes spans and metrics: ``A2EClient(hooks=[OpenTelemetryHook()])``.

    The spans are ``start FAMILY``, ``wait FAMILY``, ``upload`` and ``download``, children of the span of the caller.
    The polls of a client serve all its waits, and have no span: each status that they show is an event of the spans of
    its waits. The page "Logging and tracing" has a table of all names.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Make the instruments. Without a provider of the SDK, all of this does nothing.

        Args:
            base_url: That of the client, for the attributes ``server.address`` and ``server.port``. Default:
                ``A2E_BASE_URL``, else ``https://video.a2e.ai``.
            tracer_provider: By default the global one.
            meter_provider: By default the global one.
        """
        url = urlsplit(base_url or os.environ.get("A2E_BASE_URL") or DEFAULT_BASE_URL)
        port = url.port or (443 if url.scheme == "https" else 80)
        self._server = {"server.address": url.hostname or "", "server.port": port}
        self._tracer = trace.get_tracer("a2e_async", tracer_provider=tracer_provider)
        meter = metrics.get_meter("a2e_async", meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of requests to A2E's API",
            explicit_bucket_boundaries_advisory=_HTTP_BUCKETS,
        )
        self._retries = meter.create_counter("a2e.retries", "{retry}", "Requests and transfers that are sent again")
        self._coins = meter.create_counter("a2e.coins", "{coin}", "Coins for tasks, as far as A2E states their prices")
        self._waits = meter.create_up_down_counter("a2e.waits", "{wait}", "Waits that go on now")
        self._ends = meter.create_counter("a2e.tasks.ended", "{task}", "Tasks that polls have shown to end")
        self._lag = meter.create_histogram("a2e.poll.lag", "s", "Time by which a poll goes out later than planned")
        self._open = _Open()
        self._started: dict[str, SpanContext] = {}

    def __repr__(self) -> str:
        """Return the host."""
        return f"<{type(self).__name__} for {self._server['server.address']}>"

    def __call__(self, event: Event, /) -> None:
        """Take an event."""
        self._measure(event)
        self._trace(event)

    def _measure(self, event: Event) -> None:
        match event:
            case RequestAnswered() | RequestFailed():
                self._on_request(event)
            case RequestRetried():
                reason = event.reason.partition(",")[0]
                self._retries.add(1, {"a2e.operation": event.operation, "error.type": reason})
            case CoinsSpent():
                self._coins.add(event.coins, {"a2e.family": event.family})
            case WaitBegan():
                self._waits.add(1, {"a2e.family": event.family})
            case WaitEnded():
                self._waits.add(-1, {"a2e.family": event.family})
            case TaskFinished():
                self._ends.add(1, {"a2e.family": event.family, "a2e.task.status": str(event.status)})
            case TasksPolled():
                self._lag.record(event.lag, {"a2e.family": event.family})

    def _trace(self, event: Event) -> None:
        match event:
            case StartBegan():
                about = {"a2e.family": event.family, "a2e.task.count": event.count}
                key = ("start", event.family, event.marker)
                self._begin(event, key, f"start {event.family}", SpanKind.CLIENT, about)
            case TaskStarted():
                self._on_started(event)
            case StartEnded():
                self._end(event, ("start", event.family, event.marker), event.outcome)
            case WaitBegan():
                about = {"a2e.family": event.family, "a2e.task.id": event.task_id}
                key, start = ("wait", event.family, event.task_id), self._started.get(event.task_id)
                self._begin(event, key, f"wait {event.family}", SpanKind.INTERNAL, about, linked=start)
            case TaskChanged():  # also a `TaskFinished`
                self._on_changed(event)
            case WaitEnded():
                self._end(event, ("wait", event.family, event.task_id), event.outcome)
            case TransferBegan():
                about = {"server.address": event.host}
                self._begin(event, (event.kind, event.host), event.kind, SpanKind.CLIENT, about)
            case TransferDone():
                done = {"a2e.transfer.size": event.size, "a2e.transfer.resumed": event.resumed}
                self._end(event, (event.kind, event.host), event.error, done)

    def _on_request(self, event: RequestAnswered | RequestFailed) -> None:
        method, _, template = event.operation.partition(" ")
        about: dict[str, Any] = {"http.request.method": method, "url.template": template, **self._server}
        if isinstance(event, RequestAnswered):
            about["http.response.status_code"] = event.status
        if event.error:
            about["error.type"] = event.error
        self._duration.record(event.seconds, about)

    def _on_started(self, event: TaskStarted) -> None:
        about: dict[str, Any] = {"a2e.task.id": event.task_id, "a2e.adopted": event.adopted}
        if event.coins is not None:
            about["a2e.coins"] = event.coins
        for span in self._open.of(("start", event.family, event.marker)):
            span.add_event("a2e.task.started", about, _nanoseconds(event))
            self._started[event.task_id] = span.get_span_context()
            if len(self._started) > _MAX_LINKS:
                del self._started[next(iter(self._started))]

    def _on_changed(self, event: TaskChanged) -> None:
        about: dict[str, Any] = {"a2e.task.status": str(event.status), "a2e.task.current_status": event.current_status}
        if isinstance(event, TaskFinished):
            if event.failed_code:
                about["a2e.task.failed_code"] = event.failed_code
            if event.coins is not None:
                about["a2e.coins"] = event.coins
        for span in self._open.of(("wait", event.family, event.task_id)):
            span.add_event("a2e.task.changed", about, _nanoseconds(event))

    def _begin(
        self,
        event: Event,
        key: tuple[str, ...],
        name: str,
        kind: SpanKind,
        about: Mapping[str, Any],
        *,
        linked: SpanContext | None = None,
    ) -> None:
        links = [] if linked is None else [Link(linked)]
        began = _nanoseconds(event)
        self._open.add(key, self._tracer.start_span(name, kind=kind, attributes=about, links=links, start_time=began))

    def _end(self, event: Event, key: tuple[str, ...], outcome: str, about: Mapping[str, Any] | None = None) -> None:
        span = self._open.pop(key)
        if span is None:
            return
        span.set_attributes({"a2e.outcome": outcome or "ok", **(about or {})})
        if outcome not in _GOOD:
            error = "TaskFailedError" if outcome == "failed" else outcome
            span.set_attribute("error.type", error)
            # the text of an error can quote what no trace may contain
            span.add_event("exception", {"exception.type": error}, _nanoseconds(event))
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(_nanoseconds(event))


def _nanoseconds(event: Event) -> int:
    return int(event.at * 1e9)
