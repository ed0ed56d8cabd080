"""Records of A2E with odd, but valid JSON: each job of a batch ends in a result, and nothing is paid twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from batches import collect_results, make_jobs, spent_coins, states_by_key
from virtual_clock import now

from a2e_async.sandbox.state import Task

if TYPE_CHECKING:
    import pathlib

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

MARK = "the odd value"
"""A text that the JSON in the table replaces."""


def nested(depth: int) -> str:
    """Return the JSON of arrays within arrays."""
    return "[" * depth + "]" * depth


@pytest.fixture
def odd_json(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list; its last two texts become the name and the JSON of a field of each record."""
    odd: list[str] = []
    record, make = Task._record, web.json_response

    def show(task: Task, result: dict[str, object]) -> dict[str, object]:
        return record(task, result) | {odd[-2]: MARK}

    def respond(data: Any, **options: Any) -> web.Response:
        text = json.dumps(data).replace(f'"{MARK}"', odd[-1])
        return web.Response(text=text, content_type="application/json", **options)

    monkeypatch.setattr(Task, "_record", show)
    monkeypatch.setattr(web, "json_response", respond)
    assert make is not respond
    return odd


@pytest.mark.parametrize(
    ("field", "value", "state"),
    [
        *[pytest.param("x", nested(depth), "succeeded", id=f"{depth} deep") for depth in (900, 980, 990, 3000, 20_000)],
        pytest.param("x", '{"a":' * 3000 + "1" + "}" * 3000, "succeeded", id="objects"),
        pytest.param("\ud800", '"\\udfff"', "succeeded", id="surrogates"),
        pytest.param("name", '"\\ud83d"', "succeeded", id="surrogate in the name"),
        pytest.param("failed_message", "[1]", "succeeded", id="array for a text"),
        pytest.param("x", "1" + "0" * 4000, "succeeded", id="number"),
        pytest.param("coins", "1" + "0" * 400, "succeeded", id="coins"),
        pytest.param("createdAt", '"99999-01-01T00:00:00Z"', "succeeded", id="time"),
        pytest.param("_id", "17", "uncertain", id="id of another task"),
        pytest.param("_id", '{"$oid": "abc"}', "uncertain", id="id of MongoDB"),
        pytest.param("_id", '"\\ud800"', "uncertain", id="id with a surrogate"),
        pytest.param("_id", '".."', "uncertain", id="id of a path"),
        pytest.param("_id", '{"a": 1}', "skipped", id="id of an object"),
        pytest.param("_id", nested(980), "skipped", id="deep id"),
        pytest.param("_id", "null", "skipped", id="no id"),
        pytest.param("_id", "9" * 5000, "skipped", id="id of 5000 digits"),
        pytest.param("x", "9" * 5000, "skipped", id="number of 5000 digits"),
    ],
)
async def test_each_job_has_a_result(
    a2e: A2EClient, sandbox: Sandbox, path: pathlib.Path, odd_json: list[str], *, field: str, value: str, state: str
) -> None:
    """As many results come out as jobs go in, in a few minutes, and each job is paid once at most."""
    odd_json += [field, value]
    batch = a2e.image_to_video.batch(make_jobs(12), journal=path, max_running=3)
    results = await collect_results(batch)
    assert len(results) == 12
    assert state in states_by_key(results).values()
    assert len(sandbox.tasks) <= 12
    assert spent_coins(sandbox) <= 12 * 30
    assert now() < 900
    if state == "succeeded":
        assert set(states_by_key(results).values()) == {"succeeded"}
    if state == "skipped":
        assert len(sandbox.tasks) <= 5
