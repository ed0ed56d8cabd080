"""``a2e upload``: upload local images."""

import asyncio
import pathlib
from typing import Annotated

from cyclopts import Parameter

from a2e_async.cli.options import DEFAULT_CONNECTION, Connection
from a2e_async.cli.output import print_json
from a2e_async.files.local_files import open_image


def upload(
    *files: Annotated[pathlib.Path, Parameter(name="FILE", required=True)], connection: Connection = DEFAULT_CONNECTION
) -> int:
    """Upload images to A2E's storage and print their links.

    Try:

        a2e upload ada.png

    The links work as images for about 3 days. `image-to-video run` and `start` upload local images themselves. A2E
    charges for an upload; the price is not published.

    Args:
        files: An image (PNG, JPEG, WebP, GIF, BMP). All files are checked before the first upload.
        connection: The shared options.
    """

    async def upload_all() -> None:
        async with connection.client() as a2e:
            for file in files:
                await open_image("FILE", file)
            for file in files:
                link = await a2e.upload(file)
                if connection.json:
                    print_json({"file": str(file), "url": link})
                else:
                    print(link, flush=True)

    asyncio.run(upload_all())
    return 0
