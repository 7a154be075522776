"""Fine-tuning jobs over the API: create, watch, steer."""

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote

from tunery.client.failures import ApiFailure, ClientError, CutShort, TimedOut, Unreachable
from tunery.client.objects import TERMINAL, Checkpoint, Event, Job, Page
from tunery.client.port import Connection, given

EVENTS_PER_PAGE = 100
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0


class Update(NamedTuple):
    """What is new about a followed job: its state, and its events since the last update, oldest first."""

    job: Job
    events: list[Event]


class Jobs:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        *,
        model: str,
        training_file: str,
        validation_file: str | None = None,
        suffix: str | None = None,
        seed: int | None = None,
        hyperparameters: Mapping[str, int | float | str] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Job:
        """A new supervised job. Hyperparameters that are not given are chosen by the server (`auto`)."""
        body = given(
            model=model,
            training_file=training_file,
            validation_file=validation_file,
            suffix=suffix,
            seed=seed,
            metadata=metadata,
        )
        if hyperparameters:
            body["method"] = {"type": "supervised", "supervised": {"hyperparameters": dict(hyperparameters)}}
        return self._connection.request("POST", "/fine_tuning/jobs", json=body)

    def retrieve(self, job_id: str) -> Job:
        return self._connection.request("GET", _path(job_id))

    def list(
        self, *, limit: int | None = None, after: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> Page[Job]:
        """Newest first; `metadata` keeps the jobs that have all its pairs."""
        pairs = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
        return self._connection.request("GET", "/fine_tuning/jobs", params=given(limit=limit, after=after) | pairs)

    def cancel(self, job_id: str) -> Job:
        return self._connection.request("POST", _path(job_id, "/cancel"))

    def pause(self, job_id: str) -> Job:
        """A running job pauses at its next step; until then it still reads `running`."""
        return self._connection.request("POST", _path(job_id, "/pause"))

    def resume(self, job_id: str) -> Job:
        return self._connection.request("POST", _path(job_id, "/resume"))

    def events(self, job_id: str, *, limit: int | None = None, after: str | None = None) -> Page[Event]:
        """Newest first; `after` is the id of an event, and older ones follow."""
        return self._connection.request("GET", _path(job_id, "/events"), params=given(limit=limit, after=after))

    def checkpoints(self, job_id: str, *, limit: int | None = None, after: str | None = None) -> Page[Checkpoint]:
        return self._connection.request("GET", _path(job_id, "/checkpoints"), params=given(limit=limit, after=after))

    def follow(
        self,
        job_id: str,
        *,
        poll_seconds: float = POLL_SECONDS,
        timeout_seconds: float | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> Iterator[Update]:
        """Updates until the job has ended: each event once, in order, none left out.

        A server that restarts is waited for up to `patience_seconds`. Raises TimedOut when the job has not ended after
        `timeout_seconds`; the job itself goes on.
        """
        cursor = EventCursor(self, job_id)
        started = heard = time.monotonic()
        while True:
            try:
                # The job first: the events that are read after its last state are then complete.
                job = self.retrieve(job_id)
                events = cursor.take()
            except ClientError as failure:
                if not _may_pass(failure) or time.monotonic() - heard > patience_seconds:
                    raise
            else:
                heard = time.monotonic()
                yield Update(job, events)
                if job["status"] in TERMINAL:
                    return
            if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
                raise TimedOut(f"{job_id} did not end within {timeout_seconds:g} s; it goes on.")
            time.sleep(poll_seconds)


class EventCursor:
    """A place in a job's events. The API lists newest first, so a cursor pages back to the last event it gave."""

    def __init__(self, jobs: Jobs, job_id: str) -> None:
        self._jobs = jobs
        self._job_id = job_id
        self._last: str | None = None

    def take(self) -> list[Event]:
        """The events since the last call, oldest first. A failure leaves the place where it was."""
        new: list[Event] = []
        page: Page[Event] | None = None
        while page is None or self._goes_on(page):
            page = self._jobs.events(self._job_id, limit=EVENTS_PER_PAGE, after=new[-1]["id"] if new else None)
            for event in page["data"]:
                if event["id"] == self._last:
                    break
                new.append(event)
        if new:
            self._last = new[0]["id"]
        return new[::-1]

    def _goes_on(self, page: Page[Event]) -> bool:
        known = any(event["id"] == self._last for event in page["data"])
        return not known and bool(page["data"]) and bool(page.get("has_more"))


def _may_pass(failure: ClientError) -> bool:
    if isinstance(failure, ApiFailure):
        return failure.may_pass
    return isinstance(failure, Unreachable | TimedOut | CutShort)


def _path(job_id: str, rest: str = "") -> str:
    return f"/fine_tuning/jobs/{quote(job_id, safe='')}{rest}"
