"""API tokens (reference 2). Only `token/generate` is published; paths and fields of the others are guesses."""

import hmac
import secrets
from typing import Any, Final

from aiohttp import hdrs, web
from attrs import frozen

from a2e_async.sandbox.clock import now
from a2e_async.sandbox.envelopes import Refusal, iso, success
from a2e_async.sandbox.fields import Fields
from a2e_async.sandbox.gate import API
from a2e_async.sandbox.routes.base import Context
from a2e_async.sandbox.state import new_id

# Whether "/api/v1" precedes it is unknown; the text of the path is without.
LOGIN: Final = "/api/login/account"


@frozen
class _Tokens:
    context: Context

    @property
    def _made(self) -> dict[str, dict[str, Any]]:
        return self.context.state.shelves.setdefault("tokens", {})

    async def login(self, request: web.Request) -> web.Response:
        """Give a login token to anybody who has a name and a password: this is nobody's account."""
        fields = await Fields.of(request)
        if not (fields.text("account") or fields.text("username") or fields.text("email")):
            fields.wrong("account", "is required")
        fields.text("password", required=True)
        fields.check()
        token = f"login.{secrets.token_urlsafe(32)}"
        self.context.state.shelves.setdefault("logins", {})[token] = True
        return success({"token": token})

    async def generate(self, request: web.Request) -> web.Response:
        """Make a token, which is shown this once. It opens nothing here: the sandbox has one account and one token."""
        self._check_login(request)
        fields = await Fields.of(request)
        alias = fields.text("alias", required=True)
        fields.check()
        token_id = new_id()
        self._made[token_id] = {"_id": token_id, "alias": alias, "createdAt": iso(now())}
        return success({"_id": token_id, "token": f"sk_{secrets.token_hex(24)}"})

    async def listed(self, request: web.Request) -> web.Response:  # noqa: ARG002  (no parameters)
        """List them, without the tokens themselves. A login token is for `generate` alone (reference 1.2)."""
        return success([*self._made.values()])

    async def delete(self, request: web.Request) -> web.Response:
        """Delete one."""
        fields = await Fields.of(request)
        token_id = fields.text("_id", required=True)
        fields.check()
        if self._made.pop(token_id, None) is None:
            raise Refusal(404, "Token not found")
        return success({})

    def _check_login(self, request: web.Request) -> None:
        """Refuse whoever does not come with a login token."""
        given = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
        logins = self.context.state.shelves.get("logins", {})
        if not any(hmac.compare_digest(given, f"Bearer {login}".encode()) for login in logins):
            raise Refusal(401, "Unauthorized: a login token is needed")


def routes(context: Context) -> list[web.RouteDef]:
    """Name the paths of this group."""
    group = _Tokens(context)
    return [
        web.post(LOGIN, group.login),
        web.post(f"{API}/token/generate", group.generate),
        web.get(f"{API}/token/list", group.listed),
        web.post(f"{API}/token/delete", group.delete),
    ]
