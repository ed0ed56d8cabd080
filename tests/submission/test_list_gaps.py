"""Lists of A2E that are not what they seem, and clocks that stand still: neither makes a task look as if it were absent."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from in_memory_a2e import client_with_transport
from paid_starts import IMAGE_URL
from virtual_clock import now

from a2e_async import NetworkError, SubmissionUncertainError, UnexpectedResponseError
from a2e_async._protocol.messages import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async import A2EClient, TaskHandle
    from a2e_async._protocol.messages import Request
    from a2e_async.models import ImageToVideoRecord

    Fault = Callable[["FaultyList", list[dict[str, Any]], int], Any]

KEY = "order-17"
_EPOCH = dt.datetime(2026, 8, 1, tzinfo=dt.UTC)


@attrs.define
class FaultyList:
    """A2E in memory. While `fault` is set, its list is wrong.

    Attributes:
        fault: Returns the ``data`` of a page instead of A2E, from the records of the page and its number.
        headers: More headers of the pages of the list.
        ahead: Seconds by which A2E's clock is ahead of the clock of the client's machine, which stood still.
        lag: Seconds until a new task is listed.
        lost: Whether the responses to starts get lost.
        faults_left: How often the list is wrong.
        details: Whether the record of a single task can be read.
    """

    fault: Fault | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    ahead: float = 0.0
    lag: float = 0.0
    lost: bool = False
    faults_left: float = 1e9
    details: bool = True
    records: list[dict[str, Any]] = attrs.field(factory=list)
    listed_from: list[float] = attrs.field(factory=list)
    starts: int = 0
    pages: int = 0

    def add(self, name: str) -> dict[str, Any]:
        """Add a task."""
        created = _EPOCH + dt.timedelta(seconds=now() + self.ahead)
        record = {
            "_id": f"{len(self.records):024x}",
            "name": name,
            "current_status": "initialized",
            "createdAt": created.isoformat(),
        }
        self.records.append(record)
        self.listed_from.append(now() + self.ahead + self.lag)
        return record

    async def send(self, request: Request) -> Response:
        """Return the response to a request, as `HttpTransport` does."""
        if request.paid:
            self.starts += 1
            record = self.add(request.json["name"])
            if self.lost:
                msg = "no answer"
                raise NetworkError(msg)
            return self.respond(record)
        if not request.path.endswith("allRecords"):
            task_id = request.path.rpartition("/")[2]
            found = [record for record in self.records if record["_id"] == task_id and self.details]
            return self.respond(found[0] if found else None)
        self.pages += 1
        params = request.params or {}
        number, size = int(params["pageNum"]), int(params["pageSize"])
        time = now() + self.ahead
        listed = [record for record, since in zip(self.records, self.listed_from, strict=True) if since <= time][::-1]
        page = listed[(number - 1) * size : number * size]
        if self.faults_left > 0 and (self.fault or self.headers):
            self.faults_left -= 1
            data = {"rows": page, "count": len(listed)} if self.fault is None else self.fault(self, page, number)
            return self.respond(data, **self.headers)
        return self.respond({"rows": page, "count": len(listed)})

    def respond(self, data: object, **headers: str) -> Response:
        """Return a response with the time of A2E's clock."""
        date = _EPOCH + dt.timedelta(seconds=now() + self.ahead)
        headers = {"date": format_datetime(date, usegmt=True), **headers}
        return Response(status=200, headers=headers, body=json.dumps({"code": 0, "data": data}).encode())


async def start_job(a2e: A2EClient, key: str | None = KEY, **options: Any) -> TaskHandle[ImageToVideoRecord]:
    """Start a job."""
    return await a2e.image_to_video.start(
        image_url=IMAGE_URL, prompt="p", negative_prompt="n", idempotency_key=key, **options
    )


@pytest.fixture
async def service() -> FaultyList:
    """Return an A2E with 250 tasks."""
    service = FaultyList()
    for number in range(250):
        service.add(f"other {number}")
    return service


FAULTS: dict[str, Fault] = {
    "rows are empty": lambda a2e, page, number: {"rows": [], "count": len(a2e.records)},
    "data.data is empty": lambda a2e, page, number: {"data": [], "total": len(a2e.records), "current": number},
    "the count is a text": lambda a2e, page, number: {"rows": [], "count": str(len(a2e.records))},
    "second page is empty": lambda a2e, page, number: {"rows": page * (number != 2), "count": len(a2e.records)},
    "last page is empty": lambda a2e, page, number: {"rows": page * (number != 3), "count": len(a2e.records)},
    "every page is half": lambda a2e, page, number: {"rows": page[len(page) // 2 :], "count": len(a2e.records)},
    "every page lacks one": lambda a2e, page, number: {"rows": page[:-1], "count": len(a2e.records)},
    "every page lacks the first": lambda a2e, page, number: {"rows": page[1:], "count": len(a2e.records)},
    "the first page comes always": lambda a2e, page, number: {"rows": a2e.records[:100], "count": len(a2e.records)},
    "no ids": lambda a2e, page, number: {"rows": [{"name": row["name"]} for row in page], "count": len(a2e.records)},
    "some rows have no id": lambda a2e, page, number: {"rows": [*page[:-1], {"name": "?"}], "count": len(page)},
    "some rows have no id, no total": lambda a2e, page, number: [*page[:-1], {"name": "?"}] if page else [],
    "success is false": lambda a2e, page, number: {"rows": [], "count": 0, "success": False},
    "an error beside the rows": lambda a2e, page, number: {"rows": [], "count": 0, "error": "db timeout"},
    "a code beside the rows": lambda a2e, page, number: {"list": [], "total": 0, "code": -1},
    "a status beside the rows": lambda a2e, page, number: {"rows": [], "count": 0, "status": "error"},
    "the total is in camel case": lambda a2e, page, number: {"rows": [], "totalCount": len(a2e.records)},
    "the total is in an object": lambda a2e, page, number: {"rows": [], "pagination": {"total": len(a2e.records)}},
    "more rows follow an empty page": lambda a2e, page, number: {"rows": [], "hasMore": True},
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_nothing_is_started_while_the_list_has_gaps(
    monkeypatch: pytest.MonkeyPatch, service: FaultyList, fault: Fault
) -> None:
    """If A2E's list is not whole, a key starts nothing, whether or not it has a task; later it finds its task."""
    async with client_with_transport(monkeypatch, service) as a2e:
        first = await start_job(a2e)
    service.fault = fault
    for key in (KEY, "order-18"):
        async with client_with_transport(monkeypatch, service) as other:
            try:
                found = await start_job(other, key)
            except UnexpectedResponseError:
                pass
            else:
                assert found.id == first.id  # the task was on the pages that did arrive
    service.fault = None
    async with client_with_transport(monkeypatch, service) as other:
        assert (await start_job(other)).id == first.id
    assert service.starts == 1


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_short_failure_of_the_list_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, service: FaultyList, fault: Fault
) -> None:
    """One page with a gap is read again by a lost start, and the task is adopted."""
    async with client_with_transport(monkeypatch, service) as a2e:
        await a2e.image_to_video.find("something")  # the client knows A2E's clock, and has read the list
        service.lost, service.fault, service.faults_left = True, fault, 1
        assert (await start_job(a2e, None, on_unknown="resend")).adopted
    assert service.starts == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"age": "300"}, id="Age"),
        pytest.param({"x-cache": "HIT"}, id="X-Cache"),
        pytest.param({"date": format_datetime(_EPOCH - dt.timedelta(seconds=300), usegmt=True)}, id="an old Date"),
    ],
)
async def test_list_from_a_cache(monkeypatch: pytest.MonkeyPatch, service: FaultyList, headers: dict[str, str]) -> None:
    """A list from a cache proves that a task exists, but not that it does not."""
    async with client_with_transport(monkeypatch, service) as a2e:
        first = await start_job(a2e)
    service.headers = headers
    async with client_with_transport(monkeypatch, service) as other:
        await other.request("GET", "userImage2Video/x")  # tells A2E's clock
        found = await other.image_to_video.find(KEY)
        assert found is not None
        assert (await start_job(other)).id == found.id == first.id
        with pytest.raises(UnexpectedResponseError, match="cache"):
            await start_job(other, "order-18")
    assert service.starts == 1


async def test_list_with_gaps_does_not_confirm_a_deletion(monkeypatch: pytest.MonkeyPatch, service: FaultyList) -> None:
    """A known task whose detail is "not found" is not given up because of a list that has gaps."""
    async with client_with_transport(monkeypatch, service) as a2e:
        first = await start_job(a2e)
        await asyncio.sleep(3600)
        service.fault = FAULTS["rows are empty"]
        service.details = False
        assert (await start_job(a2e)).id == first.id
    assert service.starts == 1


async def test_list_without_a_total_from_which_records_are_deleted(
    monkeypatch: pytest.MonkeyPatch, service: FaultyList
) -> None:
    """Without a total a deletion cannot be noticed in one scan: the second one finds the task that it has moved."""
    async with client_with_transport(monkeypatch, service) as a2e:
        first = await start_job(a2e)
    for number in range(99):
        service.add(f"newer {number}")
    last = service.records[-1]

    def delete_after_the_first_page(a2e: FaultyList, page: list[dict[str, Any]], number: int) -> object:
        if number == 1 and last in a2e.records:  # the key's task is the first one of the second page
            index = a2e.records.index(last)
            del a2e.records[index], a2e.listed_from[index]
        return page

    service.add("one more")
    service.fault = delete_after_the_first_page
    async with client_with_transport(monkeypatch, service) as other:
        assert (await start_job(other)).id == first.id
    assert service.starts == 1


async def test_total_counts_a_task_before_it_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If A2E counts a new task at once and lists it later, the lost start waits for it."""
    service = FaultyList(lag=5.0)
    service.fault = lambda a2e, page, number: {"rows": page, "count": len(a2e.records)}
    async with client_with_transport(monkeypatch, service) as a2e:
        service.lost = True
        assert (await start_job(a2e, None)).adopted
    assert now() == 7.0


# clocks


async def test_key_after_the_machine_was_suspended(monkeypatch: pytest.MonkeyPatch, service: FaultyList) -> None:
    """A key that another client has used while this machine was suspended finds its task, on any page."""
    async with client_with_transport(monkeypatch, service) as a2e:
        await start_job(a2e, "order-16")
        service.ahead = 3600.0
        async with client_with_transport(monkeypatch, service) as other:
            first = await start_job(other)
        service.ahead = 5400.0
        for number in range(150):
            service.add(f"newer {number}")
        service.ahead = 7200.0
        assert (await start_job(a2e)).id == first.id
    assert service.starts == 2


async def test_lost_start_during_a_suspend(monkeypatch: pytest.MonkeyPatch, service: FaultyList) -> None:
    """A start is found after a suspend of hours between its request and the first scan, on any page."""
    send = FaultyList.send

    async def send_and_sleep(self: FaultyList, request: Request) -> Response:
        try:
            return await send(self, request)
        finally:
            if request.paid:
                self.ahead += 7200.0
                for number in range(150):
                    self.add(f"newer {number}")

    monkeypatch.setattr(FaultyList, "send", send_and_sleep)
    async with client_with_transport(monkeypatch, service) as a2e:
        await a2e.image_to_video.find("something")
        service.lost = True
        assert (await start_job(a2e, None, on_unknown="resend")).adopted
    assert service.starts == 1


async def test_unlisted_start_is_uncertain(monkeypatch: pytest.MonkeyPatch, service: FaultyList) -> None:
    """A start that A2E lists too late is uncertain, and the same key finds it later and starts nothing."""
    async with client_with_transport(monkeypatch, service) as a2e:
        service.lost, service.lag = True, 100.0
        with pytest.raises(SubmissionUncertainError):
            await start_job(a2e)
        assert (await start_job(a2e)).adopted
    assert service.starts == 1
