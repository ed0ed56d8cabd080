"""Random lives of a job: crashes, clocks, lists and lost answers together, against an A2E that keeps a ledger.

`test_submission_machine.py` checks the rules alone. Here whole clients run, with a journal and a store of keys, in processes that
are killed at any moment. What was on the disk then is what the next process finds.
"""

from __future__ import annotations

import asyncio
import itertools
import pathlib
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledger_a2e import EPOCH, LOSSES, REJECTIONS, LedgerA2E

from a2e_async import A2EClient, A2EError, Job, KeyEntry, NetworkError, StartPolicy, SubmissionUncertainError
from a2e_async.config import Config
from a2e_async.testing.clock import VirtualEventLoop

if TYPE_CHECKING:
    from a2e_async._protocol.messages import Request, Response

LINK = "https://example.com/ada.png"
KEYS = ("key 1", "key 2")
JOBS = ("job a", "job b", "job c")
SETTLED = 200.0
"""Seconds after which A2E has accepted and listed all that it was sent."""


start_faults = st.tuples(
    st.sampled_from(["", "", "swapped", "swapped", "unsent", *REJECTIONS, *LOSSES]),
    st.sampled_from([0.2, 1.0, 30.0, 95.0, 115.0]),
    st.booleans(),
)
starts = st.fixed_dictionaries(
    {
        "pick": st.integers(0, 3),
        "resend": st.booleans(),
        "faults": st.lists(start_faults, max_size=3),
        "trap": st.sampled_from(["", "", "before", "during", "during", "after", "before the store", "after the store"]),
    }
)


class KilledError(NetworkError):
    """The process was killed. Nothing that its code does afterwards has an effect."""


@attrs.define(eq=False)
class Process:
    """A process with one client. It can be killed.

    Attributes:
        calls: What it does.
        trap: The point of a start at which it is killed.
        entries: What is on the disk of the store of keys.
    """

    world: CrashMachine
    client: A2EClient = attrs.field(init=False)
    calls: list[asyncio.Task[None]] = attrs.field(factory=list)
    trap: str = ""
    is_dead: bool = False
    was_suspended: bool = False
    has_batch: bool = False

    def __attrs_post_init__(self) -> None:
        """Make the client."""
        self.client = A2EClient(
            "sk_test",
            base_url="http://127.0.0.1:1",
            config=Config(start=StartPolicy(key_scan_delays=(0.0,)), proxy=""),
            key_store=self,
        )

    # what the client is given

    async def send(self, request: Request) -> Response:
        """Send a request, as `HttpTransport` does."""
        self._check_alive()
        try:
            async with asyncio.timeout(120):
                response = await self.world.a2e.answer(request, self)
        except TimeoutError:
            msg = "no answer"
            raise NetworkError(msg) from None
        self._check_alive()
        return response

    async def load(self, key: str) -> KeyEntry | None:
        """Read the entry of a key."""
        await asyncio.sleep(0)
        self._check_alive()
        return self.world.entries.get(key)

    async def replace(self, key: str, old: KeyEntry | None, new: KeyEntry | None) -> bool:
        """Write the entry of a key. A process can be killed right before and right after that."""
        await self.pass_point("before the store")
        await asyncio.sleep(0)
        self._check_alive()
        stored = self.world.entries.get(key)
        if stored != old:
            return False
        if new is None:
            del self.world.entries[key]
        else:
            self.world.entries[key] = new
        await self.pass_point("after the store")
        await asyncio.sleep(0.05)
        self._check_alive()
        return True

    async def pass_point(self, point: str) -> None:
        """Pass a point of a start: there it is killed if the trap is set."""
        if self.trap == point and not self.is_dead:
            await self.world.kill(self)
        self._check_alive()

    def _check_alive(self) -> None:
        if self.is_dead:
            raise KilledError

    # what it does

    async def start(self, key: str, *, resend: bool) -> None:
        """Start one task with an idempotency key, and compare what the caller is told with the ledger."""
        posted = len(self.world.a2e.posts)
        try:
            task = await self.client.image_to_video.start(
                image_url=LINK,
                prompt=key,
                negative_prompt="n",
                name="Ada",
                idempotency_key=key,
                on_unknown="resend" if resend else None,
            )
        except SubmissionUncertainError:
            pass
        except A2EError as error:
            self.check_not_charged(key, posted, error)
        else:
            self.world.check_result(self, key, task.id)

    async def run_batch(self, journal: pathlib.Path, jobs: tuple[str, ...], *, resend: bool) -> None:
        """Run a batch, and compare its results with the ledger."""
        posted = len(self.world.a2e.posts)
        items = [Job(key=job, prompt=job, negative_prompt="n", image_url=LINK) for job in jobs]
        options: dict[str, Any] = {"journal": journal, "on_unknown": "resend" if resend else None}
        try:
            async with self.client.image_to_video.batch(items, **options) as batch:
                async for result in batch:
                    if self.is_dead:
                        continue
                    self.world.results[result.key] = result.state
                    if result.state == "succeeded" or (result.state == "skipped" and result.task_id):
                        self.world.check_result(self, result.key, str(result.task_id))
                    elif result.state != "uncertain":
                        self.check_not_charged(result.key, posted, result.error)
        except A2EError:
            if not self.is_dead:
                raise
        finally:
            self.has_batch = False

    def check_not_charged(self, job: str, posted: int, error: BaseException | None) -> None:
        """Check that a start which is not reported as uncertain was not accepted."""
        posts = [post for post in self.world.a2e.posts[posted:] if post.job == job and post.sender is self]
        is_told = all(post.task is None or post.is_settled for post in posts)
        assert self.is_dead or is_told, f"{job} may be accepted, and the caller is told: {error!r}"


class CrashMachine(RuleBasedStateMachine):
    """Processes that start tasks with keys and in batches, and that are killed, on a machine whose clocks are wrong."""

    def __init__(self) -> None:
        """Begin with an A2E without tasks, an empty disk and right clocks."""
        super().__init__()
        loop = asyncio.new_event_loop()
        assert isinstance(loop, VirtualEventLoop)
        self.loop = loop
        self.clock = self.loop.clock
        self.clock.elapsed, self.clock._time = 0.0, EPOCH.timestamp()
        self.wall_shift = 0.0
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.a2e = LedgerA2E(self.clock)
        self.processes: list[Process] = []
        self.entries: dict[str, KeyEntry] = {}
        self.journals = (self.folder / f"{number}.sqlite" for number in itertools.count())
        self.journal = next(self.journals)
        self.backup: pathlib.Path | None = None
        self.resent: dict[str, int] = {}
        self.asked: set[str] = set()
        self.results: dict[str, str] = {}
        self.error: BaseException | None = None

    def run(self, work: Any) -> Any:
        """Run a coroutine in the event loop of the example."""
        return self.loop.run_until_complete(work)

    # the world

    @rule(seconds=st.sampled_from([0.02, 1.0, 25.0, 130.0, 900.0]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass."""
        self.run(asyncio.sleep(seconds))
        for process in self.processes:
            for call in process.calls:
                if call.done() and not call.cancelled():
                    call.result()

    @precondition(lambda self: self.wall_shift >= 0)
    @rule(seconds=st.sampled_from([30.0, 600.0, 7200.0]))
    def suspend(self, seconds: float) -> None:
        """Suspend the machine: the event loop's clock stands still, all others go on.

        Not between the last look at the clock and the request, which nothing can notice.
        """
        self.time_passes(0.001)
        self.clock._time += seconds
        self.a2e.suspended += seconds
        for process in self.processes:
            process.was_suspended = True

    @rule(shift=st.sampled_from([-3600.0, 0.0, 3600.0]))
    def set_wall_clock(self, shift: float) -> None:
        """Set the wall clock. After a suspend that no request has noticed, setting it back would hide the suspend."""
        if not any(process.was_suspended for process in self.processes) or shift >= self.wall_shift:
            self.clock._time += shift - self.wall_shift
            self.wall_shift = shift

    @rule(lag=st.sampled_from([0.0, 5.0, 30.0, 58.0]), skew=st.sampled_from([0.0, 20.0, -20.0]))
    def change_the_list(self, lag: float, skew: float) -> None:
        """Let the list be late, and the clocks of A2E's machines differ."""
        self.a2e.lag, self.a2e.skew = lag, skew

    @rule(
        faults=st.lists(
            st.sampled_from(
                [
                    "",
                    "error",
                    "short",
                    "empty",
                    "no total",
                    "small total",
                    "no ids",
                    "cached",
                    "old",
                    "shifted",
                    "refused",
                ]
            ),
            min_size=1,
            max_size=12,
        )
    )
    def spoil_the_list(self, faults: list[Any]) -> None:
        """Let the next pages of the list be wrong, each in its own way."""
        self.a2e.list_faults = faults

    @rule(fault=st.sampled_from(["error", "short", "short", "empty", "no ids", "cached", "old", "no total", "shifted"]))
    def spoil_the_list_for_long(self, fault: Any) -> None:
        """Let all pages of the list be wrong in the same way, until this changes."""
        self.a2e.list_faults = [fault] * 10_000

    @rule(count=st.sampled_from([1, 4, 8]))
    def another_program(self, count: int) -> None:
        """Let another program start tasks in the same account."""
        for _ in range(count):
            self.a2e.add_task("", "Bob")

    @precondition(lambda self: self.a2e.tasks)
    @rule(pick=st.integers(0, 50), ours=st.booleans())
    def delete(self, pick: int, ours: bool) -> None:  # noqa: FBT001  hypothesis passes it by name
        """Let another program delete a task, also one of ours."""
        tasks = [
            task for task in self.a2e.listed() if bool(task.job) == ours and self.a2e.now() > task.accepted_at + 10
        ]
        if tasks:
            tasks[pick % len(tasks)].is_deleted = True

    # the client

    @rule(key=st.sampled_from(KEYS), options=starts)
    def start(self, key: str, options: dict[str, Any]) -> None:
        """Start a task with a key, in a process that runs already or in a new one."""
        process = self.prepare((key,), options)
        process.calls.append(self.loop.create_task(process.start(key, resend=options["resend"])))
        self.time_passes(0.02)

    @precondition(lambda self: not any(process.has_batch for process in self.processes))
    @rule(count=st.integers(1, 3), options=starts)
    def run_batch(self, count: int, options: dict[str, Any]) -> None:
        """Run a batch, or resume it."""
        process, jobs = self.prepare(JOBS[:count], options), JOBS[:count]
        if self.journal.exists():
            self.backup = self.copy_journal()
        process.has_batch = True
        process.calls.append(self.loop.create_task(process.run_batch(self.journal, jobs, resend=options["resend"])))
        self.time_passes(0.02)

    def prepare(self, jobs: tuple[str, ...], options: dict[str, Any]) -> Process:
        """Let the next starts meet faults, and return a process that runs already, or a new one."""
        self.asked |= {*jobs}
        for job in jobs:
            self.resent[job] = self.resent.get(job, 0) + options["resend"]
        self.a2e.start_faults = options["faults"].copy()
        process = self.pick_process(options["pick"])
        process.trap = options["trap"]
        return process

    @precondition(lambda self: self.processes)
    @rule(pick=st.integers(0, 3))
    def kill_now(self, pick: int) -> None:
        """Kill a process."""
        self.run(self.kill(self.processes[pick % len(self.processes)]))

    @precondition(lambda self: self.backup and not any(process.has_batch for process in self.processes))
    @rule()
    def restore(self) -> None:
        """Restore the journal as it was before the last run, when A2E has listed all that it was sent."""
        self.a2e.list_faults.clear()
        self.time_passes(SETTLED)
        assert self.backup is not None
        self.journal, self.backup = self.backup, None

    # how it is done

    def pick_process(self, pick: int) -> Process:
        """Return a process that runs, or a new one."""
        if pick < len(self.processes):
            return self.processes[pick]
        process = Process(self)
        self.processes.append(process)
        self.run(self.open(process))
        return process

    async def open(self, process: Process) -> None:
        """Give a client its transport."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("a2e_async.client.HttpTransport", lambda *_: process)
            process.client._state.services()

    async def kill(self, process: Process) -> None:
        """Kill a process: what is on the disk at this moment is all that remains."""
        while self.loop.jobs:  # SQLite is in the middle of a write
            await asyncio.sleep(0.001)
        if process.is_dead:
            return
        process.is_dead = True
        self.processes.remove(process)
        if process.has_batch:
            self.journal = self.copy_journal()
        calls = [call for call in process.calls if call is not asyncio.current_task()]
        for call in calls:
            call.cancel()

    def copy_journal(self) -> pathlib.Path:
        """Return a copy of the journal."""
        copy = next(self.journals)
        for suffix in ("", "-wal"):
            if (file := self.journal.with_name(self.journal.name + suffix)).exists():
                shutil.copy(file, copy.with_name(copy.name + suffix))
        return copy

    def check_result(self, process: Process, job: str, task_id: str) -> None:
        """Check that a caller gets the task of its own job."""
        assert process.is_dead or self.a2e.tasks[task_id].job == job, f"{job} got the task of another"

    @invariant()
    def nothing_is_charged_twice(self) -> None:
        """No key and no job is charged twice, unless its task was deleted or the caller allowed it."""
        assert not self.a2e.violations, self.a2e.violations
        for job in self.asked:
            charged = [task for task in self.a2e.charged(job) if not task.is_deleted]
            assert len(charged) <= 1 + self.resent.get(job, 0), f"{job} is charged {len(charged)} times"

    def teardown(self) -> None:
        """Let A2E work as usual, and run everything once more: then each task that was charged is found."""
        try:
            self.finish()
        finally:
            self.run(self.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    def finish(self) -> None:
        """Let all processes end, and run everything once more."""
        a2e = self.a2e
        a2e.list_faults.clear()
        a2e.start_faults.clear()
        for process in self.processes:
            process.trap = ""
        while any(not call.done() for process in self.processes for call in process.calls):
            self.time_passes(SETTLED)
        a2e.lag = 0.0
        self.nothing_is_charged_twice()
        before = {job: [task for task in a2e.charged(job) if not task.is_deleted] for job in sorted(self.asked)}
        last = self.pick_process(len(self.processes))
        for key in KEYS:
            if key in self.asked:
                self.run(last.start(key, resend=True))
        if self.asked & {*JOBS}:
            self.run(last.run_batch(self.journal, tuple(job for job in JOBS if job in self.asked), resend=False))
        self.nothing_is_charged_twice()
        for job, tasks in before.items():
            after = [task for task in a2e.charged(job) if not task.is_deleted]
            if tasks:
                assert after == tasks, f"{job} was charged before, and its task was not found"
            elif not a2e.charged(job) and job in KEYS:
                pytest.fail(f"{job} was not started")

    async def close(self) -> None:
        """End all that still runs."""
        for process in self.processes.copy():
            await self.kill(process)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self.loop.shutdown_default_executor()


TestCrashMachine = CrashMachine.TestCase
TestCrashMachine.__doc__ = "In any life, each job is charged once, and its task is found or known to be uncertain."
TestCrashMachine.pytestmark = pytest.mark.timeout(300)  # type: ignore[attr-defined]  # read by pytest
TestCrashMachine.settings = settings(max_examples=150, stateful_step_count=30)


@pytest.mark.soak
@pytest.mark.timeout(3600)
class TestManyCrashes(CrashMachine.TestCase):  # type: ignore[valid-type,misc]  # made by hypothesis
    """The same with many more lives, other ones in each run."""

    settings = settings(max_examples=3000, stateful_step_count=40, derandomize=False, print_blob=True)
