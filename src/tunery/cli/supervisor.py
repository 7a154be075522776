"""Keeps the API and the runner alive: starts them, restarts what dies, stops both on a signal."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from tunery import settings as settings_module
from tunery.errors import StartError
from tunery.observability import logger
from tunery.runner.machine import may_have_gpu
from tunery.settings import Settings

READY_SECONDS_MAX = 60.0
READY_POLL_SECONDS = 0.05
WARM_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 60.0
RESTART_SECONDS_MAX = 5.0
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# glibc gives every thread a heap of its own: after eight downloads at once the API held 99 MB, with two heaps 94 MB.
FEW_HEAPS = {"MALLOC_ARENA_MAX": "2"}
log = logger("supervisor")


@dataclass
class Child:
    """A child process that is restarted when it ends by itself. Its standard input is our sign of life."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()
    process: asyncio.subprocess.Process | None = None
    started_at: float = 0.0
    restarts: int = 0

    async def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self.arguments,
            stdin=asyncio.subprocess.PIPE,
            env=self.environment,
            pass_fds=self.descriptors,
            start_new_session=True,
        )

    async def keep(self) -> None:
        """Restart for ever, slower when it dies young."""
        while True:
            assert self.process is not None
            status = await self.process.wait()
            young = time.monotonic() - self.started_at < RESTART_SECONDS_MAX
            self.restarts = self.restarts + 1 if young else 0
            log.error("a process ended and is started again", process=self.name, status=status)
            await asyncio.sleep(min(RESTART_SECONDS_MAX, 0.1 * 2**self.restarts) if self.restarts else 0)
            await self.start()

    async def stop(self) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS_MAX)
        except TimeoutError:
            log.error("a process did not stop in time and is killed", process=self.name)
            self.process.kill()
            await self.process.wait()


async def supervise(config: Settings, *, on_ready: Callable[[str], Awaitable[None]]) -> None:
    """Serve until SIGINT or SIGTERM. Raises StartError when serving cannot begin."""
    lock = lock_data_dir(config)
    listener = listen(config.host, config.port)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop_or_exit, stopped)
    config = config.model_copy(update={"device": await resolve_device(config.device)})
    environment = settings_module.child_environment(config, variables=OFFLINE if config.offline else None)
    await run_once("tunery.runner.bootstrap", environment=environment)
    descriptor = listener.fileno()
    api = Child("api", ["tunery.api", str(descriptor)], environment | FEW_HEAPS, (descriptor,))
    runner = Child("runner", ["tunery.runner"], environment)
    url = f"http://{_printable(config.host)}:{listener.getsockname()[1]}"
    state = config.run_dir / "server.json"
    try:
        await asyncio.gather(api.start(), runner.start())
        keeping = [asyncio.create_task(child.keep()) for child in (api, runner)]
        ready = asyncio.create_task(wait_until_ready(url, config))
        await _first(ready, stopped)
        if not stopped.is_set():
            _write_state(state, url)
            await on_ready(url)
            await stopped.wait()
        for task in [*keeping, ready]:
            task.cancel()
    finally:
        state.unlink(missing_ok=True)
        await asyncio.gather(api.stop(), runner.stop())
        listener.close()
        lock.release()


def lock_data_dir(config: Settings) -> FileLock:
    """One server for each data folder. Raises StartError naming the folder."""
    try:
        config.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"The data folder {config.data_dir} cannot be used: {error.strerror}.") from None
    lock = FileLock(config.run_dir / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StartError(
            f"Another server is already running on the data folder {config.data_dir.absolute()}. "
            "Stop it, or choose another folder with --data-dir."
        ) from None
    return lock


def listen(host: str, port: int) -> socket.socket:
    """The listening socket, taken here so that a port in use is said before anything starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another port with --port, or 0 for a free one."
        ) from None
    listener.listen(2048)
    return listener


async def resolve_device(wanted: str) -> str:
    """The device that will be used. Raises StartError with the reason when a named one cannot be."""
    if wanted == "cpu" or (wanted == "auto" and not may_have_gpu()):
        return "cpu"
    answer = json.loads(await run_once("tunery.host.probe", wanted, environment=settings_module.child_environment()))
    if answer["device"] is None:
        raise StartError(f"The device {wanted} cannot be used: {answer['reason']} Use --device cpu, or mend it.")
    if answer["reason"]:
        log.warning("no faster device is used", reason=answer["reason"], device=answer["device"])
    return answer["device"]


async def run_once(module: str, *arguments: str, environment: dict[str, str]) -> str:
    """Run a module to its end; what it printed. Raises StartError with its last words when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    printed, said = await process.communicate()
    if process.returncode != 0:
        raise StartError(said.decode(errors="replace").strip() or f"{module} ended with status {process.returncode}.")
    sys.stderr.buffer.write(said)
    sys.stderr.flush()
    return printed.decode()


async def wait_until_ready(url: str, config: Settings) -> None:
    """Return when the API answers and, where asked for, the default model is in memory or cannot be."""
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        if await _readiness(client, {}, seconds_max=READY_SECONDS_MAX) is None:
            raise StartError(f"The API did not become ready within {READY_SECONDS_MAX:.0f} s.")
        if config.warm:
            model = {"model": config.default_model}
            told = await _readiness(client, model, seconds_max=WARM_SECONDS_MAX) or {"status": "loading"}
            if told["status"] != "ready":
                log.warning("the default model is not in memory", **told)


async def _readiness(client: httpx.AsyncClient, query: dict[str, str], *, seconds_max: float) -> dict[str, str] | None:
    """What /readyz says once it no longer says `loading`; None when it goes on saying that, or nothing."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            answer = await client.get("/readyz", params=query)
            if answer.status_code == 200 or answer.json().get("status") == "failed":
                return answer.json()
        await asyncio.sleep(READY_POLL_SECONDS)
    return None


async def _first(ready: asyncio.Task[None], stopped: asyncio.Event) -> None:
    """Wait for readiness or a signal, whichever comes first; a failure to get ready is raised."""
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if ready.done():
        await ready


def _stop_or_exit(stopped: asyncio.Event) -> None:
    """The first signal stops in order; a second one does not wait, and the children follow us."""
    if stopped.is_set():
        os._exit(130)
    stopped.set()


def _write_state(path: Path, url: str) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    os.replace(fresh, path)


def _printable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
