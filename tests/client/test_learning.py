"""What no table knows is logged once, and noted in the file of ``A2E_LEARN`` without any value."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from paid_starts import make_client

from a2e_async import A2EError, _learning
from a2e_async._protocol.converter import to_record
from a2e_async._protocol.families import IMAGE_TO_VIDEO
from a2e_async._protocol.messages import Response
from a2e_async._protocol.responses import decode
from a2e_async.webhooks import WebhookReceiver

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox

SECRETS = ("sk_sandbox", "cdn.example", "Ada Lovelace", "she smiles", "67d29023dd27a536fdf6e809", "1977", "hunter2")

RECORD = {
    "_id": "67d29023dd27a536fdf6e809",
    "name": "Ada Lovelace",
    "prompt": "she smiles",
    "image_url": "https://cdn.example/ada.png",
    "createdAt": "2026-11-30T08:00:00.000Z",
    "coins": 1977,
    "extra": {"67d29023dd27a536fdf6e809": None, "Ada Lovelace": True, "seen": ["hunter2", 1977.5, "1977", ""]},
}

SHAPE = {
    "_id": "id",
    "name": "text",
    "prompt": "text",
    "image_url": "link",
    "createdAt": "time",
    "coins": "integer",
    "extra": {"{key}": "boolean", "seen": ["text", "number", "number as text", "empty text"]},
}


@pytest.fixture(autouse=True)
def file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """The file of A2E_LEARN, in a process that has met nothing yet."""
    path = tmp_path / "learned.jsonl"
    monkeypatch.setenv("A2E_LEARN", str(path))
    _learning.forget()
    yield path
    _learning.forget()


@pytest.fixture
def overrides() -> Iterator[contextlib.ExitStack]:
    """Overrides of the sandbox until the end of the test."""
    with contextlib.ExitStack() as stack:
        yield stack


def written(path: pathlib.Path) -> list[dict[str, Any]]:
    """Return the notes, after the threads that write them."""
    for thread in threading.enumerate():
        if thread.name == "a2e-learn":
            thread.join()
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def facts(path: pathlib.Path) -> set[tuple[str, str, str]]:
    """Return the notes without their shapes."""
    return {(note["kind"], note["where"], note["word"]) for note in written(path)}


def test_a_note_has_keys_and_types_only(file: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the file nor the log has a value of the record, also not where a key is one."""
    caplog.set_level(logging.DEBUG)
    to_record({**RECORD, "current_status": "warming up"}, IMAGE_TO_VIDEO)
    note, *others = written(file)
    assert not others
    assert note["word"] == "warming up"
    assert note["shape"] == SHAPE | {"current_status": "text"}
    assert not any(secret in file.read_text("utf-8") + caplog.text for secret in SECRETS)


def test_a_fact_is_noted_once(file: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A word is one fact in the log and in the file, also for the next process; another word is another one."""
    for word in ("warming", "warming", "cooling"):
        to_record({"_id": "t1", "current_status": word}, IMAGE_TO_VIDEO)
    assert [note["word"] for note in written(file)] in (["warming", "cooling"], ["cooling", "warming"])
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    _learning.forget()
    to_record({"_id": "t2", "current_status": "warming"}, IMAGE_TO_VIDEO)
    assert len(written(file)) == 2


@pytest.mark.parametrize(
    "text", ["https://cdn.example/x.mp4", "she smiles at the camera", "67d29023dd27a536fdf6e809", "x" * 41]
)
def test_what_is_no_word_is_not_noted_itself(text: str, file: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A link, a sentence and an id in the place of a status word become their type."""
    to_record({"_id": "t1", "current_status": text}, IMAGE_TO_VIDEO)
    [note] = written(file)
    assert note["word"] == ""
    assert text not in caplog.text + file.read_text("utf-8")


async def test_each_kind_in_a_running_client(
    sandbox: Sandbox, file: pathlib.Path, overrides: contextlib.ExitStack
) -> None:
    """A client notes unknown words, codes, lists, results, webhooks and headers; it works on, and blocks nothing."""

    def answer(data: object, *, status: int = 200, code: object = 0, headers: dict[str, str] | None = None) -> Any:
        body = {"code": code, "data": data, "msg": "sk_sandbox said: she smiles"}
        return lambda request: web.json_response(body, status=status, headers=headers)

    api, limits = "/api/v1/userImage2Video", {"X-RateLimit-Limit": "1977"}
    task = {"_id": "67d29023dd27a536fdf6e809", "prompt": "she smiles"}
    async with make_client(sandbox) as a2e:
        for path, response in (
            (f"{api}/67d29023dd27a536fdf6e809", answer({**task, "current_status": "completed"})),
            (f"{api}/allRecords", answer({"tasks": [task], "videos": [task]}, headers=limits)),
            ("/api/v1/user/remainingCoins", answer(None, status=400, code="NO_SUCH_USER")),
        ):
            overrides.enter_context(sandbox.override("GET", path, response))
        assert (await a2e.image_to_video.get("67d29023dd27a536fdf6e809")).result_url == ""
        with pytest.raises(A2EError):
            [task async for task in a2e.image_to_video.list()]
        with pytest.raises(A2EError):
            await a2e.account.balance()
        receiver = WebhookReceiver(a2e, url="https://shop.example/hook", token="hunter2")
        body = b'{"event": "task.completed", "data": {"name": "Ada Lovelace"}}'
        assert await receiver.receive("POST", {"X-A2e-Webhook-Token": "hunter2"}, body) == 204
    assert facts(file) == {
        ("result", "userImage2Video", ""),
        ("list", "GET /api/v1/userImage2Video/allRecords", ""),
        ("rate header", "responses", ""),
        ("error with HTTP 400", "GET /api/v1/user/remainingCoins", "NO_SUCH_USER"),
        ("webhook", "POST", ""),
    }
    shapes = {note["kind"]: note["shape"] for note in written(file)}
    assert shapes["rate header"] == {"x-ratelimit-limit": "number as text"}
    assert shapes["webhook"] == {"event": "text", "data": {"name": "text"}}
    assert not any(secret in file.read_text("utf-8") for secret in SECRETS)


async def test_what_is_known_is_not_noted(a2e: A2EClient, file: pathlib.Path) -> None:
    """A whole task, a list, a missing task and a wrong path leave no note."""
    task = await a2e.image_to_video.start(image_url="https://cdn.example/ada.png", prompt="she smiles")
    await task.wait_until_done()
    assert [each async for each in a2e.image_to_video.list()]
    for path in ("userImage2Video/000000000000000000000000", "noSuchOperation"):
        with pytest.raises(A2EError):
            await a2e.request("GET", path)
    assert written(file) == []


@pytest.mark.parametrize(
    ("status", "body", "fact"),
    [
        (200, b"<html>", ("response with HTTP 200", "a web page")),
        (302, b"", ("response with HTTP 302", "no content")),
        (400, b'{"code": 40012}', ("error with HTTP 400", {"code": "integer"})),
        (200, b'{"code": 31, "msg": "x"}', ("error with HTTP 200", {"code": "integer", "msg": "text"})),
        (403, b'{"code": -1, "message": "no"}', ("error with HTTP 403", {"code": "integer", "message": "text"})),
        (400, b'{"errors": {"prompt": "is required"}}', None),
        (200, b'{"code": 1001, "msg": "hosts are occupied"}', None),
        (403, b'{"code": 403, "msg": "Free user: Pro or Max needed"}', None),
        (401, b"", None),
        (429, b"slow down", None),
        (502, b"<html>", None),
        (404, b"<html>", None),
    ],
    ids=str,
)
def test_unknown_errors(status: int, body: bytes, fact: tuple[str, Any] | None, file: pathlib.Path) -> None:
    """An error that no table explains is noted with its shape, one of reference 1.4 and 1.5 is not."""
    with pytest.raises(A2EError):
        decode(Response(status=status, body=body), "POST /api/v1/video/67d29023dd27a536fdf6e809/Ada%20Lovelace")
    notes = written(file)
    assert [(note["kind"], note["shape"]) for note in notes] == ([fact] if fact else [])
    assert all(note["where"] == "POST /api/v1/video/{id}/{id}" for note in notes)


@pytest.mark.parametrize("obstacle", ["folder", "pipe", "no folder"])
def test_an_error_of_writing_is_harmless(
    obstacle: str, file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a file to write to, a warning comes once, and nothing waits."""
    if obstacle == "folder":
        file.mkdir()
    elif obstacle == "pipe":
        os.mkfifo(file)
    else:
        monkeypatch.setenv("A2E_LEARN", str(file / "nowhere" / "x.jsonl"))
    for word in ("warming", "cooling"):
        to_record({"_id": "t1", "current_status": word}, IMAGE_TO_VIDEO)
        for thread in threading.enumerate():
            if thread.name == "a2e-learn":
                thread.join(10)
    assert [record.getMessage()[:35] for record in caplog.records].count("Cannot write to the file of A2E_LEA") == 1


def test_the_file_is_bounded(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that invents words fills neither the file nor the memory."""
    monkeypatch.setattr(_learning, "_MAX_FACTS", 50)
    monkeypatch.setattr(_learning, "_MAX_FILE", 2000)
    for number in range(100):
        word = "word" + "abcdefghij"[number // 10] + "abcdefghij"[number % 10]
        to_record({"_id": "t1", "current_status": word}, IMAGE_TO_VIDEO)
        written(file)  # one thread after the other: several can pass the limit at the same time, by a line each
    assert len(_learning._facts) == 50
    assert 0 < len(written(file)) < 50
    assert file.stat().st_size <= 2000
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_shape_is_bounded() -> None:
    """A deep or wide value ends in dots."""
    deep: Any = "x"
    for _ in range(300):
        deep = [{"a": deep}]
    assert len(json.dumps(_learning.shape(deep))) < 100
    wide = _learning.shape({f"{'a' * (1 + number // 26)}{chr(97 + number % 26)}": number for number in range(900)})
    assert len(wide) <= 201
    assert wide["…"] == "…"
