"""Finding the engine of a base through the table: wanting it, waiting for it, giving up."""

import asyncio
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

from tests.factories import NOW, add_base
from tunery.errors import EngineUnavailable, ServerStopping
from tunery.operations.chat import EngineTable
from tunery.store import models
from tunery.store.database import Connection, Database

SECONDS_MAX = 20


@pytest.fixture
def base(database: Database) -> str:
    return database.write_now(add_base)


def set_engine(database: Database, **values: Any) -> None:
    def change(connection: Connection) -> None:
        models.want_engine(connection, "base", at=NOW)
        models.set_engine(connection, "base", **values)

    database.write_now(change)


def engine(database: Database) -> Any:
    return database.read_now(lambda connection: models.engine(connection, "base"))


def locate(database: Database, *, lost: str | None = None, stopping: Event | None = None) -> Any:
    table = EngineTable(database, stopping=stopping or Event())
    return table("base", lost=lost)


def run(located: Any, meanwhile: Callable[[], Any] | None = None) -> str:
    """The path, with something done by another thread shortly after the search began."""

    async def both() -> str:
        task = asyncio.ensure_future(asyncio.wait_for(located, SECONDS_MAX))
        await asyncio.sleep(0.1)
        if meanwhile is not None:
            await asyncio.to_thread(meanwhile)
        return await task

    return asyncio.run(both())


def test_engine_that_is_up_is_given_at_once(database: Database, base: str) -> None:
    set_engine(database, status="ready", socket_path="/a.sock")
    assert run(locate(database)) == "/a.sock"


def test_engine_that_nobody_wanted_yet_is_wanted_and_waited_for(database: Database, base: str) -> None:
    def bring_up() -> None:
        assert engine(database)["status"] == "wanted"
        set_engine(database, status="ready", socket_path="/a.sock")

    assert run(locate(database), bring_up) == "/a.sock"


def test_lost_engine_is_wanted_again(database: Database, base: str) -> None:
    set_engine(database, status="ready", socket_path="/old.sock")

    def bring_up() -> None:
        assert engine(database)["status"] == "wanted"
        set_engine(database, status="ready", socket_path="/new.sock")

    assert run(locate(database, lost="/old.sock"), bring_up) == "/new.sock"


def test_engine_that_was_replaced_already_is_not_wanted_again(database: Database, base: str) -> None:
    set_engine(database, status="ready", socket_path="/new.sock")
    assert run(locate(database, lost="/old.sock")) == "/new.sock"
    assert engine(database)["status"] == "ready"


def test_engine_that_could_not_come_up_says_why_and_is_tried_again_later(database: Database, base: str) -> None:
    set_engine(database, status="failed", error="its process ended while loading")
    with pytest.raises(EngineUnavailable, match="'base' could not be loaded: its process ended while loading"):
        run(locate(database))
    assert engine(database)["status"] == "wanted"


def test_waiting_ends_with_the_server(database: Database, base: str) -> None:
    stopping = Event()
    began = time.monotonic()
    with pytest.raises(ServerStopping):
        run(locate(database, stopping=stopping), stopping.set)
    assert time.monotonic() - began < 5
