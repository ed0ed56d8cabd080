"""``a2e doctor``: what each probe says about a good A2E and about others, and a report without values."""

from __future__ import annotations

import asyncio
import json
import pathlib
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from aiohttp import web
from streams import Terminal

from a2e_async import A2EClient, _learning
from a2e_async.cli import main
from a2e_async.cli.commands import doctor
from a2e_async.cli.options import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("folder")

API = "/api/v1/userImage2Video"
PROBES = (
    "Python", "extras", "host", "proxy", "DNS", "TLS", "token", "balance", "list", "unknown id", "batchDetail",
    "quote", "wrong path", "queue", "plan", "clock", "limits",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_is_learned_yet() -> Iterator[None]:
    """Forget what other tests have met."""
    _learning.forget()
    yield
    _learning.forget()


def examine(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the command, and return its exit code and its findings by probe."""
    code = main(["doctor", "--json", *options])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, {row["probe"]: row for row in rows}


def test_a_good_service(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """All probes are fine, in this order; only the host is not A2E's. No coin is spent, and nothing is changed."""
    code, found = examine(capsys)
    assert code == 0
    assert tuple(found) == PROBES
    assert {name for name, row in found.items() if row["status"] != "ok"} == {"host"}
    assert not service.ledger
    assert not service.tasks
    assert service.coins == 10_000
    assert {(each.method, each.path) for each in service.requests if each.method != "GET"} == {
        ("POST", f"{API}/batchDetail"),
        ("POST", "/api/v1/generation/quote"),
    }


def test_lines_for_scripts_and_for_people(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets columns with tabs between them; a terminal of 80 columns a table with what to do."""
    assert main(["doctor"]) == 0
    assert "ok\tbalance\t10000 coins\t\n" in capsys.readouterr().out
    terminal = Terminal.install(monkeypatch, "stdout", columns=80)
    assert main(["doctor"]) == 0
    shown = terminal.getvalue()
    assert "balance" in shown
    words = re.sub(r"\x1b\[[0-9;]*m", "", shown).split()
    assert "not a host of A2E. Fine for a sandbox." in " ".join(words)


def answer(data: object, *, status: int = 200, code: int = 0, headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer of A2E."""
    return web.json_response({"code": code, "data": data}, status=status, headers=headers)


CASES: dict[str, tuple[str, str, web.Response, str, str, str]] = {
    "no coins": ("GET", "/api/v1/user/remainingCoins", answer({"coins": 0}), "balance", "warning", "there are no coins"),
    "unknown balance": ("GET", "/api/v1/user/remainingCoins", answer({"credits": 5}), "balance", "warning", "no coins in a"),
    "no balance": ("GET", "/api/v1/user/", web.Response(status=404, text="<html>"), "balance", "warning", "does not have it"),
    "Free plan": (
        "GET", f"{API}/allRecords", answer("free user: Pro or Max needed", status=403, code=403), "plan", "failed", "free user",
    ),
    "unknown list": ("GET", f"{API}/allRecords", answer({"a": [{"_id": "1"}], "b": [{}]}), "list", "failed", "unknown shape"),
    "id is a wrong request": ("GET", f"{API}/0000", answer("bad id", status=400, code=400), "unknown id", "warning", "HTTP 400"),
    "any id": ("GET", f"{API}/0000", answer({"_id": "0" * 24}), "unknown id", "warning", "a task that does not exist"),
    "no record": ("GET", f"{API}/0000", answer(None), "unknown id", "ok", "no such task (HTTP 200)"),
    "ids required": ("POST", f"{API}/batchDetail", answer("ids", status=400, code=400), "batchDetail", "ok", "without ids"),
    "no batchDetail": ("POST", f"{API}/batchDetail", web.Response(status=404, text="<html>"), "batchDetail", "warning", "alone"),
    "no quote": ("POST", "/api/v1/generation/quote", answer("no", status=400, code=400), "quote", "warning", "no price before"),
    "unknown quote": ("POST", "/api/v1/generation/quote", answer({"sum": 3}), "quote", "warning", "no price in a known"),
    "wrong path as JSON": ("GET", "/api/v1/a2eAsync", answer("no", status=404, code=404), "wrong path", "warning", "like another"),
    "wrong path is fine": ("GET", "/api/v1/a2eAsync", answer([]), "wrong path", "warning", "with success"),
    "no queue": ("GET", f"{API}/avg", web.Response(status=404, text="<html>"), "queue", "warning", "does not tell"),
    "wrong clock": (
        "GET", f"{API}/avg", answer(1, headers={"Date": "Mon, 30 Nov 2020 08:00:00 GMT"}), "clock", "ok", "agrees",  # all others agree
    ),
    "limits": ("GET", f"{API}/avg", answer(1, headers={"X-RateLimit-Limit": "9"}), "limits", "ok", "A2E sends x-ratelimit-limit"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_other_answers(
    case: tuple[str, str, web.Response, str, str, str], service: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each probe names what is different, and a failure makes the exit code 1."""
    method, path, response, probe, status, text = case
    with service.override(method, path, response):
        code, found = examine(capsys)
    assert (found[probe]["status"], text in found[probe]["text"]) == (status, True), found[probe]
    assert code == int(any(row["status"] == "failed" for row in found.values()))


def test_a_wrong_clock(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A Date that is far from this machine's time in every answer is a warning."""
    with service.override("*", "/api", answer([], headers={"Date": "Mon, 30 Nov 2020 08:00:00 GMT"})):
        _, found = examine(capsys)
    assert found["clock"]["status"] == "warning"
    assert " s ahead of A2E's" in found["clock"]["text"]
    assert found["clock"]["advice"] == "set this machine's clock"


def test_a_bad_token(service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The first rejection is a failure, and the other probes of the API are left out."""
    monkeypatch.setenv("A2E_API_TOKEN", "a-session-token")
    code, found = examine(capsys)
    assert code == 1
    assert (found["token"]["status"], found["balance"]["status"]) == ("warning", "failed")
    assert "does not begin with sk_" in found["token"]["text"]
    assert found["quote"]["text"] == found["plan"]["text"] == "left out: A2E does not accept the token"
    assert len(service.requests) == 1
    assert "a-session-token" not in str(found)


def test_without_a_token(service: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What needs no token is examined, and nothing is sent."""
    monkeypatch.delenv("A2E_API_TOKEN")
    code, found = examine(capsys)
    assert code == 1
    assert tuple(found) == PROBES
    assert found["token"]["status"] == "failed"
    assert "a2e login" in found["token"]["advice"]
    assert found["balance"]["text"] == "left out: there is no token"
    assert not service.requests


def test_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that no client takes is a failure, not an error."""
    assert examine(capsys, "--profile", "nowhere")[1]["host"]["text"].startswith("There is no profile nowhere")
    monkeypatch.setenv("A2E_API_TOKEN", "sk_x")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example:1080")
    code, found = examine(capsys)
    assert code == 1
    assert "is a SOCKS proxy" in found["settings"]["text"]


def test_without_a_connection(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A proxy that cannot be reached is named without its password, and the rest is left out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("A2E_API_TOKEN", "sk_x")
    monkeypatch.setenv("HTTPS_PROXY", f"http://ada:hunter2@127.0.0.1:{port}")
    code, found = examine(capsys)
    assert code == 1
    assert found["proxy"]["text"] == f"127.0.0.1:{port}"
    assert found["TLS"]["status"] == "skipped"
    assert found["balance"]["status"] == "failed"
    assert found["clock"]["text"] == "no answer has a Date"
    assert found["list"]["text"] == found["plan"]["text"] == "left out: there is no connection"
    assert "hunter2" not in str(found)


def test_a_name_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The probe of the name says so, and what to check."""

    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("A2E_API_TOKEN", "sk_x")
    code, found = examine(capsys, "--base-url", "https://a2e.example")
    assert code == 1
    assert (found["DNS"]["status"], found["TLS"]["status"]) == ("failed", "failed")
    assert found["DNS"]["text"] == "a2e.example cannot be resolved"


def test_a_probe_has_a_time_limit(service: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """An answer that does not come ends its probe, and the next ones go on."""

    async def wait(_: web.Request) -> web.Response:
        await asyncio.sleep(300)
        return answer([])

    with service.override("GET", f"{API}/allRecords", wait):
        code, found = examine(capsys, "--timeout", "3")
    assert code == 1
    assert found["list"]["status"] == "failed"
    assert found["balance"]["status"] == "ok"


@pytest.mark.parametrize("is_trusted", [False, True])
async def test_tls(*, is_trusted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """An untrusted certificate is named with the way out; a good one with its authority."""
    authority = trustme.CA(organization_name="Ada's company")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    if is_trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    closed: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: closed.append(writer), "localhost", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = Connection(token="sk_x", base_url=f"https://localhost:{port}")
        patient = doctor._Doctor(connection, 10.0, access=connection.access())
        route = A2EClient("sk_x", base_url=f"https://localhost:{port}")._state._sessions.route  # type: ignore[union-attr]
        found = await patient._tls(None, route.tls)
        for writer in closed:
            writer.close()
    if is_trusted:
        assert (found.status, "certificate by Ada's company" in found.text) == ("ok", True)
    else:
        assert (found.status, found.error) == ("failed", "SSLCertVerificationError")
        assert "SSL_CERT_FILE" in found.advice


def test_a_report_has_no_values(
    service: Sandbox, image: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report has the shapes of the answers and the notes of A2E_LEARN, but no token, host, id, link, name or prompt."""
    monkeypatch.setenv("A2E_LEARN", "learned.jsonl")
    assert main(["image-to-video", "start", image, "--prompt", "she smiles", "--name", "Ada Lovelace"]) == 0
    task_id = capsys.readouterr().out.strip()
    pathlib.Path("learned.jsonl").write_text('{"token": "sk_other"}\nno JSON\n', "utf-8")
    with service.override("GET", f"{API}/unlimited", answer(1, headers={"X-RateLimit-Limit": "1977"})):
        assert main(["doctor", "--report", "report.json"]) == 0
    text = pathlib.Path("report.json").read_text("utf-8")
    content = json.loads(text)
    hidden = (
        service.token,
        task_id,
        "she smiles",
        "Ada Lovelace",
        "sk_other",
        "1977",
        service.url,
        "127.0.0.1",
        "9970",
    )
    assert [value for value in hidden if value in text] == []
    assert content["host"] == "another host"
    assert content["probes"]["unknown id"] == {"status": "ok", "error": ""}
    exchanges = {each["operation"]: each for each in content["exchanges"]}
    page = exchanges["GET /api/v1/userImage2Video/allRecords"]["body"]["data"]
    assert page["rows"][0] | {"_id": "id", "prompt": "text", "coins": "integer", "createdAt": "time"} == page["rows"][0]
    assert exchanges["GET /api/v1/a2eAsyncDoctor/noSuchOperation"]["body"] == "a web page"
    assert exchanges["GET /api/v1/userImage2Video/{id}"]["status"] == 404
    assert [(note["kind"], note["shape"]) for note in content["learned"]] == [
        ("rate header", {"x-ratelimit-limit": "number as text"})
    ]
    assert "it has keys and types, and no values" in capsys.readouterr().err

    assert main(["doctor", "--report", "report.json"]) == 2
    assert "report.json exists: add --overwrite" in capsys.readouterr().err
    assert main(["doctor", "--report", "report.json", "--overwrite"]) == 0
    assert main(["doctor", "--report", "nowhere/report.json"]) == 2
    assert "cannot write nowhere/report.json" in capsys.readouterr().err


def test_extras() -> None:
    """The extras are those of the package; one of extras is there if these are."""
    found = doctor.extras()
    assert found["cli"]
    assert found["demo"] == (found["cli"] and found["sandbox"])
    assert "all" not in found
