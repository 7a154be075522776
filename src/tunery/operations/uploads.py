"""Uploads in parts: create, add a part, complete, cancel. They expire an hour after their creation."""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

from tunery import ids
from tunery.blobs.disk import BlobWriter
from tunery.errors import InvalidRequest, NotFound
from tunery.operations import files
from tunery.operations.access import Caller, Context
from tunery.store import uploads as rows
from tunery.store.database import Connection, Row
from tunery.types.uploads import EXPIRES_SECONDS, CompleteUpload, CreateUpload, part_object, upload_object

COPY_BYTES = 1 << 20


async def create(context: Context, caller: Caller, request: CreateUpload) -> dict[str, Any]:
    files.require_purpose(request.purpose)
    now = int(time.time())
    values = {
        "id": ids.upload(),
        "project_id": caller.project_id,
        "filename": request.filename,
        "purpose": request.purpose,
        "mime_type": request.mime_type,
        "file_bytes": request.file_bytes,
        "created_at": now,
        "expires_at": now + EXPIRES_SECONDS,
        "file_expires_seconds": request.expires_after.seconds if request.expires_after else None,
    }
    return upload_object(await context.database.write(lambda connection: rows.add(connection, **values)))


async def add_part(context: Context, caller: Caller, upload_id: str, content: BlobWriter) -> dict[str, Any]:
    """Parts may arrive in parallel and in any order; completion puts them in order."""
    await _require_pending(context, caller, upload_id)
    part_id = ids.part()
    key = f"uploads/{upload_id}/{part_id}"
    part_bytes = content.file_bytes
    await asyncio.to_thread(content.commit, key)

    def change(connection: Connection) -> Row:
        _pending(connection, caller, upload_id)
        owner = {"project_id": caller.project_id, "upload_id": upload_id}
        return rows.add_part(
            connection, id=part_id, blob_key=key, part_bytes=part_bytes, created_at=int(time.time()), **owner
        )

    return part_object(await context.database.write(change))


async def complete(context: Context, caller: Caller, upload_id: str, request: CompleteUpload) -> dict[str, Any]:
    """Join the parts in the given order into a file. The upload stays pending when anything does not fit."""
    row = await _require_pending(context, caller, upload_id)
    known = await context.database.read(lambda connection: rows.parts(connection, upload_id))
    missing = next((part_id for part_id in request.part_ids if part_id not in known), None)
    if missing is not None:
        raise InvalidRequest(f"The part '{missing}' does not belong to this upload.", param="part_ids")
    chosen = [known[part_id] for part_id in request.part_ids]
    total = sum(part["part_bytes"] for part in chosen)
    if total != row["file_bytes"]:
        raise InvalidRequest(
            f"The parts have {total} bytes together, but the upload was created for {row['file_bytes']}.",
            param="part_ids",
        )
    content = context.blobs.create()
    paths = [context.blobs.path(part["blob_key"]) for part in chosen]
    try:
        digest = await asyncio.to_thread(_join, paths, content)
        if request.md5 is not None and request.md5.lower() != digest:
            raise InvalidRequest(f"The file's MD5 is {digest}, not {request.md5}.", param="md5")
        file, garbage = await _finish(context, caller, row, content)
    finally:
        content.discard()
    for key in garbage:
        context.blobs.delete(key)
    ended = await context.database.read(
        lambda connection: rows.get(connection, project_id=caller.project_id, upload_id=upload_id)
    )
    assert ended is not None
    return upload_object(ended, file=file)


async def cancel(context: Context, caller: Caller, upload_id: str) -> dict[str, Any]:
    def change(connection: Connection) -> tuple[Row, list[str]]:
        _pending(connection, caller, upload_id)
        ended = rows.end(connection, project_id=caller.project_id, upload_id=upload_id, status="cancelled")
        assert ended is not None
        return ended, rows.drop_parts(connection, upload_id)

    row, garbage = await context.database.write(change)
    for key in garbage:
        context.blobs.delete(key)
    return upload_object(row)


async def _finish(context: Context, caller: Caller, row: Row, content: BlobWriter) -> tuple[dict[str, Any], list[str]]:
    """The file and the end of the upload in one transaction: of two completions at once only one succeeds."""
    values = files.describe(
        caller,
        content,
        filename=row["filename"],
        purpose=row["purpose"],
        created_at=row["created_at"],
        expires_seconds=row["file_expires_seconds"],
    )
    await asyncio.to_thread(content.commit, values["blob_key"])

    def change(connection: Connection) -> tuple[dict[str, Any], list[str]]:
        _pending(connection, caller, row["id"])
        file = files.enter(connection, values)
        rows.end(
            connection, project_id=caller.project_id, upload_id=row["id"], status="completed", file_id=values["id"]
        )
        return file, rows.drop_parts(connection, row["id"])

    return await context.database.write(change)


async def _require_pending(context: Context, caller: Caller, upload_id: str) -> Row:
    return await context.database.read(lambda connection: _pending(connection, caller, upload_id))


def _pending(connection: Connection, caller: Caller, upload_id: str) -> Row:
    row = rows.get(connection, project_id=caller.project_id, upload_id=upload_id)
    if row is None:
        raise NotFound(f"No such Upload object: {upload_id}", param="id")
    expired = row["status"] == "pending" and row["expires_at"] <= time.time()
    if row["status"] != "pending" or expired:
        status = "expired" if expired else row["status"]
        raise InvalidRequest(f"Upload {upload_id} is {status} and takes no changes.", param="id")
    return row


def _join(paths: list[Path], content: BlobWriter) -> str:
    """Copy the parts one behind the other; the whole file's MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in paths:
        with path.open("rb") as part:
            while chunk := part.read(COPY_BYTES):
                content.write(chunk)
                digest.update(chunk)
    return digest.hexdigest()
