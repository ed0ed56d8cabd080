"""``a2e upload``: local images become links."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Annotated

from cyclopts import Parameter

from a2e_async.cli.options import DEFAULT, Connection
from a2e_async.cli.output import print_json
from a2e_async.files.local_files import open_picture

__all__ = ["upload"]


def upload(
    *files: Annotated[pathlib.Path, Parameter(name="FILE", required=True)], connection: Connection = DEFAULT
) -> int:
    """Upload images to A2E's storage and print their links.

    Try:

        a2e upload ada.png

    The links can be used as images for about 3 days. `image-to-video run` and `start` upload by themselves. A2E
    charges for an upload; how much is not published.

    Args:
        files: An image (PNG, JPEG, WebP, GIF, BMP). All are looked at before the first one is sent.
        connection: Shared.
    """

    async def flow() -> None:
        async with connection.client() as a2e:
            for file in files:
                await open_picture("FILE", file)
            for file in files:
                link = await a2e.upload(file)
                if connection.json:
                    print_json({"file": str(file), "url": link})
                else:
                    print(link, flush=True)

    asyncio.run(flow())
    return 0
