"""Tools of an MCP server: what a language model can do, and what it cannot: pay too much, pay twice, leave its folder."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import quick
from conditions import wait_until
from mcp import Client
from paid_starts import charged_task_ids, count_starts, faults_on_start, make_client

from a2e_async import A2EClient, ConfigurationError, SQLiteKeyStore
from a2e_async.integrations._spending import Spending, budget_of, committed
from a2e_async.integrations.mcp import VideoTools
from a2e_async.models import ImageToVideoRecord, TaskStatus
from a2e_async.sandbox import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from a2e_async.sandbox import Sandbox

PRICE = 30
SMILE: dict[str, Any] = {"image": "ada.png", "prompt": "#fast she smiles"}


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Make a folder with an image, and one beside it that is out of reach."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.png").write_bytes(quick.PNG)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "ada.png").write_bytes(quick.PNG)
    return tmp_path / "videos"


@attrs.frozen
class Model:
    """What a language model sees of a server."""

    client: Client

    async def __call__(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that succeeds, and return its result."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        content: dict[str, Any] = result.structured_content
        return content

    async def fails(self, tool: str, **arguments: Any) -> str:
        """Call a tool that fails, and return the text of its error."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        return "".join(getattr(part, "text", "") for part in result.content)


@contextlib.asynccontextmanager
async def model_of(
    sandbox: Sandbox, folder: pathlib.Path, max_coins: float = 1000, journal: pathlib.Path | None = None, **config: Any
) -> AsyncIterator[Model]:
    """Connect a client of MCP to a server with the tools."""
    a2e = make_client(sandbox, **config)
    if journal is not None:
        a2e = A2EClient(sandbox.token, base_url=sandbox.url, config=quick.CONFIG, key_store=SQLiteKeyStore(journal))
    tools = VideoTools(a2e, folder=folder, max_coins=max_coins, journal=journal)
    async with Client(tools.server()) as client:
        yield Model(client)


async def test_video_from_the_first_call_to_the_file(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """A model asks for the price, starts a video of a file, waits with progress, downloads it, and sees its coins."""
    seen: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, message))

    async with model_of(sandbox, folder, max_coins=100) as model:
        assert await model("quote_video", video_time=10) == {"coins": 2 * PRICE, "coins_left": 100}
        with sandbox.hold():
            task = await model("start_video", **SMILE)
            unfinished = await model("wait_for_video", task_id=task["task_id"], timeout=12)
            assert unfinished["status"] in {"queued", "running"}
            assert "call wait_for_video again" in unfinished["note"]
            waiting = asyncio.create_task(
                model.client.call_tool("wait_for_video", {"task_id": task["task_id"]}, progress_callback=on_progress)
            )
            await wait_until(lambda: len(seen) >= 2, seconds=60, interval=1)
        assert (await waiting).structured_content == await model("get_video", task_id=task["task_id"])
        assert seen == sorted(seen)
        done = await model("download_video", task_id=task["task_id"], file_name="new/ada.mp4")
        (listed,) = (await model("list_videos"))["result"]
        balance = await model("get_balance")
    assert (listed["task_id"], listed["status"], listed["coins"]) == (task["task_id"], "succeeded", PRICE)
    assert pathlib.Path(done["path"]) == folder / "new" / "ada.mp4"
    assert (folder / "new" / "ada.mp4").stat().st_size == done["size"] > 0
    assert (balance["coins"], balance["coins_spent"], balance["coins_left"]) == (sandbox.coins, PRICE, 70)


async def test_tools_have_descriptions_and_hints(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """A host learns what costs coins, and every argument is described."""
    async with model_of(sandbox, folder) as model:
        tools = {tool.name: tool for tool in (await model.client.list_tools()).tools}
    free = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
    assert tools.keys() - free == {"start_video", "download_video"}
    for tool in tools.values():
        arguments = {**tool.input_schema["properties"]}
        assert arguments.pop("has_end_image", {}).get("type", "boolean") == "boolean"
        assert all("description" in argument for argument in arguments.values())
        assert not any(line.startswith(" ") for line in str(tool.description).splitlines())


@pytest.mark.parametrize("restarts", [False, True])
async def test_limit_holds(sandbox: Sandbox, folder: pathlib.Path, tmp_path: pathlib.Path, restarts: bool) -> None:  # noqa: FBT001
    """No start passes the limit, for any arguments, also after a restart; one that fits is still started."""
    journal = tmp_path / "mcp.sqlite"
    async with contextlib.AsyncExitStack() as stack:
        model = await stack.enter_async_context(model_of(sandbox, folder, 70, journal))
        await model("start_video", **SMILE)
        if restarts:
            await stack.aclose()
            model = await stack.enter_async_context(model_of(sandbox, folder, 70, journal))
        too_much = await model.fails("start_video", **SMILE, video_time=10)
        assert "30 of at most 70 coins are spent, and it would cost 60" in too_much
        await model("start_video", **SMILE, idempotency_key="second take")
        assert "60 of at most 70" in await model.fails("start_video", **SMILE, idempotency_key="third take")
    assert len(charged_task_ids(sandbox)) == count_starts(sandbox) == 2


async def test_two_servers_share_a_limit(sandbox: Sandbox, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Two programs with one journal start two videos at once, and the limit is enough for one."""
    journal = tmp_path / "mcp.sqlite"
    async with model_of(sandbox, folder, 40, journal) as one, model_of(sandbox, folder, 40, journal) as other:
        results = await asyncio.gather(
            one.client.call_tool("start_video", SMILE | {"idempotency_key": "a"}),
            other.client.call_tool("start_video", SMILE | {"idempotency_key": "b"}),
        )
    assert sorted(result.is_error for result in results) == [False, True]
    assert len(charged_task_ids(sandbox)) == 1


@pytest.mark.parametrize("restarts", [False, True])
async def test_repeated_call_pays_once(
    sandbox: Sandbox,
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    restarts: bool,  # noqa: FBT001
) -> None:
    """The same arguments return the same task, also after a restart, and also if the limit is used up."""
    journal = tmp_path / "mcp.sqlite"
    async with contextlib.AsyncExitStack() as stack:
        model = await stack.enter_async_context(model_of(sandbox, folder, PRICE, journal))
        first = await model("start_video", **SMILE)
        if restarts:
            await stack.aclose()
            model = await stack.enter_async_context(model_of(sandbox, folder, PRICE, journal))
        again = await model("start_video", **SMILE)
    assert (again["task_id"], again["note"]) == (first["task_id"], "It was started before: nothing was paid now")
    assert len(charged_task_ids(sandbox)) == 1


async def test_calls_at_the_same_time_pay_once(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """A host that sends one call twice at once gets one task."""
    async with model_of(sandbox, folder) as model:
        tasks = await asyncio.gather(*(model("start_video", **SMILE) for _ in range(3)))
    assert len({task["task_id"] for task in tasks}) == len(charged_task_ids(sandbox)) == 1


async def test_key_of_another_video(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """A key that is used for other arguments is an error, and not the wrong video."""
    async with model_of(sandbox, folder) as model:
        await model("start_video", **SMILE, idempotency_key="ada")
        text = await model.fails("start_video", image="ada.png", prompt="she waves", idempotency_key="ada")
    assert "belongs to another video" in text
    assert len(charged_task_ids(sandbox)) == 1


async def test_rejected_start_costs_nothing(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """After a start that A2E has rejected, the whole limit is left, and the same call can be repeated."""
    async with model_of(sandbox, folder, PRICE) as model:
        coins, sandbox.coins = sandbox.coins, 5
        assert "Add coins to the account" in await model.fails("start_video", **SMILE)
        sandbox.coins = coins
        assert (await model("get_balance"))["coins_left"] == PRICE
        await model("start_video", **SMILE)


async def test_failed_task_says_what_another_try_needs(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """The wait for a task that fails is an error; the same call shows the failed task, and pays for no other one."""
    async with model_of(sandbox, folder) as model:
        with sandbox.hold():
            task = await model("start_video", **SMILE)
            sandbox.fail(task["task_id"])
        assert "failed" in await model.fails("wait_for_video", task_id=task["task_id"])
        again = await model("start_video", **SMILE)
    assert (again["task_id"], again["status"]) == (task["task_id"], "failed")
    assert "needs a new idempotency_key" in again["note"]


async def test_lost_answer_counts_until_it_is_settled(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """A start with an unknown outcome counts, and nothing else is started, until A2E shows that it has no such task."""
    sandbox.faults = faults_on_start(Fault("drop"))
    async with model_of(sandbox, folder, 40, start=quick.SETTLES_SOON) as model:
        assert "it does not pay twice" in await model.fails("start_video", **SMILE)
        assert (await model("get_balance"))["coins_left"] == 10
        refused = await model.fails("start_video", **SMILE, idempotency_key="other")
        assert "is not known yet" in refused
        await asyncio.sleep(600)
        await model("start_video", **SMILE, idempotency_key="other")
        assert (await model("get_balance"))["coins_left"] == 10
    assert len(charged_task_ids(sandbox)) == 1


async def test_lost_answer_of_an_accepted_start(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """A task that A2E's list shows late is found by the next start, and counts."""
    sandbox.faults = faults_on_start(Fault("drop", after=True), invisible=60)
    async with model_of(sandbox, folder, 70) as model:
        await model.fails("start_video", **SMILE)
        await asyncio.sleep(100)
        await model("start_video", **SMILE, idempotency_key="other")
        assert (await model("get_balance"))["coins_left"] == 10
    assert len(charged_task_ids(sandbox)) == 2


async def test_cancelled_start_is_kept(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """A host that cancels a call in the middle of a start loses no task, and the coins count."""
    sandbox.faults = faults_on_start(Fault("delay", seconds=3, after=True))
    async with make_client(sandbox) as a2e:
        tools = VideoTools(a2e, folder=folder, max_coins=100)
        call = asyncio.create_task(tools.start_video(**SMILE))
        await wait_until(lambda: charged_task_ids(sandbox))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert [*tools.unfinished] == charged_task_ids(sandbox)
        assert (await tools.get_balance()).coins_spent == PRICE
        assert [(await tools.start_video(**SMILE)).task_id] == charged_task_ids(sandbox)


@pytest.mark.parametrize(
    "image", ["../out/secret.png", "/etc/hostname", "link.png", "folder/secret.png", "a\0b", "~/ada.png", "none.png"]
)
async def test_images_outside_of_the_folder(sandbox: Sandbox, folder: pathlib.Path, image: str) -> None:
    """Only files in the folder are read, and a wrong path costs nothing."""
    (folder / "link.png").symlink_to(folder.parent / "out" / "secret.png")
    (folder / "folder").symlink_to(folder.parent / "out", target_is_directory=True)
    async with model_of(sandbox, folder) as model:
        for name in ("image", "end_image"):
            text = await model.fails("start_video", **SMILE | {name: image})
            assert any(word in text for word in ("leads out of it", "cannot be read", "is not a path"))
    assert sandbox.coins == 10_000


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../ada.mp4", "leads out"),
        ("/tmp/ada.mp4", "leads out"),
        ("there.mp4", "there.mp4' exists"),
        ("dangling.mp4", "leads out"),
        ("ada.png", "must end with .mp4"),
        (".bashrc", "must end with .mp4"),
        ("", "must end with .mp4"),
    ],
)
async def test_files_that_are_not_written(sandbox: Sandbox, folder: pathlib.Path, name: str, problem: str) -> None:
    """A download writes a new video in the folder, and nothing else."""
    (folder / "there.mp4").write_bytes(b"kept")
    (folder / "dangling.mp4").symlink_to(folder.parent / "out" / "new.mp4")
    before = {*folder.iterdir(), *folder.parent.iterdir()}
    async with model_of(sandbox, folder) as model:
        task = await model("start_video", **SMILE)
        await model("wait_for_video", task_id=task["task_id"])
        assert problem in await model.fails("download_video", task_id=task["task_id"], file_name=name)
        assert {*folder.iterdir(), *folder.parent.iterdir()} == before
    assert (folder / "there.mp4").read_bytes() == b"kept"


async def test_errors_name_the_next_tool(sandbox: Sandbox, folder: pathlib.Path) -> None:
    """Errors give the advice of the package, in the words of the tools, and show no link and no token."""
    async with model_of(sandbox, folder) as model:
        with sandbox.hold():
            task = await model("start_video", image="https://example.com/a.png?token=private", prompt="she smiles")
            text = await model.fails("download_video", task_id=task["task_id"])
        assert f"Call wait_for_video with task_id {task['task_id']}" in text
        assert "Record not found" in await model.fails("get_video", task_id="67d29023dd27a536fdf6e809")
        sandbox.token = "sk_new"
        text = await model.fails("get_balance")
    assert "The operator of this server" in text
    assert "sk_" not in text


@pytest.mark.parametrize("wrong", [{"max_coins": -1}, {"max_coins": float("nan")}, {"folder": "none"}])
def test_wrong_settings(folder: pathlib.Path, wrong: dict[str, Any]) -> None:
    """A limit that is no number of coins, or a folder that is missing, is found at once."""
    with pytest.raises(ConfigurationError):
        VideoTools(A2EClient("sk_x"), **{"folder": folder, "max_coins": 10, **wrong})


def entry(kind: str = "a", **changes: Any) -> Spending:
    """Make an entry of a start."""
    return attrs.evolve(Spending(key="k", kind=kind, request="", sent_at=0.0, quote=30), **changes)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("entries", "quote", "fits"),
    [
        ([], 100, True),
        ([], 101, False),
        ([], None, True),
        ([entry(coins=100)], None, False),
        ([entry(coins=60)], 30, False),  # the price is 60, not 30 as quoted
        ([entry(coins=40)], 60, True),  # A2E has raised it
        ([entry(coins=40)], 61, False),
        ([entry()], 30, False),  # another start finds out its price
        ([entry("b")], 30, False),
        ([entry("b", has_ended=True)], 30, False),  # it is unknown what is left
        ([entry(has_ended=True), entry(coins=30, sent_at=1)], 30, True),
        ([entry(has_ended=True), entry(coins=30, sent_at=1), entry(quote=50)], 30, False),
        ([entry(coins=30), entry(coins=50, sent_at=1)], 20, False),  # the latest price
        ([entry(coins=0, quote=30, has_ended=True)], 30, True),  # refunded: its price is not 0
        ([entry(coins=0, quote=0, has_ended=True)], 0, True),
    ],
)
def test_limit_counts_all_entries(entries: list[Spending], quote: float | None, fits: bool) -> None:  # noqa: FBT001
    """A start fits if its price, as far as it is known, is left beside all other starts."""
    assert budget_of(entries, 100, kind="a", quote=quote).fits("a") is fits


@pytest.mark.pure
def test_coins_of_a_start_under_way_are_committed() -> None:
    """What may be spent already counts as spent: named, expected or unknown."""
    assert committed([entry(coins=40), entry(quote=20), entry("b", quote=7), entry("c", quote=None)], 100) == 87


@pytest.mark.pure
@pytest.mark.parametrize(
    ("before", "coins", "status", "after"),
    [
        (entry(), 30, TaskStatus.QUEUED, 30),
        (entry(), 0, TaskStatus.RUNNING, None),  # "not yet"
        (entry(), None, TaskStatus.SUCCEEDED, None),
        (entry(), 0, TaskStatus.SUCCEEDED, None),
        (entry(quote=0), 0, TaskStatus.SUCCEEDED, 0),
        (entry(), 0, TaskStatus.FAILED, 0),  # refunded
        (entry(coins=30), 40, TaskStatus.SUCCEEDED, 40),
        (entry(coins=30), 0, TaskStatus.FAILED, 30),  # it never counts less
    ],
)
def test_cost_is_what_a2e_names(before: Spending, coins: float | None, status: TaskStatus, after: float | None) -> None:
    """The cost is what A2E names: later, if not at once, and at most."""
    found = before.after(ImageToVideoRecord(id="t", coins=coins, status=status))
    assert (found.coins, found.task_id, found.has_ended) == (after, "t", status.is_final)
