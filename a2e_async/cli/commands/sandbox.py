"""``a2e sandbox``: a local A2E in a terminal."""

from __future__ import annotations

import asyncio
from typing import Literal

from rich.console import Console

from a2e_async.errors import ConfigurationError
from a2e_async.sandbox import Sandbox, SandboxError

__all__ = ["sandbox"]


def sandbox(
    *,
    port: int = 8080,
    host: str = "127.0.0.1",
    token: str = "sk_sandbox",  # noqa: S107  a token for play money
    coins: int = 10_000,
    speed: float = 1.0,
    render: Literal["video", "tiny"] = "video",
) -> int:
    """Run a local A2E until Ctrl-C. Its coins are play money.

    Try:

        a2e sandbox --port 8080
        a2e sandbox --speed 10 --render tiny

    Nothing leaves this machine. The two variables that point a client at it are printed.

    Args:
        port: The port; 0 takes a free one.
        host: The address to listen on.
        token: The token that clients must send.
        coins: The balance to begin with.
        speed: How many times as fast as A2E.
        render: "video" renders a real video from the image; "tiny" answers a tiny one at once.
    """
    try:
        local = Sandbox(host=host, port=port, token=token, coins=coins, speed=speed, render=render)
        asyncio.run(_serve(Console(highlight=False), local))
    except KeyboardInterrupt:
        return 0
    except (SandboxError, ValueError) as error:
        raise ConfigurationError(str(error)) from error
    return 0


async def _serve(console: Console, local: Sandbox) -> None:
    async with local:
        console.print(f"A local A2E runs at {local.url} (Ctrl-C ends it). Point a client at it:\n")
        console.print(f"  export A2E_BASE_URL={local.url}\n  export A2E_API_TOKEN={local.token}\n", soft_wrap=True)
        console.print(
            'or  A2EClient("' + local.token + '", base_url="' + local.url + '")', soft_wrap=True, markup=False
        )
        await asyncio.Event().wait()
