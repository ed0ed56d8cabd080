"""Weather: which request meets which fault, what is hidden, how much is accepted, and what cannot be asked for."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from sandbox_requests import sandbox_with, sandbox_with_faults, statuses_and_faults

from a2e_async.sandbox import Fault, Sandbox, Weather
from a2e_async.sandbox.faults.plan import KINDS
from a2e_async.sandbox.faults.schedule import Forecast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox_requests import Call, Start

COINS = "/api/v1/user/remainingCoins"
PREFIX = "/api/v1/userImage2Video"
SOME_ID = "0" * 24

FAULT = Fault("status", status=418)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, no_leaked_tasks: None) -> Iterator[None]:
    """Fail a test in which the server, or asyncio, complained, or that left a task behind."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def drawn(weather: Weather, *operations: str) -> list[Fault | None]:
    """List what requests of these operations meet."""
    forecast = Forecast(weather)
    return [forecast.fault(operation) for operation in operations]


# Who meets what


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
async def test_every_operation_has_weather(call: Call, operation: str, method: str, path: str) -> None:
    """A script for one operation is met by its requests, and by no others."""
    others = {name: [Fault("429")] for name, _, _ in OPERATIONS if name != operation}
    async with sandbox_with(Weather(script={operation: [FAULT], **others})) as sandbox:
        assert (await call(sandbox, method, path, {} if method == "POST" else None)).status == 418


@pytest.mark.parametrize("path", ["/", "/nowhere", "/storage/a/b.png"])
async def test_what_is_no_operation_meets_nothing(call: Call, path: str) -> None:
    """Paths outside of the API that mean nothing answer as ever."""
    weather = Weather(script={operation: [FAULT] for operation in ("*", "put", "cdn")})
    async with sandbox_with(weather) as sandbox:
        assert (await call(sandbox, "GET", path)).status in {403, 404}


async def test_weather_comes_before_the_token(call: Call) -> None:
    """A gateway knows no tokens: even a caller with a wrong one meets its fault."""
    async with sandbox_with_faults(Fault("status"), operation="*") as sandbox:
        assert (await call(sandbox, "GET", COINS, token="sk_wrong")).status == 502
        assert (await call(sandbox, "GET", COINS, token="sk_wrong")).status == 401


async def test_a_script_is_met_in_its_order(start: Start) -> None:
    """The nth request meets the nth line; `None` is fair; after the end everything is."""
    async with sandbox_with_faults(None, Fault("status"), Fault("429")) as sandbox:
        assert [(await start(sandbox)).status for _ in range(5)] == [200, 502, 429, 200, 200]
        assert statuses_and_faults(sandbox) == [(200, ""), (502, "status"), (429, "429"), (200, ""), (200, "")]


def test_after_the_script_come_the_chances() -> None:
    """Lines of the script are met first, then the draws begin."""
    weather = Weather(script={"start": [None, FAULT]}, chances={"start": {Fault("html"): 1}})
    assert drawn(weather, *["start"] * 4) == [None, FAULT, Fault("html"), Fault("html")]


def test_the_star_is_for_those_without_an_entry() -> None:
    """They share its script; operations with an entry of their own, and those of no API, do not take part."""
    weather = Weather(script={"*": [FAULT, None, FAULT], "start": []}, chances={"*": {Fault("html"): 1}, "list": {}})
    met = drawn(weather, "start", "put", "cdn", "detail", "list", "*", "list")
    assert met == [Fault("html"), None, None, FAULT, None, FAULT, None]


def test_the_same_seed_draws_the_same() -> None:
    """Two sandboxes with one seed meet the same, another seed meets other things."""
    many = ["start"] * 50
    assert drawn(Weather.changeable(7), *many) == drawn(Weather.changeable(7), *many)
    assert drawn(Weather.changeable(7), *many) != drawn(Weather.changeable(8), *many)
    assert drawn(Weather.changeable(None, 0.9), *many) != drawn(Weather.changeable(None, 0.9), *many)


def test_operations_do_not_disturb_each_other() -> None:
    """However often a program polls, its starts meet the same."""
    weather = Weather(chances={"*": {FAULT: 0.5}}, seed=3)
    alone = drawn(weather, *["start"] * 20)
    mixed = drawn(weather, *["start", "detail", "batch", "*"] * 20)[::4]
    assert alone == mixed
    assert {FAULT, None} == set(alone)


def test_chances_are_chances() -> None:
    """Over many requests each fault is met about as often as its chance says."""
    met = Counter(drawn(Weather(chances={"cdn": {FAULT: 0.1, Fault("drop"): 0.3}}, seed=1), *["cdn"] * 10_000))
    assert 900 < met[FAULT] < 1_100
    assert 2_800 < met[Fault("drop")] < 3_200


def test_changeable_weather_has_some_of_everything() -> None:
    """At rate 1 every request meets a fault, at rate 0 none; starts also meet faults after they were charged."""
    storm, calm = Weather.changeable(1, 1.0), Weather.changeable(1, 0.0)
    everywhere = ["start", "detail", "list", "batch", "delete", "presign", "put", "cdn", "*"] * 200
    met = drawn(storm, *everywhere)
    assert None not in met
    assert {fault.kind for fault in met if fault} == set(KINDS)
    assert {fault.kind for fault in drawn(storm, *["start"] * 500) if fault and fault.after} >= {"drop", "empty"}
    assert set(drawn(calm, *everywhere)) == {None}
    assert (calm.missing, calm.invisible) == (0, 0)


async def test_weather_changes(start: Start) -> None:
    """It can be read and set meanwhile; set again it begins anew; `None` is fair."""
    weather = Weather(script={"start": [FAULT]})
    async with sandbox_with(None) as sandbox:
        assert sandbox.weather is None
        for now, expected in [(None, 200), (weather, 418), (weather, 418), (None, 200)]:
            sandbox.weather = now
            assert sandbox.weather is now
            assert (await start(sandbox)).status == expected


async def test_overrides_have_weather_too(call: Call) -> None:
    """What an override answers travels through the same weather."""
    async with sandbox_with_faults(Fault("type"), FAULT, operation="*") as sandbox:
        with sandbox.override("GET", COINS, lambda _: None):
            assert (await call(sandbox, "GET", COINS)).headers["Content-Type"].startswith("text/plain")
            assert (await call(sandbox, "GET", COINS)).status == 418


# What is hidden


async def test_a_fresh_record_is_invisible(start: Start, call: Call) -> None:
    """For a while the list and batchDetail lack it and its detail is null; then it is there."""
    async with sandbox_with(Weather(invisible=1.5)) as sandbox:
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


async def test_an_unknown_id_stays_unknown(call: Call) -> None:
    """Only records that exist are hidden."""
    async with sandbox_with(Weather(invisible=60)) as sandbox:
        assert (await call(sandbox, "GET", f"{PREFIX}/{SOME_ID}")).status == 404


async def test_batch_detail_leaves_ids_out(start: Start, call: Call) -> None:
    """Each id is missing with its chance, the same ones with the same seed."""

    async def missing(chance: float) -> list[list[int]]:
        async with sandbox_with(Weather(missing=chance, seed=5)) as sandbox:
            ids = [(await start(sandbox)).data["_id"] for _ in range(3)]
            answers = [await call(sandbox, "POST", f"{PREFIX}/batchDetail", {"ids": ids}) for _ in range(20)]
            shown = [{record["_id"] for record in answer.data} for answer in answers]
            return [[index for index, one in enumerate(ids) if one not in there] for there in shown]

    assert await missing(0) == [[]] * 20
    assert await missing(1) == [[0, 1, 2]] * 20
    assert 0 < sum(map(len, await missing(0.5))) < 60
    assert await missing(0.5) == await missing(0.5)


# How much is accepted


async def test_a2e_accepts_so_many_per_second(call: Call) -> None:
    """What comes too early is answered 429 and noted; storage and CDN have no such limit; a second later it goes on."""
    async with sandbox_with(Weather(per_second=3)) as sandbox:
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


async def test_the_limit_may_say_when_to_come_back(call: Call) -> None:
    """Retry-After is sent if it was asked for."""
    async with sandbox_with(Weather(per_second=1, retry_after=2)) as sandbox:
        answers = [await call(sandbox, "GET", COINS) for _ in range(2)]
        assert answers[1].headers["Retry-After"] == "2"


def test_any_second_counts() -> None:
    """The limit slides: no window of a second holds more, and what was refused does not count."""
    forecast = Forecast(Weather(per_second=2))
    times = [0.0, 0.75, 0.875, 1.0, 1.5, 1.75, 2.0, 2.5]
    assert [forecast.accepts(now) for now in times] == [True, True, False, True, False, True, True, False]


async def test_what_never_arrived_does_not_count(start: Start) -> None:
    """A request that met its fault on the way is not counted; one that was processed is, and may be one too many."""
    script = {"start": [FAULT, FAULT, None, Fault("delay", after=True, seconds=0)]}
    async with sandbox_with(Weather(script=script, per_second=1)) as sandbox:
        assert [(await start(sandbox)).status for _ in range(4)] == [418, 418, 200, 429]
        assert (statuses_and_faults(sandbox)[-1], len(sandbox.ledger)) == ((429, "delay"), 1)


# What cannot be asked for


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "hail"}, "the kinds are refuse, drop, status"),
        ({"kind": "refuse", "after": True}, "takes no after; it is for drop, status, html"),
        ({"kind": "429", "after": True}, "takes no after"),
        ({"kind": "busy", "after": True}, "takes no after"),
        ({"kind": "drop", "status": 500}, "takes no status; it is for status, html"),
        ({"kind": "status", "seconds": 1}, "takes no seconds; it is for refuse, drop, delay"),
        ({"kind": "drop", "retry_after": 1}, "takes no retry_after; it is for status, 429"),
        ({"kind": "status", "status": 200}, "status must be a number from 400 to 599, not 200"),
        ({"kind": "html", "status": 600}, "status must be a number from 200 to 599"),
        ({"kind": "429", "retry_after": -1}, "retry_after must be a number of at least 0"),
        ({"kind": "delay", "seconds": float("nan")}, "seconds must be a number of at least 0"),
        ({"kind": "delay", "seconds": "1"}, "seconds must be a number of at least 0, not '1'"),
    ],
)
def test_impossible_faults(options: dict[str, Any], words: str) -> None:
    """A fault that cannot be is a ValueError that says what is allowed."""
    with pytest.raises(ValueError, match=re.escape(words)):
        Fault(**options)


DROP = Fault("drop")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"script": {"begin": [DROP]}}, "script: there is no operation 'begin'; there are start, detail, list"),
        ({"chances": {"begin": {DROP: 0.1}}}, "chances: there is no operation 'begin'"),
        ({"script": {"start": ["drop"]}}, 'must hold faults, such as Fault("drop"), not'),
        ({"script": {"put": [Fault("busy")]}}, "'busy' is an answer of the API, not of storage and CDN"),
        ({"chances": {"cdn": {Fault("empty"): 0.1}}}, "'empty' is an answer of the API"),
        ({"chances": {"start": {DROP: 1.5}}}, "must be a number from 0 to 1, not 1.5"),
        ({"chances": {"start": {DROP: True}}}, "must be a number from 0 to 1, not True"),
        ({"chances": {"start": {DROP: 0.6, FAULT: 0.5}}}, "add up to 1.1; at most 1 is allowed"),
        ({"invisible": -1}, "invisible must be a number of at least 0"),
        ({"missing": 2}, "missing must be a number from 0 to 1"),
        ({"per_second": 0}, "per_second must be a whole number of at least 1, or None, not 0"),
        ({"per_second": 0.5}, "per_second must be a whole number"),
        ({"per_second": 1, "retry_after": -1}, "retry_after must be a number of at least 0"),
        ({"retry_after": 1}, "retry_after belongs to per_second"),
    ],
)
def test_impossible_weather(options: dict[str, Any], words: str) -> None:
    """Weather that cannot be is a ValueError that says what is allowed."""
    with pytest.raises(ValueError, match=re.escape(words)):
        Weather(**options)


def test_changeable_weather_has_a_rate() -> None:
    """The rate is a chance."""
    with pytest.raises(ValueError, match="rate must be a number from 0 to 1"):
        Weather.changeable(1, rate=1.2)


def test_only_weather_is_weather() -> None:
    """Anything else is refused when the sandbox is made."""
    wrong: Any = "rain"
    with pytest.raises(TypeError, match="must be a Weather or None, not 'rain'"):
        Sandbox(render="tiny", weather=wrong)


def test_faults_and_weather_are_values() -> None:
    """Equal faults are one key, defaults are filled in, and neither can be changed afterwards."""
    assert {Fault("drop"): 1, Fault("drop", seconds=0): 2} == {Fault("drop"): 2}
    assert (Fault("status").status, Fault("delay").seconds, Fault("cut").after) == (502, 5, True)
    lines = [Fault("drop")]
    weather = Weather(script={"start": lines})
    lines.clear()
    assert weather == Weather(script={"start": [Fault("drop")]})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        weather.seed = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        weather.script["start"] = []  # type: ignore[index]
