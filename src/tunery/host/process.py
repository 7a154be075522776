"""A host process around any trainer and engine: arguments, threads, channel, socket, loop, end."""

import argparse
import queue
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery import observability, settings
from tunery.host.channel import RunnerChannel
from tunery.host.engine_server import EngineServer
from tunery.host.loop import Engine, Loop, Slot
from tunery.observability import logger
from tunery.training.reports import Ready, Start

log = logger("host")


@dataclass(frozen=True)
class Arguments:
    """What runner.hosts.HostPlan asks for."""

    descriptor: int
    base: Path
    device: str
    dtype: str
    roles: frozenset[str]
    threads: int
    lease_seconds: float
    socket_path: Path | None


@dataclass(frozen=True)
class Parts:
    """What the loop works with: `make_slot` for training, `engine` for serving."""

    make_slot: Callable[[Start], Slot]
    engine: Engine | None
    trim: Callable[[], None]


def parse(arguments: Sequence[str]) -> Arguments:
    parser = argparse.ArgumentParser(prog="tunery.host")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--roles", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--lease-seconds", type=float, required=True)
    parser.add_argument("--socket", type=Path)
    parsed = parser.parse_args(arguments)
    return Arguments(
        descriptor=parsed.fd,
        base=parsed.base,
        device=parsed.device,
        dtype=parsed.dtype,
        roles=frozenset(parsed.roles.split(",")),
        threads=parsed.threads,
        lease_seconds=parsed.lease_seconds,
        socket_path=parsed.socket,
    )


def run(arguments: Arguments, load: Callable[[Arguments], Parts]) -> None:
    """Load, say so, work until drained or orphaned."""
    config, _ = settings.load()
    observability.configure(level=config.log_level, process="host", json=config.log_json)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    server = None if arguments.socket_path is None else EngineServer(arguments.socket_path, deliver=inbox.put)
    channel = RunnerChannel(
        socket.socket(fileno=arguments.descriptor),
        lease_seconds=arguments.lease_seconds,
        deliver=inbox.put,
        idle_seconds=server.idle_seconds if server else lambda: 0.0,
    )
    channel.open()
    parts = load(arguments)
    if server is not None:
        server.open()
    channel.send(Ready())
    loop = Loop(
        inbox=inbox,
        send=channel.send,
        make_slot=parts.make_slot,
        trim=parts.trim,
        engine=parts.engine,
        answer=server.answer if server else None,
    )
    try:
        loop.run()
    finally:
        if server is not None:
            server.close()
