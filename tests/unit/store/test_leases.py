"""Claims, renewals and take-overs: each job has one holder, and a former one can change nothing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.factories import NOW, add_job, add_project
from tunery.lifecycle import Desired, Status
from tunery.store import jobs, leases
from tunery.store.database import Connection, Database, Row

LEASE = {"lease_seconds": 10.0, "status": Status.QUEUED}


def claim(connection: Connection, runner_id: str = "r1", *, at: float = NOW, limit: int = 10) -> list[str]:
    return [row["id"] for row in leases.claim(connection, runner_id=runner_id, at=at, limit=limit, **LEASE)]  # type: ignore[arg-type]


def get(connection: Connection, job_id: str) -> Row:
    row = jobs.get(connection, job_id)
    assert row is not None
    return row


def test_claims_come_by_priority_then_age(database: Database) -> None:
    def change(connection: Connection) -> None:
        project = add_project(connection)
        old, young = (add_job(connection, project, created_at=NOW + n)["id"] for n in (1, 2))
        same_second = add_job(connection, project, created_at=NOW + 2)["id"]
        urgent = add_job(connection, project, created_at=NOW + 3, priority=1)["id"]
        assert claim(connection, limit=3) == [urgent, old, young]
        assert claim(connection) == [same_second]
        assert claim(connection) == []

    database.write_now(change)


def test_claim_gives_a_new_epoch_and_starts_reports_anew(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection), epoch=4, report_n=9)["id"]
        (row,) = leases.claim(connection, runner_id="r1", at=NOW, limit=1, **LEASE)  # type: ignore[arg-type]
        assert (row["id"], row["epoch"], row["report_n"]) == (job_id, 5, 0)
        assert (row["runner_id"], row["lease_until"]) == ("r1", NOW + 10)

    database.write_now(change)


@pytest.mark.parametrize(
    "values",
    [
        {"status": Status.PAUSED},
        {"status": Status.RUNNING},
        {"status": Status.VALIDATING_FILES},
        {"desired_state": Desired.PAUSE},
        {"lease_until": NOW + 1.0, "runner_id": "other"},
        {"not_before": NOW + 1.0},
    ],
)
def test_what_is_not_free_is_not_claimed(database: Database, values: dict[str, Any]) -> None:
    def change(connection: Connection) -> None:
        add_job(connection, add_project(connection), **values)
        assert claim(connection) == []
        assert not leases.any_free(connection, status=Status.QUEUED, at=NOW)

    database.write_now(change)


def test_lease_that_ran_out_is_claimed_by_another(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection))["id"]
        assert claim(connection, "r1") == [job_id]
        assert claim(connection, "r2", at=NOW + 9) == []
        assert claim(connection, "r2", at=NOW + 11) == [job_id]
        assert get(connection, job_id)["epoch"] == 2

    database.write_now(change)


def test_concurrent_claims_share_no_job(database: Database) -> None:
    project = database.write_now(add_project)
    database.write_now(lambda connection: [add_job(connection, project) for _ in range(20)])

    def take(n: int) -> list[str]:
        return database.write_now(lambda connection: claim(connection, f"r{n}", limit=3))

    with ThreadPoolExecutor(8) as threads:
        taken = [job_id for claimed in threads.map(take, range(16)) for job_id in claimed]
    assert len(taken) == len(set(taken)) == 20


def test_renewal_prolongs_only_ones_own_living_jobs(database: Database) -> None:
    def change(connection: Connection) -> None:
        project = add_project(connection)
        mine = add_job(connection, project)["id"]
        claim(connection, "r1")
        others = add_job(connection, project)["id"]
        claim(connection, "r2")
        ended = add_job(connection, project, status=Status.CANCELLED, runner_id="r1", lease_until=float(NOW))["id"]
        leases.renew(connection, runner_id="r1", at=NOW + 5, lease_seconds=10)
        until = [get(connection, each)["lease_until"] for each in (mine, others, ended)]
        assert until == [NOW + 15, NOW + 10, NOW]

    database.write_now(change)


def test_job_that_is_handed_back_is_shut_to_its_former_holder(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection))["id"]
        claim(connection, "r1")
        jobs.move(connection, job_id, Status.RUNNING, epoch=1)
        assert leases.hand_back(connection, job_id, epoch=0, at=NOW, not_before=NOW) is None
        row = leases.hand_back(connection, job_id, epoch=1, at=NOW, not_before=NOW + 1)
        assert row is not None
        assert (row["status"], row["epoch"], row["runner_id"], row["lease_until"]) == ("queued", 2, None, None)
        assert jobs.take_report(connection, job_id, epoch=1, n=1) is None
        assert jobs.move(connection, job_id, Status.CANCELLED, epoch=1) is None
        assert claim(connection, "r2", at=NOW) == []
        assert claim(connection, "r2", at=NOW + 1) == [job_id]

    database.write_now(change)


def test_job_that_should_pause_is_paused_when_it_is_handed_back(database: Database) -> None:
    def change(connection: Connection) -> None:
        values = {"status": Status.RUNNING, "desired_state": Desired.PAUSE, "epoch": 1}
        job_id = add_job(connection, add_project(connection), **values)["id"]
        row = leases.hand_back(connection, job_id, epoch=1, at=NOW + 0.5, not_before=NOW)
        assert row is not None
        assert (row["status"], row["paused_at"]) == ("paused", NOW)

    database.write_now(change)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.VALIDATING_FILES, Status.QUEUED])
def test_handing_back_moves_no_job_that_does_not_run(database: Database, status: Status) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection), status=status, epoch=1)["id"]
        row = leases.hand_back(connection, job_id, epoch=1, at=NOW, not_before=NOW)
        assert get(connection, job_id)["status"] == status
        assert (row is None) == (status == Status.CANCELLED)

    database.write_now(change)


def test_abandoned_are_running_jobs_of_nobody_or_of_the_silent(database: Database) -> None:
    def change(connection: Connection) -> None:
        project = add_project(connection)
        running = {"status": Status.RUNNING}
        nobodys = add_job(connection, project, **running)["id"]
        silent = add_job(connection, project, **running, runner_id="r2", lease_until=NOW - 1.0)["id"]
        add_job(connection, project, **running, runner_id="r2", lease_until=NOW + 1.0)
        add_job(connection, project, **running, runner_id="me", lease_until=NOW - 1.0)
        add_job(connection, project, status=Status.PAUSED)
        found = leases.abandoned(connection, runner_id="me", at=NOW)
        assert {row["id"] for row in found} == {nobodys, silent}

    database.write_now(change)


def test_removed_runner_frees_what_it_held(database: Database) -> None:
    def change(connection: Connection) -> None:
        facts = {"hostname": "h", "boot_id": "b", "pid": 1, "process_started_at": 1.0, "lease_until": NOW + 10.0}
        leases.register(connection, id="r1", **facts)
        job_id = add_job(connection, add_project(connection))["id"]
        claim(connection, "r1")
        assert [row["id"] for row in leases.others(connection, "r2")] == ["r1"]
        leases.remove(connection, "r1")
        assert leases.others(connection, "r2") == []
        assert claim(connection, "r2") == [job_id]

    database.write_now(change)


def test_report_is_counted_once_and_in_order(database: Database) -> None:
    def change(connection: Connection) -> None:
        job_id = add_job(connection, add_project(connection), epoch=2)["id"]
        taken = [jobs.take_report(connection, job_id, epoch=2, n=n) is not None for n in (1, 1, 3, 2, 1, 3)]
        assert taken == [True, False, False, True, False, True]
        assert jobs.take_report(connection, job_id, epoch=1, n=9) is None

    database.write_now(change)
