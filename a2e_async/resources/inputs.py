"""Inputs as callers give them, files and links, and what the starts of all families have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias, TypedDict

from a2e_async._protocol.families import Family
from a2e_async._protocol.validation import check_link, check_webhook, refuse
from a2e_async.config import OnUnknown
from a2e_async.files import media_types
from a2e_async.files.local_files import LocalFile, Media, open_file
from a2e_async.files.media_types import Medium

__all__ = [
    "PurchaseOptions",
    "Source",
    "Webhook",
    "hook_fields",
    "link_source",
    "name_of",
    "needed_source",
    "shown",
    "source_of",
    "webhook_fields",
]

Source: TypeAlias = LocalFile | str
"""A local file that was looked at, or a link that was checked."""

_CALLED = {"image": "an image", "video": "a video", "audio": "a sound"}


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


_ANY_LINK = "https://example.com/file"
"""Stands for a file that is not uploaded yet."""


class PurchaseOptions(TypedDict, total=False):
    """How a job is started, the same for every family; all of it can be left out.

    Attributes:
        webhook: A `WebhookReceiver`, which A2E calls once when the task ends.
        webhook_url: Instead, an https URL of yours that A2E calls once when the task ends, at most 2048 characters.
        webhook_token: Sent back in ``X-A2e-Webhook-Token``, at most 256 characters.
        idempotency_key: A name of yours for this job. If A2E still has a task of this key, that one is returned and
            nothing is started, even if the other options differ now.
        on_unknown: What to do if it stays unknown whether A2E accepted the start: ``"raise"`` or ``"resend"``. By
            default as `StartPolicy.on_unknown` says.
    """

    webhook: Webhook | None
    webhook_url: str | None
    webhook_token: str | None
    idempotency_key: str | None
    on_unknown: OnUnknown | None


def hook_fields(family: Family, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that ask for a webhook.

    Raises:
        TypeError: There is no such option.
        InvalidRequestError: They cannot work.
    """
    unknown = options.keys() - PurchaseOptions.__annotations__.keys()
    if unknown:
        msg = f"start() got unexpected keyword arguments: {', '.join(sorted(unknown))}"
        raise TypeError(msg)
    url, token = webhook_fields(options.get("webhook"), options.get("webhook_url"), options.get("webhook_token"))
    check_webhook(url, token)
    if url is not None and not family.hooked:
        refuse(f"{family.title} has no webhooks: wait for it instead")
    fields = {"webhook_url": url, "webhook_token": token}
    return {name: value for name, value in fields.items() if value is not None}


def shown(value: Source | list[Source]) -> Any:  # noqa: ANN401  what a form checks
    """Return an input as the form is shown it: what is not uploaded yet has no link."""
    if isinstance(value, list):
        return [shown(item) for item in value]
    return _ANY_LINK if isinstance(value, LocalFile) else value


def name_of(sources: Iterable[Source]) -> str:
    """Name a task after its first input."""
    for source in sources:
        path = source.content if isinstance(source, LocalFile) else source
        if not isinstance(path, bytes):
            return media_types.name_from(str(path))
    return ""
