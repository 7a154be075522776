"""A real PostgreSQL server for tests, private to them: own folder, own socket, no network, nothing kept."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

START_SECONDS_MAX = 30.0
TEMPLATE = "migrated"


def find_programs() -> Path | None:
    """The folder with initdb and postgres: on the path, or where Debian keeps them."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@dataclass
class PostgresServer:
    """Databases are made from a template that is migrated once."""

    programs: Path
    folder: Path
    process: subprocess.Popen[bytes]
    user: str | None
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _has_template: bool = False

    @classmethod
    def start(cls, programs: Path) -> "PostgresServer":
        # Not pytest's folder: nobody but its owner may enter that, and the server refuses to run as root.
        folder = Path(tempfile.mkdtemp(prefix="tunery-pg-"))
        user = "nobody" if os.getuid() == 0 else None
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        made = [programs / "initdb", "-D", folder / "data", "-U", "tunery", "-A", "trust", "-E", "UTF8"]
        options = ["--locale=C", "--no-sync"]
        subprocess.run([*made, *options], check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
        speed = ["-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=32MB"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", *speed],
                user=user,
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        server = cls(programs, folder, process, user)
        server._wait()
        return server

    def url(self, database: str) -> str:
        return f"postgresql://tunery@/{database}?host={self.folder}"

    def create_migrated(self, migrate: Callable[[str], None]) -> str:
        """A new database at the newest schema; its URL."""
        if not self._has_template:
            self._run("createdb", TEMPLATE)
            migrate(self.url(TEMPLATE))
            self._has_template = True
        name = f"test_{next(self._numbers)}"
        self._run("createdb", "-T", TEMPLATE, name)
        return self.url(name)

    def create_empty(self) -> str:
        name = f"empty_{next(self._numbers)}"
        self._run("createdb", name)
        return self.url(name)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            ready = [self.programs / "pg_isready", "-q", "-h", self.folder]
            if subprocess.run(ready, check=False).returncode == 0:
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()}")

    def _run(self, program: str, *arguments: str) -> None:
        named = [self.programs / program, "-h", self.folder, "-U", "tunery", *arguments]
        subprocess.run(named, check=True)
