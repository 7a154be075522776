"""File rows. A deleted file keeps its row, because jobs refer to it; its bytes go."""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, insert, or_, select, update

from tunery.store.pages import Page, page
from tunery.store.schema import files


def add(connection: Connection, **values: Any) -> RowMapping:
    return connection.execute(insert(files).values(**values).returning(files)).mappings().one()


def get(connection: Connection, *, project_id: str, file_id: str) -> RowMapping | None:
    """The row, unless it was deleted or belongs to another project."""
    live = select(files).where(files.c.project_id == project_id, files.c.id == file_id, *_live())
    return connection.execute(live).mappings().first()


def get_deleted_too(connection: Connection, file_id: str) -> RowMapping | None:
    """The row that a job refers to, whether or not the file still exists."""
    return connection.execute(select(files).where(files.c.id == file_id)).mappings().first()


def listing(
    connection: Connection, *, project_id: str, purpose: str | None, after: str | None, limit: int, ascending: bool
) -> Page:
    where = [*_live()]
    if purpose is not None:
        where.append(files.c.purpose == purpose)
    return page(connection, files, project_id=project_id, where=where, after=after, limit=limit, ascending=ascending)


def delete(connection: Connection, *, project_id: str, file_id: str, at: int) -> RowMapping | None:
    """Mark the file deleted and give its last row; None when there was no such file."""
    gone = (
        update(files)
        .where(files.c.project_id == project_id, files.c.id == file_id, files.c.deleted_at.is_(None))
        .values(deleted_at=at)
        .returning(files)
    )
    return connection.execute(gone).mappings().first()


def expire(connection: Connection, at: float) -> Sequence[RowMapping]:
    """Delete files whose time is over; their last rows."""
    over = update(files).where(files.c.deleted_at.is_(None), files.c.expires_at <= at)
    return connection.execute(over.values(deleted_at=int(at)).returning(files)).mappings().all()


def _live() -> tuple[ColumnElement[bool], ...]:
    """Neither deleted nor expired: an expired file is gone for users before its bytes are."""
    return files.c.deleted_at.is_(None), or_(files.c.expires_at.is_(None), files.c.expires_at > time.time())
