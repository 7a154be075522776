"""How a command ends, for scripts that look at its exit status."""

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    FAILURE = 1
    USAGE = 2
    JOB_FAILED = 3
    """The job that was followed failed or was cancelled."""
    NOT_FOUND_OR_AUTH = 4
    TIMEOUT = 5
    INTERRUPTED = 130
