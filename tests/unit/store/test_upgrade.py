"""Migrations: fresh, repeated, of a newer program; and that they make what the schema says."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from tests.postgres import PostgresServer
from tunery.errors import StartError
from tunery.store.database import Connection, Database
from tunery.store.schema import metadata
from tunery.store.upgrade import upgrade


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'tunery.db'}"
    else:
        running: PostgresServer = request.getfixturevalue("postgres")
        url = running.create_empty()
    opened = Database(url)
    yield opened
    opened.close()


def revision(database: Database) -> str | None:
    return database.read_now(lambda connection: MigrationContext.configure(connection).get_current_revision())


def test_fresh_database_gets_every_table_and_repeating_changes_nothing(empty: Database) -> None:
    assert revision(empty) is None
    upgrade(empty)
    first = revision(empty)
    assert first is not None
    upgrade(empty)
    assert revision(empty) == first

    def query(connection: Connection) -> set[str]:
        return set(connection.dialect.get_table_names(connection))

    assert set(metadata.tables) <= empty.read_now(query)


def test_migrations_make_exactly_the_schema(database: Database) -> None:
    def query(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))

    assert database.read_now(query) == []


def test_database_of_a_newer_program_is_refused_and_left_alone(database: Database) -> None:
    database.write_now(lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartError, match="schema 9999, which this version of Tunery does not know"):
        upgrade(database)
    assert revision(database) == "9999"


def test_unreachable_database_is_told_without_its_password(tmp_path: Path) -> None:
    opened = Database(f"sqlite:///{tmp_path / 'none' / 'tunery.db'}")
    with pytest.raises(StartError, match="cannot be opened"):
        upgrade(opened)
    opened.close()
    remote = Database("postgresql://me:hunter2@127.0.0.1:1/x")
    with pytest.raises(StartError) as refused:
        upgrade(remote)
    assert "hunter2" not in str(refused.value)
    remote.close()


def test_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tunery.db"
    path.write_bytes(b"not a database, but long enough to be one" * 100)
    opened = Database(f"sqlite:///{path}")
    with pytest.raises(StartError, match="not a database"):
        upgrade(opened)
    opened.close()


def test_migration_that_was_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A transaction for each migration: a killed one left nothing, or everything with its revision."""
    path = tmp_path / "tunery.db"
    command = [sys.executable, "-m", "tunery.store.upgrade", f"sqlite:///{path}"]
    for wait in (0.4, 0.5, 0.6):
        try:
            subprocess.run(command, timeout=wait, check=True)
        except subprocess.TimeoutExpired:
            continue
    subprocess.run(command, check=True, timeout=60)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert set(metadata.tables) <= tables
