"""Strict-conformance mode: the fixed ids that OpenAI's own client test-suites use, answered again and again.

Those suites were written against a mock, which deletes nothing and ends nothing. With TUNERY_CONFORMANCE=true such ids
stand in front of the ordinary routes; everything else goes the ordinary way, on seeds that `seed` entered.
"""

import json
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tunery.api.routes import PREFIXES, answer
from tunery.blobs.disk import DiskBlobs
from tunery.lifecycle import Status
from tunery.operations import access, files, fine_tuning
from tunery.store import files as file_rows
from tunery.store import jobs
from tunery.store.database import Connection
from tunery.store.schema import DEFAULT_PROJECT
from tunery.types.files import file_deleted
from tunery.types.fine_tuning import permission_deleted, permission_object
from tunery.types.lists import list_object
from tunery.types.models import model_deleted
from tunery.types.uploads import part_object, upload_object

JOB_ID = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
FILE_IDS = ("file-abc123", "file_id")
UPLOAD_ID = "upload_abc123"
CHECKPOINT = "ft:gpt-4o-mini-2024-07-18:org:weather:B7R9VjQd"
DELETED_MODEL = "ft:gpt-4o-mini:acemeco:suffix:abc123"
MODELS = ("gpt-4o-mini", "gpt-6-astra", "gpt-3.5-turbo-instruct")
"""Names that stand for the default model."""


def seed(connection: Connection, blobs: DiskBlobs, *, base_id: str) -> None:
    """Enter the job and the files that the suites read; repeatable."""
    turns = [{"role": "user", "content": "Ready?"}, {"role": "assistant", "content": "Yes."}]
    content = (json.dumps({"messages": turns}) + "\n").encode() * 10
    now = int(time.time())
    for file_id in FILE_IDS:
        key = f"files/{DEFAULT_PROJECT}/{file_id}"
        sha256 = blobs.put(key, content)
        if file_rows.get(connection, project_id=DEFAULT_PROJECT, file_id=file_id) is None:
            file_rows.add(
                connection,
                id=file_id,
                project_id=DEFAULT_PROJECT,
                purpose="fine-tune",
                filename="seed.jsonl",
                file_bytes=len(content),
                sha256=sha256,
                blob_key=key,
                created_at=now,
            )
    if jobs.get(connection, JOB_ID) is None:
        jobs.add(
            connection,
            id=JOB_ID,
            project_id=DEFAULT_PROJECT,
            created_at=now,
            status=Status.CANCELLED,
            model=base_id,
            base_id=base_id,
            training_file=FILE_IDS[0],
            seed=42,
            method="supervised",
        )


def routes() -> list[BaseRoute]:
    """What stands in front of the ordinary routes."""
    paths = [
        (f"/fine_tuning/jobs/{JOB_ID}/{{verb}}", "POST", _job),
        *((f"/files/{file_id}", "DELETE", _delete_file) for file_id in FILE_IDS),
        (f"/models/{DELETED_MODEL}", "DELETE", _delete_model),
        (f"/uploads/{UPLOAD_ID}/{{verb}}", "POST", _upload),
        (f"/fine_tuning/checkpoints/{JOB_ID}/permissions", "GET", _list_permissions),
        (f"/fine_tuning/checkpoints/{CHECKPOINT}/permissions", "POST", _create_permissions),
        (f"/fine_tuning/checkpoints/{CHECKPOINT}/permissions/{{permission_id}}", "DELETE", _delete_permission),
    ]
    return [Route(prefix + path, endpoint, methods=[method]) for prefix in PREFIXES for path, method, endpoint in paths]


async def _job(request: Request) -> Response:
    """The seed can be cancelled, paused and resumed for ever."""
    context = request.app.state.context
    return answer(await fine_tuning.retrieve(context, access.anonymous(context), JOB_ID))


async def _delete_file(request: Request) -> Response:
    return answer(file_deleted(request.url.path.rpartition("/")[2]))


async def _delete_model(request: Request) -> Response:
    return answer(model_deleted(DELETED_MODEL))


async def _upload(request: Request) -> Response:
    now = int(time.time())
    if request.path_params["verb"] == "parts":
        return answer(part_object({"id": "part_abc123", "created_at": now, "upload_id": UPLOAD_ID}))
    completed = request.path_params["verb"] == "complete"
    row = {
        "id": UPLOAD_ID,
        "file_bytes": 0,
        "created_at": now,
        "filename": "filename",
        "purpose": "assistants",
        "status": "completed" if completed else "cancelled",
        "expires_at": now + 3600,
    }
    context = request.app.state.context
    file = await files.retrieve(context, access.anonymous(context), FILE_IDS[0]) if completed else None
    return answer(upload_object(row, file=file))


async def _list_permissions(request: Request) -> Response:
    return answer(list_object([], has_more=False))


async def _create_permissions(request: Request) -> Response:
    row = {"id": "cp_zc4Q7MP6XxulcVzj4MZdwsAB", "created_at": int(time.time()), "granted_project_id": "string"}
    return answer(list_object([permission_object(row)], has_more=False))


async def _delete_permission(request: Request) -> Response:
    return answer(permission_deleted(request.path_params["permission_id"]))
