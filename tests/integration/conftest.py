"""Servers that tests may hurt: leases short enough that taking over is not waiting."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from openai import OpenAI

from tests.books import Books
from tests.servers import Server, make_fake

LEASE_SECONDS = 2.0


@contextmanager
def hurt(data_dir: Path, **settings: str) -> Iterator[tuple[Server, Books]]:
    """A running server and its books; whatever is left of it at the end is killed."""
    given = {"lease_seconds": str(LEASE_SECONDS), "jobs_per_device": "8", "warm": "false"} | settings
    server = make_fake(data_dir, **given)
    url = settings.get("database_url")
    try:
        server.start()
        books = Books(data_dir, url)
        yield server, books
        books.close()
    finally:
        server.kill()
        for process in server.survivors():
            process.kill()


def connect(server: Server, *, max_retries: int = 0) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="sk", max_retries=max_retries, _strict_response_validation=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Books]]:
    """One server for the tests that leave it whole."""
    with hurt(tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture(scope="module")
def server(shared: tuple[Server, Books]) -> Server:
    return shared[0]


@pytest.fixture(scope="module")
def books(shared: tuple[Server, Books]) -> Books:
    return shared[1]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with connect(server) as made:
        yield made
