"""Facts about this machine and its processes that need no torch."""

import os
import platform
import sys
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_HAS_PROC = Path("/proc/self/stat").exists()
_START_TICKS_FIELD = 19


def cores() -> int:
    """The processor cores that this process may use: fewer than there are where a container or taskset says so."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def boot_id() -> str:
    """Differs after every start of the machine."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else str(int(psutil.boot_time()))


def process_started_at(pid: int) -> float | None:
    """When the process began, or None when there is none; tells a process from a later one with its number.

    On Linux in ticks since boot, which a clock that is set does not change; elsewhere in Unix seconds.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return _start_ticks(pid) if _HAS_PROC else process.create_time()
    except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
        return None


def _start_ticks(pid: int) -> float:
    # The second field, the command's name in brackets, may hold blanks: fields are counted behind it.
    behind_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    return float(behind_name.split()[_START_TICKS_FIELD])


def may_have_gpu() -> bool:
    """Whether asking torch for a GPU can be worth its start-up time."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or platform.system() in ("Darwin", "Windows")
