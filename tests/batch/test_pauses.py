"""Pauses: a batch that cannot start waits and continues by itself, or stops with on_shortage="stop"."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp.web import Response, json_response
from batches import (
    PRICE,
    STORAGE_PATH,
    ConcurrencyMeter,
    EarlierRun,
    cancel_and_wait,
    collect_results,
    count_charges,
    count_uploads,
    finish_task,
    make_job,
    make_jobs,
    make_jobs_with_images,
    read_journal,
    run_batch,
    shorten_pauses,
    states_by_key,
    write_image,
)
from conditions import wait_until
from paid_starts import (
    IMAGE_URL,
    LIST_PATH,
    PRESIGN_PATH,
    EmptyListFirst,
    count_requests,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
)

from a2e_async import A2EClient, AuthenticationError, BusyError, InsufficientCreditsError, RateLimitError, RetryPolicy
from a2e_async.errors import A2EError, NetworkError, TransferError
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from aiohttp import web

    from a2e_async.batch import Batch, Job, JobResult

FOR_EVER = 3600.0


@pytest.fixture
async def without_retries(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that never retries, so that only the batch waits."""
    async with make_client(sandbox, retry=RetryPolicy(max_attempts=1)) as a2e:
        yield a2e


def assert_skipped(result: JobResult[Any], kind: type[A2EError]) -> None:
    """Check that a job was not started, costs nothing, and has an error."""
    assert (result.state, result.coins, result.starts, result.ok) == ("skipped", 0, 0, False)
    assert isinstance(result.error, kind), result.error


async def run_until_paused(batch: Batch[Any]) -> asyncio.Task[dict[str, JobResult[Any]]]:
    """Begin to iterate over a batch; return when it is paused."""
    running = asyncio.create_task(collect_results(batch))
    await wait_until(lambda: batch.progress.paused or running.done())
    assert not running.done()
    return running


# coins


async def test_a_batch_waits_for_coins(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch without credits pauses, logs the reason once, and starts the rest by itself when there are credits again."""
    shorten_pauses(monkeypatch)
    sandbox.coins = 2 * PRICE
    batch = a2e.image_to_video.batch(make_jobs(8), max_starts=1)
    running = await run_until_paused(batch)
    await wait_until(lambda: batch.progress.done == 2)
    assert "coins" in batch.progress.paused
    assert not batch.progress.stopped
    await wait_until(lambda: count_starts(sandbox) > 15)
    sandbox.coins += 6 * PRICE
    results = await running
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert not batch.progress.paused
    warnings = logged_warnings(caplog)
    assert len(warnings) == 2
    assert warnings[0].startswith("The batch is paused: ")
    assert "coins" in warnings[0]
    assert warnings[1] == "The batch continues"


async def test_each_pause_is_logged(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that runs out of credits a second time pauses again, and logs that too."""
    shorten_pauses(monkeypatch)
    sandbox.coins = PRICE
    batch = a2e.image_to_video.batch(make_jobs(3), max_starts=1)
    running = await run_until_paused(batch)
    sandbox.coins += PRICE
    await wait_until(lambda: len(logged_warnings(caplog)) == 3)
    sandbox.coins += PRICE
    assert set(states_by_key(await running).values()) == {"succeeded"}
    assert [line.partition(":")[0] for line in logged_warnings(caplog)] == [
        "The batch is paused",
        "The batch continues",
    ] * 2


async def test_a_late_answer_does_not_end_a_pause(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that was accepted before the credits ran out, and is answered afterwards, does not end the pause."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = PRICE
    sandbox.faults = faults_on_start(Fault("delay", after=True, seconds=1.5))
    batch = a2e.image_to_video.batch(make_jobs(2, "#stuck"), max_starts=2)
    running = await run_until_paused(batch)
    assert batch.progress.started == 0
    await wait_until(lambda: batch.progress.started == 1)
    await asyncio.sleep(0.05)
    await cancel_and_wait(running)
    assert len(logged_warnings(caplog)) == 1


async def test_running_tasks_continue_during_a_pause(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the batch is paused, it waits for running tasks, downloads their videos, and yields their results."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = 3 * PRICE
    batch = a2e.image_to_video.batch(make_jobs(6, "#stuck"), out=tmp_path)
    async with batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: batch.progress.paused and len(sandbox.tasks) == 3)
        for key in [*count_charges(sandbox)]:
            await finish_task(sandbox, key)
        warnings = [await first, await anext(batch), await anext(batch)]
        assert {result.state for result in warnings} == {"succeeded"}
        assert batch.progress.paused


async def test_only_the_probe_sends_starts_during_a_pause(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a pause only one job at a time sends a start, after the delay."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = 0
    batch = a2e.image_to_video.batch(make_jobs(40), max_starts=2, max_running=40)
    running = await run_until_paused(batch)
    await asyncio.sleep(0.2)
    assert count_starts(sandbox) == 2
    await cancel_and_wait(running)


async def test_one_probe_at_a_time(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a pause no two starts are sent at the same time."""
    shorten_pauses(monkeypatch, 0.02, 0.02)
    sandbox.coins = 0
    batch = a2e.image_to_video.batch(make_jobs(20), max_starts=4)
    running = await run_until_paused(batch)
    await wait_until(
        lambda: not any(active.stage == "starting" for active in batch.progress.active) or count_starts(sandbox) > 4
    )
    meter = ConcurrencyMeter(0.05)
    with sandbox.override("POST", quick.START_PATH, meter.hold):
        await wait_until(lambda: meter.total > 4)
    assert meter.peak == 1
    await cancel_and_wait(running)


async def test_pauses_grow(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delay before each further probe is twice as long as the one before, up to the longest."""
    shorten_pauses(monkeypatch, 0.05, 0.2)
    sandbox.coins = 0
    times: list[float] = []
    with sandbox.override("POST", quick.START_PATH, lambda _: times.append(time.monotonic())):
        running = await run_until_paused(a2e.image_to_video.batch(make_jobs(1)))
        await wait_until(lambda: len(times) == 5)
        await cancel_and_wait(running)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.2])


async def test_on_shortage_stop(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """With on_shortage="stop" running tasks are finished, the rest is skipped with the reason, and a later run starts it."""
    journal = tmp_path / "journal.sqlite"
    sandbox.coins = 2 * PRICE
    batch = a2e.image_to_video.batch(make_jobs(8, ""), on_shortage="stop", journal=journal, out=tmp_path / "out")
    results = await collect_results(batch)
    assert sorted(states_by_key(results).values()) == ["skipped"] * 6 + ["succeeded"] * 2
    for result in results.values():
        if result.state == "skipped":
            assert_skipped(result, InsufficientCreditsError)
        else:
            assert result.path
    assert "coins" in batch.progress.stopped
    assert count_starts(sandbox) <= 2 + 4
    sandbox.coins = 100 * PRICE
    again = await run_batch(a2e, make_jobs(8, ""), journal=journal, out=tmp_path / "out")
    assert all(result.ok for result in again.values())
    assert count_charges(sandbox) == dict.fromkeys(again, 1)


async def test_a_stopped_batch_uploads_nothing_more(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """After the stop no upload begins: each costs a coin, and would not be used."""
    sandbox.coins = PRICE - 1
    meter = ConcurrencyMeter(0.05)
    with sandbox.override("PUT", STORAGE_PATH, meter.hold):
        results = await run_batch(a2e, make_jobs_with_images(tmp_path, 20), on_shortage="stop", max_uploads=2)
    assert set(states_by_key(results).values()) == {"skipped"}
    assert (
        count_requests(sandbox, PRESIGN_PATH) <= 2 * 2
    )  # those before the first start was refused, and those under way then


async def test_a_batch_waits_for_coins_for_an_upload(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a coin for the upload of an image the batch pauses as well."""
    shorten_pauses(monkeypatch)
    sandbox.coins = 0
    batch = a2e.image_to_video.batch(make_jobs_with_images(tmp_path, 3))
    running = await run_until_paused(batch)
    assert count_starts(sandbox) == 0
    sandbox.coins = 100 * PRICE
    assert set(states_by_key(await running).values()) == {"succeeded"}
    assert count_uploads(sandbox) == 3


# busy, too many, out of reach


@pytest.mark.parametrize(("fault", "times"), [("busy", 15), ("429", 2)])  # after 429 the client itself slows down
async def test_a_batch_waits_while_a2e_is_busy(
    without_retries: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fault: str, times: int
) -> None:
    """If A2E is busy or limits the rate of starts, the batch pauses until A2E accepts a start."""
    shorten_pauses(monkeypatch, 0.02, 0.02)
    sandbox.faults = faults_on_start(None, *[Fault(fault)] * times)
    batch = without_retries.image_to_video.batch(make_jobs(2))
    results = await (await run_until_paused(batch))
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert not batch.progress.paused


@pytest.mark.parametrize(("fault", "kind"), [("busy", BusyError), ("429", RateLimitError)])
async def test_on_shortage_stop_while_a2e_is_busy(
    without_retries: A2EClient, sandbox: Sandbox, fault: str, kind: type[A2EError]
) -> None:
    """With "stop" an A2E that is busy, or limits the rate of starts, ends the batch: the rest is skipped with the reason."""
    sandbox.faults = faults_on_start(None, *[Fault(fault)] * 15)
    results = await run_batch(without_retries, make_jobs(6), on_shortage="stop", max_starts=1)
    assert sorted(states_by_key(results).values()) == ["skipped"] * 5 + ["succeeded"]
    for result in results.values():
        if result.state == "skipped":
            assert_skipped(result, kind)


async def test_a_batch_waits_for_the_network(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no connection can be made, the batch pauses, and continues by itself when that works again."""
    shorten_pauses(monkeypatch)
    sandbox.faults = FaultPlan(script={"presign": [Fault("refuse", seconds=0.6)]})
    batch = a2e.image_to_video.batch(make_jobs_with_images(tmp_path, 10), out=tmp_path / "out")
    running = await run_until_paused(batch)
    results = await running
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_the_last_job_waits_for_the_network_too(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single job waits as long as many do: a missing connection is not the fault of its image."""
    shorten_pauses(monkeypatch)
    sandbox.faults = FaultPlan(script={"presign": [Fault("refuse", seconds=1)]})
    results = await run_batch(a2e, make_jobs_with_images(tmp_path, 1))
    assert states_by_key(results) == {"k0": "succeeded"}


async def test_on_shortage_stop_without_a_network(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """With "stop" a missing connection ends the batch: nothing is started, and each job has the reason."""
    sandbox.faults = FaultPlan(script={"presign": [Fault("refuse", seconds=30)]})
    results = await run_batch(a2e, make_jobs_with_images(tmp_path, 5), on_shortage="stop")
    for result in results.values():
        assert_skipped(result, (NetworkError, TransferError))  # type: ignore[arg-type]  # either of them
    assert not sandbox.tasks


@pytest.mark.parametrize(
    "failure", [Response(status=500), Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html")]
)
@pytest.mark.parametrize("has_journal", [False, True])
async def test_a_list_that_fails_before_the_first_start_pauses_the_batch(
    sandbox: Sandbox, tmp_path: pathlib.Path, failure: Response, *, has_journal: bool
) -> None:
    """While A2E fails to show its list, which the first starts with a journal need, all jobs wait, and then succeed."""
    path, resumed = tmp_path / "journal.sqlite", make_jobs(3)[: 2 if has_journal else 0]
    async with make_client(sandbox) as a2e:
        await run_batch(a2e, resumed, journal=path if has_journal else None)
    async with make_client(sandbox) as a2e:
        batch = a2e.image_to_video.batch(make_jobs(8), journal=path)
        with sandbox.override("GET", LIST_PATH, failure):
            running = await run_until_paused(batch)
            await asyncio.sleep(600)
            assert batch.progress.done == count_starts(sandbox) == len(resumed)
        results = await running
    assert {result.state for result in results.values()} <= {"succeeded", "skipped"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_two_unknown_outcomes_pause_the_batch(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When two starts in a row get no answer, and A2E's list shows neither, the batch pauses: each may cost coins."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.faults = faults_on_start(*[Fault("drop", after=True)] * 20)
    batch = a2e.image_to_video.batch(make_jobs(20), max_starts=1)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(99)):
        running = await run_until_paused(batch)
        assert "reconciling" in {job.stage for job in batch.progress.active}
        await asyncio.sleep(0.1)
        await cancel_and_wait(running)
    assert count_starts(sandbox) == 2


async def test_two_unknown_outcomes_stop_the_batch(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With "stop" two starts in a row with an unknown outcome end the batch: nothing more is sent, and both are settled."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), *[Fault("drop")] * 20)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(4)):
        results = await run_batch(a2e, make_jobs(20), max_starts=1, on_shortage="stop")
    assert sorted(states_by_key(results).values()) == ["skipped"] * 19 + ["succeeded"]
    assert count_starts(sandbox) == 2


async def test_an_image_that_cannot_be_uploaded_does_not_delay_the_others(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image whose upload always breaks the connection fails after a few tries; all other jobs succeed."""
    shorten_pauses(monkeypatch, 0.02, 0.05)
    bad = write_image(tmp_path, "bad.png", b"too large for a proxy on the way")

    def drop(request: web.Request) -> web.Response | None:
        if request.content_length != bad.stat().st_size:
            return None
        assert request.transport is not None
        request.transport.abort()
        return Response()

    batch = a2e.image_to_video.batch([make_job("bad", image=bad), *make_jobs_with_images(tmp_path, 20)])
    with sandbox.override("PUT", STORAGE_PATH, drop):
        async with asyncio.timeout(0.5):
            results = await collect_results(batch)
    assert states_by_key(results) == {"bad": "failed", **{f"k{n}": "succeeded" for n in range(20)}}
    assert isinstance(results["bad"].error, TransferError)


async def test_a_reconciled_task_ends_a_pause(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage, entries that only need to be reconciled do not each wait for a pause of their own."""
    earlier_run, items = EarlierRun(tmp_path / "journal.sqlite", sandbox), make_jobs(8)
    for item in items:
        await earlier_run.add_row_with_task(a2e, item)
    shorten_pauses(monkeypatch, 1.5, 1.5)
    sandbox.faults = FaultPlan(script={"list": [Fault("refuse", seconds=0.5)]})
    batch = a2e.image_to_video.batch(items, journal=earlier_run.path)
    running = await run_until_paused(batch)
    async with asyncio.timeout(2.5):  # one pause, not eight
        results = await running
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_tasks_are_reconciled_without_credits(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is paid already is found, waited for and downloaded although credits are missing for others."""
    earlier_run = EarlierRun(tmp_path / "journal.sqlite", sandbox)
    await earlier_run.add_row_with_task(a2e, make_job("paid"))
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = 0
    more = asyncio.Event()

    async def source() -> AsyncIterator[Job]:
        for item in make_jobs(3):
            yield item
        await more.wait()
        yield make_job("paid")

    batch = a2e.image_to_video.batch(source(), journal=earlier_run.path)
    async with batch:
        warnings = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: batch.progress.paused)
        more.set()
        try:
            async with asyncio.timeout(0.5):
                result = await warnings
        finally:
            await asyncio.wait([warnings])
        assert (result.key, result.state) == ("paid", "succeeded")


# the token


async def test_a_wrong_token_ends_the_batch(
    sandbox: Sandbox, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a wrong token every job is skipped with an AuthenticationError, after one probe, and nothing is charged."""
    shorten_pauses(monkeypatch)
    journal = tmp_path / "journal.sqlite"
    items = [*make_jobs_with_images(tmp_path, 50), *[make_job(f"l{n}") for n in range(50)]]
    async with A2EClient("sk_wrong", base_url=sandbox.url, config=quick.CONFIG) as a2e:
        batch = a2e.image_to_video.batch(items, journal=journal)
        async with asyncio.timeout(0.5):
            results = await collect_results(batch)
    assert len(results) == 100
    for result in results.values():
        assert_skipped(result, AuthenticationError)
    assert not sandbox.ledger
    assert "token" in batch.progress.stopped
    assert len(sandbox.requests) <= 30
    assert len(logged_warnings(caplog)) == 1  # the pause before the probe
    assert "sk_wrong" not in caplog.text + batch.progress.stopped + repr(results)


async def test_single_401_of_a_gateway_stops_no_batch(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One 401 to a start and one to a poll, from a gateway, fail no job and end no wait."""
    shorten_pauses(monkeypatch)
    page = Fault("html", status=401)
    sandbox.faults = FaultPlan(script={"start": [None, None, page], "batch": [None, page], "detail": [page]})
    results = await run_batch(a2e, make_jobs(12), on_shortage="stop")
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


@pytest.mark.parametrize(
    ("refusal", "starts"),
    [
        pytest.param({"code": 403, "msg": "Free users cannot use the API, upgrade to Pro or Max"}, 4, id="plan"),
        pytest.param({"code": 403, "msg": "Ihr Tarif erlaubt das nicht"}, 20, id="unknown words"),
    ],
)
async def test_refusal_of_the_account_costs_few_uploads(
    a2e: A2EClient,
    sandbox: Sandbox,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    refusal: dict[str, object],
    starts: int,
) -> None:
    """If A2E refuses the whole account, forty jobs cost a few starts and uploads, and each of them has a result."""
    shorten_pauses(monkeypatch)
    items = make_jobs_with_images(tmp_path, 40)
    rejection = lambda _: json_response(refusal, status=403)  # noqa: E731  a response
    with sandbox.override("POST", quick.START_PATH, rejection):
        results = await run_batch(a2e, items)
    assert len(results) == 40
    assert count_starts(sandbox) <= starts
    assert count_uploads(sandbox) <= starts
    states = [*states_by_key(results).values()]
    assert states.count("skipped") >= 40 - starts
    assert not any(result.starts for result in results.values())


async def test_after_a_wrong_token_the_right_one_resumes(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run starts the jobs that a wrong token has skipped."""
    shorten_pauses(monkeypatch)
    journal = tmp_path / "journal.sqlite"
    async with A2EClient("sk_wrong", base_url=sandbox.url, config=quick.CONFIG) as other:
        await run_batch(other, make_jobs(5), journal=journal, max_coins=1000)
    results = await run_batch(a2e, make_jobs(5), journal=journal, max_coins=1000)
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_a_token_that_expires_during_the_batch(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Tasks under way become uncertain, the rest is skipped, and with a new token nothing is started twice."""
    journal, token = tmp_path / "journal.sqlite", sandbox.token
    batch = a2e.image_to_video.batch(make_jobs(8, ""), journal=journal, max_running=3)
    async with batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: len(sandbox.tasks) == 3)
        sandbox.token = "sk_another"
        results = [await first, *[result async for result in batch]]
    assert sorted(result.state for result in results) == ["skipped"] * 5 + ["uncertain"] * 3
    assert {type(result.error) for result in results} == {AuthenticationError}
    assert {entry.state for entry in (await read_journal(journal)).values() if entry.task_id} == {"running"}
    sandbox.token = token
    again = await run_batch(a2e, make_jobs(8, ""), journal=journal)
    assert set(states_by_key(again).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(again, 1)


async def test_a_wrong_token_ends_a_pause(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that wait for credits end when the token has expired, which a running task has noticed."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = PRICE
    batch = a2e.image_to_video.batch(make_jobs(5, "#stuck"), max_starts=1)
    running = await run_until_paused(batch)
    sandbox.token = "sk_another"
    async with asyncio.timeout(0.5):
        results = await running
    assert sorted(states_by_key(results).values()) == ["skipped"] * 4 + ["uncertain"]


async def test_a_pause_can_be_left(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is closed does not wait for the end of its pause."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = 0
    running = await run_until_paused(a2e.image_to_video.batch(make_jobs(5)))
    running.cancel()
    async with asyncio.timeout(0.5):
        await asyncio.wait([running])
    assert running.cancelled()


async def test_a_pause_shows_no_secret(
    without_retries: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log nor Progress.paused has the token, a prompt or a link."""
    caplog.set_level(logging.DEBUG, "a2e_async")
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.faults = FaultPlan(script={"start": [Fault("429")]})
    batch = without_retries.image_to_video.batch([make_job("a", prompt="a secret wish")])
    running = await run_until_paused(batch)
    for private in (sandbox.token, "secret", IMAGE_URL):
        assert private not in caplog.text + batch.progress.paused + repr(batch.progress)
    await cancel_and_wait(running)
