"""When nothing can be started: the batch pauses and goes on by itself, or stops, as told."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING

import pytest
import quick
from aiohttp.web import Response
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
from a2e_async.sandbox import Fault, Sandbox, Weather

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator

    from aiohttp import web

    from a2e_async.batch import Batch, Job, Outcome

FOR_EVER = 3600.0


@pytest.fixture
async def hasty(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client that tries nothing again, so that all the patience is the batch's."""
    async with make_client(sandbox, retry=RetryPolicy(max_attempts=1)) as a2e:
        yield a2e


def assert_skipped(outcome: Outcome, kind: type[A2EError]) -> None:
    """See that a job was not started, costs nothing, and says why."""
    assert (outcome.state, outcome.coins, outcome.purchases, outcome.ok) == ("skipped", 0, 0, False)
    assert isinstance(outcome.error, kind), outcome.error


async def paused(batch: Batch) -> asyncio.Task[dict[str, Outcome]]:
    """Begin to go through a batch; return when it is paused."""
    gathering = asyncio.create_task(collect_results(batch))
    await wait_until(lambda: batch.progress.paused or gathering.done())
    assert not gathering.done()
    return gathering


# coins


async def test_a_batch_waits_for_coins(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch whose coins run out pauses, says so once and why, and starts the rest by itself when there are coins again."""
    shorten_pauses(monkeypatch)
    sandbox.coins = 2 * PRICE
    batch = a2e.image_to_video.batch(make_jobs(8), max_starts=1)
    gathering = await paused(batch)
    await wait_until(lambda: batch.progress.done == 2)
    assert "coins" in batch.progress.paused
    assert not batch.progress.stopped
    await wait_until(lambda: count_starts(sandbox) > 15)
    sandbox.coins += 6 * PRICE
    outcomes = await gathering
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)
    assert not batch.progress.paused
    told = logged_warnings(caplog)
    assert len(told) == 2
    assert told[0].startswith("The batch is paused: ")
    assert "coins" in told[0]
    assert told[1] == "The batch goes on"


async def test_each_shortage_is_told(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that goes on and runs out of coins again pauses again, and says that too."""
    shorten_pauses(monkeypatch)
    sandbox.coins = PRICE
    batch = a2e.image_to_video.batch(make_jobs(3), max_starts=1)
    gathering = await paused(batch)
    sandbox.coins += PRICE
    await wait_until(lambda: len(logged_warnings(caplog)) == 3)
    sandbox.coins += PRICE
    assert set(states_by_key(await gathering).values()) == {"succeeded"}
    assert [line.partition(":")[0] for line in logged_warnings(caplog)] == [
        "The batch is paused",
        "The batch goes on",
    ] * 2


async def test_a_late_answer_does_not_end_a_pause(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that was accepted before the coins ran out, and is answered afterwards, says nothing about new coins."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = PRICE
    sandbox.weather = faults_on_start(Fault("delay", after=True, seconds=1.5))
    batch = a2e.image_to_video.batch(make_jobs(2, "#stuck"), max_starts=2)
    gathering = await paused(batch)
    assert batch.progress.bought == 0
    await wait_until(lambda: batch.progress.bought == 1)
    await asyncio.sleep(0.05)
    await cancel_and_wait(gathering)
    assert len(logged_warnings(caplog)) == 1


async def test_what_runs_goes_on_during_a_pause(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the batch is paused, running tasks are waited for, their videos are fetched, and their outcomes told."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = 3 * PRICE
    batch = a2e.image_to_video.batch(make_jobs(6, "#stuck"), out=tmp_path)
    async with batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: batch.progress.paused and len(sandbox.tasks) == 3)
        for key in [*count_charges(sandbox)]:
            await finish_task(sandbox, key)
        told = [await first, await anext(batch), await anext(batch)]
        assert {outcome.state for outcome in told} == {"succeeded"}
        assert batch.progress.paused


async def test_nobody_else_asks_during_a_pause(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is known that there are no coins, only one job at a time tries, after the pause: not all of them."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = 0
    batch = a2e.image_to_video.batch(make_jobs(40), max_starts=2, max_running=40)
    gathering = await paused(batch)
    await asyncio.sleep(0.2)
    assert count_starts(sandbox) == 2
    await cancel_and_wait(gathering)


async def test_one_scout_at_a_time(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """During a pause no two starts are under way at the same time."""
    shorten_pauses(monkeypatch, 0.02, 0.02)
    sandbox.coins = 0
    batch = a2e.image_to_video.batch(make_jobs(20), max_starts=4)
    gathering = await paused(batch)
    await wait_until(
        lambda: not any(doing.stage == "starting" for doing in batch.progress.doing) or count_starts(sandbox) > 4
    )
    meter = ConcurrencyMeter(0.05)
    with sandbox.override("POST", quick.START_PATH, meter.hold):
        await wait_until(lambda: meter.total > 4)
    assert meter.peak == 1
    await cancel_and_wait(gathering)


async def test_pauses_grow(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause before each further try is twice as long as the one before, up to the longest."""
    shorten_pauses(monkeypatch, 0.05, 0.2)
    sandbox.coins = 0
    times: list[float] = []
    with sandbox.override("POST", quick.START_PATH, lambda _: times.append(time.monotonic())):
        gathering = await paused(a2e.image_to_video.batch(make_jobs(1)))
        await wait_until(lambda: len(times) == 5)
        await cancel_and_wait(gathering)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.2])


async def test_a_batch_that_shall_not_wait_stops(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """With on_shortage="stop" what runs is finished, the rest is skipped and says why, and a later run does the rest."""
    journal = tmp_path / "journal.sqlite"
    sandbox.coins = 2 * PRICE
    batch = a2e.image_to_video.batch(make_jobs(8, ""), on_shortage="stop", journal=journal, out=tmp_path / "out")
    outcomes = await collect_results(batch)
    assert sorted(states_by_key(outcomes).values()) == ["skipped"] * 6 + ["succeeded"] * 2
    for outcome in outcomes.values():
        if outcome.state == "skipped":
            assert_skipped(outcome, InsufficientCreditsError)
        else:
            assert outcome.path
    assert "coins" in batch.progress.stopped
    assert count_starts(sandbox) <= 2 + 4
    sandbox.coins = 100 * PRICE
    again = await run_batch(a2e, make_jobs(8, ""), journal=journal, out=tmp_path / "out")
    assert all(outcome.ok for outcome in again.values())
    assert count_charges(sandbox) == dict.fromkeys(again, 1)


async def test_a_stopped_batch_uploads_nothing_more(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """After the stop no upload begins: each costs a coin, and nobody would use it."""
    sandbox.coins = PRICE - 1
    meter = ConcurrencyMeter(0.05)
    with sandbox.override("PUT", STORAGE_PATH, meter.hold):
        outcomes = await run_batch(a2e, make_jobs_with_images(tmp_path, 20), on_shortage="stop", max_uploads=2)
    assert set(states_by_key(outcomes).values()) == {"skipped"}
    assert (
        count_requests(sandbox, PRESIGN_PATH) <= 2 * 2
    )  # those before the first start was refused, and those under way then


async def test_coins_for_an_upload_are_waited_for_too(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a coin for the upload of an image the batch pauses as well."""
    shorten_pauses(monkeypatch)
    sandbox.coins = 0
    batch = a2e.image_to_video.batch(make_jobs_with_images(tmp_path, 3))
    gathering = await paused(batch)
    assert count_starts(sandbox) == 0
    sandbox.coins = 100 * PRICE
    assert set(states_by_key(await gathering).values()) == {"succeeded"}
    assert count_uploads(sandbox) == 3


# busy, too many, out of reach


@pytest.mark.parametrize(("fault", "times"), [("busy", 15), ("429", 2)])  # after 429 the client itself slows down
async def test_a_batch_waits_until_a2e_has_time(
    hasty: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, fault: str, times: int
) -> None:
    """An A2E that is busy, or that turns starts away, pauses the batch, which goes on when it gets through."""
    shorten_pauses(monkeypatch, 0.02, 0.02)
    sandbox.weather = faults_on_start(None, *[Fault(fault)] * times)
    batch = hasty.image_to_video.batch(make_jobs(2))
    outcomes = await (await paused(batch))
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)
    assert not batch.progress.paused


@pytest.mark.parametrize(("fault", "kind"), [("busy", BusyError), ("429", RateLimitError)])
async def test_a_batch_that_shall_not_wait_for_a2e_stops(
    hasty: A2EClient, sandbox: Sandbox, fault: str, kind: type[A2EError]
) -> None:
    """With "stop" an A2E that is busy, or that turns starts away, ends the batch: the rest is skipped and says why."""
    sandbox.weather = faults_on_start(None, *[Fault(fault)] * 15)
    outcomes = await run_batch(hasty, make_jobs(6), on_shortage="stop", max_starts=1)
    assert sorted(states_by_key(outcomes).values()) == ["skipped"] * 5 + ["succeeded"]
    for outcome in outcomes.values():
        if outcome.state == "skipped":
            assert_skipped(outcome, kind)


async def test_a_batch_waits_for_the_network(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is away for a while, so that nothing can be sent, pauses the batch, which then goes on by itself."""
    shorten_pauses(monkeypatch)
    sandbox.weather = Weather(script={"presign": [Fault("refuse", seconds=0.6)]})
    batch = a2e.image_to_video.batch(make_jobs_with_images(tmp_path, 10), out=tmp_path / "out")
    gathering = await paused(batch)
    outcomes = await gathering
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)


async def test_the_last_job_waits_for_the_network_too(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is alone is as patient as many: that no connection can be made is not the fault of its image."""
    shorten_pauses(monkeypatch)
    sandbox.weather = Weather(script={"presign": [Fault("refuse", seconds=1)]})
    outcomes = await run_batch(a2e, make_jobs_with_images(tmp_path, 1))
    assert states_by_key(outcomes) == {"k0": "succeeded"}


async def test_a_batch_that_shall_not_wait_for_the_network_stops(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """With "stop" a network that is away ends the batch: nothing is started, and each job says why."""
    sandbox.weather = Weather(script={"presign": [Fault("refuse", seconds=30)]})
    outcomes = await run_batch(a2e, make_jobs_with_images(tmp_path, 5), on_shortage="stop")
    for outcome in outcomes.values():
        assert_skipped(outcome, (NetworkError, TransferError))  # type: ignore[arg-type]  # either of them
    assert not sandbox.tasks


async def test_a_batch_does_not_throw_starts_after_lost_ones(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When one start after the other gets no answer, and A2E's list shows none, the batch pauses: each may cost coins."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.weather = faults_on_start(*[Fault("drop", after=True)] * 20)
    batch = a2e.image_to_video.batch(make_jobs(20), max_starts=1)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(99)):
        gathering = await paused(batch)
        await asyncio.sleep(0.1)
        await cancel_and_wait(gathering)
    assert count_starts(sandbox) == 2
    assert batch.progress.uncertain == 2


async def test_a_batch_stops_when_starts_get_lost(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With "stop" two starts in a row of which nobody knows end the batch: nothing more is sent."""
    sandbox.weather = faults_on_start(*[Fault("drop", after=True)] * 20)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(99)):
        outcomes = await run_batch(a2e, make_jobs(20), max_starts=1, on_shortage="stop")
    assert sorted(states_by_key(outcomes).values()) == ["skipped"] * 18 + ["uncertain"] * 2
    assert count_starts(sandbox) == 2


async def test_a_picture_that_nobody_can_upload_does_not_hold_up_the_others(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image at which the connection breaks each time fails after a few tries; all other jobs succeed."""
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
            outcomes = await collect_results(batch)
    assert states_by_key(outcomes) == {"bad": "failed", **{f"k{n}": "succeeded" for n in range(20)}}
    assert isinstance(outcomes["bad"].error, TransferError)


async def test_tasks_that_are_found_again_end_a_pause(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage, rows whose tasks only have to be found do not wait for a pause of their own each."""
    earlier_run, items = EarlierRun(tmp_path / "journal.sqlite", sandbox), make_jobs(8)
    for item in items:
        await earlier_run.add_row_with_task(a2e, item)
    shorten_pauses(monkeypatch, 1.5, 1.5)
    sandbox.weather = Weather(script={"list": [Fault("refuse", seconds=0.5)]})
    batch = a2e.image_to_video.batch(items, journal=earlier_run.path)
    gathering = await paused(batch)
    async with asyncio.timeout(2.5):  # one pause, not eight
        outcomes = await gathering
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)


async def test_tasks_are_found_while_there_are_no_coins(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is paid already is found, waited for and fetched although coins are missing for others."""
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
        told = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: batch.progress.paused)
        more.set()
        try:
            async with asyncio.timeout(0.5):
                outcome = await told
        finally:
            await asyncio.wait([told])
        assert (outcome.key, outcome.state) == ("paid", "succeeded")


# the token


async def test_a_wrong_token_ends_everything(
    sandbox: Sandbox, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a wrong token every job is skipped with an AuthenticationError, at once, and nothing is charged."""
    journal = tmp_path / "journal.sqlite"
    items = [*make_jobs_with_images(tmp_path, 50), *[make_job(f"l{n}") for n in range(50)]]
    async with A2EClient("sk_wrong", base_url=sandbox.url, config=quick.CONFIG) as a2e:
        batch = a2e.image_to_video.batch(items, journal=journal)
        async with asyncio.timeout(0.5):
            outcomes = await collect_results(batch)
    assert len(outcomes) == 100
    for outcome in outcomes.values():
        assert_skipped(outcome, AuthenticationError)
    assert not sandbox.ledger
    assert "token" in batch.progress.stopped
    assert len(sandbox.requests) <= 30
    assert not logged_warnings(caplog)
    assert "sk_wrong" not in caplog.text + batch.progress.stopped + repr(outcomes)


async def test_after_a_wrong_token_the_right_one_goes_on(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """What a wrong token has skipped is started by the next run."""
    journal = tmp_path / "journal.sqlite"
    async with A2EClient("sk_wrong", base_url=sandbox.url, config=quick.CONFIG) as other:
        await run_batch(other, make_jobs(5), journal=journal, max_coins=1000)
    outcomes = await run_batch(a2e, make_jobs(5), journal=journal, max_coins=1000)
    assert set(states_by_key(outcomes).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)


async def test_a_token_that_ends_in_the_middle(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Tasks under way become uncertain, the rest is skipped, and after the change of the token nothing is started twice."""
    journal, token = tmp_path / "journal.sqlite", sandbox.token
    batch = a2e.image_to_video.batch(make_jobs(8, ""), journal=journal, max_running=3)
    async with batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: len(sandbox.tasks) == 3)
        sandbox.token = "sk_another"
        outcomes = [await first, *[outcome async for outcome in batch]]
    assert sorted(outcome.state for outcome in outcomes) == ["skipped"] * 5 + ["uncertain"] * 3
    assert {type(outcome.error) for outcome in outcomes} == {AuthenticationError}
    assert {row.state for row in (await read_journal(journal)).values() if row.task_id} == {"running"}
    sandbox.token = token
    again = await run_batch(a2e, make_jobs(8, ""), journal=journal)
    assert set(states_by_key(again).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(again, 1)


async def test_a_wrong_token_ends_a_pause(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that wait for coins do not wait any more when the token has ended, which a running task has noticed."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = PRICE
    batch = a2e.image_to_video.batch(make_jobs(5, "#stuck"), max_starts=1)
    gathering = await paused(batch)
    sandbox.token = "sk_another"
    async with asyncio.timeout(0.5):
        outcomes = await gathering
    assert sorted(states_by_key(outcomes).values()) == ["skipped"] * 4 + ["uncertain"]


async def test_a_pause_can_be_left(a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ending a batch does not wait for the end of its pause."""
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.coins = 0
    gathering = await paused(a2e.image_to_video.batch(make_jobs(5)))
    gathering.cancel()
    async with asyncio.timeout(0.5):
        await asyncio.wait([gathering])
    assert gathering.cancelled()


async def test_a_pause_tells_no_secret(
    hasty: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the log nor Progress.paused holds the token, a prompt or a link."""
    caplog.set_level(logging.DEBUG, "a2e_async")
    shorten_pauses(monkeypatch, FOR_EVER)
    sandbox.weather = Weather(script={"start": [Fault("429")]})
    batch = hasty.image_to_video.batch([make_job("a", prompt="a secret wish")])
    gathering = await paused(batch)
    for private in (sandbox.token, "secret", IMAGE_URL):
        assert private not in caplog.text + batch.progress.paused + repr(batch.progress)
    await cancel_and_wait(gathering)
