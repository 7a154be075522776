"""Who gets a job back when its host or runner is gone, and what it costs the job."""

import os
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from tests.factories import NOW, add_job, add_project
from tunery.lifecycle import Desired, Status
from tunery.runner import machine, recovery
from tunery.store import events, jobs, leases
from tunery.store.database import Connection, Database, Row

RUNNING: dict[str, Any] = {"status": Status.RUNNING, "epoch": 1, "runner_id": "dead", "lease_until": NOW + 10.0}


def get(connection: Connection, job_id: str) -> Row:
    row = jobs.get(connection, job_id)
    assert row is not None
    return row


def messages(connection: Connection, job_id: str) -> list[str]:
    page = events.listing(connection, job_id=job_id, after=None, limit=100)
    return [row["message"] for row in page.rows][::-1]


def register(connection: Connection, runner_id: str, **values: Any) -> None:
    facts = {
        "hostname": socket.gethostname(),
        "boot_id": machine.boot_id(),
        "pid": os.getpid(),
        "process_started_at": machine.process_started_at(os.getpid()),
        "lease_until": NOW + 10.0,
    }
    leases.register(connection, id=runner_id, **(facts | values))


@pytest.mark.parametrize(
    ("values", "is_dead"),
    [
        ({}, False),
        ({"pid": 2**22 + 1}, True),
        ({"process_started_at": 1.5}, True),
        ({"pid": 2**22 + 1, "boot_id": "another"}, False),
        ({"pid": 2**22 + 1, "hostname": "another"}, False),
    ],
)
def test_runner_is_dead_only_where_its_process_can_be_seen(
    database: Database, values: dict[str, Any], is_dead: bool
) -> None:
    """A process of another machine, or of another start of this one, may well live under a number unknown here."""

    def change(connection: Connection) -> None:
        register(connection, "dead", **values)
        job_id = add_job(connection, add_project(connection), **RUNNING)["id"]
        recovery.bury_dead_runners(connection, "me")
        assert (get(connection, job_id)["runner_id"] is None) == is_dead
        assert (leases.others(connection, "me") == []) == is_dead

    database.write_now(change)


def test_process_is_told_from_a_later_one_and_from_a_zombie() -> None:
    mine = machine.process_started_at(os.getpid())
    assert mine is not None
    assert machine.process_started_at(os.getpid()) == mine
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = machine.process_started_at(child.pid)
    assert started is not None
    assert started >= mine
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert machine.process_started_at(child.pid) is None, "a zombie works on nothing"
    child.communicate()
    assert machine.process_started_at(child.pid) is None


def test_abandoned_job_goes_back_to_the_queue_under_a_new_epoch(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection), **(RUNNING | {"lease_until": NOW - 1.0}))["id"]
        recovery.requeue_abandoned(connection, runner_id="me", at=NOW)
        row = get(connection, job_id)
        assert (row["status"], row["epoch"], row["runner_id"], row["attempt"]) == ("queued", 2, None, 0)
        assert messages(connection, job_id) == ["The server was interrupted; the job goes on from its last snapshot"]

    database.write_now(change)


def test_death_alone_counts_and_the_third_without_a_step_is_the_end(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection), **RUNNING)["id"]
        for attempt in (1, 2):
            row = get(connection, job_id)
            recovery.after_host_death(connection, [(job_id, row["epoch"])], to_blame=True, reason="signal 11")
            row = get(connection, job_id)
            assert (row["status"], row["attempt"], row["run_alone"]) == ("queued", attempt, 1)
            assert row["epoch"] == 1 + attempt
            jobs.move(connection, job_id, Status.RUNNING)
        recovery.after_host_death(connection, [(job_id, 3)], to_blame=True, reason="signal 11")
        row = get(connection, job_id)
        assert (row["status"], row["error_code"]) == ("failed", "training_crashed")
        assert row["error_message"] == (
            "The training process ended 3 times without finishing a step, the last time because of signal 11."
        )
        assert messages(connection, job_id)[-1] == row["error_message"]

    database.write_now(change)


def test_death_in_company_costs_nobody_an_attempt(database: Database) -> None:
    def change(connection: Connection) -> None:
        project = add_project(connection)
        both = [add_job(connection, project, **RUNNING, attempt=2)["id"] for _ in range(2)]
        recovery.after_host_death(connection, [(each, 1) for each in both], to_blame=False, reason="x")
        for job_id in both:
            row = get(connection, job_id)
            assert (row["status"], row["attempt"], row["run_alone"]) == ("queued", 2, 1)

    database.write_now(change)


def test_placed_but_not_started_job_is_handed_back_too(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection), **(RUNNING | {"status": Status.QUEUED}))["id"]
        recovery.after_host_death(connection, [(job_id, 1)], to_blame=True, reason="x")
        row = get(connection, job_id)
        assert (row["status"], row["epoch"], row["runner_id"], row["attempt"]) == ("queued", 2, None, 1)

    database.write_now(change)


@pytest.mark.parametrize("values", [{"epoch": 2}, {"status": Status.CANCELLED}, {"status": Status.PAUSED}])
def test_death_of_a_host_changes_no_job_that_moved_on(database: Database, values: dict[str, Any]) -> None:
    def change(connection: Connection) -> None:
        row = add_job(connection, add_project(connection), **(RUNNING | values))
        recovery.after_host_death(connection, [(row["id"], 1)], to_blame=True, reason="x")
        assert dict(get(connection, row["id"])) == dict(row)

    database.write_now(change)


def test_wish_to_pause_outlives_the_host(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection), **RUNNING, step=4, desired_state=Desired.PAUSE)["id"]
        recovery.after_host_death(connection, [(job_id, 1)], to_blame=True, reason="x")
        assert get(connection, job_id)["status"] == "paused"
        assert messages(connection, job_id) == ["The job was paused at step 4"]

    database.write_now(change)


def test_runner_that_leaves_hands_everything_back_silently(database: Database) -> None:
    def change(connection: Connection) -> None:
        project = add_project(connection)
        register(connection, "dead")
        states = [Status.RUNNING, Status.QUEUED, Status.VALIDATING_FILES]
        held = {status: add_job(connection, project, **(RUNNING | {"status": status}))["id"] for status in states}
        recovery.leave(connection, "dead")
        for status, job_id in held.items():
            row = get(connection, job_id)
            expected = Status.QUEUED if status == Status.RUNNING else status
            assert (row["status"], row["epoch"], row["runner_id"], row["attempt"]) == (expected, 2, None, 0)
            assert messages(connection, job_id) == []
        assert leases.others(connection, "me") == []

    database.write_now(change)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (3, "exit status 3"),
        (-signal.SIGKILL, "signal 9 (killed, perhaps for lack of memory)"),
        (-signal.SIGSEGV, "signal 11 (Segmentation fault)"),
    ],
)
def test_exit_status_is_told_in_words(status: int, words: str) -> None:
    assert recovery.describe(status) == words
