"""A server of our own for the length of a `with` block: started as a child process, and gone afterwards for certain."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tunery import settings
from tunery.cli.options import running_url
from tunery.errors import StartError

START_SECONDS_MAX = 180.0
STOP_SECONDS_MAX = 75.0
POLL_SECONDS = 0.05
LOG_LINES = 5
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """The first signal to end this process unwinds the block; later ones must not break off the cleaning up."""
    left = False

    def leave(number: int, _frame: FrameType | None) -> None:
        nonlocal left
        if not left:
            left = True
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    numbers = [signal.SIGINT, signal.SIGTERM] + ([] if os.name == "nt" else [signal.SIGHUP])
    previous = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def server(data_dir: Path, *, log_path: Path) -> Iterator[str]:
    """The URL of a server on `data_dir`: the one that runs there already, else a child that ends with the block.

    Raises StartError with the log's last words when it does not start. Use it inside `unwound_by_signals`.
    """
    run_dir = settings.load({"data_dir": data_dir})[0].run_dir
    found = running_url(run_dir)
    if found is not None:
        yield found
        return
    child, log_start = _spawn(data_dir, log_path)
    try:
        yield _wait_until_ready(child, run_dir=run_dir, log_path=log_path, log_start=log_start)
    finally:
        _stop(child)


def _spawn(data_dir: Path, log_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """In a session of its own, so that Ctrl-C reaches us alone and the two end in order."""
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "tunery", "serve", "--data-dir", str(data_dir), "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        return child, log.tell()


def _wait_until_ready(child: subprocess.Popen[bytes], *, run_dir: Path, log_path: Path, log_start: int) -> str:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise StartError(f"The server did not start. {_last_words(log_path, log_start)}")
        url = running_url(run_dir)
        if url is not None:
            return url
        time.sleep(POLL_SECONDS)
    raise StartError(f"The server was not ready within {START_SECONDS_MAX:.0f} s; its log is {log_path}.")


def _last_words(log_path: Path, start: int) -> str:
    with log_path.open("rb") as log:
        log.seek(start)
        lines = _COLOURS.sub("", log.read().decode(errors="replace")).split("\n")
    said = [line.strip() for line in lines if line.strip()][-LOG_LINES:]
    return " ".join(said).removeprefix("Cannot serve: ") or f"Its log is {log_path}."


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End the child and wait until it is gone; its own children end before it."""
    deadline = time.monotonic() + STOP_SECONDS_MAX
    child.terminate()
    while child.poll() is None:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except (KeyboardInterrupt, SystemExit):
            continue
        except subprocess.TimeoutExpired:
            child.kill()
