"""Fine-tuning jobs: create, retrieve, list, update, cancel, pause, resume."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from tunery import ids
from tunery.errors import InvalidRequest, JobNotFound, Unavailable
from tunery.lifecycle import TERMINAL, Desired, Status
from tunery.operations.access import Caller, Context
from tunery.store import events, files, jobs, models
from tunery.store.database import Connection, Row
from tunery.store.events import Event
from tunery.types.fine_tuning import CreateJob, UpdateJob, job_object
from tunery.types.lists import JobsQuery, list_object

SEED_MAX = 2_147_483_647
RETRY_SECONDS_MAX = 600.0


@dataclass(frozen=True)
class Repeat:
    """How a request may be recognised when it comes again."""

    key: str | None
    """The client's Idempotency-Key."""
    body_sha256: str
    is_retry: bool
    """An SDK says that it sends this body again, having got no answer."""


async def create(
    context: Context, caller: Caller, request: CreateJob, *, repeat: Repeat | None = None
) -> dict[str, Any]:
    """Accept a job. What the files contain is checked afterwards and fails the job, not the request.

    A request that came before, as `repeat` tells, answers with the job that it made then.
    """
    if request.method_type != "supervised":
        raise Unavailable(
            f"The method '{request.method_type}' is not available in this version of Tunery; 'supervised' is.",
            code="method_not_available",
            param="method.type",
        )
    job_id = ids.job()
    now = int(time.time())

    def change(connection: Connection) -> dict[str, Any]:
        made = _made_before(connection, caller, repeat)
        if made is not None:
            return _wire(connection, caller, [require(connection, caller, made)])[0]
        base_id, parent_id = _resolve_model(connection, caller, context.resolve(request.model))
        _require_file(connection, caller, "training_file", request.training_file)
        if request.validation_file is not None:
            _require_file(connection, caller, "validation_file", request.validation_file)
        jobs.add(
            connection,
            id=job_id,
            project_id=caller.project_id,
            created_at=now,
            status=Status.VALIDATING_FILES,
            model=parent_id or base_id,
            base_id=base_id,
            training_file=request.training_file,
            validation_file=request.validation_file,
            suffix=request.suffix,
            seed=secrets.randbelow(SEED_MAX) if request.seed is None else request.seed,
            method=request.method_type,
            method_settings={"tunery": request.tunery.model_dump(exclude_none=True)} if request.tunery else None,
            **_requested(request),
        )
        if parent_id is not None:
            jobs.add_parent(connection, project_id=caller.project_id, job_id=job_id, model_id=parent_id)
        jobs.set_metadata(connection, project_id=caller.project_id, job_id=job_id, pairs=request.metadata or {})
        integrations = [{"type": each.type} | each.wandb.model_dump() for each in request.integrations or []]
        jobs.add_integrations(connection, project_id=caller.project_id, job_id=job_id, integrations=integrations)
        events.append(connection, job_id, _first_events(job_id, request), at=now)
        _remember(connection, caller, repeat, job_id)
        return _wire(connection, caller, [require(connection, caller, job_id)])[0]

    return await context.database.write(change)


async def retrieve(context: Context, caller: Caller, job_id: str) -> dict[str, Any]:
    def query(connection: Connection) -> dict[str, Any]:
        return _wire(connection, caller, [require(connection, caller, job_id)])[0]

    return await context.database.read(query)


async def listing(context: Context, caller: Caller, query: JobsQuery) -> dict[str, Any]:
    def read(connection: Connection) -> dict[str, Any]:
        page = jobs.listing(
            connection,
            project_id=caller.project_id,
            after=query.after,
            limit=query.limit,
            metadata=query.metadata if isinstance(query.metadata, dict) else None,
            without_metadata=query.metadata == "null",
            created_after=query.created_after,
            created_before=query.created_before,
            status=query.status,
            model=query.model,
            suffix=query.suffix,
        )
        return list_object(_wire(connection, caller, page.rows), has_more=page.has_more, with_ids=False)

    return await context.database.read(read)


async def update(context: Context, caller: Caller, job_id: str, request: UpdateJob) -> dict[str, Any]:
    """Replace the metadata, in any state of the job."""

    def change(connection: Connection) -> dict[str, Any]:
        row = require(connection, caller, job_id)
        jobs.set_metadata(connection, project_id=caller.project_id, job_id=job_id, pairs=request.metadata or {})
        return _wire(connection, caller, [row])[0]

    return await context.database.write(change)


async def cancel(context: Context, caller: Caller, job_id: str) -> dict[str, Any]:
    """Terminal at once: the raised epoch shuts out whoever still computes. `finished_at` stays null, as recorded."""

    def change(connection: Connection) -> dict[str, Any]:
        row = _lock(connection, caller, job_id)
        if row["status"] == Status.CANCELLED:
            return _wire(connection, caller, [row])[0]
        moved = jobs.move(connection, job_id, Status.CANCELLED, fence=True)
        if moved is None:
            raise _conflict("cancel", row)
        events.append(connection, job_id, [Event("The job was cancelled")], at=time.time())
        return _wire(connection, caller, [moved])[0]

    return await context.database.write(change)


async def pause(context: Context, caller: Caller, job_id: str) -> dict[str, Any]:
    """A waiting job pauses at once; a running one at its next optimizer step, with a snapshot."""

    def change(connection: Connection) -> dict[str, Any]:
        row = _lock(connection, caller, job_id)
        if row["status"] in TERMINAL:
            raise _conflict("pause", row)
        if row["status"] != Status.PAUSED:
            jobs.change(connection, job_id, desired_state=Desired.PAUSE)
            if row["status"] != Status.RUNNING:
                jobs.move(connection, job_id, Status.PAUSED, fence=True, paused_at=int(time.time()))
                events.append(connection, job_id, [Event("The job was paused")], at=time.time())
        return _wire(connection, caller, [require(connection, caller, job_id)])[0]

    return await context.database.write(change)


async def resume(context: Context, caller: Caller, job_id: str) -> dict[str, Any]:
    """Back into the queue; training goes on from the snapshot."""

    def change(connection: Connection) -> dict[str, Any]:
        row = _lock(connection, caller, job_id)
        if row["status"] in TERMINAL:
            raise _conflict("resume", row)
        jobs.change(connection, job_id, desired_state=Desired.RUN)
        if row["status"] == Status.PAUSED:
            waiting = Status.QUEUED if row["spec"] else Status.VALIDATING_FILES
            jobs.move(connection, job_id, waiting, paused_at=None)
            events.append(connection, job_id, [Event("The job was resumed")], at=time.time())
        return _wire(connection, caller, [require(connection, caller, job_id)])[0]

    return await context.database.write(change)


def _made_before(connection: Connection, caller: Caller, repeat: Repeat | None) -> str | None:
    """The job that this very request made before, if it did. Raises InvalidRequest for a key used for another body."""
    if repeat is None:
        return None
    if repeat.key is not None:
        known = jobs.request(connection, project_id=caller.project_id, key=f"key:{repeat.key}")
        if known is not None and known["body_sha256"] != repeat.body_sha256:
            raise InvalidRequest(
                "This Idempotency-Key was used for a request with other parameters.", code="idempotency_key_reused"
            )
        return known["job_id"] if known is not None else None
    known = jobs.request(connection, project_id=caller.project_id, key=f"body:{repeat.body_sha256}")
    is_fresh = known is not None and time.time() - known["created_at"] < RETRY_SECONDS_MAX
    return known["job_id"] if known is not None and is_fresh and repeat.is_retry else None


def _remember(connection: Connection, caller: Caller, repeat: Repeat | None, job_id: str) -> None:
    if repeat is None:
        return
    keys = [f"body:{repeat.body_sha256}"] + ([f"key:{repeat.key}"] if repeat.key is not None else [])
    for key in keys:
        values = {"body_sha256": repeat.body_sha256, "job_id": job_id, "created_at": time.time()}
        jobs.put_request(connection, project_id=caller.project_id, key=key, **values)


def _requested(request: CreateJob) -> dict[str, Any]:
    asked = request.requested
    given = {name: getattr(asked, name) for name in ("n_epochs", "batch_size", "learning_rate_multiplier")}
    return {f"requested_{name}": None if value == "auto" else value for name, value in given.items()}


def _first_events(job_id: str, request: CreateJob) -> list[Event]:
    validating = f"Validating training file: {request.training_file}"
    if request.validation_file is not None:
        validating += f" and validation file: {request.validation_file}"
    told = [Event(f"Created fine-tuning job: {job_id}"), Event(validating)]
    for integration in request.integrations or []:
        message = f"The integration {integration.type} is stored with the job, but nothing is sent to it yet"
        told.append(Event(message, level="warn"))
    return told


def _resolve_model(connection: Connection, caller: Caller, name: str) -> tuple[str, str | None]:
    """The base and, where a tuned model is named, the model to start from."""
    if models.base(connection, name) is not None:
        return name, None
    tuned = models.get(connection, project_id=caller.project_id, model_id=name)
    if tuned is not None:
        return tuned["base_id"], tuned["id"]
    raise InvalidRequest(
        f"Model {name} is not available for fine-tuning or does not exist.", code="model_not_available"
    )


def _require_file(connection: Connection, caller: Caller, param: str, file_id: str) -> None:
    row = files.get(connection, project_id=caller.project_id, file_id=file_id)
    if row is None:
        raise InvalidRequest(f"invalid {param}: {file_id}", param=param)
    if row["purpose"] != "fine-tune":
        raise InvalidRequest(
            f"invalid {param}: {file_id} has the purpose '{row['purpose']}'; upload it with purpose 'fine-tune'",
            param=param,
        )


def require(connection: Connection, caller: Caller, job_id: str) -> Row:
    row = jobs.get(connection, job_id, project_id=caller.project_id)
    if row is None:
        raise JobNotFound(job_id)
    return row


def _lock(connection: Connection, caller: Caller, job_id: str) -> Row:
    row = jobs.get_locked(connection, job_id, project_id=caller.project_id)
    if row is None:
        raise JobNotFound(job_id)
    return row


def _conflict(verb: str, row: Row) -> InvalidRequest:
    return InvalidRequest(f"Job {row['id']} is already {row['status']}; there is nothing to {verb}.", code="job_ended")


def _wire(connection: Connection, caller: Caller, rows: Any) -> list[dict[str, Any]]:
    attached = jobs.Attachments(connection, [row["id"] for row in rows]) if rows else None
    return [
        job_object(
            row,
            organization_id=caller.organization_id,
            result_files=attached.result_files.get(row["id"], ()),
            integrations=attached.integrations.get(row["id"], ()),
            metadata=attached.metadata.get(row["id"]),
        )
        for row in rows
        if attached is not None
    ]
