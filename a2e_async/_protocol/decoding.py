"""Bytes and status -> the `data` of a good answer, or the right error. Tolerant in, exact out.

Reference 1.3 lists the good envelopes (S1 to S8), 1.4 the bad ones (E1 to E8). The law: an answer is good if HTTP says
2xx **and** its ``code`` is 0 (or, without a ``code``, its ``success`` is not false). Everything else is an error.
"""

from __future__ import annotations

import json
from typing import Any, Never
from urllib.parse import urlsplit

from a2e_async._protocol.error_mapping import refusal, trace_of
from a2e_async._protocol.messages import Envelope, Response
from a2e_async._protocol.sse import is_stream, outcome
from a2e_async.errors import UnexpectedResponseError

__all__ = ["decode"]

_SHOWN = 200
"""Bytes of a body that is no JSON that become the text of an error (reference 1.4)."""

_DECODER = json.JSONDecoder()

_BOM = b"\xef\xbb\xbf"

_ENVELOPE_KEYS = frozenset({"code", "msg", "message", "trace_id", "success", "timestamp"})


def decode(response: Response) -> Envelope:
    """Unwrap an answer of the API.

    Raises:
        APIError: A2E says that something is wrong; the subclass says what.
        UnexpectedResponseError: The answer is a redirect, or no JSON, or JSON of an unknown kind.
    """
    if 300 <= response.status < 400:
        _raise_redirect(response)
    good = 200 <= response.status < 300
    if good and (not response.body or response.body.isspace()):
        return Envelope(data=None, status=response.status)  # S8: many deletes answer nothing at all
    if good and response.body[:1] != b"{" and is_stream(response.headers.get("content-type", "")):
        return _decode_stream(response)
    body = _parse(response)
    if isinstance(body, dict):
        if not good or not _is_success(body):
            _raise_refusal(body, response)
        return Envelope(
            data=_data(body),
            status=response.status,
            trace_id=trace_of(body),
            body=response.body,
            headers=response.headers,
        )
    if good and isinstance(body, list):
        return Envelope(data=body, status=response.status, body=response.body, headers=response.headers)  # S6
    if not good:
        _raise_refusal({"message": body if isinstance(body, str) else ""}, response)
    msg = "A2E answered JSON that is neither an object nor an array"
    raise UnexpectedResponseError(msg, status=response.status, body=response.body)


def _decode_stream(response: Response) -> Envelope:
    name, data = outcome(response.body)
    if name == "error":
        _raise_refusal(data if isinstance(data, dict) else {"message": data}, response)
    if not name:
        msg = "A2E's stream ended without a result"
        raise UnexpectedResponseError(msg, status=response.status, body=response.body)
    return Envelope(data=data, status=response.status, body=response.body)


def _parse(response: Response) -> Any:  # noqa: ANN401  any JSON
    try:
        text = response.body.decode()
        value, end = _DECODER.raw_decode(text)
        if end == len(text):  # nearly always, at half the cost of `json.loads`
            return value
    except (ValueError, RecursionError):
        pass  # white space, another encoding, or no JSON
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError) as error:  # ValueError: also bad UTF-8 and integers of absurd length
        is_html = _is_html(response)
        if response.status in {401, 429} or response.status >= 500 or (response.status >= 400 and not is_html):
            text = "" if is_html else response.body[:_SHOWN].decode("utf-8", "replace")
            _raise_refusal({"message": text}, response, cause=error)
        raise UnexpectedResponseError(_not_json(response), status=response.status, body=response.body) from error


def _not_json(response: Response) -> str:
    if response.status == 404:  # E6: A2E's wrong routes answer a page, a missing task answers JSON
        return "A2E has no such operation (it answered a web page): check the path and the base URL"
    kind = response.headers.get("content-type", "no content type")
    return f"A2E answered something that is no JSON ({kind})"


def _is_html(response: Response) -> bool:
    start = response.body.removeprefix(_BOM).lstrip()
    return start.startswith(b"<") or "html" in response.headers.get("content-type", "").lower()


def _is_success(body: dict[str, Any]) -> bool:
    code = body.get("code")
    if code is None:
        return body.get("success") not in {False, "false"} if isinstance(body.get("success"), bool | str) else True
    return code == "0" or (code == 0 and not isinstance(code, bool))


def _data(body: dict[str, Any]) -> Any:  # noqa: ANN401  any JSON
    if "data" in body:
        return body["data"]
    return {key: value for key, value in body.items() if key not in _ENVELOPE_KEYS} or None


def _raise_redirect(response: Response) -> Never:
    try:
        host = urlsplit(response.headers.get("location", "")).hostname
    except ValueError:  # a location such as "http://[" is no URL
        host = None
    where = f"to {host}" if host else "to another page"
    msg = f"A2E redirected {where}; redirects are not followed, because the token would travel along. Check base_url"
    raise UnexpectedResponseError(msg, status=response.status, body=response.body)


def _raise_refusal(body: dict[str, Any], response: Response, cause: BaseException | None = None) -> Never:
    if body.get("code") in (200, "200") and response.status < 400:  # never seen as a success (reference 1.3)
        msg = "A2E answered code 200, which is not known to mean success"
        raise UnexpectedResponseError(msg, status=response.status, body=response.body)
    raise refusal(body, response) from cause
