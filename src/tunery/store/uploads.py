"""Uploads in parts. A pending upload moves once: to completed, cancelled or expired."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from tunery.store.schema import upload_parts, uploads


def add(connection: Connection, **values: Any) -> RowMapping:
    return connection.execute(insert(uploads).values(status="pending", **values).returning(uploads)).mappings().one()


def get(connection: Connection, *, project_id: str, upload_id: str) -> RowMapping | None:
    mine = select(uploads).where(uploads.c.project_id == project_id, uploads.c.id == upload_id)
    return connection.execute(mine).mappings().first()


def end(connection: Connection, *, project_id: str, upload_id: str, status: str, **values: Any) -> RowMapping | None:
    """Move a pending upload to its end; None when it is not pending any more."""
    ended = update(uploads).where(
        uploads.c.project_id == project_id, uploads.c.id == upload_id, uploads.c.status == "pending"
    )
    return connection.execute(ended.values(status=status, **values).returning(uploads)).mappings().first()


def expired(connection: Connection, at: float) -> Sequence[RowMapping]:
    """Pending uploads whose hour is over."""
    over = select(uploads).where(uploads.c.status == "pending", uploads.c.expires_at <= at)
    return connection.execute(over).mappings().all()


def add_part(connection: Connection, **values: Any) -> RowMapping:
    return connection.execute(insert(upload_parts).values(**values).returning(upload_parts)).mappings().one()


def parts(connection: Connection, upload_id: str) -> dict[str, RowMapping]:
    """The parts by id."""
    rows = connection.execute(select(upload_parts).where(upload_parts.c.upload_id == upload_id)).mappings()
    return {row["id"]: row for row in rows}


def drop_parts(connection: Connection, upload_id: str) -> list[str]:
    """Forget the parts; the blob keys that nobody needs any more."""
    gone = delete(upload_parts).where(upload_parts.c.upload_id == upload_id).returning(upload_parts.c.blob_key)
    return list(connection.execute(gone).scalars())
