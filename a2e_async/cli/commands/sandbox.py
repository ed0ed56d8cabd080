"""``a2e sandbox``: a local A2E for other programs."""

import asyncio
from typing import Literal

from rich.console import Console

from a2e_async.errors import ConfigurationError
from a2e_async.sandbox import Sandbox, SandboxError


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

    Nothing is sent to the internet. The command prints the environment variables of a client.

    Args:
        port: The port; 0 selects a free one.
        host: The address to listen on.
        token: The token that clients must send.
        coins: The initial balance.
        speed: The speed of the tasks, as a multiple of A2E's.
        render: "video" renders a real video from the image; "tiny" returns the same tiny video for every task.
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
        console.print(f"A local A2E runs at {local.url} (Ctrl-C stops it). To use it:\n")
        console.print(f"  export A2E_BASE_URL={local.url}\n  export A2E_API_TOKEN={local.token}\n", soft_wrap=True)
        console.print(
            'or  A2EClient("' + local.token + '", base_url="' + local.url + '")', soft_wrap=True, markup=False
        )
        await asyncio.Event().wait()
