"""Rules of a batch: the next action for a journal entry, the scope of an error, file names, stored form."""

from __future__ import annotations

import re
from typing import Any, cast, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from a2e_async import StartPolicy
from a2e_async._submission.evidence import LISTED_UNTIL
from a2e_async.batch import rules
from a2e_async.batch.rules import Action, EntryState, JournalEntry
from a2e_async.errors import (
    A2EError,
    APIError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    ClientClosedError,
    ContentRejectedError,
    InsufficientCreditsError,
    InvalidRequestError,
    NetworkError,
    NotFoundError,
    PlanError,
    RateLimitError,
    ServerError,
    SubmissionUncertainError,
    TaskFailedError,
    TransferError,
    UnexpectedResponseError,
)

pytestmark = pytest.mark.pure  # no event loop, no socket, no sleep

_STATES: tuple[EntryState, ...] = get_args(EntryState)
_OPEN: tuple[EntryState, ...] = ("sending", "running", "uncertain")


def make_entry(state: EntryState = "new", **changes: Any) -> JournalEntry:
    """Make an entry."""
    return JournalEntry(key="k", state=state, created_at=1000.0, **changes)


def make_failed(kind: str, **changes: Any) -> JournalEntry:
    """Make the entry of a job that has failed with an error of this type."""
    return make_entry("failed", error={"type": kind, "message": "no"}, **changes)


entries = st.builds(
    JournalEntry,
    key=st.just("k"),
    state=st.sampled_from(_STATES),
    starts=st.integers(0, 4),
    task_id=st.none() | st.just("t1"),
    path=st.none() | st.just("k.mp4"),
    error=st.none() | st.builds(lambda kind: {"type": kind, "message": ""}, st.sampled_from(["A2EError", "BusyError"])),
    created_at=st.just(1000.0),
)


# next action


@pytest.mark.parametrize(
    ("known", "download", "retry_failed", "action"),
    [
        pytest.param(make_entry(), True, 0, Action.START, id="new"),
        pytest.param(make_entry(starts=1, task_id="t1"), True, 0, Action.REPORT, id="refused retry"),
        pytest.param(make_entry(starts=1, task_id="t1"), True, 1, Action.START, id="refused retry, asked once more"),
        pytest.param(make_entry("sending", marker="m"), True, 0, Action.RECONCILE, id="sending"),
        pytest.param(make_entry("uncertain", marker="m"), True, 0, Action.RECONCILE, id="uncertain"),
        pytest.param(make_entry("sending", task_id="t1", starts=1), True, 3, Action.RECONCILE, id="sending once more"),
        pytest.param(make_entry("running", task_id="t1", starts=1), True, 0, Action.WAIT, id="running"),
        pytest.param(
            make_entry("succeeded", task_id="t1", starts=1), True, 0, Action.DOWNLOAD, id="succeeded without a file"
        ),
        pytest.param(make_entry("succeeded", task_id="t1", starts=1), False, 0, Action.SKIP, id="no file wanted"),
        pytest.param(
            make_entry("succeeded", task_id="t1", path="a.mp4"), True, 0, Action.SKIP, id="succeeded with a file"
        ),
        pytest.param(
            make_entry("succeeded", task_id="t1", starts=1), False, 9, Action.SKIP, id="succeeded, retries asked"
        ),
        pytest.param(make_failed("InvalidRequestError"), True, 0, Action.START, id="failed before it was sent"),
        pytest.param(make_failed("TransferError"), True, 0, Action.START, id="failed upload"),
        pytest.param(make_entry("failed"), True, 0, Action.START, id="failed without a reason"),
        pytest.param(make_entry("failed", error={}), True, 0, Action.START, id="failed with half a reason"),
        pytest.param(make_failed("BadRequestError"), True, 0, Action.REPORT, id="refused"),
        pytest.param(make_failed("ContentRejectedError"), True, 0, Action.REPORT, id="refused for its content"),
        pytest.param(make_failed("BadRequestError"), True, 1, Action.START, id="refused, retries asked"),
        pytest.param(make_failed("TaskFailedError", starts=1), True, 0, Action.REPORT, id="paid and failed"),
        pytest.param(make_entry("failed", starts=1), True, 0, Action.REPORT, id="paid and failed without a reason"),
        pytest.param(make_failed("TaskFailedError", starts=1), True, 1, Action.START, id="paid, one retry asked"),
        pytest.param(
            make_failed("TaskFailedError", starts=2), True, 1, Action.REPORT, id="paid twice, one retry asked"
        ),
        pytest.param(
            make_failed("TaskFailedError", starts=2), True, 2, Action.START, id="paid twice, two retries asked"
        ),
    ],
)
def test_next_action(known: JournalEntry, *, download: bool, retry_failed: int, action: Action) -> None:
    """Every state of an entry leads to the right action."""
    assert rules.next_action(known, download=download, retry_failed=retry_failed) is action


@given(entries, st.booleans(), st.integers(0, 5))
def test_task_that_is_not_final_is_never_started_again(known: JournalEntry, download: bool, retry_failed: int) -> None:  # noqa: FBT001  drawn
    """A job with a task at A2E, or a possible one, is not started a second time, for any options."""
    assume(known.state in {*_OPEN, "succeeded"})
    assert rules.next_action(known, download=download, retry_failed=retry_failed) is not Action.START


@given(entries, st.booleans())
def test_every_entry_has_a_next_action(known: JournalEntry, download: bool) -> None:  # noqa: FBT001  drawn
    """Every state of an entry has an action."""
    assert isinstance(rules.next_action(known, download=download, retry_failed=0), Action)


@given(entries, st.booleans(), st.integers(0, 5))
def test_starts_are_limited(known: JournalEntry, download: bool, retry_failed: int) -> None:  # noqa: FBT001  drawn
    """A job is never started more often than once and `retry_failed` times."""
    if rules.next_action(known, download=download, retry_failed=retry_failed) is Action.START:
        assert known.starts == 0 or known.starts < 1 + retry_failed


def test_unknown_state_is_not_started() -> None:
    """A state that was put into a journal by hand never leads to a start."""
    known = make_entry(cast("EntryState", "paused"), task_id="t1", starts=1)
    assert rules.next_action(known, download=True, retry_failed=3) is not Action.START


# starts without a task


@pytest.mark.parametrize(
    ("is_absent", "age", "resend", "may"),
    [
        pytest.param(False, 0.0, False, False, id="A2E may still show it"),
        pytest.param(True, 0.0, False, True, id="A2E would show it"),
        pytest.param(True, LISTED_UNTIL - 1, False, True, id="A2E would still show it"),
        pytest.param(True, LISTED_UNTIL, False, False, id="A2E would not show it any more"),
        pytest.param(False, 0.0, True, True, id="A2E may still show it, wanted in any case"),
        pytest.param(True, LISTED_UNTIL, True, True, id="A2E would not show it any more, wanted in any case"),
    ],
)
def test_may_restart(*, is_absent: bool, age: float, resend: bool, may: bool) -> None:
    """A start without a task is sent again while A2E's list would certainly show its task, or if the caller accepts the risk."""
    assert rules.may_restart(is_absent=is_absent, age=age, resend=resend) is may


@pytest.mark.parametrize(
    ("state", "after_crash", "seconds"),
    [
        ("sending", 180.0, 180.0),
        ("uncertain", 180.0, 540.0),
    ],
)
def test_settle_time(state: EntryState, after_crash: float, seconds: float) -> None:
    """A start that lost its answer gets more time than one that was cut off by a crash."""
    assert rules.settle_time(make_entry(state), after_crash) == seconds


def test_there_is_a_time_in_which_lists_are_reliable() -> None:
    """There is a time in which A2E's list certainly shows a task; it ends before the 3 days after which tasks expire."""
    latest = rules.settle_time(make_entry("uncertain"), StartPolicy().accept_time + StartPolicy().list_delay)
    assert 60 < latest < LISTED_UNTIL < 3 * 86400


# errors


def caused(error: A2EError, cause: Exception) -> A2EError:
    """Return an error with its cause."""
    error.__cause__ = cause
    return error


def error_name(case: object) -> str:
    """Return the id of an error in a table of cases."""
    cause = case.__cause__ if isinstance(case, A2EError) else None
    return type(case).__name__ + (f" by {type(cause).__name__}" if cause else "")


@pytest.mark.parametrize(
    "error",
    [
        NetworkError("x"),
        BusyError("x", status=400),
        RateLimitError("x", status=429),
        InsufficientCreditsError("x", status=400),
        caused(TransferError("x"), NetworkError("y")),
        caused(TransferError("x"), ServerError("y", status=500)),
    ],
    ids=error_name,
)
def test_errors_that_pause(error: A2EError) -> None:
    """An error that every job would get at this moment, and that may pass, pauses the batch."""
    assert rules.pauses_batch(error, is_needed=False)
    assert rules.pauses_batch(error, is_needed=True)
    assert not rules.stops_batch(error)


@pytest.mark.parametrize(
    "error",
    [AuthenticationError("x", status=401), PlanError("x", status=403), ClientClosedError("x")],
    ids=error_name,
)
def test_errors_that_stop(error: A2EError) -> None:
    """An error that every job would get from now on stops the batch."""
    assert rules.stops_batch(error)


@pytest.mark.parametrize(
    "error",
    [
        A2EError("x"),
        APIError("x", status=400),
        BadRequestError("x", status=400),
        ContentRejectedError("x", status=400),
        InvalidRequestError("x"),
        NotFoundError("x", status=404),
        ServerError("x", status=500),
        SubmissionUncertainError("x"),
        TaskFailedError("x"),
        TransferError("x"),
        UnexpectedResponseError("x", status=200),
        caused(TransferError("x"), OSError("y")),
        caused(TransferError("x"), BadRequestError("y", status=400)),
        caused(ServerError("x", status=500), NetworkError("y")),
    ],
    ids=error_name,
)
def test_errors_of_one_job(error: A2EError) -> None:
    """Every other error fails its job only. That A2E fails (500) pauses the batch as well, if every start needs the answer."""
    assert not rules.pauses_batch(error, is_needed=False)
    assert rules.pauses_batch(error, is_needed=True) == isinstance(error, ServerError)
    assert not rules.stops_batch(error)


def test_page_of_a_gateway() -> None:
    """The page of a failed gateway counts as a failure of A2E. A page in its place with another status does not."""
    assert rules.pauses_batch(UnexpectedResponseError("x", status=502), is_needed=True)
    assert not rules.pauses_batch(UnexpectedResponseError("x", status=404), is_needed=True)


_UNREACHABLE = NetworkError("x", request_sent=False)
_BROKEN_OFF = NetworkError("x", request_sent=True)


@pytest.mark.parametrize(
    ("error", "times", "may"),
    [
        (TransferError("x"), 0, True),
        (TransferError("x"), 2, True),
        (TransferError("x"), 3, False),
        (TransferError("x"), 4, False),
        (caused(TransferError("x"), ServerError("y", status=500)), 3, False),
        (caused(TransferError("x"), _BROKEN_OFF), 2, True),
        (caused(TransferError("x"), _BROKEN_OFF), 3, False),
        (caused(TransferError("x"), _UNREACHABLE), 1000, True),
        (_UNREACHABLE, 1000, True),
        (_BROKEN_OFF, 3, True),
        (BusyError("x", status=400), 1000, True),
        (InsufficientCreditsError("x", status=400), 1000, True),
    ],
    ids=error_name,
)
def test_may_retry(error: A2EError, times: int, *, may: bool) -> None:
    """An image that cannot be uploaded while others can gets three tries; a job that waits for credits or the network, any number."""
    assert rules.may_retry(error, times) is may


# keys


def test_job_key_is_the_same_everywhere() -> None:
    """Another process makes the same marker of the same entry."""
    assert rules.job_key("j1", make_entry()) == rules.job_key("j1", JournalEntry(key="k", created_at=5.0, marker="m"))


@pytest.mark.parametrize(
    ("journal", "other"),
    [
        pytest.param("j2", make_entry(), id="another journal"),
        pytest.param("j1", make_entry(starts=1), id="another start"),
        pytest.param("j1", JournalEntry(key="l", created_at=1000.0), id="another key"),
        pytest.param("j1", JournalEntry(key="0/k", created_at=1000.0), id="a key that looks like a start"),
    ],
)
def test_each_start_has_its_own_job_key(journal: str, other: JournalEntry) -> None:
    """Two starts never share a marker."""
    assert rules.job_key(journal, other) != rules.job_key("j1", make_entry())


keys = st.text(st.sampled_from("abk/01"), min_size=1, max_size=6)


@given(st.tuples(keys, st.integers(0, 20)), st.tuples(keys, st.integers(0, 20)))
def test_job_keys_of_a_journal_are_unambiguous(one: tuple[str, int], other: tuple[str, int]) -> None:
    """No key with its number of starts equals that of another job."""
    assume(one != other)
    first, second = (JournalEntry(key=key, starts=number, created_at=0.0) for key, number in (one, other))
    assert rules.job_key("j1", first) != rules.job_key("j1", second)


@pytest.mark.parametrize(
    ("known", "bound"),
    [
        pytest.param(make_entry(), False, id="new"),
        pytest.param(make_entry("failed"), False, id="failed before it was paid"),
        pytest.param(make_entry("failed", starts=1), True, id="failed after it was paid"),
        pytest.param(make_entry(starts=1), True, id="a refused retry of what was paid"),
        pytest.param(make_entry("sending"), True, id="sending"),
        pytest.param(make_entry("uncertain"), True, id="uncertain"),
        pytest.param(make_entry("running"), True, id="running"),
        pytest.param(make_entry("succeeded"), True, id="succeeded"),
    ],
)
def test_key_is_bound(known: JournalEntry, *, bound: bool) -> None:
    """A key may mean another job only as long as certainly no start was accepted for it."""
    assert rules.is_bound(known) is bound


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param({"prompt": "a"}, {"prompt": "a"}, [], id="same"),
        pytest.param({"prompt": "a"}, {"prompt": "b"}, ["prompt"], id="changed"),
        pytest.param({"name": "a"}, {}, ["name"], id="gone"),
        pytest.param({}, {"name": "a"}, ["name"], id="added"),
        pytest.param({"name": None}, {}, [], id="not set, in two ways"),
        pytest.param({"extend_prompt": False}, {}, ["extend_prompt"], id="false is something"),
        pytest.param({"z": 1, "b": 1, "a": 1}, {"z": 2, "a": 2, "b": 1}, ["a", "z"], id="in order"),
        pytest.param({"image": {"sha256": "x"}}, {"image": {"sha256": "y"}}, ["image"], id="another image"),
        pytest.param(
            {"image": {"sha256": "x", "path": "a.png"}},
            {"image": {"sha256": "x", "path": "b.png"}},
            [],
            id="same image",
        ),
        pytest.param({"image": {"sha256": "x", "path": "a.png"}}, {"image": {"sha256": "x"}}, [], id="same bytes"),
        pytest.param({"image": {"url": "a"}}, {"image": {"url": "b"}}, ["image"], id="another link"),
        pytest.param({"image": {"url": "a"}}, {"image": {"sha256": "a"}}, ["image"], id="link and image"),
        pytest.param({"image": {"path": "a"}}, {"image": {"path": "a"}}, [], id="same file, not read"),
        pytest.param({"image": {"sha256": "x"}}, {}, ["image"], id="image gone"),
    ],
)
def test_changed_fields(old: dict[str, Any], new: dict[str, Any], words: list[str]) -> None:
    """The fields in which two requests differ are listed, in order; None means that a field is missing."""
    assert rules.changed_fields(old, new) == words


requests = st.dictionaries(st.sampled_from(["prompt", "name", "lora"]), st.none() | st.integers(0, 2))


@given(requests, requests)
def test_changed_fields_are_symmetric(old: dict[str, Any], new: dict[str, Any]) -> None:
    """The order of the two requests does not matter, and a request does not differ from itself."""
    assert rules.changed_fields(old, new) == rules.changed_fields(new, old)
    assert rules.changed_fields(old, old) == []


@given(requests, requests)
def test_changed_fields_are_complete(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Requests agree in all fields that are not listed."""
    words = rules.changed_fields(old, new)
    assert {**old, **{word: new.get(word) for word in words}}.items() >= {
        (word, value) for word, value in new.items() if value is not None
    }


# files

_KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=500) | st.text(
    st.sampled_from("aA1-_. ~/\\:é"), min_size=1, max_size=120
)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE)
_DEVICES = ["con", "PRN", "Aux", "nul", "COM1", "com9", "lpt1", "LPT0"]


def is_device(name: str) -> bool:
    """Return whether Windows reads a name as a device, by its part before the first dot, without spaces at its end."""
    return _DEVICE.fullmatch(name.split(".", 1)[0].rstrip(" ")) is not None


@pytest.mark.parametrize(
    "key", ["order-17", "a", "7", "_", "-", "a b", "v1.2", "Ada_Lovelace-2.final", "x" * 100, "con1", "icon", "nulls"]
)
def test_plain_key_is_its_file_name(key: str) -> None:
    """A key that is a plain file name becomes that file name."""
    assert rules.file_name(key, ".mp4") == f"{key}.mp4"


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        pytest.param("a/b", "a_b", id="separator"),
        pytest.param("a\\b", "a_b", id="separator of Windows"),
        pytest.param("../../etc/passwd", "______etc_passwd", id="way up"),
        pytest.param("c:x", "c_x", id="drive"),
        pytest.param("a\0b", "a_b", id="null byte"),
        pytest.param("a\nb", "a_b", id="new line"),
        pytest.param("é", "_", id="letter beyond ASCII"),
        pytest.param("e\u0301", "e_", id="the same letter in two parts"),
        pytest.param("Auftrag 7 für Zoë", "Auftrag 7 f_r Zo_", id="some letters beyond ASCII"),
        pytest.param("a~1", "a_1", id="what looks changed"),
        pytest.param(".hidden", "_hidden", id="dot in front"),
        pytest.param("end.", "end_", id="dot at the end"),
        pytest.param(" a ", "a", id="spaces around"),
        pytest.param(".", "_", id="dot"),
        pytest.param("..", "__", id="two dots"),
        pytest.param(" ", "", id="space"),
        pytest.param("con", "con", id="device"),
        pytest.param("NUL.tar.gz", "NUL_tar_gz", id="device with an ending"),
        pytest.param("x" * 101, "x" * 80, id="long"),
        pytest.param("x" * 79 + " y" + "z" * 50, "x" * 79 + " ", id="long, cut at a space"),
    ],
)
def test_other_key_is_changed_and_marked(key: str, stem: str) -> None:
    """Unsafe characters are replaced, and a part of the key's hash keeps two such keys apart."""
    name = rules.file_name(key, ".mp4")
    assert re.fullmatch(re.escape(stem) + r"~[0-9a-f]{8,64}\.mp4", name), name


@given(_KEYS)
def test_file_name_is_a_name(key: str) -> None:
    """No key leads out of the folder, to no file, or to a name that is hidden or too long for a file system."""
    name = rules.file_name(key, ".mp4")
    assert re.fullmatch(r"[A-Za-z0-9_. ~-]+\.mp4", name)
    assert len(name.encode()) <= 200
    assert not name.startswith((".", " "))
    assert name.removesuffix(".mp4").strip(" .")


@given(_KEYS)
def test_file_name_without_an_extension_is_a_name(key: str) -> None:
    """Also without an extension, the name is neither `.` nor `..`, and does not end with a character that Windows removes."""
    name = rules.file_name(key, "")
    assert name.strip(" .") == name != ""


@given(
    st.sampled_from(_DEVICES),
    st.sampled_from(["", ".", " ", "/", "a.x", ".x", ".tar.gz", "..x", ".x/"]),
    st.sampled_from(["", "a", " ", "."]),
)
def test_file_name_is_no_device(device: str, end: str, front: str) -> None:
    """On Windows no video is written to a device."""
    assert not is_device(rules.file_name(front + device + end, ".mp4"))


@pytest.mark.parametrize("key", ["con .x", "NUL  .a.b"])
def test_file_name_is_no_device_with_spaces(key: str) -> None:
    """A space behind the name of a device makes no difference to Windows, nor to us."""
    assert not is_device(rules.file_name(key, ".mp4"))


@given(_KEYS, _KEYS)
def test_changed_names_differ(one: str, other: str) -> None:
    """Two keys never share a file; if one had to be changed, not even where upper and lower case are the same."""
    assume(one != other)
    first, second = (rules.file_name(key, ".mp4") for key in (one, other))
    assert first != second
    if {first, second} != {f"{one}.mp4", f"{other}.mp4"}:
        assert first.casefold() != second.casefold()


@pytest.mark.parametrize("spelling", ["a/b", "A/B", "a\\b", "a_b", "a:b", "a/b ", "é/b", "è/b"])
def test_similar_keys_have_their_own_files(spelling: str) -> None:
    """Keys that become the same text when they are changed get different files."""
    others = {"a?b", "A?B", "a*b", "a?b.", "ê/b"}
    name = rules.file_name(spelling, ".mp4").casefold()
    assert name not in {rules.file_name(other, ".mp4").casefold() for other in others}


def test_name_of_a_changed_key_belongs_to_no_other_key() -> None:
    """A key that is spelt like the file of another key gets a file of its own."""
    taken = rules.file_name("a/b", "")
    assert rules.file_name(taken, "") != taken


def test_million_keys_of_one_shape_have_their_own_files() -> None:
    """Keys in a script of which no letter is kept differ by the hash alone, however many there are."""
    assert rules.file_name("第零一四八五六号", ".mp4") != rules.file_name("第零八四五四一号", ".mp4")


# entries


def test_new_entry_has_cost_nothing() -> None:
    """A new entry has no start and a known cost of 0."""
    fresh = JournalEntry(key="k", created_at=0.0)
    assert (fresh.state, fresh.starts, fresh.coins, fresh.quoted, fresh.task_id) == ("new", 0, 0, None, None)


def test_entry_shows_no_secrets() -> None:
    """Neither the prompt nor the links are in the `repr` of an entry."""
    shown = repr(make_entry(request={"prompt": "a private prompt"}, record={"result_url": "https://cdn/signed"}))
    assert "private" not in shown
    assert "signed" not in shown


@pytest.mark.parametrize("state", _STATES)
def test_open_states(state: EntryState) -> None:
    """An entry is open while A2E has, or may have, a task that has not ended."""
    assert rules.is_open(make_entry(state)) is (state in _OPEN)
