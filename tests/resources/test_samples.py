"""Samples of A2E's responses, one per file in `tests/samples/`: a body, and the values to be read from it.

The ``means`` of a sample has one of these: ``data`` (the data of the envelope), ``records`` (a list of tasks), ``start`` (the
tasks of a start), ``detail`` (the one requested task), ``items`` (objects of `model` that are not tasks), or ``error``. Some
samples also have ``trace_id`` and ``total``. Only the named fields are compared.
"""

from __future__ import annotations

import datetime as dt
import importlib
import json
import pathlib
from typing import TYPE_CHECKING, Any

import pytest

from a2e_async import errors
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item, to_record
from a2e_async._protocol.families import FAMILIES
from a2e_async._protocol.messages import Response
from a2e_async._protocol.responses import decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from a2e_async._protocol.messages import Envelope
    from a2e_async.models.common import TaskRecord

SAMPLES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((pathlib.Path(__file__).parents[1] / "samples").glob("*.json"))
}
"""Name -> sample."""

SHAPES = [*(f"S{number}" for number in range(1, 10)), *(f"E{number}" for number in range(1, 9))]
"""What the reference calls the good and the bad envelopes."""

ANY_ID = "66a1b2c3d4e5f60718293a01"


@pytest.mark.parametrize("name", SAMPLES)
def test_sample(name: str) -> None:
    """The body of a sample is read as the values, or the error, in its file."""
    sample = SAMPLES[name]
    if "error" in sample["means"]:
        check_error(sample)
    else:
        check_values(sample)


def test_every_family_has_a_sample() -> None:
    """Each row of the table of families has a sample."""
    assert FAMILIES.keys() - {sample["family"] for sample in SAMPLES.values()} == set()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_envelope_has_a_sample(shape: str) -> None:
    """Each envelope of the reference, good or bad, has a sample."""
    assert [name for name, sample in SAMPLES.items() if shape in sample["reference"].replace(",", "").split()]


def check_error(sample: dict[str, Any]) -> None:
    """Check a sample that is read as an error."""
    expected = dict(sample["means"]["error"])
    kind, read = getattr(errors, expected.pop("type")), READERS[expected.pop("while", "data")]
    with pytest.raises(errors.A2EError) as caught:
        read(sample, decode(response_of(sample)))
    assert type(caught.value) is kind
    assert named_fields(caught.value, expected) == expected


def check_values(sample: dict[str, Any]) -> None:
    """Check a sample that is read as values."""
    envelope = decode(response_of(sample))
    assert sample["means"]
    for what, expected in sample["means"].items():
        found = READERS[what](sample, envelope)
        if isinstance(expected, list) and what != "data":
            assert [named_fields(value, fields) for value, fields in zip(found, expected, strict=True)] == expected
        elif what == "detail":
            assert named_fields(found, expected) == expected
        else:
            assert found == expected


def response_of(sample: dict[str, Any]) -> Response:
    """Return the response as it is sent."""
    text = sample["text"] if "text" in sample else json.dumps(sample["body"])
    headers = {"content-type": sample.get("content_type", "application/json; charset=utf-8")}
    return Response(status=sample["status"], headers=headers, body=text.encode())


def named_fields(value: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the named fields of a value, as JSON has them."""
    return {name: to_json_value(getattr(value, name)) for name in fields}


def to_json_value(value: Any) -> Any:
    """Return the JSON form of a value."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def record_of(sample: dict[str, Any], raw: dict[str, Any]) -> TaskRecord:
    """Read a task with the rules of its family; without one, those of image to video."""
    family = FAMILIES[sample["family"] or "userImage2Video"]
    record: TaskRecord = to_record(raw, family)
    return record


def read_items(sample: dict[str, Any], envelope: Envelope) -> list[Any]:
    """Read items that are not tasks."""
    module, name = sample["model"].split(".")
    model = getattr(importlib.import_module(f"a2e_async.models.{module}"), name)
    return [to_item(model, raw) for raw in responses.records(envelope.data) or [envelope.data]]


def read_detail(sample: dict[str, Any], envelope: Envelope) -> TaskRecord:
    """Read the one requested task."""
    asked = sample["means"].get("detail", {}).get("id", ANY_ID)
    return record_of(sample, responses.detail(envelope, asked))


READERS: dict[str, Callable[[dict[str, Any], Envelope], Any]] = {
    "data": lambda _, envelope: envelope.data,
    "trace_id": lambda _, envelope: envelope.trace_id,
    "total": lambda _, envelope: responses.total_of(envelope.data),
    "records": lambda sample, envelope: [record_of(sample, raw) for raw in responses.records(envelope.data)],
    "start": lambda sample, envelope: [
        record_of(sample, task.raw or {}) for task in responses.accepted_tasks(envelope)
    ],
    "detail": read_detail,
    "items": read_items,
}
"""What a sample may mean -> how the client reads that."""
