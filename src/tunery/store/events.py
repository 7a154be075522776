"""A job's events. Their numbers come from the job's own row, so they have no gaps and commit in their order."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from tunery import ids
from tunery.store.pages import Page
from tunery.store.schema import events, jobs


class Event(NamedTuple):
    message: str
    level: str = "info"
    type: str = "message"
    data: Mapping[str, Any] | None = MappingProxyType({})


def append(connection: Connection, job_id: str, new: Sequence[Event], *, at: float, epoch: int | None = None) -> bool:
    """Add events in order; False, and nothing written, when `epoch` is no longer the job's."""
    if not new:
        return True
    numbering = update(jobs).where(jobs.c.id == job_id).values(event_seq=jobs.c.event_seq + len(new))
    if epoch is not None:
        numbering = numbering.where(jobs.c.epoch == epoch)
    row = connection.execute(numbering.returning(jobs.c.event_seq, jobs.c.project_id)).first()
    if row is None:
        return False
    last, project_id = row
    rows = [
        {
            "project_id": project_id,
            "job_id": job_id,
            "seq": last - len(new) + position,
            "id": ids.event(),
            "created_at": int(at),
            "level": event.level,
            "type": event.type,
            "message": event.message,
            "data": None if event.data is None else dict(event.data),
        }
        for position, event in enumerate(new, start=1)
    ]
    connection.execute(insert(events), rows)
    return True


_OF_JOB = select(events).where(events.c.job_id == bindparam("job_id"))
_NEWEST = _OF_JOB.order_by(events.c.seq.desc()).limit(bindparam("rows_max"))
_POSITION = select(events.c.seq).where(events.c.job_id == bindparam("job_id"), events.c.id == bindparam("event_id"))
_OLDER = _NEWEST.where(events.c.seq < bindparam("before"))


def listing(connection: Connection, *, job_id: str, after: str | None, limit: int) -> Page:
    """Newest first; an unknown `after` gives an empty page."""
    values: dict[str, Any] = {"job_id": job_id, "rows_max": limit + 1}
    statement = _NEWEST
    if after is not None:
        values["before"] = position(connection, job_id=job_id, event_id=after)
        statement = _OLDER
        if values["before"] is None:
            return Page([], has_more=False)
    rows = list(connection.execute(statement, values).mappings())
    return Page(rows[:limit], has_more=len(rows) > limit)


_SINCE = _OF_JOB.where(events.c.seq > bindparam("since")).order_by(events.c.seq).limit(bindparam("rows_max"))


def since(connection: Connection, *, job_id: str, seq: int, limit: int) -> Sequence[RowMapping]:
    """Oldest first, those behind number `seq`."""
    values = {"job_id": job_id, "since": seq, "rows_max": limit}
    return connection.execute(_SINCE, values).mappings().all()


def position(connection: Connection, *, job_id: str, event_id: str) -> int | None:
    """The number of an event."""
    return connection.execute(_POSITION, {"job_id": job_id, "event_id": event_id}).scalar()
