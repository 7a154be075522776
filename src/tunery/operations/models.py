"""Models: list, retrieve, delete. Bases are shared; tuned models and checkpoints belong to a project."""

import time
from typing import Any

from tunery.errors import InvalidRequest, ModelNotFound
from tunery.operations.access import Caller, Context
from tunery.store import jobs
from tunery.store import models as rows
from tunery.store.database import Connection
from tunery.types.models import model_deleted, model_object

BASE_OWNER = "system"


async def retrieve(context: Context, caller: Caller, model_id: str) -> dict[str, Any]:
    def query(connection: Connection) -> dict[str, Any]:
        name = context.resolve(model_id)
        base = rows.base(connection, name)
        if base is not None:
            return _base_object(base) | {"id": model_id}
        tuned = rows.get(connection, project_id=caller.project_id, model_id=name)
        if tuned is None:
            raise ModelNotFound(model_id)
        return _tuned_object(context, tuned) | {"id": model_id}

    return await context.database.read(query)


async def listing(context: Context, caller: Caller) -> dict[str, Any]:
    def query(connection: Connection) -> list[dict[str, Any]]:
        bases = [_base_object(row) for row in rows.all_bases(connection)]
        tuned = rows.listing(connection, project_id=caller.project_id)
        return bases + [_tuned_object(context, row) for row in tuned]

    return {"object": "list", "data": await context.database.read(query)}


async def delete(context: Context, caller: Caller, model_id: str) -> dict[str, Any]:
    """Remove a tuned model and its weights. A base model is the operator's and stays; one in use by a job waits."""

    def change(connection: Connection) -> Any:
        if rows.base(connection, model_id) is not None:
            raise InvalidRequest(f"The model '{model_id}' is a base model and cannot be deleted.", param="model")
        job_id = jobs.started_from(connection, project_id=caller.project_id, model_id=model_id)
        if job_id is not None:
            message = f"The model '{model_id}' cannot be deleted while job {job_id} trains from it."
            raise InvalidRequest(message, code="model_in_use", param="model")
        row = rows.delete(connection, project_id=caller.project_id, model_id=model_id, at=int(time.time()))
        if row is None:
            raise ModelNotFound(model_id)
        return row

    row = await context.database.write(change)
    context.blobs.delete(row["blob_key"])
    return model_deleted(model_id)


def _base_object(row: Any) -> dict[str, Any]:
    return model_object(row["id"], created=row["created_at"], owned_by=BASE_OWNER)


def _tuned_object(context: Context, row: Any) -> dict[str, Any]:
    return model_object(row["id"], created=row["created_at"], owned_by=context.organization)
