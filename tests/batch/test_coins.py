"""What a batch spends: max_coins, prices that are quoted or learnt, and new starts for tasks that have failed."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest
import quick
from aiohttp import web
from batches import (
    PRICE,
    QUOTE_PATH,
    EarlierRun,
    collect_results,
    count_charges,
    count_uploads,
    finish_task,
    make_job,
    make_jobs,
    run_batch,
    spent_coins,
    states_by_key,
    write_image,
)
from conditions import wait_until
from paid_starts import LIST_PATH, EmptyListFirst, charged_task_ids, count_requests, count_starts, faults_on_start

from a2e_async import A2EClient, BudgetError
from a2e_async.errors import TaskFailedError
from a2e_async.sandbox import Fault, Sandbox

if TYPE_CHECKING:
    import pathlib

    from a2e_async.batch import Outcome

QUOTES = {
    "404": web.Response(status=404, text="Not Found"),
    "html": web.Response(text="<html>maintenance</html>", content_type="text/html"),
    "no number": web.json_response({"code": 0, "data": {"generationRequestValidated": True}}),
    "refusal": web.json_response({"code": 400, "message": "Unsupported endpoint"}),
    "not finite": web.Response(text='{"code": 0, "data": {"coins": Infinity}}', content_type="application/json"),
}
"""What an A2E answers that does not quote a price."""


def skipped(outcomes: dict[str, Outcome]) -> list[str]:
    """List the keys that were skipped, and see that each of them says why and has cost nothing."""
    found = [outcome for outcome in outcomes.values() if outcome.state == "skipped"]
    for outcome in found:
        assert isinstance(outcome.error, BudgetError)
        assert str(outcome.error).startswith("Not started: ")
        assert (outcome.coins, outcome.purchases, outcome.ok) == (0, 0, False)
    return [outcome.key for outcome in found]


# the limit


@pytest.mark.parametrize(
    ("limit", "bought"), [(0, 0), (PRICE - 1, 0), (PRICE, 1), (100, 3), (10 * PRICE, 10), (9999, 12)]
)
async def test_the_limit_is_never_passed(a2e: A2EClient, sandbox: Sandbox, limit: int, bought: int) -> None:
    """Of twelve jobs at the same time as many are started as the limit allows; the others are skipped, and say why."""
    outcomes = await run_batch(a2e, make_jobs(12), max_coins=limit)
    assert list(states_by_key(outcomes).values()).count("succeeded") == bought
    assert len(skipped(outcomes)) == 12 - bought
    assert spent_coins(sandbox) == bought * PRICE


async def test_a_cheaper_job_still_fits(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Prices differ: what is too dear is skipped, and what is cheap enough is started behind it."""
    items = [
        make_job("long", video_time=20),
        make_job("five", video_time=5),
        make_job("longer", video_time=20),
        make_job("ten", video_time=10),
    ]
    outcomes = await run_batch(a2e, items, max_coins=220, max_running=1)
    assert states_by_key(outcomes) == {
        "long": "succeeded",
        "five": "succeeded",
        "longer": "skipped",
        "ten": "succeeded",
    }
    assert spent_coins(sandbox) == 4 * PRICE + PRICE + 2 * PRICE


async def test_each_price_is_asked_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A2E is asked for a quote once for each kind of video, and never without a limit."""
    items = [make_job(f"k{n}", video_time=(5, 10, 15)[n % 3]) for n in range(12)]
    await run_batch(a2e, items, max_coins=10_000)
    assert count_requests(sandbox, QUOTE_PATH) == 3
    await run_batch(a2e, items)
    assert count_requests(sandbox, QUOTE_PATH) == 3


async def test_a_quote_uploads_nothing(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Jobs that do not fit cost no upload: the price is asked for first."""
    outcomes = await run_batch(
        a2e, [make_job(f"k{n}", image=write_image(tmp_path)) for n in range(3)], max_coins=PRICE - 1
    )
    assert len(skipped(outcomes)) == 3
    assert not sandbox.ledger


async def test_what_is_under_way_can_make_room(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A job that does not fit beside what is being started waits for it, and is started if that is refused."""
    sandbox.weather = faults_on_start(Fault("delay", seconds=0.2))
    outcomes = await run_batch(a2e, [make_job("refused", "#refuse"), make_job("a")], max_coins=PRICE)
    assert states_by_key(outcomes) == {"refused": "failed", "a": "succeeded"}
    assert spent_coins(sandbox) == PRICE


# prices that nobody quotes


@pytest.mark.parametrize("answer", QUOTES.values(), ids=QUOTES)
async def test_without_a_quote_one_goes_ahead(a2e: A2EClient, sandbox: Sandbox, answer: web.Response) -> None:
    """If nobody knows the price, one job is started alone; its price is that of the others, which keep to the limit."""
    with sandbox.override("POST", QUOTE_PATH, answer):
        outcomes = await run_batch(a2e, make_jobs(8), max_coins=100)
    assert len(skipped(outcomes)) == 5
    assert spent_coins(sandbox) == 3 * PRICE


async def test_the_first_one_really_goes_alone(a2e: A2EClient, sandbox: Sandbox) -> None:
    """While the only job is under way whose price nobody knows, nothing else is sent; afterwards the others are."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    at_once: list[int] = []

    async def hold(_: web.Request) -> None:
        at_once.append(len(at_once))
        begun.set()
        await go_on.wait()

    batch = a2e.image_to_video.batch(make_jobs(8), max_coins=1000)
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]), sandbox.override("POST", quick.START_PATH, hold):
        task = asyncio.create_task(collect_results(batch))
        await begun.wait()
        await asyncio.sleep(0.1)
        assert len(at_once) == 1
        go_on.set()
        outcomes = await task
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)
    assert count_requests(sandbox, QUOTE_PATH) == 1  # who was not told the first time does not ask again and again


async def test_kinds_of_unknown_price_go_ahead_one_after_the_other(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Without quotes a dear kind is not started beside another one of which nobody knows the price either."""
    items = [make_job(f"k{n}", video_time=(5, 20)[n % 2]) for n in range(8)]
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]):
        outcomes = await run_batch(a2e, items, max_coins=5 * PRICE)
    assert spent_coins(sandbox) == 5 * PRICE
    assert len(skipped(outcomes)) == 6


async def test_one_that_goes_ahead_in_vain_lets_the_next_one_go(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A scout that is refused, or whose image is none, has found out nothing: the next one finds out."""
    items = [
        make_job("refused", "#refuse"),
        make_job("no image", image=b"text"),
        make_job("a"),
        make_job("b"),
        make_job("c"),
    ]
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]):
        outcomes = await run_batch(a2e, items, max_coins=2 * PRICE)
    assert sorted(states_by_key(outcomes).values()) == ["failed", "failed", "skipped", "succeeded", "succeeded"]
    assert spent_coins(sandbox) == 2 * PRICE


async def test_nothing_goes_ahead_when_nothing_is_left(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """If everything is spent already, nobody goes ahead to find out a price."""
    journal = tmp_path / "journal.sqlite"
    await run_batch(a2e, [make_job("a")], journal=journal)
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]):
        outcomes = await run_batch(a2e, make_jobs(2), journal=journal, max_coins=PRICE)
    assert len(skipped(outcomes)) == 2
    assert "price is not known" in str(outcomes["k0"].error)
    assert spent_coins(sandbox) == PRICE


async def test_a_quote_that_was_too_low_is_corrected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A2E's answer to a start counts for more than its quote: after the first answer nothing is sent that does not fit."""
    with sandbox.override("POST", QUOTE_PATH, web.json_response({"code": 0, "data": {"coins": 1}})):
        await run_batch(a2e, make_jobs(20), max_coins=3 * PRICE, max_starts=1)
    assert spent_coins(sandbox) == 3 * PRICE


async def test_a_quote_that_was_too_high_is_corrected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A price that turns out lower lets more jobs in."""
    with sandbox.override("POST", QUOTE_PATH, web.json_response({"code": 0, "data": {"coins": 80}})):
        outcomes = await run_batch(a2e, make_jobs(5), max_coins=4 * PRICE)
    assert spent_coins(sandbox) == 4 * PRICE
    assert len(skipped(outcomes)) == 1


# earlier runs, and starts of which nobody knows


async def test_coins_of_earlier_runs_count(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The limit is one of all runs with the journal together; a higher one lets more in, one that is passed nothing."""
    journal = tmp_path / "journal.sqlite"
    for limit, bought in ((50, 1), (50, 1), (110, 3), (60, 3), (9999, 5)):
        batch = a2e.image_to_video.batch(make_jobs(5), journal=journal, max_coins=limit)
        outcomes = await collect_results(batch)
        assert spent_coins(sandbox) == batch.progress.coins == bought * PRICE
        assert sum(outcome.ok for outcome in outcomes.values()) == bought
    assert count_charges(sandbox) == dict.fromkeys(outcomes, 1)


async def test_coins_of_jobs_that_are_not_in_the_input_count(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """What the journal has paid for jobs that are no longer asked for is spent as well."""
    journal = tmp_path / "journal.sqlite"
    await run_batch(a2e, make_jobs(3), journal=journal)
    outcomes = await run_batch(a2e, [make_job("a"), make_job("b")], journal=journal, max_coins=4 * PRICE)
    assert sorted(states_by_key(outcomes).values()) == ["skipped", "succeeded"]
    assert spent_coins(sandbox) == 4 * PRICE


async def test_another_journal_has_another_budget(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Batches that share no journal share no limit."""
    for name in ("one", "two"):
        await run_batch(a2e, make_jobs(1), journal=tmp_path / name, max_coins=PRICE)
    assert spent_coins(sandbox) == 2 * PRICE


async def test_an_uncertain_start_counts_as_spent(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start of which nobody knows is counted as if it had been accepted, which it may have been."""
    sandbox.weather = faults_on_start(Fault("drop", after=True))
    batch = a2e.image_to_video.batch(make_jobs(3), max_coins=2 * PRICE, max_starts=1)
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(99)):
        outcomes = await collect_results(batch)
    assert sorted(states_by_key(outcomes).values()) == ["skipped", "succeeded", "uncertain"]
    assert spent_coins(sandbox) == 2 * PRICE
    assert batch.progress.coins == 2 * PRICE


async def test_an_uncertain_start_of_an_earlier_run_counts_until_it_is_settled(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """What may have been spent is missing from the budget; if A2E shows that it was not, it is there again."""
    earlier_run = EarlierRun(tmp_path / "journal.sqlite", sandbox)
    await earlier_run.add_row(make_job("maybe"), state="uncertain")
    other = await run_batch(a2e, [make_job("a")], journal=earlier_run.path, max_coins=PRICE)
    assert states_by_key(other) == {"a": "skipped"}
    await earlier_run.add_row(make_job("maybe"), state="sending")
    outcomes = await run_batch(
        a2e, [make_job("maybe"), make_job("a")], journal=earlier_run.path, max_coins=PRICE, max_running=1
    )
    assert sorted(states_by_key(outcomes).values()) == ["skipped", "succeeded"]
    assert spent_coins(sandbox) == PRICE


async def test_a_task_that_is_found_is_not_counted_twice(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """A start that was counted as perhaps spent, and whose task is found, leaves room for what still fits."""
    earlier_run = EarlierRun(tmp_path / "journal.sqlite", sandbox)
    await earlier_run.add_row_with_task(a2e, make_job("found"))
    batch = a2e.image_to_video.batch(
        [make_job("found"), make_job("a"), make_job("b")], journal=earlier_run.path, max_coins=2 * PRICE
    )
    outcomes = await collect_results(batch)
    assert sorted(states_by_key(outcomes).values()) == ["skipped", "succeeded", "succeeded"]
    assert outcomes["found"].state == "succeeded"
    assert spent_coins(sandbox) == batch.progress.coins == 2 * PRICE


async def test_a_start_that_was_never_sent_makes_room_again(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Rows that were being sent and have no task give back what was set aside for them, and are started within the limit."""
    earlier_run = EarlierRun(tmp_path / "journal.sqlite", sandbox)
    for item in make_jobs(3):
        await earlier_run.add_row(item)
    batch = a2e.image_to_video.batch(make_jobs(3), journal=earlier_run.path, max_coins=3 * PRICE)
    assert set(states_by_key(await collect_results(batch)).values()) == {"succeeded"}
    assert spent_coins(sandbox) == batch.progress.coins == 3 * PRICE


# new starts for tasks that have failed


async def test_failed_tasks_are_bought_again_only_if_asked(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Without retry_failed a failed task is paid once, in this run and in the next one, which tells the failure again."""
    journal = tmp_path / "journal.sqlite"
    first = await run_batch(a2e, [make_job("a", "#fast #fail")], journal=journal)
    sandbox.requests.clear()
    second = await run_batch(a2e, [make_job("a", "#fast #fail")], journal=journal)
    assert not sandbox.requests
    for outcome in (first["a"], second["a"]):
        assert (outcome.state, outcome.purchases, outcome.coins) == ("failed", 1, PRICE)
        assert isinstance(outcome.error, TaskFailedError)
        assert outcome.error.task_id == charged_task_ids(sandbox)[0]
    assert str(second["a"].error) == str(first["a"].error)


async def test_retries_are_purchases_that_are_counted(a2e: A2EClient, sandbox: Sandbox) -> None:
    """retry_failed=2 starts a task that always fails three times; all of it is counted and shown."""
    batch = a2e.image_to_video.batch([make_job("a", "#fast #fail"), make_job("b")], retry_failed=2)
    outcomes = await collect_results(batch)
    assert (outcomes["a"].state, outcomes["a"].purchases, outcomes["a"].coins) == ("failed", 3, 3 * PRICE)
    assert count_charges(sandbox) == {"a": 3, "b": 1}
    assert (batch.progress.bought, batch.progress.retried, batch.progress.coins) == (4, 2, 4 * PRICE)
    assert len({task.name for task in sandbox.tasks.values()}) == 4  # each start has a marker of its own
    assert outcomes["a"].task_id == [*sandbox.tasks][-1]


async def test_a_retry_can_succeed(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A job whose second task succeeds has succeeded, costs both, and the next run has nothing to do."""
    items = [make_job("a", "#stuck")]
    running = asyncio.create_task(run_batch(a2e, items, retry_failed=3, journal=tmp_path / "j.sqlite"))
    await finish_task(sandbox, "a", succeeded=False)
    await wait_until(lambda: len(sandbox.tasks) == 2)
    await finish_task(sandbox, "a")
    (outcome,) = (await running).values()
    assert (outcome.state, outcome.purchases, outcome.coins) == ("succeeded", 2, 2 * PRICE)
    assert outcome.error is None
    (again,) = (await run_batch(a2e, items, retry_failed=3, journal=tmp_path / "j.sqlite")).values()
    assert (again.state, again.purchases, again.coins) == ("skipped", 2, 2 * PRICE)
    assert count_charges(sandbox) == {"a": 2}


async def test_retries_count_over_all_runs(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """retry_failed=1 is one new start for a job, not one for each run; a larger number allows more later."""
    journal = tmp_path / "journal.sqlite"
    for allowed, bought in ((0, 1), (1, 2), (1, 2), (3, 4)):
        (outcome,) = (
            await run_batch(a2e, [make_job("a", "#fast #fail")], journal=journal, retry_failed=allowed)
        ).values()
        assert (outcome.state, outcome.purchases, outcome.coins) == ("failed", bought, bought * PRICE)
        assert count_charges(sandbox) == {"a": bought}


async def test_a_refused_start_is_not_retried(a2e: A2EClient, sandbox: Sandbox) -> None:
    """retry_failed is for tasks that fail; a start that moderation refuses would only be refused again."""
    (outcome,) = (await run_batch(a2e, [make_job("a", "#refuse")], retry_failed=3)).values()
    assert (outcome.state, outcome.purchases) == ("failed", 0)
    assert count_starts(sandbox) == 1


async def test_a_picture_from_an_open_file_can_be_bought_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A retry has the image, also if it came from a file object, which can be read once."""
    (outcome,) = (
        await run_batch(a2e, [make_job("a", "#fast #fail", image=io.BytesIO(quick.PNG))], retry_failed=1)
    ).values()
    assert (outcome.state, outcome.purchases) == ("failed", 2)
    assert isinstance(outcome.error, TaskFailedError)
    assert count_charges(sandbox) == {"a": 2}
    assert count_uploads(sandbox) == 1


async def test_retries_keep_to_the_limit(a2e: A2EClient, sandbox: Sandbox) -> None:
    """New starts count for max_coins as first ones do."""
    outcomes = await run_batch(a2e, make_jobs(4, "#fast #fail"), retry_failed=5, max_coins=7 * PRICE)
    assert spent_coins(sandbox) == 7 * PRICE
    assert sum(outcome.purchases for outcome in outcomes.values()) == 7
    assert all(outcome.coins == outcome.purchases * PRICE for outcome in outcomes.values())


async def test_a_task_that_failed_is_told_as_failed_if_there_are_no_coins_for_another(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """A job that was paid and has failed is no skipped one, only because its retry does not fit."""
    outcomes = await run_batch(
        a2e, [make_job("a", "#fast #fail")], retry_failed=1, max_coins=PRICE, journal=tmp_path / "journal.sqlite"
    )
    assert spent_coins(sandbox) == PRICE
    assert (outcomes["a"].state, outcomes["a"].purchases) == ("failed", 1)


async def test_a_task_that_failed_is_told_as_failed_if_the_batch_was_stopped_meanwhile(
    a2e: A2EClient, sandbox: Sandbox
) -> None:
    """A job that was paid and has failed is no skipped one, only because nothing is started any more."""
    sandbox.coins = PRICE
    outcomes = await run_batch(a2e, [make_job("a", "#fast #fail")], retry_failed=1, on_shortage="stop")
    assert (outcomes["a"].state, outcomes["a"].purchases) == ("failed", 1)
