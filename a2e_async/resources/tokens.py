"""A2E's group "Get Tokens" (reference 2). A2E recommends its web page, Account > API Token, to make tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.schema import check_text
from a2e_async._protocol.settings import Secret
from a2e_async.errors import UnexpectedResponseError
from a2e_async.resources.base import Resource

__all__ = ["Tokens"]

_LOGIN = Endpoint("POST", "/api/login/account")
_GENERATE = Endpoint.of("POST token/generate")
_LIST = Endpoint.of("GET token/list")
_DELETE = Endpoint.of("POST token/delete _id")


class Tokens(Resource):
    """API tokens: ``client.tokens``.

    A new API token needs a *login token*, the token of a web session: use a client of its own,
    ``A2EClient(login_token)``.

    A2E has not published `login`, `list` and `delete`: their paths and fields are guesses. They raise an
    `EndpointNotAvailableError` if A2E has no such operation. If you know A2E's path, pass it as `path`.
    """

    async def login(self, account: str, password: str, *, path: str | None = None) -> str:
        """Return a login token for the name and password of an account (A2E page "Obtain Login Token"). Free.

        The password is sent unchanged and not kept. To avoid it here, copy a token from A2E's web page.
        """
        check_text("account", account)
        check_text("password", password)
        envelope = await self._call_undocumented(_LOGIN, path, json={"account": account, "password": Secret(password)})
        data = envelope.data
        token = data.get("token") if isinstance(data, dict) else data
        if not isinstance(token, str) or not token:
            msg = "A2E's response contains no token"
            raise UnexpectedResponseError(msg, status=envelope.status)  # without the body, which may contain secrets
        return token

    async def generate(self, alias: str) -> models.ApiToken:
        """Make an API token (A2E page "Get API token"). Free. The client's own token must be a login token.

        A2E shows the token only once, in this response.

        Args:
            alias: A name for the token.

        Raises:
            AuthenticationError: The client's token is not a login token.
        """
        check_text("alias", alias)
        envelope = await self._write(_GENERATE, json={"alias": alias})
        raw = envelope.data
        if not isinstance(raw, dict) or not isinstance(raw.get("token"), str) or not raw["token"]:
            msg = "A2E's response contains no token: check in A2E's web page whether the token was made"
            raise UnexpectedResponseError(msg, status=envelope.status)  # as above
        return to_item(models.ApiToken, {"alias": alias, **raw})

    async def list(self, *, path: str | None = None) -> AsyncIterator[models.ApiToken]:
        """Iterate over the API tokens (A2E page "List api tokens"). Free."""
        for raw in responses.records((await self._call_undocumented(_LIST, path)).data):
            yield to_item(models.ApiToken, raw)

    async def delete(self, id: str, *, path: str | None = None) -> None:
        """Delete an API token (A2E page "Delete API token"). Free. Programs that use the token lose access.

        The id is `ApiToken.id`, not the token itself. `EndpointNotAvailableError` can also mean that there is no such
        token.
        """
        check_text("id", id)
        await self._call_undocumented(_DELETE, path, id)
