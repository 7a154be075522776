"""One page of a newest-first (or oldest-first) listing, stable under inserts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, select, tuple_


class Page(NamedTuple):
    rows: Sequence[RowMapping]
    has_more: bool


def page(
    connection: Connection,
    table: Table,
    *,
    project_id: str,
    where: Sequence[ColumnElement[bool]],
    after: str | None,
    limit: int,
    ascending: bool = False,
) -> Page:
    """A project's rows ordered by (created_at, seq), beginning behind the one whose id is `after`.

    An unknown `after`, or another project's, gives an empty page: a client that walks on after a deletion must come to
    an end.
    """
    order = (table.c.created_at, table.c.seq)
    mine = table.c.project_id == project_id
    statement = select(table).where(mine, *where)
    if after is not None:
        anchor = connection.execute(select(*order).where(mine, table.c.id == after)).first()
        if anchor is None:
            return Page([], has_more=False)
        position = tuple_(*order)
        statement = statement.where(position > tuple(anchor) if ascending else position < tuple(anchor))
    statement = statement.order_by(*(column.asc() if ascending else column.desc() for column in order))
    rows: list[Any] = list(connection.execute(statement.limit(limit + 1)).mappings())
    return Page(rows[:limit], has_more=len(rows) > limit)
