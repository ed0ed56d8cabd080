"""PostgreSQL of a cluster: the pool of connections, errors with advice, calls that survive a restart of the server."""

# How it works:
#
# * `Database.run` runs one transaction. If the connection breaks, it runs the transaction again, since the server may
#   have been restarted: a few times for a caller that waits for an answer, forever for a worker (`is_patient`), whose
#   jobs go on at A2E in the meantime. It is not known whether a transaction whose connection broke was committed. So
#   each of them has the same effect if it runs twice.
# * All other errors become a `ClusterError` that says what to do.

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import attrs

from a2e_async.errors import ClusterError, ConfigurationError, MissingExtraError

try:
    import procrastinate  # noqa: F401  every module of the cluster that needs the extra imports this one
    import psycopg
    import psycopg_pool
except ImportError as error:
    _MESSAGE = 'a2e_async.cluster needs Procrastinate and psycopg: pip install "a2e-async[cluster]"'
    raise MissingExtraError(_MESSAGE) from error

T = TypeVar("T")

_LOGGER = logging.getLogger("a2e_async")

_FIRST_DELAY = 0.05  # seconds between two attempts, doubled each time
_MAX_DELAY = 1.0
_MAX_ATTEMPTS = 2  # repetitions for a caller that waits for an answer: enough to replace broken connections
_MAX_CONNECTION_TIME = 1.0  # seconds to wait for a free connection of the pool in one attempt

# Classes of SQLSTATE that pass by themselves: no connection, the server stops or starts or has too many connections,
# two transactions that collided; and a full disk, for which a worker waits as for a server that is away.
_TRANSIENT = ("08", "57P", "53300", "40001", "40P01", "53100")

_FULL = "53100"  # SQLSTATE of a full disk
_FULL_INTERVAL = 60.0  # seconds between two lines about it

_NAME = "a2e-cluster"  # of the pool, and of the application in PostgreSQL's own views

_INIT = "create them with `a2e cluster init`, or await Cluster(...).init()"

# SQLSTATE, or its class -> what to do.
_ADVICE = {
    "28": "check the role and the password in the URL of the database",
    "3D": "create the database, or check its name in the URL",
    "3F": f"the schema is missing: check `search_path`, and {_INIT}",
    "42P01": f"the tables of the cluster are missing: {_INIT}",
    "42703": "the tables are of another version: run `a2e cluster init` with the newest version of a2e-async in use",
    "42883": "the functions of Procrastinate are missing or of another version: run `a2e cluster init`",
    "42501": "the role lacks a right: grant it SELECT, INSERT, UPDATE and DELETE on the tables of the cluster",
    "53100": "the disk of the server is full: nothing is started until it has room",
    "53": "the server lacks memory or another resource",
    "25006": "the server is read-only, such as a standby: use the address of the primary server",
}


def _is_of_others(record: logging.LogRecord) -> bool:
    """Return whether a line is not about our pools: each attempt of theirs is one, and `Outage` logs the whole once."""
    return not isinstance(record.args, tuple) or _NAME not in record.args


logging.getLogger("psycopg.pool").addFilter(_is_of_others)


def is_transient(error: BaseException) -> bool:
    """Return whether an error of psycopg may pass by itself, such as a restart of the server."""
    if isinstance(error, psycopg_pool.PoolTimeout):
        return True
    state = getattr(error, "sqlstate", None)
    if state is None:  # no answer of the server: the connection broke, or was not made
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return bool(state.startswith(_TRANSIENT))


def to_cluster_error(error: BaseException) -> ClusterError:
    """Return an error of psycopg as a `ClusterError` that says what to do. It shows no values and no password."""
    state = getattr(error, "sqlstate", None) or ""
    diagnosis = getattr(error, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or (str(error) if isinstance(error, psycopg.Error) else "")
    lines = text.strip().splitlines()
    reason = lines[0].strip() if lines else type(error).__name__
    advice = next((_ADVICE[part] for part in (state, state[:2]) if part in _ADVICE), "")
    if not state:  # no answer of the server, or it has refused the connection
        advice = "check that it runs, and its URL: host, port, name of the database, role and password"
    return ClusterError(f"PostgreSQL of the cluster cannot be used: {reason}{': ' if advice else ''}{advice}")


@contextlib.contextmanager
def typed_errors() -> Iterator[None]:
    """Context manager that turns errors of psycopg into a `ClusterError`."""
    try:
        yield
    except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
        raise to_cluster_error(error) from error


@attrs.define(eq=False, repr=False)
class Outage:
    """Whether the server was out of reach, for all calls of this process.

    Attributes:
        ended_at: When the last outage ended, in seconds of the event loop's clock; None before the first one.
        is_on: Whether there is one.
    """

    ended_at: float | None = None
    is_on: bool = False
    _is_full_until: float = 0.0

    def begin(self, error: BaseException) -> None:
        """Log the begin of an outage, once."""
        now = asyncio.get_running_loop().time()
        if getattr(error, "sqlstate", None) == _FULL:  # then some calls fail, and others do not
            if now >= self._is_full_until:
                self._is_full_until = now + _FULL_INTERVAL
                _LOGGER.error("Nothing is started, and waits go on: %s", to_cluster_error(error))
        elif not self.is_on:
            self.is_on = True
            _LOGGER.warning(
                "PostgreSQL of the cluster is away; nothing is started, and waits go on: %s", to_cluster_error(error)
            )

    def end(self) -> None:
        """Log the end of an outage."""
        if self.is_on:
            self.is_on, self.ended_at = False, asyncio.get_running_loop().time()
            _LOGGER.warning("PostgreSQL of the cluster is back")


class Database:
    """Pool of connections to one database. Use it with ``async with``."""

    def __init__(self, url: str, *, max_connections: int, connect_timeout: float) -> None:
        """Check the URL. Nothing is opened.

        Raises:
            ConfigurationError: The URL is not valid.
        """
        try:
            psycopg.conninfo.conninfo_to_dict(url)
        except (psycopg.Error, AttributeError):
            msg = "The URL of the database is not valid: write postgresql://user:password@host:5432/database"
            raise ConfigurationError(msg) from None  # its text shows the password
        self.url = url
        self._connect_timeout = connect_timeout
        self.outage = Outage()
        self.pool = psycopg_pool.AsyncConnectionPool(
            url,
            min_size=1,
            max_size=max_connections,
            timeout=_MAX_CONNECTION_TIME,
            reconnect_timeout=1.0,  # its pauses double until then: a server that is back must be noticed soon
            kwargs=self.options,
            open=False,
            name=_NAME,
        )

    @property
    def options(self) -> dict[str, Any]:
        """Options of each connection. Keepalives end a connection whose host is gone after half a minute."""
        return {
            "connect_timeout": max(2, round(self._connect_timeout)),
            "application_name": _NAME,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "tcp_user_timeout": 30_000,
        }

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ClusterError: The server cannot be reached, or rejects the role.
        """
        with typed_errors():
            async with await self.connect():  # its error says why; that of the pool only that it took too long
                pass
            await self.pool.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.pool.close()

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        """Return a connection of its own, in autocommit mode."""
        async with asyncio.timeout(self._connect_timeout + 1):
            try:
                return await psycopg.AsyncConnection.connect(self.url, autocommit=True, **self.options)
            except TimeoutError as error:
                msg = "connection timeout expired"
                raise psycopg.errors.ConnectionTimeout(msg) from error

    async def run(
        self, operation: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]], *, is_patient: bool = False
    ) -> T:
        """Run one transaction, which must do no harm if it runs twice.

        Args:
            operation: Runs the queries.
            is_patient: Whether to wait until the server is back.

        Raises:
            ClusterError: The database cannot be used.
        """
        return await patiently(
            lambda: self._transact(operation),
            outage=self.outage if is_patient else None,
            on_broken=self.pool.check,
        )

    async def _transact(self, operation: Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]) -> T:
        async with self.pool.connection() as connection:
            return await operation(connection)

    async def execute(self, query: str, *values: object, is_patient: bool = False) -> list[tuple[Any, ...]]:
        """Run one query in a transaction of its own, and return its rows."""

        async def operation(connection: psycopg.AsyncConnection[Any]) -> list[tuple[Any, ...]]:
            cursor = await connection.execute(query.encode(), values)
            return await cursor.fetchall() if cursor.description else []

        return await self.run(operation, is_patient=is_patient)

    async def listen(self, *channels: str) -> AsyncGenerator[tuple[str, str], None]:
        """Yield the channel and the payload of each notification, and two empty texts after each connection.

        Notifications from before the connection are missed.
        """
        delay = _FIRST_DELAY
        while True:
            try:
                async with await self.connect() as connection:
                    for channel in channels:
                        await connection.execute(f'LISTEN "{channel}"'.encode())
                    delay = _FIRST_DELAY
                    yield "", ""
                    async for notification in connection.notifies():
                        yield notification.channel, notification.payload
            except (psycopg.Error, TimeoutError) as error:
                if isinstance(error, psycopg.Error) and not is_transient(error):
                    raise to_cluster_error(error) from error
            await asyncio.sleep(delay)
            delay = min(2 * delay, _MAX_DELAY)


async def patiently(
    attempt: Callable[[], Awaitable[T]],
    *,
    outage: Outage | None,
    on_broken: Callable[[], Awaitable[object]],
    may_wait: Callable[[], bool] = lambda: True,
) -> T:
    """Attempt something until the server answers.

    Args:
        attempt: What to attempt; it may raise errors of psycopg.
        outage: Is told about an outage, and waited for. With None, a second is enough to replace broken connections.
        on_broken: Called before the next attempt.
        may_wait: Whether to wait for the end of the outage, still.

    Raises:
        ClusterError: The error is not transient, or came too often.
    """
    delay, attempts = _FIRST_DELAY, 0
    while True:
        try:
            result = await attempt()
        except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed) as error:
            attempts += 1
            is_over = attempts > _MAX_ATTEMPTS if outage is None else not may_wait()
            if is_over or not is_transient(error):
                raise to_cluster_error(error) from error
            if outage is not None and attempts > 1:
                outage.begin(error)
        else:
            if outage is not None:
                outage.end()
            return result
        with contextlib.suppress(psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed):
            await on_broken()
        await asyncio.sleep(delay)
        delay = min(2 * delay, _MAX_DELAY)
