"""Disk space of ended jobs comes back; what users or live hosts need stays."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.factories import NOW, add_job, add_project
from tunery.blobs.disk import DiskBlobs
from tunery.lifecycle import Status
from tunery.runner.sweeping import sweep, sweep_artefacts
from tunery.store import jobs, models
from tunery.store.database import Connection, Database, Row

OLD = time.time() - 3600
Add = Callable[..., Row]


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


@pytest.fixture
def add(database: Database) -> Add:
    """A job of epoch 2 in some state, with a snapshot row in e1 and, on demand, a model row in e2."""

    def change(connection: Connection, status: Status, has_model: bool) -> Row:
        failed = {"error_code": "c", "error_message": "m"} if status == Status.FAILED else {}
        tuned = {"fine_tuned_model": "m"} if status == Status.SUCCEEDED else {}
        row = add_job(connection, add_project(connection), status=status, epoch=2, **failed, **tuned)
        owner: dict[str, Any] = {"project_id": row["project_id"], "job_id": row["id"], "created_at": NOW}
        about: dict[str, Any] = {"sha256": "0", "file_bytes": 1, "step": 3}
        jobs.put_snapshot(connection, blob_key=f"jobs/{row['id']}/e1/snapshots/step-3", **owner, **about)
        if has_model:
            key = f"jobs/{row['id']}/e2/checkpoints/step-3"
            models.add(connection, id=f"ft:{row['id']}", base_id="base", kind="adapter", blob_key=key, **owner, **about)
        return row

    return lambda status, *, has_model=False: database.write_now(lambda each: change(each, status, has_model))


def fill(blobs: DiskBlobs, row: Row, *paths: str, age_from: float = OLD) -> None:
    root = blobs.path(f"jobs/{row['id']}")
    for path in paths:
        (root / path).mkdir(parents=True)
        (root / path / "weights").write_bytes(b"w")
    for path in (*root.rglob("*"), root):
        os.utime(path, (age_from, age_from))


def left(blobs: DiskBlobs, row: Row) -> list[str]:
    root = blobs.path(f"jobs/{row['id']}")
    return sorted(path.parent.relative_to(root).as_posix() for path in root.rglob("weights"))


def clear(database: Database, blobs: DiskBlobs) -> None:
    for key in database.write_now(lambda connection: sweep(connection, at=NOW)):
        blobs.delete(key)
    asyncio.run(sweep_artefacts(database, blobs, before=OLD + 1800))


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.FAILED])
def test_ended_job_without_a_model_leaves_nothing(
    database: Database, blobs: DiskBlobs, add: Add, status: Status
) -> None:
    row = add(status)
    fill(blobs, row, "e1/snapshots/step-3", "e2/snapshots/.tmp-step-4")
    clear(database, blobs)
    assert database.read_now(lambda connection: jobs.snapshots_of(connection, row["id"])) == []
    # Deleting the snapshot touched its epoch's folder, which then counts as alive for a while.
    fill(blobs, row)
    clear(database, blobs)
    assert not blobs.path(f"jobs/{row['id']}").exists()


def test_models_stay_and_lose_only_the_leftovers_beside_them(database: Database, blobs: DiskBlobs, add: Add) -> None:
    row = add(Status.SUCCEEDED, has_model=True)
    fill(blobs, row, "e2/checkpoints/step-3", "e2/checkpoints/.tmp-step-4", "e1/checkpoints/step-3")
    clear(database, blobs)
    assert left(blobs, row) == ["e2/checkpoints/step-3"]


def test_job_that_goes_on_keeps_all_but_leftovers_of_dead_epochs(
    database: Database, blobs: DiskBlobs, add: Add
) -> None:
    row = add(Status.RUNNING)
    fill(blobs, row, "e1/snapshots/step-3", "e1/snapshots/.tmp-step-4", "e2/snapshots/.tmp-step-5")
    clear(database, blobs)
    assert left(blobs, row) == ["e1/snapshots/step-3", "e2/snapshots/.tmp-step-5"]
    assert len(database.read_now(lambda connection: jobs.snapshots_of(connection, row["id"]))) == 1


def test_folder_that_changed_lately_may_have_a_host_still(database: Database, blobs: DiskBlobs, add: Add) -> None:
    row = add(Status.CANCELLED)
    fill(blobs, row, "e2/snapshots/step-4", age_from=time.time())
    clear(database, blobs)
    assert left(blobs, row) == ["e2/snapshots/step-4"]
