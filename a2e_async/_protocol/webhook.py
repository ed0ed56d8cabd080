"""What a webhook is worth: is it genuine, and which tasks does it speak of (reference 1.11)?

The law: a webhook only *nudges*. What it says about a task is not even looked at; the answer is always
read from A2E, so that a forged webhook can cost one read, never a false result. The payload is unpublished, so
everything is taken, and every text in it may be the id of a task.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import deque
from typing import Any

import attrs

from a2e_async._protocol.validation import check_webhook, refuse

__all__ = ["HEADER", "LONGEST_BODY", "Mentioned", "Seen", "check_address", "is_genuine", "mentioned", "objection"]

HEADER = "X-A2e-Webhook-Token"

LONGEST_BODY = 64 * 1024
"""Bytes. A record of A2E has about one thousand."""

_ID_KEYS = frozenset({"_id", "id", "task_id", "taskid"})

_LONGEST_ID = 100
"""Characters. A2E's ids have 24, but nobody promised that."""

_MOST_TEXTS = 1_000

_MOST_SEEN = 1_000

_SOMEWHERE = "https://localhost/"
"""Stands for a URL that is not known yet: A2E takes no token without one."""


@attrs.frozen
class Mentioned:
    """What a body speaks of.

    Attributes:
        texts: What may be the id of a task, each once; what stands where an id is expected comes first.
        has_id: Something stands where an id is expected.
    """

    texts: tuple[str, ...] = attrs.field(default=(), repr=False)
    has_id: bool = False


@attrs.define(eq=False)
class Seen:
    """Remembers the latest bodies that it was given, by their digests."""

    _digests: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=_MOST_SEEN), init=False, repr=False)

    def __contains__(self, body: bytes) -> bool:
        return hashlib.sha256(body).digest() in self._digests

    def add(self, body: bytes) -> None:
        """Remember a body; of too many, the oldest is forgotten."""
        self._digests.append(hashlib.sha256(body).digest())


def check_address(url: str | None, token: str) -> None:
    """Check where A2E is to send webhooks, and what shall make them genuine.

    Raises:
        InvalidRequestError: A2E would not take it, or the token would not come back as it is.
    """
    check_webhook(_SOMEWHERE if url is None else url, token)
    if not token.isascii() or token != token.strip():  # a header has no encoding, and loses the space around its value
        refuse("webhook_token comes back in a header, and must be ASCII without white space around it")


def is_genuine(given: str | None, expected: str) -> bool:
    """Tell whether a webhook carries the token, in a time that does not depend on how much of it is right.

    Args:
        given: The header as it came, in whatever way it was decoded; None if there is none.
        expected: The token.
    """
    if given is None:
        return False
    # any str has these bytes, also one from aiohttp that holds halves of pairs for bytes that are no text
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def objection(method: str, given: str | None, expected: str, length: str | None) -> int | None:
    """Return the HTTP status with which a request is turned away before its body is read, or None.

    Args:
        method: The HTTP method.
        given: The header `HEADER`.
        expected: The token.
        length: The header ``Content-Length``.
    """
    if method != "POST":
        return 405
    if not is_genuine(given, expected):
        return 401
    if length is not None and length.isdecimal() and (len(length) > 9 or int(length) > LONGEST_BODY):
        return 413
    return None


def mentioned(body: bytes) -> Mentioned:
    """Look for ids of tasks in a body. What is no JSON mentions nothing."""
    try:
        # integers stay as they are written: an id may be one, and Python refuses to read very long ones
        value = json.loads(body.decode(json.detect_encoding(body), "replace"), parse_int=str)
    except (ValueError, RecursionError):
        return Mentioned()
    ids, others = _texts(value)
    texts = [text for text in ids | others if len(text) <= _LONGEST_ID]
    return Mentioned(tuple(texts[:_MOST_TEXTS]), has_id=bool(ids))


def _texts(value: Any) -> tuple[dict[str, None], dict[str, None]]:  # noqa: ANN401  any JSON
    """Return the texts that stand where an id is expected, and all others, the outer ones first."""
    ids: dict[str, None] = {}
    others: dict[str, None] = {}
    pending = deque([("", value)])  # no recursion: JSON may be deeper than Python's stack
    while pending:
        key, value = pending.popleft()
        if isinstance(value, dict):
            pending.extend(value.items())
        elif isinstance(value, list):
            pending.extend(("", item) for item in value)
        elif isinstance(value, str) and value:
            (ids if key.lower() in _ID_KEYS else others)[value] = None
    return ids, others
