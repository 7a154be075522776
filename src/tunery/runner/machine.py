"""Facts about this machine and its processes that need no torch."""

import platform
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Differs after every start of the machine."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else str(int(psutil.boot_time()))


def process_started_at(pid: int) -> float | None:
    """When the process began, or None when there is none; tells a process from a later one with its number."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def may_have_gpu() -> bool:
    """Whether asking torch for a GPU can be worth its start-up time."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or platform.system() in ("Darwin", "Windows")
