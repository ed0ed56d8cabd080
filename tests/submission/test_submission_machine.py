"""Any story of starts, losses, looks and resends: never started twice, never lost, never another's task.

The client of this story follows plain rules and knows nothing but what `_protocol` tells it; A2E is a list of the tasks
that it has charged for, some of which it does not show for a while.
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
from a2e_async._protocol.decoding import decode
from a2e_async._protocol.failures import Outcome, may_send_again, outcome
from a2e_async._protocol.messages import Envelope, Response
from a2e_async._protocol.pagination import Pages
from a2e_async._submission.markers import Register, Search, horizon, is_past, mark, marker_of, markers_asked
from a2e_async.errors import A2EError, ClientClosedError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")

_BEGINNING = dt.datetime(2026, 8, 1, 12, tzinfo=dt.UTC)
_PAGE = 2
"""Records in a page, so few that most lists have several."""

_LOST = "lost"
_UNSENT = "unsent"
_CLOSED = "closed"

_BEFORE: dict[str, Response | str] = {
    "not sent": _UNSENT,
    "client closed": _CLOSED,
    "lost on the way": _LOST,
    "bad request": Response(status=400, body=b'{"code":400,"msg":"Bad","errors":["prompt is required"]}'),
    "no coins": Response(status=402, body=b'{"code":402,"msg":"insufficient credits"}'),
    "refused image": Response(status=403, body=b'{"code":1003,"msg":"a minor"}'),
    "error in a good answer": Response(status=200, body=b'{"code":-1,"message":"Request failed"}'),
    "too many": Response(status=429, headers={"retry-after": "1"}, body=b'{"code":429,"msg":"slow down"}'),
    "too many, says a gateway": Response(status=429, body=b"<html>"),
    "busy": Response(status=200, body=b'{"code":1001,"msg":"hosts are occupied"}'),
    "gateway without A2E": Response(status=503, headers={"retry-after": "1"}, body=b"upstream connect error"),
    "flagged content": Response(status=200, body=b'{"code":0,"data":{"flagged":true,"reason":"nsfw"}}'),
}
"""What can happen to a start that is not accepted."""

_AFTER: dict[str, Response | str] = {
    "answer lost": _LOST,
    "500": Response(status=500, body=b'{"code":-1,"message":"Request failed"}'),
    "502": Response(status=502, body=b"<html>"),
    "busy gateway": Response(status=503, headers={"retry-after": "1"}, body=b'{"code":1001,"msg":"busy"}'),
    "too many, says a 5xx": Response(status=500, headers={"retry-after": "1"}, body=b'{"code":429,"msg":"rate limit"}'),
    "coins, says a 5xx": Response(status=500, body=b'{"code":402,"msg":"insufficient credits"}'),
    "504": Response(status=504, body=b""),
    "408": Response(status=408, body=b"Request Timeout"),
    "inner 500": Response(status=200, body=b'{"code":500,"msg":"boom"}'),
    "cut": Response(status=200, body=b'{"code":0,"data":{"_id":"'),
    "page": Response(status=200, body=b"<html>"),
    "page of a wrong route": Response(status=404, body=b"<html>"),
    "redirect": Response(status=302, headers={"location": "https://login.example"}),
    "nothing": Response(status=200, body=b""),
    "no id": Response(status=200, body=b'{"code":0,"data":null}'),
    "code 200": Response(status=200, body=b'{"code":200,"data":{}}'),
}
"""How the answer to a start can get lost that was accepted, and is paid."""


@attrs.define(eq=False)
class Charged:
    """A task that A2E has charged for."""

    id: str
    job: Job | None
    name: str
    created: float
    visible_at: float


@attrs.define(eq=False)
class Job:
    """What the client knows of one start."""

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


def given_a(*states: str) -> Callable[[F], F]:
    """Restrict a rule to when a job is in one of these states."""
    return precondition(lambda machine: any(job.state in states for job in machine.jobs))


class Purchases(RuleBasedStateMachine):
    """Starts, losses, looks and resends in any order."""

    def __init__(self) -> None:
        """Begin with an A2E without tasks, and a client that knows nothing."""
        super().__init__()
        self.now = 0.0
        self.charged: list[Charged] = []
        self.jobs: list[Job] = []
        self.register = Register()
        self.shown: dict[str, set[str]] = {}  # marker -> ids that the client was shown

    def a(self, pick: int, *states: str) -> Job:
        """Return one of the jobs in these states."""
        jobs = [job for job in self.jobs if job.state in states]
        return jobs[pick % len(jobs)]

    # A2E

    def accept(self, job: Job | None, name: str, count: int, hidden: float, skew: float) -> list[Charged]:
        """Charge for a start."""
        made = [
            Charged(str(len(self.charged) + number), job, name, self.now + skew, self.now + hidden)
            for number in range(count)
        ]
        self.charged += made
        return made

    def visible(self, marker: str | None = None) -> list[Charged]:
        """Return the tasks that A2E shows by now, the newest first."""
        shown = [task for task in self.charged if task.visible_at <= self.now]
        shown = [task for task in shown if marker is None or (task.job is not None and task.job.marker == marker)]
        return sorted(shown, key=lambda task: task.created, reverse=True)

    def page(self, number: int) -> Envelope:
        """Answer a page of the list, with A2E's clock in its ``Date``."""
        rows = [record_of(task) for task in self.visible()[_PAGE * (number - 1) :][:_PAGE]]
        body = json.dumps({"code": 0, "data": {"rows": rows, "count": len(self.charged)}}).encode()
        return decode(Response(status=200, headers={"date": format_datetime(moment(self.now), usegmt=True)}, body=body))

    # the client

    @rule(
        noise=st.binary(min_size=10, max_size=10),
        name=st.text(max_size=5).filter(str.strip),
        count=st.sampled_from([1, 1, 1, 2, 3]),
    )
    def order(self, noise: bytes, name: str, count: int) -> None:
        """Somebody wants a video, or several of one image."""
        marker = marker_of(noise)
        if all(job.marker != marker for job in self.jobs):
            self.jobs.append(Job(marker, mark(name, marker, count), count))

    @precondition(lambda self: self.jobs)
    @rule(noise=st.binary(min_size=10, max_size=10), pick=picks)
    def order_by_the_name_of_another(self, noise: bytes, pick: int) -> None:
        """Somebody wants another one like an earlier task, and copies its name as A2E shows it."""
        self.order(noise=noise, name=self.jobs[pick % len(self.jobs)].name, count=1)

    @given_a("new")
    @rule(pick=picks, fate=st.sampled_from(sorted(_BEFORE)))
    def send_in_vain(self, pick: int, fate: str) -> None:
        """A start is sent, and not accepted."""
        self.learn(self.a(pick, "new"), _BEFORE[fate])

    @given_a("new")
    @rule(pick=picks, hidden=delays, skew=skews)
    def send(self, pick: int, hidden: float, skew: float) -> None:
        """A start is sent, accepted and answered."""
        self.deliver(self.a(pick, "new"), hidden, skew)

    @given_a("new")
    @rule(pick=picks, fate=st.sampled_from(sorted(_AFTER)), hidden=delays, skew=skews)
    def send_and_lose_the_answer(self, pick: int, fate: str, hidden: float, skew: float) -> None:
        """A start is sent and accepted, and the answer gets lost."""
        job = self.a(pick, "new")
        self.accept(job, job.name, job.count, hidden, skew)
        self.learn(job, _AFTER[fate])

    @given_a("uncertain")
    @rule(pick=picks)
    def give_up(self, pick: int) -> None:
        """Nobody looks any longer for a start that was not found."""
        self.end(self.a(pick, "uncertain"), "given up")

    @given_a("uncertain", "given up")
    @rule(pick=picks, hidden=delays)
    def resend(self, pick: int, hidden: float) -> None:
        """The user allows an uncertain start to be sent once more, with the same marker."""
        job = self.a(pick, "uncertain", "given up")
        self.end(job, "bought")
        job.is_sent_once_more = True
        self.deliver(job, hidden, 0.0)

    @given_a("uncertain", "given up")
    @rule(pick=picks, fate=st.sampled_from(sorted(_BEFORE)))
    def resend_in_vain(self, pick: int, fate: str) -> None:
        """It is sent once more and not accepted: whatever that says, nobody knows what became of the first one."""
        job = self.a(pick, "uncertain", "given up")
        self.end(job, "sent twice")
        assert isinstance(error_of(_BEFORE[fate]), A2EError)

    @rule(seconds=st.sampled_from([0.5, 5.0, 40.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        """Time passes, and A2E shows what it has hidden."""
        self.now += seconds

    @rule(
        name=st.sampled_from(["Bob", "Bob [a2e:short]", "[a2e:", ""]) | st.text(max_size=5),
        hidden=delays,
        skew=skews,
    )
    def another_program(self, name: str, hidden: float, skew: float) -> None:
        """Another program starts a task under the same account."""
        self.accept(None, name, 1, hidden, skew)

    @rule(noise=st.binary(min_size=10, max_size=10))
    def another_client(self, noise: bytes) -> None:
        """Another client of ours starts a task under the same account, with a marker of its own."""
        marker = marker_of(noise)
        if all(job.marker != marker for job in self.jobs):
            other = Job(marker, mark("Bob", marker), 1, state="elsewhere")
            self.jobs.append(other)
            self.accept(other, other.name, 1, 0.0, 0.0)

    @precondition(lambda self: self.visible())
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        """The user deletes a task that A2E shows."""
        shown = self.visible()
        gone = shown[pick % len(shown)]
        gone.visible_at = math.inf
        self.register.forget(gone.id)
        for ids in self.shown.values():
            ids.discard(gone.id)
        for job in self.jobs:
            if job.search is not None:
                job.search.found.pop(gone.id, None)  # whoever still looks for it looks at a task that is gone

    @rule(asked=st.sampled_from([_PAGE, _PAGE, _PAGE + 1]))
    def look(self, asked: int) -> None:
        """The client reads the list as far back as anybody searches, and adopts what it finds.

        It may ask for larger pages than A2E gives.
        """
        since, pages = self.register.earliest(), Pages("/api/v1/x/allRecords", asked)
        while not pages.ended:
            params = pages.next().params
            assert params is not None
            envelope = self.page(int(params["pageNum"]))
            responses.check_list(envelope)
            for record in pages.take(envelope):
                self.note(record)
            past = horizon(envelope, age=self.now - since, wall=0.0)
            if is_past(responses.records(envelope.data), past):
                break
        assert not pages.shrank
        for job in self.jobs:
            if job.search is not None:
                self.check_search(job, job.search)
                if len(job.search.found) >= job.count:
                    job.ids |= set(job.search.found)
                    self.end(job, "adopted")

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, by=st.sampled_from(["marker", "capitals", "name"]))
    def find(self, pick: int, by: str) -> None:
        """The user asks for a task by what is known of it, and all that A2E shows is read."""
        job = self.jobs[pick % len(self.jobs)]
        asked = {"marker": job.marker, "capitals": job.marker.upper(), "name": job.name}[by]
        search = Search(markers_asked(asked))
        self.register.open(search)
        known = set(self.shown.get(job.marker, set()))
        assert set(search.found) == known
        self.look(_PAGE)
        self.register.close(search)
        assert set(search.found) == {task.id for task in self.visible(job.marker)} | known

    # what follows from it

    def deliver(self, job: Job, hidden: float, skew: float) -> None:
        """Let A2E accept a start and answer with its tasks."""
        job.sent_at = self.now
        made = self.accept(job, job.name, job.count, hidden, skew)
        body = json.dumps({"code": 0, "data": [record_of(task) for task in made]}).encode()
        for record in responses.started(decode(Response(status=200, body=body))):
            job.ids.add(responses.id_of(record))
            self.check_noted(record, self.register.add(job.marker, record, self.now, count=job.count))
        job.state = "bought"

    def learn(self, job: Job, fate: Response | str) -> None:
        """Let the client make of a failure what `_protocol` says."""
        error, job.sent_at = error_of(fate), self.now
        if may_send_again(error):
            job.state = "new"
        elif outcome(error) is Outcome.UNKNOWN:
            job.state, job.was_uncertain = "uncertain", True
            job.search = Search(frozenset({job.marker}), self.now)
            self.register.open(job.search)
        else:
            job.state = "refused"

    def note(self, record: dict[str, Any]) -> None:
        """Show a record to the client."""
        self.check_noted(record, self.register.note(record, self.now))

    def check_noted(self, record: dict[str, Any], too_many: tuple[str, ...]) -> None:
        """Check that the client notices duplicates exactly when there are some, and when it was shown a task."""
        task = next(task for task in self.charged if task.id == record["_id"])
        if task.job is None:
            assert too_many == ()
            assert self.register.shown_at(task.id) == -math.inf
            return
        assert self.register.shown_at(task.id) == self.now
        ids = self.shown.setdefault(task.job.marker, set())
        is_new = task.id not in ids
        ids.add(task.id)
        assert set(too_many) == (ids if is_new and len(ids) > task.job.count else set())
        assert len(too_many) == len(set(too_many))

    def check_search(self, job: Job, search: Search) -> None:
        """Check that after a look every visible task of a start is found, and no other."""
        assert {task.id for task in self.visible(job.marker)} == set(search.found)

    def end(self, job: Job, state: str) -> None:
        """Stop looking for a start."""
        if job.search is not None:
            self.register.close(job.search)
        job.state, job.search = state, None

    # what is always true

    @invariant()
    def nothing_is_bought_twice(self) -> None:
        """No start is charged more than once, unless somebody asked for it to be sent once more."""
        for job in self.jobs:
            charges = [task for task in self.charged if task.job is job]
            assert len(charges) <= job.count * (2 if job.is_sent_once_more else 1)

    @invariant()
    def what_is_rejected_is_not_paid(self) -> None:
        """Whenever the client believes that a start was not sent, or was rejected, there is no charge."""
        for job in self.jobs:
            if job.state in {"new", "refused"}:
                assert not [task for task in self.charged if task.job is job]

    @invariant()
    def what_is_paid_is_not_lost(self) -> None:
        """Every task that was charged is known by its id, or its start is known to be uncertain."""
        for task in self.charged:
            if task.job is not None and task.job.state != "elsewhere":
                assert task.id in task.job.ids or task.job.was_uncertain

    @invariant()
    def nobody_has_the_task_of_another(self) -> None:
        """No start has a task that was charged for another one."""
        owners = {task.id: task.job for task in self.charged}
        for job in self.jobs:
            assert all(owners.get(task_id, job) is job for task_id in job.ids)

    @invariant()
    def searches_are_those_of_the_uncertain(self) -> None:
        """The list is read as far back as the first start that is still looked for."""
        earliest = min((job.search.since for job in self.jobs if job.search is not None), default=math.inf)
        assert self.register.earliest() == earliest


def moment(seconds: float) -> dt.datetime:
    """Return the time of A2E's clock."""
    return _BEGINNING + dt.timedelta(seconds=seconds)


def record_of(task: Charged) -> dict[str, Any]:
    """Return a task as A2E shows it."""
    return {"_id": task.id, "name": task.name, "createdAt": moment(task.created).isoformat(), "current_status": "sent"}


def error_of(fate: Response | str) -> A2EError:
    """Return the error that the client gets."""
    if fate == _UNSENT:
        return NetworkError("refused", request_sent=False)
    if fate == _CLOSED:
        return ClientClosedError("closed meanwhile")
    if isinstance(fate, str):
        return NetworkError("cut")
    with pytest.raises(A2EError) as caught:
        responses.started(decode(fate))
    return caught.value


TestPurchases = Purchases.TestCase
TestPurchases.__doc__ = "In any story of starts, every task is bought once, and known or known to be uncertain."
# hypothesis takes its time to shorten a story that goes wrong
TestPurchases.pytestmark = pytest.mark.timeout(300)  # type: ignore[attr-defined]  # what pytest looks for
TestPurchases.settings = settings(stateful_step_count=40)


@pytest.mark.parametrize("fate", sorted(_BEFORE))
def test_what_happens_before_a_charge(fate: str) -> None:
    """Each trouble before a charge is told apart from a charge, or is treated as if there could be one."""
    error = error_of(_BEFORE[fate])
    assert outcome(error) in Outcome
    assert outcome(error) is not Outcome.UNKNOWN or not may_send_again(error)


@pytest.mark.parametrize("fate", sorted(_AFTER))
def test_what_happens_after_a_charge(fate: str) -> None:
    """No trouble after a charge is taken for a refusal, or is a reason to send the start again."""
    error = error_of(_AFTER[fate])
    assert outcome(error) is Outcome.UNKNOWN
    assert not may_send_again(error)
