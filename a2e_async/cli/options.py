"""The options that every command shares which talks to A2E, and what they mean.

A command takes them as its last parameter, and makes its client with them::

    def get(*ids: str, connection: Connection = DEFAULT) -> int:
        async with connection.client() as a2e: ...

`Connection.json` then tells whether stdout belongs to a program: one JSON object a line, and nothing else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Group, Parameter

from a2e_async import A2EClient
from a2e_async._protocol.settings import Secret
from a2e_async.cli.logs import set_verbosity

if TYPE_CHECKING:
    from a2e_async import Config

__all__ = ["DEFAULT", "FLAG", "Connection"]

FLAG = Parameter(negative="", show_default=False)
"""An option that is there or not: ``overwrite: Annotated[bool, FLAG] = False``."""


def _hide(token: str | None) -> str | None:
    return None if token is None else Secret(token)


@Parameter(name="*", group=Group("Shared options"))
@attrs.frozen(kw_only=True)
class Connection:
    """Where A2E is, and how to talk to the person or the program at this end.

    Attributes:
        token: The API token. Other users of this machine can see the arguments of a command: prefer A2E_API_TOKEN.
        base_url: Where A2E is. Default: A2E_BASE_URL, else https://video.a2e.ai.
        json: Print one JSON object a line, for programs.
        verbose: Show on stderr what the package logs; -vv shows more.
    """

    token: str | None = attrs.field(default=None, converter=_hide, repr=False)
    base_url: str | None = None
    json: Annotated[bool, FLAG] = False
    verbose: Annotated[int, Parameter(name=["--verbose", "-v"], count=True, show_default=False)] = 0

    def client(self, config: Config | None = None) -> A2EClient:
        """Make a client, and say on stderr what is worth saying about the options.

        Raises:
            ConfigurationError: The token or the base URL cannot work.
        """
        set_verbosity(self.verbose)
        if self.token is not None:
            print("a2e: other users of this machine can see --token: set A2E_API_TOKEN instead", file=sys.stderr)
        return A2EClient(self.token, base_url=self.base_url, config=config)


DEFAULT = Connection()
"""The default of the parameter: none of the options is given."""
