"""The pictures that A2E brings along: of its own avatars and backgrounds. Painted when somebody first asks for them."""

from typing import Final

from attrs import frozen

from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.storage import BUCKET, StoredObject

_PLACE: Final = f"{BUCKET}/adam2eve/prod/system"


@frozen
class Exhibit:
    """A picture of A2E's own. Its id never changes."""

    id: str
    name: str
    size: tuple[int, int]


async def link_to(context: Context, exhibit: Exhibit) -> str:
    """Return the link of a picture that can be fetched."""
    address = f"{_PLACE}/{exhibit.id}.png"
    if context.storage.visible(address) is None:
        path = await context.studio.paint(exhibit.name, exhibit.size)
        context.storage.store(address, StoredObject(path=path, content_type="image/png"))
    return context.storage.cdn_url(address)
