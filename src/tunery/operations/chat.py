"""Create a chat completion with a base model, a tuned model or a checkpoint."""

import time
from collections.abc import AsyncIterator
from threading import Event
from typing import Any

from tunery.errors import EngineUnavailable, ModelNotFound, ServerStopping
from tunery.operations.access import Caller, Context
from tunery.serving import chat
from tunery.serving.answers import Served
from tunery.store import models
from tunery.store.database import Connection, Database
from tunery.types.chat import CreateChatCompletion
from tunery.types.sampling import AdapterRef

ENGINE_START_SECONDS_MAX = 120.0


async def create(context: Context, served: Served, request: CreateChatCompletion) -> dict[str, Any]:
    return await chat.complete(context.engine, served, request)


async def stream(context: Context, served: Served, request: CreateChatCompletion) -> AsyncIterator[dict[str, Any]]:
    """The first chunk is made before this returns, so that a refused request is still an HTTP error."""
    return await begin(chat.stream(context.engine, served, request))


async def begin(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """The same stream, its first item made already: what fails before it raises here."""
    first = await anext(chunks)

    async def resumed() -> AsyncIterator[dict[str, Any]]:
        yield first
        async for chunk in chunks:
            yield chunk

    return resumed()


async def readiness(context: Context, base_id: str | None) -> dict[str, Any]:
    """Whether the database answers and, where a base is named, how its engine is: ready, loading or failed."""
    row = await context.database.read(lambda connection: models.engine(connection, base_id or context.default_model))
    if base_id is None or (row is not None and row["status"] == "ready"):
        return {"status": "ready"}
    if row is not None and row["status"] == "failed":
        return {"status": "failed", "model": base_id, "error": row["error"]}
    return {"status": "loading", "model": base_id}


class EngineTable:
    """Finds serving hosts through the `engines` table, where the runner enters what it brought up."""

    def __init__(self, database: Database, *, stopping: Event) -> None:
        self._database = database
        self._stopping = stopping

    async def __call__(self, base_id: str, *, lost: str | None) -> str:
        deadline = time.monotonic() + ENGINE_START_SECONDS_MAX
        version = self._database.version() if self._database.is_sqlite else 0
        while time.monotonic() < deadline:
            if self._stopping.is_set():
                raise ServerStopping
            row = await self._database.read(lambda connection: models.engine(connection, base_id))
            if row is not None and row["status"] == "ready" and row["socket_path"] != lost:
                return row["socket_path"]
            if row is not None and row["status"] == "failed":
                error = row["error"]
                await self._want(base_id)
                raise EngineUnavailable(f"The model '{base_id}' could not be loaded: {error}")
            if row is None or (row["status"] == "ready" and row["socket_path"] == lost):
                await self._want(base_id)
            version = await self._database.changed(version, 0.5)
        raise EngineUnavailable(f"The model '{base_id}' is still being loaded.", retry_after_seconds=5)

    async def _want(self, base_id: str) -> None:
        await self._database.write(lambda connection: models.want_engine(connection, base_id, at=time.time()))


async def find_served(context: Context, caller: Caller, name: str) -> Served:
    """The model of this name, ready to answer. Raises ModelNotFound."""

    name = context.resolve(name)

    def query(connection: Connection) -> tuple[Any, Any]:
        base = models.base(connection, name)
        if base is not None:
            return base, None
        tuned = models.get(connection, project_id=caller.project_id, model_id=name)
        if tuned is None:
            raise ModelNotFound(name)
        return models.base(connection, tuned["base_id"]), tuned

    base, tuned = await context.database.read(query)
    adapter = AdapterRef(str(context.blobs.path(tuned["blob_key"])), tuned["sha256"]) if tuned is not None else None
    return Served(
        base_id=base["id"],
        base_sha256=base["sha256"],
        renderer=await context.renderers.get(base["sha256"], folder=base["folder"]),
        positions_max=base["positions_max"],
        adapter=adapter,
    )
