"""Serving hosts follow the `engines` table: what is wanted there is brought up, what ended is wanted again."""

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tunery.errors import TuneryError
from tunery.observability import logger
from tunery.runner import recovery
from tunery.runner.hosts import HostPlan, HostProcess
from tunery.runner.pool import HostPool
from tunery.store import models
from tunery.store.database import Connection, Database

log = logger("runner")
Start = Callable[[Coroutine[Any, Any, None]], None]


class Engines:
    """The table's other end. `start` runs a coroutine in the background and logs how it fails."""

    def __init__(self, database: Database, pool: HostPool, *, runner_id: str, start: Start) -> None:
        self._database = database
        self._pool = pool
        self._runner_id = runner_id
        self._start = start
        self._starting: set[str] = set()

    async def start_wanted(self) -> None:
        for engine in await self._database.read(models.all_engines):
            base_id = engine["base_id"]
            if engine["status"] == "wanted" and base_id not in self._starting:
                self._starting.add(base_id)
                self._start(self._serve(base_id))

    async def want(self, base_id: str) -> None:
        def change(connection: Connection) -> None:
            models.want_engine(connection, base_id, at=time.time())

        await self._database.write(change)

    def ended(self, base_id: str, status: int) -> None:
        """The base's serving host is gone: it is wanted again, unless the server is going too."""
        if not self._pool.closing:
            log.error("a serving host ended", base=base_id, status=status, reason=recovery.describe(status))
            self._start(self.want(base_id))

    def idle(self, process: HostProcess) -> None:
        """A serving host was let go: the next chat finds no engine in the table and wants one."""
        self._start(self._forget(process.plan))

    async def _forget(self, plan: HostPlan) -> None:
        assert plan.socket_path is not None, "a serving host has a socket"
        gone = partial(models.drop_engine, base_id=plan.base_id, socket_path=plan.socket_path)
        await self._database.write(gone)

    async def _serve(self, base_id: str) -> None:
        """Bring up a serving host, or say in the table why there is none."""
        try:
            process = self._pool.serve.get(base_id) or await self._spawn(base_id)
        except TuneryError as error:
            await self._enter(base_id, status="failed", error=str(error))
        else:
            path = process.plan.socket_path
            await self._enter(base_id, status="ready", socket_path=path, runner_id=self._runner_id, error=None)
        finally:
            self._starting.discard(base_id)

    async def _spawn(self, base_id: str) -> HostProcess:
        base = await self._database.read(lambda connection: models.base(connection, base_id))
        return await self._pool.start_serving(base)

    async def _enter(self, base_id: str, **values: Any) -> None:
        await self._database.write(lambda connection: models.set_engine(connection, base_id, **values))
