"""Reading, writing and noticing change, the same on both databases."""

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.factories import add_project
from tunery.errors import DatabaseUnavailable, StartError
from tunery.store import database as database_module
from tunery.store.database import Connection, Database, now
from tunery.store.schema import projects


def count(connection: Connection) -> int:
    return len(connection.execute(projects.select()).all())


def test_write_is_seen_by_every_reader(database: Database, database_url: str) -> None:
    database.write_now(add_project)
    other = Database(database_url)
    assert database.read_now(count) == other.read_now(count) == 1
    other.close()


def test_failed_write_leaves_nothing(database: Database) -> None:
    def change(connection: Connection) -> None:
        add_project(connection)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.write_now(change)
    assert database.read_now(count) == 0


def test_read_sees_one_moment(database: Database) -> None:
    """Two statements of one read agree, whatever was committed between them."""

    def query(connection: Connection) -> tuple[int, int]:
        before = count(connection)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(database.write_now, add_project).result()
        return before, count(connection)

    assert database.read_now(query) == (0, 0)
    assert database.read_now(count) == 1


def test_reader_cannot_write_on_sqlite(migrated_sqlite: Path) -> None:
    opened = Database(f"sqlite:///{migrated_sqlite}")
    with pytest.raises(DatabaseUnavailable, match="cannot be used at the moment"):
        opened.read_now(add_project)
    opened.close()


def test_many_writers_each_get_their_turn(database: Database) -> None:
    async def write_all() -> None:
        await asyncio.gather(*(database.write(add_project) for _ in range(40)))

    asyncio.run(write_all())
    assert database.read_now(count) == 40


def test_change_by_another_process_is_noticed(migrated_sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    mine, other = Database(f"sqlite:///{path}"), Database(f"sqlite:///{path}")

    async def wait() -> tuple[float, bool]:
        version = mine.version()
        asyncio.get_running_loop().call_later(0.1, other.write_now, add_project)
        began = time.monotonic()
        changed = await mine.changed(version, 5.0) != version
        return time.monotonic() - began, changed

    waited, changed = asyncio.run(wait())
    assert changed
    assert 0.05 < waited < 2
    assert asyncio.run(mine.changed(mine.version(), 0.05)) == mine.version(), "nothing happened in that time"
    mine.close()
    other.close()


def test_sqlite_is_as_durable_as_it_can_be(migrated_sqlite: Path) -> None:
    opened = Database(f"sqlite:///{migrated_sqlite}")

    def pragma(name: str) -> object:
        return opened.write_now(lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar())

    assert (pragma("journal_mode"), pragma("synchronous"), pragma("foreign_keys")) == ("wal", 2, 1)
    opened.close()


def test_locked_database_is_a_temporary_error(
    migrated_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_SECONDS", 0.1)
    opened = Database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="cannot be used at the moment") as refused:
            opened.write_now(add_project)
        assert refused.value.retry_after_seconds == 1
        assert opened.read_now(count) == 0, "reading goes on"
        holder.execute("ROLLBACK")
    opened.write_now(add_project)
    opened.close()


def test_clock_is_the_databases_own(database: Database) -> None:
    assert abs(database.read_now(now) - time.time()) < 5


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "cannot be read"),
        ("mysql://localhost/x", "'mysql' is not supported"),
    ],
)
def test_unusable_url_is_told_plainly(url: str, told: str) -> None:
    with pytest.raises(StartError, match=told):
        Database(url)
