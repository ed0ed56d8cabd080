"""Which error a refusal of A2E is. Decided by code and text before the status, since one status means many things.

403 alone means plan, moderation, a limit or a bad token (reference 1.5), and 400 can mean missing coins. The words are
those that callers match; they only choose the subclass, never whether something is an error.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import http
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from a2e_async._protocol.messages import Response
from a2e_async.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BusyError,
    ContentRejectedError,
    InsufficientCreditsError,
    NotFoundError,
    PlanError,
    RateLimitError,
    ServerError,
)

__all__ = ["epoch", "refusal", "refused_content", "retry_after", "trace_of"]

_LONGEST = 500
"""Characters of a refusal's text that are kept."""

_BY_CODE: dict[int, type[APIError]] = {
    1001: BusyError,  # streaming hosts are occupied
    1003: ContentRejectedError,  # a minor in the image
    1004: ContentRejectedError,  # a suspected minor
    30005: BadRequestError,  # back_id and custom_back_id
}

_BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    402: InsufficientCreditsError,
    404: NotFoundError,
    408: ServerError,
    429: RateLimitError,
}

_CREDITS = re.compile(r"quota|insufficient|\bcoins?\b|\bcredits?\b|balance", re.IGNORECASE)
_RATE = re.compile(r"rate limit|too many requests", re.IGNORECASE)
_TOKEN = re.compile(r"unauthori[sz]ed|invalid token|\btoken\b|not logged in|forbidden", re.IGNORECASE)
_PLAN = re.compile(
    r"free user|free plan|(?i:upgrade|subscri|\bplans?\b)|\b(?:Pro|Max|VIP|Ultra)\b"
    r"|[Ll]imit reached|reached (?:\w+ ){0,5}limit"
)
_CONTENT = re.compile(
    r"copyright|public figure|nsfw|nfsw|(?<!case.)sensitive|content policy|moderation|flagged", re.IGNORECASE
)
_PERSON = re.compile(r"portrait|likeness|\bminor\b", re.IGNORECASE)
"""Words of moderation that have another meaning where a request is wrong: "portrait or landscape"."""

_BUSY = re.compile(r"occupied|\bbusy\b", re.IGNORECASE)

_TOO_DEEP = "…"

_WORDS = 1000
"""Words of an odd answer that are looked at."""

_ECHO = frozenset({"name", "prompt", "negative_prompt", "image_url", "end_image_url"})

_BY_TEXT: dict[int, tuple[tuple[re.Pattern[str], type[APIError]], ...]] = {
    400: (
        (_CONTENT, ContentRejectedError),
        (_RATE, RateLimitError),
        (_CREDITS, InsufficientCreditsError),
    ),
    403: (
        (_PLAN, PlanError),
        (_CONTENT, ContentRejectedError),
        (_PERSON, ContentRejectedError),
        (_CREDITS, InsufficientCreditsError),
        (_RATE, RateLimitError),
        (_TOKEN, AuthenticationError),
    ),
    200: (
        (_BUSY, BusyError),
        (_CONTENT, ContentRejectedError),
        (_PERSON, ContentRejectedError),
        (_PLAN, PlanError),
        (_RATE, RateLimitError),
        (_CREDITS, InsufficientCreditsError),
        (_TOKEN, AuthenticationError),
    ),
}
"""Status -> words and what they mean, the first match first. 200: an error inside of a good answer."""


def refusal(body: dict[str, Any], response: Response) -> APIError:
    """Build the error for a refusal (E1 to E6), with everything that A2E said."""
    code = body.get("code")
    code = code if isinstance(code, int | str) and not isinstance(code, bool) else None
    message = _message(body) or _reason(response.status)
    return _kind(response.status, code, message)(
        message,
        status=response.status,
        code=code,
        errors=_details(body.get("errors")),
        trace_id=trace_of(body),
        retry_after=retry_after(response),
    )


def trace_of(body: dict[str, Any]) -> str:
    """Return the ``trace_id`` of an envelope, or an empty string."""
    trace_id = body.get("trace_id")
    return trace_id if isinstance(trace_id, str) else ""


def refused_content(data: object) -> str:
    """Return A2E's text if a good answer reports flagged content instead of a task (E8), else an empty string.

    What holds an id, wherever and by whatever name, may be a task: then nobody knows what it means.
    """
    words: list[str] = []
    waiting = [data]
    while waiting and len(words) < _WORDS:
        item = waiting.pop()
        if isinstance(item, dict):
            if any(key.lower().endswith("id") for key in item):
                return ""
            told = {key: value for key, value in item.items() if value and key not in _ECHO}
            words += told
            waiting += told.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str):
            words.append(item)
    text, report = " ".join(words), _clip(_dump(data))
    return report if report != _TOO_DEEP and (_CONTENT.search(text) or _PERSON.search(text)) else ""


def _kind(status: int, code: int | str | None, message: str) -> type[APIError]:
    number = int(code) if isinstance(code, str) and code.isdecimal() and len(code) < 9 else code
    if isinstance(number, int) and number in _BY_CODE:
        return _BY_CODE[number]
    if status < 400:  # reference 1.5: an inner 400, 401 or 403 means the same as the HTTP status
        status = number if isinstance(number, int) and 400 <= number <= 599 else 200
    elif status in {400, 403} and isinstance(number, int) and number in _BY_STATUS:
        status = number
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    for words, kind in _BY_TEXT.get(status, ()):
        if words.search(message):
            return kind
    if status >= 500:
        return ServerError
    return BadRequestError if status not in {200, 403} else APIError


def _message(body: dict[str, Any]) -> str:
    for candidate in _texts(body):
        if isinstance(candidate, str) and candidate.strip():
            return _clip(candidate.strip())
    return ""


def _texts(body: dict[str, Any]) -> Iterator[object]:
    """Yield the places of reference 1.4 where the text may stand, in its order."""
    yield "; ".join(text for text in _details(body.get("errors")) if text.strip())
    for key in ("msg", "message", "error", "err_message", "data"):
        yield body.get(key)
    data = body.get("data")
    if isinstance(data, dict):
        for key in ("failed_message", "message", "msg", "fail_reason"):
            yield data.get(key)


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "A2E gave no reason"


def _details(errors: object) -> tuple[str, ...]:
    """Render the validation details (E4): an array or an object of anything."""
    if isinstance(errors, dict):
        return tuple(_clip(f"{key}: {_render(value)}") for key, value in errors.items())
    if isinstance(errors, list):
        return tuple(_clip(_render(item)) for item in errors)
    return (_clip(errors),) if isinstance(errors, str) and errors else ()


def _render(item: object) -> str:
    if isinstance(item, dict):
        text = next((item[key] for key in ("msg", "message", "error") if isinstance(item.get(key), str)), None)
        where = next((item[key] for key in ("path", "field", "param") if isinstance(item.get(key), str)), None)
        if text is not None:
            return f"{where}: {text}" if where else text
    return item if isinstance(item, str) else _dump(item)


def _dump(item: object) -> str:
    try:
        return json.dumps(item, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):  # what could just be read can be too deep to be written
        return _TOO_DEEP


def _clip(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def retry_after(response: Response) -> float | None:
    """Return the seconds of a ``Retry-After`` (a number or a date, RFC 9110), or None.

    A date is compared with the answer's own ``Date``, so that a wrong clock of this machine does no harm.
    """
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        then = epoch(value)
        if then is None:
            return None
        now = epoch(response.headers.get("date", ""))
        seconds = max(0.0, then - (response.received_at if now is None else now))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def epoch(value: str) -> float | None:
    """Return the seconds since the epoch of a date in a header (RFC 9110), or None if it is none."""
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:  # "-0000": UTC of unknown origin
            moment = moment.replace(tzinfo=dt.UTC)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
