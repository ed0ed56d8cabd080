"""A chat bot that makes videos, without a framework: ``python bot.py``, see the page "A chat bot".

The terminal stands in for the chat: each line is a message, such as ``ann: ada.png she smiles at the camera``.
"""

import asyncio
import contextlib
import pathlib
import sys
from collections.abc import AsyncIterator

import aiosqlite
import attrs

from a2e_async import A2EClient, A2EError, ImageToVideoRecord, TaskHandle
from a2e_async.integrations import Supervisor, error_response, serving


@attrs.frozen
class Message:
    """A message of the chat."""

    chat: str
    text: str
    image: bytes


class Terminal:
    """The chat. Replace it by the client of your platform, which has two such methods."""

    async def messages(self) -> AsyncIterator[Message]:
        """Yield all messages until the end of the input."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async for line in reader:
            chat, _, rest = line.decode().strip().partition(": ")
            name, _, text = rest.partition(" ")
            yield Message(chat, text, await asyncio.to_thread(_read_attachment, pathlib.Path(name)))

    async def send(self, chat: str, text: str, video: pathlib.Path | None = None) -> None:
        """Send a message, with a video."""
        print(f"to {chat}: {text}", video or "", flush=True)


def _read_attachment(path: pathlib.Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


async def query(sql: str, *values: str) -> list[tuple[str, ...]]:
    """Run a statement in the database of the bot."""
    async with aiosqlite.connect("bot.sqlite", isolation_level=None) as database:
        await database.execute("CREATE TABLE IF NOT EXISTS videos (id TEXT PRIMARY KEY, chat TEXT)")  # the open ones
        return [tuple(row) for row in await database.execute_fetchall(sql, values)]


async def answer(task: TaskHandle[ImageToVideoRecord], text: str, video: pathlib.Path | None = None) -> None:
    """Send a message to the chat in which a video was ordered, and close the order."""
    for (chat,) in await query("SELECT chat FROM videos WHERE id = ?", task.id):
        await chats.send(chat, text, video)
    await query("DELETE FROM videos WHERE id = ?", task.id)


# The glue: what happens when a video is done, and which videos are open, also after a restart.


async def succeed(task: TaskHandle[ImageToVideoRecord]) -> None:
    """Send a finished video."""
    await answer(task, "Here it is.", await task.download(pathlib.Path(f"{task.id}.mp4"), if_exists="overwrite"))


async def fail(task: TaskHandle[ImageToVideoRecord], error: A2EError) -> None:
    """Report a failed video."""
    await answer(task, f"There is no video: {error_response(error).body['detail']}")


async def open_ids() -> list[str]:
    """Return the ids of the open orders."""
    return [id for (id,) in await query("SELECT id FROM videos")]


a2e = A2EClient()
videos = a2e.image_to_video
supervisor = Supervisor(videos, on_success=succeed, on_failure=fail, on_gone=fail, open_ids=open_ids)
chats = Terminal()


async def order(message: Message) -> None:
    """Start the video of a message."""
    try:
        task = await videos.start(image=message.image, prompt=message.text, negative_prompt="blurry, distorted")
    except A2EError as error:
        await chats.send(message.chat, f"Sorry: {error_response(error).body['detail']}")
        return
    await query("INSERT INTO videos VALUES (?, ?)", task.id, message.chat)  # it is paid: first the database
    supervisor.watch(task)
    await chats.send(message.chat, f"Video {task.id} is being made.")


async def main() -> None:
    """Read messages until the end of the input. Videos that are not done are sent after the next start."""
    async with serving(a2e, supervisor), asyncio.TaskGroup() as orders:
        async for message in chats.messages():
            orders.create_task(order(message))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
