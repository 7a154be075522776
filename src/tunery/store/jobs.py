"""Jobs and what hangs on them. A state changes only through `move`, which the table in lifecycle allows."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    RowMapping,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    insert,
    literal,
    null,
    select,
    union_all,
    update,
)

from tunery.lifecycle import ACTIVE, TERMINAL, Status, sources
from tunery.store.pages import Page, page
from tunery.store.schema import (
    checkpoints,
    job_integration_tags,
    job_integrations,
    job_metadata,
    job_parents,
    job_requests,
    job_result_files,
    jobs,
    metrics,
    models,
    snapshots,
)


def add(connection: Connection, **values: Any) -> RowMapping:
    return connection.execute(insert(jobs).values(**values).returning(jobs)).mappings().one()


def add_parent(connection: Connection, *, project_id: str, job_id: str, model_id: str) -> None:
    connection.execute(insert(job_parents).values(project_id=project_id, job_id=job_id, model_id=model_id))


def parent(connection: Connection, job_id: str) -> str | None:
    """The tuned model that the job starts from, if it does."""
    return connection.execute(select(job_parents.c.model_id).where(job_parents.c.job_id == job_id)).scalar()


def started_from(connection: Connection, *, project_id: str, model_id: str) -> str | None:
    """A job that has not ended and starts from the tuned model, so that its weights are still needed."""
    statement = select(jobs.c.id).join_from(jobs, job_parents, jobs.c.id == job_parents.c.job_id)
    named = (job_parents.c.project_id == project_id, job_parents.c.model_id == model_id)
    return connection.execute(statement.where(*named, jobs.c.status.in_(ACTIVE)).limit(1)).scalar()


def request(connection: Connection, *, project_id: str, key: str) -> RowMapping | None:
    """The request that was made under this key before."""
    same = select(job_requests).where(job_requests.c.project_id == project_id, job_requests.c.key == key)
    return connection.execute(same).mappings().first()


def put_request(connection: Connection, *, project_id: str, key: str, **values: Any) -> None:
    """Remember a request under its key, in place of an earlier one."""
    same = [job_requests.c.project_id == project_id, job_requests.c.key == key]
    connection.execute(delete(job_requests).where(*same))
    connection.execute(insert(job_requests).values(project_id=project_id, key=key, **values))


def forget_requests(connection: Connection, *, before: float) -> None:
    connection.execute(delete(job_requests).where(job_requests.c.created_at < before))


def set_metadata(connection: Connection, *, project_id: str, job_id: str, pairs: Mapping[str, str]) -> None:
    connection.execute(delete(job_metadata).where(job_metadata.c.job_id == job_id))
    if pairs:
        rows = [
            {"project_id": project_id, "job_id": job_id, "key": key, "value": value} for key, value in pairs.items()
        ]
        connection.execute(insert(job_metadata), rows)


def add_integrations(
    connection: Connection, *, project_id: str, job_id: str, integrations: Sequence[Mapping[str, Any]]
) -> None:
    """Store integrations given as {type, project, name, entity, tags}, in order."""
    for position, integration in enumerate(integrations):
        columns = {name: integration[name] for name in ("type", "project", "name", "entity")}
        connection.execute(
            insert(job_integrations).values(project_id=project_id, job_id=job_id, position=position, **columns)
        )
        tags = [
            {"job_id": job_id, "integration_position": position, "position": index, "tag": tag}
            for index, tag in enumerate(integration["tags"])
        ]
        if tags:
            connection.execute(insert(job_integration_tags), tags)


FREE: dict[str, Any] = {"runner_id": None, "lease_until": None, "estimated_finish": None}
"""Columns of a job that nobody works on."""

# Built once: putting a statement together costs several times what running it does.
_BY_ID = select(jobs).where(jobs.c.id == bindparam("job_id"))
_IN_PROJECT = _BY_ID.where(jobs.c.project_id == bindparam("project_id"))


def get(connection: Connection, job_id: str, *, project_id: str | None = None) -> RowMapping | None:
    if project_id is None:
        return connection.execute(_BY_ID, {"job_id": job_id}).mappings().first()
    return connection.execute(_IN_PROJECT, {"job_id": job_id, "project_id": project_id}).mappings().first()


def get_locked(connection: Connection, job_id: str, *, project_id: str) -> RowMapping | None:
    """The row, which nobody else changes before the transaction ends."""
    locked = _IN_PROJECT.with_for_update()
    return connection.execute(locked, {"job_id": job_id, "project_id": project_id}).mappings().first()


def listing(
    connection: Connection,
    *,
    project_id: str,
    after: str | None,
    limit: int,
    metadata: Mapping[str, str] | None = None,
    without_metadata: bool = False,
    created_after: int | None = None,
    created_before: int | None = None,
    **equal: str | None,
) -> Page:
    """Newest first; `metadata` keeps jobs that have all its pairs, `equal` names columns and their values."""
    where = [jobs.c[name] == value for name, value in equal.items() if value is not None]
    if created_after is not None:
        where.append(jobs.c.created_at > created_after)
    if created_before is not None:
        where.append(jobs.c.created_at < created_before)
    for key, value in (metadata or {}).items():
        tagged = select(job_metadata.c.job_id).where(
            job_metadata.c.project_id == project_id, job_metadata.c.key == key, job_metadata.c.value == value
        )
        where.append(jobs.c.id.in_(tagged))
    if without_metadata:
        where.append(jobs.c.id.not_in(select(job_metadata.c.job_id).where(job_metadata.c.project_id == project_id)))
    return page(connection, jobs, project_id=project_id, where=where, after=after, limit=limit)


_JOB_IDS: Any = bindparam("job_ids", expanding=True)


def _attachment(table: Table, kind: str, position: Any, *values: Any) -> Select[Any]:
    """One kind of attachment in the common shape: kind, job, position, four texts."""
    texts = [*values, *[null()] * (4 - len(values))]
    named = [value.label(f"text{n}") for n, value in enumerate(texts)]
    columns = (literal(kind).label("kind"), table.c.job_id, position.label("position"), *named)
    return select(*columns).where(table.c.job_id.in_(_JOB_IDS))


_ATTACHMENTS = union_all(
    _attachment(job_result_files, "result", job_result_files.c.position, job_result_files.c.file_id),
    _attachment(job_metadata, "metadata", literal(0), job_metadata.c.key, job_metadata.c.value),
    _attachment(
        job_integrations,
        "integration",
        job_integrations.c.position,
        *(job_integrations.c[name] for name in ("type", "project", "name", "entity")),
    ),
    _attachment(
        job_integration_tags,
        "tag",
        job_integration_tags.c.position,
        cast(job_integration_tags.c.integration_position, Text),
        job_integration_tags.c.tag,
    ),
).order_by("position")


class Attachments:
    """Result files, integrations and metadata of some jobs, read in one statement."""

    def __init__(self, connection: Connection, job_ids: Sequence[str]) -> None:
        self.result_files: dict[str, list[str]] = {}
        self.integrations: dict[str, list[dict[str, Any]]] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        tags: dict[tuple[str, int], list[str]] = {}
        for kind, job_id, position, *texts in connection.execute(_ATTACHMENTS, {"job_ids": job_ids}):
            if kind == "result":
                self.result_files.setdefault(job_id, []).append(texts[0])
            elif kind == "metadata":
                self.metadata.setdefault(job_id, {})[texts[0]] = texts[1]
            elif kind == "tag":
                tags.setdefault((job_id, int(texts[0])), []).append(texts[1])
            else:
                mine = tags.setdefault((job_id, position), [])
                wandb = {"project": texts[1], "name": texts[2], "entity": texts[3], "tags": mine}
                self.integrations.setdefault(job_id, []).append({"type": texts[0], "wandb": wandb})


def move(
    connection: Connection, job_id: str, to: Status, *, epoch: int | None = None, fence: bool = False, **values: Any
) -> RowMapping | None:
    """Change the state where the lifecycle allows it and `epoch` still counts; the new row, or None.

    `fence` raises the epoch and takes the job from its runner: whatever still works on it changes nothing any more.
    """
    moved = update(jobs).where(jobs.c.id == job_id, jobs.c.status.in_(sources(to)))
    if epoch is not None:
        moved = moved.where(jobs.c.epoch == epoch)
    if fence:
        values |= {"epoch": jobs.c.epoch + 1, **FREE}
    return connection.execute(moved.values(status=to, **values).returning(jobs)).mappings().first()


def change(connection: Connection, job_id: str, *, epoch: int | None = None, **values: Any) -> bool:
    """Change columns other than the state; False when `epoch` no longer counts."""
    changed = update(jobs).where(jobs.c.id == job_id)
    if epoch is not None:
        changed = changed.where(jobs.c.epoch == epoch)
    return connection.execute(changed.values(**values)).rowcount == 1


def take_report(connection: Connection, job_id: str, *, epoch: int, n: int) -> RowMapping | None:
    """Count a report as recorded; None for a stale epoch, and for a report that is not the next one."""
    counted = update(jobs).where(jobs.c.id == job_id, jobs.c.epoch == epoch, jobs.c.report_n == n - 1)
    return connection.execute(counted.values(report_n=n).returning(jobs)).mappings().first()


def add_result_file(connection: Connection, *, project_id: str, job_id: str, file_id: str) -> None:
    values = {"project_id": project_id, "job_id": job_id, "position": 0, "file_id": file_id}
    connection.execute(insert(job_result_files).values(**values))


def put_metrics(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store metrics; a step that was redone after a crash replaces what it left."""
    for row in rows:
        same = [metrics.c.job_id == row["job_id"], metrics.c.step == row["step"], metrics.c.split == row["split"]]
        connection.execute(delete(metrics).where(*same))
        connection.execute(insert(metrics).values(**row))


def metrics_of(connection: Connection, job_id: str, *, steps: Sequence[int] | None = None) -> Sequence[RowMapping]:
    """Metrics by step and split; of every step when `steps` is None."""
    statement = select(metrics).where(metrics.c.job_id == job_id)
    if steps is not None:
        statement = statement.where(metrics.c.step.in_(steps))
    return connection.execute(statement.order_by(metrics.c.step)).mappings().all()


def add_checkpoint(connection: Connection, **values: Any) -> RowMapping:
    return connection.execute(insert(checkpoints).values(**values).returning(checkpoints)).mappings().one()


def checkpoint_at(connection: Connection, job_id: str, *, step: int) -> RowMapping | None:
    statement = select(checkpoints).where(checkpoints.c.job_id == job_id, checkpoints.c.step == step)
    return connection.execute(statement).mappings().first()


def checkpoints_of(connection: Connection, job_id: str) -> Sequence[RowMapping]:
    """Newest step first."""
    statement = select(checkpoints).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.step.desc())
    return connection.execute(statement).mappings().all()


def drop_checkpoint(connection: Connection, checkpoint_id: str) -> None:
    connection.execute(delete(checkpoints).where(checkpoints.c.id == checkpoint_id))


def put_snapshot(connection: Connection, *, job_id: str, step: int, **values: Any) -> RowMapping | None:
    """Enter a resume snapshot; the one that it replaces, if a crash made the step be redone."""
    old = delete(snapshots).where(snapshots.c.job_id == job_id, snapshots.c.step == step).returning(snapshots)
    replaced = connection.execute(old).mappings().first()
    connection.execute(insert(snapshots).values(job_id=job_id, step=step, **values))
    return replaced


def snapshots_of(connection: Connection, job_id: str) -> Sequence[RowMapping]:
    """Newest step first."""
    statement = select(snapshots).where(snapshots.c.job_id == job_id).order_by(snapshots.c.step.desc())
    return connection.execute(statement).mappings().all()


def drop_snapshot(connection: Connection, job_id: str, *, step: int) -> None:
    connection.execute(delete(snapshots).where(snapshots.c.job_id == job_id, snapshots.c.step == step))


def drop_spent_snapshots(connection: Connection) -> Sequence[str]:
    """Forget the snapshots of jobs that have ended, however they did; the blob keys."""
    ended = select(jobs.c.id).where(jobs.c.status.in_(TERMINAL))
    gone = delete(snapshots).where(snapshots.c.job_id.in_(ended)).returning(snapshots.c.blob_key)
    return connection.execute(gone).scalars().all()


def epochs(connection: Connection, job_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
    """Each job's epoch, and whether the job has ended."""
    statement = select(jobs.c.id, jobs.c.epoch, jobs.c.status).where(jobs.c.id.in_(job_ids))
    return {job_id: (epoch, status in TERMINAL) for job_id, epoch, status in connection.execute(statement)}


def artefact_keys(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    """The blob keys of what the jobs have published and rows still refer to: models, checkpoints and snapshots."""
    kept = select(models.c.blob_key).where(models.c.job_id.in_(job_ids), models.c.deleted_at.is_(None))
    resumed = select(snapshots.c.blob_key).where(snapshots.c.job_id.in_(job_ids))
    return set(connection.execute(kept.union_all(resumed)).scalars())
