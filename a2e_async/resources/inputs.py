"""Inputs of starts, as local files or links, and the start options that all families have in common."""

from collections.abc import Mapping
from typing import Annotated, Any, Protocol, TypeAlias, TypedDict

from a2e_async._protocol.families import Family
from a2e_async._protocol.schema import check_link, check_webhook
from a2e_async._protocol.validation import raise_invalid
from a2e_async.config import OnUnknown
from a2e_async.files.local_files import Image, LocalFile, open_file
from a2e_async.files.media_types import Medium
from a2e_async.models.schemas import AsJson

Source: TypeAlias = LocalFile | str
"""A local file that was opened and checked, or a link that was checked."""

_WITH_ARTICLE = {"image": "an image", "video": "a video", "audio": "an audio file"}


# Stands for the link of a file that is not uploaded yet: a whole body is checked before the first upload.
INVENTED_LINK = "https://example.com/image.png"


class Webhook(Protocol):
    """Receiver of the webhook that A2E sends when a task ends: a `WebhookReceiver`."""

    @property
    def url(self) -> str | None:
        """The public URL of the receiver, None if it is not known."""
        ...

    @property
    def token(self) -> str:
        """The secret that A2E sends back with the webhook."""
        ...


async def open_input(name: str, file: Image | None, url: str | None, *media: Medium) -> Source | None:
    """Return an input after checking it: the file, opened, or the link. None if there is neither.

    Args:
        name: The parameter's name, for error messages. The parameter of the link ends with ``_url``.
        file: A local file, or a link.
        url: A link.
        media: The allowed media types of a local file.

    Raises:
        InvalidRequestError: There are a file and a link, or the given one is not valid.
    """
    if file is not None and url is not None:
        raise_invalid(f"pass {name} or {name}_url, not both")
    link = file if isinstance(file, str) and "://" in file else url  # a str without a scheme is a path
    if link is not None:
        check_link(f"{name}_url", link)
    return link if link is not None or file is None else await open_file(name, file, *media)


async def open_required_input(name: str, file: Image | None, url: str | None, *media: Medium) -> Source:
    """Return an input as `open_input` does, but require one.

    Raises:
        InvalidRequestError: As in `open_input`, or there is neither a file nor a link.
    """
    source = await open_input(name, file, url, *media)
    if source is None:
        what = " or ".join(_WITH_ARTICLE[medium] for medium in media)
        raise_invalid(f"{what} is needed: pass {name} (a path, bytes or a binary file) or {name}_url")
    return source


class CommonStartOptions(TypedDict, total=False):
    """Options of ``start`` that are the same for every family. All of them are optional.

    Attributes:
        webhook: A `WebhookReceiver`, which A2E calls once when the task ends.
        webhook_url: Instead, an https URL of yours that A2E calls once when the task ends, at most 2048 characters.
        webhook_token: Sent back in ``X-A2e-Webhook-Token``, at most 256 characters.
        idempotency_key: Your name for this job. If A2E still has a task of this key, that task is returned and nothing
            is started, even if the other options are different.
        on_unknown: What to do if the outcome of the start stays unknown: ``"raise"`` or ``"resend"``. The default is
            `StartPolicy.on_unknown`.
    """

    webhook: Annotated[Webhook, AsJson("null")] | None
    webhook_url: str | None
    webhook_token: str | None
    idempotency_key: str | None
    on_unknown: OnUnknown | None


def webhook_fields(family: Family, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a start's body that request a webhook; empty without one.

    Raises:
        InvalidRequestError: The webhook options are not valid, or the family has no webhooks.
    """
    webhook, url, token = options.get("webhook"), options.get("webhook_url"), options.get("webhook_token")
    if webhook is not None:
        # by attributes: the class itself is in a module above this one
        if not hasattr(webhook, "url") or not hasattr(webhook, "token"):
            what = type(webhook).__name__
            raise_invalid(f"webhook must be a WebhookReceiver, not {what}; for a URL of your own pass webhook_url")
        if url is not None or token is not None:
            raise_invalid("pass webhook, or webhook_url and webhook_token, not both")
        if webhook.url is None:
            raise_invalid("the webhook has no URL: make it with WebhookReceiver(a2e, url='https://…')")
        url, token = webhook.url, webhook.token
    check_webhook(url, token)
    if url is not None and not family.has_webhooks:
        raise_invalid(f"{family.title} has no webhooks: wait for the task instead")
    fields = {"webhook_url": url, "webhook_token": token}
    return {name: value for name, value in fields.items() if value is not None}
