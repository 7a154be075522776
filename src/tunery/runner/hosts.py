"""Hosts as child processes: spawn, talk, notice their death at once."""

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tunery import frames
from tunery.observability import logger
from tunery.settings import child_environment
from tunery.training.reports import FromHost, Ready, Report, Stopped, ToHost

EXIT_SECONDS_MAX = 5.0
log = logger("runner")

# glibc gives activations back to the kernel after every step and faults them in again; a host keeps them instead.
# OpenMP's threads wait by spinning, which starves the other host and the API where all share few cores.
HOST_VARIABLES = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "OMP_WAIT_POLICY": "passive",
}


@dataclass(frozen=True)
class HostPlan:
    """What a host is to hold: one base on one device, for training, serving or both."""

    base_id: str
    folder: str
    device: str
    dtype: str
    roles: tuple[str, ...]
    threads: int
    lease_seconds: float
    socket_path: str | None

    def arguments(self, descriptor: int) -> list[str]:
        named = ["--fd", str(descriptor), "--base", self.folder, "--device", self.device, "--dtype", self.dtype]
        named += ["--roles", ",".join(self.roles), "--threads", str(self.threads)]
        named += ["--lease-seconds", str(self.lease_seconds)]
        return named + (["--socket", self.socket_path] if self.socket_path else [])


class HostProcess:
    """One running host. `on_report` gets each report in order; `on_end` is called once, when the stream ends."""

    def __init__(
        self,
        plan: HostPlan,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.plan = plan
        self.process = process
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.heard_at = asyncio.get_running_loop().time()
        self.idle_seconds = 0.0
        """How long the host has had no engine request, as it said last."""
        self._reader = reader
        self._writer = writer
        self._receiving: asyncio.Task[None] | None = None

    @classmethod
    async def spawn(cls, plan: HostPlan, *, module: str) -> "HostProcess":
        """Start a host; its end of the socketpair closes when this process dies."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *plan.arguments(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=child_environment(variables=HOST_VARIABLES),
                start_new_session=True,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
        log.info("host started", base=plan.base_id, roles=",".join(plan.roles), pid=process.pid)
        return cls(plan, process, reader, writer)

    def listen(
        self,
        *,
        on_report: Callable[[Report], None],
        on_stopped: Callable[[Stopped], None],
        on_end: Callable[[int], None],
    ) -> None:
        """Begin to receive. `on_end` gets the exit status (negative: the signal that ended it)."""
        self._receiving = asyncio.create_task(self._receive(on_report, on_stopped, on_end))

    def send(self, message: ToHost) -> None:
        if not self._writer.is_closing():
            self._writer.write(frames.encode(message))

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()

    async def wait(self, timeout_seconds: float) -> bool:
        """Whether the process ended in time."""
        try:
            await asyncio.wait_for(self.process.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    async def _receive(
        self,
        on_report: Callable[[Report], None],
        on_stopped: Callable[[Stopped], None],
        on_end: Callable[[int], None],
    ) -> None:
        try:
            await self._pass_on(on_report, on_stopped)
        except (msgspec.MsgspecError, ValueError):
            log.exception("a host said what makes no sense and is killed", pid=self.process.pid)
            self.kill()
        self._writer.close()
        # A host that ends in order closes its stream a moment before it is gone.
        if not await self.wait(EXIT_SECONDS_MAX):
            self.kill()
        status = await self.process.wait()
        if not self.ready.done():
            self.ready.cancel()
        on_end(status)

    async def _pass_on(self, on_report: Callable[[Report], None], on_stopped: Callable[[Stopped], None]) -> None:
        decoder: msgspec.msgpack.Decoder[FromHost] = msgspec.msgpack.Decoder(FromHost)
        while (message := await frames.read(self._reader, decoder)) is not None:
            self.heard_at = asyncio.get_running_loop().time()
            if isinstance(message, Ready):
                self.ready.set_result(message)
            elif isinstance(message, Report):
                on_report(message)
            elif isinstance(message, Stopped):
                on_stopped(message)
            else:
                self.idle_seconds = message.idle_seconds
