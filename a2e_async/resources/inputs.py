"""Inputs of starts, as local files or links, and the start options that all families have in common."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias, TypedDict

from a2e_async._protocol.families import Family
from a2e_async._protocol.validation import check_link, check_webhook, raise_invalid
from a2e_async.config import OnUnknown
from a2e_async.files import media_types
from a2e_async.files.local_files import LocalFile, Media, open_file
from a2e_async.files.media_types import Medium

Source: TypeAlias = LocalFile | str
"""A local file that was opened and checked, or a link that was checked."""

_WITH_ARTICLE = {"image": "an image", "video": "a video", "audio": "an audio file"}


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


def check_input_link(name: str, file: Media | None, url: str | None) -> str | None:
    """Return the link among the two values after checking it; None if there is no link.

    Raises:
        InvalidRequestError: There are a file and a link, or the link is not valid.
    """
    if file is not None and url is not None:
        raise_invalid(f"pass {name} or {name}_url, not both")
    link = file if isinstance(file, str) and "://" in file else url  # a str without a scheme is a path
    if link is not None:
        check_link(f"{name}_url", link)
    return link


async def open_input(name: str, file: Media | None, url: str | None, *media: Medium) -> Source | None:
    """Return an input after checking it: the file, opened, or the link. None if there is neither.

    Args:
        name: The parameter's name, for error messages. The parameter of the link ends with ``_url``.
        file: A local file, or a link.
        url: A link.
        media: The allowed media types of a local file.

    Raises:
        InvalidRequestError: There are a file and a link, or the given one is not valid.
    """
    link = check_input_link(name, file, url)
    return link if link is not None or file is None else await open_file(name, file, *media)


async def open_required_input(name: str, file: Media | None, url: str | None, *media: Medium) -> Source:
    """Return an input as `open_input` does, but require one.

    Raises:
        InvalidRequestError: As in `open_input`, or there is neither a file nor a link.
    """
    source = await open_input(name, file, url, *media)
    if source is None:
        what = " or ".join(_WITH_ARTICLE[medium] for medium in media)
        raise_invalid(f"{what} is needed: pass {name} (a path, bytes or a binary file) or {name}_url")
    return source


def resolve_webhook(webhook: Webhook | None, url: str | None, token: str | None) -> tuple[str | None, str | None]:
    """Return the URL and the token of a webhook, from a receiver or as they were passed.

    Raises:
        InvalidRequestError: There are a receiver and a URL or a token, or the receiver has no URL.
    """
    if webhook is None:
        return url, token
    # by attributes: the class itself is in a module above this one
    if not hasattr(webhook, "url") or not hasattr(webhook, "token"):
        raise_invalid(
            f"webhook must be a WebhookReceiver, not {type(webhook).__name__}; for a URL of your own pass webhook_url"
        )
    if url is not None or token is not None:
        raise_invalid("pass webhook, or webhook_url and webhook_token, not both")
    if webhook.url is None:
        raise_invalid("the webhook has no URL: make it with WebhookReceiver(a2e, url='https://…')")
    return webhook.url, webhook.token


_PLACEHOLDER_LINK = "https://example.com/file"


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

    webhook: Webhook | None
    webhook_url: str | None
    webhook_token: str | None
    idempotency_key: str | None
    on_unknown: OnUnknown | None


def webhook_body(family: Family, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of a start's body that request a webhook; empty without one.

    Raises:
        TypeError: An option has an unknown name.
        InvalidRequestError: The webhook options are not valid, or the family has no webhooks.
    """
    # Python does not check the names of a TypedDict, and A2E would never see a misspelt option
    unknown = options.keys() - CommonStartOptions.__annotations__.keys()
    if unknown:
        msg = f"start() got unexpected keyword arguments: {', '.join(sorted(unknown))}"
        raise TypeError(msg)
    url, token = resolve_webhook(options.get("webhook"), options.get("webhook_url"), options.get("webhook_token"))
    check_webhook(url, token)
    if url is not None and not family.has_webhooks:
        raise_invalid(f"{family.title} has no webhooks: wait for the task instead")
    fields = {"webhook_url": url, "webhook_token": token}
    return {name: value for name, value in fields.items() if value is not None}


def with_placeholder_links(value: Source | list[Source]) -> Any:  # noqa: ANN401  a value of a JSON body
    """Return an input with a placeholder for the link of each file that is not uploaded yet.

    So the schema can check the whole body before the first upload, which A2E charges.
    """
    if isinstance(value, list):
        return [with_placeholder_links(item) for item in value]
    return _PLACEHOLDER_LINK if isinstance(value, LocalFile) else value


def default_name(sources: Iterable[Source]) -> str:
    """Return a name for a task: the name of its first input that has one."""
    for source in sources:
        path = source.content if isinstance(source, LocalFile) else source
        if not isinstance(path, bytes):
            return media_types.name_from(str(path))
    return ""
