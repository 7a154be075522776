"""Job states and the legal moves between them, as one table.

`paused` is a state of ours: on the wire a paused job reads `queued` with `paused: true` (see types.fine_tuning).
"""

from enum import StrEnum


class Status(StrEnum):
    VALIDATING_FILES = "validating_files"
    """Accepted; the files are not read yet."""
    QUEUED = "queued"
    """Files are valid and every number is resolved; waiting for a device."""
    RUNNING = "running"
    """A host trains it."""
    PAUSED = "paused"
    """Off the device by request, with a snapshot if it had begun."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Desired(StrEnum):
    """What the user last asked of a job; the runner brings the job there."""

    RUN = "run"
    PAUSE = "pause"


TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
ACTIVE = frozenset(set(Status) - TERMINAL)

MOVES: dict[Status, frozenset[Status]] = {
    Status.VALIDATING_FILES: frozenset({Status.QUEUED, Status.PAUSED, Status.FAILED, Status.CANCELLED}),
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.PAUSED, Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}),
    Status.PAUSED: frozenset({Status.VALIDATING_FILES, Status.QUEUED, Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def sources(target: Status) -> tuple[Status, ...]:
    """Every state that may move to `target`, in declaration order: the WHERE of the conditional update."""
    return tuple(status for status in Status if target in MOVES[status])
