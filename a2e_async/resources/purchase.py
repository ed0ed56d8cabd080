"""What the starts of all families have in common: how a job is bought, and what is made of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from a2e_async._protocol import transfer
from a2e_async._protocol.checks import check_webhook, refuse
from a2e_async.files import LocalFile
from a2e_async.resources.sources import Source, Webhook, webhook_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from a2e_async._protocol.families import Family
    from a2e_async.config import OnUnknown

__all__ = ["PurchaseOptions", "hook_fields", "name_of", "shown"]

_ANY_LINK = "https://example.com/file"
"""Stands for a file that is not uploaded yet."""


class PurchaseOptions(TypedDict, total=False):
    """How a job is bought, the same for every family; all of it can be left out.

    Attributes:
        webhook: A `WebhookReceiver`, which A2E calls once when the task ends.
        webhook_url: Instead, an https URL of yours that A2E calls once when the task ends, at most 2048 characters.
        webhook_token: Sent back in ``X-A2e-Webhook-Token``, at most 256 characters.
        idempotency_key: A name of yours for this job. If A2E still has a task of this key, that one is returned and
            nothing is bought, even if the other options differ now.
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
            return transfer.name_from(str(path))
    return ""
