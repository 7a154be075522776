"""Real servers for tests: `tunery serve` as a process tree of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

START_SECONDS_MAX = 60.0


@dataclass
class Server:
    """A server on its own data folder; may be stopped, killed and started again."""

    data_dir: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def start(self) -> "Server":
        variables = {f"TUNERY_{name.upper()}": value for name, value in self.settings.items()}
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tunery", "serve", "--port", "0", "--data-dir", str(self.data_dir)],
                env=os.environ | variables,
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

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(90)

    def tree(self) -> dict[str, list[psutil.Process]]:
        """Living processes by part: supervisor, api, runner, host."""
        assert self.process is not None
        root = psutil.Process(self.process.pid)
        parts: dict[str, list[psutil.Process]] = {"supervisor": [root], "api": [], "runner": [], "host": []}
        for child in root.children(recursive=True):
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
