"""What A2E is known to answer, a file each in `tests/samples/`: the body, and what must come out of it.

A sample's ``means`` holds one of these: ``data`` (what the envelope holds), ``records`` (a list of tasks), ``start``
(the tasks of a start), ``detail`` (the one task that was asked for), ``items`` (things of `model` that are no tasks),
or ``error``; and if it matters, ``trace_id`` and ``total``. Only the fields that are named are compared.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib
import json
import pathlib
from typing import TYPE_CHECKING, Any

import pytest

from a2e_async import A2EClient, errors
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item, to_record
from a2e_async._protocol.decoding import decode
from a2e_async._protocol.families import FAMILIES
from a2e_async._protocol.messages import Response
from a2e_async.models.other_families import FamilyRecord
from a2e_async.resources.other_families import _OWN

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
def test_a_sample_means_what_it_says(name: str) -> None:
    """What A2E is known to answer becomes the values, or the error, that its file names."""
    sample = SAMPLES[name]
    if "error" in sample["means"]:
        check_error(sample)
    else:
        check_values(sample)


def test_every_family_has_a_sample() -> None:
    """Nobody adds a row to the table of families without showing what it reads."""
    assert FAMILIES.keys() - {sample["family"] for sample in SAMPLES.values()} == set()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_envelope_has_a_sample(shape: str) -> None:
    """Each envelope of the reference, good or bad, is among the samples."""
    assert [name for name, sample in SAMPLES.items() if shape in sample["reference"].replace(",", "").split()]


def check_error(sample: dict[str, Any]) -> None:
    """Read what must not be taken for an answer."""
    expected = dict(sample["means"]["error"])
    kind, read = getattr(errors, expected.pop("type")), READERS[expected.pop("while", "data")]
    with pytest.raises(errors.A2EError) as caught:
        read(sample, decode(response_of(sample)))
    assert type(caught.value) is kind
    assert shown(caught.value, expected) == expected


def check_values(sample: dict[str, Any]) -> None:
    """Read an answer."""
    envelope = decode(response_of(sample))
    assert sample["means"]
    for what, expected in sample["means"].items():
        found = READERS[what](sample, envelope)
        if isinstance(expected, list) and what != "data":
            assert [shown(value, fields) for value, fields in zip(found, expected, strict=True)] == expected
        elif what == "detail":
            assert shown(found, expected) == expected
        else:
            assert found == expected


def response_of(sample: dict[str, Any]) -> Response:
    """Return the answer as it came over the wire."""
    text = sample["text"] if "text" in sample else json.dumps(sample["body"])
    headers = {"content-type": sample.get("content_type", "application/json; charset=utf-8")}
    return Response(status=sample["status"], headers=headers, body=text.encode())


def shown(value: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the named fields of a value, as JSON writes them."""
    return {name: plain(getattr(value, name)) for name in fields}


def plain(value: Any) -> Any:
    """Return what JSON has for it."""
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def record_of(sample: dict[str, Any], raw: dict[str, Any]) -> TaskRecord:
    """Read a task with the rules of its family; those of image to video if the sample is of none."""
    family = FAMILIES[sample["family"] or "userImage2Video"]
    return to_record(model_of(family.key), raw, family)


@functools.cache
def model_of(key: str) -> type[TaskRecord]:
    """Return the record of a family: that of its resource, if it has one of its own."""
    if key not in _OWN:
        return FamilyRecord
    resource: Any = functools.reduce(getattr, _OWN[key].split("."), A2EClient("sk_samples"))
    model: type[TaskRecord] = resource._record
    return model


def read_items(sample: dict[str, Any], envelope: Envelope) -> list[Any]:
    """Read things that are no tasks."""
    module, name = sample["model"].split(".")
    model = getattr(importlib.import_module(f"a2e_async.models.{module}"), name)
    return [to_item(model, raw) for raw in responses.records(envelope.data) or [envelope.data]]


def read_detail(sample: dict[str, Any], envelope: Envelope) -> TaskRecord:
    """Read the one task that was asked for."""
    asked = sample["means"].get("detail", {}).get("id", ANY_ID)
    return record_of(sample, responses.detail(envelope, asked))


READERS: dict[str, Callable[[dict[str, Any], Envelope], Any]] = {
    "data": lambda _, envelope: envelope.data,
    "trace_id": lambda _, envelope: envelope.trace_id,
    "total": lambda _, envelope: responses.total_of(envelope.data),
    "records": lambda sample, envelope: [record_of(sample, raw) for raw in responses.records(envelope.data)],
    "start": lambda sample, envelope: [record_of(sample, raw) for raw in responses.started(envelope)],
    "detail": read_detail,
    "items": read_items,
}
"""What a sample may mean -> how the client reads that."""
