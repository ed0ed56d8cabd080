"""Records, handles and options in the hands of pydantic, FastAPI, an MCP server, and `json`."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import quick
from asgi_server import exchange
from conditions import wait_until

from a2e_async import A2EClient, ImageToVideoRecord, StartOptions, TaskHandle, TaskStatus, models

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

pydantic = pytest.importorskip("pydantic")

RECORD = ImageToVideoRecord(
    id="6927f1e7a1c5e4e0b5f0a3d2",
    status=TaskStatus.SUCCEEDED,
    created_at=dt.datetime(2026, 11, 30, tzinfo=dt.UTC),
    result_url="https://cdn.example/secret.mp4",
    extra={"video_url": "https://cdn.example/secret.mp4", "size": 3},
)

MODELS = [getattr(models, name) for name in models.__all__ if hasattr(getattr(models, name), "to_dict")]


def test_walk_finds_the_models() -> None:
    """The test below goes through the records and items of all groups."""
    assert len(MODELS) > 20
    assert ImageToVideoRecord in MODELS


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_schema(model: type[Any]) -> None:
    """A model has a schema with its fields, of which pydantic makes and reads JSON."""
    adapter = pydantic.TypeAdapter(model)
    for mode in ("validation", "serialization"):
        schema = adapter.json_schema(mode=mode)
        assert "properties" in schema or "$ref" in schema


def test_record_becomes_json_without_links() -> None:
    """A record is dumped as by `to_dict()`, also inside of a list, and is made again from its JSON."""
    adapter = pydantic.TypeAdapter(list[ImageToVideoRecord])
    text = adapter.dump_json([RECORD])
    assert json.loads(text) == [RECORD.to_dict()]
    assert b"secret" not in text
    (again,) = adapter.validate_json(text)
    assert (again.id, again.status, again.created_at) == (RECORD.id, RECORD.status, RECORD.created_at)
    assert adapter.validate_python([RECORD])[0] is RECORD
    with pytest.raises(pydantic.ValidationError, match="id"):
        adapter.validate_json("[{}]")


def test_start_options_from_json_have_no_files() -> None:
    """Options of a visitor are checked, and cannot name a file of the server, an unknown option or a receiver."""
    adapter = pydantic.TypeAdapter(StartOptions)
    options = {"image_url": "https://example.com/a.png", "prompt": "x", "video_time": 5}
    assert adapter.validate_python(options) == options
    for wrong in (
        {"image": "/etc/passwd"},
        {"end_image": "a.png"},
        {"webhook": None},
        {"video_time": 7},
        {"promt": ""},
    ):
        with pytest.raises(pydantic.ValidationError):
            adapter.validate_python(wrong)
    assert set(adapter.json_schema()["properties"]) == set(StartOptions.__annotations__) - {
        "image",
        "end_image",
        "webhook",
    }


async def test_fastapi_takes_options_and_returns_handles(a2e: A2EClient, sandbox: Sandbox) -> None:
    """FastAPI reads `StartOptions` from a body, and answers with the record of a handle, without links."""
    fastapi = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()

    async def start(options: Any) -> Any:
        return await a2e.image_to_video.start(**options)

    start.__annotations__ = {"options": StartOptions, "return": TaskHandle[ImageToVideoRecord]}
    app.post("/videos")(start)
    assert app.openapi()["paths"]["/videos"]
    body = {**quick.PROMPTS, "image_url": "https://example.com/a.png"}
    async with exchange(app, "POST", "/videos", json.dumps(body).encode()) as answered:
        await wait_until(answered.serving.done)
    assert answered.status == 200
    assert json.loads(answered.body)["id"] in sandbox.tasks
    assert b"http" not in answered.body
    async with exchange(app, "POST", "/videos", json.dumps({**body, "image": "/etc/hosts"}).encode()) as answered:
        await wait_until(answered.serving.done)
    assert answered.status == 422


def test_client_is_no_dependency_by_its_class() -> None:
    """FastAPI would take the base URL of ``Depends(A2EClient)`` from the visitor, and so it must not be accepted."""
    fastapi = pytest.importorskip("fastapi")

    async def start(a2e: Any) -> None: ...

    start.__annotations__ = {"a2e": Annotated[A2EClient, fastapi.Depends(A2EClient)], "return": None}
    with pytest.raises(fastapi.exceptions.FastAPIError):
        fastapi.FastAPI().get("/")(start)


async def test_mcp_tool_starts_a_video(a2e: A2EClient, sandbox: Sandbox) -> None:
    """`start` is a tool of an MCP server, with its options as arguments and the record as its result."""
    mcp = pytest.importorskip("mcp.server.mcpserver")
    server = mcp.MCPServer("videos")
    server.add_tool(a2e.image_to_video.start)
    (tool,) = await server.list_tools()
    properties = tool.input_schema["properties"]
    assert set(properties) == set(inspect.signature(a2e.image_to_video.start).parameters)
    arguments = {**quick.PROMPTS, "image_url": "https://example.com/a.png"}
    result = await server.call_tool("start", arguments)
    text = str(result)
    assert any(task_id in text for task_id in sandbox.tasks)
    await asyncio.sleep(0)
