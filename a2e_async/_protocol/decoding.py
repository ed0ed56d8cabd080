"""Decoding of responses: status and bytes become the `data` of a successful response, or the right error.

Reference 1.3 lists the envelopes of successful responses (S1 to S8), 1.4 those of errors (E1 to E8).

How it works:

1. A redirect is an error: following it would take the token to another host.
2. A 2xx status with an empty body is a success without data (S8).
3. A 2xx status with a stream of server-sent events is decoded by `sse` (S7).
4. Everything else must be JSON. A body that is not JSON is a gateway's error or a web page.
5. A JSON object is a success if HTTP says 2xx **and** its ``code`` is 0. Without a ``code``, ``success`` must not be
   false. Every other object is an error of A2E, and `error_mapping` chooses the class.
6. A JSON array with a 2xx status is a success as a whole (S6).
"""

import json
from typing import Any, Never
from urllib.parse import urlsplit

from a2e_async._protocol.error_mapping import to_api_error, trace_id_of
from a2e_async._protocol.messages import Envelope, Response
from a2e_async._protocol.sse import final_event, is_stream
from a2e_async.errors import UnexpectedResponseError

# Bytes of a body that is not JSON that become the text of an error (reference 1.4).
_MAX_TEXT = 200

_DECODER = json.JSONDecoder()

_BOM = b"\xef\xbb\xbf"

_ENVELOPE_KEYS = frozenset({"code", "msg", "message", "trace_id", "success", "timestamp"})


def decode(response: Response) -> Envelope:
    """Unwrap a response of the API.

    Raises:
        APIError: A2E reports an error; the subclass says which.
        UnexpectedResponseError: The response is a redirect, is not valid JSON, or is JSON of an unknown shape.
    """
    # Case 1: redirect.
    if 300 <= response.status < 400:
        _raise_redirect(response)
    good = 200 <= response.status < 300
    # Case 2: success without data. Many delete operations send no body at all.
    if good and (not response.body or response.body.isspace()):
        return Envelope(data=None, status=response.status)
    # Case 3: stream of events.
    if good and response.body[:1] != b"{" and is_stream(response.headers.get("content-type", "")):
        return _decode_stream(response)
    # Case 4, inside: the body is not JSON.
    body = _parse(response)
    # Case 5: an envelope.
    if isinstance(body, dict):
        if not good or not _is_success(body):
            _raise_api_error(body, response)
        return Envelope(
            data=_data(body),
            status=response.status,
            trace_id=trace_id_of(body),
            body=response.body,
            headers=response.headers,
        )
    # Case 6: a bare array.
    if good and isinstance(body, list):
        return Envelope(data=body, status=response.status, body=response.body, headers=response.headers)
    if not good:
        _raise_api_error({"message": body if isinstance(body, str) else ""}, response)
    msg = "A2E's response is JSON, but neither an object nor an array"
    raise UnexpectedResponseError(msg, status=response.status, body=response.body)


def _decode_stream(response: Response) -> Envelope:
    name, data = final_event(response.body)
    if name == "error":
        _raise_api_error(data if isinstance(data, dict) else {"message": data}, response)
    if not name:
        msg = "A2E's stream ended without a result"
        raise UnexpectedResponseError(msg, status=response.status, body=response.body)
    return Envelope(data=data, status=response.status, body=response.body)


def _parse(response: Response) -> Any:  # noqa: ANN401  any JSON
    try:
        text = response.body.decode()
        value, end = _DECODER.raw_decode(text)
        if end == len(text):  # the usual case, at half the cost of `json.loads`
            return value
    except (ValueError, RecursionError):
        pass  # white space around the JSON, another encoding, or no JSON
    try:
        return json.loads(response.body)
    except (ValueError, RecursionError) as error:  # ValueError: also bad UTF-8 and integers with too many digits
        is_html = _is_html(response)
        # 401, 429 and 5xx mean the same with every body. A 4xx web page means a wrong path, not an error of A2E (E6).
        if response.status in {401, 429} or response.status >= 500 or (response.status >= 400 and not is_html):
            text = "" if is_html else response.body[:_MAX_TEXT].decode("utf-8", "replace")
            _raise_api_error({"message": text}, response, cause=error)
        raise UnexpectedResponseError(_not_json(response), status=response.status, body=response.body) from error


def _not_json(response: Response) -> str:
    if response.status == 404:  # E6: for a wrong path A2E sends a web page, for a missing task JSON
        return "A2E has no such operation (the response is a web page): check the path and the base URL"
    content_type = response.headers.get("content-type", "no content type")
    return f"A2E's response is not valid JSON ({content_type})"


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
    except ValueError:  # a location such as "http://[" is not a URL
        host = None
    target = f"to {host}" if host else "to another page"
    msg = f"A2E redirected the request {target}. The redirect was not followed, to protect the token: check base_url"
    raise UnexpectedResponseError(msg, status=response.status, body=response.body)


def _raise_api_error(body: dict[str, Any], response: Response, cause: BaseException | None = None) -> Never:
    if body.get("code") in (200, "200") and response.status < 400:  # never seen as a success (reference 1.3)
        msg = "A2E's response has code 200, which is not known to mean success"
        raise UnexpectedResponseError(msg, status=response.status, body=response.body)
    raise to_api_error(body, response) from cause
