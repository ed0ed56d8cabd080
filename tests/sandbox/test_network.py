"""Programs that can reach a sandbox, and what a sandbox that others can reach may reach itself."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from conditions import wait_until

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox.network import is_loopback, is_own_name, is_public

if TYPE_CHECKING:
    from sandbox_requests import Call, FinishedTask, ServeInput, Start

TRANSFER = "/api/v1/tos/transferToStorage"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:127.0.0.1",
        "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "no address",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    """Addresses of one machine or network are not public, also inside of an IPv6 address."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses(address: str) -> None:
    """Other addresses are public."""
    assert is_public(address)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.7", False), ("", False), ("my-machine", False)],
)  # fmt: skip
def test_loopback(host: str, *, expected: bool) -> None:
    """Only loopback addresses keep others out."""
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    "url", ["{url}", "http://localhost:{port}/0", "http://127.1:{port}/0", "http://0x7f000001:{port}/0"]
)
async def test_open_sandbox_fetches_nothing_private(
    call: Call, finished_task: FinishedTask, serve_input: ServeInput, image: bytes, url: str
) -> None:
    """A sandbox that others can reach does not read this machine's network for them, however the address is written."""
    served = serve_input(image)
    link = url.format(url=served, port=served.rpartition(":")[2].partition("/")[0])
    async with Sandbox(host="0.0.0.0", speed=1000) as sandbox:
        answer = await call(sandbox, "POST", TRANSFER, {"url": link})
        assert answer.status == 400
        task = await finished_task(sandbox, image_url=link)
        assert (task.status, task.failed_code) == ("failed", "image_unreachable")


async def test_open_sandbox_takes_its_own_links(
    call: Call, few_frames: None, image: bytes, finished_task: FinishedTask
) -> None:
    """Uploaded images are read from the disk, and work in a sandbox that others can reach."""
    async with Sandbox(host="0.0.0.0", speed=1000) as sandbox:
        links = (await call(sandbox, "POST", "/api/v1/r2/upload-presigned-url", {"key": "a.png"})).data
        sent = await call(sandbox, "PUT", links["uploadUrl"], data=image, headers={"Content-Type": "image/png"})
        assert sent.status == 200
        assert (await finished_task(sandbox, image_url=links["cdnUrl"])).status == "completed"


async def test_open_sandbox_sends_no_private_webhook(start: Start) -> None:
    """A webhook of a sandbox that others can reach goes to public addresses only."""
    async with Sandbox(host="0.0.0.0", render="tiny", speed=1000) as sandbox, silent_server() as (port, connections):
        await start(sandbox, webhook_url=f"http://127.0.0.1:{port}/hook")
        await wait_until(lambda: sandbox.webhooks, seconds=10)
        assert ([hook.status for hook in sandbox.webhooks], connections) == ([0], [])


class silent_server:  # noqa: N801  used like a function
    """A server that records connections and answers none."""

    async def __aenter__(self) -> tuple[int, list[Any]]:
        connections: list[Any] = []
        self.server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1], connections

    async def __aexit__(self, *_: object) -> None:
        self.server.close()


async def test_public_addresses_are_fetched(
    call: Call, serve_input: ServeInput, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the address decides: the same link works if its address counts as public."""
    monkeypatch.setattr("a2e_async.sandbox.network.is_public", lambda address: address == "127.0.0.1")
    async with Sandbox(host="0.0.0.0", render="tiny") as sandbox:
        assert (await call(sandbox, "POST", TRANSFER, {"url": serve_input(image)})).status == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("evil.example", 421), ("rebind.evil.com", 421), ("localhost", 200), ("a2e.localhost", 200), ("127.0.0.1", 200),
     ("[::1]", 200), ("host.docker.internal", 200), ("sandbox", 200)],
)  # fmt: skip
async def test_host_header(sandbox: Sandbox, call: Call, host: str, expected: int) -> None:
    """A web page that lets its own name lead to this machine gets no answer of a local sandbox."""
    answer = await call(sandbox, "GET", "/api/v1/user/remainingCoins", headers={"Host": f"{host}:8080"})
    assert answer.status == expected


async def test_any_host_header_of_an_open_sandbox(call: Call) -> None:
    """A sandbox that others can reach may have any name."""
    async with Sandbox(host="0.0.0.0", render="tiny") as sandbox:
        answer = await call(sandbox, "GET", "/api/v1/user/remainingCoins", headers={"Host": "a2e.company.example"})
        assert answer.status == 200


def test_own_names() -> None:
    """Names with a public ending are not ours."""
    assert is_own_name("127.0.0.1")
    assert is_own_name(socket.gethostname().partition(".")[0])
    assert not is_own_name("localhost.evil.com")
