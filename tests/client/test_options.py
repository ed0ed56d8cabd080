"""Options for single calls: a view of a client never waits longer than its options say, and pays once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import (
    LIST_PATH,
    PRESIGN_PATH,
    charged_task_ids,
    count_list_requests,
    count_requests,
    count_starts,
    make_client,
    start_video,
)
from virtual_clock import now

from a2e_async import (
    A2EClient,
    A2EError,
    BusyError,
    ClientClosedError,
    ConfigurationError,
    NetworkError,
    NotFoundError,
    Pacing,
    RateLimitError,
    RetryPolicy,
    ServerError,
)
from a2e_async.integrations import error_response
from a2e_async.sandbox import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from a2e_async.sandbox import Sandbox

BALANCE_PATH = "/api/v1/user/remainingCoins"
TASK_PATH = f"{quick.FAMILY_PATH}/6927f1e7a1c5e4e0b5f0a3d2"
UNKNOWN = "6927f1e7a1c5e4e0b5f0a3d2"


@pytest.fixture
async def a2e(sandbox: Sandbox) -> AsyncIterator[A2EClient]:
    """Open a client with the usual retries and pauses."""
    async with make_client(sandbox, retry=RetryPolicy(), pacing=Pacing()) as client:
        yield client


def answers(
    status: int, seconds: float = 0.0, *, retry_after: str = ""
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return an override that gives the same answer each time, after some seconds."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        code, headers = 0 if status == 200 else status, {"Retry-After": retry_after} if retry_after else {}
        return web.json_response({"code": code, "data": {"coins": 1}}, status=status, headers=headers)

    return answer


def busy(_: web.Request) -> web.Response:
    """Answer that no machine is free."""
    return web.json_response({"code": 1001, "msg": "hosts are occupied"})


async def error_of(call: Awaitable[object], error_type: type[A2EError], *, within: float) -> A2EError:
    """Return the error of a call, which comes within some seconds."""
    before = now()
    with pytest.raises(error_type) as caught:
        await call
    assert now() - before <= within
    return caught.value


class TestCapacity:
    """A view that does not wait for capacity."""

    @pytest.mark.parametrize(("asked", "pause"), [("30", 30.0), ("", 2.0)])
    async def test_rate_limit(self, sandbox: Sandbox, a2e: A2EClient, asked: str, pause: float) -> None:
        """A 429 is raised at once, with a pause; until its end, the view sends nothing, and the client waits."""
        view = a2e.with_options(wait_for_capacity=False)
        with sandbox.override("GET", BALANCE_PATH, answers(429, retry_after=asked)):
            error = await error_of(view.account.balance(), RateLimitError, within=0.1)
            again = await error_of(start_video(view), RateLimitError, within=0.0)
            failed = await error_of(view.image_to_video.get(UNKNOWN), RateLimitError, within=0.0)
        for each in (error, again, failed):
            assert pause - 0.1 <= (each.retry_after or 0.0) <= pause * 1.1
            response = error_response(each)
            assert response.status == 503
            assert int(response.headers["Retry-After"]) >= pause
        assert len(sandbox.requests) == 1
        before = now()
        await a2e.account.balance()
        assert pause - 0.1 <= now() - before <= pause * 1.1
        await view.account.balance()

    async def test_busy_operation(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """A "busy" is raised at once, and before the next request of the operation; the others go on."""
        view = a2e.with_options(wait_for_capacity=False)
        with sandbox.override("POST", quick.START_PATH, busy):
            for within in (0.1, 0.0):
                error = await error_of(start_video(view), BusyError, within=within)
                assert 1.9 <= (error.retry_after or 0.0) <= 2.2
                assert error.http_status == 503
        assert count_starts(sandbox) == 1
        await view.account.balance()
        assert not charged_task_ids(sandbox)

    async def test_full_client(self, sandbox: Sandbox) -> None:
        """A call that would have to wait for the end of another one is rejected."""
        with sandbox.override("GET", BALANCE_PATH, answers(200, 10.0)):
            async with make_client(sandbox, pacing=Pacing(max_in_flight=1)) as a2e:
                view = a2e.with_options(wait_for_capacity=False)
                first = asyncio.create_task(a2e.account.balance())
                await asyncio.sleep(1.0)
                error = await error_of(start_video(view), RateLimitError, within=0.0)
                assert error.retry_after == 1.0
                await first
                assert (await start_video(view)).id in sandbox.tasks

    async def test_upload(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """The link for an upload is requested with the options too, before anything is charged."""
        view = a2e.with_options(wait_for_capacity=False)
        with sandbox.override("POST", PRESIGN_PATH, busy):
            await error_of(start_video(view, image=quick.PNG), BusyError, within=0.1)
        assert not count_starts(sandbox)

    async def test_key(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """The search for an earlier start of a key does not wait either, and its error is not that of the client."""
        view = a2e.with_options(wait_for_capacity=False)
        with sandbox.override("GET", LIST_PATH, answers(429, retry_after="5")):
            first = error_of(start_video(view, idempotency_key="order-17"), RateLimitError, within=0.1)
            second = asyncio.create_task(start_video(a2e, idempotency_key="order-18"))
            await first
        await error_of(view.image_to_video.find("order-17"), RateLimitError, within=0.0)
        await second
        task = await start_video(view, idempotency_key="order-17")
        again = await start_video(view, idempotency_key="order-17")
        assert (again.id, again.adopted) == (task.id, True)
        assert len(charged_task_ids(sandbox)) == 2

    async def test_error_of_a_scan_is_not_shared(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """Searches share the scans of A2E's list, but a call that may wait does not get the error of one that may not."""
        listed = 0

        async def answer(request: web.Request) -> web.Response | None:
            nonlocal listed
            listed += 1
            if listed == 1:
                await asyncio.sleep(5.0)
            return await answers(429, retry_after="5")(request) if listed == 2 else None

        view = a2e.with_options(wait_for_capacity=False)
        with sandbox.override("GET", LIST_PATH, answer):
            first = asyncio.create_task(a2e.image_to_video.find("order-17"))
            await asyncio.sleep(1.0)  # the next two wait for the end of this scan
            second = asyncio.create_task(start_video(view, idempotency_key="order-18"))
            await asyncio.sleep(1.0)
            third = asyncio.create_task(start_video(a2e, idempotency_key="order-19"))
            assert await first is None
            with pytest.raises(RateLimitError):
                await second
            task = await third
            assert charged_task_ids(sandbox) == [task.id]

    async def test_retries_of_other_errors(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """Errors that are not about capacity are retried, as often as `retry` says."""
        view = a2e.with_options(wait_for_capacity=False)
        with sandbox.override("GET", BALANCE_PATH, answers(500)):
            await error_of(view.account.balance(), ServerError, within=60.0)
            assert count_requests(sandbox, BALANCE_PATH) == RetryPolicy().max_attempts
            once = view.with_options(retry=RetryPolicy(max_attempts=1))
            await error_of(once.account.balance(), ServerError, within=0.1)
        assert count_requests(sandbox, BALANCE_PATH) == RetryPolicy().max_attempts + 1


class TestTimeout:
    """A view whose calls take a limited time."""

    async def test_no_answer(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """A read without an answer is given up, with all its retries, and leaves nothing behind."""
        view = a2e.with_options(timeout=3.0)
        with sandbox.override("GET", BALANCE_PATH, answers(200, 100.0)):
            error = await error_of(view.account.balance(), NetworkError, within=3.01)
            await asyncio.sleep(100.0)  # the sandbox has answered
        assert "GET /api/v1/user/remainingCoins within 3 s" in str(error)
        await view.account.balance()

    async def test_failed_tries(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """Tries that fail end with the error of the last one."""
        view = a2e.with_options(timeout=3.0, retry=RetryPolicy(max_attempts=100))
        with sandbox.override("GET", BALANCE_PATH, answers(500)):
            await error_of(view.account.balance(), ServerError, within=3.01)

    async def test_pause(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """A pause that is too long is an error at once; a shorter one is waited for."""
        with sandbox.override("GET", BALANCE_PATH, answers(429, retry_after="5")):
            await error_of(a2e.with_options(timeout=4.0).account.balance(), RateLimitError, within=0.1)
        error = await error_of(start_video(a2e.with_options(timeout=4.0)), RateLimitError, within=0.0)
        assert (error.retry_after or 0.0) > 4.5
        task = await start_video(a2e.with_options(timeout=6.0))
        assert charged_task_ids(sandbox) == [task.id]

    @pytest.mark.parametrize("paid", [False, True])
    async def test_no_turn(self, sandbox: Sandbox, paid: bool) -> None:  # noqa: FBT001  a parameter
        """A call that gets no turn in time was not sent, and says so."""
        with sandbox.override("GET", BALANCE_PATH, answers(200, 10.0)):
            async with make_client(sandbox, pacing=Pacing(max_in_flight=1)) as a2e:
                view = a2e.with_options(timeout=2.0)
                first = asyncio.create_task(a2e.account.balance())
                await asyncio.sleep(1.0)
                call: Awaitable[Any] = start_video(view) if paid else view.image_to_video.get(UNKNOWN)
                error = await error_of(call, RateLimitError, within=2.01)
                assert "was not sent" in str(error)
                await first
                assert len(sandbox.requests) == 1
                task = await start_video(view)  # the slot is free again
        assert charged_task_ids(sandbox) == [task.id]

    async def test_start_under_way_is_not_cut(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """A start that A2E accepts after the time-out is returned, and was sent once."""

        async def wait(_: web.Request) -> None:
            await asyncio.sleep(30.0)

        with sandbox.override("POST", quick.START_PATH, wait):
            task = await start_video(a2e.with_options(timeout=2.0, wait_for_capacity=False))
        assert charged_task_ids(sandbox) == [task.id]
        assert count_starts(sandbox) == 1

    async def test_rejected_start_is_not_sent_again_too_late(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """After a rejection, the time-out holds again."""
        view = a2e.with_options(timeout=2.5, retry=RetryPolicy(max_attempts=100))
        with sandbox.override("POST", quick.START_PATH, answers(429, 1.0, retry_after="1")):
            await error_of(start_video(view), RateLimitError, within=4.0)
        assert count_starts(sandbox) == 2

    async def test_key_in_use(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """The search for an earlier start of a key is limited; nothing is started."""
        with sandbox.override("GET", LIST_PATH, answers(200, 100.0)):
            call = start_video(a2e.with_options(timeout=2.0), idempotency_key="order-17")
            error = await error_of(call, NetworkError, within=2.01)
            await asyncio.sleep(100.0)  # the sandbox has answered
        assert isinstance(error, NetworkError)
        assert not error.request_sent
        assert not count_starts(sandbox)


async def test_lost_answer_is_reconciled(sandbox: Sandbox, a2e: A2EClient) -> None:
    """A start whose answer is lost is searched for without the options, and adopted: it is charged once."""
    listed = 0

    async def limit_first(request: web.Request) -> web.Response | None:
        nonlocal listed
        listed += 1
        return await answers(429, retry_after="4")(request) if listed == 1 else None

    sandbox.inject(Fault("drop", after=True), "start")
    with sandbox.override("GET", LIST_PATH, limit_first):
        task = await start_video(a2e.with_options(timeout=1.0, wait_for_capacity=False))
    assert task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    assert (count_starts(sandbox), count_list_requests(sandbox) >= 2) == (1, True)


class TestView:
    """What a view is."""

    async def test_handles(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """Resources and handles of a view have its options; their waits share the polls of the client."""
        view = a2e.with_options(wait_for_capacity=False)
        task = await start_video(view, prompt="#fast")
        with sandbox.override("GET", f"{quick.FAMILY_PATH}/{task.id}", answers(429)):
            await error_of(task.refresh(), RateLimitError, within=0.1)
        waits = [each.image_to_video.task(task.id).wait_until_done(60) for each in (a2e, view)]
        await asyncio.gather(*waits, task.wait_until_done(60))
        assert count_requests(sandbox, f"{quick.FAMILY_PATH}/batchDetail") == 0
        assert (await view.family("userText2Image").get_many([])) == {}
        assert await view.request("GET", "user/remainingCoins")

    async def test_polls_have_no_options(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """A wait through a view goes on while A2E asks for pauses, also if it was the first wait of all."""
        view = a2e.with_options(timeout=0.5, wait_for_capacity=False)
        task = await start_video(view, prompt="#fast")
        with sandbox.override("GET", f"{quick.FAMILY_PATH}/{task.id}", answers(200, 1.0)):
            waiting = asyncio.create_task(task.wait_until_done(60))
            await asyncio.sleep(3.0)
            assert count_requests(sandbox, f"{quick.FAMILY_PATH}/{task.id}") == 2
        await waiting

    async def test_life(self, sandbox: Sandbox) -> None:
        """A view opens and closes nothing, and ends with its client."""
        a2e = make_client(sandbox)
        view = a2e.with_options(timeout=5.0)
        async with a2e:
            async with view as entered:
                assert entered is view
                await view.account.balance()
            await view.aclose()
            await a2e.account.balance()
            assert repr(view).endswith(f"{sandbox.url} with options>")
            assert view.poll_now() is False
        with pytest.raises(ClientClosedError):
            await view.account.balance()
        async with a2e:
            await view.account.balance()

    async def test_end_of_waits(self, sandbox: Sandbox, a2e: A2EClient) -> None:
        """An application that stops ends the waits and streams of all views."""
        view = a2e.with_options(timeout=5.0)
        task = await start_video(view, prompt="#stuck")
        await view.account.balance()
        await a2e.end_waits()
        with pytest.raises(ClientClosedError):
            await task.wait_until_done()
        with pytest.raises(ClientClosedError):
            async with task.stream():
                pass

    async def test_options_add_up(self, a2e: A2EClient) -> None:
        """A view of a view keeps the other options; the first client has none."""
        retry = RetryPolicy(max_attempts=2)
        view = a2e.with_options(timeout=5.0).with_options(retry=retry).with_options(wait_for_capacity=False)
        options: Any = view._state.options  # type: ignore[union-attr]
        assert (options.timeout, options.retry, options.wait_for_capacity) == (5.0, retry, False)
        assert a2e._state.services().api.options is None
        same = a2e.with_options(wait_for_capacity=False, timeout=5.0, retry=RetryPolicy(max_attempts=2))
        assert view._state.services() is same._state.services()
        for number in range(1, 100):
            a2e.with_options(timeout=number)._state.services()
        assert len(a2e._state.services().views) <= 32

    async def test_subclass(self, sandbox: Sandbox) -> None:
        """A view is of the class of its client, with its attributes."""

        class Company(A2EClient):
            region = ""

        async with Company(sandbox.token, base_url=sandbox.url) as company:
            company.region = "eu"
            view = company.with_options(timeout=5.0)
            assert (type(view), view.region) == (Company, "eu")
            with pytest.raises(NotFoundError):
                await view.image_to_video.get(UNKNOWN)

    @pytest.mark.parametrize(
        "options",
        [
            {"timeout": 0},
            {"timeout": -1.0},
            {"timeout": float("nan")},
            {"timeout": "5"},
            {"timeout": True},
            {"retry": 3},
            {"retry": RetryPolicy(max_attempts=0)},
            {"wait_for_capacity": "no"},
        ],
    )
    def test_invalid_options(self, options: dict[str, Any]) -> None:
        """An option that cannot work is an error before any call."""
        with pytest.raises(ConfigurationError):
            A2EClient("sk_test").with_options(**options)
