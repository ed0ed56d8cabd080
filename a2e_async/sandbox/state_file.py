"""File in which a sandbox survives its restart.

It has the balances, the ledger, the tasks, the records of the account (voices, avatars, backgrounds...), and the names
of the stored files, which are in a folder beside it. It does not have the token, the recorded requests and webhooks,
faults, and upload URLs. A task that had not ended goes on at its status, and takes the time of a new one.
"""

import asyncio
import json
import logging
import re
import secrets
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from cattrs.preconf.json import JsonConverter, make_converter

from a2e_async.sandbox.envelopes import monotonic
from a2e_async.sandbox.media.storage import Storage, StoredObject
from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.state import LedgerEntry, SandboxError, State, Task
from a2e_async.sandbox.tasks.families import FAMILIES
from a2e_async.sandbox.tasks.family import Family
from a2e_async.sandbox.tasks.scenarios import Delivery

_LOG: Final = logging.getLogger(__name__)

_VERSION: Final = 1
_INTERVAL: Final = 1.0  # seconds between two looks at the state
_FILE_NAME: Final = re.compile(r"[0-9a-f]{32}")  # of `Storage.new_file`


@frozen
class _Object:
    """A stored object; `file` is a name in the folder."""

    file: str
    content_type: str
    delivery: Delivery | None


@frozen
class _Saved:
    """Content of the file."""

    version: int
    url: str  # of the sandbox; links in the tasks begin with it
    user_id: str
    coins: int
    diamonds: int
    ledger: list[LedgerEntry]
    tasks: list[Task]
    collections: dict[str, dict[str, Any]]
    objects: dict[str, _Object]


@define(eq=False)
class StateFile:
    """The file of one sandbox."""

    path: Path = field(converter=Path)
    _saved: _Saved | None = field(default=None, init=False)
    _text: str = field(default="", init=False)
    _context: Context | None = field(default=None, init=False)
    _seen: tuple[object, ...] = field(default=(), init=False)
    _lock: asyncio.Lock = field(factory=asyncio.Lock, init=False)  # of a save
    _saver: "asyncio.Task[None] | None" = field(default=None, init=False)

    @property
    def folder(self) -> Path:
        """The folder of the stored files."""
        return self.path.with_name(f"{self.path.name}.files")

    async def read(self) -> None:
        """Read the file, if it exists, and make sure that it can be written.

        Raises:
            SandboxError: It cannot be read or written, or is no such file.
        """
        await asyncio.to_thread(self._read)

    def restore(self, context: Context) -> None:
        """Continue the saved state, and save it from now on."""
        self._context, url = context, context.storage.base_url
        if self._text:
            # The port may be another one.
            old = json.loads(self._text)["url"]
            self._text = self._text.replace(json.dumps(f"{old}/")[1:-1], json.dumps(f"{url}/")[1:-1])
            saved = _converter().loads(self._text, _Saved)
            _restore_account(context.state, saved)
            _restore_objects(context.storage, saved, self.folder)
            for task in saved.tasks:
                context.state.tasks[task.id] = task
                if not (task.done or task.deleted):
                    context.lifecycle.begin(task)
            self._text = ""
        self._saver = asyncio.get_running_loop().create_task(self._save_changes(), name="a2e-sandbox-state")

    async def aclose(self) -> None:
        """Save for the last time."""
        if self._saver is None or self._context is None:  # it did not begin
            return
        async with self._lock:  # a save that has begun ends first: it must not replace the last one
            self._saver.cancel()
        await asyncio.gather(self._saver, return_exceptions=True)
        await self._save(self._context)

    def _read(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            text = self.path.read_text("utf-8") if self.path.exists() else ""
            self._write(text or "{}")
            if text.strip() in {"", "{}"}:
                return
            saved = _converter().loads(text, _Saved)
            if saved.version != _VERSION:
                message = f"version {saved.version}"
                raise ValueError(message)  # noqa: TRY301  (one message for all files that are not ours)
        except OSError as error:
            raise self._unwritable(error) from error
        except Exception as error:  # cattrs raises groups of many types
            message = f"{self.path} is not a state of this version's sandbox: name another file, or delete this one"
            raise SandboxError(message) from error
        self._text = text
        used = {each.file for each in saved.objects.values()}
        for file in self.folder.iterdir():
            if _FILE_NAME.fullmatch(file.name) and file.name not in used:  # left behind by a crash
                file.unlink()

    async def _save_changes(self) -> None:
        """Save about once a second while something changes, but less often if there is much to save."""
        loop, pause = asyncio.get_running_loop(), _INTERVAL
        while self._context is not None:
            await asyncio.sleep(pause)
            state, running = self._context.state, self._context.lifecycle.running
            latest = state.requests[-1] if state.requests else None
            seen = (state.coins, state.diamonds, len(state.ledger), len(state.tasks), id(latest), running)
            if running or seen != self._seen:
                began = loop.time()
                try:
                    async with self._lock:
                        await self._save(self._context)
                except SandboxError as error:  # the disk may be full; the next save may succeed
                    _LOG.warning("%s", error)
                else:
                    self._seen = seen
                pause = max(_INTERVAL, 20 * (loop.time() - began))

    async def _save(self, context: Context) -> None:
        state, storage = context.state, context.storage
        saved = _Saved(
            version=_VERSION,
            url=storage.base_url,
            user_id=state.user_id,
            coins=state.coins,
            diamonds=state.diamonds,
            ledger=[*state.ledger],
            tasks=[*state.tasks.values()],
            collections=state.collections,
            objects={
                address: _Object(stored.path.name, stored.content_type, stored.delivery)
                for address, stored in storage.objects.items()
            },
        )
        text = _converter().dumps(saved)
        try:
            await asyncio.to_thread(self._write, text)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SandboxError:
        return SandboxError(f"the sandbox cannot keep its state in {self.path}: {error.strerror}")

    def _write(self, text: str) -> None:
        """Replace the file in one step. Links and webhook tokens in it are for its owner only."""
        new = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.tmp")
        try:
            new.touch(mode=0o600)
            new.write_text(text, "utf-8")
            new.replace(self.path)
        finally:
            new.unlink(missing_ok=True)


def _restore_account(state: State, saved: _Saved) -> None:
    state.user_id, state.coins, state.diamonds = saved.user_id, saved.coins, saved.diamonds
    state.ledger = deque(saved.ledger, maxlen=state.ledger.maxlen)
    state.collections = saved.collections


def _restore_objects(storage: Storage, saved: _Saved, folder: Path) -> None:
    now = monotonic()
    for address, each in saved.objects.items():
        path = folder / each.file
        if _FILE_NAME.fullmatch(each.file) and path.is_file():
            storage.store(
                address,
                StoredObject(path=path, content_type=each.content_type, visible_from=now, delivery=each.delivery),
            )


@cache
def _converter() -> JsonConverter:
    converter = make_converter()
    converter.register_unstructure_hook(Family, lambda family: family.name)
    converter.register_structure_hook(Family, lambda name, _: FAMILIES[name])
    return converter
