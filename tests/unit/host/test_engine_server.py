"""The host's side of the engine socket: whoever sends rubbish or stops reading harms only itself."""

import os
import queue
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunery import frames
from tunery.host import engine_server
from tunery.host.engine_server import EngineMessage, EngineServer
from tunery.types.sampling import Cancel, Sampled, SampleRequest, Token

Inbox = queue.SimpleQueue[EngineMessage]


@pytest.fixture
def inbox() -> Inbox:
    return queue.SimpleQueue()


@pytest.fixture
def server(tmp_path: Path, inbox: Inbox) -> Iterator[EngineServer]:
    opened = EngineServer(tmp_path / "engine.sock", deliver=inbox.put)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def client(server: EngineServer, tmp_path: Path) -> Iterator[socket.socket]:
    with connect(tmp_path) as connection:
        yield connection


def connect(folder: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(folder / "engine.sock"))
    return connection


def request(request_id: int) -> SampleRequest:
    return SampleRequest(id=request_id, prompt=[1], adapter=None, max_tokens=1, seed=1)


def test_only_the_owner_may_connect(server: EngineServer, tmp_path: Path) -> None:
    assert stat.S_IMODE(os.stat(tmp_path / "engine.sock").st_mode) == 0o600


def test_socket_file_of_a_dead_host_is_replaced(tmp_path: Path, inbox: Inbox) -> None:
    (tmp_path / "engine.sock").touch()
    opened = EngineServer(tmp_path / "engine.sock", deliver=inbox.put)
    opened.open()
    with connect(tmp_path):
        opened.close()
    assert not (tmp_path / "engine.sock").exists()


def test_requests_get_ids_of_the_hosts_own_and_answers_their_old_ones(
    server: EngineServer, client: socket.socket, inbox: Inbox
) -> None:
    client.sendall(frames.encode(request(7)) + frames.encode(request(8)))
    first, second = (inbox.get(timeout=20).message for _ in range(2))
    assert first.id != second.id
    server.answer(Sampled(second.id, [Token(2, -1.0)], "stop"), last=True)
    server.answer(Sampled(first.id, [Token(1, -1.0)], "stop"), last=True)
    decoder: frames.Decoder[Sampled] = frames.Decoder(Sampled)
    received: list[Sampled] = []
    while len(received) < 2:
        received += frames.receive(client, decoder) or []
    assert [(each.id, each.tokens[0].token) for each in received] == [(8, 2), (7, 1)]


def test_cancel_is_passed_on_once_and_ends_the_answers(
    server: EngineServer, client: socket.socket, inbox: Inbox
) -> None:
    client.sendall(frames.encode(request(7)))
    asked = inbox.get(timeout=20).message
    client.sendall(
        frames.encode(Cancel(7)) + frames.encode(Cancel(7)) + frames.encode(Cancel(99)) + frames.encode(request(8))
    )
    assert inbox.get(timeout=20).message == Cancel(asked.id)
    assert isinstance(inbox.get(timeout=20).message, SampleRequest)
    server.answer(Sampled(asked.id, [], "stop"), last=True)


def test_answered_requests_are_forgotten(server: EngineServer, client: socket.socket, inbox: Inbox) -> None:
    for n in range(20):
        client.sendall(frames.encode(request(n)))
        server.answer(Sampled(inbox.get(timeout=20).message.id, [], "stop"), last=True)
    assert server._origins == {}


@pytest.mark.parametrize("rubbish", [b"\xff\xff\xff\xff", struct.pack(">I", 2) + b"\xc1\xc1"])
def test_rubbish_ends_its_connection_and_no_other(
    server: EngineServer, client: socket.socket, inbox: Inbox, tmp_path: Path, rubbish: bytes
) -> None:
    with connect(tmp_path) as other:
        other.sendall(rubbish)
        assert other.recv(1) == b""
    client.sendall(frames.encode(request(1)))
    assert isinstance(inbox.get(timeout=20).message, SampleRequest)


def test_reader_that_stopped_reading_loses_its_answers_and_holds_up_nobody(
    server: EngineServer, client: socket.socket, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "SEND_TIMEOUT", struct.pack("ll", 0, 200_000))
    with connect(tmp_path) as deaf:
        deaf.sendall(frames.encode(request(1)))
        asked = inbox.get(timeout=20).message
        flood = Sampled(asked.id, [Token(1, -1.0)] * 100_000)
        began = time.monotonic()
        for _ in range(5):
            server.answer(flood, last=False)
        assert time.monotonic() - began < 10
        assert inbox.get(timeout=20).message == Cancel(asked.id)


def test_host_counts_as_idle_only_when_no_request_waits(
    server: EngineServer, client: socket.socket, inbox: Inbox
) -> None:
    time.sleep(0.2)
    assert server.idle_seconds() >= 0.2
    client.sendall(frames.encode(request(1)))
    asked = inbox.get(timeout=20).message
    time.sleep(0.2)
    assert server.idle_seconds() < 0.2
    server.answer(Sampled(asked.id, [], "stop"), last=True)
    time.sleep(0.2)
    assert server.idle_seconds() >= 0.2
