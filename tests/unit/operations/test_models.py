"""Deleting a tuned model: its bytes go, unless a job still trains from them."""

import asyncio
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.factories import NOW, add_job, add_project
from tunery.blobs.disk import DiskBlobs
from tunery.errors import InvalidRequest, ModelNotFound
from tunery.lifecycle import Status
from tunery.operations import models as operations
from tunery.operations.access import Caller, Context
from tunery.serving.engines import SocketEngines
from tunery.serving.renderers import Renderers
from tunery.store import jobs, models
from tunery.store.database import Connection, Database


async def nowhere(base_id: str, *, lost: str | None) -> str:
    raise AssertionError("deleting asks no engine")


def make_context(database: Database, blobs: DiskBlobs) -> Context:
    return Context(
        database=database,
        blobs=blobs,
        engine=SocketEngines(nowhere),
        renderers=Renderers(),
        organization="acme",
        default_model="base",
        stopping=Event(),
        aliases={},
    )


def add_child_of_model(connection: Connection) -> tuple[str, str, str]:
    """A tuned model, and a queued job that starts from it: the project, the model, the job."""
    project = add_project(connection)
    parent = add_job(connection, project)["id"]
    about: dict[str, Any] = {"sha256": "0", "file_bytes": 1, "step": 3, "kind": "adapter", "base_id": "base"}
    name = f"ft:{parent}"
    models.add(connection, id=name, project_id=project, job_id=parent, blob_key="m", created_at=NOW, **about)
    child = add_job(connection, project)["id"]
    jobs.add_parent(connection, project_id=project, job_id=child, model_id=name)
    return project, name, child


@pytest.mark.parametrize("ended", [Status.CANCELLED, Status.FAILED])
def test_model_is_kept_for_as_long_as_a_job_trains_from_it(database: Database, tmp_path: Path, ended: Status) -> None:
    blobs = DiskBlobs(tmp_path)
    blobs.put("m", b"weights")
    context = make_context(database, blobs)
    project, name, child = database.write_now(add_child_of_model)
    caller = Caller(project_id=project, organization_id="org-acme")
    with pytest.raises(InvalidRequest, match=f"while job {child} trains from it") as refused:
        asyncio.run(operations.delete(context, caller, name))
    assert refused.value.code == "model_in_use"
    assert blobs.path("m").exists()
    failed = {"error_code": "c", "error_message": "m"} if ended == Status.FAILED else {}
    database.write_now(lambda connection: jobs.move(connection, child, ended, **failed))
    assert asyncio.run(operations.delete(context, caller, name))["deleted"]
    assert not blobs.path("m").exists()


def test_model_in_use_does_not_exist_for_other_projects(database: Database, tmp_path: Path) -> None:
    context = make_context(database, DiskBlobs(tmp_path))
    _, name, _ = database.write_now(add_child_of_model)
    with pytest.raises(ModelNotFound):
        asyncio.run(operations.delete(context, Caller(project_id="other", organization_id="o"), name))
