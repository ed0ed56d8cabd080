"""Server-sent events (envelope S7): the response to a prompt extension with ``stream`` true.

The methods of this package never request a stream; `A2EClient.request` can. The whole stream is read first. Its result
is the last ``result`` event or, if there is one, the ``error`` event.
"""

import json
from typing import Any


def is_stream(content_type: str) -> bool:
    """Tell whether a response is a stream of events."""
    return content_type.lower().startswith("text/event-stream")


def final_event(body: bytes) -> tuple[str, Any]:
    """Return the name and the data of the final event: ``error``, else the last ``result``, else ``("", None)``.

    Data that is not valid JSON is returned as text.
    """
    name, data = "", None
    for block in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n"):
        event, text = _parse_event(block)
        if event in {"result", "error"}:
            name, data = event, _parse_json(text)
        if event == "error":
            break
    return name, data


def _parse_event(block: str) -> tuple[str, str]:
    """Return the name and the text of one event."""
    event, lines = "", []
    for line in block.split("\n"):
        # The standard allows one space after the colon, which is not part of the value, and several data lines.
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "data":
            lines.append(value)
    return event, "\n".join(lines)


def _parse_json(text: str) -> Any:  # noqa: ANN401  any JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
