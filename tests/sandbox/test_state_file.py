"""The state file: what a sandbox continues after its restart."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from sandbox_requests import wait_for_end

from a2e_async.sandbox import Sandbox, SandboxError

if TYPE_CHECKING:
    import pathlib

    from sandbox_requests import Call, FinishedTask, Start


def make(path: pathlib.Path, **options: Any) -> Sandbox:
    """Make a sandbox with a state file."""
    settings: dict[str, Any] = {"render": "tiny", "speed": 400, "state": path} | options
    return Sandbox(**settings)


async def test_everything_of_the_account_survives(
    tmp_path: pathlib.Path, call: Call, finished_task: FinishedTask
) -> None:
    """Balances, ledger, tasks of all kinds, uploads and voices are those of before, at another port."""
    path = tmp_path / "state.json"
    async with make(path, coins=500, diamonds=7) as first:
        links = (await call(first, "POST", "/api/v1/r2/upload-presigned-url", {"key": "a.png"})).data
        await call(first, "PUT", links["uploadUrl"], data=b"an image", headers={"Content-Type": "image/png"})
        done = await finished_task(first, "#html-result", image_url=links["cdnUrl"], webhook_token="secret")
        failed = await finished_task(first, "#nsfw")
        face = {"face_url": links["cdnUrl"]}
        faces = (await call(first, "POST", "/api/v1/userFaceSwapImage/add", face)).data
        ledger = [(entry.reason, entry.task_id, entry.coins, entry.time) for entry in first.ledger]
    async with make(path, coins=1) as second:
        assert (second.coins, second.diamonds) == (439, 7)
        assert [(entry.reason, entry.task_id, entry.coins, entry.time) for entry in second.ledger] == ledger
        record = (await call(second, "GET", f"/api/v1/userImage2Video/{done.id}")).data
        assert record == {
            name: value.replace(first.url, second.url) if isinstance(value, str) else value
            for name, value in done.record().items()
        }
        assert b"Just a moment" in (await call(second, "GET", record["result_url"])).content  # the fault of its tag
        assert (await call(second, "GET", record["image_url"])).content == b"an image"
        assert second.tasks[failed.id].failed_code == "nsfw"
        again = (await call(second, "GET", "/api/v1/userFaceSwapImage/records")).data
        assert [one["_id"] for one in again] == [one["_id"] for one in faces]
        assert second.tasks[done.id].start.webhook_token == "secret"


async def test_running_tasks_go_on(tmp_path: pathlib.Path, start: Start, call: Call) -> None:
    """A task that had not ended continues at its status and ends; a deleted one stays deleted."""
    path = tmp_path / "state.json"
    async with make(path, speed=1) as first:
        working, deleted = [(await start(first)).data["_id"] for _ in range(2)]
        await call(first, "DELETE", f"/api/v1/userImage2Video/{deleted}")
        while first.tasks[working].status != "pending":
            await asyncio.sleep(0.5)
        await start(first)
    async with make(path) as second:
        seen = {task.status for task in second.tasks.values() if not task.deleted}
        assert seen == {"pending", "initialized"}
        for task in second.tasks.values():
            if task.id != deleted:
                assert (await wait_for_end(task)).succeeded
        assert second.tasks[deleted].deleted


async def test_changes_are_saved_soon(tmp_path: pathlib.Path, start: Start) -> None:
    """A killed sandbox has lost no more than about a second: the file is not only written at closing."""
    path = tmp_path / "state.json"
    async with make(path, speed=1) as sandbox:
        await asyncio.sleep(2.5)
        written = path.stat().st_mtime_ns
        await asyncio.sleep(5)
        assert path.stat().st_mtime_ns == written  # nothing has changed
        task_id = (await start(sandbox)).data["_id"]
        await asyncio.sleep(2.5)
        saved = json.loads(path.read_text("utf-8"))
        assert ([task["id"] for task in saved["tasks"]], saved["coins"]) == ([task_id], 9_970)
        sandbox.coins = 1
        await asyncio.sleep(2.5)
        assert json.loads(path.read_text("utf-8"))["coins"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["state.json", "state.json.files"]


async def test_file_is_for_its_owner(tmp_path: pathlib.Path) -> None:
    """It has links and webhook tokens of tasks, but never the token of the sandbox."""
    path = tmp_path / "state.json"
    async with make(path) as sandbox:
        pass
    assert sandbox.token not in path.read_text("utf-8")
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == path.with_name("state.json.files").stat().st_mode & 0o077 == 0


async def test_files_that_a_crash_left_behind(tmp_path: pathlib.Path, finished_task: FinishedTask) -> None:
    """Files of the sandbox that belong to nothing are removed; those of others are not touched."""
    path, folder = tmp_path / "state.json", tmp_path / "state.json.files"
    async with make(path) as first:
        await finished_task(first)
    [kept] = folder.iterdir()
    (folder / ("a" * 32)).touch()
    (folder / "notes.txt").touch()
    async with make(path):
        assert {file.name for file in folder.iterdir()} == {kept.name, "notes.txt"}


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 1}', '{"version": 2, "url": ""}', "\x00"])
async def test_broken_file(tmp_path: pathlib.Path, content: str) -> None:
    """A file that is no state is an error that names it; the file stays as it is."""
    path = tmp_path / "state.json"
    path.write_text(content, "utf-8")
    with pytest.raises(SandboxError, match=r"state\.json is not a state"):
        await make(path).start()
    assert path.read_text("utf-8") == content


async def test_file_that_cannot_be_written(tmp_path: pathlib.Path) -> None:
    """The start fails, rather than the first change."""
    with pytest.raises(SandboxError, match="cannot keep its state"):
        await make(tmp_path / "missing" / "state.json").start()


async def test_disk_that_is_full_for_a_while(
    tmp_path: pathlib.Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A save that fails is logged and tried again; the sandbox goes on. If the last one fails, closing says so."""
    path = tmp_path / "state.json"

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sandbox = make(path, speed=1)
    async with sandbox:
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.replace", no_space)
            task_id = (await start(sandbox)).data["_id"]
            await asyncio.sleep(3.5)
        assert "No space left on device" in caplog.text
        await asyncio.sleep(2.5)
        assert task_id in path.read_text("utf-8")
        monkeypatch.setattr("pathlib.Path.replace", no_space)
        with pytest.raises(SandboxError, match="No space left"):
            await sandbox.aclose()
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".tmp"] == []


async def test_port_in_use_keeps_the_state(tmp_path: pathlib.Path, finished_task: FinishedTask) -> None:
    """A sandbox that cannot listen does not overwrite the state with an empty one."""
    path = tmp_path / "state.json"
    async with make(path) as first:
        await finished_task(first)
    saved = path.read_text("utf-8")
    async with Sandbox(render="tiny") as other:
        with pytest.raises(SandboxError, match="cannot listen"):
            await make(path, port=int(other.url.rpartition(":")[2])).start()
    assert path.read_text("utf-8") == saved
