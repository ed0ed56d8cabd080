"""Context variables: the polls serve all waits, so they belong to the context of none."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import weakref
from typing import TYPE_CHECKING

import aiohttp
import attrs
import quick
from paid_starts import start_video

from a2e_async import A2EClient, ImageToVideoRecord, TaskUpdate, WaitTimeoutError

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

USER: contextvars.ContextVar[object] = contextvars.ContextVar("user")


@attrs.define(eq=False)
class User:
    """What a web framework keeps in a context variable."""

    name: str


async def test_context_of_a_wait(sandbox: Sandbox) -> None:
    """The context of the first wait neither lives on after it, nor is it that of the polls for other waits."""
    seen: list[tuple[str, object]] = []
    trace = aiohttp.TraceConfig()

    async def note(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append((params.method, USER.get(None)))

    trace.on_request_start.append(note)

    async def wait(name: str, seconds: float, users: list[weakref.ref[User]]) -> None:
        user = User(name)
        users.append(weakref.ref(user))
        USER.set(user)
        task = await start_video(a2e, prompt="#stuck")
        updates: list[object] = []

        def note_update(_: TaskUpdate[ImageToVideoRecord]) -> None:
            updates.append(USER.get(None))

        with contextlib.suppress(WaitTimeoutError):
            await task.wait_until_done(seconds, on_update=note_update)
        # what the caller passes is called in the caller's context
        assert set(updates) == {user}

    users: list[weakref.ref[User]] = []
    async with (
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        A2EClient(sandbox.token, base_url=sandbox.url, session=session, config=quick.CONFIG) as a2e,
    ):
        first = asyncio.create_task(wait("first", 3.0, users))
        await asyncio.sleep(1.0)
        second = asyncio.create_task(wait("second", 60.0, users))
        await first
        del first
        await asyncio.sleep(3.0)
        gc.collect()
        assert users[0]() is None
        USER.set(User("webhook"))
        a2e.poll_now()  # as a webhook does, in the context of its own request
        seen.clear()
        await asyncio.sleep(5.0)
        assert len(seen) > 10
        assert {user for _, user in seen} == {None}
        await second
