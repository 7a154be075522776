"""Which hosts run on this machine: one for each base in training, one for each base in service."""

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tunery.errors import TuneryError
from tunery.observability import logger
from tunery.runner.hosts import HostPlan, HostProcess
from tunery.training.reports import Drain, Heartbeat, Report, Start, Stop, Stopped

SOCKET_PATH_MAX = 100
STOP_GRACE_SECONDS = 10.0
IDLE_SECONDS_MAX = 120.0
SERVE_IDLE_SECONDS_MAX = 600.0
LOAD_SECONDS_MAX = 600.0
DRAIN_POLL_SECONDS = 0.05
log = logger("runner")

Run = tuple[str, int]
"""A job and the epoch under which it runs."""


@dataclass
class TrainHost:
    """A training host and the runs placed in it."""

    key: tuple[str, str]
    process: HostProcess
    runs: set[Run] = field(default_factory=set)
    stopping: dict[Run, float] = field(default_factory=dict)
    """Until when each run must have left after a cancel."""
    pausing: set[Run] = field(default_factory=set)
    idle_since: float = 0.0


class HostPool:
    """Spawns hosts, places runs, keeps heartbeats going. Callbacks run on the event loop."""

    def __init__(
        self,
        *,
        module: str,
        run_dir: Path,
        device: str,
        dtype: str,
        threads: int,
        lease_seconds: float,
        on_report: Callable[[Report], None],
        on_train_end: Callable[[TrainHost, int], None],
        on_serve_end: Callable[[str, int], None],
        on_serve_idle: Callable[[HostProcess], None],
    ) -> None:
        self.device = device
        self.train: dict[tuple[str, str], TrainHost] = {}
        self.serve: dict[str, HostProcess] = {}
        self._running: set[HostProcess] = set()
        """Every host that has not ended, also those that are loading or on their way out."""
        self.closing = False
        self._module = module
        self._run_dir = run_dir
        self._fixed: dict[str, Any] = {"device": device, "dtype": dtype, "threads": threads}
        self._lease_seconds = lease_seconds
        self._on_report = on_report
        self._on_train_end = on_train_end
        self._on_serve_end = on_serve_end
        self._on_serve_idle = on_serve_idle
        self._spawning: dict[tuple[str, str], asyncio.Lock] = {}

    @property
    def runs(self) -> dict[Run, TrainHost]:
        return {run: host for host in self.train.values() for run in host.runs}

    async def warm(self, base: Any) -> None:
        """Have a training host for the base, so that the first job need not wait for it."""
        await self._train_host(base, "")

    async def place(self, base: Any, run: Run, start: Start, *, alone: bool) -> None:
        """Start a run on the base's host; a run that must be alone gets a host of its own."""
        host = await self._train_host(base, run[0] if alone else "")
        host.runs.add(run)
        host.process.send(start)

    def stop(self, run: Run, how: Literal["cancel", "pause"]) -> None:
        """Pause or cancel a run. A host that does not let go of a cancelled run in time is killed."""
        host = self.runs.get(run)
        if host is None or run in host.stopping or (how == "pause" and run in host.pausing):
            return
        host.process.send(Stop(*run, how))
        if how == "cancel":
            host.stopping[run] = asyncio.get_running_loop().time() + STOP_GRACE_SECONDS
        else:
            host.pausing.add(run)

    def left(self, run: Run) -> None:
        """A run has ended or paused."""
        host = self.runs.get(run)
        if host is None:
            return
        host.runs.remove(run)
        host.stopping.pop(run, None)
        host.pausing.discard(run)
        host.idle_since = asyncio.get_running_loop().time()
        if host.key[1]:
            self._retire(host)

    async def start_serving(self, base: Any) -> HostProcess:
        """A serving host for the base, resident. Raises TuneryError when it cannot come up."""
        plan = HostPlan(
            base_id=base["id"],
            folder=base["folder"],
            roles=("serve",),
            lease_seconds=self._lease_seconds,
            socket_path=str(self._socket_path(base["id"])),
            **self._fixed,
        )
        process = await self._spawn(plan, on_end=partial(self._serve_ended, base["id"]))
        try:
            await process.ready
        except asyncio.CancelledError:
            raise TuneryError("its process ended while loading; the server's log says why") from None
        self.serve[base["id"]] = process
        return process

    def watch(self, *, keep: frozenset[str]) -> None:
        """Send heartbeats, kill hosts that are frozen or deaf, let go of bases that nobody trains or asks."""
        now = asyncio.get_running_loop().time()
        for process in self._running:
            process.send(Heartbeat(0))
            patience_seconds = self._lease_seconds if process.ready.done() else LOAD_SECONDS_MAX
            if now - process.heard_at > patience_seconds:
                log.error("a host is silent and is killed", pid=process.process.pid)
                process.kill()
        for host in list(self.train.values()):
            if any(now > until for until in host.stopping.values()):
                log.error("a host did not stop a cancelled run and is killed", pid=host.process.process.pid)
                host.process.kill()
            idle = not host.runs and host.process.ready.done() and now - host.idle_since > IDLE_SECONDS_MAX
            if idle and host.key[0] not in keep:
                self._retire(host)
        for base_id, process in list(self.serve.items()):
            if process.idle_seconds > SERVE_IDLE_SECONDS_MAX and base_id not in keep:
                log.info("a serving host is let go", base=base_id, idle_seconds=round(process.idle_seconds))
                del self.serve[base_id]
                process.send(Drain())
                self._on_serve_idle(process)

    async def drain(self, timeout_seconds: float) -> None:
        """Have every host snapshot and exit, and start no other; kill those that take too long."""
        self.closing = True
        deadline = time.monotonic() + timeout_seconds
        told: set[HostProcess] = set()
        while self._running:
            for process in self._running - told:
                process.send(Drain())
            told |= self._running
            if time.monotonic() > deadline:
                for process in self._running:
                    process.kill()
            await asyncio.sleep(DRAIN_POLL_SECONDS)

    def _retire(self, host: TrainHost) -> None:
        """Let an idle host go. It takes no other run, since it would not answer to it any more."""
        del self.train[host.key]
        host.process.send(Drain())

    async def _train_host(self, base: Any, alone_for: str) -> TrainHost:
        key = (base["id"], alone_for)
        async with self._spawning.setdefault(key, asyncio.Lock()):
            if key not in self.train:
                self.train[key] = await self._spawn_train_host(base, key)
            return self.train[key]

    async def _spawn_train_host(self, base: Any, key: tuple[str, str]) -> TrainHost:
        plan = HostPlan(
            base_id=base["id"],
            folder=base["folder"],
            roles=("train",),
            lease_seconds=self._lease_seconds,
            socket_path=None,
            **self._fixed,
        )
        process = await self._spawn(plan, on_end=partial(self._train_ended, key))
        return TrainHost(key, process, idle_since=asyncio.get_running_loop().time())

    async def _spawn(self, plan: HostPlan, *, on_end: Callable[[HostProcess, int], None]) -> HostProcess:
        if self.closing:
            raise TuneryError("the server is shutting down")
        process = await HostProcess.spawn(plan, module=self._module)
        self._running.add(process)

        def ended(status: int) -> None:
            self._running.discard(process)
            on_end(process, status)

        process.listen(on_report=self._on_report, on_stopped=self._stopped, on_end=ended)
        return process

    def _stopped(self, message: Stopped) -> None:
        self.left((message.job_id, message.epoch))

    def _train_ended(self, key: tuple[str, str], process: HostProcess, status: int) -> None:
        host = self.train.get(key)
        if host is not None and host.process is process:
            del self.train[key]
            self._on_train_end(host, status)

    def _serve_ended(self, base_id: str, process: HostProcess, status: int) -> None:
        if self.serve.get(base_id) is process:
            del self.serve[base_id]
            self._on_serve_end(base_id, status)

    def _socket_path(self, base_id: str) -> Path:
        """A short path: the system allows about 100 characters for a socket's name."""
        name = f"{base_id[:24]}-{time.monotonic_ns() % 1_000_000_007}.sock"
        path = self._run_dir / name
        if len(str(path)) > SOCKET_PATH_MAX:
            path = Path(tempfile.mkdtemp(prefix="tunery-")) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def clear_sockets(run_dir: Path) -> None:
    """Remove sockets that nobody listens on: a host that was killed leaves its own behind."""
    for path in run_dir.glob("*.sock") if run_dir.is_dir() else ():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.warning("a socket cannot be probed and stays", path=str(path), error=str(error))
