"""Base models, tuned models and the engines that serve them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, or_, select, update
from sqlalchemy import delete as delete_rows

from tunery.store.schema import DEFAULT_PROJECT, bases, engines, jobs, models, projects


def organization_id(slug: str) -> str:
    """The organisation as jobs name it."""
    return f"org-{slug}"


def ensure_project(connection: Connection, *, organization: str, at: int) -> None:
    """The default project, which owns everything while no keys are in use."""
    mine = organization_id(organization)
    found = connection.execute(select(projects.c.organization_id).where(projects.c.id == DEFAULT_PROJECT)).scalar()
    if found is None:
        values = {"id": DEFAULT_PROJECT, "name": "Default", "organization_id": mine, "created_at": at}
        connection.execute(insert(projects).values(**values))
    elif found != mine:
        renamed = update(projects).where(projects.c.id == DEFAULT_PROJECT)
        connection.execute(renamed.values(organization_id=mine))


def put_base(connection: Connection, base_id: str, **values: Any) -> None:
    """Enter a base model, or bring its row up to date."""
    if connection.execute(update(bases).where(bases.c.id == base_id).values(**values)).rowcount == 0:
        connection.execute(insert(bases).values(id=base_id, **values))


def base(connection: Connection, base_id: str) -> RowMapping | None:
    return connection.execute(select(bases).where(bases.c.id == base_id)).mappings().first()


def all_bases(connection: Connection) -> Sequence[RowMapping]:
    return connection.execute(select(bases).order_by(bases.c.created_at, bases.c.id)).mappings().all()


def drop_base(connection: Connection, base_id: str) -> bool:
    """Forget a base and its engine; False, and nothing changed, while a job or tuned model refers to it."""
    on_base = (jobs.c.base_id, models.c.base_id)
    used = or_(*(select(column).where(column == base_id).exists() for column in on_base))
    if connection.execute(select(used)).scalar():
        return False
    connection.execute(delete_rows(engines).where(engines.c.base_id == base_id))
    connection.execute(delete_rows(bases).where(bases.c.id == base_id))
    return True


def add(connection: Connection, **values: Any) -> RowMapping:
    return connection.execute(insert(models).values(**values).returning(models)).mappings().one()


def get(connection: Connection, *, project_id: str, model_id: str) -> RowMapping | None:
    """A tuned model or checkpoint that still exists."""
    statement = select(models).where(
        models.c.project_id == project_id, models.c.id == model_id, models.c.deleted_at.is_(None)
    )
    return connection.execute(statement).mappings().first()


def listing(connection: Connection, *, project_id: str) -> Sequence[RowMapping]:
    """Tuned models and checkpoints, newest first."""
    statement = select(models).where(models.c.project_id == project_id, models.c.deleted_at.is_(None))
    return connection.execute(statement.order_by(models.c.created_at.desc(), models.c.seq.desc())).mappings().all()


def delete(connection: Connection, *, project_id: str, model_id: str, at: int) -> RowMapping | None:
    gone = (
        update(models)
        .where(models.c.project_id == project_id, models.c.id == model_id, models.c.deleted_at.is_(None))
        .values(deleted_at=at)
        .returning(models)
    )
    return connection.execute(gone).mappings().first()


def want_engine(connection: Connection, base_id: str, *, at: float) -> None:
    """Ask whichever runner reads this to bring up a serving host for the base."""
    again = {"status": "wanted", "wanted_at": at, "runner_id": None, "socket_path": None, "error": None}
    if connection.execute(update(engines).where(engines.c.base_id == base_id).values(**again)).rowcount == 0:
        connection.execute(insert(engines).values(base_id=base_id, **again))


def engine(connection: Connection, base_id: str) -> RowMapping | None:
    return connection.execute(select(engines).where(engines.c.base_id == base_id)).mappings().first()


def all_engines(connection: Connection) -> Sequence[RowMapping]:
    return connection.execute(select(engines)).mappings().all()


def set_engine(connection: Connection, base_id: str, **values: Any) -> None:
    connection.execute(update(engines).where(engines.c.base_id == base_id).values(**values))


def drop_engine(connection: Connection, base_id: str, *, socket_path: str) -> None:
    """Forget the engine that served on this socket: whoever needs it next wants it anew."""
    gone = delete_rows(engines).where(engines.c.base_id == base_id, engines.c.socket_path == socket_path)
    connection.execute(gone)
