"""Iteration over a batch: results, their order, the reading of the input, and invalid jobs."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import itertools
import logging
import time
import types
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from batches import (
    PRICE,
    cancel_and_wait,
    collect_results,
    count_charges,
    count_uploads,
    finish_task,
    key_of_task,
    make_job,
    make_jobs,
    read_journal,
    run_batch,
    states_by_key,
    write_image,
)
from conditions import wait_until
from paid_starts import IMAGE_URL, LIST_PATH, charged_task_ids, count_starts, faults_on_start, make_client

from a2e_async import A2EClient, A2EError, ClientClosedError, ConfigurationError, InvalidRequestError, StartPolicy
from a2e_async.batch import Job
from a2e_async.errors import ContentRejectedError, SubmissionUncertainError, TaskFailedError, WaitTimeoutError
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

if TYPE_CHECKING:
    import pathlib
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from a2e_async.batch import Progress

ACTIVE = 10 + 8 + 2 * (8 + 4)
"""Jobs that are under way at the same time with the limits that a batch has by default."""

BUFFERED = 1000
"""Results that may wait to be taken."""


def now() -> dt.datetime:
    """Return the time of day, which follows the virtual clock."""
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)


class EndlessInput:
    """Endless input, with the number of jobs that were read."""

    def __init__(self, make: Callable[[int], Any] = lambda number: {"key": f"k{number}"}) -> None:
        self.read_count = 0
        self.closed = False
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        """Yield jobs; the default ones fail at once, and cost nothing."""
        try:
            for number in itertools.count():
                self.read_count += 1
                yield self._make(number)
        finally:
            self.closed = True


async def as_async(items: Iterable[Any]) -> AsyncIterator[Any]:
    """Yield items asynchronously, as a database does."""
    for item in items:
        await asyncio.sleep(0)
        yield item


def then_raise(items: Iterable[Any]) -> Iterator[Any]:
    """Yield items, then raise, as a file does that ends in the middle of a row."""
    yield from items
    msg = "row 4 is incomplete"
    raise LookupError(msg)


async def test_the_result_of_a_success_is_complete(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """The result of a succeeded job has its record, its file, its cost, its marker, and times in the order of events."""
    before = now()
    item = make_job("order-17")
    (result,) = (await run_batch(a2e, [item], out=tmp_path)).values()
    (task,) = sandbox.tasks.values()
    assert (result.key, result.job, result.state, result.error, result.ok) == (
        "order-17",
        item,
        "succeeded",
        None,
        True,
    )
    assert (result.task_id, result.coins, result.starts) == (task.id, PRICE, 1)
    assert result.record is not None
    assert result.record.result_url == task.result_url
    assert result.path == tmp_path / "order-17.mp4"
    assert result.path.read_bytes().startswith(b"\0\0\0")
    assert task.name.endswith(f"[a2e:{result.marker}]")
    assert result.sent_at is not None
    assert result.accepted_at is not None
    times = [
        before,
        result.read_at,
        result.sent_at,
        result.accepted_at,
        result.finished_at,
        now(),
    ]
    assert times == sorted(times)


async def test_a_failed_task_is_a_value(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A job whose task fails is a result with the state failed, its cost and A2E's message, and raises nothing."""
    (result,) = (await run_batch(a2e, [make_job("a", "#fast #fail")])).values()
    assert (result.state, result.coins, result.starts, result.ok) == ("failed", PRICE, 1, False)
    assert isinstance(result.error, TaskFailedError)
    assert result.error.failed_code == "generation_error"
    assert result.task_id == result.error.task_id == charged_task_ids(sandbox)[0]


async def test_a_rejected_start_costs_nothing(a2e: A2EClient) -> None:
    """A job that moderation rejects is failed, without a task and without a cost."""
    (result,) = (await run_batch(a2e, [make_job("a", "#refuse")])).values()
    assert (result.state, result.coins, result.starts, result.task_id) == ("failed", 0, 0, None)
    assert isinstance(result.error, ContentRejectedError)


async def test_a_wait_that_ends_leaves_the_job_uncertain(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that takes longer than the timeout is uncertain and paid, and is left running."""
    (result,) = (await run_batch(a2e, [make_job("a", "#stuck")], timeout=0.1)).values()
    assert (result.state, result.coins, result.starts) == ("uncertain", PRICE, 1)
    assert isinstance(result.error, WaitTimeoutError)
    assert result.task_id == charged_task_ids(sandbox)[0]


async def test_a_lost_answer_leaves_the_job_uncertain(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start with an unknown outcome is uncertain if A2E's list cannot be read, and has the marker for the search."""
    sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]}, invisible=60)
    with sandbox.override("GET", LIST_PATH, web.Response(status=500)):
        (result,) = (await run_batch(a2e, [make_job("a")])).values()
    assert (result.state, result.starts, result.task_id) == ("uncertain", 0, None)
    assert isinstance(result.error, SubmissionUncertainError)
    assert result.marker == result.error.marker
    assert next(iter(sandbox.tasks.values())).name.endswith(f"[a2e:{result.marker}]")


async def test_the_cost_of_an_uncertain_start_is_unknown(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The cost of a start with an unknown outcome is None, not 0."""
    sandbox.faults = FaultPlan(script={"start": [Fault("drop", after=True)]}, invisible=60)
    with sandbox.override("GET", LIST_PATH, web.Response(status=500)):
        (result,) = (await run_batch(a2e, [make_job("a")])).values()
    assert result.coins is None


@pytest.mark.parametrize("fault", [Fault("drop", after=True), Fault("status", after=True), Fault("html", after=True)])
async def test_a_start_whose_answer_got_lost_is_adopted(a2e: A2EClient, sandbox: Sandbox, fault: Fault) -> None:
    """Jobs whose starts were charged without an answer succeed with the tasks of these starts: one charge each."""
    sandbox.faults = faults_on_start(*[fault] * 10)
    results = await run_batch(a2e, make_jobs(10))
    assert set(states_by_key(results).values()) == {"succeeded"}
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert {result.task_id for result in results.values()} == {*sandbox.tasks}


async def test_one_failure_never_hides_the_others(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Jobs that end in every way, mixed with items that are not jobs, all have their result."""
    text = tmp_path / "text.png"
    text.write_text("no image")
    good = [
        make_job("good"),
        make_job("failing", "#fast #fail"),
        make_job("refused", "#refuse"),
        make_job("flagged", "#flagged"),
    ]
    bad = [make_job("text", image=text), make_job("nothing", image=tmp_path / "nothing.png"), {"key": "bare"}, 7, None]
    results = await run_batch(a2e, [item for pair in itertools.zip_longest(bad, good) for item in pair])
    assert states_by_key(results) == {
        "good": "succeeded",
        **dict.fromkeys(("failing", "refused", "flagged", "text", "nothing", "bare"), "failed"),
        **dict.fromkeys(("#7", "#9", "#10"), "failed"),
    }
    assert count_charges(sandbox) == {"good": 1, "failing": 1}


async def test_an_unexpected_error_fails_one_job_only(
    a2e: A2EClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is the result of its job, with its cause; the others continue."""
    prepare = type(a2e.image_to_video)._prepare_start

    async def break_one(self: Any, item: Job) -> Any:
        if item.key == "k1":
            raise ZeroDivisionError
        return await prepare(self, item)

    monkeypatch.setattr(type(a2e.image_to_video), "_prepare_start", break_one)
    results = await run_batch(a2e, make_jobs(3))
    assert states_by_key(results) == {"k0": "succeeded", "k1": "failed", "k2": "succeeded"}
    error = results["k1"].error
    assert isinstance(error, A2EError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "ZeroDivisionError" in caplog.text


# the order of results


async def test_results_come_as_the_jobs_end(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A quick job has its result before a slow one that came first."""
    del sandbox
    batch = a2e.image_to_video.batch([make_job("slow", ""), make_job("quick")])
    async with batch:
        assert [result.key async for result in batch] == ["quick", "slow"]


async def test_ordered_keeps_the_order_of_the_input(a2e: A2EClient, sandbox: Sandbox) -> None:
    """With ordered=True jobs that end in reverse order, and items that are not jobs, come in the order of the input."""
    items: list[Any] = [*make_jobs(3, "#stuck"), None, make_job("k3", "#stuck")]
    batch = a2e.image_to_video.batch(items, ordered=True)

    async def end_in_reverse() -> None:
        for number, key in enumerate(("k3", "k2", "k1", "k0")):
            await finish_task(sandbox, key)
            await wait_until(lambda number=number: batch.progress.succeeded == number + 1)  # type: ignore[misc]  # it takes the default for an argument

    ending = asyncio.create_task(end_in_reverse())
    async with batch:
        assert [result.key async for result in batch] == ["k0", "k1", "k2", "#4", "k3"]
    await ending


async def test_ordered_yields_a_ready_result_at_once(a2e: A2EClient) -> None:
    """With ordered=True the first result comes while the second job still runs."""
    batch = a2e.image_to_video.batch([make_job("a"), make_job("b", "#stuck")], ordered=True)
    async with batch, asyncio.timeout(0.5):
        assert (await anext(batch)).key == "a"


async def test_ordered_does_not_read_without_limit(a2e: A2EClient) -> None:
    """With ordered=True a slow first job stops the reading of the input, so that results do not fill the memory."""
    source = EndlessInput(lambda number: make_job("first", "#stuck") if number == 0 else {"key": f"k{number}"})
    batch = a2e.image_to_video.batch(source, ordered=True)
    async with batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(lambda: source.read_count == ACTIVE + BUFFERED + 1)
        await asyncio.sleep(0.1)
        assert source.read_count == ACTIVE + BUFFERED + 1  # the last one waits for a buffer slot
        assert not first.done()
        await cancel_and_wait(first)


# how the input is read


async def test_the_input_is_read_as_needed(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Of an endless input only as many jobs are read as there are slots, while all of them run."""
    source, slots = EndlessInput(lambda number: make_job(f"k{number}", "#stuck")), 3 + 1 + 2 * (1 + 1)
    batch = a2e.image_to_video.batch(source, max_running=3, max_uploads=1, max_starts=1, max_downloads=1)
    async with batch:
        first = asyncio.ensure_future(anext(batch))
        await wait_until(
            lambda: len(sandbox.tasks) == 3 and source.read_count == slots + 1
        )  # and one that waits for a slot
        await asyncio.sleep(0.1)
        assert source.read_count == slots + 1
        assert batch.progress.read == slots
        assert len(sandbox.tasks) == 3
        await cancel_and_wait(first)


async def test_a_slow_consumer_delays_the_reading(a2e: A2EClient) -> None:
    """An endless input whose jobs end at once is read only a limited number of results ahead."""
    source = EndlessInput()
    batch = a2e.image_to_video.batch(source)
    async with batch:
        await anext(batch)
        for fetched in (1, 6):
            await wait_until(lambda fetched=fetched: source.read_count == ACTIVE + BUFFERED + fetched + 1)  # type: ignore[misc]  # as above
            await asyncio.sleep(0.1)
            assert source.read_count == ACTIVE + BUFFERED + fetched + 1
            for _ in range(5):
                await anext(batch)


async def test_nothing_happens_before_the_iteration(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A batch that is made, shown and closed reads nothing, sends nothing and creates no file."""
    source = EndlessInput()
    batch = a2e.image_to_video.batch(source, journal=tmp_path / "journal.sqlite", out=tmp_path / "out")
    assert batch.progress.read == 0
    await batch.aclose()
    assert source.read_count == 0
    assert not sandbox.requests
    assert not [*tmp_path.iterdir()]


async def test_an_async_generator_is_read(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Jobs can come from an asynchronous source."""
    results = await collect_results(a2e.image_to_video.batch(as_async(make_jobs(40))))
    assert count_charges(sandbox) == dict.fromkeys(results, 1)
    assert len(results) == 40


async def test_a_source_that_waits_does_not_delay_results(a2e: A2EClient) -> None:
    """Results come while the input waits for its next job."""
    more: asyncio.Queue[Job | None] = asyncio.Queue()

    async def source() -> AsyncIterator[Job]:
        while (item := await more.get()) is not None:
            yield item

    async with a2e.image_to_video.batch(source()) as batch, asyncio.timeout(0.5):
        for item in make_jobs(3):
            more.put_nowait(item)
            assert (await anext(batch)).key == item.key
        more.put_nowait(None)
        with pytest.raises(StopAsyncIteration):
            await anext(batch)


@pytest.mark.parametrize("wrap", [lambda items: items, as_async], ids=["iterator", "async"])
async def test_an_error_of_the_input_comes_after_the_results(
    a2e: A2EClient, sandbox: Sandbox, wrap: Callable[[Iterable[Any]], Any]
) -> None:
    """Jobs that were read before the input raises are finished, and then its error is raised."""
    first = []
    batch = a2e.image_to_video.batch(wrap(then_raise([make_job("slow", ""), *make_jobs(2)])))
    with pytest.raises(LookupError, match="row 4 is incomplete"):
        async with batch:
            async for result in batch:
                first.append((result.key, result.state))  # noqa: PERF401  it ends with an error
    assert sorted(first) == [("k0", "succeeded"), ("k1", "succeeded"), ("slow", "succeeded")]
    assert len(charged_task_ids(sandbox)) == 3


async def test_an_input_that_raises_at_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An iterable that raises at once ends the batch with its error."""

    class Bad:
        def __iter__(self) -> Iterator[Any]:
            raise LookupError

    with pytest.raises(LookupError):
        await run_batch(a2e, Bad())
    assert not sandbox.requests


async def test_an_empty_input_has_no_results(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An empty input is not an error, with and without a journal."""
    assert await run_batch(a2e, []) == {}
    assert (
        await collect_results(a2e.image_to_video.batch(as_async([]), journal=tmp_path / "journal.sqlite", ordered=True))
        == {}
    )
    assert not sandbox.requests


async def test_a_batch_can_be_iterated_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A second iteration yields nothing and starts nothing."""
    batch = a2e.image_to_video.batch(make_jobs(2))
    assert len([result async for result in batch]) == 2
    assert [result async for result in batch] == []
    assert count_starts(sandbox) == 2


# invalid jobs


async def test_a_dict_is_a_job(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A dict, and any other mapping, with the fields of a job works like a job."""
    words = {
        "image_url": IMAGE_URL,
        "prompt": "#fast of a",
        "negative_prompt": "blurry",
        "video_time": 10,
        "name": "Ada",
    }
    items = [{"key": "a", **words}, types.MappingProxyType({"key": "b", **words}), Job(key="c", **words)]  # type: ignore[arg-type]  # as a row of a table has them
    results = await run_batch(a2e, items)
    assert states_by_key(results) == dict.fromkeys("abc", "succeeded")
    assert {task.name.partition(" [")[0] for task in sandbox.tasks.values()} == {"Ada"}
    assert {result.coins for result in results.values()} == {2 * PRICE}
    assert results["a"].job == Job(key="a", **words)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("item", "key", "words"),
    [
        ({"key": "a", "colour": "red"}, "a", "no field 'colour'"),
        ({"key": "a", 7: "red"}, "a", "no field 7"),
        pytest.param(
            types.MappingProxyType({"key": "a", "colour": "red"}),
            "a",
            "no field 'colour'",
        ),
        ({"prompt": "x"}, "#1", "needs a key"),
        ({"key": ""}, "#1", "key"),
        ({"key": 7}, "#1", "key"),
        ({"key": None}, "#1", "key"),
        ({"key": "a\nb"}, "a\nb", "printable"),
        ({"key": "a\0b"}, "a\0b", "printable"),
        ({"key": "\ud800"}, "\ud800", "cannot be sent"),
        ({"key": "a" * 501}, "a" * 501, "at most 500"),
        (Job(key=None), "#1", "key"),  # type: ignore[arg-type]  # what a caller without a type checker does
        ("a", "#1", "must be a Job or a dict"),
        (None, "#1", "must be a Job or a dict"),
        (["key", "a"], "#1", "must be a Job or a dict"),
        (make_job("a", image_url="no link"), "a", "image_url"),
        (make_job("a", image=quick.PNG, image_url=IMAGE_URL), "a", "not both"),
        (make_job("a", image_url=None), "a", "image is needed"),
        (make_job("a", video_time=7), "a", "video_time"),
        (make_job("a", video_time="5"), "a", "video_time"),
        (make_job("a", model_version="a3e"), "a", "model_version"),
        (make_job("a", prompt=None), "a", "prompt"),
        (make_job("a", prompt=7), "a", "prompt"),
        (make_job("a", image=7), "a", "image must be"),
        (make_job("a", image=io.StringIO("text")), "a", "binary"),
    ],
)
async def test_an_invalid_job_fails(a2e: A2EClient, sandbox: Sandbox, item: Any, key: str, words: str) -> None:
    """An item that is not a valid job fails with a message about the reason, under its key or its position in the input."""
    ((first, result),) = (await run_batch(a2e, [item])).items()
    assert (first, result.state, result.coins, result.starts) == (key, "failed", 0, 0)
    assert isinstance(result.error, InvalidRequestError)
    assert words in str(result.error)
    assert not sandbox.requests


@pytest.mark.parametrize("content", [None, b"", b"some text, but no image", "folder"])
async def test_a_bad_image_fails_before_a_coin_is_spent(
    a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path, content: Any
) -> None:
    """An image that is missing, empty, not an image or a folder fails without a request, and the error has its path."""
    path = tmp_path / "ada.png"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    (result,) = (await run_batch(a2e, [make_job("a", image=path)])).values()
    assert (result.state, result.coins) == ("failed", 0)
    assert isinstance(result.error, InvalidRequestError)
    assert str(path) in str(result.error)
    assert not sandbox.requests


async def test_an_image_over_the_limit_fails_before_a_coin_is_spent(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """An image larger than Config.max_upload_bytes fails without a request, and so does an end image."""
    large, small = write_image(tmp_path, "large.png", bytes(1000)), write_image(tmp_path, "small.png")
    items = [make_job("a", image=large), make_job("b", image=small), make_job("c", image=small, end_image=large)]
    async with make_client(sandbox, max_upload_bytes=500) as a2e:
        results = await run_batch(a2e, items)
    assert states_by_key(results) == {"a": "failed", "b": "succeeded", "c": "failed"}
    assert "max_upload_bytes" in str(results["a"].error)
    assert count_uploads(sandbox) == 1
    assert count_charges(sandbox) == {"b": 1}


async def test_a_key_that_comes_twice_is_started_once(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """Of two jobs with one key the first is started, and the second one fails with a message that has the key."""
    items = [make_job("a"), make_job("b"), make_job("a", prompt="another one of a")]
    batch = a2e.image_to_video.batch(items, journal=tmp_path / "journal.sqlite")
    results = [result async for result in batch]
    assert sorted((result.key, result.state) for result in results) == [
        ("#3", "failed"), ("a", "succeeded"), ("b", "succeeded"),
    ]  # fmt: skip
    (double,) = (result for result in results if result.state == "failed")
    assert "'a' comes twice" in str(double.error)
    assert count_charges(sandbox) == {"a": 1, "b": 1}
    assert (await read_journal(tmp_path / "journal.sqlite"))["a"].state == "succeeded"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"jobs": "abc"}, "jobs"),
        ({"jobs": b"abc"}, "jobs"),
        ({"jobs": {"key": "a"}}, "jobs"),
        ({"jobs": 7}, "jobs"),
        ({"max_running": 0}, "max_running"),
        ({"max_running": True}, "max_running"),
        ({"max_uploads": 1.5}, "max_uploads"),
        ({"max_starts": -1}, "max_starts"),
        ({"max_downloads": None}, "max_downloads"),
        ({"retry_failed": -1}, "retry_failed"),
        ({"max_coins": -1}, "max_coins"),
        ({"max_coins": float("nan")}, "max_coins"),
        ({"max_coins": float("inf")}, "max_coins"),
        ({"max_coins": "10"}, "max_coins"),
        ({"max_coins": True}, "max_coins"),
        ({"on_shortage": "panic"}, "on_shortage"),
        ({"on_unknown": "panic"}, "on_unknown"),
        ({"timeout": float("nan")}, "timeout"),
        ({"outage_budget": float("nan")}, "outage_budget"),
        ({"journal": 7}, "journal"),
        ({"journal": ""}, "journal"),
        ({"out": 7}, "out"),
    ],
)
async def test_an_invalid_argument_is_refused_at_once(a2e: A2EClient, options: dict[str, Any], words: str) -> None:
    """The call itself raises, not the first iteration."""
    items = options.pop("jobs", [])
    with pytest.raises(InvalidRequestError, match=words):
        a2e.image_to_video.batch(items, **options)


async def test_a_journal_needs_markers(sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A journal without marked names is refused before anything begins; without a journal names need no marker."""
    async with make_client(sandbox, start=StartPolicy(mark_names=False)) as a2e:
        with pytest.raises(ConfigurationError, match="mark_names"):
            await run_batch(a2e, make_jobs(1), journal=tmp_path / "journal.sqlite")
        assert not sandbox.requests
        (result,) = (await run_batch(a2e, make_jobs(1))).values()
        assert (result.state, result.marker) == ("succeeded", "")


async def test_a_closed_client_makes_no_batch(sandbox: Sandbox) -> None:
    """Iterating with a closed client raises."""
    async with make_client(sandbox) as a2e:
        batch = a2e.image_to_video.batch(make_jobs(1))
    with pytest.raises(ClientClosedError):
        await collect_results(batch)


# progress and messages


async def test_progress_counts(a2e: A2EClient, sandbox: Sandbox) -> None:
    """During the run and at its end, the progress has the number of jobs of each state, and their cost."""
    items: list[Any] = [make_job("good"), make_job("bad", "#fast #fail"), None, make_job("stuck", "#stuck")]
    batch = a2e.image_to_video.batch(items)
    async with batch:
        for _ in range(3):
            await anext(batch)
        progress = batch.progress
        assert _counts(progress) == (4, 4, 1, 2, 0, 0, 3)
        assert (progress.started, progress.retried, progress.coins) == (3, 0, 3 * PRICE)
        (active,) = progress.active
        assert (active.key, active.stage) == ("stuck", "running")
        assert key_of_task(sandbox.tasks[active.task_id or ""]) == "stuck"
        assert 0 <= active.seconds < 60
        assert repr(batch) == "<Batch 3 of 4 jobs>"
    assert not batch.progress.active


async def test_progress_shows_every_stage(a2e: A2EClient, sandbox: Sandbox, tmp_path: pathlib.Path) -> None:
    """A job is shown checking or uploading, starting, running and downloading, one after the other."""
    slow = Fault("delay", seconds=0.1)
    sandbox.faults = FaultPlan(script={"presign": [slow], "start": [slow], "cdn": [None, slow]})
    batch = a2e.image_to_video.batch([make_job("a", image=write_image(tmp_path))], out=tmp_path / "out")
    seen_stages: list[str] = []

    async def look() -> None:
        while True:
            seen_stages.extend(active.stage for active in batch.progress.active if active.stage not in seen_stages)
            await asyncio.sleep(0.005)

    looking = asyncio.create_task(look())
    results = await collect_results(batch)
    await cancel_and_wait(looking)
    assert states_by_key(results) == {"a": "succeeded"}
    assert [stage for stage in seen_stages if stage != "checking"] == [
        "uploading",
        "starting",
        "running",
        "downloading",
    ]


async def test_waiting_is_a_stage(a2e: A2EClient, tmp_path: pathlib.Path) -> None:
    """A job that waits for a free place is not shown as uploading, whichever place it waits for."""
    jobs = [
        make_job(f"k{number}", "#stuck", image=write_image(tmp_path, f"{number}.png", bytes([number])))
        for number in range(3)
    ]
    batch = a2e.image_to_video.batch(jobs, max_running=1, timeout=0.5)
    async with batch:
        running = asyncio.create_task(collect_results(batch))
        async with asyncio.timeout(10):
            while sorted(active.stage for active in batch.progress.active) != ["running", "waiting", "waiting"]:
                await asyncio.sleep(0.005)
        await cancel_and_wait(running)


@pytest.mark.parametrize(
    ("wrap", "options", "total"),
    [
        (list, {}, 3),
        (tuple, {}, 3),
        (iter, {}, None),
        (as_async, {}, None),
        (as_async, {"total": 7}, 7),
        (list, {"total": 7}, 7),
    ],
)  # fmt: skip
async def test_total(a2e: A2EClient, wrap: Callable[[Any], Any], options: dict[str, Any], total: int | None) -> None:
    """The total is the given number, else the length of the input if it has one, else unknown."""
    batch = a2e.image_to_video.batch(wrap(make_jobs(3)), **options)
    assert batch.progress.total == total
    assert repr(batch) == f"<Batch 0 of {'?' if total is None else total} jobs>"
    await collect_results(batch)
    assert (batch.progress.total, batch.progress.done) == (total, 3)


async def test_no_secret_is_shown(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: pathlib.Path
) -> None:
    """No prompt, no link and no token is in a log line, a repr or a message, however the jobs end."""
    caplog.set_level(logging.DEBUG, "a2e_async")
    secret = "a secret wish"
    tags = ["#fast", "#fast #fail", "#refuse", "#flagged", "#fast #expired", "#fast #html-result", "#stuck"]
    items = [make_job(f"k{n}", prompt=f"{tag} {secret} {n}", negative_prompt=secret) for n, tag in enumerate(tags)]
    items.append(make_job("bad", prompt=secret, video_time=7))
    sandbox.faults = faults_on_start(Fault("drop", after=True), Fault("status", after=True), Fault("html", after=True))
    batch = a2e.image_to_video.batch(items, journal=tmp_path / "j.sqlite", out=tmp_path / "out", timeout=1)
    text = []
    async with batch:
        async for result in batch:
            text += [repr(result), str(result), repr(result.job), repr(result.error), str(result.error)]
            text += [repr(batch), repr(batch.progress)]
    assert len(items) == batch.progress.done
    for private in (secret, IMAGE_URL, sandbox.token, "image2video/"):
        assert private not in "\n".join([*text, caplog.text])


async def test_a_job_does_not_show_its_image() -> None:
    """The repr of a job has neither a link, which may be signed, nor the bytes of an image."""
    link = "https://example.com/private/ada.png?signature=abc"
    assert link not in repr(Job(key="a", image=link, end_image=link))
    assert len(repr(Job(key="a", image=bytes(10_000), end_image=bytes(10_000)))) < 1000


# helpers


def _counts(progress: Progress) -> tuple[int | None, ...]:
    names = ("total", "read", "succeeded", "failed", "uncertain", "skipped", "done")
    return tuple(getattr(progress, name) for name in names)
