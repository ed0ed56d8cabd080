"""Mapping from A2E's error responses to the error classes of this package."""

# How it works: A2E uses one HTTP status for several errors. 403 can mean plan, moderation, a limit or a bad token,
# and 400 can mean missing coins (reference 1.5). So the class is chosen in this order:
#
# 1. by A2E's own code, where the code has one meaning;
# 2. by an HTTP status that is certain: 401, 402, 404, 408, 429;
# 3. by words in the text, for the statuses 400, 403 and 200 (an error inside a successful response);
# 4. else 5xx is a `ServerError`, other 4xx a `BadRequestError`, and the rest a plain `APIError`.
#
# Words in a text choose the class only. They never decide whether a response is an error.

import http
import json
import re
from collections.abc import Iterator
from typing import Any

from a2e_async._protocol.failures import is_of_gateway
from a2e_async._protocol.messages import Response
from a2e_async._protocol.server_clock import parse_http_date
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
    redact,
)

# Characters of an error text that are kept.
_MAX_TEXT = 500

# Seconds of the longest ``Retry-After`` that is believed.
_MAX_RETRY_AFTER = 3600.0

# Strings of a response that are searched for words of moderation.
_MAX_STRINGS = 1000

_BY_CODE: dict[int, type[APIError]] = {
    1001: BusyError,  # all streaming hosts are occupied
    1003: ContentRejectedError,  # a minor in the image
    1004: ContentRejectedError,  # a suspected minor
    30005: BadRequestError,  # back_id together with custom_back_id
}

_BY_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    402: InsufficientCreditsError,
    404: NotFoundError,
    408: ServerError,
    429: RateLimitError,
}

# Patterns, which `re` compiles at their first use. The Chinese words are those of reference 14b (grade D): the China
# host answers in Chinese.
_CREDITS = r"(?i)quota|insufficient|\bcoins?\b|\bcredits?\b|balance"
_CHINESE_CREDITS = r"(?:[积積]分|[余餘][额額]|[点點][数數])"
_SHORT = rf"(?i)insufficient|not enough (?:coins?|credits?)|{_CHINESE_CREDITS}.*不足|不足.*{_CHINESE_CREDITS}"
_RATE = r"(?i)rate limit|too many requests"
_LOGGED_OUT = r"(?i)unauthori[sz]ed|invalid token|\btoken\b|not logged in|forbidden"
_CHINESE_PLAN = r"[会會][员員]|免[费費]用[户戶]|升[级級]"
_PLAN = (
    r"free user|free plan|(?i:upgrade|subscri|\bplans?\b)|\b(?:Pro|Max|VIP|Ultra)\b"
    rf"|{_CHINESE_PLAN}"
)
_LIMIT = r"(?i)limit reached|reached (?:\w+ ){0,5}limit"
_CONTENT = r"(?i)copyright|public figure|nsfw|nfsw|(?<!case.)sensitive|content policy|moderation|flagged"
# Words of moderation that have another meaning with status 400: "portrait or landscape".
_PERSON = r"(?i)portrait|likeness|\bminor\b"
_BUSY = r"(?i)occupied|\bbusy\b|concurren|queue is full|繁忙|排[队隊]"
# Other texts end with these words too, so that they count last.
_LATER = r"(?i)try again later|[请請]稍[后後候]"

_NUMBER = r"-?[0-9]{1,8}"

# Fields in which a task is named.
_TASK_IDS = ("_id", "task_id", "taskId")

# Replaces a value that is nested too deeply to be written as JSON.
_TOO_DEEP = "…"

# Fields in which A2E repeats the caller's own words, which say nothing about moderation.
_ECHO = frozenset({"name", "prompt", "negative_prompt", "image_url", "end_image_url"})

# Status -> words and their meaning; the first match counts. 200 stands for an error inside a successful response.
_BY_TEXT: dict[int, tuple[tuple[str, type[APIError]], ...]] = {
    400: (
        (_CONTENT, ContentRejectedError),
        (_RATE, RateLimitError),
        (_CHINESE_PLAN, PlanError),  # the English words also are in texts about invalid fields
        (_SHORT, InsufficientCreditsError),
        (_BUSY, BusyError),
        (_CREDITS, InsufficientCreditsError),
        (_LATER, BusyError),
    ),
    403: (
        (_PLAN, PlanError),
        (_CONTENT, ContentRejectedError),
        (_PERSON, ContentRejectedError),
        (_SHORT, InsufficientCreditsError),
        (_BUSY, BusyError),
        (_RATE, RateLimitError),
        (_LIMIT, PlanError),
        (_CREDITS, InsufficientCreditsError),
        (_LOGGED_OUT, AuthenticationError),
        (_LATER, BusyError),
    ),
    200: (
        (_SHORT, InsufficientCreditsError),
        (_BUSY, BusyError),
        (_CONTENT, ContentRejectedError),
        (_PERSON, ContentRejectedError),
        (_PLAN, PlanError),
        (_RATE, RateLimitError),
        (_LIMIT, PlanError),
        (_CREDITS, InsufficientCreditsError),
        (_LOGGED_OUT, AuthenticationError),
        (_LATER, BusyError),
    ),
}


def to_api_error(body: dict[str, Any], response: Response) -> APIError:
    """Return the error for an error response (E1 to E6), with all details that A2E gives."""
    code, trace_id = body.get("code"), body.get("trace_id")
    code = code if isinstance(code, int | str) and not isinstance(code, bool) else None
    message = _message(body) or _reason(response.status)
    error = _error_class(response.status, code, message)(
        message,
        status=response.status,
        code=code,
        errors=_details(body.get("errors")),
        trace_id=trace_id if isinstance(trace_id, str) else "",
        retry_after=retry_after(response),
    )
    error.ambiguous = _is_ambiguous(body, response.status)
    return error


def is_unknown(error: APIError) -> bool:
    """Tell whether no table has the code of an error, or no words of its text where these decide."""
    number = int(error.code) if isinstance(error.code, str) and re.fullmatch(_NUMBER, error.code) else error.code
    # Case 1: a code. A2E repeats the HTTP status in it, and -1 says nothing (E2).
    if number not in {None, -1, 0, error.status} and number not in _BY_CODE:
        return not isinstance(number, int) or not 400 <= number <= 599
    # Case 2: the text. E4 has details, and every other status speaks for itself.
    return type(error) in {APIError, BadRequestError} and number not in _BY_CODE and not error.errors


def _is_ambiguous(body: dict[str, Any], status: int) -> bool:
    """Tell whether an error leaves open if A2E accepted the request."""
    code, success = body.get("code"), body.get("success")
    text = str(code) if isinstance(code, int | str) and not isinstance(code, bool) else ""
    number = int(text) if re.fullmatch(_NUMBER, text) else None
    is_failure = success is False or success == "false"
    # Case 1: a code of another type. A text is one only beside `success` (E3).
    if code is not None and number is None and not (text and is_failure):
        return True
    # Case 2: the body reports a success, or a task, and the status does not.
    if success is True or success == "true" or number in {0, 200} or _names_task(body):
        return True
    # Case 3: the body reports a failure of a server or of a gateway, and the status a wrong request.
    if number is not None and status < 500 and is_of_gateway(number):
        return True
    # Case 4: nothing of E1 to E5 is in the body, so it is a gateway's. That of a 401 or 429 was not passed on.
    is_own = number is not None or is_failure or bool(body.get("errors") or body.get("msg"))
    return status >= 400 and status not in {401, 429} and not is_own


def _names_task(body: dict[str, Any]) -> bool:
    pending: list[object] = [{name: value for name, value in body.items() if name != "errors"}]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            if any(item.get(name) for name in _TASK_IDS):
                return True
            pending += item.values()
        elif isinstance(item, list):
            pending += item
    return False


def content_rejection(data: object) -> str:
    """Return A2E's text if a successful response reports flagged content instead of a task (E8), else empty text."""
    strings: list[str] = []
    pending = [data]
    while pending and len(strings) < _MAX_STRINGS:
        item = pending.pop()
        if isinstance(item, dict):
            # An object with any id may be a task that costs coins. Then the outcome is unknown, not rejected.
            if any(key.lower().endswith("id") for key in item):
                return ""
            fields = {key: value for key, value in item.items() if value and key not in _ECHO}
            strings += fields
            pending += fields.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str):
            strings.append(item)
    text, report = " ".join(strings), _shorten(redact(_dump(data)))
    return report if report != _TOO_DEEP and (re.search(_CONTENT, text) or re.search(_PERSON, text)) else ""


def _error_class(status: int, code: int | str | None, message: str) -> type[APIError]:
    number = int(code) if isinstance(code, str) and code.isdecimal() and len(code) < 9 else code
    # Case 1: A2E's own code.
    if isinstance(number, int) and number in _BY_CODE:
        return _BY_CODE[number]
    # An inner code of 400, 401 or 403 means the same as the HTTP status (reference 1.5).
    if status < 400:
        status = number if isinstance(number, int) and 400 <= number <= 599 else 200
    elif status in {400, 403} and isinstance(number, int) and number in _BY_STATUS:
        status = number
    # Case 2: a status with one meaning.
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    # Case 3: words of the text.
    for words, error_class in _BY_TEXT.get(status, ()):
        if re.search(words, message):
            return error_class
    # Case 4: nothing else is known.
    if status >= 500:
        return ServerError
    return BadRequestError if status not in {200, 403} else APIError


def _message(body: dict[str, Any]) -> str:
    for candidate in _texts(body):
        if isinstance(candidate, str) and candidate.strip():
            return _shorten(candidate.strip())
    return ""


def _texts(body: dict[str, Any]) -> Iterator[object]:
    """Yield the places of reference 1.4 where the text may be, in its order."""
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
    """Return the validation details (E4) as text: an array or an object of anything."""
    if isinstance(errors, dict):
        return tuple(_shorten(f"{key}: {_render(value)}") for key, value in errors.items())
    if isinstance(errors, list):
        return tuple(_shorten(_render(item)) for item in errors)
    return (_shorten(errors),) if isinstance(errors, str) and errors else ()


def _render(item: object) -> str:
    if isinstance(item, dict):
        text = next((item[key] for key in ("msg", "message", "error") if isinstance(item.get(key), str)), None)
        path = next((item[key] for key in ("path", "field", "param") if isinstance(item.get(key), str)), None)
        if text is not None:
            return f"{path}: {text}" if path else text
    return item if isinstance(item, str) else _dump(item)


def _dump(item: object) -> str:
    try:
        return json.dumps(item, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):  # JSON that could just be read can be nested too deeply to be written
        return _TOO_DEEP


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def retry_after(response: Response) -> float | None:
    """Return the seconds of a ``Retry-After`` header (a number or a date, RFC 9110), or None.

    More than an hour is no pause, but a timestamp or a number of milliseconds, and as good as no header.
    """
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        then = parse_http_date(value)
        if then is None:
            return None
        # The response's own Date is A2E's clock, so that a wrong clock of this machine does no harm.
        now = parse_http_date(response.headers.get("date", ""))
        seconds = max(0.0, then - (response.received_at if now is None else now))
    return seconds if 0 <= seconds <= _MAX_RETRY_AFTER else None
