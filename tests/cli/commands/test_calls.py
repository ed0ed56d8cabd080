"""`a2e account`, `upload` and `request`: one request each, and the output of its response."""

from __future__ import annotations

import asyncio
import io
import json
import pathlib
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest
import quick
import whole_files
from aiohttp import web

from a2e_async.cli import main

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

BALANCE = ["request", "GET", "user/remainingCoins"]


def test_account(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The balance is printed as a line for each currency, or as one JSON object."""
    assert main(["account"]) == 0
    assert capsys.readouterr() == ("coins\t10000\ndiamonds\t3\n", "")
    assert main(["account", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"coins": 10_000, "diamonds": 3}


def test_account_with_a_wrong_token(
    service: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If A2E rejects the token, one line says where to create a new one, and the exit code is 1."""
    monkeypatch.setenv("A2E_API_TOKEN", "sk_another_account")
    assert main(["account"]) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "Account > API Token" in err
    assert "another_account" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("proxy", "code", "message"),
    [
        ("http://ada:secret@127.0.0.1:1", 1, "cannot connect to the proxy 127.0.0.1:1: connection refused"),
        ("socks5://ada:secret@127.0.0.1:1", 2, "SOCKS proxy"),
    ],
)
@pytest.mark.parametrize("how", ["option", "environment"])
def test_proxy(
    service: Sandbox,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    how: str,
    proxy: str,
    code: int,
    message: str,
) -> None:
    """The command takes its proxy from `--proxy`, else from the environment; ``--proxy ""`` uses none."""
    monkeypatch.setenv("http_proxy", proxy if how == "environment" else "http://127.0.0.1:2")
    monkeypatch.delenv("no_proxy", raising=False)
    assert main(["account", *(["--proxy", proxy] if how == "option" else [])]) == code
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert "secret" not in err
    assert err.count("\n") == 1
    assert main(["account", "--proxy", ""]) == 0


def test_account_with_an_unexpected_response(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """If the response is not a balance, the error is one line."""
    with service.override("GET", "/api/v1/user/remainingCoins", web.json_response({"code": 0, "data": [1]})):
        assert main(["account"]) == 1
    assert "a2e request GET user/remainingCoins" in capsys.readouterr().err


def test_upload_prints_links(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the link of each image, in their order, and the links return the images."""
    pathlib.Path("eve.png").write_bytes(quick.PNG + b"2")
    assert main(["upload", image, "eve.png"]) == 0
    links = capsys.readouterr().out.split()
    assert [asyncio.run(content(link)) for link in links] == [quick.PNG, quick.PNG + b"2"]


async def content(link: str) -> bytes:
    """Download a file."""
    async with aiohttp.request("GET", link, raise_for_status=True) as response:
        return await response.read()


def test_upload_of_videos_and_audio(service: Sandbox, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Videos and audio files are uploaded too."""
    for name in ("mp4", "wav"):
        (folder / name).write_bytes(whole_files.OTHERS[name])
    assert main(["upload", "mp4", "wav"]) == 0
    assert [line.rpartition(".")[2] for line in capsys.readouterr().out.split()] == ["mp4", "wav"]


def test_upload_as_json(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, each object has the file and its link."""
    assert main(["upload", "--json", image]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == "ada.png"
    assert answer["url"].endswith(".png")


def test_upload_checks_all_files_first(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If one file is not an image, the command fails before the first upload."""
    pathlib.Path("notes.png").write_text("milk, bread")
    for wrong in ("notes.png", "missing.png"):
        assert main(["upload", image, wrong]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert wrong in err
    assert not service.requests


def test_request_prints_one_line(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe, the data of the response is one line of JSON."""
    assert main(BALANCE) == 0
    assert capsys.readouterr() == ('{"coins": 10000, "diamonds": 3}\n', "")


def test_request_is_indented_on_a_terminal(
    service: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the JSON is indented, without control characters; with --json it is one line."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    answer = web.json_response({"code": 0, "data": {"name": "Zoë\x1b[2J\x9b31m"}})
    with service.override("GET", "/api/v1/user/remainingCoins", answer):
        assert main(BALANCE) == 0
    assert capsys.readouterr().out == '{\n  "name": "Zoë\\u001b[2J\\u009b31m"\n}\n'
    assert main([*BALANCE, "--json"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("source", ["argument", "file", "stdin"])
def test_request_with_a_body(
    service: Sandbox, source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body is JSON from the argument, from a file or from standard input."""
    body = json.dumps({"ids": ["0123456789abcdef01234567"]})
    pathlib.Path("body.json").write_text(body)
    monkeypatch.setattr(sys, "stdin", io.StringIO(body))
    data = {"argument": body, "file": "@body.json", "stdin": "-"}[source]
    assert main(["request", "post", "userImage2Video/batchDetail", "--data", data]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_request_with_a_query(service: Sandbox, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--param can be repeated, and each parameter is sent."""
    for _ in range(3):
        assert main(["image-to-video", "start", image, "--prompt", "x"]) == 0
    capsys.readouterr()
    page = ["--param", "pageNum=2", "--param", "pageSize=2"]
    assert main(["request", "GET", "userImage2Video/allRecords", *page]) == 0
    answer = json.dumps(json.loads(capsys.readouterr().out))
    assert [task_id for task_id in service.tasks if task_id in answer] == [next(iter(service.tasks))]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["POST", "x", "--data", "{"], "--data must be JSON"),
        (["POST", "x", "--data", "@missing.json"], "missing.json"),
        (["GET", "x", "--param", "pageNum"], "NAME=VALUE"),
        (["GET", "x", "--param", "=1"], "NAME=VALUE"),
        (["DANCE", "x"], "GET, POST"),
        (["GET", "https://example.com/x"], "not a URL"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_request_with_wrong_arguments(
    service: Sandbox, arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For wrong arguments, one line has a hint, the exit code is 2, and nothing is sent."""
    assert main(["request", *arguments]) == 2
    err = capsys.readouterr().err
    assert hint in err
    assert err.count("\n") == 1
    assert not service.requests


def test_a_post_is_sent_once(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A failed POST is not retried, because it may start a task."""
    broken = web.Response(status=503, text="broken")
    with service.override("POST", "/api/v1/user/exchangeDiamonds", broken):
        assert main(["request", "POST", "user/exchangeDiamonds", "--data", '{"diamonds": 1}']) == 1
    assert [seen.method for seen in service.requests] == ["POST"]
