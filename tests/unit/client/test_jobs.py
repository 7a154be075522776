import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.api import Answer, FakeApi, FakeJob, Received, connected, error
from tunery.client import ApiFailure, Client, TimedOut, Unreachable
from tunery.client.jobs import EVENTS_PER_PAGE, EventCursor, Jobs


@dataclass
class InMemory:
    """The connection's port over a fake job; `arriving` events come in between any two requests."""

    job: FakeJob
    arriving: int = 0
    broken: bool = False

    def request(self, method: str, path: str, **options: Any) -> Any:
        if self.broken:
            raise Unreachable("http://nowhere", "connection refused")
        page = self.job.page({name: str(value) for name, value in options["params"].items()})
        for _ in range(self.arriving):
            self.job.tell("late")
        return page

    def stream(self, method: str, path: str, **options: Any) -> AbstractContextManager[httpx.Response]:
        raise NotImplementedError


def _ids(events: Any) -> list[str]:
    return [event["id"] for event in events]


@given(batches=st.lists(st.integers(0, 3 * EVENTS_PER_PAGE), max_size=6))
def test_cursor_gives_each_event_once_in_order(batches: list[int]) -> None:
    job = FakeJob()
    cursor = EventCursor(Jobs(InMemory(job)), job.job_id)
    seen: list[str] = []
    for count in batches:
        for _ in range(count):
            job.tell("x")
        seen += _ids(cursor.take())
    assert seen == _ids(job.events)


def test_cursor_events_that_arrive_between_pages() -> None:
    job = FakeJob()
    for _ in range(2 * EVENTS_PER_PAGE + 1):
        job.tell("early")
    connection = InMemory(job, arriving=7)
    cursor = EventCursor(Jobs(connection), job.job_id)
    seen = _ids(cursor.take())
    assert len(seen) == 2 * EVENTS_PER_PAGE + 1
    connection.arriving = 0
    assert seen + _ids(cursor.take()) == _ids(job.events)


def test_cursor_failure_loses_nothing() -> None:
    job = FakeJob()
    connection = InMemory(job)
    cursor = EventCursor(Jobs(connection), job.job_id)
    job.tell("first")
    assert len(cursor.take()) == 1
    job.tell("second")
    connection.broken = True
    with pytest.raises(Unreachable):
        cursor.take()
    connection.broken = False
    assert _ids(cursor.take()) == ["ftevent-1"]


class Progressing(FakeJob):
    """Does a step at every look, and succeeds after the last one."""

    def wire(self) -> dict[str, Any]:
        done = len(self.events)
        if self.status == "running" and done < 5:
            self.step(done + 1, 5)
        elif self.status == "running":
            self.status = "succeeded"
            self.tell("The job has successfully completed")
        return super().wire()


def test_follow_ends_with_the_job_and_all_its_events() -> None:
    job = Progressing()
    with connected(job.answers()) as (_, client):
        updates = list(client.jobs.follow(job.job_id, poll_seconds=0))
    assert [update.job["status"] for update in updates] == ["running"] * 5 + ["succeeded"]
    assert [event["id"] for update in updates for event in update.events] == _ids(job.events)


def test_follow_ended_job_gives_one_update() -> None:
    job = FakeJob(status="failed")
    for _ in range(EVENTS_PER_PAGE + 3):
        job.tell("x")
    with connected(job.answers()) as (_, client):
        updates = list(client.jobs.follow(job.job_id))
    assert len(updates) == 1
    assert _ids(updates[0].events) == _ids(job.events)


def test_follow_waits_for_a_server_that_restarts() -> None:
    job = Progressing()
    looks = iter(range(100))

    def look(_: Received) -> Answer:
        return error(503, "starting") if next(looks) in (1, 2) else Answer(job.wire())

    answers = job.answers() | {("GET", f"/fine_tuning/jobs/{job.job_id}"): look}
    with connected(answers) as (_, client):
        updates = list(client.jobs.follow(job.job_id, poll_seconds=0.01))
    assert [event["id"] for update in updates for event in update.events] == _ids(job.events)


def test_follow_patience_has_an_end() -> None:
    with FakeApi() as api:
        url = api.url
    with Client(url) as client, pytest.raises(Unreachable):
        list(client.jobs.follow("ftjob-x", poll_seconds=0.01, patience_seconds=0.05))


def test_follow_unknown_job_is_refused_at_once() -> None:
    refusal = error(404, "Could not find fine tune: ftjob-x", code="fine_tune_not_found", param="fine_tune_id")
    with (
        connected({("GET", "/fine_tuning/jobs/ftjob-x"): refusal}) as (api, client),
        pytest.raises(ApiFailure, match="Could not find"),
    ):
        list(client.jobs.follow("ftjob-x"))
    assert len(api.received) == 1


def test_follow_timeout_while_the_job_goes_on() -> None:
    job = FakeJob()
    started = time.monotonic()
    with connected(job.answers()) as (_, client), pytest.raises(TimedOut, match="goes on"):
        list(client.jobs.follow(job.job_id, poll_seconds=0.01, timeout_seconds=0.1))
    assert time.monotonic() - started < 5


def test_create_sends_only_what_was_asked() -> None:
    job = FakeJob()
    with connected({("POST", "/fine_tuning/jobs"): Answer(job.wire())}) as (api, client):
        client.jobs.create(model="m", training_file="file-1")
        client.jobs.create(
            model="m",
            training_file="file-1",
            validation_file="file-2",
            suffix="s",
            seed=0,
            hyperparameters={"n_epochs": 2},
            metadata={"k": "v"},
        )
    assert api.received[0].json == {"model": "m", "training_file": "file-1"}
    assert api.received[1].json == {
        "model": "m",
        "training_file": "file-1",
        "validation_file": "file-2",
        "suffix": "s",
        "seed": 0,
        "metadata": {"k": "v"},
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    }


def test_list_metadata_becomes_filters() -> None:
    page = Answer({"object": "list", "data": [], "has_more": False})
    with connected({("GET", "/fine_tuning/jobs"): page}) as (api, client):
        client.jobs.list(limit=5, metadata={"team": "a b", "n": "1"})
    assert api.received[0].query == {"limit": "5", "metadata[team]": "a b", "metadata[n]": "1"}


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_steering_posts_without_body(verb: str) -> None:
    job = FakeJob()
    answers = {("POST", f"/fine_tuning/jobs/{job.job_id}/{verb}"): Answer(job.wire())}
    with connected(answers) as (api, client):
        steer = {"cancel": client.jobs.cancel, "pause": client.jobs.pause, "resume": client.jobs.resume}[verb]
        assert steer(job.job_id)["id"] == job.job_id
    assert api.received[0].body == b""
