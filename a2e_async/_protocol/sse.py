"""Server-sent events (envelope S7): what a prompt extension answers when ``stream`` is true.

The methods of this package never ask for a stream; `A2EClient.request` may. The answer is read to its end, and what
counts is the last ``result`` or, if there is one, the ``error``.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["is_stream", "outcome"]


def is_stream(content_type: str) -> bool:
    """Tell whether an answer is a stream of events."""
    return content_type.lower().startswith("text/event-stream")


def outcome(body: bytes) -> tuple[str, Any]:
    """Return the name and the data of the event that counts: ``error``, else the last ``result``, else ``("", None)``.

    Data that is no JSON comes as text.
    """
    name, data = "", None
    for block in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n"):
        event, text = _read(block)
        if event in {"result", "error"}:
            name, data = event, _json(text)
        if event == "error":
            break
    return name, data


def _read(block: str) -> tuple[str, str]:
    """Return the name and the text of one event."""
    event, lines = "", []
    for line in block.split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "data":
            lines.append(value)
    return event, "\n".join(lines)


def _json(text: str) -> Any:  # noqa: ANN401  any JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
