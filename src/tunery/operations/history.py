"""What happened to a job: its events, as pages or as a stream, and its checkpoints."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from tunery.errors import InvalidRequest, ServerStopping
from tunery.lifecycle import TERMINAL
from tunery.operations.access import Caller, Context
from tunery.operations.fine_tuning import require
from tunery.store import events, jobs
from tunery.store.database import Connection, Row
from tunery.types.fine_tuning import checkpoint_object, event_object
from tunery.types.lists import CheckpointsQuery, ListQuery, list_object

EVENTS_READ_MAX = 200
EVENT_POLL_SECONDS = 1.0
EVENT_DIGITS_MAX = 16


async def list_events(context: Context, caller: Caller, job_id: str, query: ListQuery) -> dict[str, Any]:
    def read(connection: Connection) -> dict[str, Any]:
        require(connection, caller, job_id)
        page = events.listing(connection, job_id=job_id, after=query.after, limit=query.limit)
        return list_object([event_object(row) for row in page.rows], has_more=page.has_more, with_ids=False)

    return await context.database.read(read)


async def stream_events(
    context: Context, caller: Caller, job_id: str, *, last_event_id: str | None
) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """Each event once, in order, with its number, from the one behind `last_event_id` to the job's last.

    `last_event_id` is an event's number or id. Ends when the job has ended and every event was given.
    Raises ServerStopping.
    """
    seq = await context.database.read(lambda connection: _event_number(connection, caller, job_id, last_event_id))

    async def follow(seq: int) -> AsyncIterator[tuple[int, dict[str, Any]]]:
        version = context.database.version() if context.database.is_sqlite else 0
        while True:
            row, news = await context.database.read(partial(_news, caller=caller, job_id=job_id, seq=seq))
            for event in news:
                seq = event["seq"]
                yield seq, event_object(event)
            if not news and row["status"] in TERMINAL:
                return
            if context.stopping.is_set():
                raise ServerStopping
            if not news:
                version = await context.database.changed(version, EVENT_POLL_SECONDS)

    return follow(seq)


async def list_checkpoints(context: Context, caller: Caller, job_id: str, query: CheckpointsQuery) -> dict[str, Any]:
    def read(connection: Connection) -> dict[str, Any]:
        require(connection, caller, job_id)
        rows = jobs.checkpoints_of(connection, job_id)
        if query.after is not None:
            position = next((n for n, row in enumerate(rows, 1) if row["id"] == query.after), len(rows))
            rows = rows[position:]
        shown = rows[: query.limit]
        measured = jobs.metrics_of(connection, job_id, steps=[row["step"] for row in shown])
        data = [checkpoint_object(row, metrics=_checkpoint_metrics(measured, row["step"])) for row in shown]
        return list_object(data, has_more=len(rows) > query.limit)

    return await context.database.read(read)


def _news(connection: Connection, *, caller: Caller, job_id: str, seq: int) -> tuple[Row, Sequence[Row]]:
    row = require(connection, caller, job_id)
    return row, events.since(connection, job_id=job_id, seq=seq, limit=EVENTS_READ_MAX)


def _event_number(connection: Connection, caller: Caller, job_id: str, last_event_id: str | None) -> int:
    require(connection, caller, job_id)
    if last_event_id is None or last_event_id == "":
        return 0
    if last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < EVENT_DIGITS_MAX:
        return int(last_event_id)
    known = events.position(connection, job_id=job_id, event_id=last_event_id)
    if known is None:
        raise InvalidRequest(f"Job {job_id} has no event '{last_event_id}'.", param="Last-Event-ID")
    return known


def _checkpoint_metrics(measured: Any, step: int) -> dict[str, Any]:
    metrics: dict[str, Any] = {"step": step}
    for row in measured:
        if row["step"] == step:
            prefix = row["split"]
            metrics |= {f"{prefix}_loss": row["loss"], f"{prefix}_mean_token_accuracy": row["accuracy"]}
    return metrics | {"type": "supervised"}
