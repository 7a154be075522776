"""Space comes back: expired files and uploads lose their bytes, and their rows say so."""

import os
import time
from pathlib import Path

from tunery import ids
from tunery.blobs.disk import DiskBlobs
from tunery.runner.sweeping import sweep, sweep_unfinished
from tunery.store import files, models, uploads
from tunery.store.database import Connection, Database
from tunery.store.schema import DEFAULT_PROJECT

NOW = int(time.time())


def add_file(connection: Connection, *, expires_at: int | None) -> str:
    file_id = ids.file()
    files.add(
        connection,
        id=file_id,
        project_id=DEFAULT_PROJECT,
        purpose="batch",
        filename="a.jsonl",
        file_bytes=1,
        sha256="0",
        blob_key=f"files/{file_id}",
        created_at=NOW - 7200,
        expires_at=expires_at,
    )
    return file_id


def add_upload(connection: Connection, *, expires_at: int) -> str:
    upload_id = ids.upload()
    about = {"filename": "a", "purpose": "fine-tune", "mime_type": "text/jsonl", "file_bytes": 3}
    uploads.add(
        connection, id=upload_id, project_id=DEFAULT_PROJECT, created_at=NOW - 7200, expires_at=expires_at, **about
    )
    uploads.add_part(
        connection,
        id=ids.part(),
        project_id=DEFAULT_PROJECT,
        upload_id=upload_id,
        blob_key=f"uploads/{upload_id}/part",
        part_bytes=3,
        created_at=NOW,
    )
    return upload_id


def project(connection: Connection) -> None:
    models.ensure_project(connection, organization="local", at=NOW)


def test_sweep_ends_expired_files_and_keeps_others(database: Database) -> None:
    database.write_now(project)
    gone = database.write_now(lambda each: add_file(each, expires_at=NOW - 1))
    kept = [database.write_now(lambda each, at=at: add_file(each, expires_at=at)) for at in (NOW + 3600, None)]
    assert database.write_now(lambda each: sweep(each, at=NOW)) == [f"files/{gone}"]
    assert database.write_now(lambda each: sweep(each, at=NOW)) == []
    for file_id in kept:
        assert database.read_now(lambda each, id=file_id: files.get(each, project_id=DEFAULT_PROJECT, file_id=id))


def test_expired_file_is_gone_for_users_before_it_is_swept(database: Database) -> None:
    database.write_now(project)
    file_id = database.write_now(lambda each: add_file(each, expires_at=NOW - 1))
    assert database.read_now(lambda each: files.get(each, project_id=DEFAULT_PROJECT, file_id=file_id)) is None


def test_sweep_expires_pending_uploads_with_their_parts(database: Database) -> None:
    database.write_now(project)
    old = database.write_now(lambda each: add_upload(each, expires_at=NOW - 1))
    new = database.write_now(lambda each: add_upload(each, expires_at=NOW + 3600))
    assert database.write_now(lambda each: sweep(each, at=NOW)) == [f"uploads/{old}/part"]
    rows = [
        database.read_now(lambda each, id=upload: uploads.get(each, project_id=DEFAULT_PROJECT, upload_id=id))
        for upload in (old, new)
    ]
    assert [row["status"] for row in rows if row] == ["expired", "pending"]


def test_sweep_unfinished_removes_only_old_leftovers(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path)
    folder = tmp_path / "tmp"
    folder.mkdir()
    for name, age_seconds in (("old", 100), ("new", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (NOW - age_seconds, NOW - age_seconds))
    sweep_unfinished(blobs, before=NOW - 50)
    assert [path.name for path in folder.iterdir()] == ["new"]
