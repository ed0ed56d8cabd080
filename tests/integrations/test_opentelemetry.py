"""OpenTelemetry: spans in the context of their callers, their events and errors, and metrics, with in-memory exporters."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import quick
from aiohttp import web
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from paid_starts import PROMPT, start_video

from a2e_async import A2EClient, BadRequestError, NetworkError, RetryPolicy, TaskFailedError, WaitTimeoutError
from a2e_async.integrations.opentelemetry import OpenTelemetryHook
from a2e_async.sandbox import Fault, FaultPlan

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

    from a2e_async.sandbox import Sandbox

FAMILY = "userImage2Video"


@attrs.define
class Telemetry:
    """The exporters of a test, and the client that reports to them."""

    spans: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    metrics: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    tracers: TracerProvider = attrs.field(factory=lambda: TracerProvider(shutdown_on_exit=False))
    meters: MeterProvider = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Connect the exporters."""
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.metrics], shutdown_on_exit=False)

    def client(self, sandbox: Sandbox, **options: Any) -> A2EClient:
        """Make a client."""
        hook = OpenTelemetryHook(base_url=sandbox.url, tracer_provider=self.tracers, meter_provider=self.meters)
        return A2EClient(sandbox.token, base_url=sandbox.url, config=quick.CONFIG, hooks=[hook], **options)

    def ended(self, name: str) -> list[ReadableSpan]:
        """Return the ended spans of a name."""
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def points(self, name: str) -> list[Any]:
        """Return the data points of an instrument."""
        data = self.metrics.get_metrics_data()
        found = [] if data is None else data.resource_metrics[0].scope_metrics[0].metrics
        return [point for metric in found if metric.name == name for point in metric.data.data_points]

    def total(self, name: str, **about: object) -> float:
        """Return the sum of a counter over its attributes, or of those points that have some attributes."""
        wanted = {key.replace("_", "."): value for key, value in about.items()}
        points = (point for point in self.points(name) if wanted.items() <= dict(point.attributes).items())
        return float(sum(point.value for point in points))


@pytest.fixture
def telemetry() -> Telemetry:
    """Make exporters."""
    return Telemetry()


@pytest.fixture
async def a2e(sandbox: Sandbox, telemetry: Telemetry) -> AsyncIterator[A2EClient]:
    """Open a client with the hook."""
    async with telemetry.client(sandbox) as client:
        yield client


async def test_spans_of_a_video(a2e: A2EClient, telemetry: Telemetry, tmp_path: pathlib.Path) -> None:
    """Upload, start, wait and download are children of the caller's span; the wait has an event for each status."""
    with telemetry.tracers.get_tracer("app").start_as_current_span("visitor") as visitor:
        task = await start_video(a2e, image=quick.PNG, prompt=f"{PROMPT} #fast")
        await task.wait_until_done()
        await task.download(tmp_path / "ada.mp4")
    (upload,), (start,), (wait,), (download,) = map(
        telemetry.ended, ("upload", f"start {FAMILY}", f"wait {FAMILY}", "download")
    )
    for span in (upload, start, wait, download):
        assert span.parent is not None
        assert span.parent.span_id == visitor.get_span_context().span_id
        assert span.status.status_code is StatusCode.UNSET
    assert start.kind is download.kind is SpanKind.CLIENT
    (started,) = start.events
    about = {"a2e.task.id": task.id, "a2e.adopted": False, "a2e.coins": task.record.coins}
    assert (started.name, started.attributes) == ("a2e.task.started", about)
    assert wait.attributes is not None
    assert (wait.attributes["a2e.task.id"], wait.attributes["a2e.outcome"]) == (task.id, "succeeded")
    assert [link.context for link in wait.links] == [start.context]
    assert (wait.events[-1].attributes or {})["a2e.task.status"] == "succeeded"
    assert {event.name for event in wait.events} == {"a2e.task.changed"}
    assert download.attributes is not None
    assert download.attributes["a2e.transfer.size"] == (tmp_path / "ada.mp4").stat().st_size
    shown = str([span.to_json() for span in telemetry.spans.get_finished_spans()])
    for secret in (PROMPT, "http://", "sk_"):
        assert secret not in shown.replace("http://127.0.0.1", "")


async def test_polls_are_in_no_trace(sandbox: Sandbox, telemetry: Telemetry) -> None:
    """The polls of a wait are not children of a visitor's span, not even of the first one; its own reads are."""
    tracer, config = telemetry.tracers.get_tracer("aiohttp"), aiohttp.TraceConfig()

    async def begin(_: object, context: Any, params: aiohttp.TraceRequestStartParams) -> None:
        context.span = tracer.start_span(f"{params.method} {params.url.path}")

    async def end(_: object, context: Any, __: object) -> None:
        context.span.end()

    config.on_request_start.append(begin)
    config.on_request_end.append(end)
    async with telemetry.client(sandbox, trace_configs=[config]) as a2e:
        with tracer.start_as_current_span("visitor") as visitor:
            task = await start_video(a2e, prompt="#stuck")
            await a2e.image_to_video.get(task.id)
            with contextlib.suppress(WaitTimeoutError):
                await task.wait_until_done(3.0)
    requests = [span for span in telemetry.spans.get_finished_spans() if span.name.startswith("GET /")]
    own, *polls = sorted(requests, key=lambda span: span.start_time or 0)
    assert own.parent is not None
    assert own.parent.span_id == visitor.get_span_context().span_id
    assert len(polls) > 10
    assert {span.parent for span in polls} == {None}


async def test_errors(sandbox: Sandbox, a2e: A2EClient, telemetry: Telemetry) -> None:
    """A start that is rejected, a task that fails, and a wait that ends too early are errors; a cancellation is not."""
    sandbox.inject(Fault("status", status=400), "start")
    with pytest.raises(BadRequestError):
        await start_video(a2e)
    task = await start_video(a2e, prompt="#fast #fail")
    with pytest.raises(TaskFailedError):
        await task.wait_until_done()
    stuck = await start_video(a2e, prompt="#stuck")
    with pytest.raises(WaitTimeoutError):
        await stuck.wait_until_done(1.0)
    waiting = asyncio.create_task(stuck.wait_until_done())
    await asyncio.sleep(1.0)
    waiting.cancel()
    await asyncio.wait([waiting])
    starts, waits = telemetry.ended(f"start {FAMILY}"), telemetry.ended(f"wait {FAMILY}")
    found = [(span.status.status_code, (span.attributes or {}).get("error.type")) for span in [*starts, *waits]]
    good, bad = (StatusCode.UNSET, None), StatusCode.ERROR
    assert found == [(bad, "BadRequestError"), good, good, (bad, "TaskFailedError"), (bad, "WaitTimeoutError"), good]
    assert starts[0].events[-1].attributes == {"exception.type": "BadRequestError"}
    assert "a2e.task.failed_code" in (waits[0].events[-2].attributes or {})
    assert telemetry.total("a2e.tasks.ended", a2e_task_status="failed") == 1


async def test_waits_of_several_callers(a2e: A2EClient, telemetry: Telemetry) -> None:
    """Each caller that waits for one task gets the end of its own wait, also of a loop that was left."""
    task, tracer = await start_video(a2e, prompt="#stuck"), telemetry.tracers.get_tracer("app")

    async def wait(name: str, seconds: float) -> None:
        with tracer.start_as_current_span(name), contextlib.suppress(WaitTimeoutError):
            await a2e.image_to_video.task(task.id).wait_until_done(seconds)

    async def leave() -> None:
        with tracer.start_as_current_span("leave"):
            async with contextlib.aclosing(task.updates()) as updates:
                async for _ in updates:
                    break

    await asyncio.gather(wait("long", 4.0), wait("short", 2.0), leave())
    parents = {span.context.span_id: span.name for name in ("long", "short", "leave") for span in telemetry.ended(name)}
    ended = telemetry.ended(f"wait {FAMILY}")
    assert [parents[span.parent.span_id] for span in ended if span.parent] == ["leave", "short", "long"]
    assert [round((span.end_time or 0) / 1e9 - (span.start_time or 0) / 1e9) for span in ended][1:] == [2, 4]
    assert telemetry.total("a2e.waits") == 0


async def test_metrics(sandbox: Sandbox, telemetry: Telemetry) -> None:
    """Requests, retries, coins, waits and lag are counted, by the names in the table of the docs."""
    sandbox.faults = FaultPlan(script={"detail": [Fault("status", status=503)]})
    async with telemetry.client(sandbox) as a2e:
        task = await start_video(a2e, prompt="#fast")
        await a2e.image_to_video.get(task.id)
        waiting = asyncio.create_task(task.wait_until_done())
        await asyncio.sleep(0)
        assert telemetry.total("a2e.waits", a2e_family=FAMILY) == 1
        await waiting
        once = a2e.with_options(retry=RetryPolicy(max_attempts=1))
        with sandbox.override("GET", "/api/v1/user/remainingCoins", _cut), pytest.raises(NetworkError):
            await once.account.balance()
    assert telemetry.total("a2e.coins", a2e_family=FAMILY) == task.record.coins
    assert telemetry.total("a2e.retries") == 1
    (retried,) = telemetry.points("a2e.retries")
    template = f"/api/v1/{FAMILY}/{{id}}"
    assert dict(retried.attributes) == {"a2e.operation": f"GET {template}", "error.type": "ServerError"}
    requests = telemetry.points("http.client.request.duration")
    assert sum(point.count for point in requests) == a2e.stats().requests
    port = int(sandbox.url.rpartition(":")[2])
    server = {"http.request.method": "GET", "server.address": "127.0.0.1", "server.port": port}
    (failed,) = [point for point in requests if point.attributes.get("http.response.status_code") == 503]
    about = {"url.template": template, "http.response.status_code": 503, "error.type": "ServerError"}
    assert dict(failed.attributes) == server | about
    (lost,) = [point for point in requests if "http.response.status_code" not in point.attributes]
    assert lost.attributes["error.type"] == "NetworkError"
    (lag,) = telemetry.points("a2e.poll.lag")
    assert lag.count >= 1
    assert lag.sum < 1.0


async def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_without_sdk(sandbox: Sandbox) -> None:
    """Without providers of the SDK, the hook does nothing."""
    hook = OpenTelemetryHook()
    assert repr(hook) == "<OpenTelemetryHook for video.a2e.ai>"
    async with A2EClient(sandbox.token, base_url=sandbox.url, config=quick.CONFIG, hooks=[hook]) as a2e:
        task = await start_video(a2e, prompt="#fast")
        await task.wait_until_done()
    assert not hook._open.spans
