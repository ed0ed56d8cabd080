"""Conversion of JSON to records: every record with an ``_id`` can be read, with any values of its fields."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._protocol.converter import from_record, parse_time, to_item, to_record
from a2e_async._protocol.families import IMAGE_TO_VIDEO, VOICES
from a2e_async.models import ImageToVideoRecord, TaskStatus
from a2e_async.models.avatars import Avatar

_LIVE: dict[str, Any] = {
    "_id": "67d29023dd27a536fdf6e809",
    "name": "Test name",
    "image_url": "https://example.com/a.png",
    "prompt": "she smiles",
    "negative_prompt": "blurry",
    "current_status": "completed",
    "coins": 100,
    "createdAt": "2025-03-13T07:58:27.863Z",
    "failed_message": "",
    "failed_code": "",
    "result_url": "https://cdn.example/x.mp4",
}


def record(**fields: Any) -> ImageToVideoRecord:
    """Read a record with these fields besides its ``_id``."""
    record: ImageToVideoRecord = to_record({"_id": "t1", **fields}, IMAGE_TO_VIDEO)
    return record


def test_documented_record() -> None:
    """The record of A2E's page is read field by field."""
    assert to_record(_LIVE, IMAGE_TO_VIDEO) == ImageToVideoRecord(
        id="67d29023dd27a536fdf6e809",
        name="Test name",
        status=TaskStatus.SUCCEEDED,
        current_status="completed",
        coins=100,
        created_at=dt.datetime(2025, 3, 13, 7, 58, 27, 863000, tzinfo=dt.UTC),
        result_url="https://cdn.example/x.mp4",
        image_url="https://example.com/a.png",
        prompt="she smiles",
        negative_prompt="blurry",
    )


def test_id_alone_is_enough() -> None:
    """Every field except the id may be missing: the task counts as running, and no value is invented."""
    assert record() == ImageToVideoRecord(id="t1", status=TaskStatus.RUNNING)


def test_number_as_id() -> None:
    """An id that is a number becomes text."""
    assert to_record({"_id": 42}, IMAGE_TO_VIDEO).id == "42"


@pytest.mark.parametrize("order", [1, -1], ids=["before", "behind"])
@pytest.mark.parametrize("other", ["another", 7, None], ids=repr)
def test_only_the_underscored_id_is_the_id(order: int, other: object) -> None:
    """A field called ``id`` besides ``_id`` does not replace the id."""
    raw = dict([("id", other), ("_id", "t1")][::order])
    assert to_record(raw, IMAGE_TO_VIDEO).id == "t1"


@pytest.mark.parametrize("order", [1, -1], ids=["before", "behind"])
def test_only_a2es_spelling_of_the_time_is_the_time(order: int) -> None:
    """A field called ``created_at`` besides ``createdAt`` does not replace the documented field."""
    fields = dict([("created_at", ""), ("createdAt", "2025-03-13T07:58:27Z")][::order])
    assert record(**fields).created_at == dt.datetime(2025, 3, 13, 7, 58, 27, tzinfo=dt.UTC)


def test_raw_is_unchanged() -> None:
    """Reading a record does not change the JSON."""
    raw = dict(_LIVE)
    to_record(raw, IMAGE_TO_VIDEO)
    assert raw == _LIVE


def test_unknown_fields_are_kept() -> None:
    """Fields that this version does not know are in `extra`, unchanged."""
    assert record(seed=7, updatedAt="2025", nested={"a": [1]}).extra == {
        "seed": 7,
        "updatedAt": "2025",
        "nested": {"a": [1]},
    }


@pytest.mark.parametrize("name", ["status", "trace_id", "extra"])
def test_fields_with_our_names_are_extra(name: str) -> None:
    """A field with the name of a computed attribute goes to `extra`."""
    read = record(**{name: "succeeded"})
    assert read.extra == {name: "succeeded"}
    assert read.status is TaskStatus.RUNNING
    assert read.trace_id == ""


def test_trace_id_comes_from_the_envelope() -> None:
    """A record has the trace id of its response."""
    assert to_record({"_id": "t1"}, IMAGE_TO_VIDEO, trace_id="abc").trace_id == "abc"


@pytest.mark.parametrize("field", ["name", "image_url", "prompt", "negative_prompt", "result_url", "failed_message"])
def test_null_is_empty(field: str) -> None:
    """A null is read as empty text."""
    assert getattr(record(**{field: None}), field) == ""


@pytest.mark.parametrize("field", ["name", "prompt"])
@pytest.mark.parametrize(("value", "text"), [(5, "5"), (1.5, "1.5"), ("  x ", "  x ")])
def test_scalars_become_text(field: str, value: object, text: str) -> None:
    """A number in a text field becomes text; text stays unchanged."""
    assert getattr(record(**{field: value}), field) == text


@pytest.mark.parametrize(
    ("raw", "coins"),
    [
        pytest.param(100, 100, id="integer"),
        pytest.param(0, 0, id="zero"),
        pytest.param(30.0, 30, id="whole float"),
        pytest.param(7.5, 7.5, id="float"),
        pytest.param("30", 30, id="text"),
        pytest.param(" 7.5 ", 7.5, id="text with spaces"),
        pytest.param("", None, id="empty"),
        pytest.param("thirty", None, id="word"),
        pytest.param("nan", None, id="text that is no number"),
        pytest.param("1e999", None, id="text beyond all floats"),
        pytest.param(float("nan"), None, id="NaN"),
        pytest.param(float("inf"), None, id="Infinity"),
        pytest.param(None, None, id="null"),
        pytest.param(True, None, id="true"),
        pytest.param([30], None, id="array"),
        pytest.param({"amount": 30}, None, id="object"),
        pytest.param(10**400, None, id="integer beyond all floats"),
    ],
)
def test_coins(raw: object, coins: float | None) -> None:
    """A price is a number or unknown, however A2E writes it."""
    read = record(coins=raw).coins
    assert read == coins
    assert type(read) is type(coins)


@pytest.mark.parametrize(
    ("raw", "moment"),
    [
        pytest.param(
            "2025-03-13T07:58:27.863Z", dt.datetime(2025, 3, 13, 7, 58, 27, 863000, tzinfo=dt.UTC), id="documented"
        ),
        pytest.param(" 2025-03-13T07:58:27Z\n", dt.datetime(2025, 3, 13, 7, 58, 27, tzinfo=dt.UTC), id="with spaces"),
        pytest.param("2025-03-13 07:58:27", dt.datetime(2025, 3, 13, 7, 58, 27, tzinfo=dt.UTC), id="without a zone"),
        pytest.param("2025-03-13T09:58:27+02:00", dt.datetime(2025, 3, 13, 7, 58, 27, tzinfo=dt.UTC), id="other zone"),
        pytest.param("", None, id="empty"),
        pytest.param("yesterday", None, id="word"),
        pytest.param("2025-13-45T99:99:99Z", None, id="no such day"),
        pytest.param("0001-01-01T00:00:00+14:00", None, id="before the first year"),
        pytest.param("9999-12-31T23:59:59-14:00", None, id="after the last year"),
        pytest.param(1741852707863, None, id="number"),
        pytest.param(None, None, id="null"),
        pytest.param({"$date": "2025-03-13"}, None, id="object"),
    ],
)
def test_times(raw: object, moment: dt.datetime | None) -> None:
    """A time is in UTC or unknown, however A2E writes it."""
    read = record(createdAt=raw).created_at
    assert read == moment
    assert read is None or read.tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("word", "current_status", "status"),
    [
        ("sent", "sent", TaskStatus.QUEUED),
        (" Completed\n", "completed", TaskStatus.SUCCEEDED),
        ("PROCESSING", "processing", TaskStatus.RUNNING),
        ("NSFW", "nsfw", TaskStatus.FAILED),
        ("", "", TaskStatus.RUNNING),
        (None, "", TaskStatus.RUNNING),
        (7, "7", TaskStatus.RUNNING),
    ],
    ids=ascii,
)
def test_status_words(word: object, current_status: str, status: TaskStatus) -> None:
    """The status word is trimmed and lower-cased before it is looked up, and kept."""
    read = record(current_status=word)
    assert (read.current_status, read.status) == (current_status, status)


@pytest.mark.parametrize("word", [["completed"], {"status": "failed"}, False], ids=repr)
def test_status_that_is_not_text_is_unknown(word: object) -> None:
    """A status that is not text does not end a task."""
    assert record(current_status=word).status is TaskStatus.RUNNING


def test_result_settles_an_unknown_word() -> None:
    """An unknown word with a result means success."""
    assert record(current_status="ready", result_url="https://cdn.example/x.mp4").status is TaskStatus.SUCCEEDED


@pytest.mark.parametrize("field", ["image_url", "cover_url", "video_url", "result"])
def test_other_links_are_no_result(field: str) -> None:
    """Only the family's own field is the result, never a repeated input."""
    read = record(current_status="ready", **{field: "https://cdn.example/x.mp4"})
    assert (read.result_url, read.status) == ("", TaskStatus.RUNNING)


@pytest.mark.parametrize("nothing", ["", "0", 0, None, " 0 ", " ", False, [], {}], ids=repr)
def test_empty_failed_code_is_healthy(nothing: object) -> None:
    """An empty code of any type is no failure, and is read as empty text."""
    read = record(current_status="processing", failed_code=nothing)
    assert (read.status, read.failed_code) == (TaskStatus.RUNNING, "")


@pytest.mark.parametrize("nothing", ["", " ", None, False, [], {}], ids=repr)
def test_empty_result_is_no_success(nothing: object) -> None:
    """An empty result field of any type does not end a task of unknown status."""
    assert record(current_status="warming up", result_url=nothing).status is TaskStatus.RUNNING


@pytest.mark.parametrize(
    ("raw", "code"), [("generation_error", "generation_error"), (17, "17"), (" x ", "x"), ("00", "00")]
)
def test_failed_code_is_a_failure(raw: object, code: str) -> None:
    """A failure code fails the task with every status word, and is kept."""
    read = record(current_status="completed", failed_code=raw)
    assert (read.status, read.failed_code) == (TaskStatus.FAILED, code)


def test_failed_message_alone_is_no_failure() -> None:
    """A failure text without a code or a failing word does not end a task."""
    assert record(current_status="processing", failed_message="queue is long").status is TaskStatus.RUNNING


@pytest.mark.parametrize("field", ["failed_message", "faild_message", "fail_reason", "error", "msg"])
def test_text_of_a_failure(field: str) -> None:
    """The text of a failure is found in every field of reference 1.13."""
    read = record(**{"current_status": "failed", "failed_message": "", field: "no face found"})
    assert read.failed_message == "no face found"


@pytest.mark.parametrize(
    ("first", "second"),
    [("failed_message", "faild_message"), ("faild_message", "fail_reason"), ("fail_reason", "error"), ("error", "msg")],
)
def test_order_of_the_texts_of_a_failure(first: str, second: str) -> None:
    """If A2E gives two texts, the first one in the order of the reference is shown."""
    assert record(**{"current_status": "failed", second: "second", first: "first"}).failed_message == "first"


def nested(depth: int) -> list[Any]:
    """Return arrays within arrays, nested too deeply for Python to write them."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "field", ["name", "current_status", "failed_message", "result_url", "coins", "createdAt", "seed"]
)
@pytest.mark.parametrize("value", [pytest.param(nested(50_000), id="deep"), pytest.param(10**5000, id="huge")])
def test_value_that_cannot_be_written_as_text(field: str, value: object) -> None:
    """A value that Python cannot convert to text does not hide a task."""
    assert record(**{field: value}).id == "t1"


@pytest.mark.parametrize("raw", ["2025-03-13T07:58:27Z", "2025-03-13T09:58:27+02:00", "2025-03-13 07:58:27"])
def test_time_of_a_raw_record(raw: str) -> None:
    """The time of a raw record is read by the same rules, in UTC."""
    assert parse_time(raw) == dt.datetime(2025, 3, 13, 7, 58, 27, tzinfo=dt.UTC)


@pytest.mark.parametrize("raw", [None, "", "soon", 1741852707863, {}], ids=repr)
def test_text_that_is_not_a_time(raw: object) -> None:
    """A text that is not a time gives None."""
    assert parse_time(raw) is None


# and back


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
raw_records = st.dictionaries(
    st.sampled_from([*_LIVE, "faild_message", "error", "process", "progress", "id", "status", "trace_id", "extra"])
    | st.text(max_size=5),
    json_values | st.sampled_from([*_LIVE.values(), "failed", " NSFW ", "30", "1e400", "2025-03-13T09:58:27+02:00"]),
    max_size=8,
).map(lambda fields: {**fields, "_id": "t1"})


def test_documented_record_is_written_as_it_was_read() -> None:
    """A record is written with A2E's names, and no field is lost."""
    assert from_record(to_record(_LIVE, IMAGE_TO_VIDEO)) == {
        **_LIVE,
        "createdAt": "2025-03-13T07:58:27.863000+00:00",
        "process": None,
    }


@given(raw_records)
def test_written_record_is_read_again(raw: dict[str, Any]) -> None:
    """A record is equal after it was written as JSON and read again."""
    first = to_record(raw, IMAGE_TO_VIDEO)
    again = to_record(json.loads(json.dumps(from_record(first))), IMAGE_TO_VIDEO)
    assert again == first
    assert again.extra == first.extra


def test_written_record_is_a_copy() -> None:
    """A change of the written record does not change the original."""
    read = record(seed=7)
    from_record(read)["seed"] = 8
    assert read.extra == {"seed": 7}


def test_trace_id_is_not_written() -> None:
    """The trace id is not a part of the written record."""
    assert "trace_id" not in from_record(to_record({"_id": "t1"}, IMAGE_TO_VIDEO, trace_id="abc"))


# other things than tasks


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (True, True), (False, False), ("true", True), (" False ", False), ("1", True), ("0", False), (1, True), (0, False),
        ("", None), ("maybe", None), (None, None), ([], None), (0.5, None),
    ],
    ids=repr,
)  # fmt: skip
def test_flags(value: object, flag: bool | None) -> None:  # noqa: FBT001  a column of the table
    """A flag is True, False or unknown, however A2E writes it."""
    assert to_record({"_id": "v", "denoise": value}, VOICES).denoise is flag


def test_item_is_read_leniently() -> None:
    """Every field of an item may be missing or odd, and unknown fields are kept."""
    assert to_item(Avatar, {}) == Avatar()
    avatar = to_item(Avatar, {"_id": 7, "lang": ["en", None, "zh"], "people_img": None, "type": ["x"], "age": 3})
    assert avatar == Avatar(id="7", lang=("en", "zh"))
    assert avatar.extra == {"age": 3}
