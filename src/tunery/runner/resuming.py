"""From where a claimed job goes on: its newest snapshot that is whole, or the beginning."""

import asyncio
from collections.abc import Sequence

import msgspec

from tunery.blobs import artefacts
from tunery.blobs.disk import DiskBlobs
from tunery.observability import logger
from tunery.runner.records import run_prefix
from tunery.store import events, jobs
from tunery.store.database import Connection, Database, Row, now
from tunery.store.events import Event
from tunery.training.reports import Start
from tunery.training.spec import TrainSpec

log = logger("runner")


async def make_start(database: Database, blobs: DiskBlobs, row: Row) -> Start:
    """What the host is told. A snapshot that is damaged is forgotten, and the user hears from where it goes on."""
    rows = await database.read(lambda connection: jobs.snapshots_of(connection, row["id"]))
    snapshot, damaged = await asyncio.to_thread(_newest_whole, blobs, rows)
    if damaged:
        await database.write(lambda connection: _tell(connection, row, damaged=damaged, snapshot=snapshot))
        for each in damaged:
            blobs.delete(each["blob_key"])
    return Start(
        job_id=row["id"],
        epoch=row["epoch"],
        spec=msgspec.convert(row["spec"], TrainSpec),
        output_path=str(blobs.path(run_prefix(row["id"], row["epoch"]))),
        resume_path=None if snapshot is None else str(blobs.path(snapshot["blob_key"])),
    )


def _newest_whole(blobs: DiskBlobs, rows: Sequence[Row]) -> tuple[Row | None, list[Row]]:
    """The first row, newest step first, whose files are what was published, and those before it that are not."""
    damaged: list[Row] = []
    for row in rows:
        try:
            artefacts.verify(blobs.path(row["blob_key"]), sha256=row["sha256"])
        except (artefacts.IncompleteArtefact, OSError) as error:
            log.error("a snapshot is damaged", job_id=row["job_id"], step=row["step"], error=str(error))
            damaged.append(row)
        else:
            return row, damaged
    return None, damaged


def _tell(connection: Connection, row: Row, *, damaged: Sequence[Row], snapshot: Row | None) -> None:
    steps = ", ".join(str(each["step"]) for each in damaged)
    goes_on = "begins again" if snapshot is None else f"goes on from step {snapshot['step']}"
    told = Event(f"The snapshot of step {steps} is damaged; the job {goes_on}", level="warn")
    # A job that was cancelled meanwhile has told its last event, and the sweep takes its snapshots.
    if events.append(connection, row["id"], [told], at=now(connection), epoch=row["epoch"]):
        for each in damaged:
            jobs.drop_snapshot(connection, row["id"], step=each["step"])
