"""Which other projects may use a checkpoint."""

from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select

from tunery.store.pages import Page, page
from tunery.store.schema import checkpoint_permissions as permissions


def add(connection: Connection, *, project_id: str, model_id: str, granted: str, **values: Any) -> RowMapping:
    """Grant a project; the existing permission when it has one already."""
    same = select(permissions).where(
        permissions.c.project_id == project_id,
        permissions.c.model_id == model_id,
        permissions.c.granted_project_id == granted,
    )
    known = connection.execute(same).mappings().first()
    if known is not None:
        return known
    new = insert(permissions).values(project_id=project_id, model_id=model_id, granted_project_id=granted, **values)
    return connection.execute(new.returning(permissions)).mappings().one()


def listing(
    connection: Connection,
    *,
    project_id: str,
    model_id: str,
    granted: str | None,
    after: str | None,
    limit: int,
    ascending: bool,
) -> Page:
    where = [permissions.c.model_id == model_id]
    if granted is not None:
        where.append(permissions.c.granted_project_id == granted)
    order: Any = {"after": after, "limit": limit, "ascending": ascending}
    return page(connection, permissions, project_id=project_id, where=where, **order)


def remove(connection: Connection, *, project_id: str, model_id: str, permission_id: str) -> bool:
    gone = delete(permissions).where(
        permissions.c.project_id == project_id,
        permissions.c.model_id == model_id,
        permissions.c.id == permission_id,
    )
    return connection.execute(gone).rowcount == 1
