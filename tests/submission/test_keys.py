"""An idempotency key starts once: in a row, at once, from two clients, after trouble; through the real HTTP sandbox."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest
import quick
from aiohttp import web
from conditions import wait_until
from paid_starts import (
    IMAGE_URL,
    LIST_PATH,
    PRESIGN_PATH,
    EmptyListFirst,
    assert_no_secrets,
    charged_task_ids,
    count_list_requests,
    count_requests,
    count_starts,
    faults_on_start,
    logged_warnings,
    make_client,
    marker_in,
    start_in_background,
    start_video,
)
from virtual_clock import now

from a2e_async import (
    A2EClient,
    AuthenticationError,
    InsufficientCreditsError,
    InvalidRequestError,
    NetworkError,
    ServerError,
    SubmissionUncertainError,
)
from a2e_async.sandbox import Fault, FaultPlan, Sandbox

KEY = "order-17"


async def test_same_key_twice_is_one_charge(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The second start with a key returns the task of the first one, as adopted, and sends no start."""
    first = await start_video(a2e, idempotency_key=KEY)
    second = await start_video(a2e, idempotency_key=KEY)
    assert (first.adopted, second.adopted) == (False, True)
    assert second.id == first.id
    assert second.record.coins == 30
    assert charged_task_ids(sandbox) == [first.id]
    assert count_starts(sandbox) == 1


async def test_other_options_do_not_make_another_job(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The key alone identifies the job."""
    first = await start_video(a2e, idempotency_key=KEY, name="Ada")
    second = await start_video(a2e, idempotency_key=KEY, name="Eve", prompt="another", video_time=10)
    assert second.id == first.id


async def test_same_key_from_another_client(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Another client, such as one in another process, finds the task of the key."""
    first = await start_video(a2e, idempotency_key=KEY)
    async with make_client(sandbox) as other:
        second = await start_video(other, idempotency_key=KEY)
    assert second.adopted
    assert second.id == first.id
    assert charged_task_ids(sandbox) == [first.id]


async def test_same_key_at_once_is_one_charge(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Of twenty concurrent starts with one key, one is sent, and all return its task."""
    tasks = await asyncio.gather(*(start_video(a2e, idempotency_key=KEY) for _ in range(20)))
    assert {task.id for task in tasks} == set(charged_task_ids(sandbox))
    assert sum(not task.adopted for task in tasks) == 1
    assert count_starts(sandbox) == 1


async def test_different_keys_are_different_jobs(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Two keys start two tasks, and each key finds its own task."""
    one, two = await asyncio.gather(start_video(a2e, idempotency_key="one"), start_video(a2e, idempotency_key="two"))
    assert set(charged_task_ids(sandbox)) == {one.id, two.id}
    assert (await start_video(a2e, idempotency_key="one")).id == one.id
    assert (await start_video(a2e, idempotency_key="two")).id == two.id


async def test_keys_do_not_wait_for_each_other(sandbox: Sandbox) -> None:
    """While the start of one key is slow, another key starts."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=15))
    async with make_client(sandbox, request_timeout=20) as a2e:
        slow = asyncio.create_task(start_video(a2e, idempotency_key="slow"))
        await wait_until(lambda: count_list_requests(sandbox))
        async with asyncio.timeout(10):
            assert not (await start_video(a2e, idempotency_key="quick")).adopted
        assert not slow.done()
        sandbox.faults = None
    with pytest.raises(SubmissionUncertainError):  # the client was closed
        await slow


async def test_nothing_is_uploaded_for_a_found_key(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An image is uploaded, which A2E charges, only if the task has to be started."""
    await start_video(a2e, image=quick.PNG, idempotency_key=KEY)
    assert count_requests(sandbox, PRESIGN_PATH) == 1
    async with make_client(sandbox) as other:
        await start_video(other, image=quick.PNG, idempotency_key=KEY)
    assert count_requests(sandbox, PRESIGN_PATH) == 1


async def test_invalid_image_is_rejected_before_the_search(a2e: A2EClient, sandbox: Sandbox) -> None:
    """An invalid image is rejected before the list is searched for the key."""
    with pytest.raises(InvalidRequestError):
        await start_video(a2e, image=b"no image", idempotency_key=KEY)
    assert not sandbox.requests


@pytest.mark.parametrize("key", ["", " ", 17, b"order-17", "a\ud800"])
async def test_invalid_keys_are_rejected(a2e: A2EClient, sandbox: Sandbox, key: Any) -> None:
    """A key that is not a text is rejected before a request."""
    with pytest.raises(InvalidRequestError, match="idempotency_key"):
        await start_video(a2e, idempotency_key=key)
    assert not sandbox.requests


async def test_key_of_a_deleted_task_starts_again(a2e: A2EClient, sandbox: Sandbox) -> None:
    """After this client has deleted the task of a key, the key starts a new one."""
    first = await start_video(a2e, idempotency_key=KEY)
    await first.wait_until_done(20)
    await first.delete()
    second = await start_video(a2e, idempotency_key=KEY)
    assert not second.adopted
    assert second.id != first.id


async def test_key_of_a_new_task_that_is_not_listed_yet(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The client remembers its starts, so that a late list does not cause a second start."""
    sandbox.faults = FaultPlan(invisible=60)
    first = await start_video(a2e, idempotency_key=KEY)
    second = await start_video(a2e, idempotency_key=KEY)
    assert second.id == first.id
    assert charged_task_ids(sandbox) == [first.id]


async def test_reopened_client_remembers_its_keys(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A client that was closed and opened again remembers its starts, although A2E does not list them yet."""
    sandbox.faults = FaultPlan(invisible=60)
    first = await start_video(a2e, idempotency_key=KEY)
    await a2e.aclose()
    async with a2e:
        second = await start_video(a2e, idempotency_key=KEY)
    assert second.id == first.id
    assert charged_task_ids(sandbox) == [first.id]


async def test_response_without_the_name(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The client remembers a start although A2E's response does not repeat the name."""
    sandbox.faults = FaultPlan(invisible=60)
    made = 0

    def nameless(request: web.Request) -> web.Response:
        nonlocal made
        made += 1
        return web.json_response({"code": 0, "data": {"_id": f"{made:024x}", "current_status": "initialized"}})

    with sandbox.override("POST", quick.START_PATH, nameless):
        first = await start_video(a2e, idempotency_key=KEY)
        second = await start_video(a2e, idempotency_key=KEY)
    assert second.id == first.id
    assert made == 1


async def test_lost_response_to_a_start_with_a_key(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A start with a key whose response is lost is adopted, and its key finds it later."""
    sandbox.faults = faults_on_start(Fault("drop", after=True))
    first = await start_video(a2e, idempotency_key=KEY)
    second = await start_video(a2e, idempotency_key=KEY)
    assert first.adopted
    assert second.id == first.id
    assert charged_task_ids(sandbox) == [first.id]


async def test_uncertain_start_has_the_marker_of_its_key(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The marker of an uncertain start and its key find the same task."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=60)
    with pytest.raises(SubmissionUncertainError) as caught:
        await start_video(a2e, idempotency_key=KEY)
    sandbox.faults = None
    by_marker = await a2e.image_to_video.find(caught.value.marker)
    by_key = await a2e.image_to_video.find(KEY)
    assert by_marker is not None
    assert by_key is not None
    assert by_marker.id == by_key.id
    assert marker_in(by_key.record.name) == caught.value.marker


async def test_key_of_an_uncertain_start_scans_several_times(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Before the key of an uncertain start starts again, the list is scanned several times."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=60)
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, idempotency_key=KEY)
    before = count_list_requests(sandbox)
    sandbox.faults = None
    with sandbox.override("GET", LIST_PATH, EmptyListFirst(2)):
        second = await start_video(a2e, idempotency_key=KEY)
    assert second.adopted
    assert count_list_requests(sandbox) == before + 3
    assert charged_task_ids(sandbox) == [second.id]


async def test_unaccepted_uncertain_start_can_be_started_later(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The key of an uncertain start starts again as soon as A2E must have listed its task, and not before."""
    sandbox.faults = faults_on_start(Fault("drop"))
    began = now()
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, idempotency_key=KEY)
    task = await start_video(a2e, idempotency_key=KEY)
    assert not task.adopted
    assert charged_task_ids(sandbox) == [task.id]
    policy = quick.CONFIG.start
    settle_time = policy.accept_time + policy.list_delay
    assert settle_time <= now() - began <= settle_time + 60


async def test_uncertain_start_that_is_listed_very_late(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A task that A2E lists only after three minutes is found by the next start with its key."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=170)
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, idempotency_key=KEY)
    assert (await start_video(a2e, idempotency_key=KEY)).adopted
    assert len(charged_task_ids(sandbox)) == 1


async def test_resolved_key_scans_once(a2e: A2EClient, sandbox: Sandbox) -> None:
    """Once the outcome of a key is known, one scan is enough again."""
    sandbox.faults = faults_on_start(Fault("drop"))
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, idempotency_key=KEY)
    await start_video(a2e, idempotency_key=KEY)
    before = count_list_requests(sandbox)
    await start_video(a2e, idempotency_key=KEY)
    assert count_list_requests(sandbox) == before + 1


async def test_rejected_key_can_be_started_later(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A rejected start leaves its key free, and one scan is enough for the next try."""
    sandbox.faults = faults_on_start(Fault("status", status=402))
    with pytest.raises(InsufficientCreditsError):
        await start_video(a2e, idempotency_key=KEY)
    before = count_list_requests(sandbox)
    await start_video(a2e, idempotency_key=KEY)
    assert count_list_requests(sandbox) == before + 1
    assert len(charged_task_ids(sandbox)) == 1


async def test_rejection_does_not_resolve_an_earlier_start(a2e: A2EClient, sandbox: Sandbox) -> None:
    """A rejected second try leaves the first one unknown, and the scans for it go on."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), Fault("status", status=402), invisible=1e6)
    with pytest.raises(SubmissionUncertainError):
        await start_video(a2e, idempotency_key=KEY)
    with pytest.raises(InsufficientCreditsError):
        await start_video(a2e, idempotency_key=KEY)
    sandbox.faults = None
    assert (await start_video(a2e, idempotency_key=KEY)).adopted
    assert len(charged_task_ids(sandbox)) == 1


@pytest.mark.parametrize("invisible", [0, 60])
async def test_cancelled_start_with_a_key_is_adopted_by_the_next_try(
    a2e: A2EClient, sandbox: Sandbox, invisible: float
) -> None:
    """A cancelled start that A2E has charged is adopted by its key, even if it is not listed yet."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=1.0, after=True), invisible=invisible)
    start = await start_in_background(sandbox, a2e, idempotency_key=KEY)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert (await start_video(a2e, idempotency_key=KEY)).adopted
    assert len(charged_task_ids(sandbox)) == 1


async def test_unreachable_list_starts_nothing() -> None:
    """If the list cannot be searched for the key, nothing is started, and the error says so."""
    async with Sandbox(render="tiny") as sandbox, make_client(sandbox) as a2e:
        sandbox.faults = FaultPlan(chances={"list": {Fault("drop"): 1}})
        with pytest.raises(NetworkError, match="Nothing was started") as caught:
            await start_video(a2e, idempotency_key=KEY)
        assert not caught.value.request_sent
        assert count_starts(sandbox) == 0
        assert_no_secrets(sandbox, str(caught.value))


@pytest.mark.parametrize(("status", "error"), [(500, ServerError), (401, AuthenticationError)])
async def test_rejected_list_starts_nothing(
    a2e: A2EClient, sandbox: Sandbox, status: int, error: type[Exception]
) -> None:
    """If A2E rejects the request for its list, its error is raised, and nothing is started."""
    sandbox.faults = FaultPlan(chances={"list": {Fault("status", status=status): 1}})
    with pytest.raises(error):
        await start_video(a2e, idempotency_key=KEY)
    assert count_starts(sandbox) == 0


async def test_variations_with_a_key(a2e: A2EClient, sandbox: Sandbox) -> None:
    """The key of three variations returns all three again, in this client and in another one."""
    options: dict[str, Any] = {"image_url": IMAGE_URL, "idempotency_key": KEY, **quick.PROMPTS}
    first = await a2e.image_to_video.start_variations(3, **options)
    async with make_client(sandbox) as other:
        for one in (a2e, other):
            again = await one.image_to_video.start_variations(3, **options)
            assert {task.id for task in again} == {task.id for task in first}
            assert all(task.adopted for task in again)
    assert len(charged_task_ids(sandbox)) == 3


async def test_variations_of_a_key_that_are_not_all_listed(
    a2e: A2EClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """If A2E lists fewer tasks than were started, these are returned, and a warning is logged."""
    options: dict[str, Any] = {"image_url": IMAGE_URL, "idempotency_key": KEY, **quick.PROMPTS}
    first = await a2e.image_to_video.start_variations(3, **options)
    await first[0].wait_until_done(20)
    await first[0].delete()
    async with make_client(sandbox) as other:
        again = await other.image_to_video.start_variations(3, **options)
    assert {task.id for task in again} == {task.id for task in first[1:]}
    assert any("asked for 3 tasks with one start, and made 2" in warning for warning in logged_warnings(caplog))
    assert len(sandbox.ledger) == 3


async def test_many_keys_at_once_share_the_scans(sandbox: Sandbox) -> None:
    """A hundred new keys at once read the list a few times, not a hundred times."""
    wide = attrs.evolve(quick.CONFIG.pacing, max_in_flight=100)
    async with make_client(sandbox, pacing=wide) as a2e:
        await asyncio.gather(*(start_video(a2e, idempotency_key=f"order-{number}") for number in range(100)))
    assert len(charged_task_ids(sandbox)) == 100
    assert count_list_requests(sandbox) <= 3
