"""What is to be done about a row of a batch's journal, and what an error means for the batch."""

from __future__ import annotations

import re
from typing import Any, cast, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from a2e_async.batch import rules
from a2e_async.batch.rules import Next, Row, RowState, Trouble
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

_STATES: tuple[RowState, ...] = get_args(RowState)
_OPEN: tuple[RowState, ...] = ("sending", "running", "uncertain")


def row(state: RowState = "new", **changes: Any) -> Row:
    """Make a row."""
    return Row(key="k", state=state, created_at=1000.0, **changes)


def failed(kind: str, **changes: Any) -> Row:
    """Make a row of a job that has failed with an error of this type."""
    return row("failed", error={"type": kind, "message": "no"}, **changes)


rows = st.builds(
    Row,
    key=st.just("k"),
    state=st.sampled_from(_STATES),
    purchases=st.integers(0, 4),
    task_id=st.none() | st.just("t1"),
    path=st.none() | st.just("k.mp4"),
    error=st.none() | st.builds(lambda kind: {"type": kind, "message": ""}, st.sampled_from(["A2EError", "BusyError"])),
    created_at=st.just(1000.0),
)


# what to do


@pytest.mark.parametrize(
    ("known", "fetch", "retry_failed", "step"),
    [
        pytest.param(row(), True, 0, Next.START, id="new"),
        pytest.param(row(purchases=1, task_id="t1"), True, 0, Next.TELL, id="refused retry"),
        pytest.param(row(purchases=1, task_id="t1"), True, 1, Next.START, id="refused retry, asked once more"),
        pytest.param(row("sending", marker="m"), True, 0, Next.SETTLE, id="sending"),
        pytest.param(row("uncertain", marker="m"), True, 0, Next.SETTLE, id="uncertain"),
        pytest.param(row("sending", task_id="t1", purchases=1), True, 3, Next.SETTLE, id="sending once more"),
        pytest.param(row("running", task_id="t1", purchases=1), True, 0, Next.WAIT, id="running"),
        pytest.param(row("succeeded", task_id="t1", purchases=1), True, 0, Next.FETCH, id="succeeded without a file"),
        pytest.param(row("succeeded", task_id="t1", purchases=1), False, 0, Next.SKIP, id="no file wanted"),
        pytest.param(row("succeeded", task_id="t1", path="a.mp4"), True, 0, Next.SKIP, id="succeeded with a file"),
        pytest.param(row("succeeded", task_id="t1", purchases=1), False, 9, Next.SKIP, id="succeeded, retries asked"),
        pytest.param(failed("InvalidRequestError"), True, 0, Next.START, id="failed before it was sent"),
        pytest.param(failed("TransferError"), True, 0, Next.START, id="failed upload"),
        pytest.param(row("failed"), True, 0, Next.START, id="failed without a reason"),
        pytest.param(row("failed", error={}), True, 0, Next.START, id="failed with half a reason"),
        pytest.param(failed("BadRequestError"), True, 0, Next.TELL, id="refused"),
        pytest.param(failed("ContentRejectedError"), True, 0, Next.TELL, id="refused for its content"),
        pytest.param(failed("BadRequestError"), True, 1, Next.START, id="refused, retries asked"),
        pytest.param(failed("TaskFailedError", purchases=1), True, 0, Next.TELL, id="paid and failed"),
        pytest.param(row("failed", purchases=1), True, 0, Next.TELL, id="paid and failed without a reason"),
        pytest.param(failed("TaskFailedError", purchases=1), True, 1, Next.START, id="paid, one retry asked"),
        pytest.param(failed("TaskFailedError", purchases=2), True, 1, Next.TELL, id="paid twice, one retry asked"),
        pytest.param(failed("TaskFailedError", purchases=2), True, 2, Next.START, id="paid twice, two retries asked"),
    ],
)
def test_next_step(known: Row, *, fetch: bool, retry_failed: int, step: Next) -> None:
    """Every state of a row leads to what is left to be done, and to no more."""
    assert rules.next_step(known, fetch=fetch, retry_failed=retry_failed) is step


@given(rows, st.booleans(), st.integers(0, 5))
def test_task_that_is_not_final_is_never_started_again(known: Row, fetch: bool, retry_failed: int) -> None:  # noqa: FBT001  drawn
    """What is at A2E, or may be, is not started a second time, whatever was asked for."""
    assume(known.state in {*_OPEN, "succeeded"})
    assert rules.next_step(known, fetch=fetch, retry_failed=retry_failed) is not Next.START


@given(rows, st.booleans())
def test_every_row_has_a_next_step(known: Row, fetch: bool) -> None:  # noqa: FBT001  drawn
    """No state is forgotten."""
    assert isinstance(rules.next_step(known, fetch=fetch, retry_failed=0), Next)


@given(rows, st.booleans(), st.integers(0, 5))
def test_one_purchase_and_as_many_as_were_asked_for(known: Row, fetch: bool, retry_failed: int) -> None:  # noqa: FBT001  drawn
    """A row is never started more often than once and `retry_failed` times."""
    if rules.next_step(known, fetch=fetch, retry_failed=retry_failed) is Next.START:
        assert known.purchases == 0 or known.purchases < 1 + retry_failed


def test_unknown_state_is_not_bought() -> None:
    """A word that somebody has written into a journal by hand is not taken for leave to start."""
    known = row(cast("RowState", "paused"), task_id="t1", purchases=1)
    assert rules.next_step(known, fetch=True, retry_failed=3) is not Next.START


# what was sent, and made no task


@pytest.mark.parametrize(
    ("state", "age", "resend", "may"),
    [
        pytest.param("sending", 0.0, False, True, id="just crashed"),
        pytest.param("sending", rules.SHOWN_UNTIL - 1, False, True, id="crashed while lists still show it"),
        pytest.param("sending", rules.SHOWN_UNTIL, False, False, id="crashed too long ago"),
        pytest.param("uncertain", 0.0, False, False, id="its answer just got lost"),
        pytest.param("uncertain", rules.SHOWN_AFTER - 1, False, False, id="A2E may still show it"),
        pytest.param("uncertain", rules.SHOWN_AFTER, False, True, id="A2E would show it"),
        pytest.param("uncertain", rules.SHOWN_UNTIL - 1, False, True, id="A2E would still show it"),
        pytest.param("uncertain", rules.SHOWN_UNTIL, False, False, id="A2E would not show it any more"),
        pytest.param("sending", rules.SHOWN_UNTIL, True, True, id="crashed too long ago, wanted in any case"),
        pytest.param("uncertain", 0.0, True, True, id="its answer just got lost, wanted in any case"),
    ],
)
def test_may_be_bought(state: RowState, *, age: float, resend: bool, may: bool) -> None:
    """A start without a task is started while A2E's list would surely show what it made, or if the caller says so."""
    assert rules.may_be_bought(row(state), age=age, resend=resend) is may


def test_lists_show_a_task_for_longer_than_they_take_to_show_it() -> None:
    """There is a time in which the list of A2E can be relied on; it ends before the 3 days after which tasks expire."""
    assert 60 < rules.SHOWN_AFTER < rules.SHOWN_UNTIL < 3 * 86400


# errors


def caused(error: A2EError, cause: Exception) -> A2EError:
    """Return an error with its cause."""
    error.__cause__ = cause
    return error


def named(case: object) -> str:
    """Name an error in a table."""
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
    ids=named,
)
def test_shortage_pauses(error: A2EError) -> None:
    """What would happen to every job at this moment is no job's fault, and passes."""
    assert rules.trouble(error) is Trouble.PAUSE


@pytest.mark.parametrize("error", [AuthenticationError("x", status=401), ClientClosedError("x")], ids=named)
def test_what_does_not_pass_stops(error: A2EError) -> None:
    """What would happen to every job from now on ends the starting."""
    assert rules.trouble(error) is Trouble.STOP


@pytest.mark.parametrize(
    "error",
    [
        A2EError("x"),
        APIError("x", status=400),
        BadRequestError("x", status=400),
        ContentRejectedError("x", status=400),
        InvalidRequestError("x"),
        NotFoundError("x", status=404),
        PlanError("x", status=403),
        ServerError("x", status=500),
        SubmissionUncertainError("x"),
        TaskFailedError("x"),
        TransferError("x"),
        UnexpectedResponseError("x", status=200),
        caused(TransferError("x"), OSError("y")),
        caused(TransferError("x"), BadRequestError("y", status=400)),
        caused(ServerError("x", status=500), NetworkError("y")),
    ],
    ids=named,
)
def test_own_trouble_fails_the_job_alone(error: A2EError) -> None:
    """Everything else is about the one job: the others go on."""
    assert rules.trouble(error) is Trouble.JOB


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
    ids=named,
)
def test_may_try_again(error: A2EError, times: int, *, may: bool) -> None:
    """An image that cannot be uploaded while others can gets three tries; who waits for coins or the line, any number."""
    assert rules.may_try_again(error, times) is may


# keys


def test_job_key_is_the_same_everywhere() -> None:
    """Another process makes the same marker of the same row."""
    assert rules.job_key("j1", row()) == rules.job_key("j1", Row(key="k", created_at=5.0, marker="m"))


@pytest.mark.parametrize(
    ("journal", "other"),
    [
        pytest.param("j2", row(), id="another journal"),
        pytest.param("j1", row(purchases=1), id="another purchase"),
        pytest.param("j1", Row(key="l", created_at=1000.0), id="another key"),
        pytest.param("j1", Row(key="0/k", created_at=1000.0), id="a key that looks like a purchase"),
    ],
)
def test_job_key_is_another_one_for_another_purchase(journal: str, other: Row) -> None:
    """Two starts never share a marker."""
    assert rules.job_key(journal, other) != rules.job_key("j1", row())


keys = st.text(st.sampled_from("abk/01"), min_size=1, max_size=6)


@given(st.tuples(keys, st.integers(0, 20)), st.tuples(keys, st.integers(0, 20)))
def test_job_keys_of_a_journal_are_unambiguous(one: tuple[str, int], other: tuple[str, int]) -> None:
    """No key and number of starts run into those of another job."""
    assume(one != other)
    first, second = (Row(key=key, purchases=number, created_at=0.0) for key, number in (one, other))
    assert rules.job_key("j1", first) != rules.job_key("j1", second)


@pytest.mark.parametrize(
    ("known", "bound"),
    [
        pytest.param(row(), False, id="new"),
        pytest.param(row("failed"), False, id="failed before it was paid"),
        pytest.param(row("failed", purchases=1), True, id="failed after it was paid"),
        pytest.param(row(purchases=1), True, id="a refused retry of what was paid"),
        pytest.param(row("sending"), True, id="sending"),
        pytest.param(row("uncertain"), True, id="uncertain"),
        pytest.param(row("running"), True, id="running"),
        pytest.param(row("succeeded"), True, id="succeeded"),
    ],
)
def test_key_is_bound(known: Row, *, bound: bool) -> None:
    """A key may mean another job only as long as surely nothing was started under it."""
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
        pytest.param({"image": {"sha256": "x"}}, {"image": {"sha256": "y"}}, ["image"], id="in depth"),
    ],
)
def test_difference(old: dict[str, Any], new: dict[str, Any], words: list[str]) -> None:
    """The words in which two requests differ are named, in order; None means that a word is not there."""
    assert rules.difference(old, new) == words


requests = st.dictionaries(st.sampled_from(["prompt", "name", "lora"]), st.none() | st.integers(0, 2))


@given(requests, requests)
def test_difference_is_the_same_from_both_sides(old: dict[str, Any], new: dict[str, Any]) -> None:
    """It does not matter which request came first, and one that differs from itself there is none."""
    assert rules.difference(old, new) == rules.difference(new, old)
    assert rules.difference(old, old) == []


@given(requests, requests)
def test_difference_is_all_of_it(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Requests that agree in all that is not named are the same otherwise."""
    words = rules.difference(old, new)
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
    """Tell whether Windows takes a name for a device: up to the first dot it is one, spaces behind it do not count."""
    return _DEVICE.fullmatch(name.split(".", 1)[0].rstrip(" ")) is not None


@pytest.mark.parametrize(
    "key", ["order-17", "a", "7", "_", "-", "a b", "v1.2", "Ada_Lovelace-2.final", "x" * 100, "con1", "icon", "nulls"]
)
def test_plain_key_is_its_file_name(key: str) -> None:
    """Who names jobs like files finds the files under these names."""
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
    """What no file should be called is replaced, and a part of the key's hash keeps two of them apart."""
    name = rules.file_name(key, ".mp4")
    assert re.fullmatch(re.escape(stem) + r"~[0-9a-f]{8,64}\.mp4", name), name


@given(_KEYS)
def test_file_name_is_a_name(key: str) -> None:
    """No key leads out of the folder, to no file, or to one that is hidden or too long for a file system."""
    name = rules.file_name(key, ".mp4")
    assert re.fullmatch(r"[A-Za-z0-9_. ~-]+\.mp4", name)
    assert len(name.encode()) <= 200
    assert not name.startswith((".", " "))
    assert name.removesuffix(".mp4").strip(" .")


@given(_KEYS)
def test_file_name_without_an_extension_is_a_name(key: str) -> None:
    """Also without an extension it is neither the folder itself, nor the one above, nor something Windows cuts off."""
    name = rules.file_name(key, "")
    assert name.strip(" .") == name != ""


@given(
    st.sampled_from(_DEVICES),
    st.sampled_from(["", ".", " ", "/", "a.x", ".x", ".tar.gz", "..x", ".x/"]),
    st.sampled_from(["", "a", " ", "."]),
)
def test_file_name_is_no_device(device: str, end: str, front: str) -> None:
    """On Windows a video is not written to the console or the printer."""
    assert not is_device(rules.file_name(front + device + end, ".mp4"))


@pytest.mark.parametrize("key", ["con .x", "NUL  .a.b"])
def test_file_name_is_no_device_with_spaces(key: str) -> None:
    """A space behind a device's name hides it from us no more than from Windows."""
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
    """Keys that become the same text when they are changed are still told apart."""
    others = {"a?b", "A?B", "a*b", "a?b.", "ê/b"}
    name = rules.file_name(spelling, ".mp4").casefold()
    assert name not in {rules.file_name(other, ".mp4").casefold() for other in others}


def test_name_of_a_changed_key_belongs_to_no_other_key() -> None:
    """A key that is spelt like the file of another one gets a file of its own."""
    taken = rules.file_name("a/b", "")
    assert rules.file_name(taken, "") != taken


def test_million_keys_of_one_shape_have_their_own_files() -> None:
    """Keys in a script of which no letter is kept are told apart by the hash alone, however many there are."""
    assert rules.file_name("第零一四八五六号", ".mp4") != rules.file_name("第零八四五四一号", ".mp4")


# rows


def test_new_row_has_cost_nothing() -> None:
    """A job of which nothing else is known was not started, and is known to have cost nothing."""
    fresh = Row(key="k", created_at=0.0)
    assert (fresh.state, fresh.purchases, fresh.coins, fresh.quoted, fresh.task_id) == ("new", 0, 0, None, None)


def test_row_keeps_secrets_to_itself() -> None:
    """Neither the prompt nor the links are in a row's `repr`."""
    shown = repr(row(request={"prompt": "a private prompt"}, record={"result_url": "https://cdn/signed"}))
    assert "private" not in shown
    assert "signed" not in shown


def test_price_that_cannot_be_counted_is_not_known() -> None:
    """A price of more digits than a float can hold is written as one that nobody knows, and the rest of the row as it is."""
    written = rules.to_values(row("running", coins=10**400, task_id="t1"))
    assert written == rules.to_values(row("running", coins=None, task_id="t1"))
