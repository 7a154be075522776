"""What every test may ask for: a warm server with the fake host, official clients on it, a database of either kind."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from tests.postgres import PostgresServer, find_programs
from tests.servers import Server, make_fake
from tunery.store.database import Database
from tunery.store.upgrade import upgrade


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One warm server for many tests: each makes its own files and jobs and expects those of others."""
    shared = make_fake(tmp_path_factory.mktemp("server"), jobs_per_device="8").start()
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[OpenAI]:
    """The official client, unmodified, strict, and loud: it retries nothing."""
    with OpenAI(
        base_url=f"{server.url}/v1", api_key="sk-test", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture(scope="session")
def http(server: Server) -> Iterator[httpx.Client]:
    """Raw HTTP, for what an SDK hides: headers, key order, bodies that are wrong."""
    with httpx.Client(base_url=f"{server.url}/v1", timeout=30, trust_env=False) as made:
        yield made


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A private PostgreSQL server of this test session."""
    programs = find_programs()
    if programs is None:
        pytest.skip("NO POSTGRESQL: its server programs were not found (Debian: postgresql), so this was not tested")
    started = PostgresServer.start(programs)
    yield started
    started.stop()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file at the newest schema, to be copied: a migration takes longer than most tests."""
    path = tmp_path_factory.mktemp("schema") / "tunery.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database at the newest schema, of each kind in turn."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "tunery.db")
        return f"sqlite:///{tmp_path / 'tunery.db'}"
    running: PostgresServer = request.getfixturevalue("postgres")
    return running.create_migrated(_migrate)


@pytest.fixture
def empty_postgres_url(postgres: PostgresServer) -> str:
    """A PostgreSQL database without any table."""
    return postgres.create_empty()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Database]:
    """One SQLite database for many tests that make rows of their own and look at no others."""
    path = tmp_path_factory.mktemp("many") / "tunery.db"
    shutil.copy(migrated_sqlite, path)
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()


def _migrate(url: str) -> None:
    opened = Database(url)
    upgrade(opened)
    opened.close()
