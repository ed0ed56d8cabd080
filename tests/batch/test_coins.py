"""Coins of a batch: max_coins, quotes and learned prices, and new starts for failed tasks."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import time
from typing import TYPE_CHECKING, Any

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
    make_jobs_with_images,
    run_batch,
    spent_coins,
    states_by_key,
    write_image,
)
from conditions import wait_until
from paid_starts import LIST_PATH, charged_task_ids, count_requests, count_starts, faults_on_start

from a2e_async import A2EClient, BudgetError
from a2e_async.batch import worker
from a2e_async.batch.uploads import fingerprint
from a2e_async.errors import TaskFailedError
from a2e_async.sandbox import Fault, Sandbox
from a2e_async.sandbox.state import Task

if TYPE_CHECKING:
    import pathlib

    from a2e_async.batch import JobResult

QUOTES = {
    "404": web.Response(status=404, text="Not Found"),
    "html": web.Response(text="<html>maintenance</html>", content_type="text/html"),
    "no number": web.json_response({"code": 0, "data": {"generationRequestValidated": True}}),
    "refusal": web.json_response({"code": 400, "message": "Unsupported endpoint"}),
    "not finite": web.Response(text='{"code": 0, "data": {"coins": Infinity}}', content_type="application/json"),
}
"""What an A2E answers that does not quote a price."""


def skipped(results: dict[str, JobResult[Any]]) -> list[str]:
    """List the keys that were skipped, and see that each of them says why and has cost nothing."""
    found = [result for result in results.values() if result.state == "skipped"]
    for result in found:
        assert isinstance(result.error, BudgetError)
        assert str(result.error).startswith("Not started: ")
        assert (result.coins, result.starts, result.ok) == (0, 0, False)
    return [result.key for result in found]


# the limit


@pytest.mark.parametrize(
    ("limit", "started"), [(0, 0), (PRICE - 1, 0), (PRICE, 1), (100, 3), (10 * PRICE, 10), (9999, 12)]
)
async def test_the_limit_is_never_exceeded(a2e: A2EClient, sandbox: Sandbox, limit: int, started: int) -> None:
    """Of twelve jobs at the same time as many are started as the limit allows; the others are skipped, with an error."""
    results = await run_batch(a2e, make_jobs(12), max_coins=limit)
    assert list(states_by_key(results).values()).count("succeeded") == started
    assert len(skipped(results)) == 12 - started
    assert spent_coins(sandbox) == started * PRICE


async def test_a_cheaper_job_still_fits(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A job that costs too much is skipped, and a cheaper one after it is started."""
    items = [
        make_job("long", video_time=20),
        make_job("five", video_time=5),
        make_job("longer", video_time=20),
        make_job("ten", video_time=10),
    ]
    results = await run_batch(a2e, items, max_coins=220, max_running=1)
    assert states_by_key(results) == {
        "long": "succeeded",
        "five": "succeeded",
        "longer": "skipped",
        "ten": "succeeded",
    }
    assert spent_coins(sandbox) == 4 * PRICE + PRICE + 2 * PRICE


@pytest.mark.parametrize("again", [False, True])
async def test_coins_go_to_the_first_jobs(
    a2e: A2EClient, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    """The first jobs of the input get the coins, also if their images take longer to read, in a resumed batch too."""

    def read_slowly(image: Any) -> Any:
        if image is not None and image.content.stem in {"0", "2"}:
            time.sleep(0.05)
        return fingerprint(image)

    jobs, journal = make_jobs_with_images(tmp_path, 6), tmp_path / "journal.sqlite"
    if again:
        await run_batch(a2e, jobs, max_coins=0, journal=journal)
    monkeypatch.setattr(worker, "fingerprint", read_slowly)
    results = await run_batch(a2e, jobs, max_coins=3 * PRICE, journal=journal)
    assert skipped(results) == ["k3", "k4", "k5"]


async def test_one_quote_for_each_price(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A2E is asked for one quote for each kind of video, and for none without a limit."""
    items = [make_job(f"k{n}", video_time=(5, 10, 15)[n % 3]) for n in range(12)]
    await run_batch(a2e, items, max_coins=10_000)
    assert count_requests(sandbox, QUOTE_PATH) == 3
    await run_batch(a2e, items)
    assert count_requests(sandbox, QUOTE_PATH) == 3


async def test_a_quote_uploads_nothing(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Jobs that do not fit cost no upload: the quote comes first."""
    results = await run_batch(
        a2e, [make_job(f"k{n}", image=write_image(tmp_path)) for n in range(3)], max_coins=PRICE - 1
    )
    assert len(skipped(results)) == 3
    assert not sandbox.ledger


async def test_a_rejected_start_frees_its_coins(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A job that does not fit beside a start being sent waits for it, and is started if that start is rejected."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=0.2))
    results = await run_batch(a2e, [make_job("refused", "#refuse"), make_job("a")], max_coins=PRICE)
    assert states_by_key(results) == {"refused": "failed", "a": "succeeded"}
    assert spent_coins(sandbox) == PRICE


# prices without a quote


@pytest.mark.parametrize("answer", QUOTES.values(), ids=QUOTES)
async def test_without_a_quote_one_job_starts_first(a2e: A2EClient, sandbox: Sandbox, answer: web.Response) -> None:
    """Without a quote, one job is started alone; its cost is the price of the others, which stay within the limit."""
    with sandbox.override("POST", QUOTE_PATH, answer):
        results = await run_batch(a2e, make_jobs(8), max_coins=100)
    assert len(skipped(results)) == 5
    assert spent_coins(sandbox) == 3 * PRICE


async def test_the_first_job_starts_alone(a2e: A2EClient, sandbox: Sandbox) -> None:
    """While a single job of unknown price is under way, nothing else is sent; afterwards the others are."""
    began, continue_it = asyncio.Event(), asyncio.Event()
    at_once: list[int] = []

    async def hold(_: web.Request) -> None:
        at_once.append(len(at_once))
        began.set()
        await continue_it.wait()

    batch = a2e.image_to_video.batch(make_jobs(8), max_coins=1000)
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]), sandbox.override("POST", quick.START_PATH, hold):
        task = asyncio.create_task(collect_results(batch))
        await began.wait()
        await asyncio.sleep(0.1)
        assert len(at_once) == 1
        continue_it.set()
        results = await task
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert count_requests(sandbox, QUOTE_PATH) == 1  # a failed quote is not requested again


async def test_unknown_prices_are_found_out_one_after_the_other(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Without quotes, a start of unknown price is not sent beside another one of unknown price."""
    items = [make_job(f"k{n}", video_time=(5, 20)[n % 2]) for n in range(8)]
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]):
        results = await run_batch(a2e, items, max_coins=5 * PRICE)
    assert spent_coins(sandbox) == 5 * PRICE
    assert len(skipped(results)) == 6


async def test_a_failed_first_start_is_followed_by_the_next_one(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A first start that is rejected, or has a bad image, reveals no price: the next job is started alone."""
    items = [
        make_job("refused", "#refuse"),
        make_job("no image", image=b"text"),
        make_job("a"),
        make_job("b"),
        make_job("c"),
    ]
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]):
        results = await run_batch(a2e, items, max_coins=2 * PRICE)
    assert sorted(states_by_key(results).values()) == ["failed", "failed", "skipped", "succeeded", "succeeded"]
    assert spent_coins(sandbox) == 2 * PRICE


async def test_no_start_of_unknown_price_without_coins(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """If all coins are spent, no start of unknown price is sent."""
    journal = tmp_path / "journal.sqlite"
    await run_batch(a2e, [make_job("a")], journal=journal)
    with sandbox.override("POST", QUOTE_PATH, QUOTES["404"]):
        results = await run_batch(a2e, make_jobs(2), journal=journal, max_coins=PRICE)
    assert len(skipped(results)) == 2
    assert "price is unknown" in str(results["k0"].error)
    assert spent_coins(sandbox) == PRICE


async def test_a_quote_that_was_too_low_is_corrected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A2E's answer to a start counts more than its quote: after the first answer nothing is sent that does not fit."""
    with sandbox.override("POST", QUOTE_PATH, web.json_response({"code": 0, "data": {"coins": 1}})):
        await run_batch(a2e, make_jobs(20), max_coins=3 * PRICE, max_starts=1)
    assert spent_coins(sandbox) == 3 * PRICE


async def test_a_quote_that_was_too_high_is_corrected(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A price that turns out lower allows more jobs."""
    with sandbox.override("POST", QUOTE_PATH, web.json_response({"code": 0, "data": {"coins": 80}})):
        results = await run_batch(a2e, make_jobs(5), max_coins=4 * PRICE)
    assert spent_coins(sandbox) == 4 * PRICE
    assert len(skipped(results)) == 1


@pytest.mark.parametrize("quote", [None, 0, 10, 60], ids=["no quote", "free", "too low", "too high"])
@pytest.mark.parametrize("account", ["history", "balance", "nothing"])
@pytest.mark.parametrize("named", ["at once", "at the end", "0 at first", "never", "less than nothing"])
async def test_the_limit_is_passed_by_one_start_at_most(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, *, quote: int | None, account: str, named: str
) -> None:
    """For all that A2E can tell about its prices, and at any time: only the first start of a kind can pass the limit."""
    limit, record = 70, Task._record

    def show(task: Task, result: dict[str, object]) -> dict[str, object]:
        shown = record(task, result)
        if named == "never" or (named == "at the end" and not task.done):
            del shown["coins"]
        elif named == "less than nothing" or (named == "0 at first" and not task.done):
            shown["coins"] = -1000 if named == "less than nothing" else 0
        return shown

    monkeypatch.setattr(Task, "_record", show)
    off = web.Response(status=404)
    with contextlib.ExitStack() as stack:
        quotes = QUOTES["404"] if quote is None else web.json_response({"code": 0, "data": {"coins": quote}})
        stack.enter_context(sandbox.override("POST", QUOTE_PATH, quotes))
        if account != "history":
            stack.enter_context(sandbox.override("GET", "/api/v1/transactionRecord", off))
        if account == "nothing":
            stack.enter_context(sandbox.override("GET", "/api/v1/user/remainingCoins", off))
        batch = a2e.image_to_video.batch(make_jobs(12), max_coins=limit, max_starts=12)
        results = await collect_results(batch)
    assert PRICE <= spent_coins(sandbox) <= limit + PRICE
    assert len(results) == 12
    is_known = named in {"at once", "at the end", "0 at first"} or account == "history"
    assert spent_coins(sandbox) == (2 * PRICE if is_known else PRICE)
    if is_known:
        assert batch.progress.coins == spent_coins(sandbox)
    else:
        assert "A2E has not told" in str(next(each.error for each in results.values() if each.state == "skipped"))


async def test_balance_and_quote_together_are_a_price(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If records name no coins and there is no history, a balance that falls by the quote confirms it."""
    record = Task._record
    monkeypatch.setattr(Task, "_record", lambda task, result: {**record(task, result), "coins": None})
    with sandbox.override("GET", "/api/v1/transactionRecord", web.Response(status=404)):
        batch = a2e.image_to_video.batch(make_jobs(5), max_coins=3 * PRICE)
        results = await collect_results(batch)
    assert spent_coins(sandbox) == batch.progress.coins == 3 * PRICE
    assert len(skipped(results)) == 2
    assert {result.coins for result in results.values() if result.ok} == {PRICE}


@pytest.mark.parametrize(
    "coins", [10**400, math.nan, -math.inf, "many", -7, [], True], ids=lambda coins: repr(coins)[:9]
)
async def test_price_that_cannot_be_counted_keeps_no_slot(
    a2e: A2EClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, coins: object
) -> None:
    """A start whose answer names a strange price is paid and recorded like any other, and gives its slot back."""
    record = Task._record
    monkeypatch.setattr(Task, "_record", lambda task, result: {**record(task, result), "coins": coins})
    batch = a2e.image_to_video.batch(make_jobs(8), max_running=3)
    results = await collect_results(batch)
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert {result.coins for result in results.values()} == {None}
    assert batch.progress.coins == 0


# earlier runs, and starts with an unknown outcome


async def test_coins_of_earlier_runs_count(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """All runs with one journal share one limit: a higher one allows more jobs, an exceeded one none."""
    journal = tmp_path / "journal.sqlite"
    for limit, started in ((50, 1), (50, 1), (110, 3), (60, 3), (9999, 5)):
        batch = a2e.image_to_video.batch(make_jobs(5), journal=journal, max_coins=limit)
        results = await collect_results(batch)
        assert spent_coins(sandbox) == batch.progress.coins == started * PRICE
        assert sum(result.ok for result in results.values()) == started
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


@pytest.mark.parametrize("quote", [None, 10, 60], ids=["no quote", "too low", "right"])
async def test_an_unknown_cost_of_an_earlier_run_counts(
    a2e: A2EClient,
    sandbox: Sandbox,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    quote: int | None,
) -> None:
    """If nothing tells what a start has cost, the next runs with its journal start nothing more within a limit."""
    journal, record, off = tmp_path / "journal.sqlite", Task._record, web.Response(status=404)
    monkeypatch.setattr(Task, "_record", lambda task, result: {**record(task, result), "coins": None})
    quotes = QUOTES["404"] if quote is None else web.json_response({"code": 0, "data": {"coins": quote}})
    with (
        sandbox.override("POST", QUOTE_PATH, quotes),
        sandbox.override("GET", "/api/v1/transactionRecord", off),
        sandbox.override("GET", "/api/v1/user/remainingCoins", off),
    ):
        for _ in range(3):
            results = await run_batch(a2e, make_jobs(5), journal=journal, max_coins=4 * PRICE)
            assert spent_coins(sandbox) == PRICE
            assert sum(result.ok for result in results.values()) == 1
        results = await run_batch(a2e, make_jobs(5), journal=journal)
    assert sum(result.ok for result in results.values()) == 5
    assert count_charges(sandbox) == dict.fromkeys(results, 1)


async def test_coins_of_jobs_that_are_not_in_the_input_count(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """The cost of jobs that are only in the journal counts as well."""
    journal = tmp_path / "journal.sqlite"
    await run_batch(a2e, make_jobs(3), journal=journal)
    results = await run_batch(a2e, [make_job("a"), make_job("b")], journal=journal, max_coins=4 * PRICE)
    assert sorted(states_by_key(results).values()) == ["skipped", "succeeded"]
    assert spent_coins(sandbox) == 4 * PRICE


async def test_another_journal_has_another_budget(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Batches with different journals have separate limits."""
    for name in ("one", "two"):
        await run_batch(a2e, make_jobs(1), journal=tmp_path / name, max_coins=PRICE)
    assert spent_coins(sandbox) == 2 * PRICE


async def test_an_uncertain_start_counts_as_spent(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start with an unknown outcome counts as if it had been accepted."""
    sandbox.faults = faults_on_start(None, Fault("drop", after=True))
    batch = a2e.image_to_video.batch(make_jobs(3), max_coins=2 * PRICE, max_starts=1)
    with sandbox.override("GET", LIST_PATH, web.Response(status=500)):
        results = await collect_results(batch)
    assert sorted(states_by_key(results).values()) == ["skipped", "succeeded", "uncertain"]
    assert spent_coins(sandbox) == 2 * PRICE
    assert batch.progress.coins == 2 * PRICE


async def test_an_uncertain_start_of_an_earlier_run_counts_until_it_is_reconciled(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Coins that may have been spent count; if A2E shows that they were not, they are free again."""
    earlier_run = EarlierRun(tmp_path / "journal.sqlite", sandbox)
    await earlier_run.add_row(make_job("maybe"), state="uncertain")
    other = await run_batch(a2e, [make_job("a")], journal=earlier_run.path, max_coins=PRICE)
    assert states_by_key(other) == {"a": "skipped"}
    await earlier_run.add_row(make_job("maybe"), state="sending")
    results = await run_batch(
        a2e, [make_job("maybe"), make_job("a")], journal=earlier_run.path, max_coins=PRICE, max_running=1
    )
    assert sorted(states_by_key(results).values()) == ["skipped", "succeeded"]
    assert spent_coins(sandbox) == PRICE


async def test_a_reconciled_task_is_not_counted_twice(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A start that counted as possibly spent, and whose task is found, is counted once."""
    earlier_run = EarlierRun(tmp_path / "journal.sqlite", sandbox)
    await earlier_run.add_row_with_task(a2e, make_job("found"))
    batch = a2e.image_to_video.batch(
        [make_job("found"), make_job("a"), make_job("b")], journal=earlier_run.path, max_coins=2 * PRICE
    )
    results = await collect_results(batch)
    assert sorted(states_by_key(results).values()) == ["skipped", "succeeded", "succeeded"]
    assert results["found"].state == "succeeded"
    assert spent_coins(sandbox) == batch.progress.coins == 2 * PRICE


async def test_a_resumed_task_is_not_counted_twice(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A task that an earlier run has started, and this one waits for, costs what it has cost."""
    journal = tmp_path / "journal.sqlite"
    first = asyncio.create_task(run_batch(a2e, make_jobs(3), journal=journal))
    await wait_until(lambda: len(sandbox.tasks) == 3)
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.wait([first])
    results = await run_batch(a2e, make_jobs(3), journal=journal)
    assert {result.coins for result in results.values()} == {PRICE}
    assert len(sandbox.tasks) == 3


async def test_a_start_that_was_never_sent_frees_its_coins(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Entries that were being sent and have no task free their coins, and are started within the limit."""
    earlier_run = EarlierRun(tmp_path / "journal.sqlite", sandbox)
    for item in make_jobs(3):
        await earlier_run.add_row(item)
    batch = a2e.image_to_video.batch(make_jobs(3), journal=earlier_run.path, max_coins=3 * PRICE)
    assert set(states_by_key(await collect_results(batch)).values()) == {"succeeded"}
    assert spent_coins(sandbox) == batch.progress.coins == 3 * PRICE


# new starts for tasks that have failed


async def test_failed_tasks_are_started_again_only_on_request(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """Without retry_failed a failed task is paid once, in this run and in the next one, which reports the failure again."""
    journal = tmp_path / "journal.sqlite"
    first = await run_batch(a2e, [make_job("a", "#fast #fail")], journal=journal)
    sandbox.requests.clear()
    second = await run_batch(a2e, [make_job("a", "#fast #fail")], journal=journal)
    assert not sandbox.requests
    for result in (first["a"], second["a"]):
        assert (result.state, result.starts, result.coins) == ("failed", 1, PRICE)
        assert isinstance(result.error, TaskFailedError)
        assert result.error.task_id == charged_task_ids(sandbox)[0]
    assert str(second["a"].error) == str(first["a"].error)


async def test_retries_are_counted(a2e: A2EClient, sandbox: Sandbox) -> None:
    """retry_failed=2 starts a task that always fails three times; all starts are counted and shown."""
    batch = a2e.image_to_video.batch([make_job("a", "#fast #fail"), make_job("b")], retry_failed=2)
    results = await collect_results(batch)
    assert (results["a"].state, results["a"].starts, results["a"].coins) == ("failed", 3, 3 * PRICE)
    assert count_charges(sandbox) == {"a": 3, "b": 1}
    assert (batch.progress.started, batch.progress.retried, batch.progress.coins) == (4, 2, 4 * PRICE)
    assert len({task.name for task in sandbox.tasks.values()}) == 4  # each start has a marker of its own
    assert results["a"].task_id == [*sandbox.tasks][-1]


async def test_a_retry_can_succeed(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A job whose second task succeeds has succeeded, costs both tasks, and the next run skips it."""
    items = [make_job("a", "#stuck")]
    running = asyncio.create_task(run_batch(a2e, items, retry_failed=3, journal=tmp_path / "j.sqlite"))
    await finish_task(sandbox, "a", succeeded=False)
    await wait_until(lambda: len(sandbox.tasks) == 2)
    await finish_task(sandbox, "a")
    (result,) = (await running).values()
    assert (result.state, result.starts, result.coins) == ("succeeded", 2, 2 * PRICE)
    assert result.error is None
    (again,) = (await run_batch(a2e, items, retry_failed=3, journal=tmp_path / "j.sqlite")).values()
    assert (again.state, again.starts, again.coins) == ("skipped", 2, 2 * PRICE)
    assert count_charges(sandbox) == {"a": 2}


async def test_retries_count_over_all_runs(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """retry_failed=1 is one new start for a job, not one for each run; a larger number allows more later."""
    journal = tmp_path / "journal.sqlite"
    for allowed, started in ((0, 1), (1, 2), (1, 2), (3, 4)):
        (result,) = (
            await run_batch(a2e, [make_job("a", "#fast #fail")], journal=journal, retry_failed=allowed)
        ).values()
        assert (result.state, result.starts, result.coins) == ("failed", started, started * PRICE)
        assert count_charges(sandbox) == {"a": started}


async def test_a_rejected_start_is_not_retried(a2e: A2EClient, sandbox: Sandbox) -> None:
    """retry_failed is for failed tasks; a start that moderation rejects would be rejected again."""
    (result,) = (await run_batch(a2e, [make_job("a", "#refuse")], retry_failed=3)).values()
    assert (result.state, result.starts) == ("failed", 0)
    assert count_starts(sandbox) == 1


async def test_an_image_from_an_open_file_can_be_retried(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A retry has the image, also if it came from a file object, which can be read once."""
    (result,) = (
        await run_batch(a2e, [make_job("a", "#fast #fail", image=io.BytesIO(quick.PNG))], retry_failed=1)
    ).values()
    assert (result.state, result.starts) == ("failed", 2)
    assert isinstance(result.error, TaskFailedError)
    assert count_charges(sandbox) == {"a": 2}
    assert count_uploads(sandbox) == 1


async def test_retries_stay_within_the_limit(a2e: A2EClient, sandbox: Sandbox) -> None:
    """New starts count for max_coins like first ones."""
    results = await run_batch(a2e, make_jobs(4, "#fast #fail"), retry_failed=5, max_coins=7 * PRICE)
    assert spent_coins(sandbox) == 7 * PRICE
    assert sum(result.starts for result in results.values()) == 7
    assert all(result.coins == result.starts * PRICE for result in results.values())


async def test_a_failed_task_without_coins_for_a_retry_is_failed(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path
) -> None:
    """A job whose paid task failed is failed, not skipped, if its retry does not fit."""
    results = await run_batch(
        a2e, [make_job("a", "#fast #fail")], retry_failed=1, max_coins=PRICE, journal=tmp_path / "journal.sqlite"
    )
    assert spent_coins(sandbox) == PRICE
    assert (results["a"].state, results["a"].starts) == ("failed", 1)


async def test_a_failed_task_of_a_stopped_batch_is_failed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A job whose paid task failed is failed, not skipped, if the batch has stopped."""
    sandbox.coins = PRICE
    results = await run_batch(a2e, [make_job("a", "#fast #fail")], retry_failed=1, on_shortage="stop")
    assert (results["a"].state, results["a"].starts) == ("failed", 1)
