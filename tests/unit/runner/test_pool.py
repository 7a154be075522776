"""Serving hosts come and go: idle ones leave, and what killed ones leave behind is cleared."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.base import make_base
from tunery.runner import pool
from tunery.runner.hosts import HostProcess
from tunery.runner.pool import HostPool, clear_sockets


async def until(condition: Any, seconds_max: float = 20.0) -> None:
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_idle_serving_host_is_let_go_unless_it_is_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SERVE_IDLE_SECONDS_MAX", 0.3)
    ended: list[Any] = []
    idle: list[HostProcess] = []

    async def play() -> None:
        hosts = HostPool(
            module="tests.fakes.host",
            run_dir=tmp_path / "run",
            device="cpu",
            dtype="float32",
            threads=1,
            lease_seconds=2.0,
            on_report=ended.append,
            on_train_end=lambda host, status: ended.append(status),
            on_serve_end=lambda base_id, status: ended.append(status),
            on_serve_idle=idle.append,
        )
        process = await hosts.start_serving({"id": "tiny", "folder": str(make_base(tmp_path / "tiny"))})
        await until(lambda: process.idle_seconds > 0.3)
        hosts.watch(keep=frozenset({"tiny"}))
        assert hosts.serve == {"tiny": process}
        hosts.watch(keep=frozenset())
        assert (hosts.serve, idle) == ({}, [process])
        assert await process.wait(20), "a drained host ends by itself"
        assert process.process.returncode == 0
        await hosts.drain(10)

    asyncio.run(play())
    assert ended == [], "nobody wants the host back"
    assert list((tmp_path / "run").iterdir()) == []


def test_only_sockets_that_nobody_listens_on_are_cleared(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as live:
        dead.bind(str(tmp_path / "dead.sock"))
        live.bind(str(tmp_path / "live.sock"))
        live.listen()
        dead.close()
        (tmp_path / "server.json").write_text("{}")
        clear_sockets(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["live.sock", "server.json"]
    clear_sockets(tmp_path / "absent")
