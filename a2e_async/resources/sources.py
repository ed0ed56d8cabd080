"""Inputs as callers give them: a local file, which is looked at before anything is sent, or a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from a2e_async._protocol.checks import check_link, refuse
from a2e_async.files import LocalFile, open_file

if TYPE_CHECKING:
    from a2e_async._protocol.transfer import Medium
    from a2e_async.files import Media

__all__ = ["Source", "Webhook", "link_source", "needed_source", "source_of", "webhook_fields"]

Source: TypeAlias = LocalFile | str
"""A local file that was looked at, or a link that was checked."""

_CALLED = {"image": "a picture", "video": "a video", "audio": "a sound"}


class Webhook(Protocol):
    """Where A2E shall tell that a task has ended: a `WebhookReceiver`."""

    @property
    def url(self) -> str | None:
        """The address that A2E can reach it at."""
        ...

    @property
    def token(self) -> str:
        """What A2E has to send back."""
        ...


def link_source(name: str, file: Media | None, url: str | None) -> str | None:
    """Return the checked link that was given, None if it was none.

    Raises:
        InvalidRequestError: A file and a link were given, or the link cannot be used.
    """
    if file is not None and url is not None:
        refuse(f"give {name} or {name}_url, not both")
    link = file if isinstance(file, str) and "://" in file else url
    if link is not None:
        check_link(f"{name}_url", link)
    return link


async def source_of(name: str, file: Media | None, url: str | None, *media: Medium) -> Source | None:
    """Return the checked file or link that was given, None if neither was.

    Args:
        name: The parameter's name, for the errors; that of the link ends with ``_url``.
        file: A local file, or a link.
        url: A link.
        media: What a local file may be.

    Raises:
        InvalidRequestError: Both were given, or what was given cannot be used.
    """
    link = link_source(name, file, url)
    return link if link is not None or file is None else await open_file(name, file, *media)


async def needed_source(name: str, file: Media | None, url: str | None, *media: Medium) -> Source:
    """Return the checked file or link that was given; see `source_of`.

    Raises:
        InvalidRequestError: As there, or neither was given.
    """
    source = await source_of(name, file, url, *media)
    if source is None:
        what = " or ".join(_CALLED[medium] for medium in media)
        refuse(f"{what} is needed: give {name} (a path, bytes or a binary file) or {name}_url")
    return source


def webhook_fields(webhook: Webhook | None, url: str | None, token: str | None) -> tuple[str | None, str | None]:
    """Return the two fields that ask A2E for a webhook.

    Raises:
        InvalidRequestError: A receiver was given and a field besides, or it does not know its own address.
    """
    if webhook is None:
        return url, token
    if not hasattr(webhook, "url") or not hasattr(webhook, "token"):
        refuse(f"webhook must be a WebhookReceiver, not {type(webhook).__name__}; for an address of yours: webhook_url")
    if url is not None or token is not None:
        refuse("give webhook, which fills in webhook_url and webhook_token, or those two, not both")
    if webhook.url is None:
        refuse("the webhook has no address: WebhookReceiver(a2e, url='https://…')")
    return webhook.url, webhook.token
