"""The engines table after a serving host was let go: the next chat must want it anew."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from tests.factories import NOW, add_base
from tunery.runner.engines import Engines
from tunery.runner.hosts import HostPlan, HostProcess
from tunery.runner.pool import HostPool
from tunery.store import models
from tunery.store.database import Connection, Database


class LetGo:
    """As much of a host as is left when it was let go: what it was to hold."""

    plan = HostPlan("base", "/b", "cpu", "float32", ("serve",), 1, 1.0, "/old.sock")


@pytest.mark.parametrize(("path", "is_left"), [("/old.sock", False), ("/new.sock", True)])
def test_engine_of_an_idle_host_is_forgotten_but_not_its_successor(
    database: Database, path: str, is_left: bool
) -> None:
    def change(connection: Connection) -> None:
        add_base(connection)
        models.want_engine(connection, "base", at=NOW)
        models.set_engine(connection, "base", status="ready", socket_path=path)

    database.write_now(change)
    started: list[Coroutine[Any, Any, None]] = []
    engines = Engines(database, cast(HostPool, None), runner_id="r", start=started.append)
    engines.idle(cast(HostProcess, LetGo()))
    asyncio.run(started[0])
    row = database.read_now(lambda connection: models.engine(connection, "base"))
    assert (row is not None) == is_left
