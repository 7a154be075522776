"""What happens to jobs whose host or runner is gone."""

import signal
import time
from collections.abc import Sequence

from sqlalchemy import Connection, update

from tunery.lifecycle import Status
from tunery.runner import machine
from tunery.runner.records import fail
from tunery.store import events, jobs, leases
from tunery.store.events import Event
from tunery.store.schema import jobs as jobs_table

ATTEMPTS_MAX = 3


def bury_dead_runners(connection: Connection, runner_id: str) -> None:
    """Free at once what runners of this machine held whose process is gone; others lose it when their lease ends."""
    boot_id = machine.boot_id()
    for other in leases.others(connection, runner_id):
        same_machine = other["boot_id"] == boot_id
        if same_machine and machine.process_started_at(other["pid"]) != other["process_started_at"]:
            leases.remove(connection, other["id"])


def requeue_abandoned(connection: Connection, *, at: float) -> None:
    """Running jobs that nobody holds any more go back to the queue; the next claim raises their epoch."""
    for row in leases.abandoned(connection, at):
        free = {"runner_id": None, "lease_until": None, "estimated_finish": None}
        if jobs.move(connection, row["id"], Status.QUEUED, epoch=row["epoch"], **free) is not None:
            message = "The server was interrupted; the job goes on from its last snapshot"
            events.append(connection, row["id"], [Event(message, level="warn")], at=time.time())


def after_host_death(connection: Connection, runs: Sequence[tuple[str, int]], *, reason: str) -> None:
    """Each job of a dead host resumes alone. Only a death while alone counts as an attempt of that job.

    Three attempts without a new step end the job as failed.
    """
    for job_id, epoch in runs:
        row = jobs.get(connection, job_id)
        if row is None or row["epoch"] != epoch or row["status"] not in (Status.RUNNING, Status.QUEUED):
            continue
        alone = len(runs) == 1
        attempts = row["attempt"] + (1 if alone else 0)
        if attempts >= ATTEMPTS_MAX:
            message = (
                f"The training process ended {attempts} times without finishing a step, the last time because of "
                f"{reason}."
            )
            fail(connection, job_id, code="training_crashed", message=message, param=None, epoch=epoch)
            continue
        free = {"runner_id": None, "lease_until": None, "estimated_finish": None}
        jobs.change(connection, job_id, epoch=epoch, attempt=attempts, run_alone=1)
        if row["status"] == Status.RUNNING:
            jobs.move(connection, job_id, Status.QUEUED, epoch=epoch, **free)
        else:
            leases.release(connection, job_id=job_id, epoch=epoch)
        message = f"The training process ended because of {reason}; the job goes on from its last snapshot"
        events.append(connection, job_id, [Event(message, level="warn")], at=time.time())


def leave(connection: Connection, runner_id: str) -> None:
    """A runner that drained hands back what it still holds; nothing counts as an attempt."""
    held = leases.held(connection, runner_id)
    for row in held:
        if row["status"] == Status.RUNNING:
            jobs.move(connection, row["id"], Status.QUEUED, epoch=row["epoch"], estimated_finish=None)
    # A fence against whatever of ours might still be running.
    connection.execute(
        update(jobs_table).where(jobs_table.c.runner_id == runner_id).values(epoch=jobs_table.c.epoch + 1)
    )
    leases.remove(connection, runner_id)


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    number = -status
    if number == signal.SIGKILL:
        return "signal 9 (killed, perhaps for lack of memory)"
    return f"signal {number} ({signal.strsignal(number)})"
