"""Rules of webhooks: which requests are genuine, and which ids they mention (reference 1.11).

A webhook only triggers a poll. Its content is never used as a record: the poll reads the record from A2E, so that a
forged webhook costs one read and never brings a false result. A2E has not published the payload. So any body is
accepted, and every text in it may be the id of a task.
"""

import hashlib
import hmac
import json
from collections import deque
from typing import Any

import attrs

from a2e_async._protocol.schema import check_webhook
from a2e_async._protocol.validation import raise_invalid
from a2e_async._values import Value

AUTH_HEADER = "X-A2e-Webhook-Token"

MAX_BODY_SIZE = 64 * 1024  # bytes; a record of A2E has about one thousand

_ID_KEYS = frozenset({"_id", "id", "task_id", "taskid"})

_MAX_ID_LENGTH = 100  # A2E's ids have 24 characters, but A2E does not promise that

_MAX_TEXTS = 1_000

_MAX_BODIES = 1_000

_PLACEHOLDER_URL = "https://localhost/"  # for a URL that is not known yet: A2E takes no token without one


@attrs.frozen(eq=False, repr=False)
class MentionedIds(Value):
    """Texts of a body that may be ids of tasks.

    Attributes:
        texts: The texts, each once. Texts under the key of an id come first.
        has_id: A text is under the key of an id.
    """

    texts: tuple[str, ...] = attrs.field(default=(), repr=False)
    has_id: bool = False


@attrs.define(eq=False, repr=False)
class RecentBodies:
    """The digests of the latest bodies, by which a repeated webhook is recognized."""

    _digests: deque[bytes] = attrs.field(factory=lambda: deque(maxlen=_MAX_BODIES), init=False, repr=False)

    def __contains__(self, body: bytes) -> bool:
        return hashlib.sha256(body).digest() in self._digests

    def add(self, body: bytes) -> None:
        """Add a body, and drop the oldest one if there are too many."""
        self._digests.append(hashlib.sha256(body).digest())


def check_receiver(url: str | None, token: str) -> None:
    """Check the URL to which A2E sends webhooks, and their token.

    Raises:
        InvalidRequestError: A2E would reject one of them, or the token would come back changed.
    """
    check_webhook(_PLACEHOLDER_URL if url is None else url, token)
    if not token.isascii() or token != token.strip():  # a header has no encoding, and loses the space around its value
        raise_invalid("webhook_token comes back in a header, and must be ASCII without white space around it")


def verify_token(given: str | None, expected: str) -> bool:
    """Return whether a webhook has the right token. The time does not depend on how much of it is right.

    Args:
        given: The header as decoded by the server; None if it is missing.
        expected: The token.
    """
    if given is None:
        return False
    # `surrogatepass` encodes any str, also one with lone surrogates, which aiohttp makes of bytes that are not text.
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass"))


def rejection_status(method: str, given: str | None, expected: str, length: str | None) -> int | None:
    """Return the HTTP status that rejects a request before its body is read, or None to accept it.

    Args:
        method: The HTTP method.
        given: The header `AUTH_HEADER`.
        expected: The token.
        length: The header ``Content-Length``.
    """
    if method != "POST":
        return 405
    if not verify_token(given, expected):
        return 401
    # Python refuses to read integers of thousands of digits: so the number of digits is checked first.
    if length is not None and length.isdecimal() and (len(length) > 9 or int(length) > MAX_BODY_SIZE):
        return 413
    return None


def find_ids(body: bytes) -> MentionedIds:
    """Return the texts of a body that may be ids of tasks. A body that is not valid JSON has none."""
    try:
        # Integers stay as they are written: an id may be one, and Python refuses to read very long ones.
        value = json.loads(body.decode(json.detect_encoding(body), "replace"), parse_int=str)
    except (ValueError, RecursionError):
        return MentionedIds()
    ids, others = _texts(value)
    texts = [text for text in ids | others if len(text) <= _MAX_ID_LENGTH]
    return MentionedIds(tuple(texts[:_MAX_TEXTS]), has_id=bool(ids))


def _texts(value: Any) -> tuple[dict[str, None], dict[str, None]]:  # noqa: ANN401  any JSON
    """Return the texts under the keys of ids, and all other texts, the outer ones first."""
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
