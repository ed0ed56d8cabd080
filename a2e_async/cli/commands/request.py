"""``a2e request``: any operation of A2E, also one that this package has no command for."""

from __future__ import annotations

import asyncio
import json
import pathlib
import re
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from a2e_async.cli.options import DEFAULT, Connection
from a2e_async.errors import InvalidRequestError

__all__ = ["request"]

_UNSEEN = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON lets pass and a terminal should not get."""


def request(
    method: str,
    path: str,
    /,
    *,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    param: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    connection: Connection = DEFAULT,
) -> int:
    """Call any operation of A2E's API and print what it answers.

    Try:

        a2e request GET user/remainingCoins
        a2e request GET userImage2Video/allRecords --param pageNum=1 --param pageSize=10
        a2e request POST userImage2Video/batchDetail --data '{"ids": ["67d29023dd27a536fdf6e809"]}'

    Printed is the answer's data, as JSON: in one line, and over several lines on a terminal. A GET is repeated when the
    network stumbles; everything else is sent once, and can cost coins: a POST to a start starts a video each time.

    Args:
        method: GET, POST, PUT, PATCH or DELETE.
        path: Such as user/remainingCoins; /api/v1/ is put before it unless it begins with /api/.
        data: The body: JSON, or @FILE for a file with JSON, or - for JSON on the standard input.
        param: A word of the query, such as pageNum=1. It can be given several times.
        connection: Shared.
    """
    body = None if data is None else _read(data)
    params = dict(map(_split, param))

    async def flow() -> Any:  # noqa: ANN401  any JSON
        async with connection.client() as a2e:
            return await a2e.request(method, path, json=body, params=params)

    answer = asyncio.run(flow())
    if connection.json or not sys.stdout.isatty():
        print(json.dumps(answer))
    else:
        text = json.dumps(answer, indent=2, ensure_ascii=False)
        print(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
    return 0


def _split(word: str) -> tuple[str, str]:
    name, is_pair, value = word.partition("=")
    if not (is_pair and name):
        msg = f"--param must be NAME=VALUE, not {word!r}"
        raise InvalidRequestError(msg)
    return name, value


def _read(data: str) -> Any:  # noqa: ANN401  any JSON
    try:
        if data == "-":
            text = sys.stdin.read()
        elif data.startswith("@"):
            text = pathlib.Path(data[1:]).read_text(encoding="utf-8")
        else:
            text = data
        return json.loads(text)
    except OSError as error:
        msg = f"--data {data} cannot be read: {error.strerror}"
        raise InvalidRequestError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = "--data must be JSON, or @FILE for a file with JSON, or - for JSON on the standard input"
        raise InvalidRequestError(msg) from error
