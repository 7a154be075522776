"""Rows that tests need before the rows that they are about."""

import itertools
from typing import Any

from tunery import ids
from tunery.lifecycle import Status
from tunery.store import files, jobs, models
from tunery.store.database import Connection, Row
from tunery.store.schema import projects

_numbers = itertools.count()
NOW = 1_700_000_000


def add_project(connection: Connection) -> str:
    """A project of its own for a test or an example, so that nobody else's rows matter."""
    project_id = f"proj_{next(_numbers)}"
    connection.execute(
        projects.insert().values(id=project_id, name=project_id, organization_id="org-test", created_at=NOW)
    )
    return project_id


def add_base(connection: Connection, base_id: str = "base") -> str:
    facts = {"folder": "/nowhere", "source": "folder", "sha256": "0" * 64, "file_bytes": 1, "parameters": 1}
    models.put_base(connection, base_id, positions_max=512, created_at=NOW, **facts)
    return base_id


def add_file(connection: Connection, project_id: str, **values: Any) -> Row:
    file_id = ids.file()
    given = {
        "id": file_id,
        "project_id": project_id,
        "purpose": "fine-tune",
        "filename": "train.jsonl",
        "file_bytes": 1,
        "sha256": "0" * 64,
        "blob_key": f"files/{project_id}/{file_id}",
        "created_at": NOW,
    }
    return files.add(connection, **(given | values))


def add_job(connection: Connection, project_id: str, **values: Any) -> Row:
    """A job on a base and a file of its own, `queued` with a spec unless told otherwise."""
    given = {
        "id": ids.job(),
        "project_id": project_id,
        "created_at": NOW,
        "status": Status.QUEUED,
        "model": "base",
        "base_id": add_base(connection),
        "training_file": add_file(connection, project_id)["id"],
        "seed": 1,
        "method": "supervised",
        "n_epochs": 1,
        "batch_size": 1,
        "billed_tokens": 10,
        "total_steps": 10,
        "spec": {"lora": {"rank": 16}},
    }
    return jobs.add(connection, **(given | values))
