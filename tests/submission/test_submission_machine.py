"""Random sequences of starts, losses, scans and resends: no start is charged twice, and no task is lost or mixed up.

The client of this machine follows the rules of `_protocol` and `_submission/markers.py`. A2E is a list of charged tasks, some
of which are not listed for a while.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from a2e_async._protocol import responses
from a2e_async._protocol.failures import StartOutcome, failure_of
from a2e_async._protocol.messages import Envelope, Response
from a2e_async._protocol.pagination import PageReader
from a2e_async._protocol.responses import decode
from a2e_async._submission.evidence import ListReading
from a2e_async._submission.markers import (
    MarkerIndex,
    Search,
    make_marker,
    mark_name,
    markers_for,
)
from a2e_async.errors import A2EError, ClientClosedError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")

_BEGINNING = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)
_PAGE = 2  # records in a page, so few that most lists have several pages

_LOST = "lost"
_UNSENT = "unsent"
_CLOSED = "closed"

_BEFORE_CHARGE: dict[str, Response | str] = {
    "not sent": _UNSENT,
    "client closed": _CLOSED,
    "lost on the way": _LOST,
    "bad request": Response(status=400, body=b'{"code":400,"msg":"Bad","errors":["prompt is required"]}'),
    "no coins": Response(status=402, body=b'{"code":402,"msg":"insufficient credits"}'),
    "rejected image": Response(status=403, body=b'{"code":1003,"msg":"a minor"}'),
    "error with status 200": Response(status=200, body=b'{"code":-1,"message":"Request failed"}'),
    "too many": Response(status=429, headers={"retry-after": "1"}, body=b'{"code":429,"msg":"slow down"}'),
    "429 of a gateway": Response(status=429, body=b"<html>"),
    "busy": Response(status=200, body=b'{"code":1001,"msg":"hosts are occupied"}'),
    "gateway without A2E": Response(status=503, headers={"retry-after": "1"}, body=b"upstream connect error"),
    "flagged content": Response(status=200, body=b'{"code":0,"data":{"flagged":true,"reason":"nsfw"}}'),
}
"""Failures of a start that is not accepted."""

_AFTER_CHARGE: dict[str, Response | str] = {
    "response lost": _LOST,
    "500": Response(status=500, body=b'{"code":-1,"message":"Request failed"}'),
    "502": Response(status=502, body=b"<html>"),
    "busy gateway": Response(status=503, headers={"retry-after": "1"}, body=b'{"code":1001,"msg":"busy"}'),
    "429 within a 5xx": Response(status=500, headers={"retry-after": "1"}, body=b'{"code":429,"msg":"rate limit"}'),
    "402 within a 5xx": Response(status=500, body=b'{"code":402,"msg":"insufficient credits"}'),
    "504": Response(status=504, body=b""),
    "408": Response(status=408, body=b"Request Timeout"),
    "421": Response(status=421, body=b'{"code":421,"msg":"Misdirected"}'),
    "499": Response(status=499, body=b'{"code":499,"msg":"Client closed the request"}'),
    "empty 400": Response(status=400, body=b""),
    "400 of a gateway": Response(status=400, body=b'{"message":"no upstream"}'),
    "success within a 400": Response(status=400, body=b'{"code":0,"data":{"_id":"1"}}'),
    "code of another type": Response(status=403, body=b'{"code":[403],"msg":"no"}'),
    "inner 500": Response(status=200, body=b'{"code":500,"msg":"boom"}'),
    "cut": Response(status=200, body=b'{"code":0,"data":{"_id":"'),
    "page": Response(status=200, body=b"<html>"),
    "page of a wrong route": Response(status=404, body=b"<html>"),
    "redirect": Response(status=302, headers={"location": "https://login.example"}),
    "nothing": Response(status=200, body=b""),
    "no id": Response(status=200, body=b'{"code":0,"data":null}'),
    "code 200": Response(status=200, body=b'{"code":200,"data":{}}'),
}
"""Failures of a start that is accepted and charged, and whose response is lost."""


@attrs.define(eq=False)
class ChargedTask:
    """Task that A2E has charged."""

    id: str
    job: Job | None
    name: str
    created: float
    listed_from: float


@attrs.define(eq=False)
class Job:
    """The client's state of one start."""

    marker: str
    name: str
    count: int
    state: str = "new"
    sent_at: float = 0.0
    is_sent_once_more: bool = False
    was_uncertain: bool = False
    search: Search | None = None
    ids: set[str] = attrs.field(factory=set)


picks = st.integers(0, 20)
delays = st.sampled_from([0.0, 0.0, 1.0, 30.0])
skews = st.sampled_from([0.0, 50.0, -20.0, -50.0])


def given_job(*states: str) -> Callable[[F], F]:
    """Restrict a rule to the time when a job is in one of these states."""
    return precondition(lambda machine: any(job.state in states for job in machine.jobs))


class SubmissionMachine(RuleBasedStateMachine):
    """Starts, losses, scans and resends in any order."""

    def __init__(self) -> None:
        """Begin with an A2E without tasks, and a client that knows nothing."""
        super().__init__()
        self.now = 0.0
        self.charged: list[ChargedTask] = []
        self.jobs: list[Job] = []
        self.index = MarkerIndex()
        self.seen: dict[str, set[str]] = {}  # marker -> ids that the client has seen

    def pick_job(self, pick: int, *states: str) -> Job:
        """Return one of the jobs in these states."""
        jobs = [job for job in self.jobs if job.state in states]
        return jobs[pick % len(jobs)]

    # A2E

    def accept(self, job: Job | None, name: str, count: int, hidden: float, skew: float) -> list[ChargedTask]:
        """Charge a start."""
        accepted = [
            ChargedTask(str(len(self.charged) + number), job, name, self.now + skew, self.now + hidden)
            for number in range(count)
        ]
        self.charged += accepted
        return accepted

    def listed(self, marker: str | None = None) -> list[ChargedTask]:
        """Return the tasks that A2E lists by now, the newest first."""
        tasks = [task for task in self.charged if task.listed_from <= self.now]
        tasks = [task for task in tasks if marker is None or (task.job is not None and task.job.marker == marker)]
        return sorted(tasks, key=lambda task: task.created, reverse=True)

    def page(self, number: int) -> Envelope:
        """Return a page of the list, with A2E's clock in its ``Date``."""
        rows = [record_of(task) for task in self.listed()[_PAGE * (number - 1) :][:_PAGE]]
        body = json.dumps({"code": 0, "data": {"rows": rows, "count": len(self.listed())}}).encode()
        return decode(
            Response(status=200, headers={"date": format_datetime(server_time(self.now), usegmt=True)}, body=body)
        )

    # the client

    @rule(
        noise=st.binary(min_size=10, max_size=10),
        name=st.text(max_size=5).filter(str.strip),
        count=st.sampled_from([1, 1, 1, 2, 3]),
    )
    def add_job(self, noise: bytes, name: str, count: int) -> None:
        """Add a job of one video, or of several videos of one image."""
        marker = make_marker(noise)
        if all(job.marker != marker for job in self.jobs):
            self.jobs.append(Job(marker, mark_name(name, marker, count), count))

    @precondition(lambda self: self.jobs)
    @rule(noise=st.binary(min_size=10, max_size=10), pick=picks)
    def add_job_with_the_name_of_another(self, noise: bytes, pick: int) -> None:
        """Add a job whose name is copied from an earlier task, with its marker."""
        self.add_job(noise=noise, name=self.jobs[pick % len(self.jobs)].name, count=1)

    @given_job("new")
    @rule(pick=picks, failure=st.sampled_from(sorted(_BEFORE_CHARGE)))
    def send_without_acceptance(self, pick: int, failure: str) -> None:
        """Send a start that is not accepted."""
        self.handle_failure(self.pick_job(pick, "new"), _BEFORE_CHARGE[failure])

    @given_job("new")
    @rule(pick=picks, hidden=delays, skew=skews)
    def send(self, pick: int, hidden: float, skew: float) -> None:
        """Send a start that is accepted, with a response."""
        self.deliver(self.pick_job(pick, "new"), hidden, skew)

    @given_job("new")
    @rule(pick=picks, failure=st.sampled_from(sorted(_AFTER_CHARGE)), hidden=delays, skew=skews)
    def send_and_lose_the_response(self, pick: int, failure: str, hidden: float, skew: float) -> None:
        """Send a start that is accepted, and lose the response."""
        job = self.pick_job(pick, "new")
        self.accept(job, job.name, job.count, hidden, skew)
        self.handle_failure(job, _AFTER_CHARGE[failure])

    @given_job("uncertain")
    @rule(pick=picks)
    def give_up(self, pick: int) -> None:
        """Stop the search for a start that was not found."""
        self.end(self.pick_job(pick, "uncertain"), "given up")

    @given_job("uncertain", "given up")
    @rule(pick=picks, hidden=delays)
    def resend(self, pick: int, hidden: float) -> None:
        """Send an uncertain start once more, with the same marker."""
        job = self.pick_job(pick, "uncertain", "given up")
        self.end(job, "started")
        job.is_sent_once_more = True
        self.deliver(job, hidden, 0.0)

    @given_job("uncertain", "given up")
    @rule(pick=picks, failure=st.sampled_from(sorted(_BEFORE_CHARGE)))
    def resend_without_acceptance(self, pick: int, failure: str) -> None:
        """Send a start once more, without acceptance: the outcome of the first one stays unknown."""
        job = self.pick_job(pick, "uncertain", "given up")
        self.end(job, "sent twice")
        assert isinstance(error_of(_BEFORE_CHARGE[failure]), A2EError)

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass, so that A2E lists hidden tasks."""
        self.now += seconds

    @rule(
        name=st.sampled_from(["Bob", "Bob [a2e:short]", "[a2e:", ""]) | st.text(max_size=5),
        hidden=delays,
        skew=skews,
    )
    def another_program(self, name: str, hidden: float, skew: float) -> None:
        """Let another program start a task in the same account."""
        self.accept(None, name, 1, hidden, skew)

    @rule(noise=st.binary(min_size=10, max_size=10))
    def another_client(self, noise: bytes) -> None:
        """Let another client of this package start a task in the same account, with its own marker."""
        marker = make_marker(noise)
        if all(job.marker != marker for job in self.jobs):
            other = Job(marker, mark_name("Bob", marker), 1, state="elsewhere")
            self.jobs.append(other)
            self.accept(other, other.name, 1, 0.0, 0.0)

    @precondition(lambda self: self.listed())
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        """Delete a task that A2E lists."""
        tasks = self.listed()
        deleted = tasks[pick % len(tasks)]
        deleted.listed_from = math.inf
        self.index.forget(deleted.id)
        for ids in self.seen.values():
            ids.discard(deleted.id)
        for job in self.jobs:
            if job.search is not None:
                job.search.found.pop(deleted.id, None)  # an open search must not expect a deleted task

    @rule(page_size=st.sampled_from([_PAGE, _PAGE, _PAGE + 1]))
    def scan(self, page_size: int) -> None:
        """Read the list as far back as any search needs, and adopt the tasks found.

        It may request larger pages than A2E sends.
        """
        pages = PageReader("/api/v1/x/allRecords", page_size, thorough=True)
        reading = ListReading(pages, self.index.earliest(), made_after=server_time(self.now).timestamp())
        while not reading.ended:
            params = reading.next_request().params
            assert params is not None
            envelope = self.page(int(params["pageNum"]))
            responses.check_list(envelope)
            for record in reading.read(envelope):
                self.show(record)
        assert reading.problem == ""
        for job in self.jobs:
            if job.search is not None:
                self.check_search(job, job.search)
                if len(job.search.found) >= job.count:
                    job.ids |= set(job.search.found)
                    self.end(job, "adopted")

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, by=st.sampled_from(["marker", "capitals", "name"]))
    def find(self, pick: int, by: str) -> None:
        """Find a task by its marker or name, with a scan of the whole list."""
        job = self.jobs[pick % len(self.jobs)]
        text = {"marker": job.marker, "capitals": job.marker.upper(), "name": job.name}[by]
        search = Search(markers_for(text))
        self.index.open(search)
        known = set(self.seen.get(job.marker, set()))
        assert set(search.found) == known
        self.scan(_PAGE)
        self.index.close(search)
        assert set(search.found) == {task.id for task in self.listed(job.marker)} | known

    # the effects

    def deliver(self, job: Job, hidden: float, skew: float) -> None:
        """Let A2E accept a start and respond with its tasks."""
        job.sent_at = self.now
        accepted = self.accept(job, job.name, job.count, hidden, skew)
        body = json.dumps({"code": 0, "data": [record_of(task) for task in accepted]}).encode()
        for task in responses.accepted_tasks(decode(Response(status=200, body=body))):
            job.ids.add(task.id)
            assert task.raw is not None
            self.check_added(task.raw, self.index.add(job.marker, task.raw, self.now, count=job.count))
        job.state = "started"

    def handle_failure(self, job: Job, failure: Response | str) -> None:
        """Change the state of a job after a failure, by the rules of `_protocol`."""
        error, job.sent_at = error_of(failure), self.now
        if failure_of(error).may_send_again:
            job.state = "new"
        elif failure_of(error).outcome is StartOutcome.UNKNOWN:
            job.state, job.was_uncertain = "uncertain", True
            job.search = Search(frozenset({job.marker}), server_time(self.now).timestamp())
            self.index.open(job.search)
        else:
            job.state = "rejected"

    def show(self, record: dict[str, Any]) -> None:
        """Show a record to the client."""
        self.check_added(record, self.index.add_record(record, self.now))

    def check_added(self, record: dict[str, Any], duplicates: tuple[str, ...]) -> None:
        """Check that the client reports exactly the duplicates, and the time when it last saw the task."""
        task = next(task for task in self.charged if task.id == record["_id"])
        if task.job is None:
            assert duplicates == ()
            assert self.index.last_seen_at(task.id) == -math.inf
            return
        assert self.index.last_seen_at(task.id) == self.now
        ids = self.seen.setdefault(task.job.marker, set())
        is_new = task.id not in ids
        ids.add(task.id)
        assert set(duplicates) == (ids if is_new and len(ids) > task.job.count else set())
        assert len(duplicates) == len(set(duplicates))

    def check_search(self, job: Job, search: Search) -> None:
        """Check that a scan finds every listed task of a start, and no other."""
        assert {task.id for task in self.listed(job.marker)} == set(search.found)

    def end(self, job: Job, state: str) -> None:
        """End the search for a start."""
        if job.search is not None:
            self.index.close(job.search)
        job.state, job.search = state, None

    # the invariants

    @invariant()
    def no_start_is_charged_twice(self) -> None:
        """No start is charged more than once, unless it was sent once more on purpose."""
        for job in self.jobs:
            charges = [task for task in self.charged if task.job is job]
            assert len(charges) <= job.count * (2 if job.is_sent_once_more else 1)

    @invariant()
    def rejected_starts_are_not_charged(self) -> None:
        """A start that counts as not sent or rejected was not charged."""
        for job in self.jobs:
            if job.state in {"new", "rejected"}:
                assert not [task for task in self.charged if task.job is job]

    @invariant()
    def no_charged_task_is_lost(self) -> None:
        """The id of every charged task is known, or its start is known to be uncertain."""
        for task in self.charged:
            if task.job is not None and task.job.state != "elsewhere":
                assert task.id in task.job.ids or task.job.was_uncertain

    @invariant()
    def no_start_has_the_task_of_another(self) -> None:
        """No start has a task that was charged for another one."""
        owners = {task.id: task.job for task in self.charged}
        for job in self.jobs:
            assert all(owners.get(task_id, job) is job for task_id in job.ids)

    @invariant()
    def searches_are_those_of_uncertain_starts(self) -> None:
        """The list is read as far back as the earliest uncertain start."""
        earliest = min((job.search.since for job in self.jobs if job.search is not None), default=math.inf)
        assert self.index.earliest() == earliest


def server_time(seconds: float) -> dt.datetime:
    """Return the time of A2E's clock."""
    return _BEGINNING + dt.timedelta(seconds=seconds)


def record_of(task: ChargedTask) -> dict[str, Any]:
    """Return the record of a task."""
    return {
        "_id": task.id,
        "name": task.name,
        "createdAt": server_time(task.created).isoformat(),
        "current_status": "sent",
    }


def error_of(failure: Response | str) -> A2EError:
    """Return the error that the client raises for a failure."""
    if failure == _UNSENT:
        return NetworkError("refused", request_sent=False)
    if failure == _CLOSED:
        return ClientClosedError("closed meanwhile")
    if isinstance(failure, str):
        return NetworkError("cut")
    with pytest.raises(A2EError) as caught:
        responses.accepted_tasks(decode(failure))
    return caught.value


TestSubmissionMachine = SubmissionMachine.TestCase
TestSubmissionMachine.__doc__ = (
    "In any sequence, every start is charged once, and its task is known or known to be uncertain."
)
# hypothesis needs time to shrink a failing sequence
TestSubmissionMachine.pytestmark = pytest.mark.timeout(300)  # type: ignore[attr-defined]  # read by pytest
TestSubmissionMachine.settings = settings(stateful_step_count=40)


@pytest.mark.parametrize("failure", sorted(_BEFORE_CHARGE))
def test_failure_before_a_charge(failure: str) -> None:
    """A failure before a charge is known as such, or is treated as unknown."""
    error = error_of(_BEFORE_CHARGE[failure])
    assert failure_of(error).outcome in StartOutcome
    assert failure_of(error).outcome is not StartOutcome.UNKNOWN or not failure_of(error).may_send_again


@pytest.mark.parametrize("failure", sorted(_AFTER_CHARGE))
def test_failure_after_a_charge(failure: str) -> None:
    """A failure after a charge is never taken for a rejection, and the start is not sent again."""
    error = error_of(_AFTER_CHARGE[failure])
    assert failure_of(error).outcome is StartOutcome.UNKNOWN
    assert not failure_of(error).may_send_again
