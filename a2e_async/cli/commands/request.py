"""``a2e request``: any operation of A2E, also those without a command."""

import asyncio
import json
import pathlib
import re
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from a2e_async.cli.options import DEFAULT_CONNECTION, Connection
from a2e_async.errors import InvalidRequestError

# Characters that `json.dumps` does not escape and that can control a terminal: C1 controls, line separators,
# bidirectional marks, and lone surrogates, which no terminal can encode.
_UNSAFE = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def request(
    method: str,
    path: str,
    /,
    *,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    param: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Call any operation of A2E's API and print the response.

    Try:

        a2e request GET user/remainingCoins
        a2e request GET userImage2Video/allRecords --param pageNum=1 --param pageSize=10
        a2e request POST userImage2Video/batchDetail --data '{"ids": ["67d29023dd27a536fdf6e809"]}'

    The data of the response is printed as JSON: on one line, or indented on a terminal. A GET is retried after a
    network error. Other requests are sent once and can cost coins: each POST to a start path starts a video.

    Args:
        method: GET, POST, PUT, PATCH or DELETE.
        path: The path, such as user/remainingCoins. The prefix /api/v1/ is added unless it begins with /api/.
        data: The body: JSON, or @FILE for a file with JSON, or - for JSON on standard input.
        param: A query parameter, such as pageNum=1. It can be repeated.
        connection: The shared options.
    """
    body = None if data is None else _read_json(data)
    params = dict(map(_parse_param, param))

    async def send() -> Any:  # noqa: ANN401  any JSON
        async with connection.client() as a2e:
            return await a2e.request(method, path, json=body, params=params)

    response = asyncio.run(send())
    if connection.json or not sys.stdout.isatty():
        print(json.dumps(response))
    else:
        text = json.dumps(response, indent=2, ensure_ascii=False)
        print(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
    return 0


def _parse_param(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        msg = f"--param must be NAME=VALUE, not {text!r}"
        raise InvalidRequestError(msg)
    return name, value


def _read_json(data: str) -> Any:  # noqa: ANN401  any JSON
    try:
        if data == "-":
            text = sys.stdin.read()
        elif data.startswith("@"):
            text = pathlib.Path(data[1:]).read_text(encoding="utf-8")
        else:
            text = data
        return json.loads(text)
    except OSError as error:
        msg = f"cannot read --data {data}: {error.strerror}"
        raise InvalidRequestError(msg) from error
    except (ValueError, RecursionError) as error:  # RecursionError: very many nested brackets
        msg = "--data must be JSON, or @FILE for a file with JSON, or - for JSON on standard input"
        raise InvalidRequestError(msg) from error
