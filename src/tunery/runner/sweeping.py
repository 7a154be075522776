"""Gives space back: what has expired, was abandoned, or belongs to nothing any more."""

import asyncio
import time

from tunery.blobs.disk import DiskBlobs
from tunery.observability import logger
from tunery.store import files, jobs, uploads
from tunery.store.database import Connection, Database

SWEEP_SECONDS = 30.0
REQUESTS_KEPT_SECONDS = 24 * 3600.0
UNFINISHED_SECONDS_MAX = 24 * 3600.0
log = logger("runner")


def sweep(connection: Connection, *, at: float) -> list[str]:
    """End what is over: expired files and uploads, and the memory of requests that can no longer be retried.

    Answers with the blob keys that no row refers to any more.
    """
    keys = [row["blob_key"] for row in files.expire(connection, at)]
    for upload in uploads.expired(connection, at):
        owner = {"project_id": upload["project_id"], "upload_id": upload["id"]}
        uploads.end(connection, status="expired", **owner)
        keys += uploads.drop_parts(connection, upload["id"])
    jobs.forget_requests(connection, before=at - REQUESTS_KEPT_SECONDS)
    return keys


def sweep_unfinished(blobs: DiskBlobs, *, before: float) -> None:
    """Remove uploads that broke off in the middle."""
    folder = blobs.path("tmp")
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


async def sweep_and_rest(database: Database, blobs: DiskBlobs) -> None:
    """One sweep, then a pause: the runner repeats it for as long as it lives."""
    keys = await database.write(lambda connection: sweep(connection, at=time.time()))
    for key in keys:
        blobs.delete(key)
    if keys:
        log.info("removed what had expired", blobs=len(keys))
    sweep_unfinished(blobs, before=time.time() - UNFINISHED_SECONDS_MAX)
    await asyncio.sleep(SWEEP_SECONDS)
