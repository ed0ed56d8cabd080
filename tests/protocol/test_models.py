"""Models: their public names, and their form as JSON."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import attrs
import pytest

from a2e_async import models


def test_every_name_is_there() -> None:
    """Every public model can be imported by its name."""
    assert all(hasattr(models, name) for name in models.__all__)


def test_other_names_are_not() -> None:
    """A name that is not a model raises the usual AttributeError."""
    with pytest.raises(AttributeError, match="has no attribute 'Unknown'"):
        getattr(models, "Unknown")  # noqa: B009  mypy knows better


URL = "https://cdn.example.com/u/42/ada.mp4?Signature=x"


def test_record_as_a_dict() -> None:
    """`to_dict` has every field but the links, with words, ISO-8601 times and lists, so that `json` can write it."""
    record = models.FamilyRecord(
        id="1",
        name="Ada",
        status=models.TaskStatus.SUCCEEDED,
        coins=30,
        created_at=dt.datetime(2025, 3, 13, 7, 58, 27, tzinfo=dt.UTC),
        result_url=URL,
        result_urls=(URL, URL),
        extra={"n": 2, "coverUrl": "", "parts": [{"link": URL, "x": None}, URL]},
    )
    shown = record.to_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert shown == {
        "id": "1",
        "name": "Ada",
        "status": "succeeded",
        "current_status": "",
        "failed_code": "",
        "failed_message": "",
        "coins": 30,
        "created_at": "2025-03-13T07:58:27+00:00",
        "progress": None,
        "trace_id": "",
        "extra": {"n": 2, "parts": [{"x": None}]},
    }
    assert type(shown["status"]) is str


def test_record_as_a_dict_with_its_links() -> None:
    """With ``links=True`` nothing is left out."""
    record = models.FamilyRecord(id="1", result_url=URL, result_urls=(URL,), extra={"parts": [{"link": URL}]})
    shown = record.to_dict(links=True)
    assert shown.keys() == {field.name for field in attrs.fields(models.FamilyRecord)}
    assert (shown["result_url"], shown["result_urls"], shown["extra"]) == (URL, [URL], {"parts": [{"link": URL}]})
    assert json.dumps(shown)


def test_values_as_dicts() -> None:
    """Values that are not tasks have `to_dict` too, with the values inside them; tokens are left out."""
    language = models.Language(value="en", regions=(models.Region(value="US"),))
    assert language.to_dict()["regions"] == [models.Region(value="US").to_dict()]
    assert "secret" not in str(models.RoomToken(token="secret").to_dict())
    assert models.ApiToken(token="secret").to_dict(links=True)["token"] == "secret"


@pytest.mark.parametrize(
    "model", [model for name in models.__all__ if attrs.has(model := getattr(models, name)) and name != "TaskUpdate"]
)
def test_every_model_can_be_written_as_json(model: Any) -> None:
    """`to_dict` of every model is fit for `json`, with and without links."""
    value = model(id="1") if issubclass(model, models.TaskRecord) else model()
    assert json.dumps(value.to_dict())
    assert json.dumps(value.to_dict(links=True))
