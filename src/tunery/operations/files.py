"""Files: upload, list, retrieve, content, delete."""

import asyncio
import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery import ids
from tunery.blobs.disk import BlobWriter
from tunery.data.validation import first_line_problem
from tunery.errors import FileNotFound, InvalidFileUpload
from tunery.operations.access import Caller, Context
from tunery.store import files as rows
from tunery.store.database import Connection
from tunery.types.files import PURPOSES, RESULTS_PURPOSE, ExpiresAfter, file_deleted, file_object
from tunery.types.lists import FilesQuery, list_object

SNIFF_BYTES = 1 << 16
CHUNK_BYTES = 1 << 18
BATCH_EXPIRES_SECONDS = 30 * 24 * 3600


async def create(
    context: Context,
    caller: Caller,
    *,
    content: BlobWriter,
    filename: str,
    purpose: str | None,
    expires_after: ExpiresAfter | None,
) -> dict[str, Any]:
    """Enter uploaded bytes as a file. A training file must begin like JSONL; its rows are read when a job starts."""
    purpose = require_purpose(purpose)
    values = describe(
        caller,
        content,
        filename=filename,
        purpose=purpose,
        created_at=int(time.time()),
        expires_seconds=expires_after.seconds if expires_after else None,
    )
    await asyncio.to_thread(content.commit, values["blob_key"])
    return await context.database.write(lambda connection: enter(connection, values))


def require_purpose(purpose: str | None) -> str:
    """The purpose, if files can be uploaded for it. Raises InvalidFileUpload in the recorded wording."""
    if purpose is None:
        raise InvalidFileUpload("'purpose' is a required property", param="purpose")
    if purpose not in PURPOSES:
        raise InvalidFileUpload(f"'{purpose}' is not one of {list(PURPOSES)} - 'purpose'", param="purpose")
    return purpose


def describe(
    caller: Caller,
    content: BlobWriter,
    *,
    filename: str,
    purpose: str,
    created_at: int,
    expires_seconds: int | None,
) -> dict[str, Any]:
    """The row of a new file; `content` is to be committed under its `blob_key` before the row is entered."""
    if purpose == "fine-tune":
        with content.path.open("rb") as head:
            problem = first_line_problem(head.read(SNIFF_BYTES), is_whole=content.file_bytes <= SNIFF_BYTES)
        if problem is not None:
            raise InvalidFileUpload(problem)
    file_id = ids.file()
    if expires_seconds is None and purpose == "batch":
        expires_seconds = BATCH_EXPIRES_SECONDS
    return {
        "id": file_id,
        "project_id": caller.project_id,
        "purpose": purpose,
        "filename": filename,
        "file_bytes": content.file_bytes,
        "sha256": content.sha256,
        "blob_key": f"files/{caller.project_id}/{file_id}",
        "created_at": created_at,
        "expires_at": None if expires_seconds is None else created_at + expires_seconds,
    }


def enter(connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
    """Store a described file in the caller's transaction."""
    return file_object(rows.add(connection, **values))


async def retrieve(context: Context, caller: Caller, file_id: str) -> dict[str, Any]:
    return file_object(await _find(context, caller, file_id))


async def listing(context: Context, caller: Caller, query: FilesQuery) -> dict[str, Any]:
    page = await context.database.read(
        lambda connection: rows.listing(
            connection,
            project_id=caller.project_id,
            purpose=query.purpose,
            after=query.after,
            limit=query.limit,
            ascending=query.order == "asc",
        )
    )
    return list_object([file_object(row) for row in page.rows], has_more=page.has_more)


async def delete(context: Context, caller: Caller, file_id: str) -> dict[str, Any]:
    """The bytes are gone at once; a job that still needs them fails with `deleted_training_file`."""
    row = await context.database.write(
        lambda connection: rows.delete(connection, project_id=caller.project_id, file_id=file_id, at=int(time.time()))
    )
    if row is None:
        raise FileNotFound(file_id)
    context.blobs.delete(row["blob_key"])
    return file_deleted(file_id)


async def content(context: Context, caller: Caller, file_id: str, *, plain: bool) -> tuple[str, Iterator[bytes]]:
    """The file's name and bytes. Result files come as base64 text, as OpenAI sends them, unless `plain`."""
    row = await _find(context, caller, file_id)
    path = context.blobs.path(row["blob_key"])
    if not path.exists():
        raise FileNotFound(file_id)
    if row["purpose"] == RESULTS_PURPOSE and not plain:
        return row["filename"], iter([base64.b64encode(path.read_bytes())])
    return row["filename"], _chunks(path)


async def _find(context: Context, caller: Caller, file_id: str) -> Any:
    row = await context.database.read(
        lambda connection: rows.get(connection, project_id=caller.project_id, file_id=file_id)
    )
    if row is None:
        raise FileNotFound(file_id)
    return row


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
