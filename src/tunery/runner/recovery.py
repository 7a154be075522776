"""What happens to jobs whose host or runner is gone. Whoever gives a job up raises its epoch with it."""

import signal
import socket
from collections.abc import Sequence

from tunery.lifecycle import Status
from tunery.runner import machine
from tunery.runner.records import fail
from tunery.store import events, jobs, leases
from tunery.store.database import Connection, now
from tunery.store.events import Event

ATTEMPTS_MAX = 3


def bury_dead_runners(connection: Connection, runner_id: str) -> None:
    """Free at once what runners of this machine held whose process is gone; others lose it when their lease ends."""
    here = (socket.gethostname(), machine.boot_id())
    for other in leases.others(connection, runner_id):
        # Two containers of one machine differ in their host names, and see each other's process numbers as free.
        is_local = (other["hostname"], other["boot_id"]) == here
        if is_local and machine.process_started_at(other["pid"]) != other["process_started_at"]:
            leases.remove(connection, other["id"])


def requeue_abandoned(connection: Connection, *, runner_id: str, at: float) -> None:
    """Running jobs that nobody holds any more go back to the queue."""
    for row in leases.abandoned(connection, runner_id=runner_id, at=at):
        message = "The server was interrupted; the job goes on from its last snapshot"
        give_up(connection, row["id"], epoch=row["epoch"], message=message)


def after_host_death(connection: Connection, runs: Sequence[tuple[str, int]], *, to_blame: bool, reason: str) -> None:
    """Each job of a dead host resumes alone. `to_blame`: the one job in it was the cause, and has used up an attempt.

    Three attempts without a new step end the job as failed.
    """
    for job_id, epoch in runs:
        row = jobs.get(connection, job_id)
        if row is None or row["epoch"] != epoch or row["status"] not in (Status.RUNNING, Status.QUEUED):
            continue
        attempts = row["attempt"] + (1 if to_blame else 0)
        if attempts >= ATTEMPTS_MAX:
            message = (
                f"The training process ended {attempts} times without finishing a step, the last time because of "
                f"{reason}."
            )
            fail(connection, job_id, code="training_crashed", message=message, param=None, epoch=epoch)
            continue
        jobs.change(connection, job_id, epoch=epoch, attempt=attempts, run_alone=1)
        message = f"The training process ended because of {reason}; the job goes on from its last snapshot"
        give_up(connection, job_id, epoch=epoch, message=message)


def leave(connection: Connection, runner_id: str) -> None:
    """A runner that drained hands back what it still holds; nothing counts as an attempt."""
    for row in leases.held(connection, runner_id):
        give_up(connection, row["id"], epoch=row["epoch"], message=None)
    leases.remove(connection, runner_id)


def give_up(connection: Connection, job_id: str, *, epoch: int, message: str | None, wait_seconds: float = 0.0) -> None:
    """Hand a job back and say why in an event, or that it is paused where that was wished."""
    at = now(connection)
    row = leases.hand_back(connection, job_id, epoch=epoch, at=at, not_before=at + wait_seconds)
    if row is None:
        return
    if row["status"] == Status.PAUSED:
        events.append(connection, job_id, [Event(f"The job was paused at step {row['step']}")], at=at)
    elif message is not None:
        events.append(connection, job_id, [Event(message, level="warn")], at=at)


def describe(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    number = -status
    if number == signal.SIGKILL:
        return "signal 9 (killed, perhaps for lack of memory)"
    return f"signal {number} ({signal.strsignal(number)})"
