"""Connect, read, write, wait for changes: the same calls on SQLite and PostgreSQL.

SQLite has one writer thread in each process (BEGIN IMMEDIATE, synchronous FULL), because its busy handler is unfair
to competing threads; reads run in place, since an indexed read takes less than handing it to a thread. PostgreSQL
reads and writes run in worker threads over a pool.

`Connection` and `Row` are what the floors above call a transaction and a row that they are handed.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, create_engine, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from tunery.errors import DatabaseUnavailable, StartError
from tunery.observability import logger

Row = RowMapping
T = TypeVar("T")
log = logger("store")
BUSY_TIMEOUT_SECONDS = 30
CHANGE_POLL_SECONDS = 0.03


class Database:
    """One process's door to the facts. `read` and `write` take a function of a connection and return its value."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = _backend(url) == "sqlite"
        if self.is_sqlite:
            self._reader = _sqlite_engine(url, writes=False)
            self._writer = _sqlite_engine(url, writes=True)
            self._threads = ThreadPoolExecutor(1, thread_name_prefix="tunery-writer")
        else:
            self._writer = _postgres_engine(url)
            self._reader = self._writer.execution_options(isolation_level="REPEATABLE READ")
            self._threads = ThreadPoolExecutor(8, thread_name_prefix="tunery-database")
        self._read_connection: Connection | None = None

    async def read(self, query: Callable[[Connection], T]) -> T:
        """The query's value, from one consistent view of the database."""
        if self.is_sqlite:
            return self.read_now(query)
        return await self._in_thread(self._reader, query)

    async def write(self, change: Callable[[Connection], T]) -> T:
        """The change's value, after its transaction is on disk; nothing of it remains when it raises."""
        return await self._in_thread(self._writer, change)

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """Like `read`, blocking; on SQLite it keeps one connection open, so call it from one thread only."""
        if not self.is_sqlite:
            return _transact(self._reader, query)
        with _translated_errors():
            if self._read_connection is None:
                self._read_connection = self._reader.connect()
            try:
                return query(self._read_connection)
            finally:
                self._read_connection.rollback()

    def write_now(self, change: Callable[[Connection], T]) -> T:
        """Like `write`, blocking; safe from every thread."""
        return self._threads.submit(_transact, self._writer, change).result()

    def version(self) -> int:
        """A number that differs after another connection committed (SQLite only; about 5 microseconds)."""
        return self.read_now(lambda connection: connection.exec_driver_sql("PRAGMA data_version").scalar_one())

    async def changed(self, since: int, timeout_seconds: float) -> int:
        """Wait until something was committed since `version()` gave `since`, or the time is up; the new version."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            current = self.version() if self.is_sqlite else since
            remaining = deadline - time.monotonic()
            if current != since or remaining <= 0:
                return current
            await asyncio.sleep(min(CHANGE_POLL_SECONDS, remaining))

    def close(self) -> None:
        """Finish queued writes and let go of every connection."""
        self._threads.shutdown(wait=True)
        if self._read_connection is not None:
            self._read_connection.close()
        self._reader.dispose()
        self._writer.dispose()

    async def _in_thread(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _transact, engine, work)


def now(connection: Connection) -> float:
    """Unix seconds by the clock that every process on this database shares."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())


def _transact(engine: Engine, work: Callable[[Connection], T]) -> T:
    with _translated_errors(), engine.begin() as connection:
        return work(connection)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        log.warning("the database cannot be used", error=str(error.orig))
        raise DatabaseUnavailable("The database cannot be used at the moment. Please try again.") from error


def _backend(url: str) -> str:
    try:
        name = make_url(url).get_backend_name()
    except ArgumentError:
        raise StartError("The database URL cannot be read; it looks like postgresql://user@host/name.") from None
    if name not in ("sqlite", "postgresql", "postgres"):
        raise StartError(f"The database '{name}' is not supported; SQLite and PostgreSQL are.")
    return name


def _postgres_engine(url: str) -> Engine:
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    try:
        return create_engine(parsed, pool_size=8, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise StartError("PostgreSQL needs one more package: pip install 'tunery[postgres]'.") from None


def _sqlite_engine(url: str, *, writes: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=StaticPool if writes else NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own transactions start too late (at the first write): ours start where we say.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        if not writes:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
