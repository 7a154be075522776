"""Gives space back: what has expired, was abandoned, or belongs to nothing any more."""

import asyncio
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from functools import partial
from pathlib import Path

from tunery.blobs import artefacts
from tunery.blobs.disk import DiskBlobs
from tunery.observability import logger
from tunery.store import files, jobs, uploads
from tunery.store.database import Connection, Database

SWEEP_SECONDS = 30.0
REQUESTS_KEPT_SECONDS = 24 * 3600.0
UNFINISHED_SECONDS_MAX = 24 * 3600.0
ARTEFACTS_KEPT_SECONDS = 600.0
JOBS_PER_QUERY = 500
log = logger("runner")


def sweep(connection: Connection, *, at: float) -> list[str]:
    """End what is over: expired files and uploads, snapshots of ended jobs, requests that can no longer be retried.

    Answers with the blob keys that no row refers to any more.
    """
    keys = [row["blob_key"] for row in files.expire(connection, at)]
    keys += jobs.drop_spent_snapshots(connection)
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


async def sweep_artefacts(database: Database, blobs: DiskBlobs, *, before: float) -> int:
    """Remove what ended jobs published and no row refers to, and what hosts left half done; answers how many.

    A host may write for a while after its epoch was fenced: a folder counts as dead only when it last changed
    before `before`. Of jobs that go on, only the leftovers of earlier epochs go.
    """
    removed = 0
    for job_ids in _batches(await asyncio.to_thread(_names, blobs.path("jobs"))):
        # Read after the listing: an ended job gets no more rows, so what none refers to now none ever will.
        epochs = await database.read(partial(jobs.epochs, job_ids=job_ids))
        keys = await database.read(partial(jobs.artefact_keys, job_ids=job_ids))
        kept = {folder for key in keys for folder in blobs.path(key).parents}
        removed += await asyncio.to_thread(_clear, blobs.path("jobs"), epochs, kept=kept, before=before)
    return removed


def _clear(folder: Path, epochs: Mapping[str, tuple[int, bool]], *, kept: Set[Path], before: float) -> int:
    removed = 0
    for job_id, (epoch, is_over) in epochs.items():
        for path in (folder / job_id).glob("e*"):
            is_live = not is_over and path.name == f"e{epoch}"
            if is_live or _changed_at(path) >= before:
                continue
            if is_over and path not in kept:
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
            else:
                removed += sum(artefacts.sweep(parent) for parent in (path, *_folders(path)))
        if is_over:
            with suppress(OSError):  # not empty, or gone
                (folder / job_id).rmdir()
    return removed


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _batches(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + JOBS_PER_QUERY] for start in range(0, len(names), JOBS_PER_QUERY))


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def _changed_at(folder: Path) -> float:
    """When something was last begun or published in an epoch's folder, or written into a half-done artefact."""
    try:
        inner = [deeper for path in _folders(folder) for deeper in (path, *path.iterdir())]
        return max(path.stat().st_mtime for path in (folder, *inner))
    except FileNotFoundError:
        return math.inf  # renamed under our eyes


async def sweep_and_rest(database: Database, blobs: DiskBlobs) -> None:
    """One sweep, then a pause: the runner repeats it for as long as it lives."""
    keys = await database.write(lambda connection: sweep(connection, at=time.time()))
    for key in keys:
        blobs.delete(key)
    if keys:
        log.info("removed what had expired", blobs=len(keys))
    sweep_unfinished(blobs, before=time.time() - UNFINISHED_SECONDS_MAX)
    await sweep_artefacts(database, blobs, before=time.time() - ARTEFACTS_KEPT_SECONDS)
    await asyncio.sleep(SWEEP_SECONDS)
