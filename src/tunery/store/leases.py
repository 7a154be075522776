"""Who works on which job: claim, renew, hand back, take over. One statement each, all fenced by the epoch.

A claim raises the job's epoch, so every later write of an earlier holder changes no row.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, delete, insert, or_, select, update

from tunery.lifecycle import ACTIVE, Desired, Status
from tunery.store.jobs import FREE, move
from tunery.store.schema import jobs, runners


def register(connection: Connection, **values: Any) -> None:
    """Enter a runner: id, hostname, boot_id, pid, process_started_at, lease_until."""
    connection.execute(insert(runners).values(**values))


def others(connection: Connection, runner_id: str) -> Sequence[RowMapping]:
    return connection.execute(select(runners).where(runners.c.id != runner_id)).mappings().all()


def remove(connection: Connection, runner_id: str) -> None:
    """Forget a runner; what it still held is free at once."""
    connection.execute(update(jobs).where(*_held_by(runner_id)).values(runner_id=None, lease_until=None))
    connection.execute(delete(runners).where(runners.c.id == runner_id))


def claim(
    connection: Connection, *, runner_id: str, status: Status, at: float, lease_seconds: float, limit: int
) -> Sequence[RowMapping]:
    """Take up to `limit` jobs of a state that nobody holds, oldest first; each comes with its new epoch."""
    free = _free(status, at).order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.seq).limit(limit)
    if connection.dialect.name != "sqlite":
        free = free.with_for_update(skip_locked=True)
    job_ids = [job_id for (job_id,) in connection.execute(free)]
    if not job_ids:
        return []
    taken = (
        update(jobs)
        .where(jobs.c.id.in_(job_ids))
        .values(runner_id=runner_id, epoch=jobs.c.epoch + 1, lease_until=at + lease_seconds, report_n=0)
        .returning(jobs)
    )
    rows = {row["id"]: row for row in connection.execute(taken).mappings()}
    return [rows[job_id] for job_id in job_ids]


def renew(connection: Connection, *, runner_id: str, at: float, lease_seconds: float) -> None:
    """Prolong the runner and every job that it still holds."""
    until = at + lease_seconds
    connection.execute(update(runners).where(runners.c.id == runner_id).values(lease_until=until))
    connection.execute(update(jobs).where(*_held_by(runner_id)).values(lease_until=until))


def hand_back(connection: Connection, job_id: str, *, epoch: int, at: float, not_before: float) -> RowMapping | None:
    """Let go of a job, so that it can be claimed from `not_before` on or, where that is wished, stays paused.

    The epoch is raised: whatever still runs of this one changes nothing any more. None when `epoch` is not the job's.
    """
    current = select(jobs).where(jobs.c.id == job_id, jobs.c.epoch == epoch, jobs.c.status.in_(ACTIVE))
    row = connection.execute(current.with_for_update()).mappings().first()
    if row is None:
        return None
    if row["status"] != Status.RUNNING:
        freed = update(jobs).where(jobs.c.id == job_id).values(epoch=epoch + 1, not_before=not_before, **FREE)
        return connection.execute(freed.returning(jobs)).mappings().one()
    if row["desired_state"] == Desired.PAUSE:
        return move(connection, job_id, Status.PAUSED, fence=True, paused_at=int(at))
    return move(connection, job_id, Status.QUEUED, fence=True, not_before=not_before)


def abandoned(connection: Connection, *, runner_id: str, at: float) -> Sequence[RowMapping]:
    """Running jobs whose holder is gone or silent for a lease. One's own are not among them: they are renewed."""
    statement = select(jobs).where(
        jobs.c.status == Status.RUNNING,
        or_(jobs.c.lease_until.is_(None), and_(jobs.c.lease_until < at, jobs.c.runner_id != runner_id)),
    )
    return connection.execute(statement).mappings().all()


def held(connection: Connection, runner_id: str) -> Sequence[RowMapping]:
    """The jobs that a runner holds, with what is desired of them."""
    return connection.execute(select(jobs).where(*_held_by(runner_id))).mappings().all()


def any_free(connection: Connection, *, status: Status, at: float) -> bool:
    """Whether a claim would find a job: asked on every wake-up, so that only real claims write."""
    return connection.execute(_free(status, at).limit(1)).first() is not None


def _held_by(runner_id: str) -> tuple[ColumnElement[bool], ...]:
    # Naming the states lets the queue's index find the few live jobs among all that ever were.
    return jobs.c.status.in_(ACTIVE), jobs.c.runner_id == runner_id


def _free(status: Status, at: float) -> Select[tuple[str]]:
    return select(jobs.c.id).where(
        jobs.c.status == status,
        jobs.c.desired_state == Desired.RUN,
        or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < at),
        or_(jobs.c.not_before.is_(None), jobs.c.not_before <= at),
    )
