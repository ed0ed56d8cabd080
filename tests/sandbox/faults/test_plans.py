"""Fault plans: the fault of each request, hidden records, limits of requests, and invalid plans."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from sandbox_requests import sandbox_with, sandbox_with_faults, statuses_and_faults

from a2e_async.sandbox import Fault, FaultPlan, Sandbox
from a2e_async.sandbox.faults.plan import FAULT_TYPES
from a2e_async.sandbox.faults.schedule import FaultSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_requests import Call, Start

COINS = "/api/v1/user/remainingCoins"
PREFIX = "/api/v1/userImage2Video"
SOME_ID = "0" * 24

FAULT = Fault("status", status=418)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, no_leaked_tasks: None) -> Iterator[None]:
    """Fail a test in which the server or asyncio logged an error, or that left a task behind."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def faults_of(plan: FaultPlan, *operations: str) -> list[Fault | None]:
    """Return the faults of requests of these operations."""
    schedule = FaultSchedule(plan)
    return [schedule.next_fault(operation) for operation in operations]


# The faults of requests


OPERATIONS = [
    ("start", "POST", f"{PREFIX}/start"),
    ("detail", "GET", f"{PREFIX}/{SOME_ID}"),
    ("list", "GET", f"{PREFIX}/allRecords?pageNum=1"),
    ("batch", "POST", f"{PREFIX}/batchDetail"),
    ("delete", "DELETE", f"{PREFIX}/{SOME_ID}"),
    ("presign", "POST", "/api/v1/r2/upload-presigned-url"),
    ("presign", "POST", "/api/v1/r2/get_upload_presigned_url"),
    ("put", "PUT", "/storage/a/b.png"),
    ("cdn", "GET", "/cdn/a/b.png"),
    ("cdn", "HEAD", "/cdn/a/b.png"),
    ("*", "GET", COINS),
    ("*", "GET", f"{PREFIX}/avgProcessingTime"),
    ("*", "POST", f"{PREFIX}/{SOME_ID}/markShared"),
    ("*", "GET", "/api/v1/no/such/route"),
]


@pytest.mark.parametrize(("operation", "method", "path"), OPERATIONS)
async def test_every_operation_can_have_faults(call: Call, operation: str, method: str, path: str) -> None:
    """The script of an operation applies to its requests, and to no others."""
    others = {name: [Fault("429")] for name, _, _ in OPERATIONS if name != operation}
    async with sandbox_with(FaultPlan(script={operation: [FAULT], **others})) as sandbox:
        assert (await call(sandbox, method, path, {} if method == "POST" else None)).status == 418


@pytest.mark.parametrize("path", ["/index.html", "/nowhere", "/storage/a/b.png"])
async def test_other_paths_have_no_faults(call: Call, path: str) -> None:
    """Paths outside of the API get their usual response."""
    plan = FaultPlan(script={operation: [FAULT] for operation in ("*", "put", "cdn")})
    async with sandbox_with(plan) as sandbox:
        assert (await call(sandbox, "GET", path)).status in {403, 404}


async def test_faults_come_before_the_token(call: Call) -> None:
    """A gateway knows no tokens: a caller with an invalid token gets its fault as well."""
    async with sandbox_with_faults(Fault("status"), operation="*") as sandbox:
        assert (await call(sandbox, "GET", COINS, token="sk_wrong")).status == 502
        assert (await call(sandbox, "GET", COINS, token="sk_wrong")).status == 401


async def test_script_is_applied_in_order(start: Start) -> None:
    """The nth request gets the nth fault; `None` is no fault; after the end there are no faults."""
    async with sandbox_with_faults(None, Fault("status"), Fault("429")) as sandbox:
        assert [(await start(sandbox)).status for _ in range(5)] == [200, 502, 429, 200, 200]
        assert statuses_and_faults(sandbox) == [(200, ""), (502, "status"), (429, "429"), (200, ""), (200, "")]


def test_chances_follow_the_script() -> None:
    """The faults of the script come first, then the random ones."""
    plan = FaultPlan(script={"start": [None, FAULT]}, chances={"start": {Fault("html"): 1}})
    assert faults_of(plan, *["start"] * 4) == [None, FAULT, Fault("html"), Fault("html")]


def test_star_is_for_operations_without_an_entry() -> None:
    """They share its script. Operations with an entry, and those outside of the API, do not use it."""
    plan = FaultPlan(script={"*": [FAULT, None, FAULT], "start": []}, chances={"*": {Fault("html"): 1}, "list": {}})
    met = faults_of(plan, "start", "put", "cdn", "detail", "list", "*", "list")
    assert met == [Fault("html"), None, None, FAULT, None, FAULT, None]


def test_same_seed_gives_the_same_faults() -> None:
    """Two schedules with one seed have the same faults; another seed gives other faults."""
    many = ["start"] * 50
    assert faults_of(FaultPlan.random(7), *many) == faults_of(FaultPlan.random(7), *many)
    assert faults_of(FaultPlan.random(7), *many) != faults_of(FaultPlan.random(8), *many)
    assert faults_of(FaultPlan.random(None, 0.9), *many) != faults_of(FaultPlan.random(None, 0.9), *many)


def test_operations_have_their_own_random_numbers() -> None:
    """The number of polls does not change the faults of starts."""
    plan = FaultPlan(chances={"*": {FAULT: 0.5}}, seed=3)
    alone = faults_of(plan, *["start"] * 20)
    mixed = faults_of(plan, *["start", "detail", "batch", "*"] * 20)[::4]
    assert alone == mixed
    assert {FAULT, None} == set(alone)


def test_frequency_of_faults() -> None:
    """Over many requests each fault occurs about as often as its probability says."""
    met = Counter(faults_of(FaultPlan(chances={"cdn": {FAULT: 0.1, Fault("drop"): 0.3}}, seed=1), *["cdn"] * 10_000))
    assert 900 < met[FAULT] < 1_100
    assert 2_800 < met[Fault("drop")] < 3_200


def test_random_plan_has_all_faults() -> None:
    """At rate 1 every request gets a fault, at rate 0 none. Starts also get faults after they were charged."""
    fault_middleware, calm = FaultPlan.random(1, 1.0), FaultPlan.random(1, 0.0)
    everywhere = ["start", "detail", "list", "batch", "delete", "presign", "put", "cdn", "*"] * 200
    met = faults_of(fault_middleware, *everywhere)
    assert None not in met
    assert {fault.type for fault in met if fault} == set(FAULT_TYPES)
    assert {fault.type for fault in faults_of(fault_middleware, *["start"] * 500) if fault and fault.after} >= {
        "drop",
        "empty",
    }
    assert set(faults_of(calm, *everywhere)) == {None}
    assert (calm.missing, calm.invisible) == (0, 0)


async def test_plan_can_be_changed(start: Start) -> None:
    """It can be read and set at any time; a plan that is set again starts from its beginning."""
    plan = FaultPlan(script={"start": [FAULT]})
    async with sandbox_with(None) as sandbox:
        assert sandbox.faults is None
        for now, expected in [(None, 200), (plan, 418), (plan, 418), (None, 200)]:
            sandbox.faults = now
            assert sandbox.faults is now
            assert (await start(sandbox)).status == expected


async def test_faults_apply_to_overrides(call: Call) -> None:
    """The response of an override can be replaced by a fault."""
    async with sandbox_with_faults(Fault("type"), FAULT, operation="*") as sandbox:
        with sandbox.override("GET", COINS, lambda _: None):
            assert (await call(sandbox, "GET", COINS)).headers["Content-Type"].startswith("text/plain")
            assert (await call(sandbox, "GET", COINS)).status == 418


# Hidden records


async def test_new_record_is_invisible(start: Start, call: Call) -> None:
    """For some seconds the list and batchDetail omit a record, and its detail is null."""
    async with sandbox_with(FaultPlan(invisible=1.5)) as sandbox:
        task_id = (await start(sandbox)).data["_id"]

        async def look() -> tuple[Any, Any, Any]:
            return (
                (await call(sandbox, "GET", f"{PREFIX}/allRecords")).data["count"],
                [
                    record["_id"]
                    for record in (await call(sandbox, "POST", f"{PREFIX}/batchDetail", {"ids": [task_id]})).data
                ],
                (await call(sandbox, "GET", f"{PREFIX}/{task_id}")).body,
            )

        for wait in (0, 1.4):
            await asyncio.sleep(wait)
            count, batch, detail = await look()
            assert (count, batch, detail["code"], detail["data"]) == (0, [], 0, None)
        await asyncio.sleep(0.2)
        count, batch, detail = await look()
        assert (count, batch, detail["data"]["_id"]) == (1, [task_id], task_id)


async def test_unknown_id_is_not_hidden(call: Call) -> None:
    """Only records that exist are hidden."""
    async with sandbox_with(FaultPlan(invisible=60)) as sandbox:
        assert (await call(sandbox, "GET", f"{PREFIX}/{SOME_ID}")).status == 404


async def test_batch_detail_omits_ids(start: Start, call: Call) -> None:
    """Each id is missing with the probability of the plan, the same ids with the same seed."""

    async def missing(chance: float) -> list[list[int]]:
        async with sandbox_with(FaultPlan(missing=chance, seed=5)) as sandbox:
            ids = [(await start(sandbox)).data["_id"] for _ in range(3)]
            answers = [await call(sandbox, "POST", f"{PREFIX}/batchDetail", {"ids": ids}) for _ in range(20)]
            shown = [{record["_id"] for record in answer.data} for answer in answers]
            return [[index for index, one in enumerate(ids) if one not in there] for there in shown]

    assert await missing(0) == [[]] * 20
    assert await missing(1) == [[0, 1, 2]] * 20
    assert 0 < sum(map(len, await missing(0.5))) < 60
    assert await missing(0.5) == await missing(0.5)


# The limit of requests


async def test_requests_per_second(call: Call) -> None:
    """Requests beyond the limit get a 429 and are recorded; a second later requests are accepted again.

    Storage and CDN have no limit.
    """
    async with sandbox_with(FaultPlan(per_second=3)) as sandbox:
        answers = [await call(sandbox, "GET", COINS) for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[4].body["code"] == 429
        assert "Retry-After" not in answers[4].headers
        assert statuses_and_faults(sandbox)[-2:] == [(429, "429")] * 2
        assert (await call(sandbox, "GET", "/cdn/x")).status == 404
        await asyncio.sleep(0.9)
        assert (await call(sandbox, "GET", COINS)).status == 429
        await asyncio.sleep(0.15)
        assert (await call(sandbox, "GET", COINS)).status == 200


async def test_retry_after_of_the_limit(call: Call) -> None:
    """Retry-After is sent if the plan has it."""
    async with sandbox_with(FaultPlan(per_second=1, retry_after=2)) as sandbox:
        answers = [await call(sandbox, "GET", COINS) for _ in range(2)]
        assert answers[1].headers["Retry-After"] == "2"


def test_limit_is_a_sliding_window() -> None:
    """No window of a second accepts more requests, and rejected requests do not count."""
    schedule = FaultSchedule(FaultPlan(per_second=2))
    times = [0.0, 0.75, 0.875, 1.0, 1.5, 1.75, 2.0, 2.5]
    assert [schedule.accepts(now) for now in times] == [True, True, False, True, False, True, True, False]


async def test_unprocessed_requests_do_not_count(start: Start) -> None:
    """A request is counted only if it is processed, and then it can exceed the limit."""
    script = {"start": [FAULT, FAULT, None, Fault("delay", after=True, seconds=0)]}
    async with sandbox_with(FaultPlan(script=script, per_second=1)) as sandbox:
        assert [(await start(sandbox)).status for _ in range(4)] == [418, 418, 200, 429]
        assert (statuses_and_faults(sandbox)[-1], len(sandbox.ledger)) == ((429, "delay"), 1)


# Invalid faults and plans


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"type": "unknown"}, "the types are refuse, drop, status"),
        ({"type": "refuse", "after": True}, "takes no after; it is for drop, status, html"),
        ({"type": "429", "after": True}, "takes no after"),
        ({"type": "busy", "after": True}, "takes no after"),
        ({"type": "drop", "status": 500}, "takes no status; it is for status, html"),
        ({"type": "status", "seconds": 1}, "takes no seconds; it is for refuse, drop, delay"),
        ({"type": "drop", "retry_after": 1}, "takes no retry_after; it is for status, 429"),
        ({"type": "status", "status": 200}, "status must be a number from 400 to 599, not 200"),
        ({"type": "html", "status": 600}, "status must be a number from 200 to 599"),
        ({"type": "429", "retry_after": -1}, "retry_after must be a number of at least 0"),
        ({"type": "delay", "seconds": float("nan")}, "seconds must be a number of at least 0"),
        ({"type": "delay", "seconds": "1"}, "seconds must be a number of at least 0, not '1'"),
    ],
)
def test_invalid_faults(options: dict[str, Any], words: str) -> None:
    """An invalid fault is a ValueError that names the allowed values."""
    with pytest.raises(ValueError, match=re.escape(words)):
        Fault(**options)


DROP = Fault("drop")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"script": {"begin": [DROP]}}, "script: there is no operation 'begin'; there are start, detail, list"),
        ({"chances": {"begin": {DROP: 0.1}}}, "chances: there is no operation 'begin'"),
        ({"script": {"start": ["drop"]}}, 'must hold faults, such as Fault("drop"), not'),
        ({"script": {"put": [Fault("busy")]}}, "'busy' is a response of the API, not of storage and CDN"),
        ({"chances": {"cdn": {Fault("empty"): 0.1}}}, "'empty' is a response of the API"),
        ({"chances": {"start": {DROP: 1.5}}}, "must be a number from 0 to 1, not 1.5"),
        ({"chances": {"start": {DROP: True}}}, "must be a number from 0 to 1, not True"),
        ({"chances": {"start": {DROP: 0.6, FAULT: 0.5}}}, "add up to 1.1; at most 1 is allowed"),
        ({"invisible": -1}, "invisible must be a number of at least 0"),
        ({"missing": 2}, "missing must be a number from 0 to 1"),
        ({"per_second": 0}, "per_second must be an integer of at least 1, or None, not 0"),
        ({"per_second": 0.5}, "per_second must be an integer"),
        ({"per_second": 1, "retry_after": -1}, "retry_after must be a number of at least 0"),
        ({"retry_after": 1}, "retry_after belongs to per_second"),
    ],
)
def test_invalid_plans(options: dict[str, Any], words: str) -> None:
    """An invalid plan is a ValueError that names the allowed values."""
    with pytest.raises(ValueError, match=re.escape(words)):
        FaultPlan(**options)


def test_rate_is_a_probability() -> None:
    """A rate above 1 is a ValueError."""
    with pytest.raises(ValueError, match="rate must be a number from 0 to 1"):
        FaultPlan.random(1, rate=1.2)


def test_faults_must_be_a_plan() -> None:
    """Another type is a TypeError when the sandbox is made."""
    wrong: Any = "drop"
    with pytest.raises(TypeError, match="must be a FaultPlan or None, not 'drop'"):
        Sandbox(render="tiny", faults=wrong)


def test_faults_and_plans_are_values() -> None:
    """Equal faults are one key, defaults are set, and neither faults nor plans can be changed."""
    assert {Fault("drop"): 1, Fault("drop", seconds=0): 2} == {Fault("drop"): 2}
    assert (Fault("status").status, Fault("delay").seconds, Fault("cut").after) == (502, 5, True)
    lines = [Fault("drop")]
    plan = FaultPlan(script={"start": lines})
    lines.clear()
    assert plan == FaultPlan(script={"start": [Fault("drop")]})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        plan.seed = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        plan.script["start"] = []  # type: ignore[index]
