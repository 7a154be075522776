"""A job goes on from its newest whole snapshot, and says so where that is not the newest."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.factories import NOW, add_job, add_project
from tunery.blobs.artefacts import publish
from tunery.blobs.disk import DiskBlobs
from tunery.lifecycle import Status
from tunery.runner.resuming import make_start
from tunery.store import events, jobs
from tunery.store.database import Connection, Database, Row
from tunery.training.spec import LoraSpec, OptimizerSpec, TrainSpec

SPEC = TrainSpec(
    job_id="j",
    method="supervised",
    base_path="/b",
    base_sha256="0" * 64,
    init_adapter_path=None,
    train_path="/t",
    valid_path=None,
    n_epochs=1,
    batch_size=1,
    n_examples=10,
    total_steps=10,
    lora=LoraSpec(),
    optimizer=OptimizerSpec(learning_rate=1e-3),
    seed=1,
    device="cpu",
    dtype="float32",
    micro_batch_tokens_max=64,
    snapshot_seconds=1.0,
)


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs")


def add_claimed(database: Database, blobs: DiskBlobs, *, steps: tuple[int, ...]) -> Row:
    def change(connection: Connection) -> Row:
        values: dict[str, Any] = {"epoch": 2, "spec": msgspec.to_builtins(SPEC)}
        row = add_job(connection, add_project(connection), **values)
        for step in steps:
            key = f"jobs/{row['id']}/e1/snapshots/step-{step:08d}"
            made = publish(blobs.path(key), lambda folder: write(folder / "state"), facts={"step": step})
            owner = {"project_id": row["project_id"], "job_id": row["id"], "created_at": float(NOW)}
            about = {"blob_key": key, "sha256": made.sha256, "file_bytes": made.file_bytes}
            jobs.put_snapshot(connection, step=step, **owner, **about)
        return row

    return database.write_now(change)


def write(path: Path) -> None:
    path.write_bytes(b"state")


def damage(blobs: DiskBlobs, row: Row, step: int) -> None:
    (blobs.path(f"jobs/{row['id']}/e1/snapshots/step-{step:08d}") / "state").write_bytes(b"stale")


def told(database: Database, row: Row) -> list[tuple[str, str]]:
    page = database.read_now(lambda connection: events.listing(connection, job_id=row["id"], after=None, limit=9))
    return [(event["level"], event["message"]) for event in page.rows]


def steps_kept(database: Database, row: Row) -> list[int]:
    return [each["step"] for each in database.read_now(lambda connection: jobs.snapshots_of(connection, row["id"]))]


def test_newest_snapshot_is_taken_where_it_is_whole(database: Database, blobs: DiskBlobs) -> None:
    row = add_claimed(database, blobs, steps=(3, 6))
    start = asyncio.run(make_start(database, blobs, row))
    assert start.resume_path == str(blobs.path(f"jobs/{row['id']}/e1/snapshots/step-00000006"))
    assert start.output_path == str(blobs.path(f"jobs/{row['id']}/e2"))
    assert told(database, row) == []
    assert steps_kept(database, row) == [6, 3]


def test_damaged_newest_snapshot_gives_way_to_the_one_before(database: Database, blobs: DiskBlobs) -> None:
    row = add_claimed(database, blobs, steps=(3, 6))
    damage(blobs, row, 6)
    start = asyncio.run(make_start(database, blobs, row))
    assert start.resume_path == str(blobs.path(f"jobs/{row['id']}/e1/snapshots/step-00000003"))
    assert told(database, row) == [("warn", "The snapshot of step 6 is damaged; the job goes on from step 3")]
    assert steps_kept(database, row) == [3]
    assert not blobs.path(f"jobs/{row['id']}/e1/snapshots/step-00000006").exists()


def test_job_without_a_whole_snapshot_begins_again(database: Database, blobs: DiskBlobs) -> None:
    """Damaged ones must go: by their higher steps they would have new ones pruned first."""
    row = add_claimed(database, blobs, steps=(3, 6))
    damage(blobs, row, 3)
    blobs.delete(f"jobs/{row['id']}/e1/snapshots/step-00000006")
    start = asyncio.run(make_start(database, blobs, row))
    assert start.resume_path is None
    assert told(database, row) == [("warn", "The snapshot of step 6, 3 is damaged; the job begins again")]
    assert steps_kept(database, row) == []


def test_job_that_was_cancelled_meanwhile_hears_nothing_more(database: Database, blobs: DiskBlobs) -> None:
    row = add_claimed(database, blobs, steps=(3,))
    damage(blobs, row, 3)
    database.write_now(lambda connection: jobs.move(connection, row["id"], Status.CANCELLED, fence=True))
    assert asyncio.run(make_start(database, blobs, row)).resume_path is None
    assert told(database, row) == []
