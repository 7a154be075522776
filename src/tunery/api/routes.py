"""Every endpoint on one page, each one call to an operation."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from tunery import __version__
from tunery.api import parsing
from tunery.api.multipart import read_form
from tunery.errors import ApiError, ServerStopping, Unavailable
from tunery.observability import logger
from tunery.operations import (
    access,
    chat,
    completions,
    files,
    fine_tuning,
    history,
    keys,
    models,
    permissions,
    responses,
    uploads,
)
from tunery.serving.answers import Served
from tunery.types.chat import CreateChatCompletion
from tunery.types.completions import CreateCompletion
from tunery.types.files import FILE_BYTES_MAX, ExpiresAfter
from tunery.types.fine_tuning import CreateJob, CreatePermissions, UpdateJob
from tunery.types.lists import CheckpointsQuery, FilesQuery, JobsQuery, ListQuery, PermissionsQuery
from tunery.types.responses import CreateResponse
from tunery.types.uploads import PART_BYTES_MAX, CompleteUpload, CreateUpload

Endpoint = Callable[[Request], Awaitable[Response]]
EVENT_STREAM = "text/event-stream; charset=utf-8"
WEIGHTS_HEADER = "x-tunery-weights-sha256"
PREFIXES = ("/v1", "", "/openai/v1", "/openai")
log = logger("api")


def answer(value: Any, *, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def _context(request: Request) -> access.Context:
    return request.app.state.context


def _caller(request: Request) -> access.Caller:
    return request.state.caller


def _identified(endpoint: Endpoint) -> Endpoint:
    """The endpoint behind the door: who asks is settled before a byte of the body is read."""

    async def enter(request: Request) -> Response:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        secret = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("api-key")
        request.state.caller = await keys.identify(_context(request), secret)
        return await endpoint(request)

    return enter


async def create_job(request: Request) -> Response:
    data = await parsing.raw_body(request)
    wanted = parsing.validate(CreateJob, parsing.json_object(data))
    repeat = fine_tuning.Repeat(
        key=request.headers.get("idempotency-key"),
        body_sha256=hashlib.sha256(data).hexdigest(),
        is_retry=request.headers.get("x-stainless-retry-count", "0") != "0",
    )
    return answer(await fine_tuning.create(_context(request), _caller(request), wanted, repeat=repeat))


async def list_jobs(request: Request) -> Response:
    query = parsing.query(request, JobsQuery)
    return answer(await fine_tuning.listing(_context(request), _caller(request), query))


async def retrieve_job(request: Request) -> Response:
    return answer(await fine_tuning.retrieve(_context(request), _caller(request), _job_id(request)))


async def update_job(request: Request) -> Response:
    wanted = await parsing.body(request, UpdateJob)
    return answer(await fine_tuning.update(_context(request), _caller(request), _job_id(request), wanted))


async def cancel_job(request: Request) -> Response:
    return answer(await fine_tuning.cancel(_context(request), _caller(request), _job_id(request)))


async def pause_job(request: Request) -> Response:
    return answer(await fine_tuning.pause(_context(request), _caller(request), _job_id(request)))


async def resume_job(request: Request) -> Response:
    return answer(await fine_tuning.resume(_context(request), _caller(request), _job_id(request)))


async def list_events(request: Request) -> Response:
    """A page, or a stream where the client asks for one."""
    if "text/event-stream" in request.headers.get("accept", ""):
        last = request.headers.get("last-event-id") or request.query_params.get("starting_after")
        followed = await history.stream_events(
            _context(request), _caller(request), _job_id(request), last_event_id=last
        )
        return StreamingResponse(_numbered(followed), media_type=EVENT_STREAM)
    query = parsing.query(request, ListQuery)
    return answer(await history.list_events(_context(request), _caller(request), _job_id(request), query))


async def list_checkpoints(request: Request) -> Response:
    query = parsing.query(request, CheckpointsQuery)
    page = await history.list_checkpoints(_context(request), _caller(request), _job_id(request), query)
    return answer(page)


async def list_permissions(request: Request) -> Response:
    query = parsing.query(request, PermissionsQuery)
    page = await permissions.listing(_context(request), _caller(request), request.path_params["model"], query)
    return answer(page)


async def create_permissions(request: Request) -> Response:
    wanted = await parsing.body(request, CreatePermissions)
    made = await permissions.create(_context(request), _caller(request), request.path_params["model"], wanted)
    return answer(made)


async def delete_permission(request: Request) -> Response:
    model, permission_id = request.path_params["model"], request.path_params["permission_id"]
    return answer(await permissions.delete(_context(request), _caller(request), model, permission_id))


async def create_file(request: Request) -> Response:
    context = _context(request)
    form = await read_form(request, context.blobs, file_field="file", file_bytes_max=FILE_BYTES_MAX)
    assert form.file is not None
    try:
        created = await files.create(
            context,
            _caller(request),
            content=form.file,
            filename=form.filename,
            purpose=form.fields.get("purpose"),
            expires_after=_expires_after(form.fields),
        )
    finally:
        form.file.discard()
    return answer(created)


async def list_files(request: Request) -> Response:
    query = parsing.query(request, FilesQuery)
    return answer(await files.listing(_context(request), _caller(request), query))


async def retrieve_file(request: Request) -> Response:
    return answer(await files.retrieve(_context(request), _caller(request), _file_id(request)))


async def delete_file(request: Request) -> Response:
    return answer(await files.delete(_context(request), _caller(request), _file_id(request)))


async def file_content(request: Request) -> Response:
    wants_csv = "text/csv" in request.headers.get("accept", "") or request.query_params.get("encoding") == "csv"
    # Azure sends result files as they are, and clients of its dialect expect that.
    plain = wants_csv or request.url.path.startswith("/openai/")
    filename, chunks = await files.content(_context(request), _caller(request), _file_id(request), plain=plain)
    disposition = {"content-disposition": f"attachment; filename*=UTF-8''{quote(filename)}"}
    return StreamingResponse(chunks, media_type="application/octet-stream", headers=disposition)


async def create_upload(request: Request) -> Response:
    wanted = await parsing.body(request, CreateUpload)
    return answer(await uploads.create(_context(request), _caller(request), wanted))


async def add_upload_part(request: Request) -> Response:
    context = _context(request)
    form = await read_form(request, context.blobs, file_field="data", file_bytes_max=PART_BYTES_MAX)
    assert form.file is not None
    try:
        part = await uploads.add_part(context, _caller(request), _upload_id(request), form.file)
    finally:
        form.file.discard()
    return answer(part)


async def complete_upload(request: Request) -> Response:
    wanted = await parsing.body(request, CompleteUpload)
    return answer(await uploads.complete(_context(request), _caller(request), _upload_id(request), wanted))


async def cancel_upload(request: Request) -> Response:
    return answer(await uploads.cancel(_context(request), _caller(request), _upload_id(request)))


async def list_models(request: Request) -> Response:
    return answer(await models.listing(_context(request), _caller(request)))


async def retrieve_model(request: Request) -> Response:
    return answer(await models.retrieve(_context(request), _caller(request), request.path_params["model"]))


async def delete_model(request: Request) -> Response:
    return answer(await models.delete(_context(request), _caller(request), request.path_params["model"]))


def _proven(response: Response, served: Served) -> Response:
    """Say which weights answered: the base's digest, then the adapter's."""
    response.headers[WEIGHTS_HEADER] = served.weights
    return response


async def create_chat_completion(request: Request) -> Response:
    wanted = await parsing.body(request, CreateChatCompletion)
    context = _context(request)
    served = await chat.find_served(context, _caller(request), wanted.model)
    if not wanted.stream:
        return _proven(answer(await chat.create(context, served, wanted)), served)
    events = _server_sent(await chat.stream(context, served, wanted))
    return _proven(StreamingResponse(events, media_type=EVENT_STREAM), served)


async def create_completion(request: Request) -> Response:
    wanted = await parsing.body(request, CreateCompletion)
    context = _context(request)
    served = await chat.find_served(context, _caller(request), wanted.model)
    if not wanted.stream:
        return _proven(answer(await completions.create(context, served, wanted)), served)
    events = _server_sent(await completions.stream(context, served, wanted))
    return _proven(StreamingResponse(events, media_type=EVENT_STREAM), served)


async def create_response(request: Request) -> Response:
    wanted = await parsing.body(request, CreateResponse)
    context = _context(request)
    served = await chat.find_served(context, _caller(request), wanted.model)
    if not wanted.stream:
        return _proven(answer(await responses.create(context, served, wanted)), served)
    events = _typed(await responses.stream(context, served, wanted))
    return _proven(StreamingResponse(events, media_type=EVENT_STREAM), served)


async def not_built(request: Request) -> Response:
    raise Unavailable(
        f"{request.method} {request.url.path} is part of the API but not available in Tunery {__version__} yet.",
        code="not_available_yet",
    )


async def root(request: Request) -> Response:
    """Some clients ask the base URL first, to see that a server is up."""
    return answer({"object": "server", "name": "tunery", "version": __version__})


async def organization(request: Request) -> Response:
    return answer({"id": _caller(request).organization_id})


async def live(request: Request) -> Response:
    return answer({"status": "ok"})


async def ready(request: Request) -> Response:
    """Whether requests can be served; with `?model=`, whether the model is in memory too."""
    told = await chat.readiness(_context(request), request.query_params.get("model"))
    return answer(told, status=200 if told["status"] == "ready" else 503)


ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", "/fine_tuning/jobs", create_job),
    ("GET", "/fine_tuning/jobs", list_jobs),
    ("GET", "/fine_tuning/jobs/{job_id}", retrieve_job),
    ("POST", "/fine_tuning/jobs/{job_id}", update_job),
    ("POST", "/fine_tuning/jobs/{job_id}/cancel", cancel_job),
    ("POST", "/fine_tuning/jobs/{job_id}/pause", pause_job),
    ("POST", "/fine_tuning/jobs/{job_id}/resume", resume_job),
    ("GET", "/fine_tuning/jobs/{job_id}/events", list_events),
    ("GET", "/fine_tuning/jobs/{job_id}/checkpoints", list_checkpoints),
    ("GET", "/fine_tuning/checkpoints/{model:path}/permissions", list_permissions),
    ("POST", "/fine_tuning/checkpoints/{model:path}/permissions", create_permissions),
    ("DELETE", "/fine_tuning/checkpoints/{model:path}/permissions/{permission_id}", delete_permission),
    ("POST", "/fine_tuning/alpha/graders/run", not_built),
    ("POST", "/fine_tuning/alpha/graders/validate", not_built),
    ("POST", "/files", create_file),
    ("GET", "/files", list_files),
    ("GET", "/files/{file_id}", retrieve_file),
    ("DELETE", "/files/{file_id}", delete_file),
    ("GET", "/files/{file_id}/content", file_content),
    ("POST", "/uploads", create_upload),
    ("POST", "/uploads/{upload_id}/parts", add_upload_part),
    ("POST", "/uploads/{upload_id}/complete", complete_upload),
    ("POST", "/uploads/{upload_id}/cancel", cancel_upload),
    ("GET", "/models", list_models),
    ("GET", "/models/{model:path}", retrieve_model),
    ("DELETE", "/models/{model:path}", delete_model),
    ("POST", "/chat/completions", create_chat_completion),
    ("POST", "/completions", create_completion),
    ("POST", "/responses", create_response),
    ("GET", "/chat/completions", not_built),
    ("GET", "/chat/completions/{completion_id}", not_built),
    ("DELETE", "/chat/completions/{completion_id}", not_built),
    ("POST", "/batches", not_built),
    ("GET", "/batches", not_built),
    ("GET", "/batches/{batch_id}", not_built),
    ("POST", "/batches/{batch_id}/cancel", not_built),
    ("GET", "/webhook_endpoints", not_built),
    ("POST", "/webhook_endpoints", not_built),
    ("GET", "/webhook_event_types", not_built),
    ("GET", "/organization", organization),
    ("GET", "", root),
)


def routes() -> list[BaseRoute]:
    """The endpoints under every prefix that clients use, and the health probes."""
    probes: list[BaseRoute] = [
        Route("/livez", live, methods=["GET"]),
        Route("/healthz", ready, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/health", ready, methods=["GET"]),
    ]
    return probes + [
        Route(f"{prefix}{path}" or "/", _identified(endpoint), methods=[method])
        for prefix in PREFIXES
        for method, path, endpoint in ENDPOINTS
    ]


def _job_id(request: Request) -> str:
    return request.path_params["job_id"]


def _upload_id(request: Request) -> str:
    return request.path_params["upload_id"]


def _file_id(request: Request) -> str:
    return request.path_params["file_id"]


def _expires_after(fields: dict[str, str]) -> ExpiresAfter | None:
    nested = {
        key[len("expires_after[") : -1]: value for key, value in fields.items() if key.startswith("expires_after[")
    }
    return parsing.validate(ExpiresAfter, nested) if nested else None


async def _numbered(events: AsyncIterator[tuple[int, dict[str, Any]]]) -> AsyncIterator[bytes]:
    """Job events as server-sent events whose ids let a client go on where it was cut off."""
    try:
        async for seq, event in events:
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, event["object"].encode(), orjson.dumps(event))
    except ServerStopping:
        # Without the end mark: the client comes back with the last id it saw.
        return
    yield b"data: [DONE]\n\n"


async def _typed(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Events that carry their type in the stream as well. A failure on the way is an event too."""
    number = 0
    try:
        async for event in events:
            number = event["sequence_number"]
            yield b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event))
    except ApiError as error:
        log.warning("a stream ended early", error=error.message)
        told = {"type": "error", "sequence_number": number + 1} | error.body()["error"]
        yield b"event: error\ndata: %s\n\n" % orjson.dumps(told)


async def _server_sent(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    """Chunks as server-sent events. A failure after the first byte ends the stream with an error event."""
    try:
        async for chunk in chunks:
            yield b"data: " + orjson.dumps(chunk) + b"\n\n"
    except ApiError as error:
        log.warning("a stream ended early", error=error.message)
        yield b"data: " + orjson.dumps(error.body()) + b"\n\n"
        return
    yield b"data: [DONE]\n\n"
