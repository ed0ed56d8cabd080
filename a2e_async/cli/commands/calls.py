"""``a2e account``, ``upload`` and ``request``: plain requests, and what A2E returns."""

import json
import pathlib
import re
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from a2e_async.cli.messages import one_line
from a2e_async.cli.options import DEFAULT_CONNECTION, Connection
from a2e_async.cli.output import print_cells, print_json
from a2e_async.errors import InvalidRequestError, UnexpectedResponseError
from a2e_async.files.local_files import open_file

# Characters that `json.dumps` does not escape and that can control a terminal: C1 controls, line separators,
# bidirectional marks, and lone surrogates, which no terminal can encode.
_UNSAFE = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


async def account(*, connection: Connection = DEFAULT_CONNECTION) -> None:
    """Show the coins and diamonds of the account. Free.

    Try:

        a2e account
        a2e account --json

    The command also checks the token.

    Args:
        connection: The shared options.
    """
    async with connection.client() as a2e:
        # Not `account.balance()`: the output has A2E's own names, also those of a new currency.
        balance = await a2e.request("GET", "user/remainingCoins")
    if not isinstance(balance, dict):
        msg = "A2E's response is not a balance: see a2e request GET user/remainingCoins"
        raise UnexpectedResponseError(msg)
    if connection.json:
        print_json(balance)
    else:
        for name, number in balance.items():
            print_cells(one_line(str(name)), one_line(str(number)))


async def upload(
    *files: Annotated[pathlib.Path, Parameter(name="FILE", required=True)], connection: Connection = DEFAULT_CONNECTION
) -> None:
    """Upload images, videos or audio files to A2E's storage and print their links.

    Try:

        a2e upload ada.png

    The links work as inputs for about 3 days. `image-to-video run` and `start` upload local images themselves. A2E
    charges for an upload; the price is not published.

    Args:
        files: An image (PNG, JPEG, WebP, GIF, BMP), a video (MP4, MOV, WebM, MKV, AVI) or an audio file (MP3, WAV, M4A,
            OGG, FLAC). All files are checked before the first upload.
        connection: The shared options.
    """
    async with connection.client() as a2e:
        for file in files:
            await open_file("FILE", file, "image", "video", "audio")
        for file in files:
            link = await a2e.upload(file)
            if connection.json:
                print_json({"file": str(file), "url": link})
            else:
                print_cells(link)


async def request(
    method: str,
    path: str,
    /,
    *,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    param: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Call any operation of A2E's API and print the response.

    Try:

        a2e request GET user/remainingCoins
        a2e request GET userImage2Video/allRecords --param pageNum=1
        a2e request POST userImage2Video/batchDetail --data '{"ids": ["ID"]}'

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
    async with connection.client() as a2e:
        response = await a2e.request(method, path, json=body, params=params)
    if connection.json or not sys.stdout.isatty():
        print_json(response)
    else:
        is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")  # else the output would be no JSON
        text = json.dumps(response, indent=2, ensure_ascii=not is_unicode)
        print(_UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def _parse_param(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name):
        msg = f"--param must be NAME=VALUE, not {text!r}"
        raise InvalidRequestError(msg)
    return name, value


def _read_json(data: str) -> Any:  # noqa: ANN401  any JSON
    try:
        if data == "-":
            return json.loads(sys.stdin.read())
        return json.loads(pathlib.Path(data[1:]).read_text(encoding="utf-8") if data.startswith("@") else data)
    except OSError as error:
        msg = f"cannot read --data {data}: {error.strerror}"
        raise InvalidRequestError(msg) from error
    except (ValueError, RecursionError) as error:  # RecursionError: very many nested brackets
        msg = "--data must be JSON, or @FILE for a file with JSON, or - for JSON on standard input"
        raise InvalidRequestError(msg) from error
