"""A2E's group "Get Tokens" (reference 2). Tokens are best made in A2E's web page, under Account > API Token."""

from __future__ import annotations

from collections.abc import AsyncIterator

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.settings import Secret
from a2e_async._protocol.validation import check_text
from a2e_async.errors import UnexpectedResponseError
from a2e_async.models.tokens import ApiToken
from a2e_async.resources.base import Group

__all__ = ["Tokens"]

_LOGIN = Route("POST", "/api/login/account")
_GENERATE = Route.of("POST token/generate")
_LIST = Route.of("GET token/list")
_DELETE = Route.of("POST token/delete _id")


class Tokens(Group):
    """API tokens: ``client.tokens``.

    Making one needs a *login token*, which is that of a web session: make a client of it, ``A2EClient(login_token)``.
    """

    async def login(self, account: str, password: str, *, path: str | None = None) -> str:
        """Return a login token (A2E page "Obtain Login Token"). Free.

        A2E has not published this operation: path and fields are guesses. Copying a token from A2E's web page needs no
        password here.

        Args:
            account: The account's name.
            password: Its password, sent as it is and kept nowhere.
            path: A2E's path, if you know better.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
            A2EError: As for any request.
        """
        check_text("account", account)
        check_text("password", password)
        envelope = await self._guess(_LOGIN, path, json={"account": account, "password": Secret(password)})
        data = envelope.data
        token = data.get("token") if isinstance(data, dict) else data
        if not isinstance(token, str) or not token:
            msg = "A2E's answer holds no token"
            raise UnexpectedResponseError(msg, status=envelope.status)  # without the body, which may hold secrets
        return token

    async def generate(self, alias: str) -> ApiToken:
        """Make an API token (A2E page "Get API token"). Free. The client must have been made with a login token.

        A2E shows the token only now, and recommends its web page instead.

        Args:
            alias: A reminder of what it is for.

        Raises:
            AuthenticationError: The client's token is no login token.
            A2EError: As for any request.
        """
        check_text("alias", alias)
        envelope = await self._tell(_GENERATE, json={"alias": alias})
        raw = envelope.data
        if not isinstance(raw, dict) or not isinstance(raw.get("token"), str) or not raw["token"]:
            msg = "A2E's answer holds no token; if it was made, its web page shows it"
            raise UnexpectedResponseError(msg, status=envelope.status)  # as above
        return to_item(ApiToken, {"alias": alias, **raw})

    async def list(self, *, path: str | None = None) -> AsyncIterator[ApiToken]:
        """Go through the API tokens (A2E page "List api tokens"). Free.

        A2E has not published this operation: its path is a guess.

        Args:
            path: A2E's path, if you know better.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
            A2EError: As for any request.
        """
        envelope = await self._guess(_LIST, path)
        for raw in responses.records(envelope.data):
            yield to_item(ApiToken, raw)

    async def delete(self, id: str, *, path: str | None = None) -> None:
        """Delete an API token (A2E page "Delete API token"). Free. Whoever uses it is shut out.

        A2E has not published this operation: path and field are guesses.

        Args:
            id: The `ApiToken.id`, not the token itself.
            path: A2E's path, if you know better.

        Raises:
            EndpointNotAvailableError: A2E has no such operation, or no such token.
            A2EError: As for any request.
        """
        check_text("id", id)
        await self._guess(_DELETE, path, id)
