"""The sandbox: starting, closing, options, and its optional packages."""

from __future__ import annotations

import asyncio
import gc
import io
import subprocess
import sys
import textwrap
from importlib import resources
from typing import TYPE_CHECKING, Any

import aiohttp
import av
import pytest

from a2e_async.sandbox import Sandbox, SandboxError
from a2e_async.sandbox.routes import families

if TYPE_CHECKING:
    from sandbox_requests import Call, Start


def run(code: str) -> None:
    """Run code in a fresh interpreter, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_tiny_videos_need_no_extra() -> None:
    """The import loads no codec; without av and Pillow a sandbox with tiny videos runs without a warning."""
    run(
        """
    import asyncio, sys
    from a2e_async.sandbox import Sandbox
    assert "av" not in sys.modules and "PIL" not in sys.modules
    sys.modules["av"] = sys.modules["PIL"] = None
    async def main():
        asyncio.get_running_loop().slow_callback_duration = 60.0  # a busy machine is no fault of the sandbox
        async with Sandbox(render="tiny") as sandbox:
            assert sandbox.url.startswith("http://127.0.0.1:")
    asyncio.run(main())
    """
    )


def test_nothing_else_of_the_project_is_imported() -> None:
    """The sandbox is independent, so that it cannot share an error of the client about A2E."""
    sources = resources.files("a2e_async.sandbox")
    files = [one for folder in (sources, sources / "routes") for one in folder.iterdir() if one.name.endswith(".py")]
    for file in files:
        imports = [line for line in file.read_text("utf-8").splitlines() if "import" in line and "a2e_async" in line]
        assert all("a2e_async.sandbox" in line for line in imports), file.name


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra for real videos the constructor raises an error with the install command."""
    monkeypatch.delitem(sys.modules, "a2e_async.sandbox.media.video", raising=False)
    monkeypatch.delattr("a2e_async.sandbox.media.video", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SandboxError, match=r'pip install "a2e-async\[sandbox\]"'):
        Sandbox()


def test_the_tiny_video_is_real() -> None:
    """The shipped file decodes: H.264, one second, a few kilobytes."""
    content = resources.files("a2e_async.sandbox.media").joinpath("tiny.mp4").read_bytes()
    assert len(content) < 5_000
    with av.open(io.BytesIO(content), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert len(list(container.decode(video=0))) == 8


@pytest.mark.parametrize(
    "options", [{"port": 70_000}, {"coins": -1}, {"speed": 0}, {"render": "unknown"}, {"cdn_lag": -1}]
)
def test_invalid_options(options: dict[str, Any]) -> None:
    """An option out of its range is a ValueError of the constructor."""
    with pytest.raises(ValueError, match="must"):
        Sandbox(**({"render": "tiny"} | options))


def test_there_is_no_url_before_the_start() -> None:
    """The error says what to do."""
    sandbox = Sandbox(render="tiny")
    sandbox.expire_upload_links()
    assert "not started" in repr(sandbox)
    with pytest.raises(SandboxError, match="async with"):
        _ = sandbox.url
    with pytest.raises(SandboxError, match="async with"):
        _ = sandbox.sample_image


async def test_start_and_aclose_work_without_a_block() -> None:
    """The two methods do the same as the block; closing twice, or before the start, is allowed."""
    sandbox = Sandbox(render="tiny", token="sk_mine")
    await sandbox.aclose()
    await sandbox.start()
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer sk_mine"}) as session:
        async with session.get(f"{sandbox.url}/api/v1/user/remainingCoins") as answer:
            assert answer.status == 200
        await sandbox.aclose()
        await sandbox.aclose()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(sandbox.url)


async def test_a_sandbox_starts_once(sandbox: Sandbox) -> None:
    """A second start is rejected, both while it runs and afterwards."""
    with pytest.raises(SandboxError, match="once"):
        await sandbox.start()


async def test_port_in_use(sandbox: Sandbox) -> None:
    """Two sandboxes cannot share a port; the error names it, and the second leaves nothing behind."""
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(SandboxError, match=str(port)):
        await Sandbox(render="tiny", port=port).start()


async def test_all_addresses_are_reachable_at_loopback() -> None:
    """A sandbox on all interfaces has a URL that works on this machine."""
    async with Sandbox(render="tiny", host="0.0.0.0") as sandbox:
        assert sandbox.url.startswith("http://127.0.0.1:")


async def test_closing_stops_tasks(start: Start) -> None:
    """No asyncio task of the sandbox is left."""
    async with Sandbox(render="tiny", speed=0.001) as sandbox:
        await start(sandbox, number_of_images=8)
        assert any(task.get_name().startswith("a2e-sandbox") for task in asyncio.all_tasks())
    assert not any(task.get_name().startswith("a2e-sandbox") for task in asyncio.all_tasks())


async def test_closed_sandbox_frees_its_routes(start: Start) -> None:
    """A process that opens thousands of sandboxes, as test suites do, does not keep the routes of each."""

    def count() -> int:
        gc.collect()
        return sum(type(each) is families._Routes for each in gc.get_objects())

    before = count()
    async with Sandbox(render="tiny") as sandbox:
        assert (await start(sandbox)).status == 200
        assert count() > before
    assert count() <= before


async def test_closing_does_not_wait_for_open_requests(call: Call) -> None:
    """A handler that hangs is cancelled."""

    async def hang(_: object) -> None:
        await asyncio.sleep(3600)

    sandbox = Sandbox(render="tiny")
    await sandbox.start()
    with sandbox.override("GET", "/hang", hang):
        asking = asyncio.create_task(call(sandbox, "GET", "/hang"))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(0.3):
            await sandbox.aclose()
            with pytest.raises(aiohttp.ClientError):
                await asking
