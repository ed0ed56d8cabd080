"""What A2E quotes in an error text: the error, and with it each log line, has no token, link or text of the caller."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import quick
from aiohttp import web
from paid_starts import IMAGE_URL, make_client, start_video

from a2e_async import A2EClient, A2EError, TaskFailedError, UnexpectedResponseError
from a2e_async.errors import private_texts, redact

if TYPE_CHECKING:
    from a2e_async.sandbox import Sandbox

PROMPT = "Ada from Example Street 7 smiles\nat the camera"
SHORT = "Ada weds"
TOKEN = "0123456789abcdef0123456789abcdef"  # not every token begins with sk_
LINK = f"{IMAGE_URL}?X-Amz-Signature=51gn4tur3"
SECRETS = (TOKEN, "Example Street", "smiles", SHORT, "51gn4tur3", "private/ada.png")


def quoting(style: str) -> web.Response:
    """Return a response of A2E that quotes all of the request."""
    everything = f"prompt '{PROMPT}' not '{SHORT}', image {LINK}, Authorization: Bearer {TOKEN}"
    bodies: dict[str, Any] = {
        "message": {"code": 400, "msg": everything},
        "cut": {"code": 400, "msg": f"sensitive words in {PROMPT[:28]}..., {LINK[:60]}"},
        "other case": {"code": 400, "msg": f"sensitive words in {PROMPT.upper()}"},
        "details": {"code": 400, "errors": {"prompt": f"{everything} is bad"}},
        "flagged": {"code": 0, "data": {"flagged": True, "prompt": PROMPT, "reason": everything}},
        "unknown": {"code": 0, "data": {"echo": everything}},
    }
    if style == "page":
        return web.Response(text=f"<html>{everything}</html>", status=400, content_type="text/html")
    if style == "error page":
        return web.Response(text=everything, status=500, content_type="text/plain")
    body = bodies[style]
    return web.json_response(body, status=400 if body["code"] else 200)


@pytest.mark.parametrize(
    "style", ["message", "cut", "other case", "details", "flagged", "unknown", "page", "error page"]
)
async def test_start(sandbox: Sandbox, caplog: pytest.LogCaptureFixture, style: str) -> None:
    """An error of a start does not quote the request, in its text, its repr and its arguments."""
    caplog.set_level(logging.DEBUG)
    client = A2EClient(TOKEN, base_url=sandbox.url, config=quick.CONFIG)
    with sandbox.override("POST", quick.START_PATH, quoting(style)):
        async with client as a2e:
            with pytest.raises(A2EError) as caught:
                await start_video(a2e, prompt=PROMPT, negative_prompt=SHORT, image_url=LINK)
    error: BaseException | None = caught.value
    while error is not None:
        shown = f"{error} {error!r} {error.args} {getattr(error, 'errors', '')}".lower()
        assert [secret for secret in SECRETS if secret.lower() in shown] == []
        error = error.__cause__ or error.__context__
    assert TOKEN.encode() not in pickle.dumps(caught.value) or isinstance(caught.value, UnexpectedResponseError)
    assert [secret for secret in SECRETS if secret in caplog.text] == []


async def test_failed_task(sandbox: Sandbox) -> None:
    """A failed task whose reason quotes the prompt: the error does not, and `failed_message` has A2E's words."""
    async with make_client(sandbox) as a2e:
        task = await start_video(a2e, prompt=f"{PROMPT} #fail")
        body = (await a2e.request("GET", f"userImage2Video/{task.id}")) | {
            "current_status": "failed",
            "failed_message": f"NSFW: {PROMPT} {LINK}",
            "prompt": PROMPT,
        }
        with (
            sandbox.override("*", quick.FAMILY_PATH, web.json_response({"code": 0, "data": body})),
            pytest.raises(TaskFailedError, match="NSFW") as caught,
        ):
            await task.wait_until_done(30)
    assert "Example Street" not in f"{caught.value} {caught.value!r}"
    assert "51gn4tur3" not in str(caught.value)
    assert PROMPT in caught.value.failed_message


@pytest.mark.parametrize(
    ("text", "private", "shown"),
    [
        ("not enough coins", ["coin"], "not enough coins"),
        ("not enough coins", ["x"], "not enough coins"),
        ("the prompt 'nude' is bad", ["nude"], "the prompt '…' is bad"),
        ("提示词包含艾达的内容", ["艾达"], "提示词包含…的内容"),
        ("see https://a.example/b?c=d now", [], "see https://… now"),
        ('{"prompt": "my \\"dog\\"", "a": 1}', [], '{"prompt": "…", "a": 1}'),
        ("token sk_0123abc is bad", [], "token sk_… is bad"),
        ("Authorization: Bearer eyJ.x.y", [], "Authorization: Bearer …"),
        ("GET /a?X-Amz-Signature=abc&b=1", [], "GET /a?X-Amz-Signature=…&b=1"),
        ("", ["anything at all that is long"], ""),
        ("bad: p=Ada%20at%20the%20sea", ["Ada at the sea"], "bad: p=…"),
        ("bad: p=Ada+at+the+sea", ["Ada at the sea"], "bad: p=…"),
        ("bad: p=%E6%8F%90%e7%a4%ba", ["提示"], "bad: p=…"),
        (r"bad: \u63d0\u793a", ["提示"], "bad: …"),
        ("bad: a cat\non the\r\nroof of my house", ["a cat on the  roof of my house"], "bad: …"),
        ("bad: half a pair", ["\ud800"], "bad: half a pair"),
        (
            "\u0130: a cat on the roof of my house",
            ["a cat on the roof of my house"],
            "\u0130: …",
        ),  # longer in lower case
    ],
)
def test_redact(text: str, private: list[str], shown: str) -> None:
    """Tokens, links and quotations are replaced; everyday words of a short prompt stay."""
    assert redact(text, private) == shown


def test_private_texts() -> None:
    """The texts of a request that are private are found by the names of their fields, also further inside."""
    body = {"prompt": "a", "name": "n", "parts": [{"text": "b"}, {"image_url": "https://c"}], "model_type": "GENERAL"}
    assert sorted(private_texts(body)) == ["a", "b", "https://c"]
    assert private_texts(None) == []
