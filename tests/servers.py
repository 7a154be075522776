"""Real servers for tests: `tunery serve` as a process tree of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.fakes.base import make_base

ROOT = Path(__file__).parents[1]
START_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 90.0
FAKE_HOST = {"host_module": "tests.fakes.host", "default_model": "tiny"}
"""Settings of a server whose hosts only sleep and echo; its base is `tiny`."""


@dataclass
class Server:
    """A server on its own data folder; may be stopped, killed and started again."""

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> "Server":
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tunery", "serve", "--port", "0", "--data-dir", str(self.data_dir)],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
            )
        state = self.data_dir / "run" / "server.json"
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if state.exists() and (told := json.loads(state.read_text()))["pid"] == self.process.pid:
                self.url = told["url"]
                return self
            assert self.process.poll() is None, f"the server ended while starting:\n{self.log()}"
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def environment(self) -> dict[str, str]:
        """What every process of this server finds in its environment."""
        settings = self.settings | {"data_dir": str(self.data_dir)}
        variables = {f"TUNERY_{name.upper()}": value for name, value in settings.items()}
        return os.environ | variables | {"PYTHONPATH": python_path()}

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        """End the whole tree at once, however it is."""
        for process in [process for part in self.tree().values() for process in part]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert self.process is not None
        self.process.wait(STOP_SECONDS_MAX)

    def tree(self) -> dict[str, list[psutil.Process]]:
        """Living processes by part: supervisor, api, runner, host."""
        assert self.process is not None
        parts: dict[str, list[psutil.Process]] = {"supervisor": [], "api": [], "runner": [], "host": []}
        try:
            root = psutil.Process(self.process.pid)
            descendants = root.children(recursive=True)
        except psutil.NoSuchProcess:
            return parts
        parts["supervisor"] = [root]
        for child in descendants:
            try:
                command = child.cmdline()
            except psutil.NoSuchProcess:
                continue
            name = next((part for part in ("api", "runner") if f"tunery.{part}" in command), None)
            if name is None and "--roles" in command:
                name = "host"
            if name is not None:
                parts[name].append(child)
        return parts

    def log(self) -> str:
        return (self.data_dir / "server.log").read_text()

    def survivors(self) -> list[psutil.Process]:
        """Living processes that work on this data folder, whoever their parent is by now."""
        mine = {"TUNERY_DATA_DIR": str(self.data_dir)}
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and mine.items() <= process.environ().items():
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def python_path() -> str:
    """Lets child processes import the fakes."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ROOT), *([given] if given else [])])


def make_fake(data_dir: Path, **settings: str) -> Server:
    """A server, not started yet, with the fake host and its tiny base."""
    make_base(data_dir / "bases" / "tiny")
    return Server(data_dir, FAKE_HOST | settings)
