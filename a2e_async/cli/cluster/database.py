"""The database of ``a2e cluster`` as an option, without its password in any output."""

# The extra `cluster` may be missing: nothing of it is imported before a command runs, so that --help works without it.

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
from cyclopts import Group, Parameter

from a2e_async._protocol.settings import Secret
from a2e_async.errors import ConfigurationError

if TYPE_CHECKING:
    from a2e_async.cluster import Cluster

VARIABLE = "A2E_DATABASE_URL"


@Parameter(name="*", group=Group("Database"))
@attrs.frozen(kw_only=True)
class Database:
    """Options of the database.

    Attributes:
        database: The PostgreSQL database, such as postgresql://a2e@db.example/videos. Default: A2E_DATABASE_URL. Other
            users of this machine can see a password in the arguments of a command: prefer the variable.
    """

    database: str | None = attrs.field(default=None, converter=attrs.converters.optional(Secret), repr=False)

    @property
    def url(self) -> str:
        """Its URL, a secret.

        Raises:
            ConfigurationError: None was given.
        """
        url = self.database or os.environ.get(VARIABLE, "").strip()
        if not url:
            msg = f"no database: set {VARIABLE}, or pass --database, such as postgresql://a2e@db.example/videos"
            raise ConfigurationError(msg)
        return Secret(url)

    @property
    def name(self) -> str:
        """Host and name, for messages."""
        try:
            parts = urlsplit(self.url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:  # the connection says what is wrong with it
            return "the database"
        return f"{parts.hostname or 'local'}{port}{parts.path or '/'}" if parts.scheme else "the database"

    def cluster(self) -> Cluster:
        """Make the cluster. Print a warning on stderr if a password is an argument.

        Raises:
            ConfigurationError: No database was given, or its URL is not valid.
            MissingExtraError: The extra ``cluster`` is not installed.
        """
        from a2e_async.cluster import Cluster  # noqa: PLC0415  an extra

        if self.database is not None and re.search(r"://[^/]*:[^@/]+@|\bpassword=", self.database):
            print(f"a2e: other users of this machine can see --database: set {VARIABLE} instead", file=sys.stderr)
        return Cluster(self.url)


DEFAULT_DATABASE = Database()
"""Default of the parameter `database`: no option is given."""


async def set_limits(cluster: Cluster, max_running: int | None, max_coins: float | None) -> None:
    """Set the limits of the whole cluster that are given; the others stay as they are."""
    given: dict[str, Any] = {"max_running": max_running, "max_coins": max_coins}
    if given := {name: value for name, value in given.items() if value is not None}:
        await cluster.set_limits(**given)
