"""Checkpoint permissions: create, list, delete."""

import time
from typing import Any

from tunery import ids
from tunery.errors import ModelNotFound, NotFound
from tunery.operations.access import Caller, Context
from tunery.store import models
from tunery.store import permissions as rows
from tunery.store.database import Connection
from tunery.types.fine_tuning import CreatePermissions, permission_deleted, permission_object
from tunery.types.lists import PermissionsQuery, list_object


async def create(context: Context, caller: Caller, model_id: str, request: CreatePermissions) -> dict[str, Any]:
    """Grant every named project the use of the checkpoint; the list of the permissions."""

    def change(connection: Connection) -> list[dict[str, Any]]:
        _require(connection, caller, model_id)
        return [
            permission_object(
                rows.add(
                    connection,
                    id=ids.permission(),
                    project_id=caller.project_id,
                    model_id=model_id,
                    granted=granted,
                    created_at=int(time.time()),
                )
            )
            for granted in request.project_ids
        ]

    return list_object(await context.database.write(change), has_more=False)


async def listing(context: Context, caller: Caller, model_id: str, query: PermissionsQuery) -> dict[str, Any]:
    def read(connection: Connection) -> dict[str, Any]:
        _require(connection, caller, model_id)
        page = rows.listing(
            connection,
            project_id=caller.project_id,
            model_id=model_id,
            granted=query.project_id,
            after=query.after,
            limit=query.limit,
            ascending=query.order == "ascending",
        )
        return list_object([permission_object(row) for row in page.rows], has_more=page.has_more)

    return await context.database.read(read)


async def delete(context: Context, caller: Caller, model_id: str, permission_id: str) -> dict[str, Any]:
    def change(connection: Connection) -> bool:
        _require(connection, caller, model_id)
        return rows.remove(connection, project_id=caller.project_id, model_id=model_id, permission_id=permission_id)

    if not await context.database.write(change):
        raise NotFound(f"No such permission: {permission_id}", param="permission_id")
    return permission_deleted(permission_id)


def _require(connection: Connection, caller: Caller, model_id: str) -> None:
    if models.get(connection, project_id=caller.project_id, model_id=model_id) is None:
        raise ModelNotFound(model_id)
