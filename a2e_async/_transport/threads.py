"""Work that a thread does for a coroutine. A thread cannot be stopped, so it is seen through, whoever is cancelled."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["begin", "outlast", "result"]

P = ParamSpec("P")
T = TypeVar("T")


def begin(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Let a thread of the event loop call a function. Await `result` or `outlast`, not what this returns."""
    return asyncio.get_running_loop().run_in_executor(None, functools.partial(function, *args, **kwargs))


async def result(work: asyncio.Future[T]) -> T:
    """Wait for the work and return its result. A cancellation ends the wait at once, and not the work."""
    if not work.done():
        await asyncio.wait([work])
    return work.result()


async def outlast(work: asyncio.Future[Any]) -> None:
    """Wait for the end of the work, be it good or bad. Cancellations, any number of them, have to wait too."""
    cancelled = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # asked for, so that asyncio does not complain that nobody did
    if cancelled is not None:
        raise cancelled
